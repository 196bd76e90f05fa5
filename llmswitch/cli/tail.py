"""The end of a text that grows, wrapped into the cells of a column, at a cost that grows with what is new alone."""

from __future__ import annotations

from collections import deque

from rich.cells import get_character_cell_size

__all__ = ["Tail", "cells", "clip", "wrap"]

#: characters and rows that are kept: more than any terminal shows
_KEPT = 40_000
_KEPT_ROWS = 400
#: characters in a row, for each cell of it: one base may carry any number of combining marks
_CROWD = 8
_VARIATION_16 = "\ufe0f"


def _size(character: str) -> int:
    """Cells, by the terminal that takes most: not all of them join an emoji's parts or widen its first one."""
    return 1 if character == _VARIATION_16 else get_character_cell_size(character)


def cells(text: str) -> int:
    """Cells that `text` takes at most."""
    return len(text) if text.isascii() else sum(map(_size, text))


def clip(text: str, width: int) -> str:
    """`text` on at most `width` cells, an ellipsis where it was cut."""
    if cells(text) <= width:
        return text
    kept, used = "", 0
    for character in text:
        used += _size(character)
        if used >= width:
            break
        kept += character
    return f"{kept}…"[:width]


def wrap(line: str, width: int) -> list[str]:
    """Rows of at most `width` cells, broken at spaces and beside wide characters; the last one may still grow.

    More text at the end of `line` changes no row but the last, and `wrap(last + more)` gives what follows it.
    """
    if line.isascii():
        return _wrap_narrow(line, width)
    rows, start, used = [], 0, 0
    #: where the row can end, where the next one then starts, the cells of it before that
    gap: tuple[int, int, int] | None = None
    for at, character in enumerate(line):
        size = _size(character)
        full = used + size > width
        if character == " " and at > start:
            gap = (at, at + 1, used + 1)
        elif size == 2 and at > start and not full:
            gap = (at, at, used)
        if at > start and (full or at - start >= _CROWD * width):
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


class Tail:
    """Takes sanitized text; gives the last rows of it."""

    def __init__(self) -> None:
        self._kept = ""
        self._new = ""
        self._rows: deque[str] = deque(maxlen=_KEPT_ROWS)
        self._open = ""
        self._width = 0

    def feed(self, text: str) -> None:
        """Take a piece."""
        if text:
            self._new = (self._new + text.replace("\t", "    "))[-_KEPT:]

    def rows(self, width: int, height: int) -> list[str]:
        """At most `height` rows of at most `width` cells."""
        text, self._new = self._new, ""
        self._kept = (self._kept + text)[-_KEPT:]
        if width != self._width or len(text) == _KEPT:
            self._rows.clear()
            self._width, self._open, text = width, "", self._kept
        *whole, last = (self._open + text).split("\n")
        for line in whole:
            self._rows.extend(wrap(line, width))
        *full, self._open = wrap(last, width)
        self._rows.extend(full)
        shown = [*self._rows, self._open] if self._open or not self._rows else list(self._rows)
        return shown[-height:] if height > 0 else []
