"""A lock for each key, between processes and between tasks, freed by the system when its holder dies."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from llmswitch.paths import private_folder

__all__ = ["KeyLock", "KeyLocks"]


class KeyLock:
    """One key's lock, held until `release`."""

    #: how long it is held without `renew`, in seconds; None for as long as its holder lives
    lease_s: float | None = None

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back: Callable[[], None] | None = give_back

    def renew(self) -> None:
        """Nothing: the system keeps it for as long as its holder lives."""

    def release(self) -> None:
        """Give it back; harmless where that was done."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()


if sys.platform == "linux":
    import errno
    import fcntl
    import struct

    #: Linux' `struct flock`: kind, whence, start, length, process
    _FLOCK = struct.Struct("hhqqi4x")

    class KeyLocks:
        """Locks in `folder`, made when one is taken: one file there, in which each key has a byte's place.

        A key is a SHA-256 in hex. The locks are of the open file, not of the process (`fcntl(2)`, open file
        description locks): two of these in one process lock each other out. Taking one and giving it back are a
        system call each, where a file for each key takes a hundred times as long.
        """

        def __init__(self, folder: Path) -> None:
            self._path = folder / "asking.lock"
            self._file: int | None = None
            self._held: set[int] = set()

        def take(self, key: str) -> KeyLock | None:
            """The key's lock; None where somebody has it. Raises OSError where the file system has no locks."""
            place = int(key[:15], 16)
            if place in self._held:
                return None
            file = self._opened()
            try:
                self._set(file, fcntl.F_WRLCK, place)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EACCES):
                    return None
                raise
            self._held.add(place)
            return KeyLock(lambda: self._give_back(place))

        def sweep(self) -> None:
            """Nothing: who died left no file of his own."""

        def close(self) -> None:
            """Give back what is held, and close the file."""
            self._held.clear()
            file, self._file = self._file, None
            if file is not None:
                os.close(file)

        def _give_back(self, place: int) -> None:
            if place in self._held and self._file is not None:
                self._held.discard(place)
                self._set(self._file, fcntl.F_UNLCK, place)

        def _opened(self) -> int:
            """The file; another one where it was removed, with the whole cache, and nothing is held."""
            if self._file is not None and not self._held and not os.fstat(self._file).st_nlink:
                self.close()
            if self._file is None:
                private_folder(self._path.parent)
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            return self._file

        def _set(self, file: int, kind: int, place: int) -> None:
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, place, 1, 0))

else:

    class KeyLocks:
        """Locks in `folder`, made when one is taken: a file for each key, there only while somebody has or wants it."""

        def __init__(self, folder: Path) -> None:
            self._folder = folder / "locks"

        def take(self, key: str) -> KeyLock | None:
            """The key's lock; None where somebody has it. Raises OSError where the file system has no locks."""
            from filelock import FileLock, Timeout

            private_folder(self._folder)
            # The soft fallback is refused: its file would outlive a killed holder and lock everybody out.
            lock = FileLock(self._folder / f"{key}.lock", mode=0o600, thread_local=False, fallback_to_soft=False)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                return None

            def give_back() -> None:
                # Who waits on the unlinked file sees that it has no name, and tries anew.
                with suppress(OSError):
                    os.unlink(lock.lock_file)
                lock.release()

            return KeyLock(give_back)

        def sweep(self) -> None:
            """Remove the files of killed processes; one that is held stays."""
            for path in self._folder.glob("*.lock"):
                with suppress(OSError):
                    lock = self.take(path.stem)
                    if lock is not None:
                        lock.release()

        def close(self) -> None:
            """Nothing: a file is open only while its lock is held."""
