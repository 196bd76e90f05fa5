"""Taking a suite's samples: every case of every target, each on disk before it counts.

A run can be ended at any moment and resumed: what is on disk is never asked again, and every figure is worked out
from what is on disk.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from statistics import median
from typing import Any, NamedTuple, Protocol

from llmswitch.errors import ERRORS_BY_KIND, BudgetError, ConfigError, LLMSwitchError, ProviderError
from llmswitch.runs.adapters import Adapters
from llmswitch.runs.ask import Asking, Services
from llmswitch.runs.bench.client import Pace, Watch
from llmswitch.runs.bench.document import ClientDocument
from llmswitch.runs.bench.folder import RunFolder
from llmswitch.runs.bench.grading import Graders, Grading
from llmswitch.runs.bench.marking import Marking
from llmswitch.runs.bench.model import Options, SampleRow
from llmswitch.runs.bench.plan import Planned, arrivals, blocks, key_of
from llmswitch.runs.bench.room import Room
from llmswitch.runs.bench.samples import answered_row, blank_row, failed_row
from llmswitch.runs.bench.targets import BenchTarget, asked
from llmswitch.runs.compare import connected
from llmswitch.runs.rehearsal import rehearse
from llmswitch.runs.route import Route
from llmswitch.runs.shared import Shared
from llmswitch.suites.model import Suite

__all__ = ["Bench", "Outcome", "Watcher", "leaf_errors", "run_bench"]

#: samples under way or waiting for their grade, before no more are asked
_MOST_OPEN = 2000
#: so many failures from the first on, without one answer, and a target is asked no more
_HOPELESS = 20
#: how long rows of the ledger are kept back, in seconds: each written at once would be on the loop that measures
_GATHER_S = 0.5
#: the longest that another thread may keep the interpreter from the loop, in seconds
_SWITCH_S = 0.0005
#: seconds between two looks at whether the last answers have come
_LOOK_S = 0.05
#: a lag that no answer is short enough to be told apart from, in seconds, and a share of a processor that leaves none
_LATE_S, _BUSY = 0.005, 0.9
#: a share of a processor up to which asking was limited by something else
_SPARE = 0.3


class Watcher(Protocol):
    """Who watches a run, called on the event loop. Each call must return at once."""

    def began(self, done: int) -> None:
        """Samples are taken from now on; `done` are on disk already."""
        ...

    def counted(self, row: SampleRow) -> None:
        """One more sample is on disk."""
        ...

    def told(self, line: str) -> None:
        """What the run is doing while nothing is counted, in a line."""
        ...


class Bench(NamedTuple):
    """A run to make, settled: nothing is left that could be wrong with it."""

    folder: RunFolder
    suite: Suite
    targets: tuple[BenchTarget, ...]
    options: Options
    grading: Grading

    @property
    def labels(self) -> tuple[str, ...]:
        """The targets as they are called."""
        return tuple(target.label for target in self.targets)


class Outcome(NamedTuple):
    """How a sitting ended: all of it was measured, Ctrl-C ended it, or `error` did (a budget, a full disk).

    `measured_s` are the seconds during which requests were offered, those of earlier sittings included.
    """

    client: ClientDocument
    measured_s: float
    warmup: Mapping[str, Any]
    interrupted: bool = False
    error: LLMSwitchError | None = None

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be asked."""
        return not self.interrupted and self.error is None


class _Stopped(Exception):  # noqa: N818  # carries an error through a task group, and is none itself
    """What ends the whole run, whichever call it happened to."""

    def __init__(self, error: LLMSwitchError) -> None:
        super().__init__(error.message)
        self.error = error


