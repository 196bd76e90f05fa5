"""A store in a thread of its own: who closes it, what comes while it closes, and what comes later."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from llmswitch.worker import Worker


class Log:
    """A store that keeps what is done to it; a second thread in it at a time is an error."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.closing: Callable[[], None] = lambda: None
        self._alone = threading.Lock()

    def begin(self) -> None:
        assert self._alone.acquire(blocking=False)

    def commit(self) -> None:
        self._alone.release()

    def rollback(self) -> None:
        self._alone.release()

    def close(self) -> None:
        self.done.append("closed")
        self.closing()

    def add(self, what: str) -> int:
        self.done.append(what)
        return len(self.done)


def threads() -> int:
    return sum(thread.name == "test-worker" for thread in threading.enumerate())


def test_what_was_posted_is_done_before_it_is_closed_and_what_comes_later_starts_it_anew() -> None:
    log = Log()
    worker = Worker(log, name="test-worker")
    for number in range(50):
        worker.post(lambda store, number=number: store.add(str(number)))  # type: ignore[misc]  # a loop's lambda
    worker.close()
    assert log.done == [*map(str, range(50)), "closed"]
    assert threads() == 0
    assert asyncio.run(worker.do(lambda store: store.add("later"))) == 52
    worker.close()
    worker.close()
    assert log.done[51:] == ["later", "closed"]
    assert threads() == 0


def test_what_comes_while_it_closes_is_done_by_the_same_thread_and_nothing_waits_for_ever() -> None:
    log = Log()
    worker = Worker(log, name="test-worker")
    closes, asked = threading.Event(), threading.Event()

    def closing() -> None:
        closes.set()
        assert asked.wait(10)

    async def ask() -> list[int]:
        late = asyncio.ensure_future(worker.do(lambda store: store.add("late")))
        await asyncio.sleep(0)
        asked.set()
        return [await late, await worker.do(lambda store: store.add("after"))]

    worker.post(lambda store: store.add("first"))
    log.closing = closing
    closer = threading.Thread(target=worker.close)
    closer.start()
    assert closes.wait(10)
    assert asyncio.run(asyncio.wait_for(ask(), 10))
    closer.join(10)
    worker.close()
    assert [line for line in log.done if line != "closed"] == ["first", "late", "after"]
    assert log.done[-1] == "closed"
    assert threads() == 0


def test_a_job_that_fails_is_its_askers_and_leaves_the_others_of_its_batch_alone() -> None:
    worker = Worker(Log(), name="test-worker")
    failures: list[Exception] = []

    def fails(store: Log) -> None:
        raise ValueError("as it was")

    async def ask() -> tuple[object, object]:
        worker.post(fails, failed=failures.append)
        jobs = (worker.do(fails), worker.do(lambda store: store.add("fine")))
        failed, fine = await asyncio.gather(*jobs, return_exceptions=True)
        return failed, fine

    failed, fine = asyncio.run(ask())
    worker.close()
    assert str(failed) == str(failures[0]) == "as it was"
    assert fine == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failure_that_cannot_be_told_leaves_nobody_waiting() -> None:
    """What a service does with a warning is its own, and may fail."""
    log = Log()
    worker = Worker(log, name="test-worker")
    go = threading.Event()

    def fails(store: Log) -> None:
        raise ValueError("no room")

    def tell(error: Exception) -> None:
        raise RuntimeError("the logger is closed")

    async def ask() -> int:
        worker.post(lambda store: go.wait(10))  # so that both are in the batch after it
        worker.post(fails, failed=tell)
        late = asyncio.ensure_future(worker.do(lambda store: store.add("fine")))
        await asyncio.sleep(0)
        go.set()
        return await asyncio.wait_for(late, 10)

    assert asyncio.run(ask()) == 1
    assert asyncio.run(worker.do(lambda store: store.add("later"))) == 2
    worker.close()
    assert log.done == ["fine", "later", "closed"]


def test_a_result_that_nobody_waits_for_any_more_is_taken_back() -> None:
    log = Log()
    worker = Worker(log, name="test-worker")
    running, go = threading.Event(), threading.Event()

    def undo(store: Log, place: int) -> None:
        store.add(f"{place} undone")

    def slow(store: Log) -> int:
        running.set()
        assert go.wait(10)
        return store.add("held")

    async def ask() -> None:
        task = asyncio.create_task(worker.do(slow, undo=undo))
        await asyncio.to_thread(running.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.set()

    asyncio.run(ask())
    worker.close()
    assert log.done == ["held", "1 undone", "closed"]
