"""What processes know together: small JSON documents, such as whether a target is down and how fast it may be asked.

In a SQLite file that every process on the machine shares. `redis_state.py` keeps the same in Redis, for many machines;
`shared_state.py` goes on with another store where one fails.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from llmswitch.errors import StorageError
from llmswitch.paths import file_identity, private_file
from llmswitch.worker import Store

__all__ = ["Document", "FileState", "MemoryState", "State", "decoded", "encoded"]

Document = dict[str, Any]
T = TypeVar("T")

#: how long other processes' transactions are waited for, in seconds
_PATIENCE_S = 2.0
#: the largest document that is read, in characters, and the longest whole number in one
_LARGEST, _MOST_DIGITS = 1_000_000, 30
#: how often what nobody needs any more is thrown away, in seconds
_SWEEP_S = 600.0

_TABLE = "CREATE TABLE IF NOT EXISTS documents (key TEXT PRIMARY KEY, value TEXT NOT NULL, expires REAL NOT NULL)"
_READ = "SELECT value FROM documents WHERE key = ? AND expires > ?"
_WRITE = "INSERT OR REPLACE INTO documents (key, value, expires) VALUES (?, ?, ?)"
_DELETE = "DELETE FROM documents WHERE key = ?"
_KEYS = "SELECT key FROM documents WHERE substr(key, 1, ?) = ? AND expires > ? ORDER BY key"
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


class State(Store, Protocol):
    """Documents by key, kept by a Worker. Every method raises StorageError where the store fails."""

    def update(self, key: str, change: Callable[[Document | None], tuple[Document | None, T]], *, keep_s: float) -> T:
        """Replace the document by what `change` makes of it (None: no document), with nobody in between.

        `change` returns the new document and what `update` returns, and may be called more than once. The document
        is forgotten after `keep_s` seconds without a write.
        """
        ...

    def read(self, key: str) -> Document | None:
        """The document as it is now."""
        ...

    def keys(self, prefix: str) -> list[str]:
        """Every key that begins so and has a document, sorted."""
        ...

    def working(self, use: Callable[[State], T]) -> T:
        """`use(store)`, where `store` is a FileState or a RedisState: the one that keeps the documents now.

        What SQLite or Redis raises in `use` becomes a StorageError, and `use` is then called with the next store
        where there is one.
        """
        ...


def encoded(document: Document) -> str:
    """A document as every store keeps it."""
    return json.dumps(document, separators=(",", ":"))


def decoded(text: str | bytes) -> Document | None:
    """None for what is no document: it is damaged, and as good as not there.

    Its numbers are those that can be reckoned with: one that is not finite, or beyond what a float holds, is damage.
    """
    if len(text) > _LARGEST:
        return None
    try:
        document = json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError("no count, and no time")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("no number")
    return number


class FileState:
    """Documents in the SQLite file at `path`, made and opened with the first use; without a path, in memory.

    A file that was deleted is made again; a damaged one is removed, as nothing in it is worth keeping. `wall` gives
    epoch seconds.
    """

    def __init__(self, path: Path | None, *, wall: Callable[[], float] = time.time) -> None:
        self.path = path
        self.wall = wall
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._swept = 0.0

    @property
    def connection(self) -> sqlite3.Connection:
        """The file within the batch's write transaction: nobody else writes until `commit`. For use in `working`."""
        connection = self._opened()
        if not connection.in_transaction:
            _execute(connection, "BEGIN IMMEDIATE")
            self._sweep(connection)
        return connection

    def begin(self) -> None:
        """Nothing yet: a batch that only reads takes no lock."""

    def begin_now(self) -> bool:
        """Take the lock of the open file: from here on nothing waits."""
        connection = self._connection
        if connection is None:
            return False
        try:
            if self.path is not None and file_identity(self.path) != self._identity:
                return False
            connection.execute("BEGIN IMMEDIATE")
            self._sweep(connection)
        except (sqlite3.Error, OSError):
            self.rollback()  # whoever has time meets it again, and says what it is
            return False
        return True

    def commit(self) -> None:
        """What was written counts now, for every process."""
        connection = self._connection
        if connection is not None and connection.in_transaction:
            self._guarded(lambda: connection.execute("COMMIT"))

    def rollback(self) -> None:
        """What was written never was."""
        if self._connection is not None and self._connection.in_transaction:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Let go of the file."""
        self.rollback()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def update(self, key: str, change: Callable[[Document | None], tuple[Document | None, T]], *, keep_s: float) -> T:
        """See `State`."""

        def changed() -> T:
            connection = self.connection
            document, result = change(self._select(connection, key))
            if document is None:
                connection.execute(_DELETE, (key,))
            else:
                connection.execute(_WRITE, (key, encoded(document), self.wall() + keep_s))
            return result

        return self._guarded(changed)

    def read(self, key: str) -> Document | None:
        """See `State`."""
        return self._guarded(lambda: self._select(self._opened(), key))

    def keys(self, prefix: str) -> list[str]:
        """See `State`."""

        def found() -> list[str]:
            rows = _execute(self._opened(), _KEYS, (len(prefix), prefix, self.wall()))
            return [row[0] for row in rows]

        return self._guarded(found)

    def working(self, use: Callable[[State], T]) -> T:
        """This one."""
        return self._guarded(lambda: use(self))

    def _sweep(self, connection: sqlite3.Connection) -> None:
        now = self.wall()
        if not 0 <= now - self._swept < _SWEEP_S:
            self._swept = now
            connection.execute("DELETE FROM documents WHERE expires <= ?", (now,))

    def _select(self, connection: sqlite3.Connection, key: str) -> Document | None:
        row = _execute(connection, _READ, (key, self.wall())).fetchone()
        return None if row is None else decoded(row[0])

    def _opened(self) -> sqlite3.Connection:
        """The connection; a new one where the file is not the one that it was opened on."""
        if self._connection is not None:
            if self._connection.in_transaction or self.path is None or file_identity(self.path) == self._identity:
                return self._connection
            self.close()
        self._connection = self._connect()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        if self.path is not None:
            private_file(self.path)
        address = self.path or ":memory:"
        # a worker uses it in one thread at a time
        connection = sqlite3.connect(address, timeout=0.0, isolation_level=None, check_same_thread=False)
        try:
            # what a power cut takes of this costs nobody anything, and a file that it damages is started anew
            _execute(connection, "PRAGMA synchronous = OFF")
            if self.path is not None:
                _execute(connection, "PRAGMA journal_mode = WAL")
            _execute(connection, _TABLE)
        except BaseException:
            connection.close()
            raise
        self._identity = None if self.path is None else file_identity(self.path)
        return connection

    def _guarded(self, work: Callable[[], T]) -> T:
        """`work()`. After a failure the file is closed, and a damaged one removed: the next use starts it anew."""
        try:
            return work()
        except (sqlite3.Error, OSError) as error:
            self.close()
            if self.path is not None and _code(error) in _DAMAGE:
                _remove(self.path)
            raise StorageError(
                f"what llmswitch's processes share cannot be kept in {self.path}: {_explained(error)}."
            ) from error


class MemoryState(FileState):
    """Documents that this process alone knows."""

    def __init__(self, *, wall: Callable[[], float] = time.time) -> None:
        super().__init__(None, wall=wall)


def _execute(connection: sqlite3.Connection, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
    """Run it, waiting for other processes. SQLite's own waits grow to 100 ms: of many processes some would starve."""
    ends = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return connection.execute(statement, values)
        except sqlite3.OperationalError as error:
            if _code(error) not in _BUSY or time.monotonic() > ends:
                raise
            time.sleep(0.001)


def _remove(path: Path) -> None:
    """Only what SQLite made of the name that is ours; what cannot be removed is met again."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        with suppress(OSError):
            os.unlink(f"{path}{suffix}")


def _explained(error: sqlite3.Error | OSError) -> str:
    code = _code(error)
    if code in _BUSY:
        return "another process has it locked"
    if code in _DAMAGE:
        return "it was damaged, and is started anew"
    reason = (isinstance(error, OSError) and error.strerror) or str(error)
    return f"{reason}. Make it and its folder writable, or set LLMSWITCH_HOME to another folder"


def _code(error: Exception) -> int:
    """SQLite's primary result code."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
