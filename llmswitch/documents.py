"""Tokens and money as the contract's JSON: the same in an answer, a sample, a report. Imports types alone."""

from __future__ import annotations

from typing import Any

from llmswitch.types import Cost, Usage

__all__ = ["cost_document", "usage_document"]

_USAGE = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "reasoning_output_tokens",
)


def usage_document(usage: Usage) -> dict[str, Any]:
    """Token counts, None where unknown; `estimated` is there where the vendor sent no count."""
    document = {name: getattr(usage, name) for name in _USAGE}
    return {**document, "estimated": True} if usage.estimated else document


def cost_document(cost: Cost | None) -> dict[str, Any] | None:
    """`amount` as a plain decimal in text; None where the price is unknown."""
    if cost is None:
        return None
    amount = format(cost.amount.normalize(), "f")
    return {"amount": amount, "currency": cost.currency, "source": cost.source, "exact": cost.exact}
