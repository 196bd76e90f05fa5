"""How far a bench is: a line that is drawn anew on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from types import TracebackType
from typing import Self

from llmswitch.cli.cells import clip, terminal_width
from llmswitch.cli.shell import Shell
from llmswitch.cli.writer import Writer
from llmswitch.reports.rows import money
from llmswitch.runs.bench.model import SampleRow

__all__ = ["Progress", "duration", "progress_text"]

#: seconds between two pictures on a terminal, and between two lines elsewhere
_FRAME_S, _LINE_S = 0.2, 60.0
_CELLS = 24


def duration(seconds: float) -> str:
    """`42 s`, `3 min`, `1 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def progress_text(
    done: int, planned: int | None, *, failed: int, spent: Decimal | None, exact: bool, left_s: float | None
) -> str:
    """`120 of 400 · 3 errors · ~$0.12 so far · 4 min left`; what is not known yet is left out."""
    parts = [f"{done:,} of {planned:,}" if planned is not None else f"{done:,} samples"]
    if failed:
        parts.append(f"{failed:,} error{'s' if failed > 1 else ''}")
    if spent is not None:
        parts.append(f"{money(spent, exact=exact)} so far")
    if left_s is not None:
        parts.append(f"{duration(left_s)} left")
    return " · ".join(parts)


class Progress:
    """A `Watcher` that tells on stderr how far it is. `each` is called now and then with the number of samples."""

    def __init__(
        self, shell: Shell, writer: Writer, *, planned: int | None, duration_s: float | None, each: Callable[[], None]
    ) -> None:
        self._shell, self._writer, self._each = shell, writer, each
        self._planned, self._duration_s = planned, duration_s
        self._drawn = shell.decorated(shell.stderr) and not shell.quiet
        self._done = self._failed = 0
        self._before = 0
        #: None as long as no price is known
        self._spent: Decimal | None = None
        self._exact = True
        self._began = shell.clock()
        self._next_line = self._began + _LINE_S
        self._task: asyncio.Task[None] | None = None

    def began(self, done: int) -> None:
        """See `Watcher`."""
        self._began, self._done, self._before = self._shell.clock(), done, done
        self._task = asyncio.get_running_loop().create_task(self._keep_telling())

    def counted(self, row: SampleRow) -> None:
        """See `Watcher`."""
        self._done += 1
        self._failed += row.error is not None
        if row.cost is not None:
            self._spent = (self._spent or Decimal(0)) + Decimal(row.cost["amount"])
            self._exact = self._exact and bool(row.cost["exact"])
        elif row.answered:
            self._exact = False

    def told(self, line: str) -> None:
        """See `Watcher`."""
        if self._drawn:
            self._draw(f"{line}…")

    async def _keep_telling(self) -> None:
        while True:
            if self._drawn:
                self._draw(self._bar() + self._text())
            elif self._shell.clock() >= self._next_line:
                self._next_line += _LINE_S
                self._shell.note(self._text())
            self._each()
            await asyncio.sleep(_FRAME_S if self._drawn else 1.0)

    def _draw(self, text: str) -> None:
        self._writer.write(f"\r\x1b[K{clip(text, terminal_width(self._shell.stderr))}")

    def _share(self) -> float | None:
        if self._duration_s is not None:
            return min(1.0, (self._shell.clock() - self._began) / self._duration_s)
        return self._done / self._planned if self._planned else None

    def _bar(self) -> str:
        share = self._share()
        if share is None:
            return ""
        filled = round(_CELLS * share)
        return f"{'━' * filled}{'─' * (_CELLS - filled)} "

    def _text(self) -> str:
        share, elapsed = self._share(), self._shell.clock() - self._began
        left_s = None
        if self._duration_s is not None and share is not None:
            left_s = self._duration_s - elapsed
        elif self._planned and self._done > self._before:
            left_s = (self._planned - self._done) * elapsed / (self._done - self._before)
        return progress_text(
            self._done,
            self._planned,
            failed=self._failed,
            spent=self._spent,
            exact=self._exact,
            left_s=None if left_s is None else max(0.0, left_s),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn:
            self._writer.write("\r\x1b[K")
