"""Where llmswitch keeps its files: config, data and cache, each a folder of mode 0700."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["Paths"]


class Paths(NamedTuple):
    """The three folders. They need not exist; `private_folder` makes one when it is first written to."""

    config: Path
    data: Path
    cache: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Paths:
        """`LLMSWITCH_HOME` moves all three under one folder; otherwise the platform's own folders."""
        home = environ.get("LLMSWITCH_HOME")
        if home:
            root = Path(os.path.abspath(os.path.expanduser(home)))
            return cls(root / "config", root / "data", root / "cache")
        import platformdirs  # only where it decides: it is a quarter of what a cached answer costs

        folders = platformdirs.PlatformDirs("llmswitch", appauthor=False)
        return cls(folders.user_config_path, folders.user_data_path, folders.user_cache_path)

    @property
    def profiles(self) -> Path:
        """The user's own profiles."""
        return self.config / "profiles"

    @property
    def trust(self) -> Path:
        """Which files of working trees the user trusts."""
        return self.config / "trusted.json"

    @property
    def ledger(self) -> Path:
        """The SQLite record of every call."""
        return self.data / "ledger.db"

    @property
    def prices(self) -> Path:
        """The refreshed price list, where one was asked for."""
        return self.data / "price-list.json"

    @property
    def batches(self) -> Path:
        """A folder for each batch, with its questions and answers."""
        return self.data / "batches"

    @property
    def models(self) -> Path:
        """Weights of embedded models."""
        return self.data / "models"

    @property
    def responses(self) -> Path:
        """The response cache."""
        return self.cache / "responses"

    @property
    def state(self) -> Path:
        """What the processes on this machine know together: which targets are down, who waits for a limit."""
        return self.cache / "state.db"


def private_folder(path: Path) -> Path:
    """Make `path` and what leads to it, for this user alone. Raises OSError where it cannot."""
    if not path.is_dir():
        private_folder(path.parent) if not path.parent.exists() else None
        path.mkdir(mode=0o700, exist_ok=True)
    return path


def private_file(path: Path) -> None:
    """Make an empty file for this user alone, unless it is there. Raises OSError where it cannot.

    For a database before SQLite opens it, whose own mode would be the umask's. Another process may be quicker; its
    file is not opened here, since closing a second descriptor would drop SQLite's locks on it.
    """
    if not path.exists():
        private_folder(path.parent)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def read_regular(path: Path, limit: int) -> tuple[bytes, int] | None:
    """The first `limit` bytes of the file at `path` and its mode; None for a pipe or device, which may have no end."""
    with open(path, "rb", opener=lambda p, flags: os.open(p, flags | getattr(os, "O_NONBLOCK", 0))) as stream:
        mode = os.fstat(stream.fileno()).st_mode
        return (stream.read(limit), mode) if stat.S_ISREG(mode) else None


def write_private(path: Path, text: str) -> None:
    """Replace `path` by `text` in one step, mode 0600; a crash leaves the old file or the new one."""
    import tempfile

    private_folder(path.parent)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def file_identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another that took its name; None where there is none that can be looked at."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
