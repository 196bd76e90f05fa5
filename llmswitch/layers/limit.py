"""So many requests and tokens a minute, and none while the vendor wants none: calls wait before they are sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

from llmswitch.errors import LLMSwitchError, ProviderError, RateLimitError
from llmswitch.layers.base import Layer, estimated_usage, opened
from llmswitch.limiter import Limiter, RateLimits, Ticket
from llmswitch.providers.base import Provider
from llmswitch.providers.ratelimits import Listener, listening, seen_limits
from llmswitch.types import Chunk, Request, Response

__all__ = ["LimitLayer"]

#: tokens of an answer that are reserved where no `max_tokens` says how many they may be
_ASSUMED_OUTPUT = 1024


class LimitLayer(Layer):
    """Waits for a place within `limits` and those learned of `key`; RateLimitError where that takes too long.

    Tokens are reserved before, input estimated and output in full, and settled when the vendor has counted. A 429
    that says how long to wait holds up every call to `key` until then. `wall` is epoch seconds.
    """

    def __init__(
        self,
        inner: Provider,
        *,
        key: str,
        target: str,
        limits: RateLimits,
        limiter: Limiter,
        wall: Callable[[], float],
    ) -> None:
        super().__init__(inner)
        self.key = key
        self.target = target
        self.limits = limits
        self.limiter = limiter
        self.wall = wall

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The same stream, once it may be asked for."""
        ticket = await self._admitted(request)
        used, sent = None, True
        try:
            async with opened(self.inner.stream(request)) as chunks:
                with listening(_Ear(self, ticket)):
                    chunk = await anext(chunks, None)
                while chunk is not None:
                    if chunk.response is not None:
                        used = _tokens(chunk.response)
                    yield chunk
                    chunk = await anext(chunks, None)
        except LLMSwitchError as error:
            sent = isinstance(error, ProviderError)  # or a budget said no
            used = self._failed(error)
            raise
        finally:
            self.limiter.settle(ticket, used) if sent else self.limiter.give_back(ticket)

    async def _admitted(self, request: Request) -> Ticket:
        def waiting(seconds: float, reason: str) -> None:
            request.trace.notify(f"{self.target}'s {reason}: waiting {seconds:.0f} s")

        asked = estimated_usage(request, "").input_tokens or 0
        return await self.limiter.acquire(
            self.key,
            self.limits,
            asked + (request.parameters.max_tokens or _ASSUMED_OUTPUT),
            target=self.target,
            ends=request.trace.ends,
            alternative=request.alternative,
            waiting=waiting,
        )

    def _failed(self, error: LLMSwitchError) -> int | None:
        """The tokens that a failed call took; None where nobody knows."""
        if isinstance(error, RateLimitError) and error.retry_after_s:
            self.limiter.blocked(self.key, self.wall() + error.retry_after_s)
        refused = error.status is not None and 400 <= error.status < 500
        return 0 if refused else None


class _Ear(Listener):
    """Hears when the request has been written, and the headers of its answer."""

    def __init__(self, layer: LimitLayer, ticket: Ticket) -> None:
        self._layer = layer
        self._ticket = ticket

    def sent(self) -> None:
        self._layer.limiter.sent(self._ticket)

    def answered(self, headers: Mapping[str, str]) -> None:
        seen = seen_limits(headers, self._layer.wall())
        if seen is not None:
            self._layer.limiter.learn(self._layer.key, seen)


def _tokens(response: Response) -> int | None:
    usage = response.usage
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    return usage.input_tokens + usage.output_tokens
