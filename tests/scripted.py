"""A provider that does what a script says, on a clock of its own: the pipeline is tested without waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from llmswitch.types import Chunk, Message, Request, Response, Usage

ANSWER = (
    Chunk(response_model="m-2026", response_id="r1"),
    Chunk(text="Par"),
    Chunk(text="is"),
    Chunk(finish_reason="stop", usage=Usage(5, 2, 0, 0, 0), request_id="q1"),
)


class Clock:
    """Monotonic seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Scripted:
    """Plays one script a call: a Chunk is sent, a float passes on the clock, an exception is raised.

    A float past `patience` of a deadline cannot be simulated by a clock alone, so `hang` really waits, for ever.
    """

    def __init__(self, *scripts: Sequence[Chunk | float | Exception | str], clock: Clock | None = None) -> None:
        self.scripts = list(scripts)
        self.clock = clock or Clock()
        self.requests: list[Request] = []
        self.closed = 0

    async def complete(self, request: Request) -> Response:
        text, last = "", Chunk()
        async for chunk in self.stream(request):
            text += chunk.text
            last = chunk
        return Response("scripted", request.model, text, last.finish_reason or "error", usage=last.usage or Usage())

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        self.requests.append(request)
        try:
            for step in self.scripts[min(len(self.requests), len(self.scripts)) - 1]:
                if isinstance(step, Chunk):
                    yield step
                elif isinstance(step, float):
                    self.clock.now += step
                elif isinstance(step, Exception):
                    raise step
                else:
                    await asyncio.Event().wait()
        finally:
            self.closed += 1

    async def aclose(self) -> None:
        pass


def question(text: str = "hi", **more: object) -> Request:
    """A request with one message."""
    return Request("m", (Message("user", text),), **more)  # type: ignore[arg-type]  # a test's shorthand
