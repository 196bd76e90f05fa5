"""One answer as the contract's JSON document, and as the line that goes to stderr after it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from llmswitch.documents import cost_document, usage_document
from llmswitch.reports.rows import count, money, seconds
from llmswitch.types import Attempt, Response

if TYPE_CHECKING:
    from llmswitch.runs.preview import Preview

__all__ = ["preview_document", "response_document", "summary"]


def response_document(response: Response, profile: str | None) -> dict[str, Any]:
    """The contract's `llmswitch/response/1`."""
    document: dict[str, Any] = {
        "schema": "llmswitch/response/1",
        "provider": response.provider,
        "request_model": response.request_model,
        "response_model": response.response_model,
        "response_id": response.response_id,
        "text": response.text,
        "finish_reason": response.finish_reason,
        "profile": profile,
        **_figures(response),
        "cached": response.cached,
        "attempts": [attempt._asdict() for attempt in response.attempts],
    }
    if response.original is not None:
        original = response.original
        document["original"] = {**_figures(original), "attempts": [attempt._asdict() for attempt in original.attempts]}
    return document


def _figures(response: Response) -> dict[str, Any]:
    return {
        "usage": usage_document(response.usage),
        "cost": cost_document(response.cost),
        "time_to_first_token_s": response.timing.time_to_first_token_s,
        "duration_s": response.duration_s,
        "output_tokens_per_s": response.output_tokens_per_s,
    }


def summary(response: Response) -> str:
    """One line: provider, model, first token, latency, tokens, cost, cached."""
    first = response.timing.time_to_first_token_s
    about = "~" if response.usage.estimated else ""
    parts = [
        response.provider,
        response.response_model or response.request_model,
        f"first token {seconds(first)}" if first is not None else None,
        f"{seconds(response.duration_s)}",
        f"{about}{count(response.usage.input_tokens)} in, {about}{count(response.usage.output_tokens)} out",
        money(response.cost.amount, exact=response.cost.exact) if response.cost else "cost unknown",
        "cached" if response.cached else None,
        f"after {_failed(response.attempts)}" if len(response.attempts) > 1 else None,
    ]
    return " · ".join(part for part in parts if part)


def _failed(attempts: tuple[Attempt, ...]) -> str:
    """The attempts before the one that answered: whose they were, and how they ended."""
    counts = Counter((a.provider, a.outcome.replace("_", " ")) for a in attempts if a.outcome != "ok")
    return ", ".join(f"{who}: {how}{f' ×{times}' if times > 1 else ''}" for (who, how), times in counts.items())


def preview_document(preview: Preview) -> dict[str, Any]:
    """What `--dry-run` prints: `low` is the cost of the prompt alone, `high` that of the longest answer allowed."""
    estimate = preview.estimate
    return {
        "schema": "llmswitch/dry-run/1",
        "provider": preview.provider,
        "request_model": preview.request_model,
        "base_url": preview.base_url,
        "body": preview.body,
        "estimated_input_tokens": estimate.input_tokens if estimate else None,
        "estimated_cost": {"low": cost_document(estimate.low), "high": cost_document(estimate.high)}
        if estimate
        else None,
    }
