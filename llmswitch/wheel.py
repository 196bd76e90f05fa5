"""One wheel, pinned by its hash, through the package client of the environment that llmswitch runs in.

`pip` where this interpreter has it (its own, or the one pipx shares), else `uv`, else a pip that Python's own venv
module makes for the occasion. Each keeps the user's index settings: configuration files and environment reach it
as they are. Nothing is installed into the environment; the wheel is unpacked into a folder.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from llmswitch.errors import CallConnectionError, ConfigError, StorageError
from llmswitch.text import one_line

__all__ = ["Progress", "Wheel", "unpack"]

#: called with bytes so far and bytes in all
Progress = Callable[[int, int], None]

_SAME = ("install", "--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", "requirements.txt", "--target")
#: `--no-user` undoes a `user = true` of pip's configuration, which `--target` cannot stand beside
_PIP = ("--no-input", "--no-user", "--no-compile", "--no-cache-dir", "--progress-bar", "off")
_UV = ("--no-cache", "--no-progress", "--python")
_HAS_PIP = "import importlib.util, sys; sys.exit(importlib.util.find_spec('pip') is None)"
_POLL_S = 0.1
#: what a client says when the disk is at fault
_DISK = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS))


@dataclass(frozen=True, slots=True)
class Wheel:
    """A release on the package index: `requirement` is name==version, `size` in bytes, `sha256` of the wheel."""

    requirement: str
    sha256: str
    size: int


def unpack(wheel: Wheel, staging: Path, environ: Mapping[str, str], progress: Progress) -> Path:
    """Fetch `wheel` and unpack it below `staging`, an empty folder of ours; returns the folder it is in.

    Raises CallConnectionError where the client could not get it, StorageError where the disk is at fault,
    ConfigError where there is no client. Ctrl-C ends the client
    too; where this process is killed outright, the client runs on to its own end.
    """
    (staging / "requirements.txt").write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    scratch = staging / "tmp"
    scratch.mkdir()
    run = _Runner(staging, {**environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))})
    name, command = _client(run)
    done = 0

    def tick() -> None:
        nonlocal done
        done = max(done, min(_largest(scratch), wheel.size))  # what is unpacked from the wheel may be smaller
        progress(done, wheel.size)

    code = run(command, tick)
    if code:
        raise _failure(wheel, name, code, run.output())
    return staging / "files"


@dataclass(frozen=True, slots=True)
class _Runner:
    """Runs a command in `folder`, where no file is but ours: a client reads its settings from where it starts."""

    folder: Path
    environ: Mapping[str, str]

    def __call__(self, command: list[str], tick: Callable[[], None] = lambda: None) -> int:
        """Run `command` to its end, calling `tick` meanwhile; returns its exit code."""
        import subprocess

        with (
            open(self.folder / "output.txt", "wb") as output,
            subprocess.Popen(  # noqa: S603  # a list, no shell, and every word is ours
                command,
                cwd=self.folder,
                env=dict(self.environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            try:
                while True:
                    tick()
                    try:
                        return process.wait(_POLL_S)
                    except subprocess.TimeoutExpired:
                        continue
            except BaseException:
                process.kill()
                raise

    def output(self) -> str:
        """What the last command said."""
        return (self.folder / "output.txt").read_text(encoding="utf-8", errors="replace")


def _client(run: _Runner) -> tuple[str, list[str]]:
    """The first package client there is: its name, and the command that unpacks the wheel into `files`.

    `-I` keeps a `pip.py` of the folder it starts in, and of PYTHONPATH, from being run in pip's place.
    """
    import shutil

    if run([sys.executable, "-I", "-c", _HAS_PIP]) == 0:
        return "pip", [sys.executable, "-I", "-m", "pip", *_SAME, "files", *_PIP]
    uv = shutil.which("uv", path=run.environ.get("PATH"))
    if uv is not None and os.path.isabs(uv):
        return "uv", [uv, "pip", *_SAME, "files", *_UV, sys.executable]
    if run([sys.executable, "-I", "-m", "venv", "pip"]) == 0:
        python = run.folder / "pip" / ("Scripts" if os.name == "nt" else "bin") / "python"
        return "pip", [str(python), "-I", "-m", "pip", *_SAME, "files", *_PIP]
    raise ConfigError(
        "there is no package client: this Python has neither pip nor venv with ensurepip, and uv is not on the PATH. "
        "Install one of them, then type 'llmswitch pull' again."
    )


def _largest(folder: Path) -> int:
    """The size of the largest file: the wheel as it comes, then what is unpacked from it."""
    largest = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                largest = max(largest, os.lstat(os.path.join(place, name)).st_size)
            except OSError:  # the client moved it meanwhile
                continue
    return largest


def _failure(wheel: Wheel, client: str, code: int, output: str) -> Exception:
    """What the client's last words mean."""
    prefixes = ("ERROR:", "error:", "cause:")
    said = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.partition(":")[2].strip() for line in said if line.startswith(prefixes)] or said[-1:]
    words = one_line("; ".join(dict.fromkeys((errors[0], errors[-1]))) if errors else f"it ended with {code}", 300)
    if code < 0:
        words = f"it was ended by signal {-code}"
    if any(reason in output for reason in _DISK):
        return StorageError(f"cannot write {wheel.requirement} to disk: {words.rstrip('.')}.")
    return CallConnectionError(
        f"{client} could not fetch {wheel.requirement}: {words.rstrip('.')}. "
        "Check the network and your package index, then type 'llmswitch pull' again."
    )
