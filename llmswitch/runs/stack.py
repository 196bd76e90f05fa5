"""The layers of one call: around each of its targets, and around them all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from llmswitch.budget import worst_case
from llmswitch.cache import cache_key
from llmswitch.errors import LLMSwitchError
from llmswitch.layers.attempt import AttemptLayer, Patience
from llmswitch.layers.base import opened
from llmswitch.layers.breaker import BreakerLayer
from llmswitch.layers.budget import BudgetLayer
from llmswitch.layers.busy import BusyLayer
from llmswitch.layers.cache import CacheLayer
from llmswitch.layers.connect import ConnectLayer, LateAdapter
from llmswitch.layers.deadline import DeadlineLayer
from llmswitch.layers.fallback import FallbackLayer, Lane
from llmswitch.layers.lenient import LenientLayer
from llmswitch.layers.limit import LimitLayer
from llmswitch.layers.price import PriceLayer
from llmswitch.layers.record import RecordLayer
from llmswitch.layers.retry import RetryLayer
from llmswitch.layers.schema import SchemaLayer
from llmswitch.limiter import RateLimits
from llmswitch.providers.base import Endpoint, Provider
from llmswitch.runs.ask import Asking, Services, caller
from llmswitch.runs.balance import ordered
from llmswitch.types import Chunk, Request, Trace

if TYPE_CHECKING:
    from llmswitch.runs.call import Call
    from llmswitch.runs.route import Route
    from llmswitch.runs.shared import Shared

__all__ = ["stack"]


async def stack(route: Route, asking: Asking, notify: Callable[[str], None]) -> AsyncIterator[Chunk]:
    """Every target's answer in turn, until one is whole: see `runs.ask.answer`."""
    services, shared, connect = asking
    calls = route.calls
    balance = services.policy.balance
    if route.pool > 1 and balance is not None:
        calls = await ordered(route, balance, services, load=shared.health, speeds=shared.speeds, random=shared.random)
    request = replace(calls[0].request, trace=Trace(notify=notify))
    # an import is no part of the time that its vendor takes to answer; nor is it paid for whoever is left alone now
    first, ready = await _first(calls, shared), dict[Endpoint, Provider]()
    try:
        ready[first.endpoint] = await connect(first)
    except LLMSwitchError:
        if first is calls[0]:
            raise  # of a fallback, the fallback layer says so in its turn, and asks the next
    async with opened(_around(calls, asking, ready).stream(request)) as chunks:
        async for chunk in chunks:
            if chunk.response is not None and route.conversation and route.pool > 1:
                await _stick(route.conversation, calls, chunk.response.provider, chunk.response.request_model, shared)
            yield chunk


async def _first(calls: tuple[Call, ...], shared: Shared) -> Call:
    """Who will really be asked first."""
    if len(calls) == 1:
        return calls[0]
    healthy = await shared.healthy([call.key for call in calls])
    return next((call for call in calls if call.key in healthy), calls[0])


async def _stick(conversation: str, calls: tuple[Call, ...], provider: str, model: str, shared: Shared) -> None:
    for call in calls:
        if (call.endpoint.provider, call.request.model) == (provider, model):
            await shared.health.stick(conversation, call.key)
            return


def _around(calls: tuple[Call, ...], asking: Asking, ready: Mapping[Endpoint, Provider]) -> Provider:
    """The layers that a call has once, however many targets it may go to; `ready` are connected."""
    services, shared, _ = asking
    first, policy, deadlines = calls[0], services.policy, services.deadlines
    provider: Provider = FallbackLayer(
        [_lane(call, asking, ready.get(call.endpoint)) for call in calls],
        fall_on=policy.fall_on,
        standing=shared,
        hedge_s=policy.hedge_s,
    )
    provider = DeadlineLayer(provider, total_s=deadlines.total_s, clock=services.clock, named=deadlines.named)
    return RecordLayer(
        provider,
        provider=first.endpoint.provider,
        caller=caller(first),
        book=shared.book,
        warn=services.warn,
        clock=services.clock,
        wall=services.wall,
    )


def _lane(call: Call, asking: Asking, adapter: Provider | None) -> Lane:
    late = adapter or LateAdapter(lambda: asking.connect(call))
    return Lane(
        key=call.key,
        target=call.target.text,
        request=call.request,
        open=lambda: _layers(call, asking.services, asking.shared, late),
        window=partial(asking.services.prices.context_window, call.price_key),
    )


def _layers(call: Call, services: Services, shared: Shared, adapter: Provider) -> Provider:
    """The layers around one target, innermost first."""
    endpoint, deadlines, clock, policy = call.endpoint, services.deadlines, services.clock, services.policy
    key, target = call.key, call.target.text
    patience = Patience(deadlines.first_token_s, deadlines.idle_s)
    provider: Provider = AttemptLayer(adapter, provider=endpoint.provider, patience=patience, clock=clock)
    provider = PriceLayer(provider, endpoint=endpoint, prices=services.prices, clock=clock, wall=services.wall)
    if policy.budgeted:
        provider = BudgetLayer(
            provider,
            book=shared.book,
            limits=shared.limits,
            purse=shared.purse,
            bound=lambda request: worst_case(request, services.prices, call.price_key, services.wall()),
            allow_unknown=policy.allow_unknown_price,
            caller=caller(call),
            provider=endpoint.provider,
            wall=services.wall,
        )
    if isinstance(adapter, LateAdapter):
        provider = ConnectLayer(provider, adapter=adapter)
    limits = RateLimits(*call.per_minute)
    provider = LimitLayer(provider, key=key, target=target, limits=limits, limiter=shared.limiter, wall=services.wall)
    if policy.balance is not None and policy.balance.way == "least-busy":
        provider = BusyLayer(provider, key=key, health=shared.health, lease_s=deadlines.total_s)
    if policy.breaker:
        provider = BreakerLayer(provider, key=key, target=target, health=shared.health, clock=clock)
    if call.request.schema is not None:
        provider = SchemaLayer(provider)
    provider = RetryLayer(
        provider,
        key=key,
        target=target,
        retries=policy.retries,
        quota=shared.health,
        clock=clock,
        sleep=shared.sleep,
        random=shared.random.random,
    )
    provider = LenientLayer(provider, warn=services.warn)
    if services.cache is None or shared.shelf is None:
        return provider

    def cached_as(request: Request) -> str:
        return cache_key(endpoint, request, services.namespace)

    return CacheLayer(provider, shelf=shared.shelf, key=cached_as, refresh=services.refresh, clock=clock)
