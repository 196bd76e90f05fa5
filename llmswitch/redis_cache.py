"""The response cache that a team shares, in Redis, and the choice between it and the one on disk.

Answers are JSON under the same keys as on disk, and Redis forgets them by itself. An answer that came while this
machine asked is kept on its own disk, too: where Redis fails, nothing is lost and nothing is paid for twice.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from llmswitch.answers import decode, encode
from llmswitch.cache import STORED, AnswerCache, AskLock, CacheStats, ResponseCache
from llmswitch.errors import StorageError
from llmswitch.types import Response

if TYPE_CHECKING:
    from redis import Redis
    from redis.lock import Lock

    from llmswitch.profiles import Settings

__all__ = ["RedisCache", "RedisLock", "SharedCache", "open_cache", "redis_cache"]

T = TypeVar("T")

#: how long the right to ask a question outlives a machine that died with it, in seconds
_LEASE_S = 10.0
#: how long a Redis that failed is left alone, in seconds
_RECOVERY_S = 5.0
#: what Redis says of a key that it keeps for ever
_NO_EXPIRY = -1
#: how many keys are looked at in one go
_BATCH = 500


def open_cache(
    settings: Settings, *, ttl_s: int, wall: Callable[[], float], warn: Callable[[str], None]
) -> AnswerCache:
    """The cache on disk, or with REDIS_URL the one that a team shares. Touches nothing yet; raises ConfigError.

    `warn` is told once, in the thread that uses the cache, where Redis does not answer.
    """
    local = ResponseCache(settings.paths.responses, ttl_s=ttl_s, wall=wall)
    remote = redis_cache(settings, ttl_s=ttl_s, wall=wall)
    return local if remote is None else SharedCache(remote, local, warn=warn)


def redis_cache(settings: Settings, *, ttl_s: int, wall: Callable[[], float]) -> RedisCache | None:
    """The cache at REDIS_URL, in the part of it that CACHE_NAMESPACE names; None where there is no such setting.

    Raises ConfigError where the address is none, or the extra is not installed.
    """
    url = settings.secret("REDIS_URL")
    if url is None:
        return None
    from llmswitch.redis_state import connect, prefix_of

    prefix = prefix_of(settings.get("CACHE_NAMESPACE"))
    return RedisCache(connect(url.reveal()), prefix, ttl_s=ttl_s, wall=wall)


class RedisCache:
    """Answers under `<prefix>answer:` of a Redis. Every method raises StorageError where it cannot be used.

    An answer is served for `ttl_s` seconds after it was stored, or for what whoever stored it allowed, whichever ends
    first. `wall` gives epoch seconds, and machines that share a cache agree about them.
    """

    def __init__(
        self,
        client: Redis,
        prefix: str,
        *,
        ttl_s: int,
        lease_s: float = _LEASE_S,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.ttl_s = ttl_s
        self.lease_s = lease_s
        self.wall = wall
        self._client = client
        self._prefix = prefix

    @property
    def place(self) -> str:
        """Host and port, or the socket."""
        from llmswitch.redis_state import place

        return place(self._client)

    def get(self, key: str) -> Response | None:
        """The stored answer exactly as it was put, or None; a value that is not ours is None, too."""
        with _guarded(self._client):
            value: Any = self._client.get(self._answer(key))
        if value is None:
            return None
        try:
            kept = json.loads(value)
            return decode(kept["answer"]) if kept["at"] > self.wall() - self.ttl_s else None
        except (ValueError, LookupError, TypeError, RecursionError):
            return None  # asked again, and overwritten

    def put(self, key: str, response: Response) -> None:
        """Store a whole answer; ValueError where it is not whole, or itself came from here."""
        if response.finish_reason not in STORED or response.cached:
            raise ValueError(f"not to be stored: finish_reason {response.finish_reason}, cached {response.cached}")
        value = json.dumps({"at": round(self.wall(), 3), "answer": encode(response)})
        with _guarded(self._client):
            self._client.set(self._answer(key), value, px=max(1, self.ttl_s * 1000))

    def claim(self, key: str) -> RedisLock | None:
        """The right to ask, among all machines."""
        name = f"{self._prefix}asking:{key}"
        # not bound to a thread: who closes the cache may give it back
        lock = self._client.lock(name, timeout=self.lease_s, thread_local=False)
        with _guarded(self._client):
            if lock.acquire(blocking=False):
                return RedisLock(self._client, lock, self.lease_s)
            left: Any = self._client.pttl(name)
            if left == _NO_EXPIRY or left > 1000 * max(self.lease_s, _LEASE_S):
                self._client.delete(name)  # nobody of ours holds it so: it would be waited for without end
        return None

    def stats(self) -> CacheStats:
        """What the cache holds now; Redis' own limits are not ours to know."""
        entries, size, times = 0, 0, list[float]()
        for names in self._keys():
            sizes, ages = self._measured(names)
            entries += sum(used is not None for used in sizes)
            size += sum(used or 0 for used in sizes)
            times += [at for at in map(_stored_at, ages) if at is not None]
        return CacheStats(entries, 0, size, None, min(times, default=None), max(times, default=None))

    def clear(self) -> int:
        """Remove every answer of this namespace; returns how many went."""
        removed: Any = 0
        for names in self._keys():
            with _guarded(self._client):
                removed += self._client.unlink(*names)
        return int(removed)

    def close(self) -> None:
        """Close every socket; the next call opens one again."""
        self._client.close()

    def _answer(self, key: str) -> str:
        return f"{self._prefix}answer:{key}"

    def _keys(self) -> Iterator[list[bytes]]:
        """The names of all answers, in batches. Keys are as long as a SHA-256: no other namespace's is among them."""
        escaped = "".join(f"\\{c}" if c in "*?[]^\\" else c for c in self._answer(""))
        cursor: Any = 0
        while True:
            with _guarded(self._client):
                found: Any = self._client.scan(cursor, f"{escaped}{'?' * 64}", _BATCH)
            cursor, names = found
            if names:
                yield names
            if not cursor:
                return

    def _measured(self, names: list[bytes]) -> tuple[list[int | None], list[bytes]]:
        """The bytes that each answer takes, None where it is gone, and how its value begins."""
        pipeline = self._client.pipeline(transaction=False)
        for name in names:
            pipeline.memory_usage(name)
        for name in names:
            pipeline.getrange(name, 0, 40)
        with _guarded(self._client):
            found = pipeline.execute()
        return found[: len(names)], found[len(names) :]


