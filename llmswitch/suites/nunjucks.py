"""Nunjucks, as promptfoo configures it, over Jinja2's sandbox: what differs between the two is put right here.

Only dicts, lists, texts and numbers get in, nothing of Python's can be reached through them, and what one rendering
may do is counted: loops, calls and what is written all end at a bound.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from html import escape
from typing import Any
from urllib.parse import quote

from jinja2 import ChainableUndefined, Template, TemplateError, Undefined, nodes, pass_context
from jinja2 import filters as jinja_filters
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment
from jinja2.visitor import NodeTransformer

from llmswitch.suites.javascript import METHODS, calculate, compare, js_json, js_text, truth
from llmswitch.suites.json_text import JsonError, parse_json
from llmswitch.suites.templates import RenderError

__all__ = ["Meter", "Nunjucks"]

_MOST_STEPS = 200_000
_MOST_TEXT = 10_000_000
_LONGEST_TEMPLATE = 1_000_000
#: where a rendering's meter is found; no name of a template can have a space
_METER = "the meter"


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


def _meter(context: Context) -> Meter:
    meter: Meter = context.parent[_METER]
    return meter


@pass_context
def _shown(context: Context, value: Any) -> str:
    """What `{{ value }}` prints."""
    if isinstance(value, Undefined):
        # an `if` without an `else` gives what has no name
        if value._undefined_name is not None:
            _meter(context).missing[str(value._undefined_name)] = None
        return ""
    text = js_text(list(value) if isinstance(value, Iterator) else value)
    _meter(context).write(len(text))
    return text


@pass_context
def _each(context: Context, value: Any, pairs: bool) -> Iterator[Any]:
    """What a loop goes through: a mapping only as pairs, and what is no list, not at all."""
    if isinstance(value, dict):
        value = value.items() if pairs else ()
    if not isinstance(value, (str, Iterable)) or isinstance(value, Undefined):
        value = ()
    meter = _meter(context)
    for one in value:
        meter.step()
        yield one


@pass_context
def _concat(context: Context, parts: list[Any]) -> str:
    text = "".join(js_text(None if isinstance(part, Undefined) else part) for part in parts)
    _meter(context).write(len(text))
    return text


@pass_context
def _join(context: Context, items: Any, mark: Any = "", attribute: str | None = None) -> str:
    items = [] if isinstance(items, Undefined) else list(items)
    if attribute is not None:
        items = [one.get(attribute) if isinstance(one, dict) else None for one in items]
    texts = [js_text(one) for one in items]
    _meter(context).write(sum(map(len, texts)) + len(items) * len(js_text(mark)))
    return js_text(mark).join(texts)


@pass_context
def _replace(context: Context, value: Any, old: Any, new: Any, count: int = -1) -> str:
    text, old, new = js_text(value), js_text(old), js_text(new)
    _meter(context).write(text.count(old) * len(new))
    return text.replace(old, new, count)


@pass_context
def _indent(context: Context, value: Any, width: int = 4, first: bool = False) -> str:
    text = js_text(value)
    _meter(context).write((text.count("\n") + 1) * max(0, int(width)))
    pad = " " * int(width)
    return (pad if first else "") + f"\n{pad}".join(text.split("\n"))


@pass_context
def _center(context: Context, value: Any, width: int = 80) -> str:
    _meter(context).write(int(width))
    return js_text(value).center(int(width))


@pass_context
def _range(context: Context, start: int, stop: int | None = None, step: int = 1) -> list[int]:
    numbers = range(start) if stop is None else range(start, stop, step or 1)
    if len(numbers) > _MOST_STEPS:
        raise RenderError(f"a range of {len(numbers):,} numbers is too long.")
    return list(numbers)


@pass_context
def _dump(context: Context, value: Any, indent: int = 0) -> str:
    if isinstance(value, Undefined):
        return ""
    text = js_json(list(value) if isinstance(value, Iterator) else value, min(int(indent), 10))
    _meter(context).write(len(text))
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


def _length(value: Any) -> int | None:
    """UTF-16 units of a text; of a number there is none."""
    if isinstance(value, str):
        return len(value.encode("utf-16-le", "surrogatepass")) // 2
    return len(value) if isinstance(value, (list, tuple, dict)) else 0 if _defined(value) is None else None


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
    return lambda value: work(js_text(None if isinstance(value, Undefined) else value))


def _end(index: int) -> Callable[[Any], Any]:
    return lambda value: value[index] if isinstance(value, (str, list, tuple)) and value else None


#: nunjucks' own, and promptfoo's `load`; `random` is none of them, as a case must be the same every night
_FILTERS: dict[str, Callable[..., Any]] = {
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
    "length": _length,
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
    "_compare": lambda left, right, sign: compare(sign, _defined(left), _defined(right)),
    "_concat": _concat,
    "_each": _each,
    "_truth": lambda value: not isinstance(value, Undefined) and truth(value),
}


#: of Jinja2's, those that nunjucks has as well and that look at one value
_TESTS = (
    *("callable", "defined", "divisibleby", "even", "iterable", "lower", "mapping", "none", "number", "odd", "string"),
    *("undefined", "upper"),
)


def _defined(value: Any) -> Any:
    return None if isinstance(value, Undefined) else value


def _strictly(left: Any, right: Any) -> bool:
    """`===`: nothing equals a value of another kind."""
    left, right = _defined(left), _defined(right)
    kinds = [float if type(one) is int else type(one) for one in (left, right)]
    return bool(kinds[0] is kinds[1] and left == right)


class _Translation(NodeTransformer):
    """Loops, comparisons, conditions and '~' become filters of ours, which know JavaScript and keep count."""

    def __init__(self, environment: SandboxedEnvironment) -> None:
        self._environment = environment

    def _filter(self, node: nodes.Expr, name: str, *arguments: nodes.Expr) -> nodes.Filter:
        filtered = nodes.Filter(node, name, list(arguments), [], None, None, lineno=node.lineno)
        return filtered.set_environment(self._environment)  # type: ignore[return-value]  # it returns itself

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - the visitor's name
        self.generic_visit(node)
        pairs = nodes.Const(isinstance(node.target, nodes.Tuple), lineno=node.lineno)
        node.iter = self._filter(node.iter, "_each", pairs)  # type: ignore[arg-type]  # an expression
        return node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        if isinstance(node.key, nodes.Name):
            node.key = nodes.Const(node.key.name, lineno=node.lineno)
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        found = node.expr
        for operand in node.ops:
            found = self._filter(found, "_compare", operand.expr, nodes.Const(operand.op, lineno=node.lineno))
        return found

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return self._filter(nodes.List(node.nodes, lineno=node.lineno), "_concat")

    def visit_If(self, node: nodes.If) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.test = self._filter(node.test, "_truth")  # type: ignore[arg-type]  # an expression
        return node

    def visit_CondExpr(self, node: nodes.CondExpr) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.test = self._filter(node.test, "_truth")
        return node


class _Environment(SandboxedEnvironment):
    """Jinja2's sandbox with nunjucks' ways."""

    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))

    def __init__(self) -> None:
        super().__init__(
            finalize=_shown,
            undefined=ChainableUndefined,
            keep_trailing_newline=True,
            optimized=False,
            autoescape=False,
            cache_size=0,
        )
        self.filters = dict(_FILTERS)
        known = ("cycler", "joiner")
        self.tests = {name: self.tests[name] for name in _TESTS}
        self.tests.update(dict.fromkeys(("equalto", "eq", "sameas"), _strictly), null=lambda value: value is None)
        self.globals = {**{name: self.globals[name] for name in known}, "range": _range, "null": None}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        _Translation(self).visit(tree)
        return tree

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        found = calculate(operator, _defined(left), _defined(right))
        if isinstance(found, str):
            _meter(context).write(len(found))
        return found

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        _meter(context).step()
        return super().call(context, obj, *args, **kwargs)

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self._member(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        return self._member(obj, argument)

    def _member(self, obj: Any, name: Any) -> Any:
        if isinstance(obj, dict):
            key = name if isinstance(name, str) else js_text(name)
            return obj[key] if key in obj else self.undefined(obj=obj, name=key)
        if isinstance(obj, (str, list, tuple)):
            if isinstance(name, int) and 0 <= name < len(obj):
                return obj[name]
            if name == "length":
                return _length(obj)
            method = METHODS[str if isinstance(obj, str) else list].get(name) if isinstance(name, str) else None
            return partial(method, obj) if method else self.undefined(obj=obj, name=js_text(name))
        if obj is None or isinstance(obj, (Undefined, bool, int, float)):
            return self.undefined(obj=obj, name=js_text(name))
        return super().getattr(obj, js_text(name))


class Nunjucks:
    """Renders templates. The last few hundred are kept compiled."""

    _KEPT = 512

    def __init__(self) -> None:
        self._environment = _Environment()
        self._compiled: dict[str, Template] = {}

    def compile(self, text: str) -> Template:
        """`text` as a template. Raises RenderError."""
        kept = self._compiled.get(text)
        if kept is not None:
            return kept
        if len(text) > _LONGEST_TEMPLATE:
            raise RenderError("a template of over a million characters is too long.")
        try:
            template = self._environment.from_string(_TAG.sub(_as_jinja, text))
        except TemplateError as error:
            raise RenderError(f"{error.message or error} (line {getattr(error, 'lineno', 1)} of it).") from error
        except (SyntaxError, RecursionError, MemoryError, ValueError) as error:
            raise RenderError("it is nested too deeply.") from error
        if len(self._compiled) >= self._KEPT:
            self._compiled.clear()
        self._compiled[text] = template
        return template

    def render(self, text: str, values: Mapping[str, Any], missing: dict[str, None]) -> str:
        """`text` with `values`; names without a value are added to `missing`. Raises RenderError."""
        template, meter = self.compile(text), Meter()
        try:
            rendered = template.render({**values, _METER: meter})
        except RenderError:
            raise
        except RecursionError as error:
            raise RenderError("it is nested too deeply.") from error
        except Exception as error:  # whatever a filter says of a value that it was not made for
            raise RenderError(f"{error}.") from error
        missing.update(meter.missing)
        return rendered

    def names(self, text: str) -> set[str]:
        """The names that `text` takes from outside. Raises RenderError."""
        from jinja2 import meta

        try:
            return meta.find_undeclared_variables(self._environment.parse(text))
        except TemplateError as error:
            raise RenderError(f"{error.message or error}.") from error
        except RecursionError as error:
            raise RenderError("it is nested too deeply.") from error


_TAG = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)


def _as_jinja(tag: re.Match[str]) -> str:
    """A tag of nunjucks, which knows ===, !== and elseif as well."""
    text = tag[0].replace("!==", " is not sameas ").replace("===", " is sameas ")
    return re.sub(r"^(\{%-?\s{0,100})elseif\b", r"\1elif", text)
