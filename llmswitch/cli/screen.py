"""A picture over the whole terminal, drawn anew while it changes, and gone without a trace at its end.

On the alternate screen, because what was printed before then stays as it is, and because a picture there survives
what else happens to a terminal: it is resized, it echoes a ^C, a library writes a warning to it. Rows are placed by
their number and never wrap, so none of that can push one out of place; now and then all are drawn again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TextIO

__all__ = ["Screen"]

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
# a terminal that has no alternate screen is at least left clean
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[H\x1b[2J\x1b[?1049l"
#: seconds until rows that did not change are drawn again
_HEALED_S = 1.0


class Screen:
    """Draws on `stream`, from any thread. Nothing happens to the terminal before the first picture."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._clock = clock
        self._lock = threading.Lock()
        self._rows: list[str] = []
        self._size = (0, 0)
        self._healed_at = 0.0
        self._entered = self._left = False

    def draw(self, rows: Sequence[str], size: tuple[int, int]) -> None:
        """Show `rows`, one string a row of a terminal of `size` (columns, lines); raises OSError."""
        with self._lock:
            if self._left:
                return
            parts = [] if self._entered else [_ENTER]
            self._entered = True
            now = self._clock()
            if size != self._size or now - self._healed_at >= _HEALED_S:
                # what a smaller picture left behind goes; the same picture is written over without a flicker
                parts.append("\x1b[2J" if size != self._size else "")
                self._rows, self._size, self._healed_at = [], size, now
            before = [*self._rows, *[None] * (len(rows) - len(self._rows))]
            for number, (row, old) in enumerate(zip(rows, before, strict=False), 1):
                if row != old:
                    parts.append(f"\x1b[{number};1H\x1b[K{row}\x1b[0m")
            self._rows = list(rows)
            # at home, an Enter that the terminal echoes scrolls nothing
            self._write("".join(parts) + "\x1b[H")

    def leave(self) -> None:
        """Bring back what was there before; harmless where nothing was drawn. Raises OSError."""
        with self._lock:
            entered, self._left = self._entered and not self._left, True
            if entered:
                self._write(_LEAVE)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
