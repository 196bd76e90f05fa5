"""A row of a CSV file as a test, by promptfoo's columns: `__expected`, `__prefix`, `__threshold`, …; all others are
variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from llmswitch.assertions import find
from llmswitch.suites.nodes import Node, Source

__all__ = ["is_expected", "test_of_row"]

_PREFIXES = ("llm-rubric:", "grade:")
_SCRIPTS = ("javascript:", "fn:", "eval:")
_ASSERTION = re.compile(
    r"(?P<not>not-)?(?P<type>[a-z0-9-]{1,40})(?:\((?P<threshold>\d{1,20}(?:\.\d{1,20})?)\))?"
    r"(?::(?P<value>.*))?",
    re.DOTALL,
)
#: whose cells have a threshold where none is written
_THRESHOLDS: Mapping[str, float] = {
    **dict.fromkeys(
        ("cost", "latency", "levenshtein", "perplexity", "perplexity-score", "rouge-n", "starts-with"), 0.75
    ),
    "similar": 0.8,
}
#: what promptfoo reads as an assertion's type and is none here, so that it is a fault and no text to be equal to
_NOT_HERE = frozenset(
    (
        *("agent-rubric", "answer-relevance", "classifier", "contains-html", "contains-sql", "context-faithfulness"),
        *("context-recall", "context-relevance", "conversation-relevance", "g-eval", "gleu", "guardrails", "is-html"),
        *(
            "is-valid-function-call",
            "is-valid-openai-function-call",
            "is-valid-openai-tools-call",
            "javascript",
            "meteor",
        ),
        *("moderation", "pi", "ruby", "search-rubric", "similar", "skill-used", "tool-call-f1", "trace-error-spans"),
        *("trace-span-count", "trace-span-duration", "webhook"),
    )
)
_LISTS = ("contains-all", "contains-any", "icontains-all", "icontains-any")
_NUMBER = re.compile(r"[+-]?(?:\d{1,100}(?:\.\d{0,100})?|\.\d{1,100})(?:[eE][+-]?\d{1,3})?")
_CONFIG = re.compile(r"__config:__expected([1-9][0-9]{0,3})?:threshold")
_ITEM = re.compile(r'\s*"((?:[^"\\]|\\["\\]|\\(?!["\\])|"")*)"\s*(?:,|$)|\s*([^,"][^,]*)(?:,|$)|\s*,|\s+$')


def is_expected(column: str, cell: str) -> bool:
    """Whether a cell is an assertion."""
    return column.startswith("__expected") and cell.strip() != ""


#: a column of what kind of task a row stands for; the second has several, between commas
_TASKS = ("__metadata:task", "__metadata:task[]")


def test_of_row(row: Mapping[str, str], number: int, source: Source) -> dict[str, Any]:
    """The test as YAML would give it."""
    variables: dict[str, str] = {}
    asserts: list[dict[str, Any]] = []
    test: dict[str, Any] = {"vars": variables, "assert": asserts, "options": {}, "description": f"Row #{number}"}
    thresholds: dict[int, float] = {}
    for column, cell in row.items():
        if is_expected(column, cell):
            asserts.append(_assertion(cell.strip(), Node(cell, source, (column,))))
        elif column in ("__prefix", "__suffix"):
            test["options"][column[2:]] = cell
        elif column in ("__description", "__providerOutput", "__metric"):
            test[column[2:]] = cell or test.get(column[2:])
        elif column == "__threshold" or column.startswith("__config:"):
            _threshold(column, cell, Node(cell, source, (column,)), test, thresholds)
        elif column in _TASKS:
            names = [name.strip() for name in (cell.split(",") if column == _TASKS[1] else [cell])]
            test.setdefault("metadata", {"task": []})["task"] += filter(None, names)
        elif not column.startswith(("__metadata", "__expected")):
            variables[column] = cell
    _complete(asserts, test.pop("metric", None), thresholds)
    return test


def _complete(asserts: list[dict[str, Any]], metric: str | None, thresholds: Mapping[int, float]) -> None:
    """Give each assertion what a column of its own says of it."""
    for index, one in enumerate(asserts):
        if metric:
            one["metric"] = metric
        if index in thresholds:
            one["threshold"] = thresholds[index]


def _threshold(column: str, cell: str, node: Node, test: dict[str, Any], thresholds: dict[int, float]) -> None:
    """A number for the test, or for one of its assertions."""
    match = _CONFIG.fullmatch(column)
    if column != "__threshold" and match is None:
        node.fault(f"the column {column!r} is none: __config:__expected2:threshold would be one.")
    elif not cell.strip():
        return
    elif not _NUMBER.fullmatch(cell.strip()):
        node.fault(f"must be a number, not {node.shown()}.")
    elif match is None:
        test["threshold"] = float(cell)
    else:
        thresholds[int(match[1] or 1) - 1] = float(cell)


def _assertion(text: str, node: Node) -> dict[str, Any]:
    """An assertion from a cell; text that names none is what the answer must equal."""
    if text.startswith(_SCRIPTS) or (text.startswith("file://") and text.endswith((".js", ".mjs", ".cjs", ".ts"))):
        return {"type": "javascript", "value": text}
    if text.startswith(_PREFIXES):
        return {"type": "llm-rubric", "value": text.partition(":")[2]}
    if text.startswith("python:") or (text.startswith("file://") and (text.endswith(".py") or ".py:" in text)):
        return {"type": "python", "value": text.removeprefix("python:").strip()}
    match = _ASSERTION.fullmatch(text)
    name = match["type"] if match else ""
    if match is None or (find(name) is None and name not in _NOT_HERE):
        return {"type": "equals", "value": text}
    found: dict[str, Any] = {"type": (match["not"] or "") + name}
    if match["value"] is not None:
        found["value"] = match["value"] if "json" in name else match["value"].strip()
    if name in _LISTS and found.get("value"):
        found["value"] = _items(found["value"], node)
    if name in _THRESHOLDS:
        found["threshold"] = float(match["threshold"] or _THRESHOLDS[name])
    return found


def _items(text: str, node: Node) -> list[str]:
    """What commas part; a part in quotes may hold some."""
    items: list[str] = []
    offset = 0
    while offset < len(text):
        match = _ITEM.match(text, offset)
        if match is None or match.end() == offset:
            node.fault("a quote in this list has no end, or text behind it.")
            return items
        if match[1] is not None:
            items.append(re.sub(r'\\(["\\])|""', lambda found: found[1] or '"', match[1]))
        elif match[2] is not None:
            items.append(match[2].strip())
        offset = match.end()
    return items
