"""Asking one target: the cache first, then the layers around its adapter. What the command and the library share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, NamedTuple

from llmswitch.cache import ResponseCache, cache_key, lookup
from llmswitch.conversations import Conversations, Turn
from llmswitch.errors import StorageError
from llmswitch.ledger import Caller, Ledger, call_row, record_or_warn
from llmswitch.pricing import Prices, load_prices
from llmswitch.runs.call import Call
from llmswitch.types import Chunk, Request, Response

if TYPE_CHECKING:
    from llmswitch.profiles import Settings
    from llmswitch.providers.base import Provider

__all__ = ["NOT_YET", "Deadlines", "Services", "answer", "find_cached", "remember"]


#: variables of profiles whose features are still to come: set, they are warned about, not silently ignored
NOT_YET = (
    "REDIS_URL",
    "LLM_FALLBACK",
    "LLM_FALLBACK_ON",
    "LLM_BALANCE",
    "LLM_TIERS",
    "LLM_MAX_RETRIES",
    "LLM_BUDGET_DAILY",
    "LLM_BUDGET_MONTHLY",
)


class Deadlines(NamedTuple):
    """In seconds; `named` is the flag or variable that gives the whole call more."""

    total_s: float
    first_token_s: float
    idle_s: float
    named: str


class Services(NamedTuple):
    """What calls share: stores, prices, deadlines, where warnings go. `clock` is monotonic, `wall` epoch seconds."""

    cache: ResponseCache | None
    namespace: str | None
    refresh: bool
    ledger: Ledger
    conversations: Conversations | None
    prices: Prices
    deadlines: Deadlines
    warn: Callable[[str], None]
    clock: Callable[[], float]
    wall: Callable[[], float]

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        use_cache: bool = True,
        refresh: bool = False,
        warn: Callable[[str], None],
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> Services:
        """Reads every setting that can be wrong, and opens nothing; raises ConfigError."""
        for name in NOT_YET:
            if settings.find(name) is not None:
                warn(f"{settings.where(name)} has no effect in this version of llmswitch.")
        ttl = settings.integer("CACHE_TTL")
        cached = settings.flag("CACHE_ENABLED") and use_cache and bool(ttl)
        total = settings.seconds("LLM_TIMEOUT")
        return cls(
            cache=ResponseCache(settings.paths.responses, ttl_s=ttl or 0, wall=wall) if cached else None,
            namespace=settings.get("CACHE_NAMESPACE"),
            refresh=refresh,
            ledger=Ledger(settings.paths.ledger),
            conversations=Conversations(settings.paths.ledger) if settings.flag("LLM_HISTORY") else None,
            prices=load_prices(settings),
            deadlines=Deadlines(
                total_s=total,
                first_token_s=min(total, settings.seconds("LLM_FIRST_TOKEN_TIMEOUT")),
                idle_s=min(total, settings.seconds("LLM_IDLE_TIMEOUT")),
                named=settings.where("LLM_TIMEOUT"),
            ),
            warn=warn,
            clock=clock,
            wall=wall,
        )


def _caller(call: Call) -> Caller:
    return Caller(call.command, call.target.text, call.profile, call.conversation_id)


def find_cached(call: Call, services: Services) -> Response | None:
    """The stored answer, put on record; None where there is none. Imports neither asyncio nor an SDK."""
    if services.cache is None or services.refresh:
        return None
    at = services.wall()
    try:
        found = lookup(services.cache, cache_key(call.endpoint, call.request, services.namespace), services.clock)
    except StorageError as error:
        services.warn(error.message)
        return None
    if found is not None:
        record_or_warn(services.ledger, call_row(_caller(call), found, started_at=at), services.warn)
    return found


def answer(call: Call, services: Services, adapter: Provider) -> AsyncIterator[Chunk]:
    """Ask for real: pieces of text, then a last chunk with the whole response. Raises every error of errors.py.

    `adapter` is the call's own vendor, connected to the call's endpoint: importing its SDK or loading the embedded
    model is over before any clock starts. It stays open.
    """
    return _layers(call, services, adapter).stream(call.request)


def _layers(call: Call, services: Services, adapter: Provider) -> Provider:
    """The layers of one call, innermost first."""
    from llmswitch.layers.attempt import AttemptLayer, Patience
    from llmswitch.layers.cache import CacheLayer
    from llmswitch.layers.deadline import DeadlineLayer
    from llmswitch.layers.lenient import LenientLayer
    from llmswitch.layers.price import PriceLayer
    from llmswitch.layers.record import RecordLayer
    from llmswitch.layers.schema import SchemaLayer

    endpoint, deadlines, clock = call.endpoint, services.deadlines, services.clock
    patience = Patience(deadlines.first_token_s, deadlines.idle_s)
    provider: Provider = AttemptLayer(adapter, provider=endpoint.provider, patience=patience, clock=clock)
    provider = LenientLayer(provider, warn=services.warn)
    provider = PriceLayer(provider, endpoint=endpoint, prices=services.prices, clock=clock, wall=services.wall)
    provider = SchemaLayer(provider)
    if services.cache is not None:

        def key(request: Request) -> str:
            return cache_key(endpoint, request, services.namespace)

        provider = CacheLayer(
            provider, cache=services.cache, key=key, refresh=services.refresh, warn=services.warn, clock=clock
        )
    provider = DeadlineLayer(provider, total_s=deadlines.total_s, clock=clock, named=deadlines.named)
    return RecordLayer(
        provider,
        provider=endpoint.provider,
        caller=_caller(call),
        ledger=services.ledger,
        warn=services.warn,
        clock=clock,
        wall=services.wall,
    )


def remember(call: Call, services: Services, response: Response) -> None:
    """Keep question and answer as a turn of the call's conversation, unless LLM_HISTORY is off."""
    if services.conversations is None or call.conversation_id is None:
        return
    prompt = call.request.messages[-1]
    turn = Turn(services.wall(), prompt, response.text, call.request.system, call.target.text)
    try:
        services.conversations.append(call.conversation_id, turn)
    except StorageError as error:
        services.warn(error.message)
