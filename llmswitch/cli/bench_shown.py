"""A run for eyes: the verdict, the figures, the gate's checks, and what must be known before they are believed."""

from __future__ import annotations

from llmswitch.cli.shell import Shell
from llmswitch.runs.bench.document import RunDocument
from llmswitch.runs.bench.folder import RunFolder
from llmswitch.text import one_line

__all__ = ["print_run"]


def print_run(shell: Shell, folder: RunFolder, document: RunDocument, *, as_json: bool) -> None:
    """What a run prints at its end, and `bench show` again."""
    if as_json:
        shell.json(document)
        return
    from llmswitch.reports.bench_headline import caveats, headline
    from llmswitch.reports.bench_table import tables

    for line in headline(document):
        shell.line(one_line(line, 2000))
    for shown in tables(document):
        shell.line()
        shell.table(shown.table, narrow=shown.narrow)
    shell.line()
    for line in caveats(document):
        shell.line(one_line(line, 2000))
    shell.line(f"{folder.path / 'report.html'}")