async def run_bench(bench: Bench, services: Services, watcher: Watcher) -> Outcome:
    """Take every sample that is not on disk yet. Raises ConfigError where an SDK or a model is missing.

    Cancelling this ends it; what was answered by then is on disk.
    """
    shared, adapters = Shared(services, gather_s=_GATHER_S), Adapters(lasting=True)
    asking = Asking(services._replace(cache=None), shared, adapters.get)
    room = Room()
    graders = Graders(bench.grading, Asking(services, shared, adapters.get), room, labels=bench.labels)
    try:
        calls = [*(target.call for target in bench.targets), *bench.grading.judges.values()]
        watcher.told("importing SDKs and warming up")
        await connected(calls, adapters)
        await rehearse(calls)
        sitting = _Sitting(bench, asking, room, graders, watcher)
        with _undisturbed():
            return await sitting.made()
    finally:
        await graders.aclose()
        await adapters.aclose()
        await shared.aclose()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """What would be read as somebody's latency: the collector looking through all that stays, again and again, and a
    thread that writes to the disk keeping the loop's for the five milliseconds that Python lets it."""
    gc.collect()
    gc.freeze()
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
        gc.unfreeze()


class _Sitting:
    """One sitting of a run: from its start, or where an earlier one stopped, to its end, or as far as it gets."""

    def __init__(self, bench: Bench, asking: Asking, room: Room, graders: Graders, watcher: Watcher) -> None:
        self.bench, self.asking, self.room, self.graders, self.watcher = bench, asking, room, graders, watcher
        self.labels = bench.labels
        self.clock = asking.services.clock
        self.watch = Watch(clock=self.clock, cpu=time.thread_time)
        self.pace = Pace(clock=self.clock, cpu=time.thread_time)
        self.marking = Marking(bench.folder, graders)
        load = bench.options.load
        most = [1 if target.call.vendor.one_at_a_time else load.concurrency for target in bench.targets]
        self.slots = [asyncio.Semaphore(count) for count in most]
        self.open = asyncio.Semaphore(_MOST_OPEN)
        #: failures of each target since the run began; None once it answered
        self.failures: list[int | None] = [0] * len(bench.targets)
        self.last_kinds = [ProviderError.kind] * len(bench.targets)
        #: calls whose answer is still to come
        self.arriving = 0
        self.offered = 0
        #: seconds of all calls together: over the time measured, how many were under way
        self.busy_s = 0.0
        #: the last durations, to hold the loop's lag against
        self.durations: deque[float] = deque(maxlen=1000)
        self.warmup = {"samples": 0, "errors": 0}
        self.before_s = self.began = 0.0
        #: when the last answer came; None until then
        self.ended: float | None = None
        #: what no more is asked for, while what is under way and paid for comes to its end
        self.over_budget: BudgetError | None = None

    async def made(self) -> Outcome:
        """The whole sitting."""
        interrupted, error = False, None
        await asyncio.to_thread(self.marking.recall, self._saw)
        try:
            await self._warm_up()
            self.watcher.began(len(self.marking.done))
            self.began = self.clock()
            self.watch.start()
            error = await self._taken()
        except asyncio.CancelledError:
            interrupted = True
        except LLMSwitchError as failed:  # a budget, while warming up
            error = failed
        finally:
            await self.watch.stop()
            await self.marking.aclose()
        outcome = Outcome(self.client(), self._measured_s(), dict(self.warmup), interrupted, error)
        if outcome.complete:
            self.marking.tidy()
        return outcome

    async def _taken(self) -> LLMSwitchError | None:
        """Every sample that is left, or what ended the run before that."""
        errors: list[LLMSwitchError] = []
        offer = self._open_loop if self.bench.options.load.rate is not None else self._closed_loop
        try:
            async with asyncio.TaskGroup() as group:
                try:
                    await offer(group)
                except LLMSwitchError as error:  # a suite's file was changed for the worse meanwhile
                    raise _Stopped(error) from error
                while self.arriving:  # noqa: ASYNC110  # each ends in a task of its own
                    await asyncio.sleep(_LOOK_S)
                self.ended = self.clock()
                await self.watch.stop()  # judges take their time: that is no vendor's, and no load
                self.graders.no_more()
        except* _Stopped as stopped:
            errors += [one.error for one in leaf_errors(stopped)]
        return errors[0] if errors else self.over_budget

    def _saw(self, row: SampleRow) -> None:
        """Take a row of an earlier sitting into account."""
        self.before_s = max(self.before_s, (row.at_s or 0.0) + (row.duration_s or 0.0))
        if row.target in self.labels:
            self._judge_health(self.labels.index(row.target), row)

    def _judge_health(self, target: int, row: SampleRow) -> None:
        seen = self.failures[target]
        self.failures[target] = None if row.answered or seen is None else seen + 1
        if row.error is not None and row.error["kind"] in ERRORS_BY_KIND:
            self.last_kinds[target] = row.error["kind"]

    async def _warm_up(self) -> None:
        """Calls that count for nothing but connections and whatever the vendor has to warm up."""
        options = self.bench.options
        if not options.warmup or not self._is_any_left():
            return
        self.watcher.told(f"warming up: {options.warmup} calls to each target")
        endless = blocks(self.bench.suite, self.labels, repeats=None, seed=options.seed)
        for block in itertools.islice(endless, options.warmup):
            rows = await asyncio.gather(*(self._ask(planned, self.clock()) for planned in block.calls()))
            self.warmup["samples"] += len(rows)
            self.warmup["errors"] += sum(row.error is not None for row in rows)

    def _is_any_left(self) -> bool:
        """Whether anything is still to be asked."""
        options = self.bench.options
        if options.load.rate is not None:
            return self.before_s < (options.load.duration_s or 0.0)
        planned = blocks(self.bench.suite, self.labels, repeats=options.repeats, seed=options.seed)
        keys = (key_of(call, self.labels) for block in planned for call in block.calls())
        done, left = self.marking.done, self.marking.left
        return any(hash(key) not in done and key not in left for key in keys)

    async def _closed_loop(self, group: asyncio.TaskGroup) -> None:
        """At most so many calls to each target at a time. Who is slow holds up the rest: a block's calls must stay
        close together, or what drifts in the meantime would tell between targets."""
        options = self.bench.options
        for block in blocks(self.bench.suite, self.labels, repeats=options.repeats, seed=options.seed):
            for planned in block.calls():
                if self._is_done(planned):
                    continue
                await self.open.acquire()
                if key_of(planned, self.labels) not in self.marking.left:
                    await self.slots[planned.target].acquire()
                    if options.load.paced:
                        await self.pace.turn()
                if self.over_budget is not None:
                    return
                self.arriving += 1
                group.create_task(self._one(planned, None, self.slots[planned.target]))
            await asyncio.sleep(0)  # a suite of which all is on disk would hold up Ctrl-C

    async def _open_loop(self, group: asyncio.TaskGroup) -> None:
        """A request whenever one is due. Where this machine cannot keep up, all that follow are due later: what was
        really offered is recorded, and no latency counts from a moment at which nothing could be sent."""
        options, late_s = self.bench.options, 0.0
        plans = [self._endless(target) for target in range(len(self.labels))]
        for at_s, target in arrivals(options.load, len(self.labels), options.seed):
            due = self.began + at_s + late_s
            if self.before_s + due - self.began >= (options.load.duration_s or 0.0):
                return
            planned = next(plans[target])
            if planned is None:
                continue
            await asyncio.sleep(max(0.0, due - self.clock()))
            ready = self.clock()
            await self.open.acquire()
            if options.load.paced:
                await self.pace.turn()
            held_s = self.clock() - ready
            late_s, due = late_s + held_s, due + held_s
            if self.over_budget is not None:
                return
            self.arriving += 1
            group.create_task(self._one(planned, due, None))

    def _endless(self, target: int) -> Iterator[Planned | None]:
        """One target's calls, again and again, without those on disk; None where no case is for it."""
        options = self.bench.options
        for block in blocks(self.bench.suite, self.labels, repeats=None, seed=options.seed):
            found = [planned for planned in block.calls() if planned.target == target]
            if not found:
                yield None
            for planned in found:
                if not self._is_done(planned):
                    yield planned

    def _is_done(self, planned: Planned) -> bool:
        return self.marking.is_done(planned.case, key_of(planned, self.labels))

    async def _one(self, planned: Planned, due: float | None, slot: asyncio.Semaphore | None) -> None:
        """One sample, from asking to its row on disk."""
        try:
            row = self.marking.left.pop(key_of(planned, self.labels), None)
            known = row is not None
            try:
                row = row or await self._asked(planned, due, slot)
                self.graders.arrived(planned.case, row)
            finally:
                self.arriving -= 1
            row = await self.marking.marked(planned.case, row, known=known)
        except BudgetError as error:
            self.over_budget = self.over_budget or error
            self.watcher.told(f"the budget is used up: waiting for {self.arriving} answers that are under way")
            return
        except LLMSwitchError as error:
            raise _Stopped(error) from error
        finally:
            self.open.release()
        self.watcher.counted(row)

    async def _asked(self, planned: Planned, due: float | None, slot: asyncio.Semaphore | None) -> SampleRow:
        """The sample's row, not graded yet; it gives its slot back."""
        started = self.clock()
        self.offered += 1
        try:
            row = await self._ask(planned, started)
        finally:
            ended = self.clock()
            self.busy_s += ended - started
            if slot is not None:
                slot.release()
            self.pace.ended()
        self._judge_health(planned.target, row)
        if row.answered:
            self.durations.append(ended - started)
        late = None if due is None or row.duration_s is None or not row.answered else started - due + row.duration_s
        return replace(row, at_s=self.before_s + (due or started) - self.began, scheduled_latency_s=late)

    async def _ask(self, planned: Planned, started: float) -> SampleRow:
        """Ask, and wait for the whole answer. Raises what ends the run: a budget, a setting that is wrong."""
        target = self.bench.targets[planned.target]
        row = blank_row(planned, target.label)
        failures = self.failures[planned.target]
        if failures is not None and failures >= _HOPELESS:
            told = f"not asked: the first {_HOPELESS} calls to {target.label} all failed."
            return failed_row(row, ERRORS_BY_KIND[self.last_kinds[planned.target]](told), 0.0)
        try:
            response = await self.room.ask(Route((asked(target.call, planned.case),)), self.asking)
        except (BudgetError, ConfigError):
            raise
        except LLMSwitchError as error:
            return failed_row(row, error, self.clock() - started)
        return answered_row(row, response)

    def _measured_s(self) -> float:
        return self.before_s + ((self.ended or self.clock()) - self.began if self.began else 0.0)

    def client(self) -> ClientDocument:
        """How this machine did, in this sitting. It was the bottleneck where its loop came late by over a twentieth of
        what an answer took, or where it had next to no time to spare."""
        elapsed = self.watch.watched_s
        lag, cpu = self.watch.lag(0.99), self.watch.cpu_fraction
        usual = median(self.durations) if self.durations else 0.0
        late = lag is not None and lag > max(_LATE_S, 0.05 * usual)
        return ClientDocument(
            loop_lag_p99_s=lag,
            cpu_fraction=cpu,
            saturated=late or (cpu or 0.0) > _BUSY,
            offered_rps=self.offered / elapsed if elapsed else None,
            asked_rps=None if (rate := self.bench.options.load.rate) is None else rate * len(self.labels),
            # spacing calls that have time holds up nobody
            paced=elapsed > 0 and self.pace.slowed_s > 0.05 * elapsed and (cpu or 0.0) > _SPARE,
            in_flight=self.busy_s / elapsed if elapsed else None,
        )


def leaf_errors(group: BaseExceptionGroup[Any]) -> Iterator[Any]:
    """What a task group raised, out of its groups."""
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from leaf_errors(one)
        else:
            yield one
