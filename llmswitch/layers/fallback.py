"""Several targets behind one call: where one cannot answer, the next one is asked, and nobody need notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from llmswitch.errors import (
    ConfigError,
    ContextLengthError,
    LLMSwitchError,
    QuotaError,
    RateLimitError,
)
from llmswitch.layers.base import collect, opened
from llmswitch.layers.hedge import raced
from llmswitch.pricing import load_price_list
from llmswitch.providers.base import Provider
from llmswitch.types import Chunk, Request, Response, Trace

__all__ = ["FallbackLayer", "Lane"]


class Lane(NamedTuple):
    """One target of a call: its own request, and the layers around its adapter, which `open` makes when needed.

    `window` tells how many tokens its model takes, None where unknown; it may be slow.
    """

    key: str
    target: str
    request: Request
    open: Callable[[], Provider]
    window: Callable[[], int | None]


class Standing(Protocol):
    """Who knows how the targets fare."""

    async def healthy(self, keys: Sequence[str]) -> frozenset[str]:
        """Those of them that can be asked now."""
        ...


class FallbackLayer:
    """Asks its lanes in turn, until one answers; a Provider like what it wraps.

    A lane's error moves on where its kind is in `fall_on`; from the second lane on, every error does: the first one's
    is the reason that anybody else was asked. Pieces that were sent are taken back where the request allows it, and
    where it does not, they end the call. With `hedge_s`, a lane that has sent nothing after so many seconds gets the
    next healthy one as a rival.
    """

    def __init__(
        self, lanes: Sequence[Lane], *, fall_on: frozenset[str], standing: Standing, hedge_s: float | None
    ) -> None:
        self.lanes = tuple(lanes)
        self.fall_on = fall_on
        self.standing = standing
        self.hedge_s = hedge_s
        self._ready: asyncio.Task[None] | None = None

    async def complete(self, request: Request) -> Response:
        """The whole answer; raises what `stream` raises."""
        return await collect(self.stream(replace(request, stream=False)))

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The first lane's stream that is whole. Raises the first lane's error, with the reasons of all in it."""
        failed: list[tuple[Lane, Exception]] = []
        rest, waited = list(self.lanes), False
        while rest:
            lane = rest.pop(0)
            shown = False
            try:
                async with opened(self._asked(lane, rest, request, failed)) as chunks:
                    async for chunk in chunks:
                        shown = shown or bool(chunk.text)
                        yield chunk
                return
            except LLMSwitchError as error:
                # noted already: it is that of a rival which had won
                noted = bool(failed) and failed[-1][1] is error
                first = lane is self.lanes[0] and not noted
                if (first and error.kind not in self.fall_on) or (shown and not request.restarts):
                    raise
                who = failed[-1][0] if noted else lane
                if not noted:
                    failed.insert(0 if first else len(failed), (lane, error))
                rest, reason = _left(lane, error, rest, failed), error.kind.replace("_", " ")
            if shown:
                yield Chunk(restart=True)
            if rest:
                request.trace.notify(f"{who.target} failed ({reason}): asking {rest[0].target}")
            elif not waited and (passed := _passed_over(failed, lane)) is not None:
                waited, rest = True, [passed]
                failed = [entry for entry in failed if entry[0] is not passed]
        raise _all(failed)

    async def aclose(self) -> None:
        """The adapters belong to whoever connects them."""

    async def _asked(
        self, lane: Lane, rest: list[Lane], request: Request, failed: list[tuple[Lane, Exception]]
    ) -> AsyncIterator[Chunk]:
        """One lane's stream, or that of its rival."""
        ready = await self.standing.healthy([other.key for other in rest]) if rest else frozenset()
        rival = next((other for other in rest if other.key in ready), None)
        first = _stream(lane, request, alternative=rival is not None)
        if self.hedge_s is None or rival is None:
            chunks = first
        else:
            second = rival  # for the closures, which see no narrowing
            request.trace.notify(f"{lane.target} is asked, {second.target} after {self.hedge_s:g} s of silence")

            def rivals() -> AsyncIterator[Chunk]:
                # what the loser cost is reckoned as the winner's first token comes: no time for an import
                self._ready = asyncio.create_task(asyncio.to_thread(load_price_list))
                return _stream(second, request, alternative=False)

            chunks = raced(
                first,
                rivals,
                after_s=self.hedge_s,
                trace=request.trace,
                failed=lambda error: failed.append((second, error)),
            )
        async with opened(chunks) as pieces:
            async for chunk in pieces:
                yield _with_rivals(chunk, request.trace)


def _with_rivals(chunk: Chunk, trace: Trace) -> Chunk:
    """The answer with every attempt: a rival may have ended after it was whole."""
    response = chunk.response
    if response is None or response.cached or len(response.attempts) == len(trace.attempts):
        return chunk
    return Chunk(response=replace(response, attempts=tuple(trace.attempts)))


def _stream(lane: Lane, request: Request, *, alternative: bool) -> AsyncIterator[Chunk]:
    asked = replace(
        lane.request,
        stream=request.stream,
        restarts=request.restarts,
        alternative=alternative,
        trace=request.trace,
    )
    return lane.open().stream(asked)


def _left(lane: Lane, error: LLMSwitchError, rest: Sequence[Lane], failed: list[tuple[Lane, Exception]]) -> list[Lane]:
    """Whom to ask after `lane`: nobody who has failed as its rival; where the prompt was too long, no model that takes
    no more. Where it is a rival that had won and failed, `lane` was only slow, and comes first."""
    done = {id(other) for other, _ in failed}
    left = [other for other in (lane, *rest) if id(other) not in done]
    if not isinstance(error, ContextLengthError):
        return left
    window = lane.window()
    larger = []
    for other in left:
        size = other.window()
        if window is not None and size is not None and size <= window:
            failed.append((other, ConfigError(f"its context window of {size:,} tokens is no larger.")))
        else:
            larger.append(other)
    return larger


def _passed_over(failed: Sequence[tuple[Lane, Exception]], last: Lane) -> Lane | None:
    """Who was passed over rather than waited for, the shortest wait first, now that nobody else has answered: not the
    `last`, which nobody stood behind. Whether the wait fits into the deadline is for the limits to say."""
    waits = [
        (error.retry_after_s, place)
        for place, (lane, error) in enumerate(failed)
        if lane is not last and isinstance(error, RateLimitError) and not isinstance(error, QuotaError)
        if error.retry_after_s
    ]
    return failed[min(waits)[1]][0] if waits else None


def _all(failed: Sequence[tuple[Lane, Exception]]) -> Exception:
    """The first lane's error, with every other lane's reason in its message."""
    (_, first), *others = failed
    if not others or not isinstance(first, LLMSwitchError):
        return first
    reasons = "; ".join(f"{lane.target}: {_said(error)}" for lane, error in failed)
    error = type(first)(
        f"every target failed. {reasons}.",
        provider=first.provider,
        request_model=first.request_model,
        status=first.status,
        request_id=first.request_id,
        retry_after_s=min((told for _, e in failed if (told := getattr(e, "retry_after_s", None))), default=None),
    )
    error.partial_text = first.partial_text
    error.__cause__ = first
    return error


def _said(error: Exception) -> str:
    return (error.message if isinstance(error, LLMSwitchError) else str(error)).rstrip(".")
