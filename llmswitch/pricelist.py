"""Rates from the price list: genai-prices' packaged one, or a refreshed one that was kept.

A rate is `assumed` where the list does not say that it is the one that was asked for: it knows the model's family and
not its name, or another vendor's list stood in, as for most of Azure's models.

What the list does not say of batches and tiers is not made up, as genai-prices would, which prices them at the standard
rate without a word. A **batch** without a rate of its own reads as the standard rate, assumed: no vendor sells batches
dearer, so that it is an upper bound, which a budget can hold. So does the **flex** tier, which is sold as the cheaper
one. Any other tier without a rate is unknown: `priority` and its like are dearer by a factor that nobody can tell, and
the standard rate would be a lower bound, of use to nobody. All this holds for whatever Azure lacks in its own list and
takes from OpenAI's: its batches and tiers are Azure's to price.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import copy
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from llmswitch.keptprices import KeptPrices, PriceList, packaged

if TYPE_CHECKING:
    from datetime import datetime

    from genai_prices.types import ModelInfo, ModelPrice, Provider

__all__ = [
    "LIST_IDS",
    "Model",
    "PriceKey",
    "Rate",
    "base_rate",
    "listed",
    "model_of",
    "price_list",
    "scaled",
    "tier_of",
]

#: vendors that the list calls otherwise
LIST_IDS = {"gemini": "google", "xai": "x-ai"}

#: a snapshot's date or number at the end of a name: the same model at the same rate
_SNAPSHOT = r"(?:-latest|[-@]20\d\d-?\d\d-?\d\d|-\d{3})$"
#: what vendors call the tier that the standard rate is for
_USUAL = frozenset({"default", "standard", "on_demand"})
#: tiers that are sold as cheaper than the standard one
_CHEAPER = frozenset({"flex"})


class PriceKey(NamedTuple):
    """What a price is looked up by. `price_provider` and `price_model` are an endpoint's: see `Endpoint`.

    `batch` is for the vendor's batch interface; `service_tier` is the vendor's word for the tier that answered, None
    for the usual one.
    """

    provider: str
    request_model: str
    response_model: str | None = None
    price_provider: str | None = None
    price_model: str | None = None
    batch: bool = False
    service_tier: str | None = None


class Rate(NamedTuple):
    """Rates that were found: `free` tells that a 0 among them is meant, `assumed` that they may be another's."""

    prices: ModelPrice
    source: str
    free: bool = False
    assumed: bool = False


class Model(NamedTuple):
    """A model of the list; `certain` tells that it is the one asked for, by that very name; `own` that it stands in
    the vendor's own list, so that what that says of batches and tiers holds for it."""

    info: ModelInfo
    certain: bool
    own: bool


class _Same:
    """Anything by identity: prices compare by value and have no hash."""

    __slots__ = ("thing",)

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.thing is self.thing

    def __hash__(self) -> int:
        return id(self.thing)


def tier_of(key: PriceKey) -> tuple[bool, str | None]:
    """Whether it is a batch, and the tier where that is not the usual one. Anthropic says 'batch' as a tier."""
    tier = (key.service_tier or "").lower()
    if tier == "batch":
        return True, None
    return key.batch, None if not tier or tier in _USUAL else tier


def price_list(kept: KeptPrices | None) -> PriceList:
    """The list in use."""
    return packaged() if kept is None else kept.in_use()


def listed(key: PriceKey, at: float, kept: KeptPrices | None) -> Rate | None:
    """The list's rate at `at` (epoch seconds), as the module says; None where it has none."""
    from datetime import UTC, datetime

    found = model_of(key, kept)
    if found is None:
        return None
    moment, source = datetime.fromtimestamp(at, tz=UTC), price_list(kept).source
    batch, tier = tier_of(key)
    standard = found.info.get_prices(moment)
    if not batch and tier is None:
        return Rate(standard, source, assumed=not found.certain)
    prices, assumed = standard, not found.certain
    if tier is not None:
        # Anthropic calls its fast tier a speed
        special = _varied(found, standard, moment, {"service_tier": tier, "speed": tier})
        if special is None and tier not in _CHEAPER:
            return None
        prices, assumed = special or standard, assumed or special is None
    if batch:
        # no list knows a batch of another tier: that tier's own rate bounds it
        halved = _varied(found, standard, moment, {"processing": "batch"}) if tier is None else None
        prices, assumed = halved or prices, assumed or halved is None
    return Rate(prices, source, assumed=assumed)


