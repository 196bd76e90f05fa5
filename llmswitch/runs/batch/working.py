"""Taking a batch as far as it goes now: what is to be sent is sent, what has ended is brought home."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from llmswitch.batches import BatchJob
from llmswitch.budget import BudgetLimits
from llmswitch.errors import (
    AuthenticationError,
    BudgetError,
    CallInterruptedError,
    LLMSwitchError,
    MalformedError,
    NotFoundError,
    TruncatedError,
)
from llmswitch.layers.retry import can_succeed
from llmswitch.runs.batch.again import Smaller, deal_again, give_up, tidy
from llmswitch.runs.batch.desk import Desk
from llmswitch.runs.batch.fetching import fetch, look, record
from llmswitch.runs.batch.live import ask_live
from llmswitch.runs.batch.sending import error_text, found_again, send

__all__ = ["Pace", "advance", "cancel", "look_around", "send_again", "send_all"]

#: what of a job is nowhere, as far as its vendor says
_GONE = (NotFoundError, TruncatedError, MalformedError)


class Pace(NamedTuple):
    """How work goes on: lines that are asked at once where there is no batch, and seconds between two looks at the
    vendors: `first`, then longer and longer up to `most`."""

    concurrency: int = 8
    first_s: float = 2.0
    most_s: float = 120.0


#: each wait is longer than the last, and up to so much off its mark: many who wait do not ask at once
_GROWTH, _JITTER = 1.6, 0.2


async def send_all(desk: Desk, pace: Pace) -> list[LLMSwitchError]:
    """Send what was not sent yet, and ask what is asked one by one; returns what kept jobs from it."""
    tidy(desk)
    problems: list[LLMSwitchError] = []
    refused: set[str] = set()
    unsure: set[str] = set()
    for job in desk.jobs():
        if job.state not in ("prepared", "sending") or job.account in refused or job.provider in unsure:
            continue
        try:
            await (ask_live(desk, job, pace.concurrency) if job.way == "live" else send(desk, job))
        except LLMSwitchError as error:
            problems.append(error)
            if isinstance(error, AuthenticationError | BudgetError):  # the others would hear the same
                refused.add(job.account)
            elif _may_be_there(desk, job):
                unsure.add(job.provider)
    return problems


def _may_be_there(desk: Desk, job: BatchJob) -> bool:
    """Whether `job` may be at its vendor, which did not say. Where nothing but time and size tell jobs apart, a second
    one like it would be taken for it."""
    return any(now.state == "sending" and now.way == "batch" for now in desk.jobs() if now.number == job.number)


async def look_around(desk: Desk) -> list[LLMSwitchError]:
    """Ask the vendors how every job is that they have; returns what kept them from saying."""
    return [*(await _each(desk, ("sent",))).values()]


async def advance(desk: Desk, pace: Pace, *, wait: bool) -> list[LLMSwitchError]:
    """Send what is not sent, bring home what has ended and, to `wait`, go on until all of it has.

    Returns what was in the way the last time round: those jobs are as they were, for the next one who comes.
    """
    delay = pace.first_s
    told: set[str] = set()
    while True:
        problems = await send_all(desk, pace)
        found = await _each(desk, ("sent", "ended", "stored"))
        problems += found.values()
        under_way = any(job.state == "sent" and _passes(found.get(job.number)) for job in desk.jobs())
        if not wait or not (under_way or any(map(_passes, problems))):
            return problems
        for message in dict.fromkeys(problem.message for problem in problems if problem.message not in told):
            told.add(message)
            desk.watcher.told(f"{message} It is tried again.")
        await desk.sleep(delay * (1 - _JITTER + 2 * _JITTER * desk.random()))
        delay = min(pace.most_s, delay * _GROWTH)


async def send_again(
    desk: Desk, limits: BudgetLimits | None, smaller: Smaller, pace: Pace
) -> tuple[list[BatchJob], list[LLMSwitchError]]:
    """Send once more what failed or expired, and nothing that can be had: returns the jobs of it, and what was in the
    way. Raises BudgetError where they do not all fit.

    A job that its vendor does not know, or whose results do not hold all of its lines, is given up.
    """
    tidy(desk)
    found = await _each(desk, ("sent", "ended", "stored"))
    for job in desk.jobs():
        if isinstance(found.get(job.number), _GONE):
            del found[job.number]
            await asyncio.to_thread(give_up, desk, job)
    jobs = deal_again(desk, limits, smaller)
    again = f"{sum(job.lines for job in jobs):,} lines are sent once more, in {_count(jobs)}"
    desk.watcher.told(f"{desk.batch.id}: {again if jobs else 'no line failed, and none is sent once more'}")
    return jobs, [*found.values(), *(await send_all(desk, pace))]


def _count(jobs: Sequence[BatchJob]) -> str:
    return f"{len(jobs):,} job{'s' if len(jobs) != 1 else ''}"


def _passes(problem: LLMSwitchError | None) -> bool:
    """Whether it may be gone by the next look: a vendor that is down is waited for, a file that breaks off is not."""
    return problem is None or (can_succeed(problem) and not isinstance(problem, _GONE))


async def _each(desk: Desk, states: Sequence[str]) -> dict[int, LLMSwitchError]:
    """What was in the way, by the numbers of the jobs."""
    problems: dict[int, LLMSwitchError] = {}
    for job in desk.jobs():
        if job.state not in states:
            continue
        try:
            await _onwards(desk, job, states)
        except LLMSwitchError as error:
            problems[job.number] = error
    return problems


async def _onwards(desk: Desk, job: BatchJob, states: Sequence[str]) -> None:
    """One job, through as many of `states` as it can go now."""
    if job.state == "sent":
        job = await look(desk, job)
    if job.state == "ended" and "ended" in states:
        job = await fetch(desk, job)
    if job.state == "stored" and "stored" in states:
        # SQLite's waits are no event loop's business
        await asyncio.to_thread(record, desk, job)


async def cancel(desk: Desk) -> list[LLMSwitchError]:
    """Have every job ended that has not: what was answered by then stays, and is paid for; returns what was in the way.

    What was not sent yet never is.
    """
    tidy(desk)
    problems: list[LLMSwitchError] = []
    for job in desk.jobs():
        try:
            await _cancel(desk, job)
        except LLMSwitchError as error:
            problems.append(error)
    return problems


async def _cancel(desk: Desk, job: BatchJob) -> None:
    if job.state == "sending" and job.way == "batch":  # it may be there: whoever is to cancel it must know its name
        job = await found_again(desk, job) or job
    if job.state in ("prepared", "sending"):
        never = CallInterruptedError(
            "the batch was cancelled before this line was sent.", provider=job.provider, request_model=job.request_model
        )
        desk.lines.fail_open(job.number, error_text(never))
        desk.at("stored that it is never sent")
        job = desk.put(job._replace(state="stored", outcome="cancelled"))
        await asyncio.to_thread(record, desk, job)
    elif job.state == "sent":
        batcher, vendor_id = desk.batcher(job), job.vendor_id or ""
        with suppress(NotFoundError):  # looking at it finds out, too
            await desk.tried(lambda attempt: batcher.cancel(vendor_id), f"cancelling {job.id}")
        desk.at("asked for its end")
        try:
            await look(desk, job)
        except NotFoundError:  # whoever ends it waits for nothing more
            await asyncio.to_thread(give_up, desk, job)
