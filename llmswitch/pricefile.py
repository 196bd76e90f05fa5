"""The file that `LLM_PRICES` names: what a user pays, where that is not what the price list says.

It is TOML where its name ends in .toml, else JSON: USD per million tokens, as numbers or text, by "provider:model", or
by model alone.

    {"openai:gpt-6-luna": {"input": 0.08, "output": "0.40", "cache_read": 0.008,
                           "batch": {"input": 0.04, "output": 0.20},
                           "tiers": {"priority": {"input": 0.16, "output": 0.80}}},
     "local:SmolLM2-135M-Instruct": {"input": 0, "output": 0},
     "azure:my-deployment": {"model": "openai:gpt-4o", "uplift": 1.1}}

`input` and `output` are required; `cache_read`, `cache_creation` and `cache_creation_1h` are not. A 0 in it is a
price: free. `batch` holds the rates of the vendor's batch interface, and `tiers` those of its service tiers, each with
the same fields; a rate that is left out there is the standard one of the same entry. Without `batch` a batch reads as
the standard rate, not exact, and so does the tier `flex`; any other tier without rates is unknown (see pricelist.py).

`model` in place of rates says what a deployment, or any other name, serves: it costs that model's list price, times
`uplift` where a region or a contract adds to it (1.1 is 10 % more; 1 where it is left out). `provider:model` takes that
vendor's own list, batches and tiers included; a model alone is looked up in the entry's own vendor's list.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from llmswitch.errors import ConfigError
from llmswitch.paths import read_regular

if TYPE_CHECKING:
    from llmswitch.profiles import Settings

__all__ = ["FIELDS", "Deployment", "PriceFile", "read_price_file"]

#: field of the file -> key of genai-prices
FIELDS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_creation": "cache_write_mtok",
    "cache_creation_1h": "cache_write_1h_mtok",
}
_LARGEST_FILE = 10_000_000
#: no region or contract makes a model dearer by more: what is meant is a share, 1.1, and not 110
_DEAREST_UPLIFT = Decimal(10)

#: USD for a million tokens: what is dearer by far than all that is sold is a slip of the point
_DEAREST = Decimal(1_000_000)

_Rates = Mapping[str, Decimal]


class Deployment(NamedTuple):
    """What a name serves, as it is written: `provider:model`, or a model of the entry's own vendor; and the factor."""

    model: str
    uplift: Decimal = Decimal(1)


class PriceFile(NamedTuple):
    """The file by its keys. `rates` are the standard ones, by genai-prices' names of units; `special` those of
    'batch' and of tiers, whole; `deployments` what has a list price."""

    rates: Mapping[str, _Rates] = MappingProxyType({})
    special: Mapping[str, Mapping[str, _Rates]] = MappingProxyType({})
    deployments: Mapping[str, Deployment] = MappingProxyType({})


def read_price_file(settings: Settings) -> PriceFile | None:
    """The prices of this profile, None without a file. ConfigError names `LLM_PRICES`, file, key and field to fix."""
    value = settings.get("LLM_PRICES")
    if value is None:
        return None
    path = Path(os.path.expanduser(value))
    where = f"{settings.where('LLM_PRICES')}: {path}"
    rates: dict[str, _Rates] = {}
    special: dict[str, Mapping[str, _Rates]] = {}
    deployments: dict[str, Deployment] = {}
    for name, fields in _parsed(path, where).items():
        key, at = _key(name), f"{where}: {name!r}"
        if key in rates or key in deployments:
            raise ConfigError(f"{at} stands there twice, once by another name of its provider: leave one.")
        if isinstance(fields, dict) and not fields.keys().isdisjoint(("model", "uplift")):
            deployments[key] = _deployment(fields, at)
            continue
        rates[key], special[key] = _entry(fields, at)
    return PriceFile(rates, special, deployments)


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

        table = json.loads(text, parse_float=Decimal, object_pairs_hook=_once)
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error.strerror}.") from error
    except (ValueError, ArithmeticError, RecursionError) as error:  # a number or a nesting too large for any reader
        raise ConfigError(f"{where} is neither JSON nor, with a name in .toml, TOML: {error}.") from error
    if not isinstance(table, dict):
        raise ConfigError(f'{where} must hold an object: {{"provider:model": {{"input": 1, "output": 2}}}}.')
    return table


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object, where no name stands in it twice: JSON would take the last of them without a word."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} stands there twice")
        found[name] = value
    return found


