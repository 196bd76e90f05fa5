"""The innermost layer: one request to one vendor, timed, bounded, and whole or an error."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace

from llmswitch.errors import (
    CallTimeoutError,
    ContentFilterError,
    LLMSwitchError,
    TruncatedError,
)
from llmswitch.layers.base import Layer, estimated_usage, opened
from llmswitch.providers.base import Provider
from llmswitch.providers.ratelimits import Listener, listener, listening
from llmswitch.types import Attempt, Chunk, Request, Response, Timing, Usage

__all__ = ["AttemptLayer", "Patience"]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an attempt may be silent, in seconds: until its first token, and between tokens."""

    first_token_s: float = 120.0
    idle_s: float = 60.0


class _Progress(Listener):
    """What has come so far in one attempt, and when: by the clock as its bytes go to the HTTP client and come from it.

    To build a request takes an SDK longer than all else here, and a client that asks many at a time reads bytes late
    enough: neither may pass for the vendor's time. Where nothing goes over HTTP, the adapter's own times count.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.began = self.started = clock()
        self.read: float | None = None
        self.outer = listener()
        self.text: list[str] = []
        self.last = Chunk()
        self.first_content: float | None = None
        self.last_content: float | None = None
        self.alive = False

    def sending(self) -> None:
        if self.started == self.began:  # of several requests the first one counts
            self.started = self.clock()

    def sent(self) -> None:
        self.outer.sent()

    def answered(self, headers: Mapping[str, str]) -> None:
        self.outer.answered(headers)

    def received(self) -> None:
        self.read = self.clock()

    def own_s(self, *, whole: bool) -> float:
        """What did not go into waiting for the vendor. Where the answer is not whole, more was waited for."""
        return self.started - self.began + (self.clock() - self.read if whole and self.read is not None else 0.0)

    def take(self, chunk: Chunk) -> None:
        now = self.clock() if self.read is None else self.read
        if chunk.text:
            self.text.append(chunk.text)
            self.first_content = self.first_content if self.first_content is not None else now
            self.last_content = now
        self.alive = self.alive or bool(chunk.text or chunk.reasoning)
        self.last = chunk.over(self.last)

    def timing(self) -> Timing:
        if self.first_content is None or self.last_content is None:
            return Timing()
        return Timing(self.first_content - self.started, self.last_content - self.first_content)


class AttemptLayer(Layer):
    """Asks an adapter once. Above it a stream ends with the whole response, and every attempt is in the trace.

    Raises CallTimeoutError where no token comes in time, TruncatedError where a stream ends without a finish
    reason, ContentFilterError where the vendor blocked everything; an error keeps the text that came before it.
    """

    def __init__(self, inner: Provider, *, provider: str, patience: Patience, clock: Callable[[], float]) -> None:
        super().__init__(inner)
        self.provider = provider
        self.patience = patience
        self.clock = clock

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """One attempt; see the class."""
        progress = _Progress(self.clock)
        try:
            if request.stream:
                async with opened(self._pieces(request, progress)) as pieces:
                    async for chunk in pieces:
                        if chunk.text or chunk.reasoning:
                            yield chunk
                response = self._whole(request, progress)
            else:
                response = self._checked(request, _with_usage(request, await self._in_one_piece(request, progress)))
                if response.text:
                    yield Chunk(text=response.text)
        except LLMSwitchError as error:
            error.provider = error.provider or self.provider
            error.request_model = error.request_model or request.model
            error.partial_text = "".join(progress.text)
            self._note(request, progress, error.kind, error)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            self._note(request, progress, "interrupted")
            raise
        self._note(request, progress, "ok")
        yield Chunk(response=response)

    async def _pieces(self, request: Request, progress: _Progress) -> AsyncIterator[Chunk]:
        """The adapter's chunks, each within its deadline."""
        async with opened(self.inner.stream(request)) as source:
            first_s = self._first_token_s(request)
            while True:
                try:
                    with listening(progress):
                        async with asyncio.timeout(self._patience_left(progress, first_s)):
                            chunk = await anext(source)
                except StopAsyncIteration:
                    return
                except TimeoutError as error:
                    raise CallTimeoutError(self._silence(progress, first_s)) from error
                progress.take(chunk)
                yield chunk

    async def _in_one_piece(self, request: Request, progress: _Progress) -> Response:
        """The whole answer; where another target stands ready, within half of what is left of the call."""
        left_s = (request.trace.ends - self.clock()) / 2
        try:
            with listening(progress):
                async with asyncio.timeout(left_s if request.alternative and not math.isinf(left_s) else None):
                    return await self.inner.complete(request)
        except TimeoutError as error:
            raise CallTimeoutError(f"{self.provider} sent no answer within {left_s:.3g} s.") from error

    def _first_token_s(self, request: Request) -> float:
        """Where another target stands ready, half of what is left of the call is for that one."""
        left_s = request.trace.ends - self.clock()
        return min(self.patience.first_token_s, left_s / 2) if request.alternative else self.patience.first_token_s

    def _patience_left(self, progress: _Progress, first_s: float) -> float:
        if progress.alive:
            return self.patience.idle_s
        return max(0.0, first_s - (self.clock() - progress.started))

    def _silence(self, progress: _Progress, first_s: float) -> str:
        if progress.alive:
            return f"{self.provider} fell silent for {self.patience.idle_s:g} s in mid-answer; see LLM_IDLE_TIMEOUT."
        return f"{self.provider} sent no token within {first_s:.3g} s; see LLM_FIRST_TOKEN_TIMEOUT."

    def _whole(self, request: Request, progress: _Progress) -> Response:
        last, text = progress.last, "".join(progress.text)
        if last.finish_reason is None:
            raise TruncatedError(f"{self.provider}'s stream ended without a finish reason: the answer is not whole.")
        response = Response(
            provider=self.provider,
            request_model=request.model,
            text=text,
            finish_reason=last.finish_reason,
            usage=last.usage or Usage(),
            response_model=last.response_model,
            response_id=last.response_id,
            request_id=last.request_id,
            service_tier=last.service_tier,
            timing=progress.timing(),
        )
        return self._checked(request, _with_usage(request, response))

    def _checked(self, request: Request, response: Response) -> Response:
        if response.finish_reason == "content_filter" and not response.text:
            raise ContentFilterError(
                f"{self.provider}'s safety filter blocked the prompt or the whole answer.",
                request_id=response.request_id,
            )
        return response

    def _note(self, request: Request, progress: _Progress, outcome: str, error: LLMSwitchError | None = None) -> None:
        own_s = progress.own_s(whole=outcome == "ok")
        request.trace.own_s += own_s
        request.trace.attempts.append(
            Attempt(
                provider=self.provider,
                model=request.model,
                outcome=outcome,
                status=200 if outcome == "ok" else error.status if error else None,
                duration_s=max(0.0, self.clock() - progress.began - own_s),
                retry_after_s=error.retry_after_s if error else None,
            )
        )


def _with_usage(request: Request, response: Response) -> Response:
    """`response`, its tokens estimated where the vendor counted none."""
    if response.usage.input_tokens is not None and response.usage.output_tokens is not None:
        return response
    return replace(response, usage=estimated_usage(request, response.text))
