"""`llmswitch cost`: what was spent, from this machine's own ledger."""

from __future__ import annotations

from typing import Annotated

import typer

from llmswitch.cli.options import Json, Quiet, Verbose
from llmswitch.cli.shell import Shell
from llmswitch.cli.times import moment
from llmswitch.errors import ConfigError
from llmswitch.paths import Paths
from llmswitch.reports.cost import report_document, report_table
from llmswitch.runs.cost import KEYS, cost_report

__all__ = ["app"]

_BY = "day,provider,model"

app = typer.Typer(add_completion=False)


@app.callback(invoke_without_command=True)
def _all(context: typer.Context, json: Json = False, verbose: Verbose = False, quiet: Quiet = False) -> None:
    """What was spent, by day, provider and model. Days are of the local time zone."""
    if context.invoked_subcommand is None:
        _print(Shell.current(verbose=verbose, quiet=quiet), by=_BY, since=None, until=None, json=json)
    elif json or verbose or quiet:
        raise ConfigError(f"put options behind '{context.invoked_subcommand}', as in 'llmswitch cost report --json'.")


@app.command()
def report(
    *,
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help="From then on: 7d, 24h, or an ISO date or time.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="WHEN", help="Before then.")] = None,
    by: Annotated[str, typer.Option("--by", metavar="KEYS", help=f"Any of {','.join(KEYS)}, joined by commas.")] = _BY,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """What was spent within a time, grouped as asked. Days are of the local time zone."""
    _print(Shell.current(verbose=verbose, quiet=quiet), by=by, since=since, until=until, json=json)


def _print(shell: Shell, *, by: str, since: str | None, until: str | None, json: bool) -> None:
    now = shell.wall()
    result = cost_report(
        Paths.from_environment(shell.environ).ledger,
        by=_keys(by),
        since=None if since is None else moment(since, "--since", now),
        until=None if until is None else moment(until, "--until", now),
    )
    if json:
        shell.json(report_document(result))
    elif result.rows:
        shell.table(report_table(result))
    else:
        when = "yet" if since is None and until is None else "in that time"
        shell.note(f"no calls {when}: each 'llmswitch ask' adds one.")


def _keys(text: str) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in text.split(","))
    for key in keys:
        if key not in KEYS:
            raise ConfigError(f"--by takes {', '.join(KEYS)}, joined by commas, not {key!r}.")
    if len(set(keys)) < len(keys):
        raise ConfigError(f"--by names a key twice in {text!r}.")
    return keys