def _key(name: str) -> str:
    """`name` with its provider's alias resolved: calls are recorded under 'anthropic', never 'claude'."""
    from llmswitch.providers import ALIASES

    provider, colon, model = name.partition(":")
    return f"{ALIASES[provider]}:{model}" if colon and provider in ALIASES else name


def _entry(fields: Any, where: str) -> tuple[_Rates, Mapping[str, _Rates]]:
    """The standard rates of an entry, and those of its batches and tiers laid over them."""
    standard = _rates(fields, where, also=("batch", "tiers"))
    tiers = fields.get("tiers", {})
    if not isinstance(tiers, dict):
        raise ConfigError(f'{where}: tiers must hold prices by tier: {{"priority": {{"input": 1, "output": 2}}}}.')
    special = {"batch": fields["batch"]} if "batch" in fields else {}
    found = {name: _rates(rates, f"{where}: {name}") for name, rates in special.items()}
    for name, rates in tiers.items():
        if name.lower() in ("batch", "default", "standard"):
            raise ConfigError(f"{where}: {name!r} is no tier of its own: its rates stand beside 'tiers', not in it.")
        found[name.lower()] = _rates(rates, f"{where}: tiers: {name}")
    return standard, {name: {**standard, **rates} for name, rates in found.items()}


def _rates(fields: Any, where: str, *, also: tuple[str, ...] = ()) -> _Rates:
    if not isinstance(fields, dict):
        raise ConfigError(f'{where} must hold prices: {{"input": 1, "output": 2}}.')
    _check_names(fields, (*FIELDS, *also), where)
    needed = ["input", "output"] + (["cache_creation"] if "cache_creation_1h" in fields else [])
    for name in needed:
        if name not in fields:
            raise ConfigError(f"{where} has no {name!r}: give it in USD per million tokens.")
    return {FIELDS[name]: _dollars(value, f"{where}: {name}") for name, value in fields.items() if name in FIELDS}


def _deployment(fields: Mapping[str, Any], where: str) -> Deployment:
    _check_names(fields, ("model", "uplift"), where)
    model = fields.get("model")
    if not isinstance(model, str) or not model.strip(":"):
        raise ConfigError(f"{where}: model must name what it serves, as in 'openai:gpt-4o', not {model!r}.")
    uplift = _number(fields.get("uplift", 1))
    if uplift is None or not 0 < uplift <= _DEAREST_UPLIFT:
        raise ConfigError(
            f"{where}: uplift must be a factor above 0, such as 1.1 for 10 % more, not {_shown(fields['uplift'])}."
        )
    return Deployment(_key(model), uplift)


def _check_names(fields: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for name in fields:
        if name not in known:
            from difflib import get_close_matches

            close = get_close_matches(name, known, n=1)
            meant = f" Did you mean {close[0]!r}?" if close else ""
            if not fields.keys().isdisjoint(("model", "uplift")) and name in (*FIELDS, "batch", "tiers"):
                raise ConfigError(f"{where}: {name!r} and 'model' exclude each other: give rates, or the model's.")
            raise ConfigError(f"{where}: unknown field {name!r}.{meant} A price has {', '.join(known)}.")


def _dollars(value: Any, where: str) -> Decimal:
    amount = _number(value)
    if amount is None or amount < 0:
        raise ConfigError(f"{where} must be a number of USD from 0 up, not {_shown(value)}.")
    if amount > _DEAREST:
        raise ConfigError(f"{where} is {_shown(value)}: nobody sells a million tokens for over {_DEAREST:,} USD.")
    return amount


def _shown(value: Any) -> str:
    """As it is written in the file, and not over more than a line."""
    text = str(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _number(value: Any) -> Decimal | None:
    try:
        number = Decimal(value) if isinstance(value, (str, int, Decimal)) and not isinstance(value, bool) else None
    except InvalidOperation:
        return None
    return number if number is not None and number.is_finite() else None
