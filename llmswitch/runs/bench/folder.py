"""A run's folder: where it is, what stands in it, and that one process at a time writes to it.

`run.json` is written whole, at the start and again and again; `samples.jsonl` grows by a line for each sample.
Everything else can be made from these two.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, cast

from llmswitch.errors import ConfigError, StorageError
from llmswitch.paths import write_private
from llmswitch.runs.bench.document import RunDocument
from llmswitch.runs.bench.model import SampleRow
from llmswitch.runs.bench.rows import read_rows

__all__ = ["SCHEMA", "RunFolder", "find_run", "list_runs", "new_run"]

SCHEMA = "llmswitch/run/1"
_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{4}")
#: what every run.json says
_FIELDS = frozenset(RunDocument.__annotations__) - {"batch", "blessed", "judges"}
_DOCUMENT, _SAMPLES, _PENDING, _BLESSED = "run.json", "samples.jsonl", "pending.jsonl", "blessed"


class RunFolder(NamedTuple):
    """One run on disk."""

    path: Path

    @property
    def id(self) -> str:
        """The run's id is its folder's name."""
        return self.path.name

    @property
    def samples(self) -> Path:
        """A line a sample that counts."""
        return self.path / _SAMPLES

    @property
    def pending(self) -> Path:
        """A line an answer that is still to be graded: what was paid for is kept before a judge is asked."""
        return self.path / _PENDING

    @property
    def blessed(self) -> bool:
        """Whether somebody said that this run is what others are to be measured by."""
        return self.blessed_at is not None

    @property
    def blessed_at(self) -> float | None:
        """When that was said, in epoch seconds; None where it was not."""
        try:
            return (self.path / _BLESSED).stat().st_mtime
        except OSError:
            return None

    def bless(self, blessed: bool = True) -> None:
        """Say so, or take it back. Raises StorageError."""
        try:
            if blessed:
                write_private(self.path / _BLESSED, "")
            else:
                (self.path / _BLESSED).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot write {self.path / _BLESSED}: {error.strerror}.") from error

    def read(self) -> RunDocument:
        """`run.json` as it is now. Raises StorageError where there is none that can be read."""
        path = self.path / _DOCUMENT
        try:
            document = json.loads(path.read_text("utf-8"))
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}.") from error
        except (ValueError, RecursionError) as error:
            raise StorageError(f"{path} is damaged: it is not JSON.") from error
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise StorageError(f"{path} is not a run of this version: its schema is not {SCHEMA}.")
        missing = sorted(_FIELDS - document.keys())
        if missing:
            raise StorageError(f"{path} is not a run of this version, or damaged: it lacks {', '.join(missing[:3])}.")
        return cast(RunDocument, {**document, "blessed": self.blessed})

    def write(self, document: RunDocument) -> None:
        """Replace `run.json` in one step. Raises StorageError."""
        kept = {name: value for name, value in document.items() if name != "blessed"}
        self.write_file(_DOCUMENT, json.dumps(kept, indent=1, ensure_ascii=False, allow_nan=False) + "\n")

    def write_file(self, name: str, text: str) -> None:
        """Replace one of the run's files in one step. Raises StorageError."""
        try:
            write_private(self.path / name, text)
        except OSError as error:
            raise StorageError(f"cannot write {self.path / name}: {error.strerror}.") from error

    def rows(self) -> Iterator[SampleRow]:
        """Every sample on disk, one after another. Raises StorageError."""
        return read_rows(self.samples)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other writer out. Raises ConfigError where one is at work; a killed one keeps nobody out."""
        from filelock import FileLock, Timeout

        # the soft fallback is refused: its file would outlive a killed holder and lock everybody out
        lock = FileLock(self.path / ".lock", mode=0o600, thread_local=False, fallback_to_soft=False)
        try:
            lock.acquire(blocking=False)
        except Timeout as error:
            raise ConfigError(f"another llmswitch is writing to run {self.id}: wait for it to end.") from error
        except OSError as error:
            raise StorageError(f"cannot lock {self.path}: {error.strerror}.") from error
        try:
            yield
        finally:
            lock.release()

    def remove(self) -> None:
        """Take the run away, samples and all. Raises StorageError, and ConfigError where it is being written."""
        with self.locked():
            try:
                shutil.rmtree(self.path)
            except OSError as error:
                raise StorageError(f"cannot remove {self.path}: {error.strerror or error}.") from error


def new_run(base: Path, wall: Callable[[], float]) -> RunFolder:
    """A new folder below `base`, for this user alone, with an id of its own. Raises StorageError."""
    began = datetime.fromtimestamp(wall(), tz=UTC)
    while True:
        path = base / f"{began:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        try:
            base.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.mkdir(mode=0o700)
        except FileExistsError:
            if not base.is_dir():
                raise StorageError(f"cannot write to {base}: it is not a folder.") from None
            continue
        except OSError as error:
            raise StorageError(f"cannot write to {base}: {error.strerror}.") from error
        return RunFolder(path)


def list_runs(base: Path) -> list[RunFolder]:
    """The runs below `base`, the oldest first; none where there is no such folder. Raises StorageError."""
    try:
        names = sorted(entry.name for entry in os.scandir(base) if _ID.fullmatch(entry.name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"cannot read {base}: {error.strerror}.") from error
    return [RunFolder(base / name) for name in names if (base / name / _DOCUMENT).exists()]


def find_run(base: Path, named: str) -> RunFolder:
    """The run that `named` means: `last`, an id below `base` or its beginning, a folder, or the path of a run.json.

    Raises ConfigError where there is none, or more than one that begins so.
    """
    path = Path(named)
    with suppress(OSError):
        if path.name == _DOCUMENT and path.is_file():
            return RunFolder(path.resolve().parent)
        if (path / _DOCUMENT).is_file():
            return RunFolder(path.resolve())
    runs = list_runs(base)
    if named == "last" and runs:
        return runs[-1]
    found = [run for run in runs if run.id == named] or [run for run in runs if named and run.id.startswith(named)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"{named!r} begins {len(found)} run ids below {base}: type more of it.")
    known = f"the last is {runs[-1].id}" if runs else "there is none"
    raise ConfigError(f"no run {named!r} below {base} ({known}): 'llmswitch bench list -o {base}' shows them.")
