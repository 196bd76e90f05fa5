"""Choosing among several targets by weight, speed, price or load: a healthy one, and the same for a conversation."""

from __future__ import annotations

import asyncio
import math
import random as chance
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from llmswitch.database import reading
from llmswitch.errors import ConfigError, StorageError
from llmswitch.pricing import load_price_list
from llmswitch.types import Usage

if TYPE_CHECKING:
    from pathlib import Path

    from llmswitch.runs.ask import Services
    from llmswitch.runs.call import Call
    from llmswitch.runs.policy import Balance
    from llmswitch.runs.route import Route

__all__ = ["Load", "Speeds", "ordered"]

#: how far back calls tell how fast a target is, in seconds, and how many of them are looked at
_RECENT_S = 86_400.0
_MOST_CALLS = 500
#: calls of one target that are enough to know its speed
_ENOUGH = 3
#: part of the calls that `fastest` sends to another than the fastest: who is never asked is never seen to be faster
_EXPLORED = 0.1
#: output tokens that calls are compared by, where they allow so many
_TYPICAL = 500
#: how long a look into the ledger is good for, in seconds
_FRESH_S = 5.0


class Load(Protocol):
    """Who knows how the targets fare."""

    async def healthy(self, keys: Sequence[str]) -> frozenset[str]:
        """Those that can be asked now."""
        ...

    async def in_flight(self, keys: Sequence[str]) -> dict[str, int]:
        """Calls that are under way now, on all processes that share this state."""
        ...

    async def stuck_to(self, conversation: str) -> str | None:
        """The target that answered this conversation last."""
        ...


class Speeds:
    """How fast targets were of late: the median of time to first token plus inter-token latency, in seconds."""

    def __init__(self, ledger: Path) -> None:
        self.ledger = ledger
        self._read_at = -math.inf
        self._speeds: dict[tuple[str, str], float] = {}

    async def of(self, calls: Sequence[Call], now: float) -> list[float | None]:
        """One for each call, None where too little is known; `now` is epoch seconds."""
        if now - self._read_at > _FRESH_S:
            self._read_at = now
            try:
                self._speeds = await asyncio.to_thread(_speeds, self.ledger, now)
            except StorageError:  # nothing is known then: everybody is explored
                self._speeds = {}
        return [self._speeds.get((call.endpoint.provider, call.request.model)) for call in calls]


def _speeds(ledger: Path, now: float) -> dict[tuple[str, str], float]:
    seen: dict[tuple[str, str], list[float]] = {}
    with reading(ledger) as connection:
        rows = connection.execute(
            "SELECT provider, request_model, time_to_first_token_s + itl_s FROM calls"
            " WHERE started_at > ? AND NOT cached AND error_kind IS NULL AND time_to_first_token_s IS NOT NULL"
            " AND itl_s IS NOT NULL ORDER BY started_at DESC LIMIT ?",
            (now - _RECENT_S, _MOST_CALLS),
        )
        for provider, model, seconds in rows:
            seen.setdefault((provider, model), []).append(seconds)
    return {key: statistics.median(values) for key, values in seen.items() if len(values) >= _ENOUGH}


class _Choice(NamedTuple):
    """What the ways of choosing look at: the calls with their weights, and who knows what of them."""

    pool: Sequence[tuple[Call, float]]
    services: Services
    load: Load
    speeds: Speeds
    random: chance.Random


async def ordered(
    route: Route, balance: Balance, services: Services, *, load: Load, speeds: Speeds, random: chance.Random
) -> tuple[Call, ...]:
    """The route's calls in the order to ask them: the chosen one, the rest of its pool, then the fallbacks.

    What is not healthy comes after what is. Raises ConfigError where there is nobody to choose.
    """
    pool = list(zip(route.calls[: route.pool], route.weights, strict=True))
    if not any(weight for _, weight in pool):
        raise ConfigError("LLM_BALANCE gives every target the weight 0: nobody is left to ask.")
    ranks = await _WAYS[balance.way](_Choice(pool, services, load, speeds, random))
    healthy = await load.healthy([call.key for call, _ in pool])
    stuck = await load.stuck_to(route.conversation) if route.conversation else None

    def place(index: int) -> tuple[bool, bool, float]:
        call, _ = pool[index]
        return call.key not in healthy, call.key != stuck, ranks[index]

    return tuple(pool[index][0] for index in sorted(range(len(pool)), key=place)) + route.calls[route.pool :]


async def _weighted(choice: _Choice) -> list[float]:
    """Exponential races: the smallest of E_i / w_i is i with probability w_i / Σw (Efraimidis & Spirakis, 2006)."""
    return [choice.random.expovariate(1.0) / weight if weight else math.inf for _, weight in choice.pool]


async def _fastest(choice: _Choice) -> list[float]:
    """By what the ledger knows; who is unknown goes first, and now and then anybody does."""
    known = await choice.speeds.of([call for call, _ in choice.pool], choice.services.wall())
    ranks = [choice.random.random() - 1.0 if speed is None else speed for speed in known]
    if choice.random.random() < _EXPLORED:
        ranks[choice.random.randrange(len(ranks))] = -2.0
    return ranks


async def _cheapest(choice: _Choice) -> list[float]:
    """By an answer of the same length from each; unknown prices come last."""
    await asyncio.to_thread(load_price_list)
    prices, now = choice.services.prices, choice.services.wall()
    costs = [
        prices.cost(
            Usage(-(-call.text_bytes // 4), min(call.request.parameters.max_tokens or _TYPICAL, _TYPICAL)),
            call.price_key,
            now,
        )
        for call, _ in choice.pool
    ]
    return [math.inf if cost is None else float(cost.amount) for cost in costs]


async def _least_busy(choice: _Choice) -> list[float]:
    """By calls under way; equals by chance."""
    counts = await choice.load.in_flight([call.key for call, _ in choice.pool])
    return [counts.get(call.key, 0) + choice.random.random() / 2 for call, _ in choice.pool]


_WAYS: Mapping[str, Callable[[_Choice], Awaitable[list[float]]]] = {
    "weighted": _weighted,
    "fastest": _fastest,
    "cheapest": _cheapest,
    "least-busy": _least_busy,
}
