"""Assertions on XML in an answer.

is-xml takes what a strict parser takes; a document type with declarations of its own is refused, so that there are
no entities to expand. contains-xml takes any element whose tags fit, as promptfoo does, whatever stands in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from llmswitch.assertions.base import Answer, Assertion, GradingError
from llmswitch.assertions.findings import Finding, quoted, yes_or_no
from llmswitch.assertions.js import text_of, trim
from llmswitch.text import one_line

__all__ = ["contains_xml", "elements_of", "is_xml"]

#: an element's children by name, in order, and its attributes by '@_' and their name; as text where it has neither
_Node = dict[str, list[Any]]

_START = (
    ":A-Z_a-z\xc0-\xd6\xd8-\xf6\xf8-\u02ff\u0370-\u037d\u037f-\u1fff\u200c-\u200d\u2070-\u218f\u2c00-\u2fef"
    "\u3001-\ud7ff\uf900-\ufdcf\ufdf0-\ufffd\U00010000-\U000effff"
)
_NAME = f"[{_START}][{_START}.0-9\xb7\u0300-\u036f\u203f-\u2040-]*"
#: source: XML 1.0, 5th edition, sections 2.3 to 2.7; what is not closed goes to the end of the text
_TAG = re.compile(
    rf"""<(?:(?:!--.*?(?:-->|\Z)|!\[CDATA\[.*?(?:\]\]>|\Z)|\?.*?(?:\?>|\Z))"""
    rf"""|(?P<declaration>!)|(?P<closing>/)?(?P<name>{_NAME})(?P<rest>(?:"[^"]*"|'[^']*'|[^<>"'])*+)>)""",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(r"""([^\s=/"']+)(?:\s*=\s*(?:"[^"]*"|'[^']*'))?""")


def elements_of(value: Any) -> list[str]:
    """The paths that an assertion's value names: a list, `a.b,c` as text, or {requiredElements: [...]}."""
    if isinstance(value, dict) and isinstance(value.get("requiredElements"), list):
        value = value["requiredElements"]
    if isinstance(value, str):
        return [trim(part) for part in value.split(",")]
    if isinstance(value, list):
        return [text_of(part) for part in value]
    if value is None or value == {}:
        return []
    raise GradingError("its value names no elements: a list is needed, or a comma-separated text.")


def is_xml(assertion: Assertion, answer: Answer) -> Finding:
    """The whole answer is well-formed XML, namespaces included, with all the elements that the value names."""
    required = elements_of(assertion.value)
    wrong = _malformed(answer.text)
    if wrong is not None:
        return yes_or_no(assertion, False, f"it is no XML: {wrong}")
    return _complete(assertion, [_tree(answer.text)], required)


def contains_xml(assertion: Assertion, answer: Answer) -> Finding:
    """Somewhere in the answer is an element, or several side by side, with all that the value names."""
    required = elements_of(assertion.value)
    groups = list(_groups(answer.text))
    if not groups:
        return yes_or_no(assertion, False, "it contains no XML")
    return _complete(assertion, groups, required)


def _complete(assertion: Assertion, groups: list[_Node], required: list[str]) -> Finding:
    missing: list[str] = []
    for group in groups:
        missing = [path for path in required if not _has(group, path.split("."))]
        if not missing:
            return yes_or_no(assertion, True, "it contains XML" + (" with all elements asked for" if required else ""))
    return yes_or_no(assertion, False, f"its XML lacks {quoted(', '.join(missing))}")


def _malformed(text: str) -> str | None:
    """Why `text` is no XML, by expat. It follows no reference to another file."""
    from xml.parsers import expat

    def doctype(name: str, system: str | None, public: str | None, internal: int) -> None:
        if internal:
            raise ValueError("its document type has declarations of its own")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(text.encode("utf-8"), True)
    except (expat.ExpatError, ValueError) as error:
        return one_line(str(error), 120)
    return None


def _tree(text: str) -> _Node:
    """All top elements of a text whose tags fit."""
    top: _Node = {}
    for group in _groups(text):
        for name, nodes in group.items():
            top.setdefault(name, []).extend(nodes)
    return top


def _groups(text: str) -> Iterator[_Node]:
    """Closed elements that no other closed element is around, those with the same place together.

    A closing tag that fits no open one ends all that is open: what was closed inside stays.
    """
    root: _Node = {}
    around: list[tuple[str, _Node]] = []
    for tag in _tags(text):
        name = tag["name"]
        if not tag["closing"]:
            node: _Node = {f"@_{found[1]}": [""] for found in _ATTRIBUTE.finditer(tag["rest"])}
            if tag["rest"].rstrip().endswith("/"):
                (around[-1][1] if around else root).setdefault(name, []).append(node)
            else:
                around.append((name, node))
        elif around and around[-1][0] == name:
            _, node = around.pop()
            (around[-1][1] if around else root).setdefault(name, []).append(node)
        else:
            yield from _closed(around)
            around.clear()
    yield from _closed(around)
    if root:
        yield root


def _closed(around: list[tuple[str, _Node]]) -> Iterator[_Node]:
    """What was closed in elements that never were."""
    for _, node in around:
        children = {name: nodes for name, nodes in node.items() if not name.startswith("@_")}
        if children:
            yield children


def _tags(text: str) -> Iterator[re.Match[str]]:
    at = 0
    while (found := _TAG.search(text, at)) is not None:
        at = _declaration_end(text, found.end()) if found["declaration"] else found.end()
        if found["name"]:
            yield found


def _declaration_end(text: str, at: int) -> int:
    """Behind the '>' of `<!…>`, outside quotes and brackets; the end of the text where there is none."""
    depth = 0
    for found in re.compile(r""""[^"]*(?:"|\Z)|'[^']*(?:'|\Z)|[\[\]>]""").finditer(text, at):
        depth = max(depth + {"[": 1, "]": -1}.get(found[0], 0), 0)
        if found[0] == ">" and depth == 0:
            return found.end()
    return len(text)


def _has(node: Any, path: list[str]) -> bool:
    """Whether `path` leads somewhere. Of several elements of one name, the path names one by its number."""
    for at, name in enumerate(path):
        if not isinstance(node, dict) or name not in node:
            return False
        found = node[name]
        if len(found) > 1:
            rest = path[at + 1 :]
            if not rest:
                return True
            number = int(rest[0]) if rest[0].isdecimal() and str(int(rest[0])) == rest[0] else len(found)
            return number < len(found) and _has(found[number], rest[1:])
        node = found[0]
    return True
