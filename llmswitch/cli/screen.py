"""A picture over the whole terminal, drawn anew while it changes, and gone without a trace at its end.

On the alternate screen, because what was printed before then stays as it is, and because a picture there survives
what else happens to a terminal: it is resized, it echoes a ^C, a library writes a warning to it. Rows are placed by
their number and never wrap, so none of that can push one out of place; now and then all are drawn again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["Screen"]

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
# a terminal that has no alternate screen is at least left clean
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[H\x1b[2J\x1b[?1049l"
#: seconds until rows that did not change are drawn again
_HEALED_S = 1.0


class Screen:
    """What to send to a terminal, given what it was sent before. Nothing happens to it before the first picture."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rows: list[str] = []
        self._size = (0, 0)
        self._healed_at = 0.0
        self._entered = False

    def draw(self, rows: Sequence[str], size: tuple[int, int]) -> str:
        """What shows `rows`, one string a row of a terminal of `size` (columns, lines)."""
        parts = [] if self._entered else [_ENTER]
        now = self._clock()
        if not self._entered or size != self._size or now - self._healed_at >= _HEALED_S:
            # what a smaller picture left behind goes; the same picture is written over without a flicker
            parts.append("\x1b[2J" if size != self._size else "")
            self._rows, self._size, self._healed_at = [], size, now
        self._entered = True
        before = [*self._rows, *[None] * (len(rows) - len(self._rows))]
        for number, (row, old) in enumerate(zip(rows, before, strict=False), 1):
            if row != old:
                parts.append(f"\x1b[{number};1H\x1b[K{row}\x1b[0m")
        self._rows = list(rows)
        # at home, an Enter that the terminal echoes scrolls nothing
        return "".join(parts) + "\x1b[H"

    def leave(self) -> str:
        """What brings back what was there before, nothing where nothing was drawn; the next picture is a first one."""
        entered, self._entered = self._entered, False
        return _LEAVE if entered else ""
