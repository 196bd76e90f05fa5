"""Rows of JSON in a file that only grows: written in batches, on disk before they count, read while they are whole."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llmswitch.errors import StorageError
from llmswitch.runs.bench.model import SampleRow

__all__ = ["RowLog", "count_rows", "mend", "read_rows"]


#: how long a row waits for others before they are synced, in seconds: a sync for each would keep the disk at work
_GATHER_S = 0.05


class RowLog:
    """Appends rows to one file. What `append` was awaited for is on disk; rows that come together share one sync.

    A row is handed to the system as soon as it comes, so a process that is killed loses none; what the sync adds is
    that a machine does not, either. For one event loop. A disk that is full, or gone, raises StorageError at each row
    that it did not take.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None
        #: where the last whole row ends, and where what is synced does, in bytes
        self._end = self._synced = 0

    async def append(self, row: Mapping[str, Any]) -> None:
        """Keep `row`. Once this has begun, cancelling it takes nothing back. Raises StorageError."""
        try:
            self._write(row)
        except OSError as error:
            raise self._failure(error) from error
        kept = asyncio.get_running_loop().create_future()
        self._waiting.append(kept)
        if self._task is None:
            self._task = asyncio.create_task(self._sync_all(self._open()))
        await asyncio.shield(kept)

    async def aclose(self) -> None:
        """Wait for what is being synced, and let go of the file."""
        if self._task is not None:
            await asyncio.wait([self._task])
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> int:
        if self._file is None:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._end = self._synced = os.fstat(self._file).st_size
            _sync_folder(self._path.parent)
        return self._file

    def _write(self, row: Mapping[str, Any]) -> None:
        """All of it or, where the disk will not, nothing: half a row would hide the next one."""
        file = self._open()
        left = memoryview((json.dumps(row, ensure_ascii=False, default=str) + "\n").encode("utf-8", "backslashreplace"))
        size = len(left)
        try:
            while left:
                left = left[os.write(file, left) :]
        except OSError:
            os.ftruncate(file, self._end)
            raise
        self._end += size

    async def _sync_all(self, file: int) -> None:
        while self._waiting:
            await asyncio.sleep(_GATHER_S)
            batch, self._waiting = self._waiting, []
            end = self._end
            try:
                await asyncio.to_thread(os.fsync, file)
            except OSError as error:
                batch += self._waiting  # what came meanwhile lies behind what is lost
                self._waiting = []
                self._end = self._synced
                os.ftruncate(file, self._synced)
                failed = self._failure(error)
                failed.__cause__ = error
                for kept in batch:
                    kept.set_exception(failed)
                    kept.exception()  # who was cancelled meanwhile does not ask
            else:
                self._synced = end
                for kept in batch:
                    kept.set_result(None)
        self._task = None

    def _failure(self, error: OSError) -> StorageError:
        return StorageError(f"cannot write {self._path}: {error.strerror}.")


def _sync_folder(path: Path) -> None:
    """Have the folder's list of files on disk, too: a file that was synced is lost where its name is."""
    if os.name == "posix":
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def mend(path: Path) -> None:
    """Cut off half a last line, as a kill or a lost current leaves it. Raises StorageError."""
    try:
        with open(path, "r+b") as stream:
            end = size = stream.seek(0, os.SEEK_END)
            while end:
                start = max(0, end - 65_536)
                stream.seek(start)
                at = stream.read(end - start).rfind(b"\n")
                if at >= 0:
                    end = start + at + 1
                    break
                end = start
            if end != size:
                stream.truncate(end)
                os.fsync(stream.fileno())
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}.") from error


def count_rows(path: Path) -> int:
    """How many whole lines `path` has. Raises StorageError."""
    try:
        with open(path, "rb") as stream:
            return sum(part.count(b"\n") for part in iter(lambda: stream.read(1 << 20), b""))
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}.") from error


def read_rows(path: Path) -> Iterator[SampleRow]:
    """The whole lines of `path`; a last one that is not finished is none, a missing file has none.

    Raises StorageError with the number of a line that is no sample.
    """
    number = 0
    try:
        with open(path, "rb") as stream:
            for line in stream:
                number += 1
                if line.endswith(b"\n"):
                    yield SampleRow.from_dict(json.loads(line))
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StorageError(f"line {number} of {path} is damaged: take it out, then --resume asks it again.") from error
