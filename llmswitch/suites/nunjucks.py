"""Nunjucks, as promptfoo configures it, over Jinja2's sandbox: what differs between the two is put right here.

Only dicts, lists, texts and numbers get in, nothing of Python's can be reached through them, and what one rendering
may do is counted: loops, calls and what is written all end at a bound.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from jinja2 import ChainableUndefined, Template, TemplateError, Undefined, nodes
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment
from jinja2.visitor import NodeTransformer

from llmswitch.suites.filters import FILTERS, METER, TESTS, Meter, length_of, meter_of, number_range, shown
from llmswitch.suites.javascript import METHODS, calculate, js_text
from llmswitch.suites.templates import BrokenTemplate, RenderError
from llmswitch.text import encodable

__all__ = ["Nunjucks"]

_LONGEST_TEMPLATE = 1_000_000
_MOST_BRACES = 50_000


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

    def visit_Not(self, node: nodes.Not) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.node = self._filter(node.node, "_truth")
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
            finalize=shown,
            undefined=ChainableUndefined,
            keep_trailing_newline=True,
            optimized=False,
            autoescape=False,
            cache_size=0,
        )
        self.filters = dict(FILTERS)
        known = ("cycler", "joiner")
        self.tests = dict(TESTS)
        self.globals = {**{name: self.globals[name] for name in known}, "range": number_range, "null": None}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        _Translation(self).visit(tree)
        return tree

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        # nothing is known of what has no value, and so of what it adds up to
        left, right = (math.nan if isinstance(one, Undefined) else one for one in (left, right))
        found = calculate(operator, left, right)
        if isinstance(found, str):
            meter_of(context).write(len(found))
        return found

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        meter_of(context).step()
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
                return length_of(obj)
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
        """`text` as a template. Raises BrokenTemplate."""
        kept = self._compiled.get(text)
        if kept is not None:
            return kept
        if len(text) > _LONGEST_TEMPLATE or text.count("{") > _MOST_BRACES:
            raise BrokenTemplate("a template of over a million characters, or 50,000 braces, is too long.")
        try:
            template = self._environment.from_string(_TAG.sub(_as_jinja, text) if _OWN.search(text) else text)
        except TemplateError as error:
            raise BrokenTemplate(f"{error.message or error} (line {getattr(error, 'lineno', 1)} of it).") from error
        except (SyntaxError, RecursionError, MemoryError, ValueError) as error:
            raise BrokenTemplate("it is nested too deeply.") from error
        if len(self._compiled) >= self._KEPT:
            self._compiled.clear()
        self._compiled[text] = template
        return template

    def render(self, text: str, values: Mapping[str, Any], missing: dict[str, None]) -> str:
        """`text` with `values`; names without a value are added to `missing`. Raises RenderError."""
        template, meter = self.compile(text), Meter()
        try:
            rendered = template.render({**values, METER: meter})
        except RenderError:
            raise
        except RecursionError as error:
            raise RenderError("it is nested too deeply.") from error
        except Exception as error:  # whatever a filter says of a value that it was not made for
            raise RenderError(f"{error}.") from error
        missing.update(meter.missing)
        return encodable(rendered)

    def names(self, text: str) -> set[str]:
        """The names that `text` takes from outside. Raises RenderError."""
        from jinja2 import meta

        try:
            return meta.find_undeclared_variables(self._environment.parse(text))
        except TemplateError as error:
            raise RenderError(f"{error.message or error}.") from error
        except RecursionError as error:
            raise RenderError("it is nested too deeply.") from error


_TAG = re.compile(r"\{[{%].{0,2000}?[%}]\}", re.DOTALL)
#: what only nunjucks knows
_OWN = re.compile("===|!==|elseif")


def _as_jinja(tag: re.Match[str]) -> str:
    """A tag of nunjucks, which knows ===, !== and elseif as well."""
    text = tag[0].replace("!==", " is not sameas ").replace("===", " is sameas ")
    return re.sub(r"^(\{%-?\s{0,100})elseif\b", r"\1elif", text)
