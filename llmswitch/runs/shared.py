"""What the calls of one process share while they run: health, limits, the ledger's book, a command's purse."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmswitch.book import Book
from llmswitch.budget import BudgetLimits, Purse
from llmswitch.health import Health
from llmswitch.limiter import Limiter
from llmswitch.runs.balance import Speeds
from llmswitch.shared_state import open_state
from llmswitch.shelf import Shelf
from llmswitch.worker import Worker

if TYPE_CHECKING:
    from llmswitch.runs.ask import Services

__all__ = ["Shared"]

#: how long it is believed who is healthy, in seconds: asking for each call would cost each call
_FRESH_S = 0.5


class Shared:
    """Opened once, before the first call that is really asked; used by any number of tasks of one loop; closed once.

    Opening it touches no file: the stores are opened with the first thing that is asked of them.
    """

    def __init__(self, services: Services, *, gather_s: float = 0.0) -> None:
        store = services.store
        self.services = services
        self.worker = Worker(
            open_state(
                store.path,
                redis_url=store.redis_url.reveal() if store.redis_url else None,
                namespace=services.namespace,
                warn=services.warn,
                warn_of_redis=store.warn_of_redis,
                wall=services.wall,
            ),
            name="llmswitch-state",
        )
        self.health = Health(self.worker, wall=services.wall)
        self.limiter = Limiter(self.worker, clock=services.clock, wall=services.wall)
        self.book = Book(services.ledger.path, wall=services.wall, gather_s=gather_s)
        self.shelf = None if services.cache is None else Shelf(services.cache, warn=services.warn)
        self.limits = BudgetLimits(services.policy.daily, services.policy.monthly)
        limit = services.policy.max_cost
        self.purse = None if limit is None else Purse(limit)
        self.speeds = Speeds(services.ledger.path)
        self.random = random.SystemRandom()
        self.sleep = asyncio.sleep
        self._healthy: dict[tuple[str, ...], tuple[float, frozenset[str]]] = {}

    async def healthy(self, keys: Sequence[str]) -> frozenset[str]:
        """Those of them that can be asked now, as far as was known half a second ago."""
        names, now = tuple(keys), self.services.clock()
        known = self._healthy.get(names)
        if known is None or now - known[0] > _FRESH_S:
            known = self._healthy[names] = (now, await self.health.healthy(names))
        return known[1]

    async def aclose(self) -> None:
        """Write what is left to be written, and let go of files and sockets."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        if self.shelf is not None:
            self.shelf.close()
        self.worker.close()
        self.book.close()
