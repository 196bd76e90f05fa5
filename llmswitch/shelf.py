"""The response cache as the calls of one process share it: off the event loop, and one call for identical questions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from llmswitch.cache import STORED, AnswerCache, AskLock, lookup
from llmswitch.errors import StorageError
from llmswitch.types import Response
from llmswitch.worker import Worker

__all__ = ["Shelf", "Turn"]

#: how long a waiting call sleeps before it looks again whether another process has answered, in seconds
_POLL_S = 0.03
#: one answer in so many is stored by who has the time to keep house
_PATIENT_EVERY = 20


class _Store:
    """A cache as a worker keeps it: each of its operations counts at once."""

    def __init__(self, cache: AnswerCache) -> None:
        self.cache = cache

    def begin(self) -> None:
        """Nothing."""

    def begin_now(self) -> bool:
        """Never: what need not wait has been tried before (`AnswerCache.quick`)."""
        return False

    def commit(self) -> None:
        """Nothing."""

    def rollback(self) -> None:
        """Nothing."""

    def close(self) -> None:
        self.cache.close()


class _Look(NamedTuple):
    """What one look came to: an answer, the right to ask, or (`busy`) that another process asks; and what is wrong."""

    found: Response | None = None
    lock: AskLock | None = None
    busy: bool = False
    trouble: str | None = None


class Turn:
    """One question's stored answer, in `found`; where that is None, the right to ask it."""

    def __init__(
        self, worker: Worker[_Store], put: Callable[[str, Response], Awaitable[None]], key: str, look: _Look
    ) -> None:
        self.found = look.found
        self._lock = look.lock
        self._worker = worker
        self._put = put
        self._key = key
        self._renewal: asyncio.TimerHandle | None = None
        self._renew_later()

    async def keep(self, response: Response) -> None:
        """Store a whole answer, for those who wait for it, too; any other is passed over."""
        if response.finish_reason not in STORED or response.cached:
            return
        self.found = response
        await self._put(self._key, response)

    def end(self) -> None:
        """Let the next one ask."""
        if self._renewal is not None:
            self._renewal.cancel()
        lock, self._lock = self._lock, None
        if lock is None:
            return
        if lock.lease_s is None:  # it is the system's, and given back at once
            lock.release()
        else:
            self._worker.post(lambda store: lock.release())

    def _renew_later(self) -> None:
        if self._lock is not None and self._lock.lease_s is not None:
            self._renewal = asyncio.get_running_loop().call_later(self._lock.lease_s / 3, self._renew)

    def _renew(self) -> None:
        lock = self._lock
        if lock is not None:
            self._worker.post(lambda store: lock.renew())
            self._renew_later()


class Shelf:
    """A cache for the tasks of one event loop. `warn` is told what is wrong with it; no call fails over that.

    Concurrent identical questions, in one process or several, cost one call: the first to ask has the turn, the
    others wait for its answer. Where it fails or dies, the next one asks.
    """

    def __init__(self, cache: AnswerCache, *, warn: Callable[[str], None]) -> None:
        self._worker = Worker(_Store(cache), name="llmswitch-cache")
        #: what an event loop may use itself: a thread takes ten times as long, most of it to wait for its turn
        self._quick = cache.quick()
        self._warn = warn
        self._stored = 0
        #: who asks what right now; the answer, or None where the next one is to ask
        self._asked: dict[str, asyncio.Future[Response | None]] = {}

    @asynccontextmanager
    async def turn(self, key: str, waiting: Callable[[], None]) -> AsyncIterator[Turn]:
        """The answer to `key`, or else the right to ask for it until the block is left.

        `waiting` is called once where another process asks the same right now.
        """
        while (asked := self._asked.get(key)) is not None:
            answer = await asyncio.shield(asked)
            if answer is not None:
                yield self._turn(key, _Look(answer))
                return
        self._asked[key] = ended = asyncio.get_running_loop().create_future()
        turn: Turn | None = None
        try:
            turn = self._turn(key, await self._look(key, waiting))
            yield turn
        finally:
            del self._asked[key]
            ended.set_result(turn and turn.found)
            if turn is not None:
                turn.end()

    async def find(self, key: str, clock: Callable[[], float]) -> Response | None:
        """The stored answer as `cache.lookup` gives it, and no right to ask where there is none."""
        try:
            return await self._worker.do(lambda store: lookup(store.cache, key, clock))
        except StorageError as error:
            self._warn(error.message)
            return None

    def fresh(self, key: str) -> Turn:
        """The right to ask whatever is stored, and whoever else asks; what is kept replaces that."""
        return self._turn(key, _Look())

    def close(self) -> None:
        """Wait for what is being stored, and let go of files and sockets."""
        if self._quick is not None:
            self._quick.close()
        self._worker.close()

    def _turn(self, key: str, look: _Look) -> Turn:
        return Turn(self._worker, self._put, key, look)

    async def _put(self, key: str, response: Response) -> None:
        quick = self._quick if self._stored % _PATIENT_EVERY else None
        self._stored += 1
        if quick is not None:
            try:
                quick.put(key, response)
            except StorageError:
                pass  # it is tried again with patience, and what is wrong is told then
            else:
                return
        try:
            await self._worker.do(lambda store: store.cache.put(key, response))
        except StorageError as error:
            self._warn(error.message)

    async def _look(self, key: str, waiting: Callable[[], None]) -> _Look:
        look = await self._look_once(key)
        if look.busy:
            waiting()
        while look.busy:
            await asyncio.sleep(_POLL_S)
            look = await self._look_once(key)
        if look.trouble is not None:
            self._warn(look.trouble)
        return look

    async def _look_once(self, key: str) -> _Look:
        """On the loop where nothing has to be waited for; what is wrong there is looked at with patience."""
        if self._quick is not None:
            look = _looked(self._quick, key)
            if look.trouble is None:
                return look
            _take_back(look)
        return await self._worker.do(
            lambda store: _looked(store.cache, key), undo=lambda store, unseen: _take_back(unseen)
        )


def _looked(cache: AnswerCache, key: str) -> _Look:
    """The lock first: whoever has it may answer between a look and the lock, but not between the lock and a look."""
    trouble = lock = None
    try:
        lock = cache.claim(key)
    except StorageError as error:
        trouble = error.message
    try:
        found = cache.get(key)
    except StorageError as error:
        return _Look(lock=lock, trouble=error.message)
    if found is not None:
        if lock is not None:
            lock.release()
        return _Look(found)
    return _Look(lock=lock, busy=lock is None and trouble is None, trouble=trouble)


def _take_back(look: _Look) -> None:
    """Whoever looked does not ask."""
    if look.lock is not None:
        look.lock.release()
