"""Markdown of a model as rich draws it, with nothing left out.

Rich hides HTML tags (and fails over a stray `</kbd>`), cuts the cells of a wide table, drops columns that do not fit,
and shows an image's name alone; Markdown itself hides the addresses of references. In an answer all that is content.
Imported only to draw on a terminal: this takes 0.2 s.
"""

from __future__ import annotations

from typing import ClassVar

from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markdown import Markdown, MarkdownElement, TableElement
from rich.table import Table
from rich.text import Text

__all__ = ["markdown"]

#: cells of a table's column, its gap included, below which a row is shown as a line
_NARROWEST = 8
#: blocks around a block, a list counted with its item
_DEEPEST = 8
#: rules of the parser; without them what they are about is text
_HIDING = ("html_block", "html_inline", "reference", "image")


class _WholeTable(TableElement):
    """Long cells are folded, and a table with too many columns for its place is shown as lines."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = [*([self.header.row] if self.header and self.header.row else []), *(self.body.rows if self.body else [])]
        if options.max_width < _NARROWEST * max((len(row.cells) for row in rows), default=0):
            for row in rows:
                yield Text(" | ").join(cell.content for cell in row.cells)
            return
        for table in super().__rich_console__(console, options):
            if isinstance(table, Table):
                for column in table.columns:
                    column.overflow = "fold"
            yield table


class _WholeMarkdown(Markdown):
    """A link that says one address and leads to another is shown as both."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {**Markdown.elements, "table_open": _WholeTable}

    def __init__(self, text: str) -> None:
        super().__init__("", hyperlinks=False)
        self.parsed = MarkdownIt().enable(["strikethrough", "table"]).disable(_HIDING).parse(text)


def markdown(text: str) -> RenderableType:
    """What draws `text`, sanitized: as Markdown, or as it is where lists stand in lists too deeply for a column."""
    whole = _WholeMarkdown(text)
    # at twenty the parser leaves things out, and long before that no width is left
    return Text(text) if any(token.level > _DEEPEST for token in whole.parsed) else whole
