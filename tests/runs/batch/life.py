"""A batch's whole life through the run functions, in processes that end at a step of it, and others that go on."""

from __future__ import annotations

import asyncio
import itertools
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from llmswitch.answers import decode
from llmswitch.batches import Batch, Batches, BatchJob
from llmswitch.batchlines import Lines
from llmswitch.errors import LLMSwitchError
from llmswitch.paths import Paths
from llmswitch.profiles import Settings, load_settings
from llmswitch.runs.ask import Services
from llmswitch.runs.batch import fetching
from llmswitch.runs.batch.again import Smaller
from llmswitch.runs.batch.desk import Desk
from llmswitch.runs.batch.folder import LINES, Folders
from llmswitch.runs.batch.inputs import Row
from llmswitch.runs.batch.output import written
from llmswitch.runs.batch.plan import Plan
from llmswitch.runs.batch.prepare import Order
from llmswitch.runs.batch.submit import drafted, keep, limits_of
from llmswitch.runs.batch.working import Pace, advance, cancel, send_again, send_all

__all__ = ["Life", "folders_of", "lines_of", "lived", "services_of", "settings_of", "submitted"]

PACE = Pace(concurrency=1, first_s=0.01, most_s=0.05)
#: modules that every life imports, once for all of them
_PRELOADED = ["tests.runs.batch.life", "tests.runs.batch.vendors_sdks"]


class Life(NamedTuple):
    """What is lived: `prompts` to `target`, so many a job, or asked one by one where it is `live`; cancelled where it
    `ends_early` (`sends`: after it was sent), else collected and sent once more until nothing fails. `gives_up` takes
    results that are cut off as all there are."""

    home: Path
    environ: Mapping[str, str]
    target: str
    prompts: int = 12
    job_lines: int = 5
    live: bool = False
    ends_early: bool = False
    sends: bool = True
    gives_up: bool = False

    @property
    def output(self) -> Path:
        """Where the rows go."""
        return self.home / "out.jsonl"


class _Nobody:
    def told(self, line: str) -> None: ...

    def changed(self, job: BatchJob) -> None: ...


def services_of(settings: Settings) -> Services:
    """As the command has them."""
    return Services.from_settings(settings, warn=print, clock=time.monotonic, wall=time.time)


def settings_of(life: Life) -> Settings:
    """Of its environment, and of no file."""
    environ = {"LLMSWITCH_HOME": str(life.home), "LLM_MAX_RETRIES": "0", **life.environ}
    return load_settings(cwd=Path("/nonexistent-llmswitch-test"), environ=environ)


def folders_of(life: Life) -> Folders:
    """Where its batches are."""
    return Folders(Paths.from_environment({"LLMSWITCH_HOME": str(life.home)}).batches, time.time)


def lines_of(life: Life, batch: Batch) -> Lines:
    """The batch's questions and answers; the caller closes them."""
    return Lines(folders_of(life).of(batch.id) / LINES)


def submitted(life: Life, at: Callable[[str], None]) -> Batch:
    """The batch of the life's prompts: the one that is noted, or else a new one."""
    settings, folders = settings_of(life), folders_of(life)
    services = services_of(settings)
    plan = Plan((life.target,), "text", job_lines=life.job_lines, live=life.live, bounded=services.policy.budgeted)
    rows = (Row(number, f"question {number}") for number in range(1, life.prompts + 1))
    with drafted(Order(folders.new_id(), plan, settings, services), folders, rows, at=at) as draft:
        before = Batches(services.ledger.path, time.time).same(draft.prepared.fingerprint)
        if before is not None:
            return before
        found = draft.prepared
        batch = Batch(draft.id, time.time(), "batch", None, "life", found.fingerprint, found.lines)
        keep(draft, folders, batch, services, at)
        return batch


async def _worked_on(life: Life, batch: Batch, at: Callable[[str], None]) -> None:
    settings = settings_of(life)
    services, folder = services_of(settings), folders_of(life).of(batch.id)
    async with Desk(batch, folder, settings, services, _Nobody(), at=at, settling_s=0.3) as desk:
        if life.ends_early:
            if life.sends:
                await send_all(desk, PACE)
            _none([*await cancel(desk), *await advance(desk, PACE, wait=True)])
            return
        for _ in range(10):
            problems = await advance(desk, PACE, wait=True)
            if life.gives_up and all(problem.kind == "truncated" for problem in problems):
                problems = []
            _none(problems)
            _none((await send_again(desk, limits_of(services), Smaller(life.job_lines), PACE))[1])
            if all(job.state == "done" for job in desk.jobs()):
                return
    raise AssertionError("it does not come to an end")


def _none(problems: Sequence[LLMSwitchError]) -> None:
    if problems:
        raise problems[0]


def _live(life: Life, step: str, nth: int) -> None:
    """All of it, to the rows on disk; ends at the `nth` time that `step` was done."""
    fetching._MANY, fetching._ROWS = 2, 2
    seen = itertools.count(1)

    def at(done: str) -> None:
        if done == step and next(seen) == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    batch = submitted(life, at)
    with folders_of(life).locked(batch.id):
        asyncio.run(_worked_on(life, batch, at))
    lines = lines_of(life, batch)
    with written(life.output, at) as stream:
        for outcome in lines.outcomes():
            text = None if outcome.answer is None else decode(outcome.answer).text
            kind = None if outcome.error is None else json.loads(outcome.error)["kind"]
            stream.write(json.dumps((outcome.line, text, kind)) + "\n")
    lines.close()


def lived(life: Life, step: str = "", nth: int = 1) -> bool:
    """Live `life` in a process of its own; false where that ended at `step`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    process = context.Process(target=_live, args=(life, step, nth))
    process.start()
    process.join(60)
    code = process.exitcode
    process.kill()
    process.join()
    assert code in (0, -signal.SIGKILL), f"it ended with {code}"
    return code == 0
