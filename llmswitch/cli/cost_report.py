"""`llmswitch cost report`: what was spent, from this machine's own ledger."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from llmswitch.cli.options import Json, Quiet, Verbose
from llmswitch.cli.shell import Shell
from llmswitch.cli.times import span
from llmswitch.errors import ConfigError
from llmswitch.paths import Paths
from llmswitch.reports.cost import FIGURES, csv_rows, narrowed, report_document, report_table
from llmswitch.runs.cost import KEYS, CostReport, cost_report

__all__ = ["app", "print_report"]

_BY = "day,provider,model"

app = typer.Typer(add_completion=False)

Since = Annotated[
    str | None, typer.Option("--since", metavar="WHEN", help="From then on: 7d, 24h, or an ISO date or time.")
]
Until = Annotated[str | None, typer.Option("--until", metavar="WHEN", help="Before then.")]


class _Asked(NamedTuple):
    """The command line as it was typed; `form` names one of `_FORMS`."""

    by: str = _BY
    since: str | None = None
    until: str | None = None
    form: str = "table"
    html: str | None = None


@app.command()
def report(
    *,
    since: Since = None,
    until: Until = None,
    by: Annotated[str, typer.Option("--by", metavar="KEYS", help=f"Any of {','.join(KEYS)}, joined by commas.")] = _BY,
    html: Annotated[
        str | None, typer.Option("--html", metavar="FILE", help="Write a page with a chart as well.")
    ] = None,
    json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, one row a group.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """What was spent within a time, grouped as asked. Days are of the local time zone."""
    forms = [name for name, given in (("json", json), ("csv", as_csv), ("markdown", markdown)) if given]
    if len(forms) > 1:
        raise ConfigError(f"give one of {', '.join(f'--{form}' for form in forms)}.")
    if html in ("", "-"):
        raise ConfigError("--html names no file: stdout is for the figures, so give the page a name.")
    form = forms[0] if forms else "table"
    _print(Shell.current(verbose=verbose, quiet=quiet), _Asked(by, since, until, form, html))


def print_report(shell: Shell, *, as_json: bool) -> None:
    """The report of all there is to stdout."""
    _print(shell, _Asked(form="json" if as_json else "table"))


def _print(shell: Shell, asked: _Asked) -> None:
    from llmswitch.cli.output import OutputFile

    now = shell.wall()
    page = OutputFile(Path(asked.html)) if asked.html is not None else None
    try:
        since, until = span(asked.since, asked.until, now)
        ledger = Paths.from_environment(shell.environ).ledger
        result = cost_report(ledger, by=_keys(asked.by), since=since, until=until)
        if page is not None:
            from datetime import UTC, datetime

            from llmswitch.reports.cost_page import cost_page

            page.write(cost_page(result, made_at=datetime.fromtimestamp(now, tz=UTC).astimezone()))
            shell.note(f"the page is in {asked.html}")
    finally:
        if page is not None:
            page.discard()
    if not result.rows:
        when = "yet" if asked.since is None and asked.until is None else "in that time"
        shell.note(f"no calls {when}: each 'llmswitch ask' adds one.")
    _FORMS[asked.form](shell, result)


def _print_table(shell: Shell, result: CostReport) -> None:
    """On a terminal with a line of days in each row, and bars below."""
    if not result.rows:
        return
    drawn = shell.decorated(shell.stdout)
    table = report_table(result, drawn=drawn)
    shell.table(table, narrow=narrowed(table))
    if drawn:
        from llmswitch.reports.cost_page import chart_rows
        from llmswitch.reports.spark import bars

        title, rows = chart_rows(result)
        shell.line(f"\n{title}")
        for line in bars(rows, shutil.get_terminal_size().columns):
            shell.line(line)


def _print_json(shell: Shell, result: CostReport) -> None:
    shell.json(report_document(result))


def _print_csv(shell: Shell, result: CostReport) -> None:
    from llmswitch.reports.csv import csv_text

    shell.stdout.write(csv_text((*result.by, *FIGURES), csv_rows(result)))


def _print_markdown(shell: Shell, result: CostReport) -> None:
    from llmswitch.reports.markdown import markdown_table

    table = report_table(result)
    shell.stdout.write(markdown_table(table._replace(rows=(*table.rows, table.footer or ()))))


_FORMS: dict[str, Callable[[Shell, CostReport], None]] = {
    "table": _print_table,
    "json": _print_json,
    "csv": _print_csv,
    "markdown": _print_markdown,
}


def _keys(text: str) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in text.split(","))
    for key in keys:
        if key not in KEYS:
            raise ConfigError(f"--by takes {', '.join(KEYS)}, joined by commas, not {key!r}.")
    if len(set(keys)) < len(keys):
        raise ConfigError(f"--by names a key twice in {text!r}.")
    return keys
