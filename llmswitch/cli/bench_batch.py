"""`llmswitch bench --batch`: the samples of a run handed in as a batch, waited for, and found again by the run's id."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import NamedTuple

from llmswitch.batches import Batch
from llmswitch.batchlines import Lines
from llmswitch.batchlines import Outcome as Line
from llmswitch.cli.batch_desk import confirm, folders_of, store_of, tell
from llmswitch.cli.batch_watch import Watch
from llmswitch.cli.bench_setting import Asked, Setting
from llmswitch.cli.shell import Shell
from llmswitch.errors import ConfigError, LLMSwitchError
from llmswitch.reports.batch import expected_lines
from llmswitch.runs.ask import Services
from llmswitch.runs.batch.desk import Desk
from llmswitch.runs.batch.folder import LINES
from llmswitch.runs.batch.plan import BadLinesError, Plan
from llmswitch.runs.batch.prepare import Order
from llmswitch.runs.batch.submit import Expected, drafted, expected, keep
from llmswitch.runs.batch.working import Pace, advance
from llmswitch.runs.bench.batched import Samples, calls_of, questions
from llmswitch.runs.bench.document import unmeasured
from llmswitch.runs.bench.folder import RunFolder
from llmswitch.runs.bench.run import Outcome
from llmswitch.runs.policy import dollars

__all__ = ["Home", "brought_home", "submitted"]

#: whose batch it is, in the ledger's lists
_COMMAND = "bench"


class Home(NamedTuple):
    """Every line of a run's batch with what came of it, and under which `services` it is graded; or how the sitting
    `ended` before all of it was there."""

    lines: Iterator[Line]
    services: Services
    ended: Outcome | None = None


def submitted(shell: Shell, asked: Asked, setting: Setting, folder: RunFolder) -> Batch:
    """Note a batch of every sample that is not on disk, once it may cost what it will. Nothing is sent yet.

    Raises ConfigError where nobody says yes, or a sample cannot be asked by batch, and BudgetError.
    """
    services, folders = _uncached(setting), folders_of(shell)
    limit = None if asked.yes else dollars(asked.confirm_above, "--confirm-above")
    plan = Plan(tuple(target.label for target in setting.targets), "", bounded=services.policy.budgeted)
    order = Order(folders.new_id(), plan, setting.settings, services, calls_of(setting.targets))
    rows = questions(_samples(setting), folder)
    try:
        with Watch(shell) as watch, drafted(order, folders, rows, watch.reading) as draft:
            watch.wipe()
            found = expected(draft.prepared, services)
            for line in expected_lines(found):
                shell.note(line)
            confirm(shell, found, limit)
            _warn(folder, found)
            batch = Batch(
                id=draft.id,
                at=shell.wall(),
                command=_COMMAND,
                profile=setting.profile,
                source=folder.id,
                fingerprint=draft.prepared.fingerprint,
                lines=draft.prepared.lines,
            )
            keep(draft, folders, batch, services)
    except BadLinesError as error:
        why = error.faults[0].replace("line", "sample", 1)
        raise ConfigError(f"not every sample can be asked by batch, and nothing was sent: {why}.") from error
    return batch


def _samples(setting: Setting) -> Samples:
    return Samples(setting.suite, setting.targets, setting.options)


def _uncached(setting: Setting) -> Services:
    """What is measured is a new answer."""
    return setting.services._replace(cache=None)


def _warn(folder: RunFolder, found: list[Expected]) -> None:
    """Have the run say of which targets not all is as of a batch."""
    notes = [one.note for one in found if one.note is not None]
    notes += [
        f"{one.target}: no batch price is known, so its cost is reckoned at the usual one"
        for one in found
        if not one.priced
    ]
    if notes:
        document = folder.read()
        document["warnings"] = list(dict.fromkeys([*document["warnings"], *(f"{note}." for note in notes)]))
        folder.write(document)


@contextmanager
def brought_home(shell: Shell, asked: Asked, setting: Setting, folder: RunFolder) -> Iterator[Home]:
    """The run's batch, as far as it comes: sent where it was not, and waited for. Raises what `submitted` raises."""
    batch = _batch_of(shell, folder)
    if batch is None and any(True for _ in questions(_samples(setting), folder)):
        batch = submitted(shell, asked, setting, folder)
    if batch is None:  # every answer is among the run's own files
        yield Home(iter(()), setting.services)
        return
    path = folders_of(shell).of(batch.id) / LINES
    if not path.exists():
        raise ConfigError(
            f"the questions and answers of {batch.id} are gone: {path.parent} is not there. Put it back, or begin "
            "a new run."
        )
    before = _spent(shell, batch)
    ended = _waited(shell, setting, batch)
    lines = Lines(path)
    try:
        yield Home(lines.outcomes(), _left(setting.services, _spent(shell, batch) - before), ended)
    finally:
        lines.close()


def _batch_of(shell: Shell, folder: RunFolder) -> Batch | None:
    """The batch of this run's samples; None where none was noted."""
    found = [one for one in store_of(shell).all() if (one.command, one.source) == (_COMMAND, folder.id)]
    return found[-1] if found else None


def _spent(shell: Shell, batch: Batch) -> Decimal:
    return sum((job.spent for job in store_of(shell).jobs(batch.id)), Decimal(0))


def _left(services: Services, spent: Decimal) -> Services:
    """What judges may still cost under --max-cost."""
    most = services.policy.max_cost
    if most is None:
        return services
    return services._replace(policy=services.policy._replace(max_cost=max(Decimal(0), most - spent)))


def _waited(shell: Shell, setting: Setting, batch: Batch) -> Outcome | None:
    """Wait until all of the batch is home; how the sitting ended where it is not."""
    if all(job.state == "done" for job in store_of(shell).jobs(batch.id)):
        return None
    folders, pace = folders_of(shell), Pace(concurrency=setting.options.load.concurrency)

    async def home() -> list[LLMSwitchError] | None:
        calls = calls_of(setting.targets)
        try:
            async with Desk(
                batch, folders.of(batch.id), setting.settings, _uncached(setting), watch, calls=calls
            ) as desk:
                return await advance(desk, pace, wait=True)
        except asyncio.CancelledError:
            return None

    shell.note(f"{batch.id}: {batch.lines:,} samples; Ctrl-C leaves them to the vendors, and --resume brings them home")
    with folders.locked(batch.id), Watch(shell) as watch:
        problems = asyncio.run(home())
    if problems is None:
        return _ended(interrupted=True)
    tell(shell, problems[1:])
    return _ended(error=problems[0]) if problems else None


def _ended(*, interrupted: bool = False, error: LLMSwitchError | None = None) -> Outcome:
    return Outcome(unmeasured(), 0.0, {"samples": 0, "errors": 0}, interrupted, error)
