"""What a command needs of the world around it: streams, environment, folder, clock; and how it says things.

stdout holds the answer or the one JSON document; everything else goes to stderr through here.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from llmswitch.profiles import Settings, load_settings
from llmswitch.text import one_line, sanitize

if TYPE_CHECKING:
    from llmswitch.reports.rows import Table

__all__ = ["Shell", "as_json"]

_C1 = re.compile(r"[\x7f-\x9f\ud800-\udfff]")


def as_json(document: Any) -> str:
    """`document` as indented JSON with nothing in it that a terminal would obey."""
    text = json.dumps(document, ensure_ascii=False, indent=1, default=str)
    return _C1.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


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

    @classmethod
    def current(cls, *, verbose: bool = False, quiet: bool = False) -> Shell:
        """The process's own."""
        return cls(os.environ, Path.cwd(), sys.stdin, sys.stdout, sys.stderr, verbose, quiet)

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
        """One line on stderr; silent under --quiet."""
        if not self.quiet:
            self.stderr.write(f"llmswitch: {one_line(message, 2000)}\n")
            self.stderr.flush()

    def detail(self, message: str) -> None:
        """One line on stderr under --verbose."""
        if self.verbose:
            self.note(message)

    def line(self, text: str = "") -> None:
        """A line of plain text on stdout."""
        self.stdout.write(sanitize(text) + "\n")

    def json(self, document: Any) -> None:
        """The one JSON document on stdout."""
        self.stdout.write(as_json(document) + "\n")
        self.stdout.flush()

    def table(self, table: Table) -> None:
        """A table on stdout, drawn where that is a terminal."""
        from llmswitch.reports.table import print_table

        print_table(table, self.stdout, decorated=self.decorated(self.stdout))
