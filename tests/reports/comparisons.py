"""Comparisons as a run returns them, built by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from llmswitch.errors import LLMSwitchError
from llmswitch.runs.compare import Comparison
from llmswitch.runs.sampling import Sample
from llmswitch.types import Cost, FinishReason, Response, Timing, Usage

__all__ = ["MADE_AT", "answered", "comparison", "failed"]

MADE_AT = datetime(2026, 11, 22, 16, 5, tzinfo=UTC)


def answered(
    target: str,
    text: str,
    *,
    model: str = "m-1",
    duration_s: float = 1.0,
    cost: str | None = "0.001",
    finish_reason: FinishReason = "stop",
    cached: bool = False,
    repeat: int = 0,
) -> Sample:
    """One whole answer; `cost` in USD, None where the price is unknown."""
    response = Response(
        provider="openai",
        request_model=model,
        response_model=model,
        text=text,
        finish_reason=finish_reason,
        usage=Usage(20, 40, 0, 0, 0),
        timing=Timing(duration_s / 4, duration_s / 2),
        duration_s=duration_s,
        cost=None if cost is None else Cost(Decimal(cost), "test"),
    )
    if cached:
        response = replace(
            response,
            usage=Usage(0, 0, 0, 0, 0),
            timing=Timing(),
            duration_s=0.002,
            cost=Cost(Decimal(0), "cache"),
            cached=True,
            original=response,
        )
    return Sample(target, "openai", model, repeat, response)


def failed(
    target: str, error: LLMSwitchError, *, model: str = "m-1", partial_text: str = "", repeat: int = 0
) -> Sample:
    """A call that ended in `error`, after `partial_text` had come."""
    error.partial_text = partial_text
    return Sample(target, "openai", model, repeat, None, error)


def comparison(samples: Sequence[Sample], prompt: str = "Why is the sky blue?", repeats: int = 1) -> Comparison:
    """Of the targets in the order in which they first come."""
    targets = tuple(dict.fromkeys(sample.target for sample in samples))
    return Comparison(prompt, targets, tuple(samples), repeats=repeats)
