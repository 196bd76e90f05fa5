"""The words of grading as frozen values: what a suite asks of an answer, what there is to look at, and what was found.

`Assertion` and `Verdict` are data alone: an assertion travels to the grading process and back as JSON-able values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from llmswitch.errors import LLMSwitchError

__all__ = ["Answer", "Assertion", "GradingError", "Place", "Verdict"]


class Place(NamedTuple):
    """Where something stands in a file, both numbers from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Assertion:
    """One thing asked of an answer. `type` has no `not-`: `negated` says that.

    `value` is as the suite has it with its files read; a case's assertions have their templates rendered. `weight` 0
    never fails. `judge` is the target that grades, where a model does, else the suite's. `members` are those of an
    assert-set, whose own `threshold` is the score that it needs.
    """

    type: str
    negated: bool = False
    value: Any = None
    threshold: float | None = None
    weight: float = 1.0
    metric: str | None = None
    judge: str | None = None
    rubric_prompt: Any = None
    members: tuple[Assertion, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    place: Place | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """The type as it was written."""
        return f"not-{self.type}" if self.negated else self.type


class Answer(NamedTuple):
    """What there is to grade. None is unknown. `duration_s` in seconds, `cost` in USD; `perplexity` where given."""

    text: str
    prompt: str = ""
    vars: Mapping[str, Any] = {}
    finish_reason: str | None = None
    duration_s: float | None = None
    cost: Decimal | None = None
    perplexity: float | None = None


class Verdict(NamedTuple):
    """What was found of one assertion; `score` from 0 to 1. `error` tells that nothing could be found: it is no
    verdict on the answer, and the sample is one that failed to be graded."""

    type: str
    passed: bool
    score: float
    reason: str
    weight: float = 1.0
    metric: str | None = None
    error: str | None = None


class GradingError(LLMSwitchError):
    """An assertion could not be judged: a judge's reply is no verdict, a latency is unknown, a price is."""

    kind = "malformed"
    exit_code = 1
