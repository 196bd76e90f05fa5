"""Which store keeps what processes know together, and the next one where that fails: no call is worth less for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from llmswitch.errors import StorageError
from llmswitch.redis_state import RedisState
from llmswitch.state import Document, FileState, MemoryState, State

__all__ = ["SharedState", "open_state"]

T = TypeVar("T")

#: how long a store that failed is left alone, in seconds
_RECOVERY_S = 5.0


def open_state(
    path: Path,
    *,
    redis_url: str | None = None,
    namespace: str | None = None,
    warn: Callable[[str], None],
    warn_of_redis: Callable[[str], None] | None = None,
    wall: Callable[[], float] = time.time,
    clock: Callable[[], float] = time.monotonic,
) -> State:
    """Redis where there is an address of one, then the file at `path`, then memory. Nothing is opened or sent yet.

    `warn` is told, in the worker's thread, once of each store that fails; of Redis, `warn_of_redis` where there is one.
    Raises ConfigError for an address that is none.
    """
    local = SharedState(FileState(path, wall=wall), MemoryState(wall=wall), warn=warn, clock=clock)
    if redis_url is None:
        return local
    return SharedState(RedisState(redis_url, namespace), local, warn=warn_of_redis or warn, clock=clock)


class SharedState:
    """`first`, and `then` while that fails. A store that failed is tried again after 5 s.

    What was written to the other one meanwhile stays there. `warn` is told once; `clock` is monotonic.
    """

    def __init__(
        self, first: State, then: State, *, warn: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.first = first
        self.then = then
        self._warn = warn
        self._clock = clock
        self._warned = False
        self._resumes = float("-inf")

    def working(self, use: Callable[[State], T]) -> T:
        """See `State`."""
        if self._clock() >= self._resumes:
            try:
                return self.first.working(use)
            except StorageError as error:
                self._give_up(error)
        return self.then.working(use)

    def update(self, key: str, change: Callable[[Document | None], tuple[Document | None, T]], *, keep_s: float) -> T:
        """See `State`."""
        return self.working(lambda store: store.update(key, change, keep_s=keep_s))

    def read(self, key: str) -> Document | None:
        """See `State`."""
        return self.working(lambda store: store.read(key))

    def keys(self, prefix: str) -> list[str]:
        """See `State`."""
        return self.working(lambda store: store.keys(prefix))

    def begin(self) -> None:
        """Both: either may be used in the batch."""
        self.first.begin()
        self.then.begin()

    def begin_now(self) -> bool:
        """The first one, where it did not fail of late. No store needs a `begin` to be fallen back on."""
        return self._clock() >= self._resumes and self.first.begin_now()

    def commit(self) -> None:
        """Both. A batch that the first one lost has given its answers all the same."""
        try:
            self.first.commit()
        except StorageError as error:
            self._give_up(error)
        self.then.commit()

    def rollback(self) -> None:
        """Both."""
        self.first.rollback()
        self.then.rollback()

    def close(self) -> None:
        """Both."""
        self.first.close()
        self.then.close()

    def _give_up(self, error: StorageError) -> None:
        self._resumes = self._clock() + _RECOVERY_S
        if not self._warned:
            self._warned = True
            self._warn(error.message)
