"""A lock between processes and between tasks, one file a key, freed by the system when its holder dies."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["KeyLock"]


class KeyLock:
    """An advisory lock on `path`, whose folder exists. The file is there only while somebody holds or wants it."""

    def __init__(self, path: Path) -> None:
        from filelock import FileLock  # 45 ms of CPU: only a question that must really be asked pays them

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

    def release(self) -> None:
        """Give it back and leave no file. Who waits on the unlinked file sees that it has no name, and tries anew."""
        with suppress(OSError):
            os.unlink(self._lock.lock_file)
        self._lock.release()
