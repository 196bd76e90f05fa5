"""How an assertion's function says what it found: passed or not, a score from 0 to 1, and a sentence."""

from __future__ import annotations

from typing import NamedTuple

from llmswitch.assertions.base import Assertion
from llmswitch.text import one_line

__all__ = ["Finding", "quoted", "scored", "yes_or_no"]


class Finding(NamedTuple):
    """What was found of one assertion; weight, metric and the rest are added by who asked."""

    passed: bool
    score: float
    reason: str


def yes_or_no(assertion: Assertion, found: bool, seen: str) -> Finding:
    """A score of 1 or 0. `seen` is a clause that holds of the answer, such as "it contains 'a'"."""
    passed = found != assertion.negated
    return Finding(passed, float(passed), seen)


def scored(assertion: Assertion, score: float, default: float, name: str) -> Finding:
    """A score that must reach the threshold, else the `default`; under not- it must not, and counts as 1 - score."""
    threshold = default if assertion.threshold is None else assertion.threshold
    reached = score >= threshold
    reason = f"the {name} score {score:.4g} is {'not below' if reached else 'below'} {threshold:g}"
    return Finding(reached != assertion.negated, 1 - score if assertion.negated else score, reason)


def quoted(text: str) -> str:
    """`text` in a sentence: on one line, and cut."""
    return f"'{one_line(text, 120)}'"
