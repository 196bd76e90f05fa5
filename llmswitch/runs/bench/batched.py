"""A run whose samples are asked as a batch: what is handed in, and how answers that came back are graded.

No clock measures anything here. What a batch brings home is with its lines until it is graded, so that a sitting that
is cut off loses nothing: see runs/batch.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from llmswitch.answers import decode
from llmswitch.assertions.grade import leaves
from llmswitch.batchlines import Outcome
from llmswitch.errors import BudgetError, LLMSwitchError, StorageError
from llmswitch.runs.adapters import Adapters
from llmswitch.runs.ask import Asking, Services
from llmswitch.runs.batch.inputs import Row
from llmswitch.runs.bench.document import unmeasured
from llmswitch.runs.bench.folder import RunFolder
from llmswitch.runs.bench.grading import Graders
from llmswitch.runs.bench.marking import Marking
from llmswitch.runs.bench.model import Options, SampleRow
from llmswitch.runs.bench.plan import Planned, blocks, key_of
from llmswitch.runs.bench.room import Room
from llmswitch.runs.bench.rows import read_rows
from llmswitch.runs.bench.run import Bench, Watcher, leaf_errors
from llmswitch.runs.bench.run import Outcome as Ending
from llmswitch.runs.bench.samples import answered_row, blank_row
from llmswitch.runs.bench.targets import BenchTarget
from llmswitch.runs.call import Call
from llmswitch.runs.shared import Shared
from llmswitch.suites.model import Suite

__all__ = ["TIMED", "Samples", "calls_of", "grade_batch", "questions", "timed_places"]

#: samples waiting for their grade, before no more are read
_MOST_OPEN = 2000
#: types of assertions that need a time
TIMED = frozenset({"latency"})


class Samples(NamedTuple):
    """What decides the samples of a run."""

    suite: Suite
    targets: tuple[BenchTarget, ...]
    options: Options

    def planned(self) -> Iterator[Planned]:
        """Every sample, in the order in which it is asked."""
        options, labels = self.options, [target.label for target in self.targets]
        for block in blocks(self.suite, labels, repeats=options.repeats, seed=options.seed):
            yield from block.calls()


def calls_of(targets: Iterable[BenchTarget]) -> dict[str, Call]:
    """Whom lines go to, by the target's label."""
    return {target.label: target.call for target in targets}


def questions(samples: Samples, folder: RunFolder) -> Iterator[Row]:
    """A line for each sample that is not on disk yet, in the run's own order; its id tells case and repeat."""
    done = {hash(row.key) for path in (folder.samples, folder.pending) for row in read_rows(path)}
    labels = [target.label for target in samples.targets]
    for number, planned in enumerate(samples.planned(), start=1):
        key = key_of(planned, labels)
        if hash(key) not in done:
            case = planned.case
            yield Row(
                number, case.prompt, system=case.system, id=_line_id(planned), target=key[1], messages=case.messages
            )


def _line_id(planned: Planned) -> str:
    return f"{planned.case.id}#{planned.repeat}"


def timed_places(suite: Suite) -> list[str]:
    """Where the suite asserts a time, which a batch does not tell: `latency (suite.yaml:7:9)`."""
    found = (leaf for case in suite.cases() for leaf in leaves(case.assertions) if leaf.type in TIMED)
    return list(dict.fromkeys(leaf.name + (f" ({leaf.place})" if leaf.place else "") for leaf in found))


async def grade_batch(lines: Iterator[Outcome], bench: Bench, services: Services, watcher: Watcher) -> Ending:
    """Grade every answer of a batch that is home, and write its row, unless it is on disk already.

    Cancelling this ends it; what was graded by then is on disk. Raises StorageError where `lines` lack a sample.
    """
    shared, adapters = Shared(services), Adapters(lasting=True)
    asking = Asking(services, shared, adapters.get)
    graders = Graders(bench.grading, asking, Room(), labels=bench.labels)
    try:
        return await _Sitting(bench, lines, graders, watcher).made()
    finally:
        await graders.aclose()
        await adapters.aclose()
        await shared.aclose()


class _Sitting:
    """One sitting of grading: from the first sample that is not on disk to the last, or as far as it gets."""

    def __init__(self, bench: Bench, lines: Iterator[Outcome], graders: Graders, watcher: Watcher) -> None:
        self.bench, self.lines, self.graders, self.watcher = bench, lines, graders, watcher
        self.every = Samples(bench.suite, bench.targets, bench.options)
        self.marking = Marking(bench.folder, graders)
        self.open = asyncio.Semaphore(_MOST_OPEN)
        self.over_budget: BudgetError | None = None

    async def made(self) -> Ending:
        """The whole sitting."""
        interrupted, error = False, None
        try:
            await asyncio.to_thread(self.marking.recall, lambda row: None)
            self.watcher.began(len(self.marking.done))
            error = await self._graded()
        except asyncio.CancelledError:
            interrupted = True
        finally:
            await self.marking.aclose()
        ending = Ending(unmeasured(), 0.0, {"samples": 0, "errors": 0}, interrupted, error)
        if ending.complete:
            self.marking.tidy()
        return ending

    async def _graded(self) -> LLMSwitchError | None:
        """Every sample that is left, or what ended it before that."""
        errors: list[LLMSwitchError] = []
        try:
            async with asyncio.TaskGroup() as group:
                for planned, row, known in self._rows():
                    await self.open.acquire()
                    if self.over_budget is not None:
                        break
                    self.graders.arrived(planned.case, row)
                    group.create_task(self._one(planned, row, known=known))
                self.graders.no_more()
        except* LLMSwitchError as failed:
            errors += leaf_errors(failed)
        return errors[0] if errors else self.over_budget

    async def _one(self, planned: Planned, row: SampleRow, *, known: bool) -> None:
        try:
            row = await self.marking.marked(planned.case, row, known=known)
        except BudgetError as error:
            self.over_budget = self.over_budget or error
            return
        finally:
            self.open.release()
        self.watcher.counted(row)

    def _rows(self) -> Iterator[tuple[Planned, SampleRow, bool]]:
        """Each sample that is not on disk, its row not graded yet, and whether its answer is on disk among those that
        wait. Lines and plan are in one order; a batch of a resumed run may lack what had been asked before."""
        labels, line = self.bench.labels, next(self.lines, None)
        for planned in self.every.planned():
            key, found = key_of(planned, labels), None
            if line is not None and (line.id, line.target) == (_line_id(planned), key[1]):
                found, line = line, next(self.lines, None)
            if self.marking.is_done(planned.case, key):
                continue
            left = self.marking.left.pop(key, None)
            if left is not None:
                yield planned, left, True
            elif found is not None:
                yield planned, _row(planned, found), False
            else:
                raise StorageError(f"the batch of run {self.bench.folder.id} does not hold sample {'/'.join(key[:2])}.")


def _row(planned: Planned, line: Outcome) -> SampleRow:
    """A line's row, not graded yet: as that of a live answer, without any time."""
    row = replace(blank_row(planned, line.target), batch=True)
    if line.answer is None:
        error: Mapping[str, object] = json.loads(line.error or "{}")
        # a vendor that says a status was asked; a line that nobody came to was not
        return replace(row, error=error, requests=int(error.get("status") is not None))
    response = decode(line.answer)
    untimed = replace(
        answered_row(row, response),
        time_to_first_token_s=None,
        itl_s=None,
        output_tokens_per_s=None,
        duration_s=None,
    )
    return replace(untimed, requests=max(1, len(response.attempts)))
