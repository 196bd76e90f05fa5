"""How an answer gets to stdout while it comes: raw where it is piped, as Markdown on a terminal, into a file."""

from __future__ import annotations

import errno
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

__all__ = ["Blocks", "MarkdownPrinter", "OutputFile", "Printer", "RawPrinter", "printer"]


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


#: texts, not compiled: only a terminal needs them
_FENCE = r" {0,3}(```+|~~~+)"
_CONTINUES = r"[ \t]|(?:[-*+]|\d{1,9}[.)])[ \t]"


class Blocks:
    """Markdown as it comes, cut into what is finished and what may still change; every line is looked at once.

    A block ends at a blank line outside a code fence, unless the next line is indented or goes on with a list.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        #: the fence each line stands in, with the rest of its opening line; empty outside of one
        self._fences: list[str] = []
        self._open = ""
        self._fence = ""

    def feed(self, text: str) -> str:
        """Take a piece; returns the blocks that it finished."""
        *whole, self._open = (self._open + text).split("\n")
        done = 0
        for line in whole:
            self._take(line)
            if self._starts_block(len(self._lines) - 1):
                done = len(self._lines) - 1
        finished = "\n".join(self._lines[:done])
        del self._lines[:done], self._fences[:done]
        return finished

    def _take(self, line: str) -> None:
        mark, opening = re.match(_FENCE, line), re.match(_FENCE, self._fence)
        self._lines.append(line)
        self._fences.append(self._fence)
        if mark and opening is None:
            self._fence = line
        elif mark and opening and mark[1].startswith(opening[1]) and not line[mark.end() :].strip():
            self._fence = ""

    def _starts_block(self, index: int) -> bool:
        line = self._lines[index]
        if index < 1 or self._fences[index] or not line.strip() or re.match(_CONTINUES, line):
            return False
        return not self._lines[index - 1].strip() and any(before.strip() for before in self._lines[:index])

    def rest(self) -> str:
        """Everything that is not finished."""
        return "\n".join([*self._lines, self._open])

    def tail(self, width: int, height: int) -> str:
        """The end of the rest, as much as a screen shows, its code fence opened again where it was cut off."""
        rows, first = 1 + len(self._open) // width, len(self._lines)
        while first > 0 and rows + 1 + len(self._lines[first - 1]) // width <= height:
            first -= 1
            rows += 1 + len(self._lines[first]) // width
        shown = [*self._lines[first:], self._open[-width * height :]]
        fence = self._fences[first] if first < len(self._fences) else self._fence
        return "\n".join([fence, *shown] if fence else shown)


#: characters; a longer block is shown as it is, since drawing it would take longer than asking did
_LARGEST_BLOCK = 100_000


class MarkdownPrinter:
    """Markdown on a terminal: finished blocks stay, the one that grows is drawn anew, at most ten times a second."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        from llmswitch.cli.markdown import markdown

        self._markdown = markdown
        self._console = Console(file=stream)
        self._live = Live(console=self._console, auto_refresh=False, transient=True, vertical_overflow="crop")
        self._sanitizer = Sanitizer()
        self._blocks = Blocks()
        self._drawn_at = 0.0

    def write(self, text: str) -> None:
        """Take a piece; draw when it is time."""
        finished = self._blocks.feed(self._sanitizer.feed(text))
        if not self._live.is_started:
            self._live.start()
        if finished.strip():
            self._console.print(self._rendered(finished))
            self._console.print()
        now = time.monotonic()
        if finished or now - self._drawn_at > 0.1:
            from rich.console import Group
            from rich.text import Text

            # only the end fits on a screen; the empty line keeps a ^C, which the terminal echoes, from wrapping
            shown = self._blocks.tail(self._console.width, max(1, self._console.height - 6))
            self._live.update(Group(self._rendered(shown), Text("")), refresh=True)
            self._drawn_at = time.monotonic()

    def close(self) -> None:
        """Draw the last block for good."""
        finished = self._blocks.feed(self._sanitizer.close())
        rest = f"{finished}\n\n{self._blocks.rest()}" if finished else self._blocks.rest()
        if self._live.is_started:
            self._live.stop()
        if rest.strip():
            self._console.print(self._rendered(rest))

    def _rendered(self, text: str) -> RenderableType:
        if len(text) > _LARGEST_BLOCK:
            from rich.text import Text

            return Text(text)
        return self._markdown(text)


class OutputFile:
    """`-o FILE`: proved writable before anything is sent, replaced in one step when all is there.

    Nothing lies beside it in the meantime, which a signal could leave there. StorageError says why it cannot be
    written; one is where stdout goes, which would replace the one with the other.
    """

    def __init__(self, path: Path) -> None:
        self._direct: int | None = None
        try:
            self._path = path if path.exists() and not path.is_file() else path.resolve()
            if self._path.exists() and not self._path.is_file():
                # without O_NONBLOCK a pipe that nobody reads would be waited for without end
                self._direct = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
                os.set_blocking(self._direct, True)
                return
            if self._path.exists() and not os.access(self._path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            if self._path.exists() and _is_stdout(self._path):
                raise StorageError(f"cannot write {path}: stdout goes there already; name another file.")
            self._beside().unlink()
        except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
            raise StorageError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}.") from error

    def _beside(self) -> Path:
        """An empty file in the same folder, with the permissions of the one that it is to replace."""
        descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=".llmswitch-")
        os.close(descriptor)
        if self._path.exists():
            shutil.copymode(self._path, name)
        return Path(name)

    def write(self, text: str) -> None:
        """Put `text` in place; StorageError where the disk will not take it, the old file left as it was."""
        temporary: Path | None = None
        try:
            if self._direct is not None:
                with open(self._direct, "w", encoding="utf-8", errors="replace", closefd=False) as stream:
                    stream.write(text)
                return
            temporary = self._beside()
            with open(temporary, "w", encoding="utf-8", errors="replace") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, self._path)
        except OSError as error:
            raise StorageError(f"cannot write {self._path}: {error.strerror}.") from error
        finally:
            if temporary is not None:
                temporary.unlink(missing_ok=True)

    def discard(self) -> None:
        """Close what is open; harmless where nothing is."""
        if self._direct is not None:
            os.close(self._direct)


def _is_stdout(path: Path) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(1))
    except OSError:  # stdout is closed
        return False
