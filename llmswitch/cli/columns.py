"""Answers while they come, on a terminal: a column a target, or panels one below the other where it is narrow."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TextIO

from llmswitch.cli.panels import NARROWEST, Panel, side_by_side, stacked
from llmswitch.cli.screen import Screen
from llmswitch.runs.sampling import Sample
from llmswitch.text import one_line

__all__ = ["Columns", "fits_columns", "progress_line"]

#: seconds between pictures; before the first one, answers that were all in the cache are there
_FRAME_S = 0.15
_BAR = 30


def fits_columns(targets: int, width: int) -> bool:
    """Whether a terminal of `width` cells has room for that many columns."""
    return (width - 3 * (targets - 1)) // targets >= NARROWEST


def progress_line(done: int, calls: int, judge: str | None) -> str:
    """How far it is: how many calls are over, a bar where they are made one after another, and who judges then."""
    if done >= calls and judge is not None:
        return f"judging: {one_line(judge, 60)} ranks the answers…"
    filled = round(_BAR * done / calls)
    return f"{'━' * filled}{'─' * (_BAR - filled)} {done} of {calls} calls"


class Columns:
    """Draws what it is told of as a `Progress`, from a task of its own. `size` gives columns and lines, `clock` seconds.

    `calls` is how many there will be in all; `judge` who judges after them. Asked with `async with`.
    """

    def __init__(
        self,
        stream: TextIO,
        targets: Sequence[str],
        *,
        calls: int,
        judge: str | None,
        size: Callable[[], tuple[int, int]],
        clock: Callable[[], float],
    ) -> None:
        self._panels = [Panel(target) for target in targets]
        self._calls = calls
        self._judge = judge
        self._size = size
        self._clock = clock
        self._screen = Screen(stream, clock)
        self._connected = self._changed = False
        self._task: asyncio.Task[None] | None = None

    def started(self, index: int) -> None:
        """The call goes out now."""
        self._panels[index].started(self._clock())
        self._changed = True

    def text(self, index: int, piece: str) -> None:
        """A piece of the answer came."""
        self._panels[index].text(self._clock(), piece)
        self._changed = True

    def ended(self, index: int, sample: Sample) -> None:
        """The call is over, however it ended."""
        self._panels[index].ended(sample)
        self._changed = True

    async def __aenter__(self) -> Self:
        self._changed = True
        self._task = asyncio.create_task(self._keep_drawing())
        with contextlib.suppress(NotImplementedError):  # Windows, which ends a process without asking it
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._terminated)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
        if self._task is not None:
            self._task.cancel()
        # a terminal that is gone needs nothing put right
        with contextlib.suppress(OSError):
            self._screen.leave()

    def _terminated(self) -> None:
        """End as without a handler, but leave the terminal as it was."""
        with contextlib.suppress(OSError):
            self._screen.leave()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    async def _keep_drawing(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                await asyncio.sleep(_FRAME_S)
                if self._changed or any(panel.running for panel in self._panels):
                    self._changed = False
                    # in a thread: a terminal that is slow, or stopped with Ctrl-S, must not hold up the clocks
                    await asyncio.to_thread(self._screen.draw, *self.picture())

    def picture(self) -> tuple[list[str], tuple[int, int]]:
        """Every row of the terminal, and its size."""
        width, height = size = self._size()
        self._connected = self._connected or any(panel.running for panel in self._panels)
        room = (width, max(1, height - 1))
        arrange = side_by_side if fits_columns(len(self._panels), width) else stacked
        rows = arrange(self._panels, room, self._clock(), connected=self._connected)
        return [*rows, self._footer(len(rows))][:height], size

    def _footer(self, rows: int) -> str:
        hidden = f"{len(self._panels) - rows} more targets below · " if rows < len(self._panels) else ""
        if not self._connected and any(panel.sample is None for panel in self._panels):
            return f"{hidden}loading what the targets need"
        done = sum(panel.calls for panel in self._panels)
        stop = "" if done >= self._calls else " · Ctrl-C keeps what is finished"
        return f"{hidden}{progress_line(done, self._calls, self._judge)}{stop}"
