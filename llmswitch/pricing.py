"""From tokens to money. Unknown is None, never 0.

A rate comes from the user's own file where `LLM_PRICES` names one, else from genai-prices' packaged list, which is
imported on first use. `Cost.exact` is false where something had to be assumed: tokens were estimated; no vendor and
no user said which model answered, so that it was looked up as asked for; the list knows its family and not its name
(a date or version at the end is no other name); another vendor's list stood in (most of Azure's OpenAI models, whose
regional uplift no list has); cached tokens had no rate of their own and were priced as others are.

The file is TOML where its name ends in .toml, else JSON: USD per million tokens, as numbers or text, by
"provider:model", or by model alone.

    {"openai:gpt-6-luna": {"input": 0.08, "output": "0.40", "cache_read": 0.008},
     "local:SmolLM2-135M-Instruct": {"input": 0, "output": 0}}

`input` and `output` are required; `cache_read`, `cache_creation` and `cache_creation_1h` are not. A 0 in it is a
price: free. In the packaged list a 0, or no rate, only says that nobody filled it in.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from llmswitch.errors import ConfigError
from llmswitch.paths import read_regular
from llmswitch.types import Cost, Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice

    from llmswitch.profiles import Settings

__all__ = ["Estimate", "PriceKey", "Prices", "context_window", "load_price_list", "load_prices", "price_list_loaded"]

#: the ledger's unit: money is rounded to it once, here
_PICO = Decimal("1e-12")
#: field of the file -> key of genai-prices
_FIELDS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_creation": "cache_write_mtok",
    "cache_creation_1h": "cache_write_1h_mtok",
}
#: a snapshot's date or number at the end of a name: the same model at the same rate
_SNAPSHOT = r"(?:-latest|[-@]20\d\d-?\d\d-?\d\d|-\d{3})$"
#: bytes of UTF-8 a token is taken to have before anything was counted; other than English prose has fewer
_BYTES_PER_TOKEN = 4
_LARGEST_FILE = 10_000_000


class PriceKey(NamedTuple):
    """What a price is looked up by. `price_provider` and `price_model` are an endpoint's: see `Endpoint`."""

    provider: str
    request_model: str
    response_model: str | None = None
    price_provider: str | None = None
    price_model: str | None = None


class Estimate(NamedTuple):
    """A call before it is sent: from no answer at all (`low`) to `max_tokens` of it (`high`, None without a cap)."""

    input_tokens: int
    low: Cost
    high: Cost | None


class _Rate(NamedTuple):
    """Rates that were found: `free` tells that a 0 among them is meant, `assumed` that they may be another's."""

    prices: ModelPrice
    source: str
    free: bool = False
    assumed: bool = False


class _Model(NamedTuple):
    """A model of the list; `certain` tells that it is the one asked for, by that very name."""

    info: ModelInfo
    certain: bool
    #: where its prices do not depend on when it is asked
    rate: _Rate | None


class Prices(NamedTuple):
    """Prices to look up; `own` are those of the `LLM_PRICES` file, by its keys and genai-prices' names of units."""

    own: Mapping[str, Mapping[str, Decimal]] = MappingProxyType({})

    def cost(self, usage: Usage, key: PriceKey, at: float) -> Cost | None:
        """What `usage` cost at `at` (epoch seconds), in whole pico-dollars; None where tokens or rates are unknown."""
        rate = self._own(key) or _listed(key, at)
        return None if rate is None else _cost(usage, rate)

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

    def _own(self, key: PriceKey) -> _Rate | None:
        models = [m for m in (key.request_model, key.response_model, key.price_model) if m]
        for name in (*(f"{key.provider}:{model}" for model in models), *models):
            if name in self.own:
                return _Rate(_own_price(tuple(self.own[name].items())), "LLM_PRICES", free=True)
        return None


@lru_cache(maxsize=256)
def _own_price(fields: tuple[tuple[str, Decimal], ...]) -> ModelPrice:
    from genai_prices.types import ModelPrice

    return ModelPrice(**dict(fields))


def context_window(key: PriceKey) -> int | None:
    """How many tokens the packaged list says that the model takes; None where it does not know."""
    found = _model(key)
    return None if found is None else found.info.context_window


def _listed(key: PriceKey, at: float) -> _Rate | None:
    """From the packaged list."""
    from datetime import UTC, datetime

    found = _model(key)
    if found is None or found.rate is not None:
        return None if found is None else found.rate
    return _rate(found.info.get_prices(datetime.fromtimestamp(at, tz=UTC)), found.certain)


