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
        self.threads: list[str] = []
        self.at_once = False
        self.tried = 0
        self._alone = threading.Lock()

    def begin(self) -> None:
        assert self._alone.acquire(blocking=False)

    def begin_now(self) -> bool:
        self.tried += 1
        if self.at_once:
            self.begin()
        return self.at_once

    def commit(self) -> None:
        self._alone.release()

    def rollback(self) -> None:
        self._alone.release()

    def close(self) -> None:
        self.done.append("closed")
        self.closing()

    def add(self, what: str) -> int:
        self.done.append(what)
        self.threads.append(threading.current_thread().name)
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
    for thread in threading.enumerate():  # the one that failed is reported as it ends, which is to be in this test
        if thread.name == "test-worker":
            thread.join(10)


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


async def warmed(worker: Worker[Log]) -> None:
    """Its thread has opened the store, and waits."""
    await worker.do(lambda store: store.add("first"))
    while not worker._idle:  # noqa: ASYNC110  # a thread's word, for which there is no event
        await asyncio.sleep(0.001)


def test_the_loop_does_what_waits_for_nobody_at_the_end_of_its_turn() -> None:
    log = Log()
    worker = Worker(log, name="test-worker")

    async def ask() -> list[int]:
        await warmed(worker)
        log.at_once = True
        worker.post(lambda store: store.add("posted"))
        assert log.done == ["first"]
        return await asyncio.gather(*(worker.do(lambda store: store.add("asked")) for _ in range(3)))

    assert asyncio.run(ask()) == [3, 4, 5]
    assert log.threads == ["test-worker", *["MainThread"] * 4]
    worker.close()
    assert log.done[-1] == "closed"
    assert threads() == 0


def test_what_would_wait_is_the_threads_and_nothing_overtakes_it() -> None:
    log = Log()
    worker = Worker(log, name="test-worker")
    running, go = threading.Event(), threading.Event()

    def slow(store: Log) -> int:
        running.set()
        assert go.wait(10)
        return store.add("slow")

    async def ask() -> None:
        await warmed(worker)
        late = asyncio.ensure_future(worker.do(slow))
        await asyncio.to_thread(running.wait, 10)
        log.at_once = True
        rest = [asyncio.ensure_future(worker.do(lambda store: store.add("after"))) for _ in range(2)]
        await asyncio.sleep(0.01)
        assert log.done == ["first"]
        go.set()
        assert await asyncio.gather(late, *rest) == [2, 3, 4]

    asyncio.run(ask())
    worker.close()
    assert set(log.threads) == {"test-worker"}


def test_a_loop_that_ended_before_its_turn_leaves_its_jobs_to_whoever_comes_next() -> None:
    log = Log()
    worker = Worker(log, name="test-worker")
    loop = asyncio.new_event_loop()
    loop.run_until_complete(warmed(worker))
    log.at_once = True
    loop.call_soon(lambda: worker.post(lambda store: store.add("left")))
    loop.call_soon(loop.stop)
    loop.run_forever()  # one turn, and not the next
    loop.close()
    worker.post(lambda store: store.add("later"))
    assert asyncio.run(asyncio.wait_for(worker.do(lambda store: store.add("last")), 10)) == 4
    worker.close()
    assert log.done == ["first", "left", "later", "last", "closed"]


def test_closing_does_what_a_loop_was_to_do() -> None:
    log = Log()
    worker = Worker(log, name="test-worker")

    async def ask() -> None:
        await warmed(worker)
        log.at_once = True
        worker.post(lambda store: store.add("posted"))
        await asyncio.to_thread(worker.close)

    asyncio.run(ask())
    assert log.done == ["first", "posted", "closed"]
    assert threads() == 0


def test_ctrl_c_in_the_middle_of_a_batch_leaves_nothing_half_done() -> None:
    log = Log()
    worker = Worker(log, name="test-worker")
    loop = asyncio.new_event_loop()
    strikes = [KeyboardInterrupt()]

    def interrupted(store: Log) -> None:
        if strikes:
            raise strikes.pop()
        store.add("again")

    loop.run_until_complete(warmed(worker))
    log.at_once = True
    loop.call_soon(worker.post, interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    loop.close()
    worker.close()  # its `begin` finds no other that never ended
    assert log.done == ["first", "again", "closed"]


def test_a_failure_on_the_loop_that_cannot_be_told_leaves_nobody_waiting() -> None:
    log = Log()
    worker = Worker(log, name="test-worker")

    def fails(store: Log) -> None:
        raise ValueError("no room")

    def tell(error: Exception) -> None:
        raise RuntimeError("the logger is closed")

    async def ask() -> int:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        await warmed(worker)
        log.at_once = True
        worker.post(fails, failed=tell)
        return await asyncio.wait_for(worker.do(lambda store: store.add("fine")), 10)

    assert asyncio.run(ask()) == 2
    worker.close()


def test_what_the_loop_could_not_do_it_does_not_try_again_before_the_thread_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = Log()
    worker = Worker(log, name="test-worker")

    async def ask() -> list[int]:
        await warmed(worker)
        with monkeypatch.context() as asleep:
            asleep.setattr(worker._wake, "notify", lambda: None)
            late = [asyncio.ensure_future(worker.do(lambda store: store.add("late")))]
            for _ in range(5):
                await asyncio.sleep(0)
            assert log.tried == 1
            late.append(asyncio.ensure_future(worker.do(lambda store: store.add("later"))))
            for _ in range(5):
                await asyncio.sleep(0)
            assert log.tried == 1
        with worker._wake:
            worker._wake.notify()
        return await asyncio.wait_for(asyncio.gather(*late), 10)

    assert asyncio.run(ask()) == [2, 3]
    worker.close()
    assert log.done == ["first", "late", "later", "closed"]
