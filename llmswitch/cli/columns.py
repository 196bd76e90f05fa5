"""A comparison while it is asked: columns of answers on a terminal, headings in a pipe, or a bar on stderr."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from llmswitch.cli.answers import Headings, fits_columns
from llmswitch.cli.bar import Bar, progress_line
from llmswitch.cli.cells import cells, clip
from llmswitch.cli.panels import Panel, side_by_side, stacked
from llmswitch.cli.screen import Screen
from llmswitch.cli.shell import Shell
from llmswitch.cli.writer import HURRIED_S, Writer
from llmswitch.runs.ask import Services
from llmswitch.runs.compare import Comparison, Job, compare
from llmswitch.runs.sampling import Sample

__all__ = ["Columns", "run_compare"]

#: seconds between pictures; by the first one, answers that were all in the cache are there
_FRAME_S = 0.15
#: what ends or stops the process, and must not leave the picture behind
_CAUGHT = () if sys.platform == "win32" else (signal.SIGTERM, signal.SIGTSTP)


def run_compare(shell: Shell, job: Job, services: Services, *, shown: bool) -> Comparison:
    """Ask every target. Raises what `compare` does, and KeyboardInterrupt for a Ctrl-C before anything was asked.

    With `shown`, a terminal shows the answers as they come, and is as it was after that; a pipe has them for good,
    unless each was asked more than once.
    """
    with shell.holding_notes():
        if shown and shell.decorated(shell.stdout):
            with Writer(shell.stdout) as writer:
                return asyncio.run(_in_columns(shell, writer, job, services))
        if shown and job.repeats == 1:
            with Writer(shell.stdout) as writer:
                headings = Headings(writer)
                comparison = asyncio.run(compare(job, services, headings))
                headings.finish(comparison)
            return comparison
        calls = len(job.calls) * job.repeats
        with Writer(shell.stderr) as writer, Bar(shell, writer, calls=calls, judge=_judge(job)) as bar:
            return asyncio.run(compare(job, services, bar))


def _judge(job: Job) -> str | None:
    return job.judge.target.text if job.judge else None


async def _in_columns(shell: Shell, writer: Writer, job: Job, services: Services) -> Comparison:
    columns = Columns(
        writer,
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
    terminal that `writer` writes to, `clock` seconds. What comes is kept, and looked at when the next picture is due.
    """

    def __init__(
        self,
        writer: Writer,
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
        self._writer = writer
        self._screen = Screen(clock)
        self._connected = False
        self._task: asyncio.Task[None] | None = None

    def started(self, index: int) -> None:
        """The call goes out now."""
        self._panels[index].started(self._clock())

    def text(self, index: int, piece: str) -> None:
        """A piece of the answer came."""
        self._panels[index].text(self._clock(), piece)

    def restarted(self, index: int) -> None:
        """The answer begins again."""
        self._panels[index].restarted()

    def told(self, index: int, line: str) -> None:
        """What the call does while nothing comes."""
        self._panels[index].told(line)

    def ended(self, index: int, sample: Sample) -> None:
        """The call is over, however it ended."""
        self._panels[index].ended(sample)
        self._connected = self._connected or sample.response is None or not sample.response.cached

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep_drawing())
        for number in _CAUGHT:
            if signal.getsignal(number) is signal.SIG_DFL:
                asyncio.get_running_loop().add_signal_handler(number, self._obey, number)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in _CAUGHT:
            asyncio.get_running_loop().remove_signal_handler(number)
        if self._task is not None:
            self._task.cancel()
        self._writer.write(self._screen.leave())

    def _obey(self, number: int) -> None:
        """End or stop as if this had not been caught, but leave the terminal as it was; after `fg` all is drawn."""
        self._writer.write(self._screen.leave())
        self._writer.wait(HURRIED_S)
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(number)
        os.kill(os.getpid(), number)
        loop.add_signal_handler(number, self._obey, number)

    async def _keep_drawing(self) -> None:
        while True:
            await asyncio.sleep(_FRAME_S)
            # a terminal that is slow, or stopped with Ctrl-S, gets fewer pictures; one that runs another job gets none
            if self._writer.idle and _in_front(self._writer.fileno()):
                self._writer.write(self._screen.draw(*self.picture()))

    def picture(self) -> tuple[list[str], tuple[int, int]]:
        """Every row of the terminal, and its size."""
        width, height = size = self._size()
        self._connected = self._connected or any(panel.running for panel in self._panels)
        arrange = side_by_side if fits_columns(len(self._panels), width) else stacked
        room = (width, max(1, height - 1))
        rows = arrange(self._panels, room, self._clock(), connected=self._connected)
        return [*rows, self._footer(len(rows), width)][:height], size

    def _footer(self, rows: int, width: int) -> str:
        hidden = f"{len(self._panels) - rows} more targets · " if rows < len(self._panels) else ""
        if not self._connected and any(panel.sample is None for panel in self._panels):
            return clip(f"{hidden}loading what the targets need", width)
        done = sum(panel.calls for panel in self._panels)
        stop = "" if done >= self._calls else " · Ctrl-C keeps what is finished"
        progress = progress_line(done, self._calls, self._judge, width - cells(hidden) - cells(stop))
        return clip(f"{hidden}{progress}{stop}", width)


def _in_front(terminal: int) -> bool:
    """Whether this is the job that the user looks at: neither `&` nor, after Ctrl-Z, `bg` sent it behind another."""
    try:
        return sys.platform == "win32" or os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:  # a terminal that has no jobs
        return True
