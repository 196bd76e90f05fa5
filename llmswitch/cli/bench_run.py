"""`llmswitch bench suite.yaml`: make a run, or go on with one, and judge it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NamedTuple

import typer

from llmswitch.cli.bench_batch import brought_home, submitted
from llmswitch.cli.bench_progress import Progress
from llmswitch.cli.bench_setting import Asked, Setting, read_setting
from llmswitch.cli.bench_shown import print_run
from llmswitch.cli.shell import Shell
from llmswitch.cli.writer import Writer
from llmswitch.errors import ConfigError, LLMSwitchError, StorageError
from llmswitch.evidence import keep_evidence
from llmswitch.reports.bench_outputs import Refresher, bring_up_to_date
from llmswitch.runs.ask import Services
from llmswitch.runs.bench.baseline import difference, find_baseline, too_many_errors
from llmswitch.runs.bench.batched import grade_batch
from llmswitch.runs.bench.document import RunDocument
from llmswitch.runs.bench.evidence import evidence_of
from llmswitch.runs.bench.folder import RunFolder, new_run
from llmswitch.runs.bench.run import Bench, Outcome, run_bench
from llmswitch.runs.bench.summary import Ended, Head, begun

__all__ = ["make_run", "resume_run", "verdict_code"]

_FAILED, _NOT_JUDGED = 3, 4


#: makes one sitting of a run
_Take = Callable[[Bench, Services, Progress], Coroutine[Any, Any, Outcome]]


class _Made(NamedTuple):
    document: RunDocument
    outcome: Outcome


def make_run(shell: Shell, asked: Asked) -> int:
    """A new run; its exit code. Raises ConfigError for whatever is wrong before anything is sent."""
    setting = read_setting(shell, asked)
    folder = new_run(asked.base, shell.wall)
    try:
        document = _begun(shell, asked, setting, folder)
        if setting.options.baseline is not None:
            found = find_baseline(setting.options.baseline, asked.base, document, shell.warn)
            document["gate"]["baseline"] = None if found is None else str(found.path.resolve())
        folder.write(document)
        if setting.options.batch:
            with folder.locked():
                submitted(shell, asked, setting, folder)
    except (LLMSwitchError, typer.Abort):
        folder.remove()
        raise
    return _taken(shell, asked, setting, folder)


def resume_run(shell: Shell, asked: Asked, folder: RunFolder) -> int:
    """Go on with a run; its exit code. Raises ConfigError where its suite or its targets are not what they were."""
    document = folder.read()
    if document["complete"]:
        shell.note(f"run {folder.id} is complete: nothing is left to ask.")
        print_run(shell, folder, document, as_json=asked.as_json)
        return verdict_code(document, strict=asked.strict)
    setting = read_setting(shell, asked.again(document), document)
    # under one name the answers of two models would be one target's
    reason = difference(_begun(shell, asked, setting, folder), document)
    if reason is not None:
        raise ConfigError(f"run {folder.id} cannot be gone on with: {reason}. Begin a new run.")
    return _taken(shell, asked, setting, folder)


def _begun(shell: Shell, asked: Asked, setting: Setting, folder: RunFolder) -> RunDocument:
    return begun(
        Head(
            id=folder.id,
            suite=setting.suite,
            targets=setting.targets,
            options=setting.options,
            asked=asked.kept(),
            profile=setting.profile,
            started_at=shell.wall(),
            planned=setting.planned,
            judges=setting.grading.judges,
        )
    )


def _taken(shell: Shell, asked: Asked, setting: Setting, folder: RunFolder) -> int:
    shell.note(f"run {folder.id} in {folder.path}")
    with folder.locked():
        made = _made(shell, folder, _sat(shell, asked, setting, folder))
        if made.outcome.complete:
            _keep(shell, setting, folder, made.document)
    return _told(shell, asked, folder, made)


def _keep(shell: Shell, setting: Setting, folder: RunFolder, document: RunDocument) -> None:
    """Have what was found where 'ask --route', 'providers' and 'cost whatif' look for it."""
    try:
        keep_evidence(setting.services.ledger.path, evidence_of(folder, document))
    except StorageError as error:
        shell.warn(error.message)


def _sat(shell: Shell, asked: Asked, setting: Setting, folder: RunFolder) -> Outcome:
    """One sitting: every sample asked live or, once their batch is home, graded."""
    if not setting.options.batch:
        return _watched(shell, setting, folder, run_bench, setting.services)
    with brought_home(shell, asked, setting, folder) as home:
        if home.ended is not None:
            return home.ended
        return _watched(shell, setting, folder, partial(grade_batch, home.lines), home.services)


def _watched(shell: Shell, setting: Setting, folder: RunFolder, take: _Take, services: Services) -> Outcome:
    bench = Bench(folder, setting.suite, setting.targets, setting.options, setting.grading)
    load = setting.options.load
    refresher = Refresher(folder, clock=shell.clock)
    try:
        with (
            shell.holding_notes(),
            Writer(shell.stderr) as writer,
            Progress(
                shell,
                writer,
                planned=setting.planned,
                duration_s=None if load.rate is None else load.duration_s,
                each=refresher.look,
            ) as progress,
        ):
            return asyncio.run(take(bench, services, progress))
    finally:
        refresher.wait()


def _made(shell: Shell, folder: RunFolder, outcome: Outcome) -> _Made:
    """The run's files as they are after a sitting. Raises StorageError."""
    ended = Ended(
        complete=outcome.complete,
        client=outcome.client,
        measured_s=outcome.measured_s,
        warmup=dict(outcome.warmup),
        at=shell.wall(),
    )
    try:
        return _Made(bring_up_to_date(folder, ended), outcome)
    except StorageError as error:
        raise StorageError(f"{(outcome.error or error).message} To {_again(folder)}") from error


def _again(folder: RunFolder) -> str:
    return f"go on: llmswitch bench --resume {folder.id} -o {folder.path.parent}"


def _told(shell: Shell, asked: Asked, folder: RunFolder, made: _Made) -> int:
    """Print what came of it; its exit code."""
    document, outcome = made
    print_run(shell, folder, document, as_json=asked.as_json)
    if not outcome.complete:
        again = _again(folder)
        if outcome.error is not None:
            shell.error(f"{outcome.error.message} To {again}")
            return outcome.error.exit_code
        shell.note(f"interrupted: {again}")
        return 130
    return verdict_code(document, strict=asked.strict)


def verdict_code(document: RunDocument, *, strict: bool) -> int:
    """The contract's exit code of a run that was made to its end."""
    verdict = document["gate"]["verdict"]
    if all(sum(target["errors"].values()) == target["samples"] for target in document["targets"]):
        return _NOT_JUDGED
    if verdict == "fail":
        return _FAILED
    if too_many_errors(document):
        return _NOT_JUDGED
    return _NOT_JUDGED if strict and verdict == "inconclusive" else 0
