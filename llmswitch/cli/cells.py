"""Text in the cells of a terminal: how many it takes, cut and wrapped to fit.

Terminals differ on what an emoji made of several characters takes. Here the most counts, so that a row that fits by
these rules fits on all of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import TextIO

from rich.cells import get_character_cell_size

__all__ = ["barrier", "cells", "clip", "terminal_width", "wrap"]

#: characters in a row, for each cell of it: one base may carry any number of combining marks
_CROWD = 8
#: makes an emoji, two cells wide, of some characters of one
_VARIATION_16 = "\ufe0f"
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefe\U00010800-\U00010fff\U0001e800-\U0001efff]")
_LEFT_TO_RIGHT_MARK = "\u200e"


def _size(character: str) -> int:
    return 1 if character == _VARIATION_16 else get_character_cell_size(character)


def cells(text: str) -> int:
    """Cells that `text`, one line, takes at most."""
    return len(text) if text.isascii() else sum(map(_size, text))


def clip(text: str, width: int) -> str:
    """`text` on at most `width` cells, of which there is one at least; an ellipsis where it was cut."""
    if cells(text) <= width:
        return text
    kept, used = "", 0
    for character in text:
        used += _size(character)
        if used >= width:
            break
        kept += character
    return f"{kept}…"


def barrier(row: Iterable[str]) -> str:
    """What goes on both sides of a line between the parts of a row, so that right-to-left text stays in its part.

    Nothing where there is no such text; else a mark without width: a terminal that puts such text in its order takes
    two parts of it, and the line between them, for one.
    """
    return _LEFT_TO_RIGHT_MARK if any(_RIGHT_TO_LEFT.search(part) for part in row) else ""


def wrap(line: str, width: int) -> list[str]:
    """Rows of at most `width` cells, broken at spaces and before wide characters; the last one may still grow.

    More text at the end of `line` changes no row but the last, and `wrap(last + more, width)` gives what follows.
    """
    if line.isascii():
        return _wrap_narrow(line, width)
    rows, start, used = [], 0, 0
    #: where the row can end, where the next one then starts, the cells of it before that
    gap: tuple[int, int, int] | None = None
    for at, character in enumerate(line):
        size = _size(character)
        if at > start and character == " ":
            gap = (at, at + 1, used + 1)
        elif at > start and size == 2:
            gap = (at, at, used)
        while at > start and (used + size > width or at - start >= _CROWD * width):
            end, following, before = gap or (at, at, used)
            rows.append(line[start:end])
            start, used, gap = following, used - before, None
        used += size
    return [*rows, line[start:]]


def _wrap_narrow(line: str, width: int) -> list[str]:
    rows, start = [], 0
    while len(line) - start > width:
        space = line.rfind(" ", start + 1, start + width + 1)
        end = space if space > 0 else start + width
        rows.append(line[start:end])
        start = end + 1 if space > 0 else end
    return [*rows, line[start:]]


def terminal_width(stream: TextIO) -> int:
    """Cells of the terminal behind `stream`, which need not be stdout's; 80 where it does not tell."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80
