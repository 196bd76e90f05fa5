"""What a command needs of the world around it: streams, environment, folder, clock; and how it says things.

stdout holds the answer or the one JSON document; everything else goes to stderr through here.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from llmswitch.errors import ConfigError
from llmswitch.profiles import Settings, load_settings
from llmswitch.text import one_line, sanitize

if TYPE_CHECKING:
    from llmswitch.reports.rows import Table

__all__ = ["Shell", "as_json", "complain", "leave"]

_C1 = r"[\x7f-\x9f\ud800-\udfff]"


def as_json(document: Any, *, ascii_only: bool = False, indent: int | None = 1) -> str:
    """`document` as JSON, on one line without `indent`, with nothing in it that a terminal would obey."""
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent, default=str)
    return re.sub(_C1, lambda match: f"\\u{ord(match.group()):04x}", text)


def complain(stream: TextIO, text: str) -> None:
    """Write to stderr. One that is full, or left by its reader, costs no answer and changes no exit code."""
    try:
        stream.write(text)
        stream.flush()
    except OSError:
        leave(stream)


def leave(stream: TextIO) -> None:
    """Let the interpreter's last flush of `stream` go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@dataclass(slots=True)
class Shell:
    """One command's streams and manners. `wall` gives epoch seconds, `clock` monotonic ones."""

    environ: Mapping[str, str]
    cwd: Path
    stdin: TextIO
    stdout: TextIO
    stderr: TextIO
    verbose: bool = False
    quiet: bool = False
    wall: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    warned: frozenset[str] = frozenset()
    #: notes kept back; None where they are printed at once
    held: list[str] | None = None

    @classmethod
    def current(cls, *, verbose: bool = False, quiet: bool = False) -> Shell:
        """The process's own. ConfigError where its folder is gone."""
        try:
            cwd = Path.cwd()
        except FileNotFoundError as error:
            raise ConfigError("the current folder does not exist any more: cd to another one.") from error
        return cls(os.environ, cwd, sys.stdin, sys.stdout, sys.stderr, verbose, quiet)

    def decorated(self, stream: TextIO) -> bool:
        """Whether `stream` may be drawn on: a terminal, and neither NO_COLOR nor TERM=dumb."""
        return stream.isatty() and not self.environ.get("NO_COLOR") and self.environ.get("TERM") != "dumb"

    def settings(
        self,
        *,
        profile: str | None = None,
        flags: Mapping[str, tuple[str, str]] | None = None,
        trust_profile: bool = False,
    ) -> Settings:
        """The profile and environment of this call; raises ConfigError."""
        return load_settings(
            cwd=self.cwd,
            environ=self.environ,
            flags=flags,
            profile=profile,
            trust_profile=trust_profile,
            warn=self.warn,
        )

    def warn(self, message: str) -> None:
        """One line on stderr, once for each message; silent under --quiet."""
        if message not in self.warned:
            self.warned |= {message}
            self.note(f"warning: {message}")

    def note(self, message: str) -> None:
        """One line on stderr, after the answer that is being shown; silent under --quiet."""
        if self.quiet:
            return
        if self.held is not None:
            self.held.append(message)
            return
        complain(self.stderr, f"llmswitch: {one_line(message, 2000)}\n")

    @contextmanager
    def holding_notes(self) -> Iterator[None]:
        """Keep notes back while an answer's last line may be open."""
        self.held = []
        try:
            yield
        finally:
            held, self.held = self.held or [], None
            for message in held:
                self.note(message)

    def error(self, message: str) -> None:
        """A failure said beside what was printed: raising it would print its document after another one."""
        complain(self.stderr, f"llmswitch: error: {one_line(message, 2000)}\n")

    def detail(self, message: str) -> None:
        """One line on stderr under --verbose."""
        if self.verbose:
            self.note(message)

    def line(self, text: str = "") -> None:
        """A line of plain text on stdout."""
        self.stdout.write(sanitize(text) + "\n")

    def json(self, document: Any) -> None:
        """The one JSON document on stdout."""
        self.stdout.write(self.as_json(document) + "\n")
        self.stdout.flush()

    def as_json(self, document: Any) -> str:
        """The document as stdout can carry it."""
        return as_json(document, ascii_only="utf" not in (self.stdout.encoding or "").lower())

    def table(self, table: Table, *, narrow: Table | None = None) -> None:
        """A table on stdout, drawn where that is a terminal; there `narrow` stands in where it does not fit."""
        from llmswitch.reports.table import print_table

        print_table(table, self.stdout, decorated=self.decorated(self.stdout), narrow=narrow)
