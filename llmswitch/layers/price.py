"""What an answer took and cost, said on the answer itself, so that a stored one keeps its first call's figures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from llmswitch.layers.base import Layer, opened
from llmswitch.pricing import PriceKey, Prices, load_price_list
from llmswitch.providers.base import Endpoint, Provider
from llmswitch.types import Chunk, Request, Response

__all__ = ["PriceLayer"]


class PriceLayer(Layer):
    """Puts cost, duration and attempts on the last chunk's response. An unknown price is None.

    The price list is a dear import: it is loaded in a thread while the rest of the answer is on its way, never
    before the first token.
    """

    def __init__(
        self,
        inner: Provider,
        *,
        endpoint: Endpoint,
        prices: Prices,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        super().__init__(inner)
        self.endpoint = endpoint
        self.prices = prices
        self.clock = clock
        self.wall = wall

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The same stream, its response complete."""
        started, asked_at = self.clock(), self.wall()
        loading: asyncio.Task[None] | None = None
        async with opened(self.inner.stream(request)) as chunks:
            async for chunk in chunks:
                if chunk.response is None:
                    yield chunk
                    loading = loading or asyncio.create_task(asyncio.to_thread(load_price_list))
                    continue
                took = self.clock() - started
                if loading is not None:
                    await loading
                yield Chunk(response=self._priced(request, chunk.response, took, asked_at))

    def _priced(self, request: Request, response: Response, took: float, asked_at: float) -> Response:
        key = PriceKey(
            provider=self.endpoint.provider,
            request_model=response.request_model,
            response_model=response.response_model,
            price_provider=self.endpoint.price_provider,
            price_model=self.endpoint.price_model,
        )
        cost = self.prices.cost(response.usage, key, asked_at)
        return replace(response, cost=cost, duration_s=took, attempts=tuple(request.trace.attempts))
