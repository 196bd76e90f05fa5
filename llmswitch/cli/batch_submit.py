"""`llmswitch batch submit FILE`: hand many prompts in, once, and get an id to collect them by."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from llmswitch.batches import Batch
from llmswitch.cli.batch_desk import Asked, confirm, desk_of, folders_of, services_of, store_of, tell
from llmswitch.cli.batch_watch import Watch
from llmswitch.cli.options import (
    AllowUnknownPrice,
    Json,
    MaxCost,
    MaxRetries,
    MaxTokens,
    NoCache,
    Profile,
    Quiet,
    Refresh,
    System,
    Temperature,
    Timeout,
    TrustProfile,
    Verbose,
)
from llmswitch.cli.question import read_parameters
from llmswitch.cli.shell import Shell
from llmswitch.errors import ConfigError, LLMSwitchError
from llmswitch.reports.batch import expected_document, expected_lines
from llmswitch.runs.ask import Services
from llmswitch.runs.batch.folder import LINES
from llmswitch.runs.batch.inputs import FORMATS, read_rows, which_format
from llmswitch.runs.batch.plan import Plan
from llmswitch.runs.batch.prepare import Order
from llmswitch.runs.batch.submit import Draft, drafted, expected, keep
from llmswitch.runs.batch.working import Pace, send_all
from llmswitch.runs.call import choose_target
from llmswitch.runs.policy import dollars
from llmswitch.targets import integer

if TYPE_CHECKING:
    from llmswitch.profiles import Settings

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def submit(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="JSONL, CSV, or text with a prompt a line; '-' is stdin.")
    ],
    *,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", help="provider[:model]; repeatable: lines go to them in turn."),
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="Every line to every target, not to one in its turn.")] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Ask one by one, now, at the usual price; others than vendors' are anyway.")
    ] = False,
    format_: Annotated[
        str | None,
        typer.Option("--format", metavar="jsonl|csv|text", help="What FILE is, where its name does not tell."),
    ] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out lines that are no question.")] = False,
    system: System = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    job_lines: Annotated[
        str | None, typer.Option("--job-lines", metavar="N", help="At most so many lines a job.")
    ] = None,
    job_tokens: Annotated[
        str | None,
        typer.Option("--job-tokens", metavar="N", help="At most about so many tokens a job: your tier's queue limit."),
    ] = None,
    concurrency: Annotated[
        str | None,
        typer.Option("--concurrency", metavar="N", help="Lines asked at once where they are asked live [8]."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Send it without asking, whatever it costs.")] = False,
    confirm_above: Annotated[
        str, typer.Option("--confirm-above", metavar="USD", help="What may be sent without asking.")
    ] = "1",
    again: Annotated[
        bool, typer.Option("--again", help="Send once more what was submitted already and is under way.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the input, say what it costs; send nothing.")
    ] = False,
    max_cost: MaxCost = None,
    allow_unknown_price: AllowUnknownPrice = False,
    no_cache: NoCache = False,
    refresh: Refresh = False,
    timeout: Timeout = None,
    max_retries: MaxRetries = None,
    profile: Profile = None,
    trust_profile: TrustProfile = False,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Hand in many prompts as the vendors' batch jobs and print the batch's id.

    The same command again, after it was cut off, goes on where it ended: nothing is sent twice.
    """
    shell = Shell.current(verbose=verbose, quiet=quiet)
    if format_ is not None and format_ not in FORMATS:
        raise ConfigError(f"--format must be one of {', '.join(FORMATS)}, not {format_!r}.")
    asked = Asked(profile, trust_profile, timeout, max_retries, not no_cache, refresh, max_cost, allow_unknown_price)
    plan = Plan(
        targets=tuple(target or ()),
        format=format_ or "",
        system=system,
        parameters=read_parameters(max_tokens=max_tokens, temperature=temperature),
        each=each,
        live=live,
        skip_bad=skip_bad,
        job_lines=None if job_lines is None else integer(job_lines, "--job-lines", 1, 10**9),
        job_tokens=None if job_tokens is None else integer(job_tokens, "--job-tokens", 1, 10**12),
    )
    pace = Pace(concurrency=8 if concurrency is None else integer(concurrency, "--concurrency", 1, 1000))
    limit = None if yes else dollars(confirm_above, "--confirm-above")
    code = _submit(shell, asked, plan, _Wishes(file, limit, again, dry_run, json), pace)
    if code:
        raise typer.Exit(code)


class _Wishes(NamedTuple):
    """How the command is to go; above `limit` USD it asks first, None never does."""

    file: str
    limit: Decimal | None
    again: bool
    dry_run: bool
    as_json: bool