def _rate(prices: ModelPrice, certain: bool) -> _Rate:
    import genai_prices

    return _Rate(prices, f"genai-prices {genai_prices.__version__}", assumed=not certain)


@lru_cache(maxsize=256)
def _model(key: PriceKey) -> _Model | None:
    """The list's model. Only a provider of that very id: the list itself takes 'my-openai-proxy' for OpenAI."""
    from genai_prices.data_snapshot import get_snapshot

    snapshot = get_snapshot()
    provider_id = key.provider if key.price_provider is None else key.price_provider
    provider = next((p for p in snapshot.providers if p.id == provider_id), None)
    if provider is None:
        return None
    told = [model for model in (key.price_model, key.response_model) if model]
    for place, name in enumerate((*told, key.request_model)):
        model = provider.find_model(name, all_providers=snapshot.providers)
        if model is not None:
            certain = bool(told) and place == 0 and any(model is own for own in provider.models)
            certain = certain and _is_named(name.lower(), model)
            prices = model.prices
            return _Model(model, certain, None if isinstance(prices, list) else _rate(prices, certain))
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


def _cost(usage: Usage, rate: _Rate) -> Cost | None:
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
    used = ("input_mtok", "output_mtok") if usage.output_tokens else ("input_mtok",)
    return all(_base(prices, key) for key in used)


def _base(prices: ModelPrice, key: str) -> Decimal | None:
    price: Any = getattr(prices, key)
    base: Decimal | None = getattr(price, "base", price)
    return base


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


@cache
def load_price_list() -> None:
    """Import the packaged list ahead of its first use: 0.2 s of CPU that fits while an answer is on its way."""
    from genai_prices.data_snapshot import get_snapshot

    get_snapshot()


def price_list_loaded() -> bool:
    """Whether that was done: a thread for nothing costs a call a tenth of a millisecond."""
    return load_price_list.cache_info().currsize > 0


def load_prices(settings: Settings) -> Prices:
    """The prices of this profile. ConfigError names `LLM_PRICES`, the file, the key and the field to fix."""
    value = settings.get("LLM_PRICES")
    if value is None:
        return Prices()
    path = Path(os.path.expanduser(value))
    where = f"{settings.where('LLM_PRICES')}: {path}"
    table = _parsed(path, where)
    return Prices({_key(name): _rates(fields, f"{where}: {name!r}") for name, fields in table.items()})


def _parsed(path: Path, where: str) -> dict[str, Any]:
    try:
        found = read_regular(path, _LARGEST_FILE + 1)
        if found is None or len(found[0]) > _LARGEST_FILE:
            raise ConfigError(f"{where} cannot be read: it is {'over 10 MB' if found else 'no file'}.")
        text = found[0].decode("utf-8-sig")
        if path.suffix.lower() == ".toml":
            import tomllib

            return tomllib.loads(text, parse_float=Decimal)
        import json

        table = json.loads(text, parse_float=Decimal)
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error.strerror}.") from error
    except (ValueError, ArithmeticError, RecursionError) as error:  # a number or a nesting too large for any reader
        raise ConfigError(f"{where} is neither JSON nor, with a name in .toml, TOML: {error}.") from error
    if not isinstance(table, dict):
        raise ConfigError(f'{where} must hold an object: {{"provider:model": {{"input": 1, "output": 2}}}}.')
    return table


def _key(name: str) -> str:
    """`name` with its provider's alias resolved: calls are recorded under 'anthropic', never 'claude'."""
    from llmswitch.providers import ALIASES

    provider, colon, model = name.partition(":")
    return f"{ALIASES[provider]}:{model}" if colon and provider in ALIASES else name


def _rates(fields: Any, where: str) -> dict[str, Decimal]:
    if not isinstance(fields, dict):
        raise ConfigError(f'{where} must hold prices: {{"input": 1, "output": 2}}.')
    for name in fields:
        if name not in _FIELDS:
            raise ConfigError(f"{where}: unknown field {name!r}. A price has {', '.join(_FIELDS)}.")
    needed = ["input", "output"] + (["cache_creation"] if "cache_creation_1h" in fields else [])
    for name in needed:
        if name not in fields:
            raise ConfigError(f"{where} has no {name!r}: give it in USD per million tokens.")
    return {_FIELDS[name]: _dollars(value, f"{where}: {name}") for name, value in fields.items()}


def _dollars(value: Any, where: str) -> Decimal:
    try:
        amount = Decimal(value) if isinstance(value, (str, int, Decimal)) and not isinstance(value, bool) else None
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite() or amount < 0:
        raise ConfigError(f"{where} must be a number of USD from 0 up, not {value!r}.")
    return amount
