"""Answers kept from earlier calls, and one call for what several ask at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

from llmswitch.cache import as_cached
from llmswitch.layers.base import Layer, opened, unseen
from llmswitch.providers.base import Provider
from llmswitch.shelf import Shelf, Turn
from llmswitch.types import Chunk, Request, Response

__all__ = ["CacheLayer"]


class CacheLayer(Layer):
    """Answers from the cache where it can, asks and stores where it must; `refresh` always asks, and overwrites.

    `key` is `cache_key` of one endpoint and namespace. The responses of `inner` carry their cost, duration and
    attempts: those are kept as the first call's. A cache that cannot be used is warned of, and the call goes on
    without.
    """

    def __init__(
        self,
        inner: Provider,
        *,
        shelf: Shelf,
        key: Callable[[Request], str],
        refresh: bool,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(inner)
        self.shelf = shelf
        self.key = key
        self.refresh = refresh
        self.clock = clock

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The stored answer in one piece, or the inner stream; a whole answer is stored before its last chunk."""
        key, started = self.key(request), self.clock()

        def waiting() -> None:
            request.trace.notify("the same is being asked by another process: waiting for its answer")

        if self.refresh:
            async with opened(self._ask(self.shelf.fresh(key), request)) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        async with self.shelf.turn(key, waiting) as turn:
            if turn.found is None:
                async with opened(self._ask(turn, request)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
        for chunk in _replay(as_cached(turn.found, self.clock() - started)):
            yield chunk

    async def _ask(self, turn: Turn, request: Request) -> AsyncIterator[Chunk]:
        async with opened(self.inner.stream(request)) as chunks:
            async for chunk in chunks:
                if chunk.response is not None:
                    try:
                        await turn.keep(chunk.response)
                    except BaseException:  # cancelled at the last moment
                        request.trace.lost.append(unseen(chunk.response, "interrupted"))
                        raise
                yield chunk


def _replay(response: Response) -> Iterator[Chunk]:
    if response.text:
        yield Chunk(text=response.text)
    yield Chunk(response=response)
