"""No request goes out unless what it may cost at most fits what is left to spend."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from decimal import Decimal
from typing import NamedTuple

from llmswitch.book import Book, Reservation
from llmswitch.budget import BudgetLimits, Purse
from llmswitch.errors import BudgetError, LLMSwitchError, StorageError
from llmswitch.layers.base import Layer, opened
from llmswitch.ledger import Caller
from llmswitch.providers.base import Provider
from llmswitch.types import Chunk, Cost, Request, Response, Trace

__all__ = ["BudgetLayer"]

#: how long after its deadline a call's reservation is held, in seconds: until then its row is written
_GRACE_S = 5.0
#: how long it is held where a call has no deadline
_LONGEST_S = 3600.0


class _Held(NamedTuple):
    """What one attempt may cost, and the number it is reserved under; None where the ledger reserves nothing."""

    bound: Cost
    number: int | None


class BudgetLayer(Layer):
    """Reserves what `bound` says that a request may cost, before it is sent; around the layer that prices attempts.

    Raises BudgetError, with nothing sent, where it does not fit the `limits`, or the command's `purse`; where its
    price is unknown, unless `allow_unknown`; where the ledger cannot be written, since then nobody knows what was
    spent. The reservation of an attempt that failed shrinks to what `Trace.lost` says of it; that of one that
    answered is settled by the call's row in the ledger. An answer whose price turns out to be unknown counts as the
    worst case.
    """

    def __init__(
        self,
        inner: Provider,
        *,
        book: Book,
        limits: BudgetLimits,
        purse: Purse | None,
        bound: Callable[[Request], Cost | None],
        allow_unknown: bool,
        caller: Caller,
        provider: str,
        wall: Callable[[], float],
    ) -> None:
        super().__init__(inner)
        self.book = book
        self.limits = limits
        self.purse = purse
        self.bound = bound
        self.allow_unknown = allow_unknown
        self.caller = caller
        self.provider = provider
        self.wall = wall

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The same stream, or BudgetError; see the class."""
        try:
            held = await self._reserve(request)
        except LLMSwitchError as error:
            error.provider, error.request_model = self.provider, request.model
            raise
        before, answered = len(request.trace.lost), False
        try:
            async with opened(self.inner.stream(request)) as chunks:
                async for chunk in chunks:
                    if chunk.response is not None:
                        answered = True
                        yield Chunk(response=self._answered(chunk.response, held))
                    else:
                        yield chunk
        except BaseException:
            if held is not None and not answered:
                self._shrink(held, self._lost(request, before))
            raise

    async def _reserve(self, request: Request) -> _Held | None:
        bound = self._bound(request)
        if bound is None:
            return None
        if self.purse is not None:
            self.purse.reserve(bound.amount)
        if self.limits == BudgetLimits():
            return _Held(bound, None)
        try:
            number = await self.book.reserve(self._reservation(request, bound.amount), self.limits)
        except BaseException as error:
            if self.purse is not None:
                self.purse.settle(bound.amount, Decimal(0))
            if isinstance(error, StorageError):
                raise BudgetError(
                    f"under a budget nothing is sent that cannot be put on record: {error.message}"
                ) from error
            raise
        request.trace.reserved.append(number)
        return _Held(bound, number)

    def _bound(self, request: Request) -> Cost | None:
        bound = self.bound(request)
        if bound is None and not self.allow_unknown:
            raise BudgetError(
                f"nobody knows what {self.provider}:{request.model} costs, and under a budget nothing is sent whose "
                "price is unknown: give it in the file that LLM_PRICES names, or add --allow-unknown-price."
            )
        return bound

    def _reservation(self, request: Request, amount: Decimal) -> Reservation:
        at = request.trace.started_at
        at = self.wall() if at is None else at
        return Reservation(self.caller, self.provider, request.model, amount, at, at + _held_s(request.trace))

    def _answered(self, response: Response, held: _Held | None) -> Response:
        """The answer and what it cost; the reservation stays until that is on record."""
        if held is None:
            if self.purse is not None and response.cost is not None:
                self.purse.settle(Decimal(0), response.cost.amount)
            return response
        cost = response.cost or held.bound
        if self.purse is not None:
            self.purse.settle(held.bound.amount, cost.amount)
        return response if response.cost is not None else replace(response, cost=cost)

    def _lost(self, request: Request, before: int) -> Decimal:
        """What the attempt that failed may have cost. Another target's, asked beside it, is not its own."""
        return sum(
            (
                spend.cost.amount
                for spend in request.trace.lost[before:]
                if spend.cost is not None and (spend.provider, spend.model) == (self.provider, request.model)
            ),
            Decimal(0),
        )

    def _shrink(self, held: _Held, amount: Decimal) -> None:
        if self.purse is not None:
            self.purse.settle(held.bound.amount, amount)
        if held.number is not None:
            self.book.shrink(held.number, amount)


def _held_s(trace: Trace) -> float:
    """How long after the call began its reservation is held, in seconds."""
    if trace.started is None or math.isinf(trace.ends):
        return _LONGEST_S
    return trace.ends - trace.started + _GRACE_S
