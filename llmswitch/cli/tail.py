"""The end of a text that grows, in the rows of a column, at a cost that grows with what is new alone."""

from __future__ import annotations

from collections import deque

from llmswitch.cli.cells import wrap

__all__ = ["Tail"]

#: characters and rows that are kept: more than a terminal shows
_KEPT = 40_000
_KEPT_ROWS = 400


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
        shown = [*self._rows, self._open] if self._open else list(self._rows)
        return shown[-height:] if height > 0 else []
