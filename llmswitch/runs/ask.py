"""Asking one target: the cache first, then the layers around its adapter. What the command and the library share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from llmswitch.cache import AnswerCache, cache_key, lookup
from llmswitch.conversations import Conversations, Turn
from llmswitch.errors import StorageError
from llmswitch.ledger import Caller, Ledger, call_row, record_or_warn
from llmswitch.pricing import Prices, load_prices
from llmswitch.redis_cache import open_cache
from llmswitch.runs.call import Call
from llmswitch.runs.policy import Policy, read_policy
from llmswitch.types import Chunk, Response, Secret

if TYPE_CHECKING:
    from llmswitch.profiles import Settings
    from llmswitch.providers.base import Provider
    from llmswitch.runs.route import Route
    from llmswitch.runs.shared import Shared

__all__ = [
    "Asking",
    "Connect",
    "Deadlines",
    "Services",
    "Store",
    "answer",
    "caller",
    "find_cached",
    "remember",
]

#: makes the adapter of a call's endpoint, which may take an import; the adapter stays open
Connect = Callable[[Call], Awaitable["Provider"]]


class Deadlines(NamedTuple):
    """In seconds; `named` is the flag or variable that gives the whole call more."""

    total_s: float
    first_token_s: float
    idle_s: float
    named: str


class Store(NamedTuple):
    """Where health and limits are kept: a file on this machine, and before it a Redis where there is one.

    `warn_of_redis` is the cache's, too: that it fails is said once.
    """

    path: Path
    warn_of_redis: Callable[[str], None]
    redis_url: Secret | None = None


class Services(NamedTuple):
    """What calls share: stores, prices, deadlines, where warnings go. `clock` is monotonic, `wall` epoch seconds."""

    cache: AnswerCache | None
    namespace: str | None
    refresh: bool
    ledger: Ledger
    conversations: Conversations | None
    prices: Prices
    deadlines: Deadlines
    policy: Policy
    store: Store
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
        policy: Policy | None = None,
        warn: Callable[[str], None],
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> Services:
        """Reads every setting that can be wrong, and opens nothing; raises ConfigError.

        `policy` is the settings' own where none is given.
        """
        ttl = settings.integer("CACHE_TTL")
        cached = settings.flag("CACHE_ENABLED") and use_cache and bool(ttl)
        total = settings.seconds("LLM_TIMEOUT")
        once = _once(warn)
        return cls(
            cache=open_cache(settings, ttl_s=ttl or 0, wall=wall, warn=once) if cached else None,
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
            policy=policy or read_policy(settings),
            store=Store(settings.paths.state, once, settings.secret("REDIS_URL")),
            warn=warn,
            clock=clock,
            wall=wall,
        )


def _once(warn: Callable[[str], None]) -> Callable[[str], None]:
    """`warn` for the first warning alone, whichever of several stores has it."""
    times = count()

    def first(message: str) -> None:
        if next(times) == 0:
            warn(message)

    return first


def caller(call: Call) -> Caller:
    """Who the ledger says has asked."""
    return Caller(call.command, call.target.text, call.profile, call.conversation_id, call.task)


def find_cached(calls: Sequence[Call], services: Services) -> Response | None:
    """The stored answer of the first call that has one, put on record; None where none has. Imports neither asyncio
    nor an SDK."""
    if services.cache is None or services.refresh:
        return None
    for call in calls:
        at = services.wall()
        try:
            found = lookup(services.cache, cache_key(call.endpoint, call.request, services.namespace), services.clock)
        except StorageError as error:
            services.warn(error.message)
            return None
        if found is not None:
            record_or_warn(services.ledger, call_row(caller(call), found, started_at=at), services.warn)
            return found
    return None


class Asking(NamedTuple):
    """What it takes to ask for real."""

    services: Services
    shared: Shared
    connect: Connect


def answer(route: Route, asking: Asking, *, notify: Callable[[str], None] = lambda told: None) -> AsyncIterator[Chunk]:
    """Ask for real: pieces of text, then a last chunk with the whole response. Raises every error of errors.py.

    `asking.connect` gives the adapter of each target that is really asked; for the first one it is called before any
    clock starts. `notify` is told what the call is doing while it shows nothing.
    """
    from llmswitch.runs.stack import stack

    return stack(route, asking, notify)


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
