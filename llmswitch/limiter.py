"""Keeping to a target's limits: so many requests and tokens a minute, with everybody who shares the state.

This is the side of the calls that wait; who may go next is decided in the worker's thread (`turnstile.py`).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from llmswitch.errors import RateLimitError, StorageError
from llmswitch.turnstile import LONGEST_PAUSE_S, UNLIMITED, Known, Place, RateLimits, Ticket, Turnstile, Wait

if TYPE_CHECKING:
    from llmswitch.providers.ratelimits import SeenLimits
    from llmswitch.state import State
    from llmswitch.worker import Worker

__all__ = ["Limiter", "RateLimits", "Ticket"]

#: How much longer than the vendor's window ours is, in seconds: a call may be that much longer on its way than one
#: that is sent a minute later, and the vendor still counts no more than its limit.
_MARGIN_S = 1
#: a call that is sent later than this after it was let through counts from when it was sent, in seconds
_LATE_S = 0.5
#: how long what another process learned may go unnoticed, in seconds
_GLANCE_S = 1.0
#: the longest and the shortest sleep between two looks of who is first in line, in seconds
_POLL_S, _SHORTEST_S = 1.0, 0.02
#: how long others in line sleep, in seconds; they are woken when they are first
_NAP_S = 5.0
#: how long a call waits where another target stands ready, in seconds
_RATHER_MOVE_ON_S = 1.0
#: a new guess of how long to wait is told where it differs by more than this, in seconds
_NEWS_S = 1.0
#: how often what a vendor says again and again is written down again, in seconds
_RENEW_S = 600.0


class Limiter:
    """For all calls of this process. `clock` is monotonic, `wall` epoch seconds, `window_s` whole seconds.

    A state that fails lets calls through: no call is lost for it.
    """

    def __init__(
        self, worker: Worker[State], *, clock: Callable[[], float], wall: Callable[[], float], window_s: int = 60
    ) -> None:
        self._worker = worker
        self._clock = clock
        self._wall = wall
        self._turnstile = Turnstile(clock=clock, wall=wall, expiry=window_s + _MARGIN_S)
        #: by target: what its document says, when that was last looked at, and when limits were last written
        self._known: dict[str, Known] = {}
        self._looked: dict[str, float] = {}
        self._written: dict[str, float] = {}
        #: Calls under way that a limit counts, and what of those that ended is still to be settled: with the next
        #: call that wants to go, since a transaction of its own costs more than all the rest.
        self._under_way = 0
        self._unsettled: deque[tuple[Ticket, int]] = deque()

    async def acquire(
        self,
        key: str,
        limits: RateLimits,
        tokens: int,
        *,
        target: str,
        ends: float,
        alternative: bool,
        waiting: Callable[[float, str], None],
    ) -> Ticket:
        """Wait until one request of `tokens` tokens may go to `key`, and count it.

        Raises RateLimitError at once where that is not before `ends` (monotonic), or, with an `alternative`, not
        within a second. `waiting` is told how many seconds and what for; `target` is what errors call it.
        """
        if limits == UNLIMITED and not await self._minds(key):
            return Ticket(key)
        ends = min(ends, self._clock() + _RATHER_MOVE_ON_S) if alternative else ends
        place = Place(key, limits, tokens, self._wall(), asyncio.get_running_loop())
        try:
            ticket = await self._admitted(place, target, ends, waiting)
        except BaseException as error:
            self._post(lambda store: self._turnstile.leave(store, place))
            if isinstance(error, StorageError):
                return Ticket(key)
            raise
        self._under_way += ticket.counted
        return ticket

    def sent(self, ticket: Ticket) -> None:
        """The call has been written to the vendor, who counts it from now."""
        if ticket.counted and self._clock() - ticket.granted > _LATE_S:
            self._post(lambda store: self._turnstile.count_from_now(store, ticket))

    def settle(self, ticket: Ticket, tokens: int | None) -> None:
        """The call ended, and took `tokens`; None where nobody knows: what was reserved stays taken."""
        self._under_way -= ticket.counted
        if ticket.tokens_at is not None and tokens is not None:
            self._unsettled.append((ticket, tokens))
        if self._unsettled and not self._under_way:
            self._post(self._settle_all)

    def give_back(self, ticket: Ticket) -> None:
        """The call ended before it was sent. Each ticket is either settled or given back, once."""
        self._under_way -= ticket.counted
        if ticket.counted:
            self._post(lambda store: self._turnstile.give_back(store, ticket))

    def learn(self, key: str, seen: SeenLimits) -> None:
        """Keep to what a vendor says of its limits; what it does not say stays as it was."""
        known, now = self._known.get(key, Known()), self._clock()
        requests = (seen.requests and seen.requests.limit) or known.limits.requests
        limits = RateLimits(requests, (seen.tokens and seen.tokens.limit) or known.limits.tokens)
        if limits != known.limits or (limits != UNLIMITED and now - self._written.get(key, -math.inf) > _RENEW_S):
            self._written[key] = now
            self._note(key, lambda before: before._replace(limits=limits))

    def blocked(self, key: str, until: float) -> None:
        """The vendor wants no call before `until`, in epoch seconds."""
        until = min(until, self._wall() + LONGEST_PAUSE_S)
        self._note(key, lambda before: before._replace(blocked_until=max(before.blocked_until, until)))

    async def _minds(self, key: str) -> bool:
        """Whether the target has limits, or a pause, of its own."""
        if self._clock() - self._looked.get(key, -math.inf) > _GLANCE_S:
            with suppress(StorageError):
                await self._worker.do(lambda store: store.working(lambda real: self._look(real, key)))
        known = self._known.get(key, Known())
        return known.limits != UNLIMITED or known.blocked_until > self._wall()

    def _look(self, store: State, key: str) -> Known:
        """What the target's document says, or said within the last second. In the worker's thread."""
        now = self._clock()
        if now - self._looked.get(key, -math.inf) > _GLANCE_S:
            self._known[key], self._looked[key] = self._turnstile.known(store, key), now
        return self._known.get(key, Known())

    def _try(self, store: State, place: Place) -> Ticket | Wait:
        self._settle_all(store)
        return self._turnstile.admit(store, place, self._look(store, place.key))

    def _settle_all(self, store: State) -> None:
        while self._unsettled:
            self._turnstile.settle(store, *self._unsettled.popleft())

    async def _admitted(self, place: Place, target: str, ends: float, waiting: Callable[[float, str], None]) -> Ticket:
        told = -math.inf
        while True:
            outcome = await self._worker.do(
                lambda store: store.working(lambda real: self._try(real, place)), undo=self._undo
            )
            if isinstance(outcome, Ticket):
                return outcome
            now = self._clock()
            due = now + outcome.seconds
            if due > ends:
                raise self._refusal(target, outcome)
            if abs(due - told) > _NEWS_S:
                told = due
                waiting(outcome.seconds, outcome.reason)
            nap = min(max(outcome.seconds, _SHORTEST_S), _POLL_S) if outcome.first else _NAP_S
            place.turn.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(nap, max(0.0, ends - now))):
                    await place.turn.wait()

    def _refusal(self, target: str, wait: Wait) -> RateLimitError:
        at = time.strftime("%H:%M:%S", time.localtime(math.ceil(self._wall() + wait.seconds)))
        return RateLimitError(
            f"{target}'s {wait.reason}: the next call may go in {math.ceil(wait.seconds)} s, at {at}. "
            "Ask again then, or name another target with --fallback.",
            retry_after_s=wait.seconds,
        )

    def _note(self, key: str, change: Callable[[Known], Known]) -> None:
        def noted(store: State) -> None:
            self._known[key] = self._turnstile.note(store, key, change)

        self._known[key] = change(self._known.get(key, Known()))
        self._post(noted)

    def _undo(self, store: State, outcome: Ticket | Wait) -> None:
        """Whoever waited was cancelled just then: nothing will be sent."""
        if isinstance(outcome, Ticket) and outcome.counted:
            self._guarded(store, lambda real: self._turnstile.give_back(real, outcome))

    def _post(self, work: Callable[[State], object]) -> None:
        self._worker.post(lambda store: self._guarded(store, work))

    def _guarded(self, store: State, work: Callable[[State], object]) -> None:
        """Nobody waits for it: where the store fails, it is as if it had not happened."""
        with suppress(StorageError):
            store.working(work)
