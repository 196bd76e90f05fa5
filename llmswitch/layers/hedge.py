"""Two targets asked for one answer, the second only where the first is slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from llmswitch.layers.base import opened, unseen
from llmswitch.types import Chunk, Spend, Trace

__all__ = ["Racer", "raced"]


class Racer:
    """One stream, read ahead by a task of its own into a queue."""

    def __init__(self, stream: AsyncIterator[Chunk]) -> None:
        self.stream = stream
        self.chunks: asyncio.Queue[Chunk | None] = asyncio.Queue(maxsize=16)
        #: set once it is known whether it sends something
        self.known = asyncio.Event()
        self.sent = False
        self.error: Exception | None = None
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            async with opened(self.stream) as chunks:
                async for chunk in chunks:
                    await self.chunks.put(chunk)
                    self.sent = True
                    self.known.set()
        except Exception as error:  # raised in `rest`, by the task that reads it
            self.error = error
        finally:
            self.known.set()
        await self.chunks.put(None)

    async def rest(self) -> AsyncIterator[Chunk]:
        """What it sends, from its first chunk on; raises what ended it."""
        while (chunk := await self.chunks.get()) is not None:
            yield chunk
        if self.error is not None:
            raise self.error

    def unread(self, why: str) -> list[Spend]:
        """What its whole answer cost, where that had come and nobody will read it; for a racer that was stopped."""
        lost = []
        while not self.chunks.empty():
            chunk = self.chunks.get_nowait()
            if chunk is not None and chunk.response is not None and not chunk.response.cached:
                lost.append(unseen(chunk.response, why))
        return lost


async def raced(
    first: AsyncIterator[Chunk],
    second: Callable[[], AsyncIterator[Chunk]],
    *,
    after_s: float,
    trace: Trace,
    failed: Callable[[Exception], None],
) -> AsyncIterator[Chunk]:
    """`first`, or `second` where that sends something sooner; `second` starts `after_s` seconds later.

    The loser is cancelled, and what it may have cost is marked in `trace` as hedged. Where one fails before it sent
    anything, the other is waited for; where both do, the error of `first` is raised, and `failed` is told that of
    `second`. A first that fails in time is raised at once: whoever called knows whom to ask next. Where the second
    wins and fails later, `failed` is told as well, and that error raised unless `first` has one of its own.
    """
    racers = [Racer(first)]
    try:
        try:
            await asyncio.wait_for(racers[0].known.wait(), after_s)
        except TimeoutError:
            racers.append(Racer(second()))
        winner = await _winner(racers)
        losers, before = [racer for racer in racers if racer is not winner], len(trace.lost)
        await _stopped(losers)
        trace.lost[before:] = [spend._replace(why="hedged") for spend in trace.lost[before:]]
        trace.lost.extend(spend for loser in losers for spend in loser.unread("hedged"))
        if not winner.sent and len(racers) > 1 and racers[1].error is not None:
            failed(racers[1].error)
        try:
            async with opened(winner.rest()) as chunks:
                async for chunk in chunks:
                    yield chunk
        except Exception as error:
            if winner is racers[0]:
                raise
            failed(error)
            raise racers[0].error or error from None
    finally:
        try:
            await _stopped(racers)
        finally:
            trace.lost.extend(spend for racer in racers for spend in racer.unread("interrupted"))


async def _stopped(racers: Sequence[Racer]) -> None:
    """End them, and wait until their connections are closed: what they cost is known then.

    Who is cancelled in here, as a web server does again and again, hands it on to them and waits all the same.
    """
    again: asyncio.CancelledError | None = None
    for racer in racers:
        racer.task.cancel()
    while running := [racer.task for racer in racers if not racer.task.done()]:
        try:
            await asyncio.wait(running)
        except asyncio.CancelledError as error:
            again = error
            for task in running:
                task.cancel()
    if again is not None:
        raise again


async def _winner(racers: list[Racer]) -> Racer:
    """The first that sends something; where all fail, the first of them."""
    waiting = {asyncio.create_task(racer.known.wait()): racer for racer in racers}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in waiting if task in done]:
                racer = waiting.pop(task)
                if racer.sent:
                    return racer
        return racers[0]
    finally:
        for task in waiting:
            task.cancel()
