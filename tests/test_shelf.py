"""The cache as tasks share it: one call for identical questions, nobody held up, nothing left behind."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from llmswitch.cache import AskLock, ResponseCache
from llmswitch.errors import StorageError
from llmswitch.shelf import Shelf, Turn
from llmswitch.types import Response

ANSWER = Response("scripted", "m", "Paris", "stop")
KEY = "ab" * 32


class Slow(ResponseCache):
    """Does nothing before `go` is set, and so nothing on an event loop."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ttl_s=3600)
        self.go = threading.Event()

    def quick(self) -> None:  # type: ignore[override]  # as a cache in Redis
        """See `AnswerCache`."""

    def get(self, key: str) -> Response | None:
        assert self.go.wait(20)
        return super().get(key)


class Unwritable(ResponseCache):
    """Can be read, and takes nothing."""

    def put(self, key: str, response: Response) -> None:
        raise StorageError("the disk is full")


@pytest.fixture
def cache(tmp_path: Path) -> ResponseCache:
    return ResponseCache(tmp_path / "responses", ttl_s=3600)


@pytest.fixture(name="shelf")
def _opened(cache: ResponseCache) -> Iterator[Shelf]:
    with closing(Shelf(cache, warn=_fail)) as opened:
        yield opened


def _fail(message: str) -> None:
    raise AssertionError(message)


def _nothing() -> None:
    """Nobody is told that the call waits."""


async def ask(shelf: Shelf, answer: Response | None = ANSWER, *, meanwhile: float = 0.0) -> str:
    """What became of one question: 'found', or 'asked' and kept."""
    async with shelf.turn(KEY, _nothing) as turn:
        if turn.found is not None:
            return "found"
        await asyncio.sleep(meanwhile)
        if answer is not None:
            await turn.keep(answer)
        return "asked"


async def until_free(cache: ResponseCache) -> None:
    """Until nobody has the right to ask; fails after 10 s."""
    async with asyncio.timeout(10):
        while (lock := cache.claim(KEY)) is None:  # noqa: ASYNC110  # a file's lock sets no Event
            await asyncio.sleep(0.005)
    lock.release()


def test_whoever_waits_in_this_process_is_given_the_answer_itself(cache: ResponseCache) -> None:
    """Also where it cannot be stored: twenty questions, one call."""

    async def together() -> list[str]:
        return await asyncio.gather(*(ask(shelf, meanwhile=0.05) for _ in range(20)))

    warnings = list[str]()
    with closing(Shelf(Unwritable(cache.folder, ttl_s=3600), warn=warnings.append)) as shelf:
        assert sorted(asyncio.run(together())) == ["asked"] + ["found"] * 19
    assert warnings == ["the disk is full"]


def test_where_no_answer_comes_the_next_one_asks(shelf: Shelf) -> None:
    async def together() -> tuple[str, ...]:
        return await asyncio.gather(ask(shelf, None, meanwhile=0.02), ask(shelf, None), ask(shelf), ask(shelf))

    assert sorted(asyncio.run(together())) == ["asked", "asked", "asked", "found"]


def test_a_waiter_that_is_cancelled_takes_nobody_with_it(shelf: Shelf) -> None:
    async def together() -> tuple[str, str]:
        first = asyncio.create_task(ask(shelf, meanwhile=0.1))
        waiters = [asyncio.create_task(ask(shelf)) for _ in range(2)]
        await asyncio.sleep(0.02)
        waiters[0].cancel()
        return await first, await waiters[1]

    assert asyncio.run(together()) == ("asked", "found")


def test_a_call_that_is_cancelled_while_it_looks_leaves_no_lock(tmp_path: Path) -> None:
    slow = Slow(tmp_path / "responses")

    async def cancelled() -> None:
        looking = asyncio.create_task(ask(shelf))
        await asyncio.sleep(0.02)
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
        slow.go.set()
        assert await ask(shelf) == "asked"
        await until_free(ResponseCache(slow.folder, ttl_s=3600))

    with closing(Shelf(slow, warn=_fail)) as shelf:
        asyncio.run(cancelled())


