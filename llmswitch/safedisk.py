"""diskcache that cannot be made to run, read or delete anything by who writes into its database.

diskcache 5.6.3 (CVE-2025-69872, no fixed release) unpickles a value of mode 4 and a key with `raw=0`, opens and
deletes whatever file a row names, and at every opening obeys the rows of its Settings table: `sqlite_*` becomes a
PRAGMA, `disk_*` an argument, anything else an attribute of the cache. Here keys and values are text in SQLite's own
rows, no file is ever named, and only our settings count. Imported where something is written, not to read: a cached
answer needs none of it (see `cache.ResponseCache.get`).
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import diskcache
from diskcache.core import MODE_RAW

__all__ = ["UPSERT", "SafeCache", "SafeDisk", "row_of"]


#: one statement for what `diskcache.Cache.set` does in six, which a call that is really asked waits for
UPSERT = (
    "INSERT INTO Cache (key, raw, store_time, expire_time, access_time, access_count, tag, size, mode, filename, value)"
    " VALUES (?, 1, ?, ?, ?, 0, NULL, 0, ?, NULL, ?)"
    " ON CONFLICT (key, raw) DO UPDATE SET store_time = excluded.store_time, expire_time = excluded.expire_time,"
    " access_time = excluded.access_time, access_count = 0, tag = NULL, size = 0, mode = excluded.mode,"
    " filename = NULL, value = excluded.value"
)


def row_of(key: str, value: str, now: float, expire_s: float) -> tuple[object, ...]:
    """What UPSERT takes: a text stored at `now`, in epoch seconds, for `expire_s` seconds."""
    return key, now, now + expire_s, now, MODE_RAW, value


class RefusedError(OSError):
    """A row that is not ours. diskcache takes an OSError from its disk as 'no such entry'."""


class SafeDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Text keys and text values, kept in the database. Everything else is refused, whoever put it there."""

    def __init__(self, directory: str, **planted: object) -> None:
        # Every `disk_*` row of the Settings table arrives here by name: none has a say.
        super().__init__(directory, min_file_size=sys.maxsize)

    def put(self, key: object) -> tuple[str, bool]:
        """`key` for the database; TypeError where it is not text."""
        if type(key) is not str:
            raise TypeError(f"a cache key is text, not {type(key).__name__}")
        return key, True

    def get(self, key: object, raw: object) -> str:
        """The key of a row; RefusedError for what diskcache would unpickle."""
        if type(key) is not str or raw != 1:
            raise RefusedError("the cache holds a key that is not text")
        return key

    def store(self, value: object, read: bool, key: object = None) -> tuple[int, int, None, str]:
        """`value` as the columns size, mode, filename and value; TypeError where it is not text."""
        if type(value) is not str or read:
            raise TypeError(f"a cached value is text, not {type(value).__name__}")
        return 0, MODE_RAW, None, value

    def fetch(self, mode: object, filename: object, value: object, read: bool) -> str:
        """The value of a row; RefusedError for what diskcache would unpickle or look for in a file."""
        if mode != MODE_RAW or filename is not None or type(value) is not str or read:
            raise RefusedError("the cache holds a value that is not text")
        return value

    def remove(self, file_path: str) -> None:
        """Nothing: no row of ours has a file, so a name that stands in one is not ours to delete."""


class SafeCache(diskcache.Cache):  # type: ignore[misc]  # diskcache has no types
    """A diskcache that gives up after `timeout_s` seconds where the database is locked (its own patience is 60)."""

    def __init__(self, folder: Path, *, timeout_s: float, size_limit: int) -> None:
        self._folder = str(folder)
        self._give_up = time.monotonic() + timeout_s
        # mmap off: a database that another process truncates would end this one with SIGBUS.
        self._ours = {**diskcache.DEFAULT_SETTINGS, "size_limit": size_limit, "sqlite_mmap_size": 0}
        try:
            super().__init__(os.sep, timeout=timeout_s, disk=SafeDisk, **self._ours)
        except BaseException:
            self.close()
            raise

    @property
    def _directory(self) -> str:
        return self._folder

    @_directory.setter
    def _directory(self, value: str) -> None:
        # diskcache expands '~' and '$NAME' in the folder it is given; ours means what it says.
        pass

    @property
    def _sql(self) -> Any:
        execute = self._con.execute

        def bounded(statement: str, parameters: tuple[object, ...] = ()) -> Any:
            try:
                return execute(statement, parameters)
            except sqlite3.OperationalError as error:
                # diskcache tries again for 60 s on this type alone; Timeout ends it.
                if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY and time.monotonic() > self._give_up:
                    raise diskcache.Timeout("database is locked") from error
                raise

        return bounded

    def keep(self, key: str, value: str, now: float, expire_s: float) -> None:
        """`set` of a text."""
        self._sql(UPSERT, row_of(key, value, now, expire_s))

    def reset(self, key: str, value: Any = diskcache.ENOVAL, update: bool = True) -> Any:
        """Read a setting, or set one of ours; what somebody else wrote into the Settings table is passed over."""
        if value is diskcache.ENOVAL:
            return super().reset(key)
        if key in self._ours and self._ours[key] == value:
            # Its row was written just before: diskcache would write it again.
            return super().reset(key, value, update=False)
        return None

    def volume(self) -> int:
        """Bytes of the database; diskcache adds a number from the Settings table, which anybody may have written."""
        ((pages,),) = self._sql("PRAGMA page_count").fetchall()
        return int(pages) * int(self._page_size)
