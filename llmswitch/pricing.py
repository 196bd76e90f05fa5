"""From tokens to money. Unknown is None, never 0.

A rate comes from the user's own file where `LLM_PRICES` names one (its format: pricefile.py), else from the price list:
genai-prices' packaged one, or a refreshed one that `llmswitch cost prices --update` kept. `Cost.source` says which. The
list is imported on first use. `Cost.exact` is false where something had to be assumed: tokens were estimated; no vendor
and no user said which model answered, so that it was looked up as asked for; the list knows its family and not its name
(a date or version at the end is no other name); another vendor's list stood in (most of Azure's OpenAI models, whose
regional uplift no list has); cached tokens had no rate of their own and were priced as others are; a batch, or a flex
tier, had no rate of its own and was priced as if it were none, which is an upper bound (pricelist.py says why).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from llmswitch.keptprices import KeptPrices
from llmswitch.pricefile import FIELDS, Deployment, read_price_file
from llmswitch.pricelist import (
    LIST_IDS,
    Model,
    PriceKey,
    Rate,
    base_rate,
    listed,
    model_of,
    price_list,
    scaled,
    tier_of,
)
from llmswitch.types import Cost, Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice

    from llmswitch.profiles import Settings

__all__ = ["Estimate", "PriceKey", "Prices", "load_price_list", "load_prices", "price_list_loaded"]

#: the ledger's unit: money is rounded to it once, here
_PICO = Decimal("1e-12")
#: bytes of UTF-8 a token is taken to have before anything was counted; other than English prose has fewer
_BYTES_PER_TOKEN = 4
_NONE: Mapping[str, Mapping[str, Decimal]] = MappingProxyType({})


class Estimate(NamedTuple):
    """A call before it is sent: from no answer at all (`low`) to `max_tokens` of it (`high`, None without a cap)."""

    input_tokens: int
    low: Cost
    high: Cost | None


class Prices(NamedTuple):
    """Prices to look up: those of the `LLM_PRICES` file by its keys, and a price list.

    `own` are standard rates, by genai-prices' names of units, `special` those of 'batch' and of tiers; `deployments`
    say what a name serves. `kept` is the refreshed list, None for the packaged one.
    """

    own: Mapping[str, Mapping[str, Decimal]] = _NONE
    special: Mapping[str, Mapping[str, Mapping[str, Decimal]]] = MappingProxyType({})
    deployments: Mapping[str, Deployment] = MappingProxyType({})
    kept: KeptPrices | None = None

    def cost(self, usage: Usage, key: PriceKey, at: float) -> Cost | None:
        """What `usage` cost at `at` (epoch seconds), in whole pico-dollars; None where tokens or rates are unknown."""
        rate = self.rate(key, at)
        return None if rate is None else _cost(usage, rate)

    def rate(self, key: PriceKey, at: float) -> Rate | None:
        """What is paid for a million of each unit at `at`; None where nobody says."""
        name = self._named(key)
        if name is None:
            return listed(key, at, self.kept)
        if name in self.own:
            return self._own(name, key)
        deployed = self.deployments[name]
        rate = listed(self._served(key, deployed), at, self.kept)
        if rate is None:
            return None
        source = f"LLM_PRICES with {rate.source}"
        return rate._replace(prices=scaled(rate.prices, deployed.uplift), source=source)

    def steps(self, key: PriceKey, at: float) -> tuple[int, ...]:
        """Beyond how many tokens of input each further context step begins; none where nobody says."""
        from llmswitch.rates import steps

        rate = self.rate(key, at)
        return () if rate is None else steps(rate.prices)

    def cost_of_many(self, calls: int, sums: Usage, step: int, key: PriceKey, at: float) -> Cost | None:
        """What `calls` cost whose tokens are `sums` together, each of them in context step `step`; as `cost` else."""
        from llmswitch.rates import amount_of_many

        rate = self.rate(key, at)
        if rate is None or not (rate.free or _filled_in(sums, rate.prices)):
            return None
        try:
            total = amount_of_many(rate.prices, step, calls, sums).quantize(_PICO)
        except (ValueError, ArithmeticError):
            return None
        return Cost(total, rate.source, exact=not (rate.assumed or sums.estimated or _stands_in(sums, rate.prices)))

    def estimate(self, prompt_bytes: int, max_tokens: int | None, key: PriceKey, at: float) -> Estimate | None:
        """The range of a call whose texts have `prompt_bytes` bytes of UTF-8, at four to a token; never exact.

        Attachments are not counted. None where there is no price.
        """
        tokens = -(-prompt_bytes // _BYTES_PER_TOKEN)
        low = self.cost(Usage(tokens, 0, estimated=True), key, at)
        if low is None:
            return None
        high = None if max_tokens is None else self.cost(Usage(tokens, max_tokens, estimated=True), key, at)
        return Estimate(tokens, low, high)

    def context_window(self, key: PriceKey) -> int | None:
        """How many tokens the list says that the model takes; None where it does not know."""
        found = self.listed(key)
        return None if found is None else found.info.context_window

    def listed(self, key: PriceKey) -> Model | None:
        """The list's model, or that of what the file says is served; None where neither has one."""
        name = self._named(key)
        deployed = None if name is None else self.deployments.get(name)
        return model_of(key if deployed is None else self._served(key, deployed), self.kept)

    def tiers(self, key: PriceKey) -> tuple[str, ...]:
        """The tiers beside the usual one that somebody gives rates for, now or at some time."""
        name = self._named(key)
        if name is not None and name in self.own:
            return tuple(tier for tier in self.special.get(name, _NONE) if tier != "batch")
        found = self.listed(key)
        variants = found.info.price_variants or () if found is not None and found.own else ()
        words = (variant.when.get("service_tier") or variant.when.get("speed") for variant in variants)
        return tuple(
            dict.fromkeys(word for word in words if word is not None and tier_of(key._replace(service_tier=word))[1])
        )

    def _named(self, key: PriceKey) -> str | None:
        """The file's key for it."""
        models = [m for m in (key.request_model, key.response_model, key.price_model) if m]
        names = (*(f"{key.provider}:{model}" for model in models), *models)
        return next((name for name in names if name in self.own or name in self.deployments), None)

    def _own(self, name: str, key: PriceKey) -> Rate | None:
        """The user's rates; a batch or a tier they say nothing of reads as it does for the list's (pricelist.py)."""
        batch, tier = tier_of(key)
        wanted = tier or ("batch" if batch else None)
        special = self.special.get(name, _NONE)
        if wanted is None or wanted in special:
            rates, assumed = special.get(wanted or "", self.own[name]), False
        elif wanted in ("batch", "flex"):
            rates, assumed = self.own[name], True
        else:
            return None
        # a batch of a tier has no rates of its own: the tier's bound it
        both = batch and tier is not None
        return Rate(_own_price(tuple(rates.items())), "LLM_PRICES", free=True, assumed=assumed or both)

    def _served(self, key: PriceKey, deployed: Deployment) -> PriceKey:
        """What stands in the list for a deployment: the user has said that it is that model, by that name."""
        provider, colon, model = deployed.model.partition(":")
        listed_as = LIST_IDS.get(provider, provider)
        named = colon and any(one.id == listed_as for one in price_list(self.kept).providers)
        own = key.provider if key.price_provider is None else key.price_provider
        return key._replace(
            price_provider=listed_as if named else own,
            price_model=model if named else deployed.model,
            response_model=None,
            request_model="",
        )


