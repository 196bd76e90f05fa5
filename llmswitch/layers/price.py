"""What an answer took and cost, said on the answer itself, so that a stored one keeps its first call's figures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from llmswitch.errors import LLMSwitchError
from llmswitch.layers.base import Layer, estimated_usage, opened
from llmswitch.pricing import PriceKey, Prices, load_price_list, price_list_loaded
from llmswitch.providers.base import Endpoint, Provider
from llmswitch.types import Chunk, Cost, Request, Response, Spend, Usage

__all__ = ["PriceLayer"]

#: errors without a status of the vendor's after which the request may be billed though no text came: it was taken
_TAKEN = frozenset({"truncated", "malformed", "content_filter"})


class PriceLayer(Layer):
    """Puts cost, duration and attempts on the last chunk's response. An unknown price is None.

    The price list is a dear import: it is loaded in a thread while the rest of the answer is on its way, never
    before the first token. An attempt that failed, or that was ended from outside, and that may be billed all the
    same, is put into `Trace.lost`: its tokens are estimated from the texts that went and came, reasoning included.
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
        began = request.trace.started
        started, asked_at = self.clock() if began is None else began, self.wall()
        loading: asyncio.Task[None] | None = None
        came, answered = list[str](), False
        try:
            async with opened(self.inner.stream(request)) as chunks:
                async for chunk in chunks:
                    if chunk.response is None:
                        came.append(chunk.text or chunk.reasoning)
                        yield chunk
                        if loading is None and not price_list_loaded():
                            loading = asyncio.create_task(asyncio.to_thread(load_price_list))
                        continue
                    took = max(0.0, self.clock() - started - request.trace.own_s)
                    if loading is not None:
                        await loading
                    answered = True
                    yield Chunk(response=self._priced(request, chunk.response, took, asked_at))
        except LLMSwitchError as error:
            if came or _taken(error):
                self._lose(request, error.kind, "".join(came), asked_at)
            raise
        except BaseException:  # cancelled or left: the vendor may go on, and bill it
            if not answered:
                self._lose(request, "interrupted", "".join(came), asked_at)
            raise

    def _priced(self, request: Request, response: Response, took: float, asked_at: float) -> Response:
        who = (response.request_model, response.response_model, response.service_tier)
        cost = self._cost(response.usage, who, asked_at)
        return replace(response, cost=cost, duration_s=took, attempts=tuple(request.trace.attempts))

    def _lose(self, request: Request, why: str, came: str, asked_at: float) -> None:
        usage = estimated_usage(request, came)
        cost = self._cost(usage, (request.model, None, None), asked_at)
        request.trace.lost.append(Spend(self.endpoint.provider, request.model, why, usage, cost))

    def _cost(self, usage: Usage, who: tuple[str, str | None, str | None], asked_at: float) -> Cost | None:
        """`who` is the model that was asked, the one that answered, and the tier it was served in."""
        request_model, response_model, service_tier = who
        key = PriceKey(
            provider=self.endpoint.provider,
            request_model=request_model,
            response_model=response_model,
            price_provider=self.endpoint.price_provider,
            price_model=self.endpoint.price_model,
            service_tier=service_tier,
        )
        return self.prices.cost(usage, key, asked_at)


def _taken(error: LLMSwitchError) -> bool:
    """Whether the vendor took the request for good, as far as anybody can tell: it neither refused it nor was absent.

    A deadline of the attempt layer's is asyncio's TimeoutError in its cause; a connection that took too long is not.
    """
    if error.status is not None and error.status >= 400:
        return False
    return error.kind in _TAKEN or isinstance(error.__cause__, TimeoutError)
