"""Adapters, connected once for each endpoint and kept until they are closed."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmswitch.providers.base import Endpoint, Provider
    from llmswitch.runs.call import Call

__all__ = ["Adapters"]


#: SDKs are imported one after another: two that share packages, in two threads at once, may see those half done
_ONE_AT_A_TIME = threading.Lock()


class Adapters:
    """For any number of tasks of one event loop; `lasting` where they will be asked again and again."""

    def __init__(self, *, lasting: bool = False) -> None:
        self._lasting = lasting
        self._tasks: dict[Endpoint, asyncio.Task[Provider]] = {}
        self._ready: dict[Endpoint, Provider] = {}
        #: nothing is connected any more, as a thread may still try that was to connect one after another
        self._closed = False

    async def get(self, call: Call) -> Provider:
        """The adapter of the call's endpoint. Connecting is done in a thread: importing an SDK takes a second."""
        ready = self._ready.get(call.endpoint)
        if ready is not None:
            return ready
        task = self._tasks.get(call.endpoint)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            if self._tasks or self._ready:
                _import_whole()
            task = asyncio.create_task(asyncio.to_thread(self._connected, call))
            self._tasks[call.endpoint] = task
        self._ready[call.endpoint] = adapter = await asyncio.shield(task)
        return adapter

    def connect(self, call: Call) -> None:
        """Connect here and now, where nothing else waits for this thread."""
        if call.endpoint not in self._ready and not self._closed:
            self._ready[call.endpoint] = self._connected(call)

    def _connected(self, call: Call) -> Provider:
        with _ONE_AT_A_TIME:
            return call.vendor.connect(replace(call.endpoint, lasting=self._lasting))

    async def aclose(self) -> None:
        """Close every connection. Once: nothing is connected any more."""
        self._closed = True
        tasks, self._tasks = self._tasks, {}
        found, self._ready = dict(self._ready), {}
        for endpoint, task in tasks.items():
            for adapter in await asyncio.gather(task, return_exceptions=True):
                if not isinstance(adapter, BaseException):
                    found[endpoint] = adapter
        for adapter in found.values():
            await adapter.aclose()


def _import_whole() -> None:
    """Import on the loop's own thread what one SDK imports and another looks for in sys.modules with each call.

    OpenAI's and Gemini's both know httpx where it is installed; half imported by a connecting thread, it would break
    the calls of the other. No call runs while this does.
    """
    with suppress(ImportError):
        import httpx  # noqa: F401  # type: ignore[import-not-found,unused-ignore]  # none of our dependencies
