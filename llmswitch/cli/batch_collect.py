"""`llmswitch batch collect | retry`: bring answers home, and send once more what failed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Annotated, TextIO

import typer

from llmswitch.batches import Batch
from llmswitch.batchlines import Lines
from llmswitch.cli.batch_desk import Asked, desk_of, folders_of, standing_of, store_of, tell, which
from llmswitch.cli.batch_status import Ids
from llmswitch.cli.batch_watch import Watch
from llmswitch.cli.options import (
    AllowUnknownPrice,
    MaxRetries,
    NoCache,
    Profile,
    Quiet,
    Timeout,
    TrustProfile,
    Verbose,
)
from llmswitch.cli.shell import Shell, as_json
from llmswitch.errors import ConfigError, LLMSwitchError
from llmswitch.reports.batch import line_document
from llmswitch.reports.rows import count, money
from llmswitch.runs.batch.again import Smaller
from llmswitch.runs.batch.folder import LINES
from llmswitch.runs.batch.output import written
from llmswitch.runs.batch.submit import limits_of
from llmswitch.runs.batch.working import Pace, advance, send_again
from llmswitch.targets import integer, number

__all__ = ["app"]

app = typer.Typer(add_completion=False)

_Concurrency = Annotated[
    str | None, typer.Option("--concurrency", metavar="N", help="Lines asked at once where they are asked live [8].")
]


@app.command()
def collect(
    ids: Ids = None,
    *,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Where a row for each line goes; else stdout.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until every job has ended.")] = False,
    poll: Annotated[
        str | None, typer.Option("--poll", metavar="SECONDS", help="The longest time between two looks [120].")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Write what there is, though some of it is not answered yet.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 where any line failed.")] = False,
    concurrency: _Concurrency = None,
    no_cache: NoCache = False,
    allow_unknown_price: AllowUnknownPrice = False,
    timeout: Timeout = None,
    max_retries: MaxRetries = None,
    profile: Profile = None,
    trust_profile: TrustProfile = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Write a JSONL row for each line of batches, in input order: its answer, tokens and cost, or its error.

    Collecting twice gives the same rows. Where not all jobs have ended, nothing is written, and the exit code is 1.
    """
    shell = Shell.current(verbose=verbose, quiet=quiet)
    asked = Asked(
        profile, trust_profile, timeout, max_retries, use_cache=not no_cache, allow_unknown_price=allow_unknown_price
    )
    most = Pace().most_s if poll is None else number(poll, "--poll", 0.05)
    pace = Pace(_concurrency(concurrency), first_s=min(Pace().first_s, most), most_s=most)
    batches = which(shell, ids or ())
    with _written(shell, output) as stream:
        problems: list[LLMSwitchError] = []
        for batch in batches:
            problems += _advanced(shell, batch, asked, pace, wait=wait)
        code = tell(shell, problems)
        open_ = [batch for batch in batches if _is_open(shell, batch)]
        if open_ and not partial:
            names = " ".join(batch.id for batch in open_)
            shell.error(f"{_how_far(shell, open_)}. --wait waits for the rest; --partial writes what there is.")
            shell.note(f"llmswitch batch status {names}")
            raise typer.Exit(code or 1)
        answered = failed = 0
        for batch in batches:
            one = _write(shell, batch, stream, skip_open=partial)
            answered, failed = answered + one[0], failed + one[1]
    _sum_up(shell, batches, answered, failed, output)
    code = code or (1 if failed and (strict or not answered) else 0)
    if code:
        raise typer.Exit(code)


