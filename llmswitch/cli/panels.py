"""What is shown of each target while answers come: its state, its figures so far, the end of its text."""

from __future__ import annotations

from collections.abc import Sequence

from llmswitch.cli.answers import GAP, column_width, said
from llmswitch.cli.cells import barrier, cells, clip
from llmswitch.cli.tail import Tail
from llmswitch.reports.rows import seconds
from llmswitch.runs.sampling import Sample
from llmswitch.text import Sanitizer, one_line, sanitize

__all__ = ["Panel", "side_by_side", "stacked"]

#: cells of a target's name, up to half of all, that what is told of it never takes
_NAME = 20
#: bytes that are taken for a token, as `text.estimate_tokens` does
_TOKEN = 4
_FINISHES = {"stop": "", "length": "cut at the token limit"}
_BOLD, _DIM, _RED, _GREEN, _CYAN, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[36m", "\x1b[0m"


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
        self._ready = ""
        self._sanitizer = Sanitizer()
        self._tail = Tail()
        self._first_s: float | None = None
        self._span_s = 0.0
        self._bytes = self._first_bytes = 0
        self._told = ""

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
        passed = now - (self._started_at if self._started_at is not None else now)
        if self._first_s is None:
            self._first_s, self._first_bytes = passed, size
        self._span_s = passed - self._first_s
        self._bytes += size
        self._pieces.append(piece)

    def restarted(self) -> None:
        """What came is void: the answer begins again, and its clock goes on."""
        self._begin()

    def told(self, line: str) -> None:
        """What it does while nothing comes."""
        self._told = one_line(line, 500)

    def ended(self, sample: Sample) -> None:
        """The call is over."""
        self.sample, self._started_at = sample, None
        self.calls += 1
        self._ready = self._taken() + self._sanitizer.close()
        if sample.error is not None:
            self._ready += ("\n\n" if self._bytes else "") + said(sample.error)
        elif sample.response is not None and not self._bytes:
            self._ready = sanitize(sample.response.text) or "(empty answer)"

    def _taken(self) -> str:
        """What is there for the tail and not yet in it."""
        text, self._pieces = "".join(self._pieces), []
        return self._ready + self._sanitizer.feed(text)

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
        if self.running and self._told and not self._bytes:
            return self._told
        response = self.sample.response if self.sample else None
        if response is None or (self.running and self._bytes):
            told = [_first_token(self._first_s), self._estimate()]
        else:
            rate = response.output_tokens_per_s
            told = [
                _FINISHES.get(response.finish_reason, response.finish_reason),
                _first_token(response.timing.time_to_first_token_s),
                self._estimate() if rate is None else f"{rate:.0f} tokens/s",
            ]
        return " · ".join(part for part in told if part)

    def _estimate(self) -> str:
        """Tokens after the first piece over the time they took."""
        counted = (self._bytes - self._first_bytes) / _TOKEN
        return f"~{counted / self._span_s:.0f} tokens/s" if self._span_s > 0 and counted > 0 else ""

    def rows(self, width: int, height: int) -> list[str]:
        """The end of its text."""
        self._tail.feed(self._taken())
        self._ready = ""
        return self._tail.rows(width, height)


def _first_token(value: float | None) -> str:
    return "" if value is None else f"first token {seconds(value)}"


def side_by_side(panels: Sequence[Panel], size: tuple[int, int], now: float, *, connected: bool) -> list[str]:
    """One column a panel: who and how it goes, figures, a line, the text."""
    width, height = size
    each = column_width(len(panels), width)
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
    mark = barrier(parts)
    row = parts[0]
    for number, part in enumerate(parts[1:], 1):
        row += f"\x1b[{number * (each + GAP) - 1}G\x1b[K{mark}{_DIM}│{_RESET}{mark} {part}"
    return row


def stacked(panels: Sequence[Panel], size: tuple[int, int], now: float, *, connected: bool) -> list[str]:
    """One panel below the other: a line that holds all about it, and as much of the text's end as there is room."""
    width, height = size
    each, more = divmod(height, len(panels))
    rows = []
    for number, panel in enumerate(panels[:height]):
        status, colour = panel.status(now, connected=connected)
        figures = panel.figures()
        room = max(1, width - min(cells(panel.target), _NAME, width // 2) - 3)
        told = clip(f"{status} · {figures}" if figures else status, room)
        name = clip(panel.target, max(1, width - cells(told) - 3))
        line = "─" * max(0, width - cells(name) - cells(told) - 3)
        rows.append(f"{_BOLD}{name}{_RESET} {colour}{told}{_RESET} {_DIM}{line}{_RESET}")
        lines = each + (1 if number < more else 0) - 1
        text = panel.rows(width, lines)
        rows += [*text, *[""] * (lines - len(text))]
    return rows[:height]
