"""A thread that keeps a store: what calls ask of it is done one after another, off the event loop, and in batches.

Fifty calls that end together cost one transaction instead of fifty, and a store that another process has locked holds
up no event loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

__all__ = ["Store", "Worker"]

T = TypeVar("T")


class Store(Protocol):
    """What a worker keeps. Only its thread touches it, from the first `begin` on."""

    def begin(self) -> None:
        """Before a batch."""
        ...

    def commit(self) -> None:
        """After it; what was done counts from now on."""
        ...

    def rollback(self) -> None:
        """In place of `commit`, where the store itself failed; nothing of the batch counts."""
        ...

    def close(self) -> None:
        """Let go of files and sockets. What comes later opens them again."""
        ...


S = TypeVar("S", bound=Store)


class _Job(NamedTuple):
    work: Callable[[Any], Any]
    loop: asyncio.AbstractEventLoop | None = None
    future: asyncio.Future[Any] | None = None
    undo: Callable[[Any, Any], None] | None = None
    failed: Callable[[Exception], object] | None = None


class Worker(Generic[S]):
    """Runs `work(store)` in a thread of its own, which starts with the first job and ends with `close`.

    What a job raises is raised where it was asked for and leaves the rest of its batch alone: a job raises before it
    changes anything. `fatal` are the exceptions of a store that failed: those end the whole batch with that error.
    """

    def __init__(self, store: S, *, name: str, fatal: tuple[type[Exception], ...] = ()) -> None:
        self._store = store
        self._name = name
        self._fatal = fatal
        self._jobs: list[_Job] = []
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False

    async def do(self, work: Callable[[S], T], *, undo: Callable[[S, T], None] | None = None) -> T:
        """The job's result, once it counts. `undo` takes it back where whoever waited was cancelled meanwhile."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        job = _Job(work, loop, future, undo)
        self._put(job)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # the result was there, and nobody will see it
                self._take_back(job, None if future.exception() else future.result(), future.exception())
            raise

    def post(self, work: Callable[[S], object], *, failed: Callable[[Exception], object] | None = None) -> None:
        """Have it done without waiting for it; `close` waits. `failed` is told its error, in the worker's thread."""
        self._put(_Job(work, failed=failed))

    def close(self) -> None:
        """Do what is left, end the thread, close the store. What is asked later starts it anew."""
        with self._wake:
            thread = self._thread
            self._closing = thread is not None
            self._wake.notify()
        if thread is not None:
            thread.join()

    def _put(self, job: _Job) -> None:
        with self._wake:
            self._jobs.append(job)
            if self._thread is None:
                self._start()
            else:
                self._wake.notify()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        """Until it is closed and nothing is left. A bug that ends it early leaves nobody who comes later waiting."""
        over = False
        try:
            while not over:
                over = self._step()
        finally:
            if not over:
                with self._wake:
                    self._thread = None
                    self._start() if self._jobs else None

    def _step(self) -> bool:
        """One batch; whether that was all."""
        with self._wake:
            while not self._jobs and not self._closing:
                self._wake.wait()
            jobs, self._jobs = self._jobs, []
        if jobs:
            self._tell(self._batch(jobs))
            return False
        self._store.close()
        with self._wake:
            if self._jobs:  # one came meanwhile: a second thread on the same store would not do
                return False
            self._thread, self._closing = None, False
            return True

    def _batch(self, jobs: list[_Job]) -> list[tuple[_Job, Any, Exception | None]]:
        ended: list[tuple[_Job, Any, Exception | None]] = []
        try:
            self._store.begin()
            for job in jobs:
                try:
                    ended.append((job, job.work(self._store), None))
                except self._fatal:
                    raise
                except Exception as error:  # the asker's own to deal with
                    ended.append((job, None, error))
            self._store.commit()
        except Exception as error:
            self._store.rollback()
            return [(job, None, error) for job in jobs]
        return ended

    def _tell(self, ended: list[tuple[_Job, Any, Exception | None]]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Job, Any, Exception | None]]] = {}
        for entry in ended:
            if entry[0].loop is not None:
                by_loop.setdefault(entry[0].loop, []).append(entry)
        for loop, entries in by_loop.items():
            try:
                loop.call_soon_threadsafe(self._resolve, entries)
            except RuntimeError:  # the loop has ended, and with it everybody who waited
                for job, result, error in entries:
                    self._take_back(job, result, error)
        for job, _, error in ended:  # last: what a service does with a warning may fail, and nobody is to wait for ever
            if error is not None and job.failed is not None:
                job.failed(error)

    def _resolve(self, ended: list[tuple[_Job, Any, Exception | None]]) -> None:
        for job, result, error in ended:
            assert job.future is not None  # noqa: S101  # a job with a loop has one
            if job.future.cancelled():
                self._take_back(job, result, error)
            elif error is not None:
                job.future.set_exception(error)
            else:
                job.future.set_result(result)

    def _take_back(self, job: _Job, result: Any, error: BaseException | None) -> None:
        undo = job.undo
        if undo is not None and error is None:
            self.post(lambda store: undo(store, result))