def _submit(shell: Shell, asked: Asked, plan: Plan, wishes: _Wishes, pace: Pace) -> int:
    settings = asked.settings(shell)
    services = services_of(shell, settings, asked)
    plan = _planned(shell, settings, services, plan)
    folders = folders_of(shell)
    with _input(shell, wishes.file) as stream, Watch(shell) as watch:
        format_ = plan.format or which_format(wishes.file, stream.peek(4096))
        order = Order(folders.new_id(), plan, settings, services)
        with drafted(order, folders, read_rows(stream, format_), watch.reading) as draft:
            watch.wipe()
            _tell_input(shell, draft)
            chosen = _chosen(shell, settings, services, draft, wishes)
    if chosen is None:
        return 0
    batch, told = chosen
    if not wishes.as_json:
        shell.line(batch.id)
        shell.stdout.flush()
    with folders.locked(batch.id), Watch(shell) as watch:
        problems = asyncio.run(_sent(shell, batch, asked, watch, pace))
    code = tell(shell, problems)
    if wishes.as_json:
        shell.json(told)
    refused = [job for job in store_of(shell).jobs(batch.id) if job.outcome == "refused"]
    for job in refused:
        shell.error(f"{job.target}, {job.lines:,} lines: {job.said}")
    if code:
        further = "not all of it is sent: the same command goes on"
    elif refused:
        further = f"not all of it was taken. Where that is mended: llmswitch batch retry {batch.id}"
    else:
        further = f"handed in. To get the answers: llmswitch batch collect {batch.id} --wait -o answers.jsonl"
    shell.note(f"{batch.id}: {further}")
    return code or int(bool(refused))


async def _sent(shell: Shell, batch: Batch, asked: Asked, watch: Watch, pace: Pace) -> list[LLMSwitchError]:
    async with desk_of(shell, batch, asked, watch) as desk:
        return await send_all(desk, pace)


def _planned(shell: Shell, settings: Settings, services: Services, plan: Plan) -> Plan:
    """With the target that is asked where none was named. ConfigError where two are the same."""
    targets = plan.targets
    if not targets:
        chosen, told = choose_target(settings, named=None, model=None)
        if told is not None:
            shell.note(told)
        targets = (chosen.text,)
    twice = next((target for place, target in enumerate(targets) if target in targets[:place]), None)
    if twice is not None:
        raise ConfigError(f"{twice} is named twice: leave one out.")
    return plan._replace(targets=targets, bounded=services.policy.budgeted)


@contextmanager
def _input(shell: Shell, name: str) -> Iterator[io.BufferedReader]:
    """The file's bytes, or stdin's."""
    if name == "-":
        if shell.stdin is None or shell.stdin.isatty():
            shell.note("reading prompts from standard input, one a line; end it with Ctrl-D.")
        yield io.BufferedReader(io.FileIO(0, closefd=False))
        return
    try:
        stream = open(name, "rb")  # noqa: SIM115  # closed below
    except OSError as error:
        raise ConfigError(f"cannot read {name}: {error.strerror}.") from error
    with stream:
        yield stream


def _tell_input(shell: Shell, draft: Draft) -> None:
    found = draft.prepared
    if found.skipped:
        lines = ", ".join(str(bad.line) for bad in found.bad)
        more = f" and {found.skipped - len(found.bad):,} more" if found.skipped > len(found.bad) else ""
        shell.warn(f"left out {found.skipped:,} bad lines: {lines}{more}.")
    if found.ignored:
        shell.warn(f"nothing reads these fields of the input: {', '.join(found.ignored[:10])}.")


def _chosen(
    shell: Shell, settings: Settings, services: Services, draft: Draft, wishes: _Wishes
) -> tuple[Batch, dict[str, Any]] | None:
    """The batch to send: the draft, once it may cost what it will, or the one before it that was cut off; None where
    there is nothing to send."""
    folders, store = folders_of(shell), store_of(shell)
    found = expected(draft.prepared, services)
    with folders.locked(draft.prepared.fingerprint, "a batch of the same lines"):
        before = store.same(draft.prepared.fingerprint)
        if before is not None and not (folders.of(before.id) / LINES).exists():
            before = None
        if before is not None and not wishes.dry_run and not wishes.again:
            states = {job.state for job in store.jobs(before.id)}
            if states & {"dealing", "prepared", "sending"}:
                shell.note(f"going on with {before.id}, which was cut off.")
                return before, expected_document(before, found, resumed=True)
            if states - {"done"}:
                shell.note(f"the same lines are under way as {before.id}: nothing was sent; --again sends them anew.")
                _print(shell, before, expected_document(before, found, resumed=True), wishes)
                return None
        batch = Batch(
            id=draft.id,
            at=shell.wall(),
            command="batch",
            profile=settings.profile,
            source="standard input" if wishes.file == "-" else Path(wishes.file).name,
            fingerprint=draft.prepared.fingerprint,
            lines=draft.prepared.lines,
        )
        for line in expected_lines(found):
            shell.note(line)
        told = expected_document(batch, found, resumed=False)
        if wishes.dry_run:
            if wishes.as_json:
                shell.json({**told, "id": None})
            return None
        confirm(shell, found, wishes.limit, piped=wishes.file == "-")
        keep(draft, folders, batch, services)
    return batch, told


def _print(shell: Shell, batch: Batch, told: dict[str, Any], wishes: _Wishes) -> None:
    if wishes.as_json:
        shell.json(told)
    else:
        shell.line(batch.id)
