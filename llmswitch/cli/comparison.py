"""A comparison for eyes: the answers, the table, and what was asked for besides."""

from __future__ import annotations

from collections.abc import Sequence

from llmswitch.cli.answers import print_answers
from llmswitch.cli.shell import Shell
from llmswitch.reports.compare import comparison_table, failures, footnotes, narrowed, statements
from llmswitch.reports.diff import Piece, marked
from llmswitch.reports.sections import Sections, field_table, verdict
from llmswitch.runs.compare import Comparison
from llmswitch.text import one_line, sanitize

__all__ = ["print_comparison"]

_STYLES = {"same": "", "removed": "red strike", "added": "green"}


def print_comparison(shell: Shell, comparison: Comparison, parts: Sections) -> None:
    """On a terminal everything; in a pipe what follows the answers, which were printed as they came."""
    if shell.decorated(shell.stdout) or comparison.repeats > 1:
        print_answers(shell, comparison)
    table = comparison_table(comparison)
    shell.table(table, narrow=narrowed(table))
    _say(shell, (*footnotes(comparison, table), *failures(comparison), *statements(comparison)))
    if parts.fields is not None:
        shell.line()
        shell.table(field_table(comparison, parts.fields))
    for (before, after), pieces in (parts.diffs or {}).items():
        shell.line(f"\n{one_line(before)} → {one_line(after)}\n")
        _print_diff(shell, pieces)
    if comparison.judgement is not None:
        shell.line()
        _say(shell, verdict(comparison.judgement))
    shell.stdout.flush()


def _say(shell: Shell, lines: Sequence[str]) -> None:
    """Sentences, on a terminal wrapped between words."""
    if not shell.decorated(shell.stdout):
        for line in lines:
            shell.line(one_line(line, 2000))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=shell.stdout)
    for line in lines:
        console.print(Text(one_line(line, 2000)))


def _print_diff(shell: Shell, pieces: Sequence[Piece]) -> None:
    """In colours with the marks kept: a colour alone is lost on some eyes, and when copied."""
    if not shell.decorated(shell.stdout):
        shell.line(marked(pieces))
        return
    from rich.console import Console
    from rich.text import Text

    text = Text()
    for piece in pieces:
        text.append(sanitize(marked([piece])), style=_STYLES[piece.kind])
    Console(file=shell.stdout).print(text)
