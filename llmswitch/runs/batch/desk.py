"""Where one batch is worked on: its jobs, its lines, the vendors' batch calls, and what is told of it meanwhile."""

from __future__ import annotations

import asyncio
import random as system_random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from llmswitch.batches import Batch, Batches, BatchJob
from llmswitch.batchlines import Lines
from llmswitch.errors import BudgetError, CallTimeoutError, LLMSwitchError
from llmswitch.layers.retry import Backoff, can_succeed
from llmswitch.profiles import Settings
from llmswitch.providers.batching import Batcher
from llmswitch.runs.ask import Services
from llmswitch.runs.batch.folder import LINES
from llmswitch.runs.batch.plan import Calls, settled_again
from llmswitch.runs.batch.submit import limits_of
from llmswitch.runs.call import Call

__all__ = ["STEPS", "Desk", "Watcher"]

T = TypeVar("T")

#: every step after which a process may end and another goes on, in the order of a batch's life; tests end one at each
STEPS = (
    "prepared its lines",
    "gave it its folder",
    "the ledger knows it",
    "noted that it is being sent",
    "wrote what is sent",
    "the vendor has it",
    "noted that it is sent",
    "stored that it was refused",
    "asked a line",
    "stored what came of a line",
    "looked at it",
    "noted how it is",
    "stored some answers",
    "stored its answers",
    "noted that they are stored",
    "put some on record",
    "put it on record",
    "gave up what is missing",
    "noted jobs for what failed",
    "gave it its lines",
    "stored that it is never sent",
    "asked for its end",
    "wrote the rows",
    "gave the rows their name",
)


class Watcher(Protocol):
    """Whoever looks on."""

    def told(self, line: str) -> None:
        """A line for people: what is being done, or what was found."""
        ...

    def changed(self, job: BatchJob) -> None:
        """A job is further than it was."""
        ...


class Desk:
    """One batch, for one process and one event loop.

    `folder` is the batch's own. `at` is called with the name of each of `STEPS` that was just done, for whoever wants
    to know what a process that ends there leaves behind. `calls` are of those targets that are settled already.
    `settling_s` is how long a vendor may take to list a job that was just made. Used as an async context manager;
    leaving it releases every socket and file.
    """

    def __init__(
        self,
        batch: Batch,
        folder: Path,
        settings: Settings,
        services: Services,
        watcher: Watcher,
        *,
        calls: Calls | None = None,
        at: Callable[[str], None] = lambda step: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] | None = None,
        settling_s: float = 15.0,
    ) -> None:
        self.batch, self.folder, self.settings, self.services, self.watcher = batch, folder, settings, services, watcher
        self.calls: Calls = calls or {}
        self.at, self.sleep, self.settling_s = at, sleep, settling_s
        self.random = random or system_random.SystemRandom().random
        self.store = Batches(services.ledger.path, services.wall)
        self.lines = Lines(folder / LINES, batch.lines)
        self._calls: dict[int, Call] = {}
        self._batchers: dict[object, Batcher] = {}
        self._open = AsyncExitStack()

    def jobs(self) -> list[BatchJob]:
        """The batch's jobs as they are noted."""
        return self.store.jobs(self.batch.id)

    def put(self, job: BatchJob) -> BatchJob:
        """Note how far `job` is, and say so."""
        self.store.put(job)
        self.watcher.changed(job)
        return job

    def check_bound(self, job: BatchJob) -> None:
        """BudgetError where a budget is to hold what `job` costs and nobody knows how much that is at most, as where it
        was submitted without a budget, its answers uncapped."""
        policy = self.services.policy
        if job.way == "batch" and job.bound is None and policy.budgeted and not policy.allow_unknown_price:
            raise BudgetError(
                f"what lines of {self.batch.id} may cost at {job.target} is unknown, and a budget is set: they were "
                "not sent. Submit them anew under the budget, or send them all the same with --allow-unknown-price.",
                provider=job.provider,
                request_model=job.request_model,
            )

    def hold(self, job: BatchJob) -> BatchJob:
        """`job` with what a budget holds of it that was set since it was made. Raises BudgetError."""
        if job.reservation is not None:
            return job
        self.check_bound(job)
        return self.store.add_jobs(self.batch, [job], limits_of(self.services))[0]

    def call(self, job: BatchJob) -> Call:
        """A call of the job's target; ConfigError where the settings lead elsewhere now."""
        if job.number not in self._calls:
            self._calls[job.number] = settled_again(self.settings, job, self.calls)
        return self._calls[job.number]

    def batcher(self, job: BatchJob) -> Batcher:
        """The vendor's batch calls; imports its SDK. Raises ConfigError."""
        call = self.call(job)
        assert call.vendor.batch is not None  # noqa: S101  # the job was made for one
        if call.endpoint not in self._batchers:
            batcher = call.vendor.batch.connect(call.endpoint)
            self._open.push_async_callback(batcher.aclose)
            self._batchers[call.endpoint] = batcher
        return self._batchers[call.endpoint]

    async def tried(self, step: Callable[[int], Awaitable[T]], what: str) -> T:
        """`step`, again where it can succeed then; it is given the number of the attempt, from 1. Raises its error."""
        from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

        limit = self.services.deadlines.total_s

        def tells(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome is not None else None
            kind = error.kind.replace("_", " ") if isinstance(error, LLMSwitchError) else "failed"
            self.watcher.told(f"{what}: {kind}; again in {state.upcoming_sleep:.0f} s")

        async for attempt in AsyncRetrying(
            retry=retry_if_exception(can_succeed),
            wait=Backoff(self.random),
            stop=stop_after_attempt(self.services.policy.retries + 1),
            before_sleep=tells,
            sleep=self.sleep,
            reraise=True,
        ):
            with attempt:
                try:
                    async with asyncio.timeout(limit):
                        return await step(attempt.retry_state.attempt_number)
                except TimeoutError as error:
                    raise CallTimeoutError(
                        f"{what}: no answer within {limit:g} s; {self.services.deadlines.named} gives it more."
                    ) from error
        raise AssertionError("tenacity ends by returning or raising")

    async def __aenter__(self) -> Self:
        for job in self.jobs():  # how far it is, is told of the whole
            self.watcher.changed(job)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lines.close()
        if self.services.cache is not None:
            self.services.cache.close()
        await self._open.aclose()
