"""What a suite's texts become once their variables are filled in, by promptfoo's rules.

A text variable may name others in `{{…}}`; missing ones are empty; in a prompt that is JSON, values are escaped as
JSON; a text with a tag that is not closed is no template.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llmswitch.errors import ConfigError
from llmswitch.suites.javascript import js_json, js_text
from llmswitch.suites.json_text import JsonError, parse_json

if TYPE_CHECKING:
    from llmswitch.suites.nunjucks import Nunjucks

__all__ = ["BrokenTemplate", "RenderError", "Renderer"]

_SIMPLE = re.compile(r"\{\{\s{0,100}([A-Za-z_]\w*)\s{0,100}\}\}", re.ASCII)
#: names that are none: a template knows them by itself
_WORDS = frozenset(
    (
        *("true", "false", "none", "null", "True", "False", "None", "range", "cycler", "joiner", "loop", "self"),
        *("caller", "and", "or", "not", "in", "is", "if", "else"),
    )
)
#: how often promptfoo looks for variables in variables
_ROUNDS = 5
#: how many prompts are kept parsed
_KEPT = 512
_LONGEST_VARIABLE = 10_000_000


class RenderError(Exception):
    """A template cannot be rendered: why, in a sentence."""


class BrokenTemplate(RenderError):  # noqa: N818  # a kind of RenderError
    """A text is no template, whatever its variables are."""


def _has_tags(text: str) -> bool:
    return "{{" in text or "{%" in text or "{#" in text


def _is_literal(text: str) -> bool:
    """Whether promptfoo leaves `text` as it is, for a tag that is still open where its line ends."""
    for line in text.split("\n"):
        tag, comment = line.rfind("{%"), line.rfind("{#")
        if line.rfind("{{") > line.rfind("}"):
            return True
        if (tag >= 0 and line.find("%", tag + 2) < 0) or (comment >= 0 and line.find("#", comment + 2) < 0):
            return True
    return False


class Renderer:
    """Fills templates in. Jinja2 is loaded with the first text that needs it."""

    def __init__(self) -> None:
        self._engine: Nunjucks | None = None
        #: JSON prompts as parsed, None for those that are none
        self._parsed: dict[str, Any] = {}
        self._parts: dict[str, list[str] | None] = {}

    def _nunjucks(self) -> Nunjucks:
        if self._engine is None:
            try:
                from llmswitch.suites.nunjucks import Nunjucks
            except ImportError as error:
                raise ConfigError("a suite's templates need the extra: type pip install 'llmswitch[bench]'.") from error
            self._engine = Nunjucks()
        return self._engine

    def text(self, text: str, values: Mapping[str, Any], missing: dict[str, None]) -> str:
        """`text` rendered; names without a value are added to `missing`. Raises RenderError."""
        if not _has_tags(text):
            return text
        parts = self._simple(text)
        if parts is not None:
            return _joined(parts, values, missing)
        try:
            return self._nunjucks().render(text, values, missing)
        except RenderError as error:
            raise type(error)(f"the template {text[:60]!r} cannot be rendered: {error}") from error

    def check(self, text: str) -> None:
        """Raises BrokenTemplate where `text` is none that variables could fill in."""
        if _has_tags(text) and self._simple(text) is None:
            try:
                self._nunjucks().compile(text)
            except BrokenTemplate as error:
                raise BrokenTemplate(f"the template {text[:60]!r} cannot be rendered: {error}") from error

    def _simple(self, text: str) -> list[str] | None:
        """`text` in parts, every second one a name, where it has no tags but those of names: most have none."""
        if text not in self._parts:
            parts = _SIMPLE.split(text)
            simple = not _WORDS.intersection(parts[1::2]) and not any(_has_tags(part) for part in parts[::2])
            if len(self._parts) >= _KEPT:
                self._parts.clear()
            self._parts[text] = parts if simple else None
        return self._parts[text]

    def prompt(self, raw: str, values: Mapping[str, Any], missing: dict[str, None]) -> str:
        """A prompt as it is sent: JSON with each of its texts rendered, else a text. Raises RenderError."""
        parsed = self._json(raw)
        if parsed is not None:
            return js_json(self.inside(parsed, values, missing), indent=2)
        if not _has_tags(raw) or _is_literal(raw):
            return raw
        return self.text(raw, {key: self._variable(one, values, missing) for key, one in values.items()}, missing)

    def inside(self, value: Any, values: Mapping[str, Any], missing: dict[str, None]) -> Any:
        """`value` with every text in it rendered. Raises RenderError."""
        if isinstance(value, str):
            return self.text(value, values, missing)
        if isinstance(value, list):
            return [self.inside(one, values, missing) for one in value]
        if isinstance(value, dict):
            return {key: self.inside(one, values, missing) for key, one in value.items()}
        return value

    def _json(self, raw: str) -> Any:
        """`raw` as JSON, None where it is none, or only a null."""
        if raw not in self._parsed:
            try:
                found = parse_json(raw) if raw[:200].lstrip()[:1] in tuple('[{"-0123456789tf') else None
            except JsonError:
                found = None
            if len(self._parsed) >= _KEPT:
                self._parsed.clear()
            self._parsed[raw] = found
        return self._parsed[raw]

    def _variable(self, value: Any, values: Mapping[str, Any], missing: dict[str, None]) -> Any:
        """A variable with the tags in it rendered, unless one of the names in them has no value."""
        if not isinstance(value, str) or not _has_tags(value) or _is_literal(value):
            return value
        try:
            names = self._nunjucks().names(value)
        except RenderError as error:
            raise RenderError(f"the variable {value[:60]!r} cannot be rendered: {error}") from error
        return value if names - values.keys() else self.text(value, values, missing)

    @staticmethod
    def resolved(values: Mapping[str, Any]) -> dict[str, Any]:
        """Variables with `{{other}}` in them filled in, and without the line break at their end. Raises RenderError."""
        found = {key: one.removesuffix("\n") if isinstance(one, str) else one for key, one in values.items()}
        waiting = [key for key, one in found.items() if isinstance(one, str) and "{{" in one]
        for _ in range(_ROUNDS):
            waiting = [key for key in waiting if _fill(found, key)]
            if not waiting:
                break
        return found


def _joined(parts: list[str], values: Mapping[str, Any], missing: dict[str, None]) -> str:
    """A simple template filled in."""
    found = list(parts)
    for index in range(1, len(parts), 2):
        name = parts[index]
        if name in values:
            found[index] = js_text(values[name])
        else:
            missing[name], found[index] = None, ""
    text = "".join(found)
    if len(text) > _LONGEST_VARIABLE:
        raise RenderError(f"a text grows over {_LONGEST_VARIABLE:,} characters, by the variables in it.")
    return text


def _fill(values: dict[str, Any], key: str) -> bool:
    """Fill in the first name in a variable; whether there was one."""
    text = values[key]
    match = _SIMPLE.search(text)
    if match is None or match[1] not in values:
        return False
    values[key] = text[: match.start()] + js_text(values[match[1]]) + text[match.end() :]
    if len(values[key]) > _LONGEST_VARIABLE:
        raise RenderError(f"the variable {key} grows over {_LONGEST_VARIABLE:,} characters, by variables in it.")
    return True
