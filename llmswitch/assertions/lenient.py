"""JSON objects in prose, read as promptfoo reads them: every '{' up to its '}', taken for YAML.

So comments (`//` too), single quotes, bare words and a comma before the end are taken; `{name}` is an object.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from llmswitch.assertions.js import parse

__all__ = ["json_objects", "load_yaml"]

#: characters of an object, at most; what is not closed by then is tried as if it were
_MOST = 100_000
#: braces in braces, at most
_DEEPEST = 100
_BRACE = re.compile(r"[{}]")
#: a text in quotes, an address, the slashes of a comment, or a colon that ruamel needs a space behind; an apostrophe
#: after a letter opens no text
_MENDED = re.compile(
    r""""(?:[^"\\\n]|\\.)*"?|(?<![a-zA-Z])'(?:[^'\\\n]|\\.|'(?=[a-zA-Z]))*'?|\S*://|(//+)|:(?=[\[\]{},])""",
)


def json_objects(text: str, budget: float = math.inf) -> Iterator[dict[Any, Any] | list[Any]]:
    """Each object in `text`, outermost only, from the first on.

    Whoever may not wait gives a `budget`: characters that are read as YAML before what is left is given up.
    """
    start = text.find("{")
    while 0 <= start < len(text) - 1:
        end, unclosed = _end(text, start)
        found = None
        if unclosed <= _DEEPEST:
            candidate = text[start:end] + "}" * unclosed
            found = _strictly(candidate)
            if found is None and (budget := budget - len(candidate)) > 0:
                found = load_yaml(_MENDED.sub(_mended, candidate))
        if isinstance(found, dict | list):
            yield found
        else:
            end = start + 1
        start = text.find("{", end)


def _end(text: str, start: int) -> tuple[int, int]:
    """Behind the brace that closes the one at `start`, and how many are missing where none does."""
    depth, limit = 0, min(start + _MOST, len(text))
    for brace in _BRACE.finditer(text, start, limit):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0 or depth > _DEEPEST:
            return brace.end(), depth
    return limit, depth


def _strictly(text: str) -> Any:
    try:
        return parse(text)
    except (ValueError, RecursionError):
        return None


def _mended(found: re.Match[str]) -> str:
    if found[1]:
        return "#" * (len(found[1]) // 2)
    return ": " if found[0] == ":" else found[0]


def load_yaml(text: str) -> Any:
    """YAML 1.2 of one document; None where it is none, or nested too deeply."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    reader = YAML(typ="safe", pure=True)
    reader.Constructor = _constructor()
    reader.allow_duplicate_keys = True
    try:
        return reader.load(text)
    except (YAMLError, ValueError, TypeError, RecursionError):  # ValueError: a date that is none; TypeError: its keys
        return None


@cache
def _constructor() -> type[Any]:
    from ruamel.yaml.constructor import SafeConstructor
    from ruamel.yaml.error import YAMLError

    class Constructor(SafeConstructor):
        """1_000 is text, and a key is no list."""

        def construct_yaml_int(self, node: Any) -> Any:
            return str(node.value) if "_" in node.value else super().construct_yaml_int(node)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            for key, _ in node.value:
                if not isinstance(key.value, str) or (key.value == "-" and not key.style):
                    raise YAMLError("a key that is no text")
            return super().construct_mapping(node, deep=deep)

    Constructor.add_constructor("tag:yaml.org,2002:int", Constructor.construct_yaml_int)
    return Constructor
