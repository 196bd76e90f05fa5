"""Nunjucks' filters and tests, with JavaScript's ways, and counting what they do: what is bounded, is bounded here."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from html import escape
from typing import Any
from urllib.parse import quote

from jinja2 import Undefined, pass_context
from jinja2 import filters as jinja_filters
from jinja2 import tests as jinja_tests
from jinja2.runtime import Context

from llmswitch.suites.javascript import compare, js_json, js_text, same, truth
from llmswitch.suites.json_text import JsonError, parse_json
from llmswitch.suites.templates import RenderError

__all__ = ["FILTERS", "METER", "TESTS", "Meter", "defined", "length_of", "meter_of", "number_range", "shown"]

_MOST_STEPS = 200_000
_MOST_TEXT = 10_000_000
#: where a rendering's meter is found; no name of a template can have a space
METER = "the meter"


class Meter:
    """What one rendering has done, and which names it wrote out that had no value."""

    __slots__ = ("missing", "steps", "text")

    def __init__(self) -> None:
        self.steps, self.text = _MOST_STEPS, _MOST_TEXT
        self.missing: dict[str, None] = {}

    def step(self) -> None:
        """One turn of a loop, or one call."""
        self.steps -= 1
        if self.steps < 0:
            raise RenderError(f"it takes over {_MOST_STEPS:,} steps.")

    def write(self, length: int) -> None:
        """So many characters come to be."""
        self.text -= length
        if self.text < 0:
            raise RenderError(f"it writes over {_MOST_TEXT // 1_000_000} million characters.")


def meter_of(context: Context) -> Meter:
    """The meter of this rendering."""
    meter: Meter = context.parent[METER]
    return meter


def defined(value: Any) -> Any:
    """`value`, null where it has none."""
    return None if isinstance(value, Undefined) else value


def _strictly(left: Any, right: Any) -> bool:
    return same(defined(left), defined(right))


@pass_context
def shown(context: Context, value: Any) -> str:
    """What `{{ value }}` prints."""
    if isinstance(value, Undefined):
        # an `if` without an `else` gives what has no name
        if value._undefined_name is not None:
            meter_of(context).missing[str(value._undefined_name)] = None
        return ""
    text = js_text(list(value) if isinstance(value, Iterator) else value)
    meter_of(context).write(len(text))
    return text


@pass_context
def _each(context: Context, value: Any, pairs: bool) -> Iterator[Any]:
    """What a loop goes through: a mapping only as pairs, and what is no list, not at all."""
    if isinstance(value, dict):
        value = value.items() if pairs else ()
    if not isinstance(value, (str, Iterable)) or isinstance(value, Undefined):
        value = ()
    meter = meter_of(context)
    for one in value:
        meter.step()
        yield one


@pass_context
def _concat(context: Context, parts: list[Any]) -> str:
    text = "".join(js_text(None if isinstance(part, Undefined) else part) for part in parts)
    meter_of(context).write(len(text))
    return text


@pass_context
def _join(context: Context, items: Any, mark: Any = "", attribute: str | None = None) -> str:
    items = [] if isinstance(items, Undefined) else list(items)
    if attribute is not None:
        items = [one.get(attribute) if isinstance(one, dict) else None for one in items]
    texts = [js_text(one) for one in items]
    meter_of(context).write(sum(map(len, texts)) + len(items) * len(js_text(mark)))
    return js_text(mark).join(texts)


@pass_context
def _replace(context: Context, value: Any, old: Any, new: Any, count: int = -1) -> str:
    text, old, new = js_text(value), js_text(old), js_text(new)
    meter_of(context).write(text.count(old) * len(new))
    return text.replace(old, new, count)


@pass_context
def _indent(context: Context, value: Any, width: int = 4, first: bool = False) -> str:
    text = js_text(value)
    meter_of(context).write((text.count("\n") + 1) * max(0, int(width)))
    pad = " " * int(width)
    return (pad if first else "") + f"\n{pad}".join(text.split("\n"))


@pass_context
def _center(context: Context, value: Any, width: int = 80) -> str:
    meter_of(context).write(int(width))
    text = js_text(value)
    # where it cannot be in the middle, it is left of it
    return f"{' ' * ((int(width) - len(text)) // 2)}{text}".ljust(int(width))


@pass_context
def number_range(context: Context, start: int, stop: int | None = None, step: int = 1) -> list[int]:
    """`range`, of a length that ends."""
    numbers = range(start) if stop is None else range(start, stop, step or 1)
    if len(numbers) > _MOST_STEPS:
        raise RenderError(f"a range of {len(numbers):,} numbers is too long.")
    return list(numbers)


@pass_context
def _dump(context: Context, value: Any, indent: int = 0) -> str:
    if isinstance(value, Undefined):
        return ""
    text = js_json(list(value) if isinstance(value, Iterator) else value, min(int(indent), 10))
    meter_of(context).write(len(text))
    return text


def _load(value: Any) -> Any:
    try:
        return parse_json(js_text(value))
    except JsonError as error:
        raise RenderError(f"the filter load: {error.message}") from error


def _default(value: Any, other: Any = "", falsy: bool = False) -> Any:
    return other if isinstance(value, Undefined) or (falsy and not truth(value)) else value


def _truncate(value: Any, length: int = 255, whole_words: bool = False, end: str = "...") -> str:
    text = js_text(value)
    if len(text) <= length:
        return text
    cut = text[:length]
    return (cut if whole_words or " " not in cut else cut[: cut.rindex(" ")]) + js_text(end)


def length_of(value: Any) -> int | None:
    """UTF-16 units of a text; of a number there is none."""
    if isinstance(value, str):
        return len(value.encode("utf-16-le", "surrogatepass")) // 2
    return len(value) if isinstance(value, (list, tuple, dict)) else 0 if defined(value) is None else None


def _read(pattern: str, kind: Callable[[str], float]) -> Callable[..., Any]:
    """A number from the start of a text, as parseInt and parseFloat read it; nothing where none is there."""

    def read(value: Any, other: Any = None) -> Any:
        found = re.match(pattern, js_text(None if isinstance(value, Undefined) else value))
        return kind(found[0]) if found else other

    return read


def _round(value: Any, digits: int = 0, method: str = "common") -> float:
    """A half is rounded up."""
    factor, up = 10 ** min(int(digits), 15), {"ceil": math.ceil, "floor": math.floor}
    return float(up.get(method, lambda number: math.floor(number + 0.5))(value * factor) / factor)


def _chunks(value: Any, size: int) -> list[list[Any]]:
    items, size = list(value), max(1, int(size))
    return [items[start : start + size] for start in range(0, len(items), size)]


def _slices(value: Any, count: int) -> list[list[Any]]:
    items, count = list(value), max(1, min(int(count), _MOST_STEPS))
    size, more = divmod(len(items), count)
    return [items[n * size + min(n, more) : (n + 1) * size + min(n + 1, more)] for n in range(count)]


def _sort(value: Any, backwards: bool = False, exact: bool = False, attribute: str | None = None) -> list[Any]:
    def key(one: Any) -> Any:
        one = one.get(attribute) if attribute is not None and isinstance(one, dict) else one
        if isinstance(one, (bool, int, float)):
            return 0, one, ""
        text = js_text(one)
        return 1, 0, text if exact else text.lower()

    return sorted(value, key=key, reverse=bool(backwards))


def _groups(value: Iterable[Any], attribute: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for one in value:
        found.setdefault(js_text(one.get(attribute)) if isinstance(one, dict) else "undefined", []).append(one)
    return found


def _of_text(work: Callable[[str], Any]) -> Callable[[Any], Any]:
    # what is false is as good as none
    return lambda value: work(js_text(None if value is False else defined(value)))


def _end(index: int) -> Callable[[Any], Any]:
    return lambda value: value[index] if isinstance(value, (str, list, tuple)) and value else None


#: nunjucks' own, and promptfoo's `load`; `random` is none of them, as a case must be the same every night
FILTERS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "batch": _chunks,
    "capitalize": _of_text(str.capitalize),
    "center": _center,
    "d": _default,
    "default": _default,
    "dictsort": lambda value: sorted(value.items(), key=lambda pair: pair[0].lower()),
    "dump": _dump,
    "e": _of_text(escape),
    "escape": _of_text(escape),
    "first": _end(0),
    "float": _read(r"\s*[-+]?(?:[0-9]{1,300}(?:\.[0-9]{0,300})?|\.[0-9]{1,300})(?:[eE][-+]?[0-9]{1,3})?", float),
    "groupby": _groups,
    "indent": _indent,
    "int": _read(r"\s*[-+]?[0-9]{1,300}", int),
    "join": _join,
    "last": _end(-1),
    "length": length_of,
    "list": lambda value: list(value.items()) if isinstance(value, dict) else list(value),
    "load": _load,
    "lower": _of_text(str.lower),
    "nl2br": _of_text(lambda text: re.sub(r"\r\n|\n", "<br />\n", text)),
    "reject": jinja_filters.do_reject,
    "rejectattr": jinja_filters.do_rejectattr,
    "replace": _replace,
    "reverse": lambda value: value[::-1] if isinstance(value, str) else list(value)[::-1],
    "round": _round,
    "safe": lambda value: value,
    "select": jinja_filters.do_select,
    "selectattr": jinja_filters.do_selectattr,
    "slice": _slices,
    "sort": _sort,
    "string": js_text,
    "striptags": _of_text(lambda text: re.sub(r"<[^<>]*>", "", text).strip()),
    "sum": jinja_filters.do_sum,
    "title": _of_text(lambda text: " ".join(word.capitalize() for word in text.split(" "))),
    "trim": _of_text(str.strip),
    "truncate": _truncate,
    "upper": _of_text(str.upper),
    "urlencode": _of_text(partial(quote, safe="!'()*~")),
    "wordcount": _of_text(lambda text: len(re.findall(r"\w+", text))),
    "_compare": lambda left, right, sign: compare(sign, defined(left), defined(right)),
    "_concat": _concat,
    "_each": _each,
    "_truth": lambda value: not isinstance(value, Undefined) and truth(value),
}


def _stands(sign: str, left: Any, right: Any) -> bool:
    return compare(sign, defined(left), defined(right))


#: of Jinja2's, those that nunjucks has as well and that look at one value
_ALIKE = (
    "defined",
    "divisibleby",
    "even",
    "iterable",
    "lower",
    "mapping",
    "none",
    "odd",
    "string",
    "undefined",
    "upper",
)
TESTS: dict[str, Callable[..., Any]] = {
    **{name: getattr(jinja_tests, f"test_{name}") for name in _ALIKE},
    **dict.fromkeys(("equalto", "eq", "sameas"), _strictly),
    **{name: partial(_stands, sign) for name, sign in (("gt", "gt"), ("greaterthan", "gt"), ("ge", "gteq"))},
    **{name: partial(_stands, sign) for name, sign in (("lt", "lt"), ("lessthan", "lt"), ("le", "lteq"))},
    "falsy": lambda value: not truth(defined(value)),
    "ne": lambda left, right: not _strictly(left, right),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "truthy": lambda value: truth(defined(value)),
}
