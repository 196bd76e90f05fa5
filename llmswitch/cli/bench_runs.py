"""`llmswitch bench list | show | diff | export | prune | bless`: the runs that were made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TextIO

import typer

from llmswitch.cli.bench_extra import need_extra
from llmswitch.cli.options import Json, Quiet, RunsFolder, Verbose
from llmswitch.cli.shell import Shell
from llmswitch.cli.times import duration_s, local
from llmswitch.errors import ConfigError, StorageError
from llmswitch.reports.rows import UNKNOWN, count
from llmswitch.runs.bench.document import RunDocument
from llmswitch.runs.bench.folder import RunFolder, find_run, list_runs

__all__ = ["RUNS", "app"]

#: where runs are kept if nothing else is said
RUNS = "runs"

app = typer.Typer(add_completion=False)

_NAMED = "An id, its beginning, 'last', or a path."
Run = Annotated[str, typer.Argument(metavar="RUN", help=_NAMED)]


@app.command("list")
def _list(output: RunsFolder = RUNS, json: Json = False, verbose: Verbose = False, quiet: Quiet = False) -> None:
    """The runs that were made, the newest last."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    from llmswitch.reports.bench_history import history_document, history_table, narrowed
    from llmswitch.runs.bench.baseline import read_runs

    found = [document for _, document in read_runs(list_runs(Path(output)), shell.warn)]
    if json:
        shell.json(history_document(found))
    elif found:
        table = history_table(found)
        shell.table(table, narrow=narrowed(table))
    else:
        shell.note(f"no runs in {output} yet: 'llmswitch bench suite.yaml -o {output}' makes one.")


@app.command()
def show(
    run: Run = "last", output: RunsFolder = RUNS, json: Json = False, verbose: Verbose = False, quiet: Quiet = False
) -> None:
    """What a run found, as it was printed at its end; of one that was killed, what is on disk."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    from llmswitch.cli.bench_shown import print_run

    folder = find_run(Path(output), run)
    print_run(shell, folder, _current(shell, folder), as_json=json)


@app.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help=_NAMED)],
    after: Annotated[str, typer.Argument(metavar="B", help="The run to hold against A.")] = "last",
    output: RunsFolder = RUNS,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Two runs side by side: their figures, and the cases that pass more or less often than before."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    from llmswitch.reports.bench_diff import diff as differences
    from llmswitch.reports.bench_diff import diff_document
    from llmswitch.reports.bench_figures import by_batch
    from llmswitch.reports.bench_headline import NO_LATENCY
    from llmswitch.runs.bench.baseline import asked_otherwise, difference

    a, b = (find_run(Path(output), named) for named in (before, after))
    a_document, b_document = _current(shell, a), _current(shell, b)
    reason = difference(b_document, a_document)
    if reason is not None:
        shell.warn(f"run {a.id} asked something else: {reason}.")
    unlike = asked_otherwise(b_document, a_document)
    if unlike is not None:
        shell.warn(f"run {a.id} tells nothing of times and cost: {unlike}, run {b.id} was asked the other way.")
    elif by_batch(b_document):
        shell.note(NO_LATENCY)
    if json:
        shell.json(diff_document(a_document, a.rows, b_document, b.rows))
        return
    for place, table in enumerate(differences(a_document, a.rows, b_document, b.rows)):
        if table.rows:
            shell.line("\n" * min(place, 1) + table.title)
            shell.table(table._replace(title=""))
        else:
            shell.line(f"\n{table.title}.")


@app.command()
def export(
    run: Run,
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="csv, junit, markdown, html, json or jsonl.")],
    to: Annotated[str, typer.Option("--to", metavar="FILE", help="Write it there, and not to stdout.")] = "-",
    output: RunsFolder = RUNS,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """A run in one of its formats, made anew from what is on disk."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    from llmswitch.cli.output import OutputFile
    from llmswitch.reports.bench_formats import FORMATS
    from llmswitch.reports.bench_outputs import history_of

    if form not in FORMATS:
        raise ConfigError(f"--format takes {', '.join(FORMATS)}, not {form!r}.")
    folder = find_run(Path(output), run)
    document = _current(shell, folder)

    def write(stream: TextIO) -> None:
        FORMATS[form].write(document, folder.rows, history_of(folder, document), stream)

    if to == "-":
        write(shell.stdout)
        shell.stdout.flush()
        return
    file = OutputFile(Path(to))
    try:
        file.write(_text(write))
    finally:
        file.discard()


