"""A real terminal: tmux with a server of its own, whose screen is read as a person sees it."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.e2e.conftest import COMMAND


class Tmux:
    """Runs `llmswitch ARGUMENTS` on a terminal of that size; when it is over, `exit=CODE` is printed below."""

    def __init__(
        self, folder: Path, env: Mapping[str, str], arguments: Sequence[str], *, size: tuple[int, int]
    ) -> None:
        self._server = ["tmux", "-S", str(folder / "tmux"), "-f", "/dev/null"]
        line = f"{shlex.join([str(COMMAND), *arguments])}; echo exit=$?; exec cat"
        columns, lines = map(str, size)
        subprocess.run(
            [*self._server, "new-session", "-d", "-x", columns, "-y", lines, line],
            env=dict(env),
            cwd=folder,
            check=True,
        )

    def _tell(self, *arguments: str) -> str:
        done = subprocess.run([*self._server, *arguments], capture_output=True, check=True)
        return done.stdout.decode()

    def screen(self) -> list[str]:
        """The rows that are seen now."""
        return self._tell("capture-pane", "-p").splitlines()

    def history(self) -> str:
        """The rows that are seen and those that have left at the top, wrapped ones joined again."""
        return self._tell("capture-pane", "-p", "-J", "-S", "-")

    def until(self, *texts: str, timeout_s: float = 30) -> list[str]:
        """The screen, once all of `texts` are on it."""
        ends = time.monotonic() + timeout_s
        while True:
            rows = self.screen()
            if all(any(text in row for row in rows) for text in texts):
                return rows
            assert time.monotonic() < ends, f"{texts} did not come; the screen is\n" + "\n".join(rows)
            time.sleep(0.03)

    def keys(self, *names: str) -> None:
        """Press keys, by tmux's names."""
        self._tell("send-keys", *names)

    def resize(self, columns: int, lines: int) -> None:
        """Make the terminal another size."""
        self._tell("resize-window", "-x", str(columns), "-y", str(lines))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tell("kill-server")
