"""What models cost: the rates of each in USD per million tokens, where they are from, and of when.

Nothing is asked of anybody, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llmswitch.database import reading
from llmswitch.errors import ConfigError
from llmswitch.pricefile import FIELDS
from llmswitch.pricelist import LIST_IDS, PriceKey, price_list
from llmswitch.pricing import Prices
from llmswitch.providers import ALIASES, find_vendor, vendor_names

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice

    from llmswitch.keptprices import PriceList
    from llmswitch.profiles import Settings

__all__ = ["ListInUse", "PriceRow", "Rates", "Step", "list_in_use", "named_keys", "newest_rate", "price_rows"]


class Step(NamedTuple):
    """What every token of a call costs whose input has more than `above` tokens, by field of pricefile.py."""

    above: int
    rates: Mapping[str, Decimal]


class Rates(NamedTuple):
    """USD for a million tokens, by field of pricefile.py: what is missing is priced as others are, or not at all."""

    base: Mapping[str, Decimal]
    steps: tuple[Step, ...] = ()


class PriceRow(NamedTuple):
    """A model of a provider, and what it costs. `rates` are None where nobody says, and `batch` where nobody says what
    a batch costs; `tiers` has those with rates now. `listed_as` is the list's name for it, `exact` tells whether that
    is the very model that was asked for. `context_window` is in tokens."""

    provider: str
    model: str
    listed_as: str | None = None
    rates: Rates | None = None
    batch: Rates | None = None
    tiers: Mapping[str, Rates] = {}
    context_window: int | None = None
    source: str | None = None
    exact: bool = False


class ListInUse(NamedTuple):
    """Which list that is: `refreshed_at` in epoch seconds, None for the packaged one, whose own date nobody tells;
    `newest_rate` is the day from which its newest dated rate holds."""

    source: str
    refreshed_at: float | None
    newest_rate: date | None
    providers: int
    models: int


def list_in_use(prices: Prices, at: float) -> ListInUse:
    """The price list behind `prices`."""
    found = price_list(prices.kept)
    today = datetime.fromtimestamp(at, tz=UTC).date()
    models = sum(len(one.models) for one in found.providers)
    return ListInUse(found.source, found.refreshed_at, newest_rate(found, today), len(found.providers), models)


def newest_rate(found: PriceList, today: date) -> date | None:
    """The last day, until `today`, from which some rate of the list holds."""
    dated = (
        entry.constraint
        for provider in found.providers
        for model in provider.models
        for entry in (*(model.prices if isinstance(model.prices, list) else ()), *(model.price_variants or ()))
    )
    days = (getattr(constraint, "start_date", None) for constraint in dated)
    return max((day for day in days if day is not None and day <= today), default=None)


def price_rows(settings: Settings, prices: Prices, names: Sequence[str], at: float) -> list[PriceRow]:
    """A row for each of `names`, which are targets or models; without any, for what is configured and what was asked.

    Raises ConfigError for a name that neither the list nor the price file knows, StorageError for the ledger.
    """
    if names:
        keys = [key for name in names for key in named_keys(settings, prices, name)]
    else:
        keys = [*_configured(settings), *_asked(settings, settings.paths.ledger)]
    seen = {(key.provider, key.request_model): key for key in reversed(keys)}
    return [_row(prices, seen[name], at) for name in dict.fromkeys((k.provider, k.request_model) for k in keys)]


def _configured(settings: Settings) -> Iterable[PriceKey]:
    for name in vendor_names(settings):
        vendor = find_vendor(name, settings)
        if not vendor.configured(settings):
            continue
        try:
            endpoint = vendor.configure(settings)
        except ConfigError:
            continue  # 'llmswitch providers' says what is wrong
        model = endpoint.model or vendor.default_model
        if model:
            yield _key(settings, name, model)


def _asked(settings: Settings, ledger: Path) -> Iterable[PriceKey]:
    """What the ledger's calls went to, the most often asked first."""
    with reading(ledger) as connection:
        found = connection.execute(
            """SELECT provider, request_model, max(response_model) FROM calls
                WHERE lost IS NULL AND request_model IS NOT NULL GROUP BY 1, 2 ORDER BY count(*) DESC"""
        ).fetchall()
    for provider, model, answered in found:
        yield _key(settings, provider, model)._replace(response_model=answered or model)


