"""Two targets asked for one answer, the second only where the first is slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from llmswitch.layers.base import opened
from llmswitch.types import Chunk, Response, Spend, Trace

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

    async def stop(self) -> Response | None:
        """End it, and wait until its connection is closed; the whole answer, where it had come and nobody read it."""
        self.task.cancel()
        await asyncio.wait([self.task])
        response = None
        while not self.chunks.empty():
            chunk = self.chunks.get_nowait()
            response = (chunk and chunk.response) or response
        return response


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
    `second`. A first that fails in time is raised at once: whoever called knows whom to ask next.
    """
    racers = [Racer(first)]
    try:
        try:
            await asyncio.wait_for(racers[0].known.wait(), after_s)
        except TimeoutError:
            racers.append(Racer(second()))
        winner = await _winner(racers)
        for loser in racers:
            if loser is not winner:
                before = len(trace.lost)
                late = await loser.stop()
                trace.lost[before:] = [spend._replace(why="hedged") for spend in trace.lost[before:]]
                if late is not None and not late.cached:
                    trace.lost.append(Spend(late.provider, late.request_model, "hedged", late.usage, late.cost))
        if not winner.sent and len(racers) > 1 and racers[1].error is not None:
            failed(racers[1].error)
        async with opened(winner.rest()) as chunks:
            async for chunk in chunks:
                yield chunk
    finally:
        for racer in racers:
            await racer.stop()


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
