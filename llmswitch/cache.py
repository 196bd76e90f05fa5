"""The response cache: a whole answer under the SHA-256 of everything that can change it.

SQLite through diskcache (safedisk.py) in a folder of mode 0700, answers as JSON, no pickle ever. Making the database
and looking after it is diskcache's; an answer is read with one SELECT of our own, because a cached `ask` has 48 ms of
CPU for everything and importing and opening diskcache takes 30. Whatever is wrong with the files surfaces as
StorageError: `ask` warns and goes on.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from llmswitch.answers import decode, encode
from llmswitch.errors import StorageError
from llmswitch.keylock import KeyLock, KeyLocks
from llmswitch.paths import file_identity, private_folder
from llmswitch.types import Cost, Request, Response, Timing, Usage

if TYPE_CHECKING:
    from llmswitch.providers.base import Endpoint
    from llmswitch.safedisk import SafeCache

__all__ = [
    "STORED",
    "AnswerCache",
    "AskLock",
    "CacheStats",
    "ResponseCache",
    "as_cached",
    "cache_key",
    "key_material",
    "lookup",
]

#: finish reasons of a whole answer; no other is stored
STORED = frozenset({"stop", "length"})
#: the largest the database may grow before the oldest answers go, in bytes
SIZE_LIMIT = 2**30
#: how long a locked database is waited for, in seconds
_PATIENCE_S = 2.0
#: how long, once one was given up, the next ones are not waited for, in seconds: calls would queue up behind them
_IMPATIENT_S = 5.0
_LOCKED = "another process has it locked"
#: SQLite's codes for what is wrong with the disk or with our rights, not with the database
_NO_ACCESS = frozenset({sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM})
_NO_ROOM = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
#: changes with the meaning of a key or the form of a value, so that no version reads another's answers
_FORMAT = 2
_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
#: how many answers are stored between two looks for what is expired or too much
_CULL_EVERY = 10

_SELECT = (
    "SELECT value FROM Cache WHERE key = ? AND raw = 1 AND mode = 1 AND filename IS NULL AND typeof(value) = 'text'"
    " AND expire_time > ? AND store_time > ?"
)
_STATS = (
    "SELECT count(*), coalesce(sum(expire_time <= ?), 0),"
    " CAST(min(store_time) AS REAL), CAST(max(store_time) AS REAL),"
    " (SELECT page_count FROM pragma_page_count) * (SELECT page_size FROM pragma_page_size) FROM Cache"
)


def key_material(endpoint: Endpoint, request: Request, namespace: str | None) -> dict[str, Any]:
    """Everything that can change the answer, and no secret: what `cache_key` is the digest of.

    `request.system` is taken as the one that is sent. `optional` is in it: a parameter that may be left out can have
    been, and that answer is none to who insists on it. How it is asked (`stream`, `trace`) has no part.
    """
    parameters = request.parameters.as_dict()
    if "stop" in parameters:
        parameters["stop"] = sorted(parameters["stop"])
    return {
        "format": _FORMAT,
        "namespace": namespace,
        "endpoint": endpoint.identity(),
        "model": request.model,
        "system": request.system,
        "messages": [
            {
                "role": message.role,
                "text": message.text,
                "attachments": [
                    {"media_type": a.media_type, "name": a.name, "sha256": hashlib.sha256(a.data).hexdigest()}
                    for a in message.attachments
                ],
            }
            for message in request.messages
        ],
        "parameters": parameters,
        "optional": sorted(request.optional),
        "schema": request.schema,
    }


def cache_key(endpoint: Endpoint, request: Request, namespace: str | None) -> str:
    """The SHA-256, in hex, of `key_material` as canonical JSON.

    The order of an object's keys, of headers and of stop sequences changes nothing, nor does 1 for 1.0. A model may
    be steered by the order of a schema's properties, too: two schemas that differ in nothing else are one question.
    """
    material = key_material(endpoint, request, namespace)
    # all else is texts, in lists and under names of ours
    material["parameters"] = _canonical(material["parameters"])
    material["schema"] = _canonical(material["schema"])
    return hashlib.sha256(_JSON.encode(material).encode("ascii")).hexdigest()


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _canonical(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


class AskLock(Protocol):
    """The right to ask one question, held by one among all that share a cache."""

    #: how long it is held without `renew`, in seconds; None for as long as its holder lives
    lease_s: float | None

    def renew(self) -> None:
        """Hold it for another `lease_s`."""
        ...

    def release(self) -> None:
        """Give it back; harmless where it is not held."""
        ...


class AnswerCache(Protocol):
    """Where answers are kept, on disk or in Redis. For one thread at a time; every method may wait for I/O."""

    def get(self, key: str) -> Response | None:
        """The stored answer exactly as it was put, or None. Raises StorageError."""
        ...

    def put(self, key: str, response: Response) -> None:
        """Store a whole answer. Raises StorageError; ValueError where it is not whole, or itself came from here."""
        ...

    def claim(self, key: str) -> AskLock | None:
        """The right to ask; None where somebody has it, who may yet answer. Raises StorageError."""
        ...

    def quick(self) -> AnswerCache | None:
        """The same for an event loop, to `get`, `put` and `claim`: StorageError where somebody has to be waited for.

        None where every look may wait.
        """
        ...

    def close(self) -> None:
        """Let go of files and sockets; the next call opens them again."""
        ...


class CacheStats(NamedTuple):  # a dataclass would cost every cached answer a millisecond
    """`oldest` and `newest` are when those answers were stored, in epoch seconds; None where there are none.

    `size_bytes` is the database's, which `limit_bytes` bounds (None: nothing of ours does); `expired` answers are
    among the `entries`.
    """

    entries: int
    expired: int
    size_bytes: int
    limit_bytes: int | None
    oldest: float | None
    newest: float | None


class ResponseCache:
    """Answers on disk, for one thread at a time. Nothing is touched before the first call; reading makes no folder.

    An answer is served for `ttl_s` seconds after it was stored, or for what whoever stored it allowed, whichever
    ends first. `wall` gives epoch seconds. Every method raises StorageError where the files cannot be used; a
    database that another process has locked is waited for `patience_s`, and then, for 5 s, not again.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ttl_s: int,
        size_limit: int = SIZE_LIMIT,
        patience_s: float = _PATIENCE_S,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self.ttl_s = ttl_s
        self.size_limit = size_limit
        self.patience_s = patience_s
        self.wall = wall
        self._database = folder / "cache.db"
        self._locks = KeyLocks(folder)
        self._reader: _Reader | None = None
        self._writer: SafeCache | None = None
        self._written: tuple[int, int] | None = None
        self._impatient_until = 0.0
        self._stored = 0

    def get(self, key: str) -> Response | None:
        """The stored answer exactly as it was put, or None; a row that is not ours is None, too."""
        now = self.wall()
        row = self._read(_SELECT, (key, now, now - self.ttl_s))
        if row is None:
            return None
        try:
            return decode(row[0])
        except (ValueError, RecursionError) as error:
            raise self._failure("it is damaged: an answer in it cannot be read") from error

    def put(self, key: str, response: Response) -> None:
        """Store a whole answer; ValueError where it is not whole, or itself came from here."""
        text = _storable(response)
        self._write(lambda writer: self._store(writer, key, text))

    def _store(self, writer: SafeCache, key: str, text: str) -> None:
        if self._stored % _CULL_EVERY == 0:
            writer.cull()
        self._stored += 1
        writer.keep(key, text, self.wall(), self.ttl_s)

    def stats(self) -> CacheStats:
        """What the cache holds now."""
        entries, expired, oldest, newest, size = self._read(_STATS, (self.wall(),)) or (0, 0, None, None, 0)
        return CacheStats(entries, expired, size, self.size_limit, oldest, newest)

    def prune(self) -> int:
        """Remove expired answers, then the oldest while the database is over its limit; returns how many went."""
        self._locks.sweep()
        return int(self._write(lambda writer: writer.cull())) if os.path.lexists(self._database) else 0

    def clear(self) -> int | None:
        """Remove every answer; returns how many went, None where a damaged or full database had to go whole."""
        self._locks.sweep()
        try:
            if stat.S_ISREG(os.lstat(self._database).st_mode):
                return int(self._write(lambda writer: writer.clear()))
        except FileNotFoundError:
            return 0
        except StorageError as error:
            if not _beyond_repair(error.__cause__):
                raise
        try:
            # Only what SQLite made of the name that is ours: whatever else is in the folder stays.
            self._close_database()
            for suffix in ("", "-wal", "-shm", "-journal"):
                Path(f"{self._database}{suffix}").unlink(missing_ok=True)
        except OSError as error:
            raise self._failure(error.strerror or str(error)) from error
        return None

    def close(self) -> None:
        """Let go of the files; the next call opens them again."""
        self._close_database()
        self._locks.close()

    def _close_database(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.connection.close()
        # last: only who may write can fold SQLite's log back into the file
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def quick(self) -> ResponseCache:
        """The same files without patience, for an event loop: no lock that another process holds is waited for."""
        return _QuickCache(self.folder, ttl_s=self.ttl_s, size_limit=self.size_limit, patience_s=0.0, wall=self.wall)

    def claim(self, key: str) -> KeyLock | None:
        """The right to ask, among all tasks and processes; None where somebody has it."""
        try:
            return self._locks.take(key)
        except OSError as error:
            raise StorageError(
                f"identical questions may be asked twice: no lock in {self.folder} ({error.strerror})."
            ) from error

    def _read(self, statement: str, parameters: tuple[object, ...]) -> tuple[Any, ...] | None:
        """The first row, None where there is no database yet."""
        try:
            connection = self._open_reader()
            cursor = connection.execute(statement, parameters)
            row: tuple[Any, ...] | None = cursor.fetchone()
            cursor.close()
            return row
        except FileNotFoundError:
            return None
        except (
            Exception
        ) as error:  # damaged bytes make sqlite3 itself stumble, as in decoding the message it raises with
            self._close_database()
            if _code(error) == sqlite3.SQLITE_ERROR:
                return None  # no such table: another process is making it right now
            raise self._failure(_reason(error)) from error

    def _open_reader(self) -> sqlite3.Connection:
        """Kept between calls for as long as it is the same file: anybody may replace it at any time."""
        status = os.stat(self._database)
        wanted = (status.st_dev, status.st_ino, self._patience_s())
        if self._reader is None or self._reader.identity != wanted:
            if self._reader is not None:
                self._close_database()
            _check_regular(status)
            self._reader = _Reader(wanted, self._connect(wanted[2]))
        return self._reader.connection

    def _connect(self, timeout_s: float, mode: str = "ro") -> sqlite3.Connection:
        address = f"{self._database.absolute().as_uri()}?mode={mode}"
        # the fast path may have opened it in another thread, which is done with it
        return sqlite3.connect(address, uri=True, timeout=timeout_s, isolation_level=None, check_same_thread=False)

    def _patience_s(self) -> float:
        return 0.0 if self.wall() < self._impatient_until else self.patience_s

    def _write(self, work: Callable[[SafeCache], Any]) -> Any:
        from diskcache import Timeout

        try:
            if self._writer is not None and file_identity(self._database) != self._written:
                self._close_database()  # somebody removed or replaced it: what went into it now, nobody would find
            if self._writer is None:
                self._writer = self._open()
                self._written = file_identity(self._database)
            return work(self._writer)
        except Timeout as error:
            self._close_database()
            raise self._failure(_LOCKED) from error
        except Exception as error:  # a planted table can make diskcache stumble anywhere, and no answer is lost over it
            self._close_database()
            raise self._failure(_reason(error)) from error

    def _open(self) -> SafeCache:
        from llmswitch.safedisk import SafeCache

        private_folder(self.folder)
        _close_to_others(self.folder)
        try:
            # SQLite would create it with the umask's mode; its -wal and -shm take after it.
            os.close(os.open(self._database, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            # Not opened to look at it: closing it would drop the locks of this process's other connections.
            _check_regular(os.lstat(self._database))
            _close_to_others(self._database)
        return SafeCache(self.folder, timeout_s=self._patience_s(), size_limit=self.size_limit)

    def _failure(self, reason: str) -> StorageError:
        if reason is _LOCKED and self.wall() >= self._impatient_until:
            self._impatient_until = self.wall() + _IMPATIENT_S
        cure = " Empty it with 'llmswitch cache clear'." if "damaged" in reason else ""
        return StorageError(f"the response cache {self.folder} cannot be used: {reason.rstrip('.')}.{cure}")


class _QuickCache(ResponseCache):
    """Writes into a database that is there, in one statement, and keeps no house: no answer is removed, and SQLite's
    log is not folded back into the file, which takes time."""

    def put(self, key: str, response: Response) -> None:
        """See `ResponseCache`."""
        from llmswitch.safedisk import UPSERT, row_of

        text = _storable(response)
        try:
            self._open_reader().execute(UPSERT, row_of(key, text, self.wall(), self.ttl_s))
        except Exception as error:  # see `_read`
            self._close_database()
            raise self._failure(_reason(error)) from error

    def _connect(self, timeout_s: float, mode: str = "rw") -> sqlite3.Connection:
        _check_regular(os.lstat(self._database))
        connection = super()._connect(timeout_s, mode)
        try:
            connection.execute("PRAGMA synchronous = NORMAL")  # as diskcache has it
            connection.execute("PRAGMA wal_autocheckpoint = 0")
        except BaseException:
            connection.close()
            raise
        return connection


class _Reader(NamedTuple):
    """`identity` is device, inode, and for how many seconds a lock is waited for."""

    identity: tuple[int, int, float]
    connection: sqlite3.Connection


def _storable(response: Response) -> str:
    if response.finish_reason not in STORED or response.cached:
        raise ValueError(f"not to be stored: finish_reason {response.finish_reason}, cached {response.cached}")
    return encode(response)


def _close_to_others(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        path.chmod(mode & 0o700)


def _check_regular(status: os.stat_result) -> None:
    """A pipe in the database's place would be waited for without end, a link would be written through."""
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "cache.db is not a file")


def _code(error: BaseException | None) -> int | None:
    """SQLite's primary result code, None for every other failure."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _reason(error: Exception) -> str:
    code = _code(error)
    if code in _BUSY:
        return _LOCKED
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if code in _NO_ACCESS | _NO_ROOM:
        return str(error)
    return f"it is damaged ({error})"


def _beyond_repair(error: BaseException | None) -> bool:
    """Whether only a new database helps; removing rows from one on a full disk takes room that is not there."""
    from diskcache import Timeout

    return not isinstance(error, (OSError, Timeout)) and _code(error) not in _NO_ACCESS | _BUSY


def as_cached(original: Response, duration_s: float) -> Response:
    """`original` as the contract wants a cached answer, whose finding took `duration_s`.

    Its tokens and cost are 0, there was no attempt, and the first call's figures are in `original`.
    """
    return replace(
        original,
        usage=Usage(0, 0, 0, 0, 0, 0),
        request_id=None,
        timing=Timing(),
        cost=Cost(Decimal(0), "cache"),
        attempts=(),
        cached=True,
        original=original,
        duration_s=duration_s,
    )


def lookup(cache: AnswerCache, key: str, clock: Callable[[], float]) -> Response | None:
    """The stored answer `as_cached`, None where there is none. Raises StorageError.

    On disk, this imports neither asyncio nor diskcache nor an SDK.
    """
    started = clock()
    original = cache.get(key)
    return None if original is None else as_cached(original, clock() - started)
