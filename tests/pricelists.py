"""Price lists for tests, in the form that genai-prices publishes: the packaged one, and copies with other rates."""

from __future__ import annotations

import copy
import dataclasses
import datetime
from decimal import Decimal
from typing import Any

from genai_prices.data import providers
from genai_prices.types import ModelPrice

__all__ = ["as_published", "changed"]


def as_published() -> list[dict[str, Any]]:
    """The packaged list."""
    return [_plain(provider) for provider in providers]


def changed(document: list[dict[str, Any]], provider: str, model: str, prices: dict[str, Any]) -> list[dict[str, Any]]:
    """A copy in which one model has these prices, and no others for batches or tiers."""
    document = [copy.deepcopy(one) if one["id"] == provider else one for one in document]
    models = next(one for one in document if one["id"] == provider)["models"]
    found = next(one for one in models if one["id"] == model)
    found["prices"] = prices
    found.pop("price_variants", None)
    return document


def _plain(value: Any) -> Any:
    if isinstance(value, ModelPrice):
        return {name: _plain(price) for name, price in vars(value).items() if price is not None}
    if dataclasses.is_dataclass(value):
        fields = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {
            {"or_": "or", "and_": "and"}.get(name, name): _plain(inner)
            for name, inner in fields
            if not name.startswith("_") and inner is not None
        }
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, (datetime.date, datetime.time)) else value