def _varied(found: Model, standard: ModelPrice, moment: datetime, context: Mapping[str, str]) -> ModelPrice | None:
    """The rates under `context`, where the vendor's own list has some then. A rate they leave out is the standard one:
    several vendors halve input and output alone in a batch, and not what was cached."""
    if not found.own:
        return None
    active = tuple(
        place
        for place, variant in enumerate(found.info.price_variants or ())
        if (variant.constraint is None or variant.constraint.active(moment))
        and all(context.get(name) == value for name, value in variant.when.items())
    )
    return _overlaid(_Same(found.info), _Same(standard), active) if active else None


@lru_cache(maxsize=512)
def _overlaid(model: _Same, standard: _Same, active: tuple[int, ...]) -> ModelPrice:
    """The standard rates under those variants, of which the first that has a rate decides it (`ModelInfo.get_prices`).
    Made once: what is reckoned from a price is kept by its identity."""
    prices: ModelPrice = copy(standard.thing)
    for place in reversed(active):
        rates = vars(model.thing.price_variants[place].prices)
        prices.__dict__.update({name: rate for name, rate in rates.items() if rate is not None})
    return prices


def scaled(prices: ModelPrice, factor: Decimal) -> ModelPrice:
    """Every rate of `prices` times `factor`."""
    return prices if factor == 1 else _scaled(_Same(prices), factor)


@lru_cache(maxsize=256)
def _scaled(same: _Same, factor: Decimal) -> ModelPrice:
    from genai_prices.types import ModelPrice, Tier, TieredPrices

    def times(price: Any) -> Any:
        if isinstance(price, TieredPrices):
            return TieredPrices(price.base * factor, [Tier(tier.start, tier.price * factor) for tier in price.tiers])
        return price * factor

    return ModelPrice(**{name: times(price) for name, price in vars(same.thing).items() if price is not None})


def base_rate(prices: ModelPrice, name: str) -> Decimal | None:
    """The rate `name` before any context step; None where there is none."""
    price: Any = getattr(prices, name)
    base: Decimal | None = getattr(price, "base", price)
    return base


def model_of(key: PriceKey, kept: KeptPrices | None) -> Model | None:
    """The list's model. Only a provider of that very id: the list itself takes 'my-openai-proxy' for OpenAI."""
    return _model(key._replace(batch=False, service_tier=None), kept)


@lru_cache(maxsize=512)
def _model(key: PriceKey, kept: KeptPrices | None) -> Model | None:
    providers = list(price_list(kept).providers)
    provider_id = key.provider if key.price_provider is None else key.price_provider
    provider: Provider | None = next((p for p in providers if p.id == provider_id), None)
    if provider is None:
        return None
    told = [model for model in (key.price_model, key.response_model) if model]
    for place, name in enumerate((*told, key.request_model)):
        model = provider.find_model(name, all_providers=providers)
        if model is not None:
            own = any(model is other for other in provider.models)
            certain = bool(told) and place == 0 and own and _is_named(name.lower(), model)
            return Model(model, certain, own)
    return None


def _is_named(name: str, model: Any) -> bool:
    """Whether the list holds `name` itself, its snapshot's date aside, and not only a pattern of its family."""
    names = {name, re.sub(_SNAPSHOT, "", name)}
    if not names.isdisjoint(_literals(model.match)) or model.id.lower() in names:
        return True
    return any(re.search(pattern, name) for pattern in _patterns(model.match))


def _literals(clause: Any) -> Iterator[str]:
    for inner in (*getattr(clause, "or_", ()), *getattr(clause, "and_", ())):
        yield from _literals(inner)
    for kind in ("equals", "starts_with", "ends_with", "contains"):
        if hasattr(clause, kind):
            yield getattr(clause, kind).lower()


def _patterns(clause: Any) -> Iterator[str]:
    """Regexes that name a model whole, with its date; those beside another condition only narrow it."""
    for inner in getattr(clause, "or_", ()):
        yield from _patterns(inner)
    if hasattr(clause, "regex") and clause.regex.endswith("$"):
        yield clause.regex