def named_keys(settings: Settings, prices: Prices, name: str) -> list[PriceKey]:
    """The keys of a target, or of a model that some vendors have. ConfigError where nobody knows it."""
    provider, colon, model = name.partition(":")
    key = ALIASES.get(provider, provider)
    if key in vendor_names(settings):
        if not colon:
            vendor = find_vendor(key, settings)
            model = settings.get(vendor.model_variable) or vendor.default_model or ""
        if not model:
            raise ConfigError(f"{name} has no model of its own: name one, as in {provider}:MODEL.")
        return [_key(settings, key, model)]
    found = [_key(settings, vendor, name) for vendor in vendor_names(settings)]
    found = [key for key in found if _is_known(prices, key)]
    if not found:
        raise ConfigError(f"no price is known for {name!r}.{_meant(prices, name)} LLM_PRICES can give it one.")
    return found


def _is_known(prices: Prices, key: PriceKey) -> bool:
    """Whether the file has it, or the vendor's own list by that very name."""
    if f"{key.provider}:{key.request_model}" in (*prices.own, *prices.deployments):
        return True
    found = prices.listed(key)
    return found is not None and found.certain


def _meant(prices: Prices, name: str) -> str:
    ours = {LIST_IDS.get(vendor, vendor) for vendor in ("openai", "anthropic", "gemini", "azure")}
    ids = [model.id for one in price_list(prices.kept).providers if one.id in ours for model in one.models]
    close = get_close_matches(name, (*prices.own, *prices.deployments, *ids), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _key(settings: Settings, provider: str, model: str) -> PriceKey:
    """As a call would look it up, where the provider is configured; else as it would be by its name in the list.

    The model is the very one that is asked about: none that answered may be another.
    """
    try:
        endpoint = find_vendor(provider, settings).configure(settings)
    except ConfigError:
        return PriceKey(provider, model, model, LIST_IDS.get(provider, provider))
    own = endpoint.price_model if model == endpoint.model else None
    return PriceKey(provider, model, None if own else model, endpoint.price_provider, own)


def _row(prices: Prices, key: PriceKey, at: float) -> PriceRow:
    found, model = prices.rate(key, at), prices.listed(key)
    row = PriceRow(key.provider, key.request_model)
    if model is not None:
        row = row._replace(listed_as=model.info.id, context_window=model.info.context_window)
    if found is None or not (found.free or _is_filled(found.prices)):
        return row
    # where a batch or tier has no rates of its own, the standard ones come back, the very same
    batch = prices.rate(key._replace(batch=True), at)
    tiers = {name: prices.rate(key._replace(service_tier=name), at) for name in prices.tiers(key)}
    return row._replace(
        rates=_rates(found.prices),
        batch=_rates(batch.prices) if batch is not None and batch.prices is not found.prices else None,
        tiers={name: _rates(rate.prices) for name, rate in tiers.items() if rate and rate.prices is not found.prices},
        source=found.source,
        exact=not found.assumed,
    )


def _is_filled(prices: ModelPrice) -> bool:
    return bool(_at(prices.input_mtok, 0))


def _rates(prices: ModelPrice) -> Rates:
    fields = {field: getattr(prices, unit) for field, unit in FIELDS.items()}
    fields = {field: price for field, price in fields.items() if price is not None}
    starts = sorted({tier.start for price in fields.values() for tier in getattr(price, "tiers", ())})
    base = {field: _at(price, 0) for field, price in fields.items()}
    return Rates(base, tuple(Step(n, {field: _at(price, n + 1) for field, price in fields.items()}) for n in starts))


def _at(price: Any, tokens: int) -> Decimal:
    """The rate of a call with so many tokens of input."""
    rate: Decimal = getattr(price, "base", price) or Decimal(0)
    for tier in getattr(price, "tiers", ()):
        if tokens > tier.start:
            rate = tier.price
    return rate
