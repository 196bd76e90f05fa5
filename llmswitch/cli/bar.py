"""How far many calls are, in one line."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from llmswitch.cli.cells import clip, terminal_width
from llmswitch.cli.shell import Shell
from llmswitch.cli.writer import Writer
from llmswitch.runs.sampling import Sample
from llmswitch.text import one_line

__all__ = ["Bar", "progress_line"]

_CELLS = 30


def progress_line(done: int, calls: int, judge: str | None, width: int) -> str:
    """How many calls are over, and who judges after them; where `width` cells are too few, it is the bar that gives."""
    if done >= calls and judge is not None:
        return f"judging: {one_line(judge, 60)} ranks the answers…"
    told = f"{done} of {calls} calls"
    whole = max(0, min(_CELLS, width - len(told) - 1))
    filled = round(whole * done / calls)
    return f"{'━' * filled}{'─' * (whole - filled)} {told}".lstrip()


class Bar:
    """How far it is, on a stderr that is a terminal, as a `Progress`; gone at the end. `writer` writes to stderr."""

    def __init__(self, shell: Shell, writer: Writer, *, calls: int, judge: str | None) -> None:
        self._writer = writer
        self._stream = shell.stderr if shell.decorated(shell.stderr) and not shell.quiet else None
        self._calls = calls
        self._judge = judge
        self._done = 0

    def started(self, index: int) -> None:
        """Before the first call ends there is something to see, too."""
        self._draw()

    def text(self, index: int, piece: str) -> None:
        """Of no concern here."""

    def restarted(self, index: int) -> None:
        """Of no concern here."""

    def told(self, index: int, line: str) -> None:
        """Of no concern here."""

    def ended(self, index: int, sample: Sample) -> None:
        """One more."""
        self._done += 1
        self._draw()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._writer.write("\r\x1b[K")

    def _draw(self) -> None:
        if self._stream is not None:
            width = terminal_width(self._stream)
            line = clip(progress_line(self._done, self._calls, self._judge, width), width)
            self._writer.write(f"\r\x1b[K{line}")
