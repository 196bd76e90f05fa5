"""How far many calls are, in one line."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from llmswitch.cli.shell import Shell, complain
from llmswitch.runs.sampling import Sample
from llmswitch.text import one_line

__all__ = ["Bar", "progress_line"]

_CELLS = 30


def progress_line(done: int, calls: int, judge: str | None) -> str:
    """How many calls are over, and who judges after them."""
    if done >= calls and judge is not None:
        return f"judging: {one_line(judge, 60)} ranks the answers…"
    filled = round(_CELLS * done / calls)
    return f"{'━' * filled}{'─' * (_CELLS - filled)} {done} of {calls} calls"


class Bar:
    """How far it is, on a stderr that is a terminal, as a `Progress`; gone at the end."""

    def __init__(self, shell: Shell, *, calls: int, judge: str | None) -> None:
        self._stream = shell.stderr if shell.decorated(shell.stderr) and not shell.quiet else None
        self._calls = calls
        self._judge = judge
        self._done = 0

    def started(self, index: int) -> None:
        """Before the first call ends there is something to see, too."""
        self._draw(progress_line(self._done, self._calls, self._judge))

    def text(self, index: int, piece: str) -> None:
        """Of no concern here."""

    def ended(self, index: int, sample: Sample) -> None:
        """One more."""
        self._done += 1
        self._draw(progress_line(self._done, self._calls, self._judge))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._draw("")

    def _draw(self, text: str) -> None:
        if self._stream is not None:
            complain(self._stream, f"\r\x1b[K{text}")
