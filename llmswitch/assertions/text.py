"""Assertions on the answer's text itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from llmswitch.assertions.base import Answer, Assertion, GradingError
from llmswitch.assertions.findings import Finding, quoted, yes_or_no
from llmswitch.assertions.js import parse, pattern, text_of, trim, units
from llmswitch.text import one_line

__all__ = [
    "comma_separated",
    "contains",
    "contains_all",
    "contains_any",
    "equals",
    "icontains",
    "icontains_all",
    "icontains_any",
    "regex",
    "starts_with",
]

_Grader = Callable[[Assertion, Answer], Finding]
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\]?|"")*+)"')
_DOUBLED = re.compile(r'\\(["\\])|"(")')


def equals(assertion: Assertion, answer: Answer) -> Finding:
    """Exactly this text, nothing trimmed; an object, a list or null compares with the answer's JSON, deeply."""
    value = assertion.value
    if value is None or isinstance(value, dict | list):
        try:
            same = _same(value, parse(answer.text))
        except (ValueError, RecursionError):
            same = False
    else:
        same = text_of(value) == answer.text
    return yes_or_no(assertion, same, f"it is {'' if same else 'not '}what was expected: {quoted(answer.text)}")


def _same(one: Any, other: Any) -> bool:
    """Without Python's True == 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def starts_with(assertion: Assertion, answer: Answer) -> Finding:
    """The answer begins with the value."""
    if not isinstance(assertion.value, str) or not assertion.value:
        raise GradingError("its value is no text to start with.")
    found = answer.text.startswith(assertion.value)
    return yes_or_no(assertion, found, f"it {'starts' if found else 'does not start'} with {quoted(assertion.value)}")


def regex(assertion: Assertion, answer: Answer) -> Finding:
    """JavaScript's, without flags, anywhere in the answer; one that does not compile fails, under not- too."""
    from regress import Regex, RegressError

    source = assertion.value
    if not isinstance(source, str) or not source:
        raise GradingError("its value is no regular expression.")
    try:
        compiled = Regex(pattern(source))
    except RegressError as error:
        return Finding(False, 0.0, f"the regular expression {quoted(source)} does not compile: {one_line(str(error))}")
    found = compiled.find(units(answer.text)) is not None
    return yes_or_no(assertion, found, f"it {'matches' if found else 'does not match'} {quoted(source)}")


def comma_separated(text: str) -> list[str]:
    """The parts of a list written as text, trimmed, empty ones left out; `"a, b"` in quotes is one part, in which
    `""` or `\\"` is a quote. Raises GradingError where quotes do not fit."""
    parts, rest = [], trim(text, also=",")
    while rest:
        if rest.startswith('"'):
            found = _QUOTED.match(rest)
            if found is None:
                raise GradingError("its list of texts has a quote without its end.")
            part, rest = _DOUBLED.sub(lambda one: one[1] or one[2], found[1]), trim(rest[found.end() :])
            if rest and not rest.startswith(","):
                raise GradingError("its list of texts lacks a comma after a quoted part.")
        else:
            part, _, rest = rest.partition(",")
            part = trim(part)
        parts.append(part)
        rest = trim(rest, also=",")
    return parts


def _needles(assertion: Assertion) -> list[str]:
    value = assertion.value
    if isinstance(value, list | tuple):
        return [text_of(item) for item in value]
    if isinstance(value, str) and value:
        return comma_separated(value)
    raise GradingError("its value is neither a list nor a comma-separated text.")


def _as_is(text: str) -> str:
    return text


def _one(fold: Callable[[str], str]) -> _Grader:
    def contain(assertion: Assertion, answer: Answer) -> Finding:
        value = assertion.value
        if isinstance(value, bool) or not isinstance(value, str | int | float) or value in ("", None):
            raise GradingError("its value is no text to look for.")
        found = fold(text_of(value)) in fold(answer.text)
        return yes_or_no(assertion, found, f"it {'contains' if found else 'lacks'} {quoted(text_of(value))}")

    return contain


def _any(fold: Callable[[str], str]) -> _Grader:
    def contain(assertion: Assertion, answer: Answer) -> Finding:
        text, needles = fold(answer.text), _needles(assertion)
        found = next((needle for needle in needles if fold(needle) in text), None)
        seen = f"it contains none of {quoted(', '.join(needles))}" if found is None else f"it contains {quoted(found)}"
        return yes_or_no(assertion, found is not None, seen)

    return contain


def _all(fold: Callable[[str], str]) -> _Grader:
    def contain(assertion: Assertion, answer: Answer) -> Finding:
        text, needles = fold(answer.text), _needles(assertion)
        missing = [needle for needle in needles if fold(needle) not in text]
        seen = (
            f"it lacks {quoted(', '.join(missing))}" if missing else f"it contains all of {quoted(', '.join(needles))}"
        )
        return yes_or_no(assertion, not missing, seen)

    return contain


contains, icontains = _one(_as_is), _one(str.lower)
contains_any, icontains_any = _any(_as_is), _any(str.lower)
contains_all, icontains_all = _all(_as_is), _all(str.lower)
