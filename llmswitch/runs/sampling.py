"""Taking samples: which call is made when, and how each of them ended.

A plan is blocks, one after another; what stands in one block starts together. It is made before anything is sent,
and two plans with the same seed are the same.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import NamedTuple, Protocol

from llmswitch.errors import CallInterruptedError, LLMSwitchError, TruncatedError
from llmswitch.layers.base import opened
from llmswitch.runs.ask import Asking, answer
from llmswitch.runs.call import Call
from llmswitch.runs.route import Route
from llmswitch.types import Response

__all__ = ["Planned", "Progress", "Quiet", "Sample", "plan", "take"]


class Planned(NamedTuple):
    """One call to make: the number of its `target`, and which asking of it this is; both from 0."""

    target: int
    repeat: int


class Sample(NamedTuple):
    """How one call ended: with a `response`, or with the `error` that ended it; `target` is as it was typed.

    The error of a call that Ctrl-C ended is a CallInterruptedError; `error.partial_text` is what had come.
    """

    target: str
    provider: str
    request_model: str
    repeat: int = 0
    response: Response | None = None
    error: LLMSwitchError | None = None

    @property
    def failed(self) -> bool:
        """Whether there is no answer, or none that a script should take for one."""
        return self.response is None or self.response.failed


class Progress(Protocol):
    """Who watches while samples are taken, called on the event loop; `index` is the target's number."""

    def started(self, index: int) -> None:
        """The call goes out now."""
        ...

    def text(self, index: int, piece: str) -> None:
        """A piece of the answer came."""
        ...

    def restarted(self, index: int) -> None:
        """The pieces so far are void: the answer begins again."""
        ...

    def told(self, index: int, line: str) -> None:
        """What the call is doing while nothing comes, in a line."""
        ...

    def ended(self, index: int, sample: Sample) -> None:
        """The call is over, however it ended."""
        ...


class Quiet:
    """A `Progress` for nobody."""

    def started(self, index: int) -> None:
        """Nobody looks."""

    def text(self, index: int, piece: str) -> None:
        """Nobody looks."""

    def restarted(self, index: int) -> None:
        """Nobody looks."""

    def told(self, index: int, line: str) -> None:
        """Nobody looks."""

    def ended(self, index: int, sample: Sample) -> None:
        """Nobody looks."""


def plan(targets: int, repeats: int, seed: int) -> tuple[tuple[Planned, ...], ...]:
    """One block of all targets; with repeats, one call at a time, each round of all targets in an order of its own.

    One at a time, because calls that run side by side share this machine, and often the server: what is measured
    more than once is measured alone. Rounds, so that what drifts in the meantime hits all targets alike.
    """
    if repeats == 1:
        return (tuple(Planned(index, 0) for index in range(targets)),)
    shuffled = random.Random(seed)  # noqa: S311  # an order to be had again, not a secret
    blocks: list[tuple[Planned, ...]] = []
    for repeat in range(repeats):
        order = list(range(targets))
        shuffled.shuffle(order)
        blocks.extend((Planned(index, repeat),) for index in order)
    return tuple(blocks)


async def take(
    blocks: Sequence[Sequence[Planned]],
    routes: Sequence[Route],
    asking: Asking,
    progress: Progress,
) -> tuple[list[Sample], bool]:
    """Every planned call, in the order of the plan; and whether Ctrl-C cut it short.

    A call that fails is a sample like any other. Cancelling this ends what runs, as interrupted samples, and makes
    no call after them; a target that was not asked at all has an interrupted sample then, too.
    """
    calls = [route.first for route in routes]
    turns = {call.vendor.key: asyncio.Lock() for call in calls if call.vendor.one_at_a_time}
    samples: list[Sample] = []
    for block in blocks:
        running = {
            asyncio.create_task(
                _sample(
                    planned,
                    routes[planned.target],
                    asking,
                    progress,
                    turn=turns.get(calls[planned.target].vendor.key),
                )
            ): planned
            for planned in block
        }
        interrupted = await _all_over(running)
        samples.extend(
            _stopped(planned, calls[planned.target]) if task.cancelled() else task.result()
            for task, planned in running.items()
        )
        if interrupted:
            asked = {sample.target for sample in samples}
            never = sorted({planned.target for rest in blocks for planned in rest})
            samples.extend(
                _stopped(Planned(target, 0), calls[target])
                for target in never
                if calls[target].target.text not in asked
            )
            return samples, True
    return samples, False


async def _all_over(running: Iterable[asyncio.Task[Sample]]) -> bool:
    """Wait for them; whether that was cancelled, and they with it. Whoever is cancelled once more is on his own."""
    try:
        await asyncio.wait(running)
    except asyncio.CancelledError:
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        return True
    return False


async def _sample(
    planned: Planned,
    route: Route,
    asking: Asking,
    progress: Progress,
    *,
    turn: asyncio.Lock | None,
) -> Sample:
    """One call; no clock of it starts before its `turn`, where there is one."""
    call = route.first
    sample = _unanswered(planned, call)
    pieces: list[str] = []
    response: Response | None = None
    try:
        answered = answer(route, asking, notify=lambda line: progress.told(planned.target, line))
        async with turn or nullcontext(), opened(answered) as chunks:
            progress.started(planned.target)
            async for chunk in chunks:
                if chunk.restart:
                    pieces.clear()
                    progress.restarted(planned.target)
                if chunk.text:
                    pieces.append(chunk.text)
                    progress.text(planned.target, chunk.text)
                response = chunk.response or response
        if response is None:
            raise TruncatedError("the call ended without an answer.")
        sample = sample._replace(response=response)
    except LLMSwitchError as error:
        # a deadline cuts the layer that knows what had come
        error.partial_text = error.partial_text or "".join(pieces)
        sample = sample._replace(error=error)
    except asyncio.CancelledError:
        sample = _stopped(planned, call, "".join(pieces))
    progress.ended(planned.target, sample)
    return sample


def _unanswered(planned: Planned, call: Call) -> Sample:
    return Sample(call.target.text, call.endpoint.provider, call.request.model, planned.repeat)


def _stopped(planned: Planned, call: Call, partial_text: str = "") -> Sample:
    error = CallInterruptedError(
        "interrupted before the answer was whole.", provider=call.endpoint.provider, request_model=call.request.model
    )
    error.partial_text = partial_text
    return _unanswered(planned, call)._replace(error=error)
