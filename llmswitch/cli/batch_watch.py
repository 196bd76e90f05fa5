"""How far batches are while somebody waits: a bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from llmswitch.batches import BatchJob
from llmswitch.cli.cells import clip, terminal_width
from llmswitch.cli.shell import Shell
from llmswitch.cli.writer import Writer
from llmswitch.text import one_line

__all__ = ["Watch"]

_LINE_S = 60.0
_CELLS = 24


class Watch:
    """A `Watcher` (runs/batch/desk.py). As a context manager, the bar is gone at its end."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._drawn = shell.decorated(shell.stderr) and not shell.quiet
        self._writer: Writer | None = None
        self._jobs: dict[str, BatchJob] = {}
        self._next_line = shell.clock() + _LINE_S

    def told(self, line: str) -> None:
        """Something that was done or found."""
        self.wipe()
        self._shell.note(line)
        self._draw()

    def changed(self, job: BatchJob) -> None:
        """A job is further."""
        self._jobs[job.id] = job
        if not self._drawn and self._shell.clock() >= self._next_line:
            self._next_line = self._shell.clock() + _LINE_S
            self._shell.note(self._text())
        self._draw()

    def reading(self, lines: int) -> None:
        """So many lines of the input were read."""
        if self._drawn:
            self._show(f"{lines:,} lines read")

    def __enter__(self) -> Self:
        self._writer = Writer(self._shell.stderr) if self._drawn else None
        if self._writer is not None:
            self._writer.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.write("\r\x1b[K")
            writer.__exit__(kind, error, trace)

    def _counts(self) -> tuple[int, int, int]:
        """Lines that are over, that failed, and all, of the jobs that were heard of."""
        over = failed = every = 0
        for job in self._jobs.values():
            every += job.lines
            ended = job.state in ("ended", "stored", "done")
            over += job.lines if ended else min(job.lines, (job.done or 0) + (job.failed or 0))
            failed += job.failed or 0
        return over, failed, every

    def _text(self) -> str:
        over, failed, every = self._counts()
        states = [job.state for job in self._jobs.values()]
        parts = [f"{over:,} of {every:,} lines"]
        if failed:
            parts.append(f"{failed:,} failed")
        for name, word in (("sending", "being sent"), ("sent", "at the vendor")):
            if name in states:
                parts.append(f"{states.count(name)} job{'s' if states.count(name) > 1 else ''} {word}")
        return " · ".join(parts)

    def _draw(self) -> None:
        if not self._drawn or not self._jobs:
            return
        over, _, every = self._counts()
        filled = round(_CELLS * over / every) if every else 0
        self._show(f"{'━' * filled}{'─' * (_CELLS - filled)} {self._text()}")

    def _show(self, text: str) -> None:
        if self._writer is not None:
            self._writer.write(f"\r\x1b[K{clip(one_line(text), terminal_width(self._shell.stderr))}")

    def wipe(self) -> None:
        """Take the bar away, for what is said now; the next change draws it again."""
        if self._writer is not None:
            self._writer.write("\r\x1b[K")
            self._writer.wait(1.0)