def _text(write: Callable[[TextIO], None]) -> str:
    import io

    stream = io.StringIO()
    write(stream)
    return stream.getvalue()


@app.command()
def prune(
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="TIME", help="Runs that began so long ago: 12h, 90d, 8w.")
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option("--keep", min=0, metavar="N", help="All but the newest N of each suite and its targets."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; remove nothing.")] = False,
    output: RunsFolder = RUNS,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Remove old runs for good. Blessed ones stay, the newest green one, and what is being written."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    from llmswitch.runs.bench.baseline import read_runs
    from llmswitch.runs.bench.pruning import prunable

    if older_than is None and keep is None:
        raise ConfigError("say which runs: --older-than 90d, --keep 30, or both for those that neither keeps.")
    before = None if older_than is None else shell.wall() - duration_s(older_than, "--older-than")
    found = read_runs(list_runs(Path(output)), shell.warn)
    gone = 0
    for folder in prunable(found, before=before, keep=keep):
        try:
            if not dry_run:
                folder.remove()
        except ConfigError as error:
            shell.warn(f"run {folder.id} stays: {error.message}")
            continue
        shell.line(folder.id)
        gone += 1
    told = f"{count(gone)} run{'' if gone == 1 else 's'} {'would be ' if dry_run else ''}removed"
    shell.note(f"{told}, {count(len(found) - gone)} kept.")


@app.command()
def bless(
    run: Run,
    undo: Annotated[bool, typer.Option("--undo", help="It is the baseline no longer.")] = False,
    output: RunsFolder = RUNS,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Make a run the one that '--baseline blessed' means, in the place of any other of the same cases and targets."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    from llmswitch.runs.bench.baseline import asked_otherwise, difference, read_runs, too_many_errors

    folder = find_run(Path(output), run)
    if undo:
        shell.line(f"run {folder.id} {_unblessed(folder)}.")
        return
    document = folder.read()
    if not document["complete"]:
        where = folder.path.parent
        raise ConfigError(f"run {folder.id} has not ended: 'llmswitch bench --resume {folder.id} -o {where}' ends it.")
    if too_many_errors(document):
        raise ConfigError(f"run {folder.id} is no baseline: too many of its calls failed. Bless another one.")
    if folder.blessed:
        shell.line(f"run {folder.id} is the baseline since {_minute(folder.blessed_at)}.")
    else:
        folder.bless()
        shell.line(f"run {folder.id} is the baseline from now on, {_minute(folder.blessed_at)}.")
    for other, before in read_runs(list_runs(folder.path.parent), shell.warn):
        unlike = difference(document, before) or asked_otherwise(document, before)
        if other.id != folder.id and other.blessed and unlike is None:
            shell.line(f"run {other.id} {_unblessed(other)}.")


def _unblessed(folder: RunFolder) -> str:
    """Take the blessing back; what to say of it."""
    since = folder.blessed_at
    folder.bless(False)
    return "was not blessed" if since is None else f"is the baseline no longer: it was since {_minute(since)}"


def _minute(epoch_s: float | None) -> str:
    moment = local(epoch_s)
    return moment.strftime("%Y-%m-%d %H:%M") if moment else UNKNOWN


def _current(shell: Shell, folder: RunFolder) -> RunDocument:
    """The run as its rows tell it: what a kill left behind is worked out anew. Raises StorageError."""
    need_extra()
    from llmswitch.reports.bench_outputs import bring_up_to_date, is_current
    from llmswitch.runs.bench.summary import summarised

    document = folder.read()
    if is_current(folder, document):
        return document
    try:
        with folder.locked():
            return bring_up_to_date(folder)
    except StorageError as error:
        shell.warn(error.message)
        return summarised(folder)
    except ConfigError:
        shell.note(f"run {folder.id} is still being made: this is what its files said last.")
        return document
