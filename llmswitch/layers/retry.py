"""Asking the same target again, by one policy for all vendors: the loop is tenacity's, what can succeed is ours."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from llmswitch.errors import (
    CallConnectionError,
    CallTimeoutError,
    CircuitOpenError,
    LLMSwitchError,
    MalformedError,
    OverloadedError,
    ProviderError,
    QuotaError,
    RateLimitError,
    ServerError,
    TruncatedError,
)
from llmswitch.layers.base import Layer, opened
from llmswitch.providers.base import Provider
from llmswitch.types import Chunk, Request

if TYPE_CHECKING:
    from tenacity import AsyncRetrying, RetryCallState

__all__ = ["LONGEST_DETOUR_S", "Backoff", "RetryLayer", "can_succeed"]

#: with a healthy fallback, a longer wait than this is not worth it
LONGEST_DETOUR_S = 1.0

_AGAIN = (
    RateLimitError,
    OverloadedError,
    ServerError,
    CallTimeoutError,
    CallConnectionError,
    TruncatedError,
    MalformedError,
)
#: what asking again cannot change: a used-up quota, and a target that is not asked at all
_NEVER = (QuotaError, CircuitOpenError)
_FIRST_S = 0.5
_LONGEST_S = 60.0
#: a wait is off its mark by up to so much either way: each is longer than the last, and no two callers' are the same
_JITTER = 0.2


def can_succeed(error: BaseException) -> bool:
    """Whether the same request may succeed if it is sent again: 408, 409, 425, 429, 5xx, no connection, no time, no
    whole answer. A redirect is a wrong address, and stays one."""
    if not isinstance(error, _AGAIN) or isinstance(error, _NEVER):
        return False
    return error.status is None or not 300 <= error.status < 400


class Backoff:
    """Seconds to wait after each failure of one call: doubled each time, jittered, capped; a vendor's own word on top.

    `random` gives numbers within [0, 1).
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self.random = random

    def __call__(self, state: RetryCallState) -> float:
        """The wait after the attempt that `state` tells of."""
        error = state.outcome.exception() if state.outcome is not None else None
        told = error.retry_after_s if isinstance(error, LLMSwitchError) else None
        return (told or 0.0) + self.step(state.attempt_number)

    def step(self, failures: int) -> float:
        """The wait after so many failures, where the vendor names none."""
        most = min(_LONGEST_S, _FIRST_S * 2.0 ** (failures - 1))
        return most * (1 - _JITTER + 2 * _JITTER * self.random())


class RetryQuota(Protocol):
    """Who keeps count of retries, so that a vendor that is down is not asked by every call three times."""

    async def may_retry(self, key: str) -> bool:
        """Take one from the target's quota; False where none is left."""
        ...


class RetryLayer(Layer):
    """Asks again what can succeed again, up to `retries` times, within the call's deadline and the target's quota.

    Where a healthy fallback stands ready and the wait is over a second, or where the wait does not fit into the
    deadline, the error goes up at once. Pieces that were sent are taken back where the request allows it; where it
    does not, the first of them ends all retrying.
    """

    def __init__(
        self,
        inner: Provider,
        *,
        key: str,
        target: str,
        retries: int,
        quota: RetryQuota,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        random: Callable[[], float],
    ) -> None:
        super().__init__(inner)
        self.key = key
        self.target = target
        self.retries = retries
        self.quota = quota
        self.clock = clock
        self.sleep = sleep
        self.random = random

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The first whole stream; raises what ended the last attempt."""
        waits: AsyncRetrying | None = None
        failed: ProviderError | None = None
        shown = False
        while True:
            try:
                async with opened(self.inner.stream(request)) as chunks:
                    async for chunk in chunks:
                        shown = shown or bool(chunk.text)
                        yield chunk
                return
            except ProviderError as error:
                if failed is not None and isinstance(error, CircuitOpenError):
                    # this very call was one failure too many: what the vendor said is the reason, and goes first
                    failed.add(error.message)
                    failed.retry_after_s = error.retry_after_s
                    raise failed from error
                if not can_succeed(error) or (shown and not request.restarts):
                    raise
                failed = error
            if waits is None:  # tenacity and its bookkeeping are for calls that fail
                waits = aiter(self._retrying(request))
                attempt = await anext(waits)
            with attempt:
                raise failed
            attempt = await anext(waits)
            if shown:
                shown = False
                yield Chunk(restart=True)

    def _retrying(self, request: Request) -> AsyncRetrying:
        from tenacity import AsyncRetrying

        async def stops(state: RetryCallState) -> bool:
            return await self._stops(request, state)

        def tells(state: RetryCallState) -> None:
            kind = state.outcome.exception().kind.replace("_", " ")  # type: ignore[union-attr]  # only errors get here
            request.trace.notify(f"{self.target}: {kind}; asking again in {state.upcoming_sleep:.1f} s")

        return AsyncRetrying(
            wait=Backoff(self.random),
            stop=stops,  # type: ignore[arg-type]  # tenacity awaits a coroutine, though its types do not say so
            before_sleep=tells,
            sleep=self.sleep,
            reraise=True,
        )

    async def _stops(self, request: Request, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome is not None else None
        assert isinstance(error, LLMSwitchError)  # noqa: S101  # nothing else is retried
        wait = state.upcoming_sleep
        if request.alternative and wait > LONGEST_DETOUR_S:
            return True
        fits = self.clock() + wait < request.trace.ends
        stopped = state.attempt_number > self.retries or not fits or not await self.quota.may_retry(self.key)
        if stopped and error.retry_after_s and error.status is not None:  # our own errors say it already
            error.add(f"It is to be asked again in {math.ceil(error.retry_after_s)} s.")
        return stopped
