"""A comparison while it is asked: columns of answers on a terminal, headings in a pipe, or a bar on stderr."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TextIO

from llmswitch.cli.answers import Headings, fits_columns
from llmswitch.cli.bar import Bar, progress_line
from llmswitch.cli.panels import Panel, side_by_side, stacked
from llmswitch.cli.screen import Screen
from llmswitch.cli.shell import Shell
from llmswitch.runs.ask import Services
from llmswitch.runs.compare import Comparison, Job, compare
from llmswitch.runs.sampling import Sample

__all__ = ["Columns", "run_compare"]

#: seconds between pictures; by the first one, answers that were all in the cache are there
_FRAME_S = 0.15


def run_compare(shell: Shell, job: Job, services: Services, *, shown: bool) -> Comparison:
    """Ask every target. Raises what `compare` does, and KeyboardInterrupt for a Ctrl-C before anything was asked.

    With `shown`, a terminal shows the answers as they come, and is as it was after that; a pipe has them for good,
    unless each was asked more than once.
    """
    with shell.holding_notes():
        if shown and shell.decorated(shell.stdout):
            return asyncio.run(_in_columns(shell, job, services))
        if shown and job.repeats == 1:
            headings = Headings(shell)
            comparison = asyncio.run(compare(job, services, headings))
            headings.finish(comparison)
            return comparison
        with Bar(shell, calls=len(job.calls) * job.repeats, judge=_judge(job)) as bar:
            return asyncio.run(compare(job, services, bar))


def _judge(job: Job) -> str | None:
    return job.judge.target.text if job.judge else None


async def _in_columns(shell: Shell, job: Job, services: Services) -> Comparison:
    columns = Columns(
        shell.stdout,
        [call.target.text for call in job.calls],
        calls=len(job.calls) * job.repeats,
        judge=_judge(job),
        size=shutil.get_terminal_size,
        clock=shell.clock,
    )
    async with columns:
        return await compare(job, services, columns)


class Columns:
    """Draws what it is told as a `Progress`, from a task of its own, while `async with` lasts.

    `calls` is how many there will be in all, `judge` who judges after them; `size` gives columns and lines of the
    terminal behind `stream`, `clock` seconds. What comes is kept, and looked at when the next picture is due.
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
        self._connected = False
        self._task: asyncio.Task[None] | None = None

    def started(self, index: int) -> None:
        """The call goes out now."""
        self._panels[index].started(self._clock())

    def text(self, index: int, piece: str) -> None:
        """A piece of the answer came."""
        self._panels[index].text(self._clock(), piece)

    def ended(self, index: int, sample: Sample) -> None:
        """The call is over, however it ended."""
        self._panels[index].ended(sample)
        self._connected = self._connected or sample.response is None or not sample.response.cached

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep_drawing())
        with contextlib.suppress(NotImplementedError):  # Windows, where nothing asks a process to end
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._terminated)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
        if self._task is not None:
            self._task.cancel()
        self._leave()

    def _leave(self) -> None:
        # a terminal that is gone has nothing to be put right
        with contextlib.suppress(OSError):
            self._screen.leave()

    def _terminated(self) -> None:
        """End as if this had not been caught, but leave the terminal as it was."""
        self._leave()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    async def _keep_drawing(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                await asyncio.sleep(_FRAME_S)
                # in a thread: a terminal that is slow, or stopped with Ctrl-S, must not hold up the clocks
                await asyncio.to_thread(self._screen.draw, *self.picture())

    def picture(self) -> tuple[list[str], tuple[int, int]]:
        """Every row of the terminal, and its size."""
        width, height = size = self._size()
        self._connected = self._connected or any(panel.running for panel in self._panels)
        arrange = side_by_side if fits_columns(len(self._panels), width) else stacked
        room = (width, max(1, height - 1))
        rows = arrange(self._panels, room, self._clock(), connected=self._connected)
        return [*rows, self._footer(len(rows))][:height], size

    def _footer(self, rows: int) -> str:
        hidden = f"{len(self._panels) - rows} more targets · " if rows < len(self._panels) else ""
        if not self._connected and any(panel.sample is None for panel in self._panels):
            return f"{hidden}loading what the targets need"
        done = sum(panel.calls for panel in self._panels)
        stop = "" if done >= self._calls else " · Ctrl-C keeps what is finished"
        return f"{hidden}{progress_line(done, self._calls, self._judge)}{stop}"
