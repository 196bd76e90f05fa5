"""How an answer gets to stdout while it comes: raw where it is piped, as Markdown on a terminal, into a file."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from llmswitch.cli.shell import Shell
from llmswitch.errors import StorageError
from llmswitch.text import Sanitizer

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["MarkdownPrinter", "OutputFile", "Printer", "RawPrinter", "finished_blocks", "printer"]


def printer(shell: Shell) -> Printer:
    """What fits stdout. For a terminal this imports rich, which takes 0.2 s."""
    return MarkdownPrinter(shell.stdout) if shell.decorated(shell.stdout) else RawPrinter(shell.stdout)


class Printer(Protocol):
    """Takes pieces of model output as they come. Nothing in them reaches a terminal unsanitized."""

    def write(self, text: str) -> None:
        """Show a piece."""
        ...

    def close(self) -> None:
        """Show the rest, and leave the cursor at the start of a line."""
        ...


class RawPrinter:
    """The text as it is, each piece at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._sanitizer = Sanitizer()
        self._ends_line = True

    def write(self, text: str) -> None:
        """Print a piece."""
        self._print(self._sanitizer.feed(text))

    def close(self) -> None:
        """Print the rest and a newline where there is none."""
        self._print(self._sanitizer.close())
        if not self._ends_line:
            self._print("\n")

    def _print(self, text: str) -> None:
        if text:
            self._stream.write(text)
            self._stream.flush()
            self._ends_line = text.endswith("\n")


_FENCE = re.compile(r"^ {0,3}(```+|~~~+)", re.MULTILINE)
_CONTINUES = re.compile(r"[ \t]|(?:[-*+]|\d{1,9}[.)])[ \t]")


def finished_blocks(text: str) -> int:
    """How much of `text`, in characters, is whole Markdown blocks that what follows cannot change.

    A block ends at a blank line outside a code fence, unless the next line is indented or goes on with a list.
    """
    done, position, fence = 0, 0, ""
    for line in text.splitlines(keepends=True):
        blank_before = text[max(0, position - 2) : position] == "\n\n"
        if blank_before and not fence and line.strip() and not _CONTINUES.match(line):
            done = position
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark.group(1)
        elif mark and mark.group(1).startswith(fence):
            fence = ""
        position += len(line)
    return done


class MarkdownPrinter:
    """Markdown on a terminal: finished blocks stay, the one that grows is drawn anew, at most ten times a second."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.markdown import Markdown

        self._markdown = Markdown
        self._console = Console(file=stream)
        self._live = Live(console=self._console, auto_refresh=False, transient=True, vertical_overflow="ellipsis")
        self._sanitizer = Sanitizer()
        self._pending = ""
        self._drawn_at = 0.0

    def write(self, text: str) -> None:
        """Take a piece; draw when it is time."""
        self._pending += self._sanitizer.feed(text)
        if not self._live.is_started:
            self._live.start()
        done = finished_blocks(self._pending) if "\n" in text else 0
        if done:
            self._console.print(self._rendered(self._pending[:done]))
            self._console.print()
            self._pending = self._pending[done:]
        now = time.monotonic()
        if done or now - self._drawn_at > 0.1:
            # only the end fits on a screen: drawing a long block whole each time would cost more and more
            self._live.update(self._rendered(self._pending[-8000:]), refresh=True)
            self._drawn_at = now

    def close(self) -> None:
        """Draw the last block for good."""
        self._pending += self._sanitizer.close()
        if self._live.is_started:
            self._live.stop()
        if self._pending.strip():
            self._console.print(self._rendered(self._pending))

    def _rendered(self, text: str) -> RenderableType:
        # hyperlinks off: a link whose text says one address and which leads to another is shown as both
        return self._markdown(text, hyperlinks=False)


class OutputFile:
    """`-o FILE`: proved writable before anything is sent, replaced in one step when all is there."""

    def __init__(self, path: Path) -> None:
        path = path.resolve()
        self._path = path
        self._direct = path.exists() and not path.is_file()
        try:
            if self._direct:
                with open(path, "a"):
                    pass
            else:
                if path.exists() and not os.access(path, os.W_OK):
                    raise PermissionError(13, "Permission denied")
                descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
                os.close(descriptor)
                self._temporary = Path(name)
                if path.exists():
                    shutil.copymode(path, self._temporary)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}.") from error

    def write(self, text: str) -> None:
        """Put `text` in place; StorageError where the disk will not take it, the old file left as it was."""
        try:
            if self._direct:
                self._path.write_text(text, encoding="utf-8", errors="replace")
                return
            with open(self._temporary, "w", encoding="utf-8", errors="replace") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(self._temporary, self._path)
        except OSError as error:
            raise StorageError(f"cannot write {self._path}: {error.strerror}.") from error

    def discard(self) -> None:
        """Remove what was not put in place; harmless where it was."""
        if not self._direct:
            self._temporary.unlink(missing_ok=True)
