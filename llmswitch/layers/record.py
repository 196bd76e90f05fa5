"""The outermost layer: every call is a row in the ledger, however it ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from llmswitch.errors import LLMSwitchError
from llmswitch.layers.base import Layer, estimated_usage, opened
from llmswitch.ledger import Caller, CallRow, Ledger, call_row, record_or_warn
from llmswitch.providers.base import Provider
from llmswitch.types import Chunk, Request, Response, Usage

__all__ = ["RecordLayer"]


class RecordLayer(Layer):
    """Writes the row before the last chunk goes up, or as the error or the interruption passes."""

    def __init__(
        self,
        inner: Provider,
        *,
        provider: str,
        caller: Caller,
        ledger: Ledger,
        warn: Callable[[str], None],
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        super().__init__(inner)
        self.provider = provider
        self.caller = caller
        self.ledger = ledger
        self.warn = warn
        self.clock = clock
        self.wall = wall

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The same stream; errors leave with whom was asked and every attempt on them."""
        started, at = self.clock(), self.wall()
        answered, shown = False, list[str]()
        try:
            async with opened(self.inner.stream(request)) as chunks:
                async for chunk in chunks:
                    shown.append(chunk.text)
                    if chunk.response is not None:
                        answered = True
                        await self._record(call_row(self.caller, chunk.response, started_at=at))
                    yield chunk
        except LLMSwitchError as error:
            error.provider = error.provider or self.provider
            error.request_model = error.request_model or request.model
            error.attempts = tuple(request.trace.attempts)
            so_far = self._so_far(request, started, "".join(shown))
            await self._record(call_row(self.caller, so_far, started_at=at, error=error))
            raise
        except BaseException:  # cancelled, left, or a bug: the call was made, and may be paid for
            if not answered:
                so_far = self._so_far(request, started, "".join(shown))
                record_or_warn(self.ledger, call_row(self.caller, so_far, started_at=at, interrupted=True), self.warn)
            raise

    async def _record(self, row: CallRow) -> None:
        """In a thread: a ledger that another process has locked must not hold up the clocks of other calls."""
        await asyncio.to_thread(record_or_warn, self.ledger, row, self.warn)

    def _so_far(self, request: Request, started: float, text: str) -> Response:
        """What a call that did not end came to. Its tokens are estimated where some text came: they are paid for."""
        return Response(
            self.provider,
            request.model,
            text,
            "error",
            usage=estimated_usage(request, text) if text else Usage(),
            duration_s=self.clock() - started,
            attempts=tuple(request.trace.attempts),
        )