@contextmanager
def _guarded(client: Redis) -> Iterator[None]:
    from redis import RedisError

    from llmswitch.redis_state import unusable

    try:
        yield
    except (RedisError, OSError) as error:
        raise unusable(client, error) from error


def _stored_at(beginning: bytes) -> float | None:
    """The time at which a value begins."""
    with suppress(ValueError):
        return float(beginning.partition(b":")[2].partition(b",")[0])
    return None


class RedisLock:
    """The right to ask one question, among all machines. Who holds it renews it, and a machine that died loses it.

    Both methods raise StorageError where Redis does not answer.
    """

    lease_s: float | None

    def __init__(self, client: Redis, lock: Lock, lease_s: float) -> None:
        self.lease_s = lease_s
        self._client = client
        self._lock = lock

    def renew(self) -> None:
        """Hold it for another `lease_s`. Lost already, it stays lost: the question may then be asked twice."""
        from redis.exceptions import LockError

        with _guarded(self._client), suppress(LockError):
            self._lock.reacquire()

    def release(self) -> None:
        """Give it back, if it is still held."""
        from redis.exceptions import LockError

        with _guarded(self._client), suppress(LockError):
            self._lock.release()


class _SharedLock:
    """A RedisLock that is left to lapse while Redis is left alone: each that waits for it holds up everybody else."""

    def __init__(self, lock: RedisLock, in_redis: Callable[[Callable[[], None], Callable[[], None]], None]) -> None:
        self.lease_s = lock.lease_s
        self._lock = lock
        self._in_redis = in_redis

    def renew(self) -> None:
        """See `RedisLock`; raises nothing."""
        self._in_redis(self._lock.renew, lambda: None)

    def release(self) -> None:
        """See `RedisLock`; raises nothing."""
        self._in_redis(self._lock.release, lambda: None)


class SharedCache:
    """`remote`, with `local` beside it: no call fails because Redis does, and no answer is lost.

    Answers go to both and are looked for in `remote` first. Where that fails, `warn` is told, once; it is tried again
    after 5 s. `clock` is monotonic.
    """

    def __init__(
        self,
        remote: RedisCache,
        local: ResponseCache,
        *,
        warn: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.remote = remote
        self.local = local
        self._warn = warn
        self._clock = clock
        self._warned = False
        self._resumes = float("-inf")

    def get(self, key: str) -> Response | None:
        """The answer that is in Redis, or else here. Raises StorageError where it cannot be read here."""
        return self._in_redis(lambda: self.remote.get(key), lambda: None) or self.local.get(key)

    def put(self, key: str, response: Response) -> None:
        """Store a whole answer in both. Raises StorageError where it cannot be written here."""
        self._in_redis(lambda: self.remote.put(key, response), lambda: None)
        self.local.put(key, response)

    def claim(self, key: str) -> AskLock | None:
        """The right to ask: among all machines, or on this one where Redis fails. Raises StorageError."""
        lock = self._in_redis(lambda: self.remote.claim(key), lambda: self.local.claim(key))
        return _SharedLock(lock, self._in_redis) if isinstance(lock, RedisLock) else lock

    def quick(self) -> None:
        """None: Redis may take its time."""

    def close(self) -> None:
        """Both."""
        self.remote.close()
        self.local.close()

    def _in_redis(self, work: Callable[[], T], otherwise: Callable[[], T]) -> T:
        if self._clock() < self._resumes:
            return otherwise()
        try:
            return work()
        except StorageError as error:
            self._note(error)
        return otherwise()

    def _note(self, error: StorageError) -> None:
        from redis import ResponseError

        # what Redis itself refuses, such as a write where it is full, says that it is there
        if not isinstance(error.__cause__, ResponseError):
            self._resumes = self._clock() + _RECOVERY_S
        if not self._warned:
            self._warned = True
            self._warn(error.message)
