"""A run as Markdown for a CI job's summary: verdict, figures, checks, and the first of what failed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import TextIO

from llmswitch.reports.bench_figures import figures_table
from llmswitch.reports.bench_headline import caveats, differences, headline, mark
from llmswitch.reports.bench_samples import cut, ending, row_title
from llmswitch.reports.bench_table import checks_table
from llmswitch.reports.html import safe
from llmswitch.reports.markdown import escaped, fenced, markdown_table
from llmswitch.reports.rows import Cell, Table
from llmswitch.runs.bench.document import RunDocument
from llmswitch.runs.bench.model import Rows, SampleRow
from llmswitch.text import one_line

__all__ = ["write_summary"]

#: samples that are shown; a job's summary holds a megabyte: https://docs.github.com/actions, 'step summary'
_MOST = 10
#: characters of a prompt or an answer
_LONGEST = 1500
#: characters of a reason
_LONGEST_REASON = 500
_SIGNS = {"good": "✅", "bad": "❌", "open": "❔"}
#: where a name or a number would be linked, and someone be told
_MENTION = re.compile(r"(?<=[@#])(?=\w)|(?<=\bGH-)(?=\d)", re.IGNORECASE)


def write_summary(document: RunDocument, rows: Rows, stream: TextIO) -> None:
    """The whole of it. What models wrote stands in code fences."""
    stream.writelines(_parts(document, rows))


def _parts(document: RunDocument, rows: Rows) -> Iterator[str]:
    first, *rest = headline(document)
    yield f"# {_SIGNS[mark(document['gate']['verdict']).style]} {_text(document['suite'])}\n\n**{_text(first)}**\n\n"
    yield from _items(rest)
    yield markdown_table(_quiet(figures_table(document)))
    yield "\nBold: the best of its column, told apart from all others.\n\n"
    yield from _items(differences(document))
    yield from _section(
        "Gate", markdown_table(_quiet(checks_table(document["gate"]["checks"]))), document["gate"]["checks"]
    )
    yield from _section("To know", "".join(_items(caveats(document))), caveats(document))
    yield from _failed(rows)
    yield f"Run `{re.sub(r'[^A-Za-z0-9._-]', '', document['id'])}`, {_text(document['started_at'])}.\n"


def _section(title: str, body: str, wanted: object) -> Iterator[str]:
    if wanted:
        yield f"## {title}\n\n{body}\n"


def _items(lines: tuple[str, ...] | list[str]) -> Iterator[str]:
    yield from (f"- {_text(line)}\n" for line in lines)
    if lines:
        yield "\n"


def _failed(rows: Rows) -> Iterator[str]:
    failed = (row for row in rows() if ending(row).kind != "pass")
    shown = list(islice(failed, _MOST + 1))
    if shown:
        more = f" The first {_MOST} of them; all are in samples.csv." if len(shown) > _MOST else ""
        yield f"## What failed\n\n{more.strip()}\n\n"
        yield from (_sample(row) for row in shown[:_MOST])


def _sample(row: SampleRow) -> str:
    """Raw HTML for GitHub up to the first empty line, Markdown from there on."""
    title = safe(_unlinked(f"{row.target}, case {row_title(row)}"))
    reasons = ending(row).reasons
    told = "".join(f"- {_text(one_line(reason, _LONGEST_REASON))}\n" for reason in reasons[:_MOST])
    prompt = f"Prompt:\n\n{fenced(cut(row.prompt, _LONGEST))}\n"
    answer = f"Answer:\n\n{fenced(cut(row.text, _LONGEST))}\n" if row.text is not None else ""
    return f"<details><summary>{title}</summary>\n\n{told}\n{prompt}{answer}</details>\n\n"


def _text(text: str) -> str:
    """On one line, nothing in it obeyed, nobody named: a word joiner, which is not seen, parts `@` from a name."""
    return escaped(_unlinked(text))


def _unlinked(text: str) -> str:
    return _MENTION.sub("\u2060", one_line(text, 2000))


def _quiet(table: Table) -> Table:
    rows = tuple(tuple(_quiet_cell(cell) for cell in row) for row in table.rows)
    return table._replace(rows=rows)


def _quiet_cell(cell: str | Cell) -> str | Cell:
    if isinstance(cell, Cell):
        return cell._replace(text=_unlinked(cell.text), note=_unlinked(cell.note))
    return _unlinked(cell)
