"""The outermost layer: every call is a row in the ledger, however it ended, and so is what it spent besides."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from llmswitch.book import Book
from llmswitch.errors import LLMSwitchError
from llmswitch.layers.base import Layer, opened
from llmswitch.ledger import Caller, CallRow, call_row, lost_row
from llmswitch.providers.base import Provider
from llmswitch.types import Chunk, Request, Response, Spend, Usage

__all__ = ["RecordLayer"]


class RecordLayer(Layer):
    """Writes the rows before the last chunk goes up, or as the error or the interruption passes.

    One for each attempt in `Trace.lost` comes first, the call's own last: a turn of a conversation is linked to the
    newest. Where the call failed, what its last attempt may have cost is on its own row. They settle the reservations
    in `Trace.reserved`.
    """

    def __init__(
        self,
        inner: Provider,
        *,
        provider: str,
        caller: Caller,
        book: Book,
        warn: Callable[[str], None],
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        super().__init__(inner)
        self.provider = provider
        self.caller = caller
        self.book = book
        self.warn = warn
        self.clock = clock
        self.wall = wall

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The same stream; errors leave with whom was asked and every attempt on them."""
        trace = request.trace
        started, at = self.clock(), self.wall()
        trace.started, trace.started_at = started, at
        answered = False
        try:
            async with opened(self.inner.stream(request)) as chunks:
                async for chunk in chunks:
                    if chunk.response is not None:
                        answered = True
                        rows = [*self._lost(trace.lost, at), call_row(self.caller, chunk.response, started_at=at)]
                        await self.book.record(rows, tuple(trace.reserved), self.warn)
                    yield chunk
        except LLMSwitchError as error:
            error.provider = error.provider or self.provider
            error.request_model = error.request_model or request.model
            error.attempts = tuple(trace.attempts)
            await self.book.record(self._failed(request, started, at, error), tuple(trace.reserved), self.warn)
            raise
        except BaseException:  # cancelled, left, or a bug: the call was made, and may be paid for
            if not answered:
                self.book.post(self._failed(request, started, at, None), tuple(trace.reserved), self.warn)
            raise

    def _failed(self, request: Request, started: float, at: float, error: LLMSwitchError | None) -> list[CallRow]:
        """The rows of a call that did not end; without an error it was interrupted."""
        lost = list(request.trace.lost)
        own = lost.pop() if lost and self._is_own(lost[-1], request, error) else None
        so_far = Response(
            self.provider,
            request.model,
            "",
            "error",
            usage=own.usage if own else Usage(),
            cost=own.cost if own else None,
            duration_s=self.clock() - started,
            attempts=tuple(request.trace.attempts),
        )
        row = call_row(self.caller, so_far, started_at=at, error=error, interrupted=error is None)
        return [*self._lost(lost, at), row]

    def _is_own(self, spend: Spend, request: Request, error: LLMSwitchError | None) -> bool:
        """Whether it is the spend of what ended the call, and of the target that the call's row names."""
        last = request.trace.attempts[-1:]
        ended = {"interrupted", *(attempt.outcome for attempt in last), *([error.kind] if error else [])}
        asked = {(spend.provider, spend.model), *((attempt.provider, attempt.model) for attempt in last)}
        return spend.why in ended and asked == {(self.provider, request.model)}

    def _lost(self, lost: Sequence[Spend], at: float) -> list[CallRow]:
        return [lost_row(self.caller, spend, started_at=at) for spend in lost]
