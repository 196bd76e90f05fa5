"""JSON as plain values, strictly, and where in its text a value stands."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from llmswitch.suites.nodes import Path
from llmswitch.text import encodable

__all__ = ["JsonError", "json_place", "offset_place", "parse_json"]

_DEEPEST = 60
_SPACE = re.compile(r"[ \t\r\n]*")


class JsonError(Exception):
    """What is wrong with a JSON text, and at which character of it, from 0."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.message, self.offset = message, offset


def parse_json(text: str) -> Any:
    """The value of `text`. NaN, Infinity, numbers beyond a double and a key given twice are refused: JsonError."""
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise JsonError(f"this is not JSON: {error.msg}.", error.pos) from error
    except RecursionError as error:
        raise JsonError("this JSON is nested too deeply.") from error
    except ValueError as error:
        raise JsonError(f"this JSON cannot be taken: {error}.") from error
    if text.count("[") + text.count("{") > _DEEPEST and _depth(value) > _DEEPEST:
        raise JsonError(f"lists and objects are nested more than {_DEEPEST} deep.")
    return _without_surrogates(value) if "\\ud" in text.lower() else value


def _depth(value: Any) -> int:
    """How deep lists and objects are nested, found without recursion."""
    layer, depth = [value], 0
    while layer := [one for one in layer if isinstance(one, (list, dict))]:
        layer = [part for one in layer for part in (one.values() if isinstance(one, dict) else one)]
        depth += 1
    return depth


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:40]} is too large for a number")
    return value


def _integer(text: str) -> int:
    if len(text) > 300:
        raise ValueError(f"{text[:40]}… is too large for a number")
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # None
        raise ValueError(f"the key {twice[:80]!r} stands in an object twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_integer)


def _without_surrogates(value: Any) -> Any:
    """`value` with U+FFFD for each lone surrogate, which JSON's escapes can make and UTF-8 cannot hold."""
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, list):
        return [_without_surrogates(one) for one in value]
    if isinstance(value, dict):
        return {encodable(key): _without_surrogates(one) for key, one in value.items()}
    return value


def json_place(text: str, path: Path, *, first_line: int = 1) -> tuple[int, int]:
    """Line and column, from 1, of what `path` leads to in `text`, which must be JSON; of the deepest part there is."""
    decoder = json.JSONDecoder()
    offset = _skip(text, 0)
    for key in path:
        found = _member(decoder, text, offset, key)
        if found is None:
            break
        offset = found
    return offset_place(text, offset, first_line=first_line)


def offset_place(text: str, offset: int, *, first_line: int = 1) -> tuple[int, int]:
    """Line and column, from 1, of a character."""
    return first_line + text.count("\n", 0, offset), offset - text.rfind("\n", 0, offset)


def _skip(text: str, offset: int) -> int:
    match = _SPACE.match(text, offset)
    return match.end() if match else offset


def _member(decoder: json.JSONDecoder, text: str, offset: int, wanted: str | int) -> int | None:
    """Where the member `wanted` of the list or object at `offset` begins."""
    opening, number = text[offset : offset + 1], 0
    if opening not in ("{", "["):
        return None
    offset = _skip(text, offset + 1)
    while offset < len(text) and text[offset] not in "}]":
        key: str | int = number
        if opening == "{":
            key, offset = decoder.raw_decode(text, offset)
            offset = _skip(text, _skip(text, offset) + 1)
        if key == wanted:
            return offset
        _, offset = decoder.raw_decode(text, offset)
        offset = _skip(text, offset)
        if text[offset : offset + 1] == ",":
            offset = _skip(text, offset + 1)
        number += 1
    return None
