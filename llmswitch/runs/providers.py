"""Which providers there are, what each still needs, and how they compare. Nothing is sent, and no SDK is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from llmswitch.errors import ConfigError, StorageError
from llmswitch.profiles import Settings
from llmswitch.providers import find_vendor, vendor_names
from llmswitch.providers.base import IMAGES, PDF, Endpoint, Vendor
from llmswitch.runs.call import Call
from llmswitch.types import Request, Target

if TYPE_CHECKING:
    from llmswitch.health import Status
    from llmswitch.runs.prices import PriceRow
    from llmswitch.runs.seen import Seen

__all__ = ["Compared", "ProviderRow", "Takes", "compared", "provider_rows"]


class Takes(NamedTuple):
    """What a provider can be given or asked for; None where nobody can say. See `providers.base.Offers`."""

    images: bool | None = None
    pdf: bool | None = None
    schema: bool | None = None
    batch: bool | None = None
    caching: bool | None = None


class ProviderRow(NamedTuple):
    """One provider: with `problem` None it can be asked. `needs` are variables, any of which configures it.

    `model` is the one that is asked where nobody names another, and `key` what its health is known by; unknown is None.
    """

    name: str
    title: str
    configured: bool
    needs: tuple[str, ...]
    problem: str | None
    model: str | None
    base_url: str | None
    takes: Takes = Takes()
    key: str | None = None


class Compared(NamedTuple):
    """A provider beside the others, by the model that is asked: what it costs, how it fares, and what it showed here.

    Each is None where nothing is known of it.
    """

    row: ProviderRow
    price: PriceRow | None = None
    status: Status | None = None
    seen: Seen | None = None


def provider_rows(settings: Settings) -> list[ProviderRow]:
    """Every provider, in the order in which the first configured one is asked. Raises ConfigError for LLM_ENDPOINTS."""
    return [_row(find_vendor(name, settings), settings) for name in vendor_names(settings)]


def compared(
    rows: Sequence[ProviderRow],
    settings: Settings,
    statuses: Sequence[Status],
    *,
    now: float,
    warn: Callable[[str], None],
) -> list[Compared]:
    """`rows` with all that is known of their models; `now` is epoch seconds.

    `warn` is told, in a line for people, of the prices or the ledger where those cannot be read: what they would say
    is unknown then.
    """
    prices = _prices(rows, settings, now, warn)
    by_key = {status.key: status for status in statuses}
    seen = _seen(rows, settings, now, warn)
    return [
        Compared(
            row,
            price=prices.get((row.name, row.model or "")),
            status=by_key.get(row.key or ""),
            seen=seen.get((row.name, row.model or "")),
        )
        for row in rows
    ]


def _prices(
    rows: Sequence[ProviderRow], settings: Settings, now: float, warn: Callable[[str], None]
) -> Mapping[tuple[str, str], PriceRow]:
    from llmswitch.pricing import load_prices
    from llmswitch.runs.prices import price_rows

    names = [f"{row.name}:{row.model}" for row in rows if row.model]
    try:
        found = price_rows(settings, load_prices(settings), names, now)
    except ConfigError as error:
        warn(error.message)
        return {}
    return {(price.provider, price.model): price for price in found}


def _seen(
    rows: Sequence[ProviderRow], settings: Settings, now: float, warn: Callable[[str], None]
) -> Mapping[tuple[str, str], Seen]:
    from llmswitch.runs.seen import seen_models

    try:
        return seen_models(settings.paths.ledger, [(row.name, row.model) for row in rows if row.model], now)
    except StorageError as error:
        warn(error.message)
        return {}


def _row(vendor: Vendor, settings: Settings) -> ProviderRow:
    row = ProviderRow(
        name=vendor.key,
        title=vendor.title,
        configured=vendor.configured(settings) or not vendor.needs,
        needs=vendor.needs,
        problem=None,
        model=vendor.default_model,
        base_url=None,
        takes=Takes(bool(vendor.accepts & IMAGES), bool(vendor.accepts & PDF), *vendor.offers),
    )
    if not row.configured:
        return row._replace(problem=f"set {' or '.join(vendor.needs)}")
    try:
        endpoint = vendor.configure(settings)
        model = endpoint.model or vendor.default_model
        row = row._replace(model=model, base_url=endpoint.identity()["base_url"], key=_key(vendor, endpoint, model))
        if vendor.locate is not None and row.model is not None:
            vendor.locate(endpoint, row.model)
    except ConfigError as error:
        return row._replace(problem=error.message)
    return row if row.model else row._replace(problem=f"set {vendor.model_variable}, or name a model")


def _key(vendor: Vendor, endpoint: Endpoint, model: str | None) -> str | None:
    """As calls to it name it."""
    if model is None:
        return None
    return Call(vendor, endpoint, Request(model, ()), Target(vendor.key, text=vendor.key)).key
