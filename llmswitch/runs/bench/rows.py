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


#: how long a row waits for others, in seconds: each written for itself would have the disk and a thread always at work
_GATHER_S = 0.05


class RowLog:
    """Appends rows to one file. What `append` was awaited for is on disk; rows that come together share one sync.

    For one event loop. A disk that is full, or gone, raises StorageError at each row that it did not take.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._waiting: list[tuple[Mapping[str, Any], asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None
        #: where the last whole row ends, in bytes
        self._end = 0

    async def append(self, row: Mapping[str, Any]) -> None:
        """Keep `row`. Once this has begun, cancelling it takes nothing back. Raises StorageError."""
        kept = asyncio.get_running_loop().create_future()
        self._waiting.append((row, kept))
        if self._task is None:
            self._task = asyncio.create_task(self._write_all())
        await asyncio.shield(kept)

    async def aclose(self) -> None:
        """Wait for what is being written, and let go of the file."""
        if self._task is not None:
            await asyncio.wait([self._task])
        if self._file is not None:
            os.close(self._file)
            self._file = None

    async def _write_all(self) -> None:
        while self._waiting:
            await asyncio.sleep(_GATHER_S)
            batch, self._waiting = self._waiting, []
            failed: StorageError | None = None
            try:
                await asyncio.to_thread(self._write, [row for row, _ in batch])
            except OSError as error:
                failed = StorageError(f"cannot write {self._path}: {error.strerror}.")
                failed.__cause__ = error
            for _, kept in batch:
                if failed is None:
                    kept.set_result(None)
                else:
                    kept.set_exception(failed)
                    kept.exception()  # who was cancelled meanwhile does not ask
        self._task = None

    def _write(self, rows: list[Mapping[str, Any]]) -> None:
        """All of them or, where the disk will not, none: half a row would hide the next one."""
        if self._file is None:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._end = os.fstat(self._file).st_size
            _sync_folder(self._path.parent)
        text = "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
        left = memoryview(text.encode("utf-8", "backslashreplace"))
        size = len(left)
        try:
            while left:
                left = left[os.write(self._file, left) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self._end)
            raise
        self._end += size


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
