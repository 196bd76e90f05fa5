"""Lines that no batch interface takes: asked one by one through the layers that every call goes through."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

from llmswitch.answers import encode
from llmswitch.batches import BatchJob
from llmswitch.batchlines import Settled
from llmswitch.errors import BudgetError, LLMSwitchError
from llmswitch.layers.base import collect
from llmswitch.runs.adapters import Adapters
from llmswitch.runs.ask import Asking, answer
from llmswitch.runs.batch.desk import Desk
from llmswitch.runs.batch.plan import asked_of
from llmswitch.runs.batch.sending import error_text
from llmswitch.runs.call import Call, Question, settle
from llmswitch.runs.route import Route
from llmswitch.runs.shared import Shared
from llmswitch.targets import parse_target
from llmswitch.types import Message, Parameters

__all__ = ["ask_live"]

#: so many lines between two looks at how far it is
_TOLD_EVERY = 20


async def ask_live(desk: Desk, job: BatchJob, concurrency: int) -> BatchJob:
    """Ask every open line of `job`, `concurrency` at a time; returns it as noted.

    Each answer is stored as it comes: whoever is interrupted goes on where it ended. Raises BudgetError where the
    budget leaves no room for a line; those that are asked by then are stored.
    """
    shared, adapters = Shared(desk.services), Adapters(lasting=True)
    asking = Asking(desk.services, shared, adapters.get)
    if desk.call(job).vendor.one_at_a_time:
        concurrency = 1
    waiting, done = desk.lines.waiting(job.number), desk.lines.counts(job.number)
    over = _Over(desk, job, done.answered + done.failed)
    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(concurrency):
                tasks.create_task(_keep_asking(desk, job, waiting, asking, over))
    except* BudgetError as group:
        raise group.exceptions[0] from None
    finally:
        await adapters.aclose()
        await shared.aclose()
    return desk.put(job._replace(state="stored", outcome="completed", ended_at=desk.services.wall(), done=over.count))


class _Over:
    """How many lines are over."""

    def __init__(self, desk: Desk, job: BatchJob, count: int) -> None:
        self.desk, self.job, self.count = desk, job, count

    def one_more(self) -> None:
        self.count += 1
        if self.count % _TOLD_EVERY == 0:
            self.desk.watcher.changed(self.job._replace(done=self.count))


async def _keep_asking(
    desk: Desk, job: BatchJob, waiting: Iterator[tuple[int, str]], asking: Asking, over: _Over
) -> None:
    for number, body in waiting:  # the tasks take turns on one iterator
        found = await _asked(desk, job, number, body, asking)
        desk.at("asked a line")
        desk.lines.settle(job.number, [found])
        desk.at("stored what came of a line")
        over.one_more()


async def _asked(desk: Desk, job: BatchJob, number: int, body: str, asking: Asking) -> Settled:
    try:
        call = _call(desk, job, json.loads(body))
        call = call._replace(command=desk.batch.command, profile=desk.batch.profile)
        response = await collect(answer(Route((call,)), asking))
    except BudgetError:
        raise
    except LLMSwitchError as error:
        return Settled(number, error=error_text(error))
    return Settled(number, encode(response.original or response), cached=response.cached)


def _call(desk: Desk, job: BatchJob, told: Mapping[str, Any]) -> Call:
    """What a line's body says is asked. Raises ConfigError."""
    messages = tuple(Message(role, text) for role, text in told["messages"])
    known = desk.calls.get(job.target)
    if known is not None:
        return asked_of(known, messages, told["system"], stream=True)
    parameters = {**told["parameters"]}
    if "stop" in parameters:
        parameters["stop"] = tuple(parameters["stop"])
    question = Question(
        messages,
        system=told["system"],
        model=job.request_model,
        parameters=Parameters(**parameters),
        stream=True,
        restarts=True,
        bounded=desk.services.policy.budgeted,
    )
    return settle(desk.settings, parse_target(job.target), question)
