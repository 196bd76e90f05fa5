"""Warnings about files that hold keys: readable by others, or tracked by git, which is how keys leak."""

from __future__ import annotations

import subprocess
from pathlib import Path

from llmswitch.cli.shell import Shell
from llmswitch.profiles import Settings

__all__ = ["warn_about_keys"]


def warn_about_keys(shell: Shell, settings: Settings) -> None:
    """Look at the files this call's values were read from; only one with a literal key in it is worth a warning."""
    for file in settings.files():
        names = ", ".join(file.literal_secrets)
        if not names:
            continue
        if file.shared:
            shell.warn(f"{file.path} holds {names} and others can read it: chmod 600 {file.path}")
        if _tracked(file.path.absolute()):
            shell.warn(
                f"git tracks {file.path}, which holds {names}: git rm --cached it, and have the key replaced. "
                "A profile can say NAME=${NAME} instead."
            )


def _tracked(path: Path) -> bool:
    """Whether git has `path` in its index. A repository's own configuration may name programs to run; none is."""
    if not any((folder / ".git").exists() for folder in path.parents):
        return False
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(path.parent), "ls-files", "--error-unmatch", "--"]
    try:
        done = subprocess.run(  # noqa: S603  # a fixed command and one path, no shell
            [*command, path.name], capture_output=True, timeout=5, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
