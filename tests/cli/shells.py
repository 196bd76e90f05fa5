"""A shell whose streams are kept, and may pass for terminals."""

from __future__ import annotations

import io
from pathlib import Path

from llmswitch.cli.shell import Shell


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_a_terminal(*, stdout: bool = False, stderr: bool = False, quiet: bool = False) -> Shell:
    """`stdout` and `stderr` tell which of them is a terminal."""
    out, err = (_Terminal() if tty else io.StringIO() for tty in (stdout, stderr))
    return Shell({}, Path.cwd(), io.StringIO(), out, err, quiet=quiet)
