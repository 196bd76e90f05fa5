"""How a profile wants calls to be kept going: retries, fallbacks, balance, hedging, budgets. Read, not yet acted on."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, NamedTuple

from llmswitch.errors import ConfigError
from llmswitch.targets import number, parse_target
from llmswitch.types import Target

if TYPE_CHECKING:
    from llmswitch.profiles import Settings

__all__ = ["FALL_ON", "Balance", "Policy", "dollars", "read_policy"]

#: ways to choose among several targets; `weighted` names them with their weights
_BALANCES = ("weighted", "fastest", "cheapest", "least-busy")
#: error kinds that another target may not have
FALL_ON = (
    "rate_limit",
    "overloaded",
    "server",
    "timeout",
    "connection",
    "truncated",
    "malformed",
    "not_found",
    "context_length",
)
#: those that are handed on only where LLM_FALLBACK_ON names them: a filter's word, a key of ours that is wrong
_MAY_FALL_ON = ("content_filter", "authentication", "permission")
_NONE = "none"


class Balance(NamedTuple):
    """How to choose, and among whom: `targets` with their weights; without any, among all that are configured."""

    way: str
    targets: tuple[tuple[Target, float], ...] = ()


class Policy(NamedTuple):
    """What the settings say; money in USD. `fall_on` are the error kinds that are handed on."""

    retries: int = 2
    fallback: tuple[Target, ...] = ()
    fall_on: frozenset[str] = frozenset(FALL_ON)
    balance: Balance | None = None
    hedge_s: float | None = None
    daily: Decimal | None = None
    monthly: Decimal | None = None
    max_cost: Decimal | None = None
    allow_unknown_price: bool = False
    #: whether a target that keeps failing is left alone for a while; a bench measures it all the same
    breaker: bool = True
    #: whom `ask --route` chooses among, the cheapest first
    tiers: tuple[Target, ...] = ()

    @property
    def budgeted(self) -> bool:
        """Whether a call must be known to fit before it is sent."""
        return any(limit is not None for limit in (self.daily, self.monthly, self.max_cost))


def read_policy(
    settings: Settings,
    *,
    hedge: str | None = None,
    max_cost: str | None = None,
    allow_unknown_price: bool = False,
) -> Policy:
    """The policy of these settings and flags; raises ConfigError. Cheap: a cached answer pays for it, too."""
    return Policy(
        retries=settings.integer("LLM_MAX_RETRIES", 0, 10) or 0,
        fallback=_fallback(settings),
        fall_on=_fall_on(settings),
        balance=_balance(settings),
        hedge_s=_hedge_seconds(hedge),
        daily=_budget(settings, "LLM_BUDGET_DAILY"),
        monthly=_budget(settings, "LLM_BUDGET_MONTHLY"),
        max_cost=None if max_cost is None else dollars(max_cost, "--max-cost"),
        allow_unknown_price=allow_unknown_price,
        tiers=_tiers(settings),
    )


def _hedge_seconds(text: str | None) -> float | None:
    """`2s`, `500ms` or plain seconds, above 0; ConfigError names the flag."""
    if text is None:
        return None
    told = text.strip().lower()
    scale = 0.001 if told.endswith("ms") else 1.0
    value = number(told.removesuffix("ms").removesuffix("s"), "--hedge", 0) * scale
    if not value:
        raise ConfigError(f"--hedge must be a time above 0, such as 2s or 500ms, not {text!r}.")
    return value


def dollars(text: str, where: str) -> Decimal:
    """An amount of USD from 0 up; ConfigError names `where` it was given."""
    try:
        amount = Decimal(text.strip().removeprefix("$")) if text.isascii() and "_" not in text else Decimal("NaN")
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0 or amount > 10**9:
        raise ConfigError(f"{where} must be an amount of USD, such as 0.50, not {text!r}.")
    return amount


def _budget(settings: Settings, name: str) -> Decimal | None:
    value = settings.get(name)
    return None if value is None else dollars(value, settings.where(name))


def _fallback(settings: Settings) -> tuple[Target, ...]:
    value = settings.get("LLM_FALLBACK")
    if value is None or value.lower() == _NONE:
        return ()
    return tuple(parse_target(part, settings.where("LLM_FALLBACK")) for part in _parts(value, settings, "LLM_FALLBACK"))


def _tiers(settings: Settings) -> tuple[Target, ...]:
    value = settings.get("LLM_TIERS")
    if value is None or value.lower() == _NONE:
        return ()
    return tuple(parse_target(part, settings.where("LLM_TIERS")) for part in _parts(value, settings, "LLM_TIERS"))


def _fall_on(settings: Settings) -> frozenset[str]:
    value = settings.get("LLM_FALLBACK_ON")
    more = [part.lower() for part in _parts(value, settings, "LLM_FALLBACK_ON")] if value is not None else []
    known = (*_MAY_FALL_ON, *FALL_ON)
    for kind in more:
        if kind not in known:
            raise ConfigError(
                f"{settings.where('LLM_FALLBACK_ON')}: {kind!r} is nothing to fall back on. "
                f"It takes {', '.join(known)}."
            )
    return frozenset((*FALL_ON, *more))


def _balance(settings: Settings) -> Balance | None:
    value = settings.get("LLM_BALANCE")
    if value is None or value.lower() == _NONE:
        return None
    where = settings.where("LLM_BALANCE")
    way, colon, named = value.partition(":")
    way = way.strip().lower()
    if way not in _BALANCES:
        raise ConfigError(
            f"{where} must be weighted:openai=3,azure=1 or one of {', '.join(_BALANCES[1:])}, not {value!r}."
        )
    if way != "weighted":
        parts = _parts(named, settings, "LLM_BALANCE") if colon else ()
        return Balance(way, tuple((parse_target(part, where), 1.0) for part in parts))
    if not named:
        raise ConfigError(f"{where} names no targets: weighted:openai=3,azure=1.")
    return Balance(way, tuple(_weight(part, where) for part in _parts(named, settings, "LLM_BALANCE")))


def _weight(text: str, where: str) -> tuple[Target, float]:
    """`target=weight`; what follows the last '=' is the weight, as a target's own parameters have one, too."""
    target, mark, weight = text.rpartition("=")
    if not mark:
        raise ConfigError(f"{where}: {text!r} has no weight: write target=weight, as in openai=3.")
    value = number(weight, f"the weight of {target} in {where}", 0)
    return parse_target(target, where), value


def _parts(text: str, settings: Settings, name: str) -> Sequence[str]:
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise ConfigError(f"{settings.where(name)} has an empty place between commas: {text!r}.")
    return parts
