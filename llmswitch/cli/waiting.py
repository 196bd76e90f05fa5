"""What a call is doing while nothing comes: one line on stderr, gone when something does."""

from __future__ import annotations

from llmswitch.cli.cells import clip, terminal_width
from llmswitch.cli.shell import Shell, complain
from llmswitch.text import one_line

__all__ = ["Waiting"]


class Waiting:
    """On a terminal the line is drawn over; elsewhere each is a line of its own, under --verbose."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._drawn = shell.decorated(shell.stderr) and not shell.quiet
        self._shows = False

    def tell(self, line: str) -> None:
        """Show `line` in the place of the one before."""
        if self._drawn:
            width = max(1, terminal_width(self._shell.stderr) - 1)
            complain(self._shell.stderr, f"\r\x1b[K\x1b[2m{clip(one_line(line, 500), width)}\x1b[0m")
            self._shows = True
        elif self._shell.verbose:
            self.say(line)

    def say(self, line: str) -> None:
        """A line that stays; where the answer stands is at the start of one."""
        self.clear()
        if not self._shell.quiet:
            complain(self._shell.stderr, f"llmswitch: {one_line(line, 2000)}\n")

    def clear(self) -> None:
        """Nothing is waited for any more."""
        if self._shows:
            complain(self._shell.stderr, "\r\x1b[K")
            self._shows = False
