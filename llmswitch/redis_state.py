"""What machines know together: the documents of `state.py` in Redis, so that a team's processes share them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from llmswitch.errors import ConfigError, StorageError
from llmswitch.state import Document, State, decoded, encoded
from llmswitch.text import one_line

if TYPE_CHECKING:
    from redis import Redis

__all__ = ["RedisState", "connect", "place", "prefix_of", "unusable"]

T = TypeVar("T")

#: how long Redis may take to be reached, and to answer, in seconds
_PATIENCE_S = 1.0
#: what an address may say behind its '?'; the rest of the client's options would undo what is counted on here
_OPTIONS = frozenset(
    {
        "db",
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_keyfile",
        "ssl_min_version",
        "ssl_password",
    }
)
#: how long changes of others are waited for, in seconds
_CONTENTION_S = 2.0
#: Replaces a value, or with an empty new one removes it, if it is still the one that was read ('' where none was).
_SWAP = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
"""


def prefix_of(namespace: str | None) -> str:
    """What every key of ours in Redis begins with."""
    return f"llmswitch:{namespace or ''}:"


def connect(url: str) -> Redis:
    """A client of the Redis at REDIS_URL (`redis://`, `rediss://`, `unix://`), with short waits; nothing is sent.

    Raises ConfigError where the address is none, or the extra is not installed.
    """
    try:
        import redis
    except ImportError as error:
        raise ConfigError("REDIS_URL needs the extra 'redis': type pip install 'llmswitch[redis]'.") from error
    try:
        if not parse_qs(urlsplit(url).query).keys() <= _OPTIONS:
            raise ValueError("an option that is not ours to give")
        # version 2 of the protocol needs no greeting, which older servers do not know
        client: Redis = redis.Redis.from_url(
            url,
            protocol=2,
            driver_info=None,
            socket_connect_timeout=_PATIENCE_S,
            socket_timeout=_PATIENCE_S,
        )
        # a connection is made only to see that the options' values are some
        client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)
    except (ValueError, TypeError, redis.RedisError):
        # without the cause: its text may hold the address, and that a password
        raise ConfigError(
            "REDIS_URL is no address of a Redis: it looks like redis://:PASSWORD@HOST:6379/0, and rediss:// with TLS."
        ) from None
    return client


def place(client: Redis) -> str:
    """Where it is, for people: host and port, or the socket; never its password."""
    at = client.connection_pool.connection_kwargs
    return str(at.get("path") or f"{at.get('host', 'localhost')}:{at.get('port', 6379)}")


def unusable(client: Redis, error: Exception) -> StorageError:
    """What is said of a Redis that failed: where it is and why; never its password, which a server may repeat."""
    reason, _, _ = str(error).partition(" script: ")  # by whose digest nobody is helped
    for secret in ("password", "ssl_password"):
        reason = reason.replace(str(client.connection_pool.connection_kwargs.get(secret) or "\0"), "***")
    return StorageError(
        f"Redis at {place(client)} cannot be used: {one_line(reason).rstrip('.')}. Going on without it."
    )


class RedisState:
    """Documents under `llmswitch:<namespace>:` in the Redis at `url`, reached with the first use.

    Each update counts at once: there is nothing to begin or to commit.
    """

    def __init__(self, url: str, namespace: str | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.client = connect(url)
        self.prefix = prefix_of(namespace)
        self._clock = clock
        self._swap = self.client.register_script(_SWAP)

    def begin(self) -> None:
        """Nothing: see the class."""

    def begin_now(self) -> bool:
        """Never: every use waits for a socket."""
        return False

    def commit(self) -> None:
        """Nothing: see the class."""

    def rollback(self) -> None:
        """Nothing: see the class."""

    def close(self) -> None:
        """Close every socket."""
        self.client.close()

    def update(self, key: str, change: Callable[[Document | None], tuple[Document | None, T]], *, keep_s: float) -> T:
        """See `State`. Raises StorageError where others change the document all the time."""
        return self._guarded(lambda: self._update(self.prefix + key, change, max(1, int(keep_s * 1000))))

    def read(self, key: str) -> Document | None:
        """See `State`."""

        def found() -> Document | None:
            return decoded(self._value(self.prefix + key))

        return self._guarded(found)

    def keys(self, prefix: str) -> list[str]:
        """See `State`."""

        def found() -> list[str]:
            pattern = "".join(f"\\{c}" if c in "*?[]^\\" else c for c in self.prefix + prefix)
            names = {_bytes(name).decode("utf-8", "replace") for name in self.client.scan_iter(f"{pattern}*", 1000)}
            return sorted(name.removeprefix(self.prefix) for name in names)

        return self._guarded(found)

    def working(self, use: Callable[[State], T]) -> T:
        """This one."""
        return self._guarded(lambda: use(self))

    def _update(self, name: str, change: Callable[[Document | None], tuple[Document | None, T]], keep_ms: int) -> T:
        ends = self._clock() + _CONTENTION_S
        while True:
            before = self._value(name)
            document, result = change(decoded(before))
            after = "" if document is None else encoded(document)
            if self._swap(keys=[name], args=[before, after, keep_ms]):
                return result
            if self._clock() > ends:
                raise unusable(self.client, TimeoutError("others change the same document all the time"))

    def _value(self, name: str) -> bytes:
        """What is kept there; a list or the like is none of ours, and as good as not there."""
        from redis import ResponseError

        try:
            return _bytes(self.client.get(name))
        except ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise
            self.client.delete(name)
            return b""

    def _guarded(self, work: Callable[[], T]) -> T:
        from redis import RedisError

        try:
            return work()
        except RedisError as error:
            raise unusable(self.client, error) from error


def _bytes(value: Any) -> bytes:
    """Redis' answer, which the client types loosely; nothing where there is no such key."""
    return value if isinstance(value, bytes) else b""
