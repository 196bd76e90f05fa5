"""What keeps a store: what calls ask of it is done one after another, in batches, and never waited for on a loop.

Fifty calls that end together cost one transaction instead of fifty. The event loop does a batch itself where the store
is there for the asking, at the end of its turn; a store that has to be opened, or that another process has locked, is
a thread's. SQLite's calls give the interpreter's lock away and a busy loop keeps it: in a thread each statement would
wait up to 5 ms for its turn, and calls would cost half as much again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

__all__ = ["Store", "Worker"]

T = TypeVar("T")


class Store(Protocol):
    """What a worker keeps: one thread at a time touches it, but not always the same."""

    def begin(self) -> None:
        """Before a batch, waiting for other processes."""
        ...

    def begin_now(self) -> bool:
        """`begin` where that waits for nobody, as on an event loop; False where nothing has begun. Raises nothing."""
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


#: a job, its result, its error
_Ended = tuple[_Job, Any, Exception | None]


class Worker(Generic[S]):
    """Runs `work(store)` at the end of the loop's turn, or in a thread, which starts with the first job of all and ends
    with `close`.

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
        #: the thread waits for work; a loop has the store; the loop that is to do the jobs at the end of its turn
        self._idle = self._lent = False
        self._due: asyncio.AbstractEventLoop | None = None

    async def do(self, work: Callable[[S], T], *, undo: Callable[[S, T], None] | None = None) -> T:
        """The job's result, once it counts. `undo` takes it back where whoever waited was cancelled meanwhile."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        job = _Job(work, loop, future, undo)
        self._put(job, loop)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # the result was there, and nobody will see it
                self._take_back(job, None if future.exception() else future.result(), future.exception())
            raise

    def post(self, work: Callable[[S], object], *, failed: Callable[[Exception], object] | None = None) -> None:
        """Have it done without waiting for it; `close` waits. `failed` is told its error, in whatever thread."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        self._put(_Job(work, failed=failed), loop)

    def close(self) -> None:
        """Do what is left, end the thread, close the store. What is asked later starts it anew."""
        with self._wake:
            thread = self._thread
            self._closing = thread is not None
            self._wake.notify()
        if thread is not None:
            thread.join()

    def _put(self, job: _Job, loop: asyncio.AbstractEventLoop | None) -> None:
        with self._wake:
            self._jobs.append(job)
            if self._thread is None:
                self._start()
            elif loop is None or self._due not in (None, loop) or not self._idle or self._closing:
                if self._due is not loop:  # another loop may have ended since
                    self._due = None
                self._wake.notify()
            elif self._due is None:
                self._due = loop
                loop.call_soon(self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """What this turn of the loop has brought, done here and now if nothing has to be waited for."""
        with self._wake:
            self._due = None
            if not self._jobs or self._lent:
                return
            if not self._idle or self._closing:
                self._wake.notify()
                return
            self._lent = True
            jobs, self._jobs = self._jobs, []
        ended = None
        try:
            ended = self._batch(jobs) if self._store.begin_now() else None
        except BaseException:  # Ctrl-C comes anywhere in the loop's thread: nothing is left half done for the next one
            self._store.rollback()
            raise
        finally:
            with self._wake:
                self._lent = False
                if ended is None:
                    self._jobs[:0] = jobs
                    self._idle = False  # until it has done them: else each turn would take them from it and try again
                if self._jobs or self._closing:
                    self._wake.notify()
        if ended is not None:
            self._tell(ended, loop)

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
            self._idle = True
            while self._lent or not (self._closing or (self._jobs and self._due is None)):
                self._wake.wait()
            self._idle = False
            jobs, self._jobs = self._jobs, []
        if jobs:
            self._tell(self._begun(jobs))
            return False
        self._store.close()
        with self._wake:
            if self._jobs:  # one came meanwhile: a second thread on the same store would not do
                return False
            self._thread, self._closing = None, False
            return True

    def _begun(self, jobs: list[_Job]) -> list[_Ended]:
        try:
            self._store.begin()
        except Exception as error:
            self._store.rollback()
            return [(job, None, error) for job in jobs]
        return self._batch(jobs)

    def _batch(self, jobs: list[_Job]) -> list[_Ended]:
        ended: list[_Ended] = []
        try:
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

    def _tell(self, ended: list[_Ended], here: asyncio.AbstractEventLoop | None = None) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[_Ended]] = {}
        for entry in ended:
            if entry[0].loop is not None:
                by_loop.setdefault(entry[0].loop, []).append(entry)
        for loop, entries in by_loop.items():
            if loop is here:
                self._resolve(entries)
                continue
            try:
                loop.call_soon_threadsafe(self._resolve, entries)
            except RuntimeError:  # the loop has ended, and with it everybody who waited
                for job, result, error in entries:
                    self._take_back(job, result, error)
        for job, _, error in ended:  # last: what a service does with a warning may fail, and nobody is to wait for ever
            if error is not None and job.failed is not None:
                job.failed(error)

    def _resolve(self, ended: list[_Ended]) -> None:
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
