"""YAML 1.2's core schema as plain values with their places, from ruamel.yaml's events: no tag makes an object.

As in promptfoo: yes, no, on, off and 12:30 are text, 012 is 12, 1_000 is text, `<<` merges. A date stays text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from llmswitch.suites.nodes import Path

__all__ = ["YamlError", "parse_yaml"]

_DEEPEST = 60
#: how many values a file may hold, those that its aliases stand for counted each time
_MOST = 500_000

_INTEGER = re.compile(r"[-+]?[0-9]{1,300}")
_OTHER_BASE = re.compile(r"0o([0-7]{1,100})|0x([0-9a-fA-F]{1,100})")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,300}|[0-9]{1,300}(?:\.[0-9]{0,300})?)(?:[eE][-+]?[0-9]{1,5})?")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


class YamlError(Exception):
    """What is wrong with a YAML text; `line` and `column` from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.message, self.line, self.column = message, line, column


class _Spot(NamedTuple):
    """Where a value stands, where its parts do, and how many values it is made of."""

    line: int
    column: int
    parts: dict[str | int, _Spot]
    size: int


def parse_yaml(text: str) -> tuple[Any, Callable[[Path], tuple[int, int]]]:
    """The one document of `text` (None where empty) and what tells where a path of it stands. Raises YamlError."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError

    if "!" * 1000 in text:
        raise YamlError("no text has a thousand exclamation marks in a row: as a tag they take for ever.", 1, 1)
    try:
        builder = _Builder(iter(YAML(typ="safe", pure=True).parse(text)))
        value, root = builder.document()
    except YamlError:
        raise
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise YamlError(f"this is not YAML: {error.problem or error.context}.", line, column) from error
    except Exception as error:  # the scanner fails in many ways on hostile input: ValueError, IndexError, TypeError, …
        raise YamlError(f"this is not YAML: {str(error) or type(error).__name__}.", 1, 1) from error

    def locate(path: Path) -> tuple[int, int]:
        spot = root
        for key in path:
            found = spot.parts.get(key)
            if found is None:
                break
            spot = found
        return spot.line, spot.column

    return value, locate


def _paired(text: str) -> str:
    """`text` with the surrogates that its escapes made joined to characters, and U+FFFD for one that is alone."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class _Builder:
    """Values from events. What an anchor names is one object, however often it is used."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._anchors: dict[str, tuple[Any, _Spot]] = {}
        self._size = 0

    def document(self) -> tuple[Any, _Spot]:
        empty = None, _Spot(1, 1, {}, 1)
        kind, event = self._next()
        while kind in ("StreamStart", "DocumentStart"):
            kind, event = self._next()
        if kind == "StreamEnd":
            return empty
        found = self._value(kind, event, 0)
        kind, event = self._next()
        while kind == "DocumentEnd":
            kind, event = self._next()
        if kind != "StreamEnd":
            raise self._error("a suite's file holds one document, and here a second one begins.", event)
        return found

    def _next(self) -> tuple[str, Any]:
        event = next(self._events)
        return type(event).__name__.removesuffix("Event"), event

    @staticmethod
    def _error(message: str, event: Any) -> YamlError:
        return YamlError(message, event.start_mark.line + 1, event.start_mark.column + 1)

    def _value(self, kind: str, event: Any, depth: int) -> tuple[Any, _Spot]:
        if depth > _DEEPEST:
            raise self._error(f"lists and mappings are nested more than {_DEEPEST} deep.", event)
        if kind == "Alias":
            if event.anchor not in self._anchors:
                raise self._error(f"the alias *{event.anchor} has no anchor before it.", event)
            found = self._anchors[event.anchor]
            self._count(found[1].size, event)
            return found
        make = {"Scalar": self._scalar, "SequenceStart": self._sequence, "MappingStart": self._mapping}[kind]
        self._count(1, event)
        found = make(event, depth)
        if event.anchor:
            self._anchors[event.anchor] = found
        return found

    def _count(self, size: int, event: Any) -> None:
        self._size += size
        if self._size > _MOST:
            raise self._error(f"this file stands for more than {_MOST:,} values: its aliases multiply.", event)

    @staticmethod
    def _spot(event: Any, parts: dict[str | int, _Spot]) -> _Spot:
        size = 1 + sum(part.size for part in parts.values())
        return _Spot(event.start_mark.line + 1, event.start_mark.column + 1, parts, size)

    def _scalar(self, event: Any, depth: int) -> tuple[Any, _Spot]:
        tag = str(event.tag).removeprefix("tag:yaml.org,2002:") if event.tag else None
        if tag is None and not event.implicit[0]:
            tag = "str"
        if tag not in (None, "str", "int", "float", "bool", "null", "!"):
            raise self._error(f"the tag {event.tag} means nothing here.", event)
        text = _paired(str(event.value))
        value = text if tag in ("str", "!") else self._plain(text, event)
        return value, self._spot(event, {})

    def _plain(self, text: str, event: Any) -> Any:
        if text in _WORDS:
            return _WORDS[text]
        if _NOT_FINITE.fullmatch(text):
            raise self._error(f"{text} is no number that can be compared or written down.", event)
        if _INTEGER.fullmatch(text):
            return int(text)
        other = _OTHER_BASE.fullmatch(text)
        if other:
            return int(other[1], 8) if other[1] else int(other[2], 16)
        if _FLOAT.fullmatch(text):
            value = float(text)
            if math.isinf(value):
                raise self._error(f"{text} is too large for a number.", event)
            return value
        return text

    def _sequence(self, event: Any, depth: int) -> tuple[Any, _Spot]:
        values: list[Any] = []
        parts: dict[str | int, _Spot] = {}
        kind, item = self._next()
        while kind != "SequenceEnd":
            value, parts[len(values)] = self._value(kind, item, depth + 1)
            values.append(value)
            kind, item = self._next()
        return values, self._spot(event, parts)

    def _mapping(self, event: Any, depth: int) -> tuple[Any, _Spot]:
        values: dict[str, Any] = {}
        parts: dict[str | int, _Spot] = {}
        merged: list[tuple[Any, _Spot]] = []
        kind, item = self._next()
        while kind != "MappingEnd":
            key = self._key(kind, item)
            found = self._value(*self._next(), depth + 1)
            if key == "<<" and item.implicit[0]:
                merged += self._merges(found, item)
            elif key in values:
                raise self._error(f"the key {key!r} stands here twice.", item)
            else:
                values[key], parts[key] = found
            kind, item = self._next()
        for more, spot in merged:
            for key in more:
                if key not in values:
                    values[key], parts[key] = more[key], spot.parts[key]
        return values, self._spot(event, parts)

    def _key(self, kind: str, event: Any) -> str:
        if kind != "Scalar":
            raise self._error("a key must be text.", event)
        return _paired(str(event.value))

    def _merges(self, found: tuple[Any, _Spot], event: Any) -> list[tuple[Any, _Spot]]:
        value, spot = found
        several = [(one, spot.parts[n]) for n, one in enumerate(value)] if isinstance(value, list) else [found]
        if not all(isinstance(one, dict) for one, _ in several):
            raise self._error("<< merges a mapping, or a list of them.", event)
        return several
