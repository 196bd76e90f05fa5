"""The whole call within one deadline: waiting for another process's answer, retries and fallbacks included."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from llmswitch.errors import CallTimeoutError
from llmswitch.layers.base import Layer, opened
from llmswitch.providers.base import Provider
from llmswitch.types import Chunk, Request, Trace

__all__ = ["DeadlineLayer"]


class DeadlineLayer(Layer):
    """Raises CallTimeoutError once `total_s` seconds have passed; what ran is cancelled and its sockets closed."""

    def __init__(self, inner: Provider, *, total_s: float, clock: Callable[[], float], named: str) -> None:
        super().__init__(inner)
        self.total_s = total_s
        self.clock = clock
        self.named = named

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The same stream, cut by an error at the deadline. Time spent by whoever reads it counts, too."""
        ends = request.trace.ends = self.clock() + self.total_s
        async with opened(self.inner.stream(request)) as source:
            while True:
                try:
                    async with asyncio.timeout(max(0.0, ends - self.clock())):
                        chunk = await anext(source)
                except StopAsyncIteration:
                    return
                except TimeoutError as error:
                    _mark_cut(request.trace)
                    raise CallTimeoutError(
                        f"no whole answer within {self.total_s:g} s; give more time with {self.named}."
                    ) from error
                yield chunk


def _mark_cut(trace: Trace) -> None:
    """The attempt that the deadline interrupted ended by it: nobody else did."""
    if trace.attempts and trace.attempts[-1].outcome == "interrupted":
        trace.attempts[-1] = trace.attempts[-1]._replace(outcome=CallTimeoutError.kind)
        trace.lost[:] = [
            spend._replace(why=CallTimeoutError.kind) if spend.why == "interrupted" else spend for spend in trace.lost
        ]