@app.command()
def retry(
    ids: Ids = None,
    *,
    job_lines: Annotated[
        str | None, typer.Option("--job-lines", metavar="N", help="At most so many lines a job.")
    ] = None,
    job_tokens: Annotated[
        str | None, typer.Option("--job-tokens", metavar="N", help="At most about so many tokens a job.")
    ] = None,
    concurrency: _Concurrency = None,
    allow_unknown_price: AllowUnknownPrice = False,
    timeout: Timeout = None,
    max_retries: MaxRetries = None,
    profile: Profile = None,
    trust_profile: TrustProfile = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Send once more the lines that failed or expired, and no others."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    asked = Asked(profile, trust_profile, timeout, max_retries, allow_unknown_price=allow_unknown_price)
    smaller = Smaller(
        None if job_lines is None else integer(job_lines, "--job-lines", 1, 10**9),
        None if job_tokens is None else integer(job_tokens, "--job-tokens", 1, 10**12),
    )
    pace = Pace(_concurrency(concurrency))
    problems: list[LLMSwitchError] = []
    for batch in which(shell, ids or ()):

        async def go(batch: Batch, watch: Watch) -> list[LLMSwitchError]:
            async with desk_of(shell, batch, asked, watch) as desk:
                _, found = await send_again(desk, limits_of(desk.services), smaller, pace)
                return found

        try:
            with folders_of(shell).locked(batch.id), Watch(shell) as watch:
                problems += asyncio.run(go(batch, watch))
        except LLMSwitchError as error:  # of this batch: the next one may go
            problems.append(error)
    code = tell(shell, problems)
    if code:
        raise typer.Exit(code)


def _concurrency(text: str | None) -> int:
    return Pace().concurrency if text is None else integer(text, "--concurrency", 1, 1000)


def _advanced(shell: Shell, batch: Batch, asked: Asked, pace: Pace, *, wait: bool) -> list[LLMSwitchError]:
    """Take a batch as far as it goes. What is collected needs neither its vendor nor its profile."""
    if not _is_open(shell, batch):
        return []

    async def go() -> list[LLMSwitchError]:
        async with desk_of(shell, batch, asked, watch) as desk:
            return await advance(desk, pace, wait=wait)

    try:
        with folders_of(shell).locked(batch.id), Watch(shell) as watch:
            return asyncio.run(go())
    except LLMSwitchError as error:  # of this batch: the next one may have another profile
        return [error]


def _is_open(shell: Shell, batch: Batch) -> bool:
    return any(job.state != "done" for job in store_of(shell).jobs(batch.id))


def _how_far(shell: Shell, batches: Sequence[Batch]) -> str:
    standings = [standing_of(shell, batch) for batch in batches]
    lines = sum(one.counts.open for one in standings if one.counts)
    jobs = sum(job.state != "done" for one in standings for job in one.jobs)
    told = f"{count(jobs)} job{'s' if jobs != 1 else ''}"
    if not lines:  # they cannot be read, or all are there and not on record yet
        return f"{told} could not be collected"
    return f"{count(lines)} lines in {told} are not answered yet"


def _write(shell: Shell, batch: Batch, stream: TextIO, *, skip_open: bool) -> tuple[int, int]:
    """Every line of the batch; how many are answered, and how many failed."""
    path = folders_of(shell).of(batch.id) / LINES
    if not path.exists():
        raise ConfigError(f"the questions and answers of {batch.id} are gone: {path} is not there.")
    ways = {job.number: job.way for job in store_of(shell).jobs(batch.id)}
    ascii_only = "utf" not in (stream.encoding or "").lower()
    answered = failed = 0
    lines = Lines(path, batch.lines)
    try:
        for outcome in lines.outcomes():
            if outcome.answer is None and outcome.error is None and skip_open:
                continue
            document = line_document(batch, outcome, ways.get(outcome.job, "batch"))
            stream.write(as_json(document, ascii_only=ascii_only, indent=None) + "\n")
            answered += outcome.answer is not None
            failed += outcome.answer is None
    finally:
        lines.close()
    return answered, failed


@contextmanager
def _written(shell: Shell, output: str | None) -> Iterator[TextIO]:
    """stdout, or a file that gets its name, in one step, when it is whole. StorageError where it cannot be made."""
    if output is None or output == "-":
        yield shell.stdout
        return
    with written(Path(output)) as stream:
        yield stream


def _sum_up(shell: Shell, batches: Sequence[Batch], answered: int, failed: int, output: str | None) -> None:
    standings = [standing_of(shell, batch) for batch in batches]
    jobs = [job for one in standings for job in one.jobs]
    spent, saved = (sum((s.spent for s in standings), Decimal(0)), sum((s.saved for s in standings), Decimal(0)))
    unknown = sum(one.unpriced for one in standings)
    parts = [f"{count(answered)} answered"]
    if failed:
        parts.append(f"{count(failed)} failed: 'llmswitch batch retry' sends those once more")
    if any(job.recorded for job in jobs):
        parts.append(f"{'at least ' if unknown else ''}{money(spent)}" + (f", {money(saved)} saved" if saved else ""))
    shell.note(f"{' · '.join(parts)}{f' · {output}' if output else ''}")