@lru_cache(maxsize=256)
def _own_price(fields: tuple[tuple[str, Decimal], ...]) -> ModelPrice:
    from genai_prices.types import ModelPrice

    return ModelPrice(**dict(fields))


def _cost(usage: Usage, rate: Rate) -> Cost | None:
    if usage.input_tokens is None or usage.output_tokens is None or not (rate.free or _filled_in(usage, rate.prices)):
        return None
    from llmswitch.rates import amount

    try:
        total = amount(rate.prices, usage).quantize(_PICO)
    except (ValueError, ArithmeticError):
        return None  # counts that contradict each other, such as more cached tokens than tokens
    return Cost(total, rate.source, exact=not (rate.assumed or usage.estimated or _stands_in(usage, rate.prices)))


def _filled_in(usage: Usage, prices: ModelPrice) -> bool:
    """Whether the list has a rate above 0 for input, and for output where there was some."""
    used = ("input", "output") if usage.output_tokens else ("input",)
    return all(base_rate(prices, FIELDS[name]) for name in used)


def _stands_in(usage: Usage, prices: ModelPrice) -> bool:
    """Whether some tokens were priced at a rate that is not theirs.

    A vendor that reports no cached tokens is taken to have had none: Gemini leaves the field out when it is 0.
    """
    hour_rate = prices.cache_write_1h_mtok is not None
    hour_tokens = usage.cache_creation_1h_input_tokens
    return bool(
        (usage.cache_read_input_tokens and prices.cache_read_mtok is None)
        or (usage.cache_creation_input_tokens and prices.cache_write_mtok is None)
        or (hour_tokens and not hour_rate)
        or (usage.cache_creation_input_tokens and hour_tokens is None and hour_rate)
    )


#: the refreshed lists that this process was told of, None for the packaged one, and whether each was read
_lists: dict[KeptPrices | None, bool] = {}


def load_price_list() -> None:
    """Read the list ahead of its first use: 0.2 s of CPU, or 0.4 s, that fit while an answer is on its way."""
    for kept in tuple(_lists) or (None,):
        price_list(kept)
        _lists[kept] = True


def price_list_loaded() -> bool:
    """Whether that was done: a thread for nothing costs a call a tenth of a millisecond."""
    return bool(_lists) and all(_lists.values())


def load_prices(settings: Settings) -> Prices:
    """The prices of this profile. ConfigError names `LLM_PRICES`, the file, the key and the field to fix."""
    kept = KeptPrices.at(settings.paths.prices, settings.warn)
    _lists.setdefault(kept, False)
    file = read_price_file(settings)
    return Prices(kept=kept) if file is None else Prices(file.rates, file.special, file.deployments, kept)
