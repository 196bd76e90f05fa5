"""Which providers there are, and what each of them still needs. Nothing is sent, and no SDK is imported."""

from __future__ import annotations

from typing import NamedTuple

from llmswitch.errors import ConfigError
from llmswitch.profiles import Settings
from llmswitch.providers import find_vendor, vendor_names
from llmswitch.providers.base import Vendor

__all__ = ["ProviderRow", "provider_rows"]


class ProviderRow(NamedTuple):
    """One provider: with `problem` None it can be asked. `needs` are variables, any of which configures it.

    `model` is the one that is asked where nobody names another; unknown is None.
    """

    name: str
    title: str
    configured: bool
    needs: tuple[str, ...]
    problem: str | None
    model: str | None
    base_url: str | None


def provider_rows(settings: Settings) -> list[ProviderRow]:
    """Every provider, in the order in which the first configured one is asked. Raises ConfigError for LLM_ENDPOINTS."""
    return [_row(find_vendor(name, settings), settings) for name in vendor_names(settings)]


def _row(vendor: Vendor, settings: Settings) -> ProviderRow:
    row = ProviderRow(
        name=vendor.key,
        title=vendor.title,
        configured=vendor.configured(settings) or not vendor.needs,
        needs=vendor.needs,
        problem=None,
        model=vendor.default_model,
        base_url=None,
    )
    if not row.configured:
        return row._replace(problem=f"set {' or '.join(vendor.needs)}")
    try:
        endpoint = vendor.configure(settings)
        row = row._replace(model=endpoint.model or vendor.default_model, base_url=endpoint.identity()["base_url"])
        if vendor.locate is not None and row.model is not None:
            vendor.locate(endpoint, row.model)
    except ConfigError as error:
        return row._replace(problem=error.message)
    return row if row.model else row._replace(problem=f"set {vendor.model_variable}, or name a model")
