"""What is shown of each target while answers come: its state, its figures so far, the end of its text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llmswitch.cli.tail import Tail, cells, clip
from llmswitch.reports.rows import seconds
from llmswitch.runs.sampling import Sample
from llmswitch.text import Sanitizer, one_line
from llmswitch.types import Response

__all__ = ["NARROWEST", "Panel", "side_by_side", "stacked"]

#: cells of a column that can still be read
NARROWEST = 36
_GAP = 3
#: bytes that are taken for a token, as `text.estimate_tokens` does
_TOKEN = 4
_BOLD, _DIM, _RED, _GREEN, _CYAN, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[36m", "\x1b[0m"
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\U00010800-\U00010fff\U0001e800-\U0001efff]")
#: a terminal that reorders right-to-left text would carry it across a line between two columns without this
_LEFT_TO_RIGHT = "\u200e"


class Panel:
    """One target. What comes is only kept; it is looked at when it is drawn."""

    def __init__(self, target: str) -> None:
        self.target = one_line(target, 200)
        self.sample: Sample | None = None
        self.calls = 0
        self._started_at: float | None = None
        self._begin()

    def _begin(self) -> None:
        self._pieces: list[str] = []
        self._sanitizer = Sanitizer()
        self._tail = Tail()
        self._first_at = self._last_at = 0.0
        self._bytes = self._first_bytes = 0

    @property
    def running(self) -> bool:
        """Whether a call is on its way."""
        return self._started_at is not None

    def started(self, now: float) -> None:
        """A call goes out; what the one before it said is gone, its figures stay until there are newer ones."""
        self._begin()
        self._started_at = now

    def text(self, now: float, piece: str) -> None:
        """A piece of its answer came."""
        size = len(piece.encode("utf-8", "replace"))
        if not self._bytes:
            self._first_at, self._first_bytes = now, size
        self._last_at = now
        self._bytes += size
        self._pieces.append(piece)

    def ended(self, sample: Sample) -> None:
        """The call is over."""
        self.sample, self._started_at = sample, None
        self.calls += 1
        if sample.error is not None:
            self._note(f"{sample.error.kind}: {one_line(sample.error.message, 2000)}")
        elif sample.response is not None:
            if not self._bytes:
                self._pieces.append(sample.response.text)
            if not sample.response.text.strip():
                self._note("(empty answer)")

    def _note(self, text: str) -> None:
        self._pieces.append(f"\n\n{text}" if self._bytes else text)

    def status(self, now: float, *, connected: bool) -> tuple[str, str]:
        """State and clock, and the colour to show them in."""
        if self._started_at is not None:
            state = "streaming" if self._bytes else "waiting"
            return f"{state} {now - self._started_at:.1f} s", _CYAN
        if self.sample is None:
            return ("queued" if connected else "connecting"), _DIM
        if self.sample.response is None:
            return (self.sample.error.kind if self.sample.error else "failed"), _RED
        if self.sample.response.cached:
            return "cached", _GREEN
        return f"done {seconds(self.sample.response.duration_s)}", _GREEN

    def figures(self) -> str:
        """First token and tokens a second: of the call that runs, estimated; of one that is over, the vendor's."""
        response = self.sample.response if self.sample else None
        if not self._bytes and response is None:
            return ""
        if self.running or response is None:
            first = self._first_at - self._started_at if self._bytes and self._started_at is not None else None
            rate = None
        else:
            first, rate = response.timing.time_to_first_token_s, response.output_tokens_per_s
        told = [f"first token {seconds(first)}" if first is not None else "", self._rate(rate), _noted(response)]
        return " · ".join(part for part in told if part)

    def _rate(self, exact: float | None) -> str:
        if exact is not None:
            return f"{exact:.0f} tokens/s"
        span, counted = self._last_at - self._first_at, (self._bytes - self._first_bytes) / _TOKEN
        return f"~{counted / span:.0f} tokens/s" if span > 0 and counted > 0 else ""

    def rows(self, width: int, height: int) -> list[str]:
        """The end of its text."""
        if self._pieces:
            text, self._pieces = "".join(self._pieces), []
            self._tail.feed(self._sanitizer.feed(text))
        return self._tail.rows(width, height)


def _noted(response: Response | None) -> str:
    if response is None or response.finish_reason == "stop":
        return ""
    return "cut at the token limit" if response.finish_reason == "length" else response.finish_reason


def side_by_side(panels: Sequence[Panel], size: tuple[int, int], now: float, *, connected: bool) -> list[str]:
    """One column a panel: who and how it goes, figures, a line, the text."""
    width, height = size
    each = (width - _GAP * (len(panels) - 1)) // len(panels)
    columns = []
    for panel in panels:
        status, colour = panel.status(now, connected=connected)
        name = clip(panel.target, max(1, each - len(status) - 1))
        space = " " * max(1, each - cells(name) - len(status))
        columns.append(
            [
                f"{_BOLD}{name}{_RESET}{space}{colour}{status}{_RESET}",
                f"{_DIM}{clip(panel.figures(), each)}{_RESET}",
                f"{_DIM}{'─' * each}{_RESET}",
                *panel.rows(each, height - 3),
            ]
        )
    return [_joined([column[row] if row < len(column) else "" for column in columns], each) for row in range(height)]


def _joined(parts: Sequence[str], each: int) -> str:
    """Each part at its own place, whatever the terminal thinks of the width of what stands before it."""
    mark = _LEFT_TO_RIGHT if any(_RIGHT_TO_LEFT.search(part) for part in parts) else ""
    row = parts[0]
    for number, part in enumerate(parts[1:], 1):
        row += f"\x1b[{number * (each + _GAP) - 1}G\x1b[K{mark}{_DIM}│{_RESET}{mark} {part}"
    return row


def stacked(panels: Sequence[Panel], size: tuple[int, int], now: float, *, connected: bool) -> list[str]:
    """One panel below the other: a line that holds all about it, and as much of the text's end as there is room."""
    width, height = size
    each, more = divmod(height, len(panels))
    rows = []
    for number, panel in enumerate(panels[:height]):
        status, colour = panel.status(now, connected=connected)
        figures = panel.figures()
        told = clip(f"{status} · {figures}" if figures else status, max(1, width - 20))
        name = clip(panel.target, max(1, width - cells(told) - 4))
        line = "─" * max(0, width - cells(name) - cells(told) - 3)
        rows.append(f"{_BOLD}{name}{_RESET} {colour}{told}{_RESET} {_DIM}{line}{_RESET}")
        room = each + (1 if number < more else 0) - 1
        text = panel.rows(width, room)
        rows += [*text, *[""] * (room - len(text))]
    return rows[:height]
