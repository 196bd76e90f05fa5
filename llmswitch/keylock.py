"""A lock between processes and between tasks, one file a key, freed by the system when its holder dies."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

__all__ = ["KeyLock"]


if sys.platform == "win32":

    class KeyLock:
        """A lock on `path`, whose folder exists. The file is there only while somebody holds or wants it."""

        lease_s: float | None = None

        def __init__(self, path: str) -> None:
            from filelock import FileLock

            # The soft fallback is refused: its file would outlive a killed holder and lock everybody out.
            self._lock = FileLock(path, mode=0o600, thread_local=False, fallback_to_soft=False)

        def try_acquire(self) -> bool:
            """Take the lock if nobody has it; never waits. Raises OSError where the file system has no locks."""
            from filelock import Timeout

            try:
                self._lock.acquire(blocking=False)
            except Timeout:
                return False
            return True

        def renew(self) -> None:
            """Nothing: the system keeps it for as long as its holder lives."""

        def release(self) -> None:
            """Give it back and leave no file."""
            with suppress(OSError):
                os.unlink(self._lock.lock_file)
            self._lock.release()

else:
    import fcntl

    class KeyLock:
        """A lock on `path`, whose folder exists. The file is there only while somebody holds or wants it.

        The system's own lock and not filelock's, which takes ten times as long: 0.3 ms of CPU for every question
        that is really asked.
        """

        #: how long it is held without `renew`, in seconds; None for as long as its holder lives
        lease_s: float | None = None

        def __init__(self, path: str) -> None:
            self._path = path
            self._file: int | None = None

        def try_acquire(self) -> bool:
            """Take the lock if nobody has it; never waits. Raises OSError where the file system has no locks."""
            while True:
                file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    named = os.fstat(file).st_nlink > 0
                except BlockingIOError:
                    os.close(file)
                    return False
                except BaseException:
                    os.close(file)
                    raise
                if named:
                    self._file = file
                    return True
                os.close(file)  # whoever had it took the name away in between: the next one makes a new file

        def renew(self) -> None:
            """Nothing: the system keeps it for as long as its holder lives."""

        def release(self) -> None:
            """Give it back and leave no file; harmless where it is not held."""
            file, self._file = self._file, None
            if file is not None:
                with suppress(OSError):
                    os.unlink(self._path)
                os.close(file)
