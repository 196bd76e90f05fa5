"""A test's variables as values: each combination of those that are lists or patterns, with their files read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from math import prod
from typing import Any

from llmswitch.suites.files import SCRIPTS, Files
from llmswitch.suites.javascript import js_json
from llmswitch.suites.nodes import Node

__all__ = ["combinations"]

_MOST = 100_000
_BINARY = frozenset(
    (
        *(".pdf", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".ico", ".tif", ".tiff", ".avif", ".heic", ".heif"),
        *(".mp3", ".wav", ".ogg", ".flac", ".m4a", ".mp4", ".mov", ".avi", ".webm", ".mkv"),
    )
)


def combinations(variables: Mapping[str, Node], files: Files, *, expand: bool) -> tuple[int, Iterator[dict[str, Any]]]:
    """How many there are, and each: a list of texts and a pattern of files give a value at a time, another list is one
    value. Files are read as each combination is come to."""
    columns = [_values(node, files, expand) for node in variables.values()]
    count = prod(len(column) for column in columns)
    if count > _MOST:
        next(iter(variables.values())).fault(
            f"the lists of these variables make {count:,} combinations, over {_MOST:,}: write them to a file of tests."
        )
        return 0, iter(())
    names = tuple(variables)
    rows = (dict(zip(names, (_read(one, files) for one in row), strict=True)) for row in product(*columns))
    return count, rows


def _values(node: Node, files: Files, expand: bool) -> list[Node]:
    if isinstance(node.value, str) and node.value.startswith("file://"):
        return [Node(f"file://{path}", node.source, node.path) for path in files.find(node.value, node)]
    if expand and isinstance(node.value, list) and node.value and isinstance(node.value[0], str):
        return list(node.each())
    return [node]


def _read(node: Node, files: Files) -> Any:
    """The value, or what is in the file that it names."""
    if not isinstance(node.value, str) or not node.value.startswith("file://"):
        return node.value
    path = files.one(node.value, node)
    if path is None:
        return None
    suffix = path.suffix.lower()
    if suffix in SCRIPTS or suffix in _BINARY:
        reason = "it would have to be run" if suffix in SCRIPTS else "only texts are sent"
        node.fault(f"the variable cannot be {files.name(path)}: {reason}.")
        return None
    if suffix in (".yaml", ".yml"):
        document = files.document(path, node)
        return js_json(document.value) if document else None
    text = files.text(path, node)
    return None if text is None else text.strip()
