"""Assertions on what was measured of an answer: time, cost, perplexity, words, and how it ended."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from llmswitch.assertions.base import Answer, Assertion, GradingError
from llmswitch.assertions.findings import Finding, scored, yes_or_no
from llmswitch.assertions.js import words
from llmswitch.text import one_line

__all__ = [
    "FINISH_REASONS",
    "cost",
    "finish_reason",
    "latency",
    "number_of",
    "perplexity",
    "perplexity_score",
    "word_count",
]

#: promptfoo's names -> ours
FINISH_REASONS = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_call",
    "tool_call": "tool_call",
    "error": "error",
}


def latency(assertion: Assertion, answer: Answer) -> Finding:
    """The call took at most `threshold` milliseconds."""
    if answer.duration_s is None:
        raise GradingError("how long the call took is unknown.")
    taken = answer.duration_s * 1000
    return _at_most(assertion, taken, f"it took {taken:.0f} ms")


def cost(assertion: Assertion, answer: Answer) -> Finding:
    """The call cost at most `threshold` USD."""
    if answer.cost is None:
        raise GradingError("what the call cost is unknown: the model has no known price.")
    if assertion.threshold is None:
        raise GradingError("it has no threshold.")
    found = answer.cost <= Decimal(str(assertion.threshold))
    return yes_or_no(assertion, found, f"it cost {answer.cost:f} USD, where {assertion.threshold} is the threshold")


def perplexity(assertion: Assertion, answer: Answer) -> Finding:
    """The perplexity is at most `threshold`; without one it passes, under not- too."""
    value = _perplexity(answer)
    if assertion.threshold is None:
        return Finding(True, 1.0, f"its perplexity is {value:.4g}")
    return _at_most(assertion, value, f"its perplexity is {value:.4g}")


def perplexity_score(assertion: Assertion, answer: Answer) -> Finding:
    """1 / (1 + perplexity) is at least `threshold`; without one it passes, under not- too."""
    finding = scored(assertion, 1 / (1 + _perplexity(answer)), 0.0, "perplexity")
    return finding._replace(passed=True) if assertion.threshold is None else finding


def _perplexity(answer: Answer) -> float:
    if answer.perplexity is None:
        raise GradingError("its perplexity is unknown: the provider gave no log probabilities.")
    return answer.perplexity


def _at_most(assertion: Assertion, value: float, seen: str) -> Finding:
    if assertion.threshold is None:
        raise GradingError("it has no threshold.")
    return yes_or_no(assertion, value <= assertion.threshold, f"{seen}, where {assertion.threshold:g} is the threshold")


def finish_reason(assertion: Assertion, answer: Answer) -> Finding:
    """How the answer ended, by promptfoo's name or ours, in any case; an unknown ending is not the one asked for."""
    if not isinstance(assertion.value, str):
        raise GradingError("its value is no finish reason.")
    wanted = FINISH_REASONS.get(assertion.value.lower(), assertion.value.lower())
    found = answer.finish_reason is not None and answer.finish_reason == wanted
    return yes_or_no(assertion, found, f"its finish reason is {one_line(answer.finish_reason or 'unknown', 40)}")


def word_count(assertion: Assertion, answer: Answer) -> Finding:
    """So many words, or from `min` to `max` of them, both included."""
    value, count = assertion.value, len(words(answer.text))
    if isinstance(value, dict):
        low, high = (number_of(value.get(end)) for end in ("min", "max"))
        if low is None and high is None:
            raise GradingError("its value has neither min nor max.")
    else:
        low = high = number_of(value)
        if low is None:
            raise GradingError("its value is no number of words.")
    if low is not None and high is not None and low > high:
        raise GradingError("its min is above its max.")
    found = (low is None or count >= low) and (high is None or count <= high)
    return yes_or_no(assertion, found, f"it has {count} words")


def number_of(value: Any) -> float | None:
    """A number, or a text that is one; None for anything else, such as nan."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
