"""The folders of batches: where questions and answers are, and that one process at a time works on each."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from llmswitch.errors import ConfigError, StorageError
from llmswitch.keylock import KeyLocks
from llmswitch.paths import private_folder

__all__ = ["LINES", "AtWorkError", "Folders"]

#: what the file of a batch's lines is called
LINES = "lines.db"
_DRAFT = ".new-"


class AtWorkError(ConfigError):
    """Another process works on it now."""


class Folders(NamedTuple):
    """Those below `path`; `wall` gives epoch seconds. Every method raises StorageError."""

    path: Path
    wall: Callable[[], float]

    def of(self, batch_id: str) -> Path:
        """The batch's folder."""
        return self.path / batch_id

    def new_id(self) -> str:
        """An id that no batch has: letters, digits and '-', short enough to be typed."""
        day = datetime.fromtimestamp(self.wall(), tz=UTC).astimezone()
        return f"b{day:%y%m%d}-{secrets.token_hex(3)}"

    @contextmanager
    def draft(self, batch_id: str) -> Iterator[Path]:
        """A folder for a batch that nobody knows of yet; gone at the end unless it was `kept`. A killed process's is
        cleared away by the next one."""
        path = self.path / f"{_DRAFT}{batch_id}"
        with self.locked(batch_id):
            self._clear()
            with _explained(path):
                private_folder(path)
            try:
                yield path
            finally:
                shutil.rmtree(path, ignore_errors=True)

    def keep(self, draft: Path) -> Path:
        """Give a draft its batch's name; returns the folder."""
        path = self.of(draft.name.removeprefix(_DRAFT))
        with _explained(path):
            os.rename(draft, path)
        return path

    def named(self) -> list[tuple[str, float]]:
        """The batches that have a folder, and when each was last changed: who was killed in the wrong moment leaves one
        that nobody else knows of."""
        with _explained(self.path):
            if not self.path.exists():
                return []
            found = [path for path in self.path.iterdir() if path.is_dir() and not path.name.startswith(_DRAFT)]
            return sorted((path.name, path.stat().st_mtime) for path in found)

    def remove(self, batch_id: str) -> None:
        """Delete the batch's questions and answers."""
        with _explained(self.of(batch_id)):
            if self.of(batch_id).exists():
                shutil.rmtree(self.of(batch_id))

    @contextmanager
    def locked(self, name: str, what: str | None = None) -> Iterator[None]:
        """Keep others out; AtWorkError where one is at work on `what`. A killed one keeps nobody out."""
        locks = KeyLocks(self.path)
        try:
            with _explained(self.path):
                private_folder(self.path)
                lock = locks.take(hashlib.sha256(name.encode()).hexdigest())
            if lock is None:
                raise AtWorkError(f"another llmswitch is at work on {what or f'batch {name}'}: wait for it to end.")
            try:
                yield
            finally:
                lock.release()
        finally:
            locks.close()

    def _clear(self) -> None:
        for path in self.path.glob(f"{_DRAFT}*"):
            try:
                with self.locked(path.name.removeprefix(_DRAFT)):
                    shutil.rmtree(path, ignore_errors=True)
            except AtWorkError:
                continue


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot write {error.filename or path}: {error.strerror}.") from error
