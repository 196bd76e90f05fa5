"""`llmswitch batch status | cancel | prune`: how far batches are, ending them, forgetting them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from llmswitch.cli.batch_desk import Asked, desk_of, folders_of, standing_of, store_of, tell, which
from llmswitch.cli.batch_watch import Watch
from llmswitch.cli.options import Json, MaxRetries, Profile, Quiet, Timeout, TrustProfile, Verbose
from llmswitch.cli.shell import Shell
from llmswitch.cli.times import duration_s
from llmswitch.errors import ConfigError, LLMSwitchError
from llmswitch.reports.batch import batches_document, batches_table, jobs_table, narrowed
from llmswitch.runs.batch.folder import AtWorkError
from llmswitch.runs.batch.working import cancel as cancel_batch
from llmswitch.runs.batch.working import look_around

if TYPE_CHECKING:
    from llmswitch.batches import Batch

__all__ = ["app"]

app = typer.Typer(add_completion=False)

Ids = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]…", help="Batches, or the beginnings of their ids; without, all.")
]


@app.command()
def status(
    ids: Ids = None,
    *,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no vendor: what is known here.")] = False,
    timeout: Timeout = None,
    max_retries: MaxRetries = None,
    profile: Profile = None,
    trust_profile: TrustProfile = False,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """How far batches are; each vendor is asked once about what it still has."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    asked = Asked(profile, trust_profile, timeout, max_retries)
    batches = which(shell, ids) if ids else store_of(shell).all()
    problems: list[LLMSwitchError] = []
    if not offline:
        for batch in batches:
            problems += _looked(shell, batch, asked)
    standings = [standing_of(shell, batch) for batch in batches]
    if json:
        shell.json(batches_document(standings))
    elif not standings:
        shell.note("there is no batch: 'llmswitch batch submit FILE' makes one.")
    else:
        table = batches_table(standings)
        shell.table(table, narrow=narrowed(table))
        if ids:
            for one in standings:
                shell.line()
                table = jobs_table(one)
                shell.table(table, narrow=narrowed(table))
    _say_why(shell, problems)
    code = tell(shell, problems)
    if code:
        raise typer.Exit(code)


def _say_why(shell: Shell, problems: list[LLMSwitchError]) -> None:
    if problems:
        shell.note("what is said of those below may be old.")


def _looked(shell: Shell, batch: Batch, asked: Asked) -> list[LLMSwitchError]:
    """Ask about a batch that some vendor has."""
    if not any(job.state == "sent" for job in store_of(shell).jobs(batch.id)):
        return []

    async def look() -> list[LLMSwitchError]:
        async with desk_of(shell, batch, asked, watch) as desk:
            return await look_around(desk)

    try:
        with folders_of(shell).locked(batch.id), Watch(shell) as watch:
            return asyncio.run(look())
    except AtWorkError:
        shell.note(f"{batch.id}: another llmswitch is at work on it; this is what that has noted.")
        return []
    except ConfigError as error:  # of one batch: its profile is gone
        return [error]


@app.command()
def cancel(
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="Batches, or the beginnings of their ids.")],
    *,
    timeout: Timeout = None,
    max_retries: MaxRetries = None,
    profile: Profile = None,
    trust_profile: TrustProfile = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """End batches early. What was answered by then is paid for, and can be collected."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    asked = Asked(profile, trust_profile, timeout, max_retries)
    problems: list[LLMSwitchError] = []
    for batch in which(shell, ids):

        async def end(batch: Batch, watch: Watch) -> list[LLMSwitchError]:
            async with desk_of(shell, batch, asked, watch) as desk:
                return await cancel_batch(desk)

        try:
            with folders_of(shell).locked(batch.id), Watch(shell) as watch:
                problems += asyncio.run(end(batch, watch))
        except LLMSwitchError as error:  # of this batch: the next one may be ended
            problems.append(error)
        shell.note(f"{batch.id}: {standing_of(shell, batch).state}")
    code = tell(shell, problems)
    if code:
        raise typer.Exit(code)


@app.command()
def prune(
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="TIME", help="Batches submitted so long ago: 30d, 8w.")
    ],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; remove nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Those that are not collected, too.")] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Forget old batches with their questions and answers. What they cost stays in the ledger."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    before = shell.wall() - duration_s(older_than, "--older-than")
    folders, store = folders_of(shell), store_of(shell)
    for batch in store.all():
        if batch.at >= before:
            continue
        if not force and any(job.state != "done" for job in store.jobs(batch.id)):
            shell.note(f"{batch.id} is not collected: it stays; --force removes it, too.")
            continue
        if not dry_run:
            with folders.locked(batch.id):
                store.forget(batch.id)
                folders.remove(batch.id)
        _tell_removed(shell, f"{batch.id}: {batch.lines:,} lines from {batch.source}", dry_run)
    for name, changed_at in folders.named():
        with folders.locked(name):
            if changed_at >= before or any(batch.id == name for batch in store.all()):
                continue
            if not dry_run:
                folders.remove(name)
        _tell_removed(shell, f"{name}, which no ledger knows of", dry_run)


def _tell_removed(shell: Shell, what: str, dry_run: bool) -> None:
    shell.line(f"{'would remove' if dry_run else 'removed'} {what}")
