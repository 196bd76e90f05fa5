"""Answers kept from earlier calls, and one call for what several ask at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

from llmswitch.cache import STORED, ResponseCache, lookup
from llmswitch.errors import StorageError
from llmswitch.keylock import KeyLock
from llmswitch.layers.base import Layer, opened
from llmswitch.providers.base import Provider
from llmswitch.types import Chunk, Request, Response

__all__ = ["CacheLayer"]

#: how long a waiting call sleeps before it looks again whether the lock is free, in seconds
_POLL_S = 0.03


class CacheLayer(Layer):
    """Answers from the cache where it can, asks and stores where it must; `refresh` always asks, and overwrites.

    Concurrent identical requests, in one process or several, cost one call: the first to ask holds the key's lock,
    the others wait for its answer. Where it fails or dies, the next one asks. `key` is `cache_key` of one endpoint
    and namespace. The responses of `inner` carry their cost, duration and attempts: those are kept as the first
    call's. A cache that cannot be used is warned of, and the call goes on without.
    """

    def __init__(
        self,
        inner: Provider,
        *,
        cache: ResponseCache,
        key: Callable[[Request], str],
        refresh: bool,
        warn: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        super().__init__(inner)
        self.cache = cache
        self.key = key
        self.refresh = refresh
        self.warn = warn
        self.clock = clock

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The stored answer in one piece, or the inner stream; a whole answer is stored before its last chunk."""
        key = self.key(request)
        if self.refresh:
            async with opened(self._ask(key, request)) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        found = self._find(key)
        if found is None:
            async with self._turn(key):
                found = self._find(key)
                if found is None:
                    async with opened(self._ask(key, request)) as chunks:
                        async for chunk in chunks:
                            yield chunk
        if found is not None:
            for chunk in _replay(found):
                yield chunk

    async def aclose(self) -> None:
        """Release the inner provider and the cache's files."""
        self.cache.close()
        await self.inner.aclose()

    async def _ask(self, key: str, request: Request) -> AsyncIterator[Chunk]:
        async with opened(self.inner.stream(request)) as chunks:
            async for chunk in chunks:
                if chunk.response is not None:
                    self._keep(key, chunk.response)
                yield chunk

    def _find(self, key: str) -> Response | None:
        try:
            return lookup(self.cache, key, self.clock)
        except StorageError as error:
            self.warn(error.message)
            return None

    def _keep(self, key: str, response: Response) -> None:
        if response.finish_reason not in STORED or response.cached:
            return
        try:
            self.cache.put(key, response)
        except StorageError as error:
            self.warn(error.message)

    @asynccontextmanager
    async def _turn(self, key: str) -> AsyncIterator[None]:
        """Alone with `key` among all that ask for it."""
        lock = await self._locked(key)
        try:
            yield
        finally:
            if lock is not None:
                lock.release()

    async def _locked(self, key: str) -> KeyLock | None:
        """The key's lock, once it is ours; None where there are no locks."""
        try:
            lock = self.cache.lock(key)
            while not lock.try_acquire():  # noqa: ASYNC110  # another process cannot set an Event of ours
                await asyncio.sleep(_POLL_S)
        except OSError as error:
            self.warn(f"identical questions may be asked twice: no lock in {self.cache.folder} ({error.strerror}).")
            return None
        return lock


def _replay(response: Response) -> Iterator[Chunk]:
    if response.text:
        yield Chunk(text=response.text)
    yield Chunk(response=response)
