"""Structured answers side by side, field by field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple

__all__ = ["Field", "compare_fields"]

_MOST_ROWS = 2000
_MOST_COUNTED = 50_000
#: characters: a hostile answer can make a path as long as itself, in each of its rows
_LONGEST_PATH = 300

_NAME = re.compile(r"[^\W\d]\w*")
_ABSENT = object()


class Field(NamedTuple):
    """A leaf of any of the answers: a scalar, `{}` or `[]`, at a path such as `$.items[0].name`.

    `values` are compact JSON, in the order of the answers, None where an answer has no leaf there. `agree` is true
    where every answer that is JSON has the same one: 1 and 1.0 are the same, true and 1 are not.
    """

    path: str
    values: tuple[str | None, ...]
    agree: bool


def compare_fields(answers: Sequence[str | None]) -> tuple[Field, ...]:
    """The leaves of `answers`, which are JSON; what is not, or nested too deeply for Python, counts as None.

    In each object the keys are in the order of their first appearance. A key given twice has its last value. After
    2,000 rows a last one, `… 57 more`, says how many were left out, and agrees if they do; 50,000 are counted. A path
    over 300 characters is shortened in its middle.
    """
    parsed = [_parsed(text) for text in answers]
    asked = [place for place, value in enumerate(parsed) if value is not _ABSENT]
    fields = _fields(parsed, asked)
    shown = tuple(islice(fields, _MOST_ROWS))
    left_out = [field.agree for field in islice(fields, _MOST_COUNTED)]
    if not left_out:
        return shown
    many = f"{len(left_out):,}{'+' if len(left_out) == _MOST_COUNTED else ''}"
    return (*shown, Field(f"… {many} more", (None,) * len(answers), all(left_out)))


def _parsed(text: str | None) -> Any:
    """`text` as JSON with every number a Decimal: exact, of any length, and 1 == 1.0."""
    if text is None:
        return _ABSENT
    try:
        return json.loads(text, parse_int=Decimal, parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, ArithmeticError, RecursionError):  # ArithmeticError: an exponent beyond 10^18
        return _ABSENT


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _fields(parsed: Sequence[Any], asked: Sequence[int]) -> Iterator[Field]:
    """All answers are walked at once, without recursion: what json.loads reads can be deeper than that may go."""
    below: list[Iterator[tuple[str, Sequence[Any]]]] = [iter([("$", parsed)])]
    while below:
        here = next(below[-1], None)
        if here is None:
            below.pop()
            continue
        path, values = here
        leaves = tuple(_leaf(value) for value in values)
        if any(leaf is not None for leaf in leaves):
            compared = all(leaves[place] is not None for place in asked)
            yield Field(path, leaves, compared and _equal([values[place] for place in asked]))
        below.append(_children(path, values))


def _leaf(value: Any) -> str | None:
    """The value as compact JSON; None where it has parts, or is not there."""
    if value is _ABSENT or (value and isinstance(value, (dict, list))):
        return None
    return str(value) if isinstance(value, (Decimal, dict, list)) else _quoted(value)


def _quoted(value: Any) -> str:
    """JSON that can be encoded: half a letter, which JSON can hold, stays escaped."""
    return json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace").decode()


def _equal(values: Sequence[Any]) -> bool:
    return all(type(value) is type(values[0]) and value == values[0] for value in values)


def _children(path: str, values: Sequence[Any]) -> Iterator[tuple[str, Sequence[Any]]]:
    for key in dict.fromkeys(key for value in values if isinstance(value, dict) for key in value):
        parts = [value.get(key, _ABSENT) if isinstance(value, dict) else _ABSENT for value in values]
        yield _shortened(path + _step(key)), parts
    for place in range(max((len(value) for value in values if isinstance(value, list)), default=0)):
        parts = [value[place] if isinstance(value, list) and place < len(value) else _ABSENT for value in values]
        yield _shortened(f"{path}[{place}]"), parts


def _step(key: str) -> str:
    """As in the normalized paths of RFC 9535, but for the short form of a key that is a name."""
    if _NAME.fullmatch(key):
        return f".{key}"
    inside = _quoted(key)[1:-1].replace('\\"', '"').replace("'", "\\'")
    return f"['{inside}']"


def _shortened(path: str) -> str:
    return path if len(path) <= _LONGEST_PATH else f"{path[:100]}…{path[101 - _LONGEST_PATH :]}"
