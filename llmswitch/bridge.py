"""The one way from synchronous code into the asynchronous library: an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any, TypeVar

from llmswitch.errors import CallConnectionError, ConfigError

__all__ = ["CLOSED", "CUT", "Bridge"]

T = TypeVar("T")

CLOSED = "this Switch is closed: make another one to go on asking."
CUT = "this Switch was closed before the answer was whole."


class Bridge:
    """Runs coroutines on one loop for as long as it is open, so that connections are kept between calls.

    Safe to use from many threads. An interrupted call is cancelled before KeyboardInterrupt goes on. What is asked
    of a closed bridge raises ConfigError; a call that its closing cuts off raises CallConnectionError.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._closed = False
        #: what runs now, and the open streams with the task that last asked each for an item
        self._calls: set[Coroutine[Any, Any, Any]] = set()
        self._streams: dict[AsyncGenerator[Any], asyncio.Task[Any] | None] = {}
        self._thread = threading.Thread(target=self.loop.run_forever, name="llmswitch", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result, or its exception."""
        with self._lock:
            if self._closed:
                work.close()
                raise ConfigError(CLOSED)
            self._calls.add(work)
            future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        except CancelledError as error:
            raise CallConnectionError(CUT) from error
        except BaseException:
            future.cancel()
            raise
        finally:
            with self._lock:
                self._calls.discard(work)

    def iterate(self, source: AsyncGenerator[T]) -> Iterator[T]:
        """The items of an async generator; leaving early closes it, and so does closing the bridge."""
        try:
            while True:
                try:
                    yield self.run(self._next(source))
                except StopAsyncIteration:
                    return
        finally:
            with suppress(ConfigError, CallConnectionError):  # the bridge was closed, and has ended it
                self.run(self._end(source))

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Cancel what runs, close the open streams, run `last`, end loop and thread. Once; from then on harmless."""
        with self._lock:
            if self._closed:
                last.close()
                return
            self._closed = True
            future = asyncio.run_coroutine_threadsafe(self._finish(last), self.loop)
        try:
            future.result()
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
            self.loop.close()

    async def _next(self, source: AsyncGenerator[T]) -> T:
        self._streams[source] = asyncio.current_task()
        return await anext(source)

    async def _end(self, source: AsyncGenerator[Any]) -> None:
        task = self._streams.pop(source, None)
        if task is not None and not task.done():  # its caller was interrupted: no generator closes while it runs
            await asyncio.wait([task])
        await source.aclose()

    async def _finish(self, last: Coroutine[Any, Any, None]) -> None:
        """Outermost first: a stream that the loop closes by itself is closed at the same time as those inside it."""
        with self._lock:
            calls = [task for task in asyncio.all_tasks() if task.get_coro() in self._calls]
        for task in calls:
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        for source in tuple(self._streams):
            await self._end(source)
        await last
        await _cancel_the_rest()


async def _cancel_the_rest() -> None:
    """What an SDK left running behind its own back."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    loop = asyncio.get_running_loop()
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