def test_a_call_that_is_cancelled_while_it_asks_leaves_no_lock(shelf: Shelf, cache: ResponseCache) -> None:
    async def cancelled() -> None:
        asking = asyncio.create_task(ask(shelf, meanwhile=30))
        async with asyncio.timeout(10):
            while (lock := cache.claim(KEY)) is not None:
                lock.release()
                await asyncio.sleep(0.005)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        await until_free(ResponseCache(cache.folder, ttl_s=3600))

    asyncio.run(cancelled())


def test_a_refresh_waits_for_nobody_and_replaces_the_answer(shelf: Shelf, cache: ResponseCache) -> None:
    async def refresh() -> None:
        async with shelf.turn(KEY, _nothing) as turn:
            assert turn.found is None
            async with asyncio.timeout(10):
                fresh: Turn = shelf.fresh(KEY)
                assert fresh.found is None
                await fresh.keep(ANSWER)
        assert await ask(shelf) == "found"

    asyncio.run(refresh())
    assert ResponseCache(cache.folder, ttl_s=3600).get(KEY) == ANSWER


def test_a_slow_disk_does_not_hold_up_the_event_loop(tmp_path: Path) -> None:
    async def meanwhile() -> str:
        looking = asyncio.create_task(ask(shelf))
        for _ in range(10):
            await asyncio.sleep(0.001)
        assert not looking.done()
        slow.go.set()
        return await looking

    slow = Slow(tmp_path / "responses")
    with closing(Shelf(slow, warn=_fail)) as shelf:
        assert asyncio.run(meanwhile()) == "asked"


def test_a_locked_database_is_waited_for_once_and_not_by_every_call(cache: ResponseCache) -> None:
    async def many() -> float:
        started = time.monotonic()
        for _ in range(5):
            assert await ask(shelf) == "asked"
        return time.monotonic() - started

    cache.put(KEY.replace("a", "c"), ANSWER)
    cache.close()
    warnings = list[str]()
    with closing(sqlite3.connect(cache.folder / "cache.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with closing(Shelf(cache, warn=warnings.append)) as shelf:
            took = asyncio.run(many())
    assert 1.9 < took < 5, "2 s once, where five calls would wait for 10"
    assert len(warnings) == 5
    assert {"another process has it locked" in message for message in warnings} == {True}


def test_only_a_whole_answer_is_kept(shelf: Shelf, cache: ResponseCache) -> None:
    async def keep(answer: Response) -> None:
        assert await ask(shelf, answer) == "asked"

    asyncio.run(keep(Response("scripted", "m", "Pa", "error")))
    asyncio.run(keep(Response("scripted", "m", "Paris", "stop", cached=True, original=ANSWER)))
    assert cache.stats().entries == 0


class Leased:
    """A lock that has to be renewed, and notes what is done with it."""

    lease_s: float | None = 0.06

    def __init__(self) -> None:
        self.renewals = 0
        self.released = 0

    def renew(self) -> None:
        self.renewals += 1

    def release(self) -> None:
        self.released += 1


class WithLeases(ResponseCache):
    """Answers on disk, locks with a lease."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ttl_s=3600)
        self.leased = Leased()

    def quick(self) -> None:  # type: ignore[override]  # as a cache in Redis
        """See `AnswerCache`."""

    def claim(self, key: str) -> AskLock | None:  # type: ignore[override]  # another kind of lock
        return self.leased


@pytest.mark.parametrize("answer", [ANSWER, None])
def test_a_lease_is_renewed_while_the_call_runs_and_not_after(tmp_path: Path, answer: Response | None) -> None:
    cache = WithLeases(tmp_path / "responses")

    async def long() -> int:
        asking = asyncio.create_task(ask(shelf, answer, meanwhile=0.3))
        async with asyncio.timeout(10):
            while cache.leased.renewals < 3:  # noqa: ASYNC110  # counted in the shelf's thread
                await asyncio.sleep(0.005)
            await asking
            while not cache.leased.released:  # noqa: ASYNC110  # after what was renewed before, however busy the thread is
                await asyncio.sleep(0.005)
        renewed = cache.leased.renewals
        await asyncio.sleep(0.1)
        return cache.leased.renewals - renewed

    with closing(Shelf(cache, warn=_fail)) as shelf:
        assert asyncio.run(long()) == 0
    assert cache.leased.released == 1
