"""Markdown to paste elsewhere. What a model wrote stands in code fences: nothing in it is a heading, link or image."""

from __future__ import annotations

import re

from llmswitch.reports.rows import Cell, Table
from llmswitch.text import one_line, sanitize

__all__ = ["escaped", "fenced", "markdown_table"]


def markdown_table(table: Table) -> str:
    """`table` with numbers aligned right, the best of a column bold."""
    lines = [
        _line([escaped(column.title) for column in table.columns]),
        _line(["---:" if column.number else "---" for column in table.columns]),
        *(_line([_cell(cell) for cell in row]) for row in table.rows),
    ]
    return "\n".join(lines) + "\n"


def fenced(text: str) -> str:
    """`text` in a fence that is longer than any in it."""
    text = sanitize(text).rstrip()
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}text\n{text}\n{fence}\n"


def escaped(text: str) -> str:
    """`text` on one line, with nothing in it that Markdown or HTML would obey."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~&@]|:(?=//)|(?<=www)\.)", r"\\\1", one_line(text, 2000))


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: str | Cell) -> str:
    if isinstance(cell, str):
        return escaped(cell)
    text = f"**{escaped(cell.text)}**" if cell.best else escaped(cell.text)
    return f"{text} ({escaped(cell.note)})" if cell.note else text
