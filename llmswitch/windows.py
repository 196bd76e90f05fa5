"""What was taken from a limit within its window, for all processes: storages of the `limits` library.

Its own storage for Redis keeps one entry for each unit taken and can give none back, and it has none for SQLite. These
keep the units of each tenth of a second: a limit of millions of tokens costs what one of ten requests does, and what
was reserved can be settled. Importing `limits` costs 130 ms of CPU: only a call that a limit counts for pays them.
"""

from __future__ import annotations

import sqlite3
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, NoReturn

from limits.limits import RateLimitItemPerSecond
from limits.storage.base import MovingWindowSupport, Storage
from limits.strategies import MovingWindowRateLimiter

from llmswitch.errors import StorageError
from llmswitch.state import FileState

if TYPE_CHECKING:
    from llmswitch.redis_state import RedisState

__all__ = ["NO_LIMIT", "PerWindow", "RedisWindows", "SQLiteWindows", "Windows"]

#: as a limit, more than was ever taken
NO_LIMIT = 2**53
#: parts of a second that are told apart
_TICKS = 10
#: an entry from later than this is from before the clock was set back: it would count until that time comes again
_AHEAD = 5 * _TICKS


class PerWindow(RateLimitItemPerSecond):
    """So many units in any `multiples` seconds. Whoever keeps to another amount counts in the same window."""

    def key_for(self, *identifiers: bytes | str | float) -> str:
        """The window's key, without the amount."""
        return "/".join(str(identifier) for identifier in identifiers)


class Windows(Storage, MovingWindowSupport):
    """Units taken, by key and tenth of a second. For the thread of one worker.

    An entry counts from when it is taken for `expiry` seconds and up to a tenth more. `taken_at` is where the last
    one was put, for `shift`; `limiter` is the library's, over this.
    """

    STORAGE_SCHEME = None

    def __init__(self) -> None:
        super().__init__()
        self.taken_at = 0
        self.limiter = MovingWindowRateLimiter(self)

    @abstractmethod
    def entries(self, key: str, expiry: int) -> tuple[float, list[tuple[int, int]]]:
        """The time now, in ticks, and (tick, units) of all that counts, the oldest first."""

    @abstractmethod
    def shift(self, key: str, at: int, units: int) -> None:
        """Add to what was taken at tick `at`, or give back with fewer than 0; nothing where it counts no more."""

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the oldest entry was made, in the storage's seconds, and how many units count."""
        now, kept = self.entries(key, expiry)
        return (kept[0][0] if kept else now) / _TICKS, sum(units for _, units in kept)

    def wait(self, key: str, limit: int, expiry: int, amount: int) -> float:
        """Seconds until `amount` units fit, if nobody else takes any; more than `limit` need several windows."""
        now, kept = self.entries(key, expiry)
        windows, amount = divmod(max(amount, 1) - 1, limit)
        amount += 1
        used, free_at = sum(units for _, units in kept), now
        for at, units in kept:
            if used + amount <= limit:
                break
            used -= units
            free_at = at + expiry * _TICKS
        return windows * expiry + max(0.0, free_at - now) / _TICKS

    @property
    def base_exceptions(self) -> type[Exception]:
        """What the library would wrap, and is not asked to."""
        return StorageError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Of fixed windows, which let twice the limit through where two of them meet: see `acquire_entry`."""
        _refuse()

    def get(self, key: str) -> int:
        """Of fixed windows."""
        _refuse()

    def get_expiry(self, key: str) -> float:
        """Of fixed windows."""
        _refuse()

    def check(self) -> bool:
        """Whoever keeps the store finds out by using it."""
        return True

    def reset(self) -> int | None:
        """What was sent was sent."""
        _refuse()

    def clear(self, key: str) -> None:
        """What was sent was sent."""
        _refuse()


def _refuse() -> NoReturn:
    raise NotImplementedError("only moving windows are kept")


_TABLE = """CREATE TABLE IF NOT EXISTS windows
    (key TEXT, at INTEGER, units INTEGER NOT NULL, PRIMARY KEY (key, at)) WITHOUT ROWID"""
_FORGET = "DELETE FROM windows WHERE key = ? AND (at <= ? OR at > ?)"
_FORGET_ALL = "DELETE FROM windows WHERE at <= ?"
_SUM = "SELECT COALESCE(SUM(units), 0) FROM windows WHERE key = ?"
_TAKE = "INSERT INTO windows (key, at, units) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET units = units + excluded.units"
_SHIFT = "UPDATE windows SET units = MAX(0, units + ?) WHERE key = ? AND at = ?"
_ENTRIES = "SELECT at, units FROM windows WHERE key = ? AND at > ? AND at <= ? ORDER BY at"


class SQLiteWindows(Windows):
    """In the file of a FileState, inside its batch: what is taken counts once that is committed."""

    def __init__(self, state: FileState) -> None:
        super().__init__()
        self._state = state
        self._ready: sqlite3.Connection | None = None
        #: by key, when what is too old was last thrown away
        self._forgot: dict[str, int] = {}

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """See `limits`. The time is taken once nobody else can write, so that entries are in their order."""
        connection = self._connection()
        now = int(self._now())
        if self._forgot.get(key) != now:  # within a tick nothing grows too old
            connection.execute(_FORGET, (key, now - expiry * _TICKS, now + _AHEAD))
            self._forgot[key] = now
        if connection.execute(_SUM, (key,)).fetchone()[0] + amount > limit:
            return False
        self.taken_at = now + 1
        connection.execute(_TAKE, (key, self.taken_at, amount))
        return True

    def entries(self, key: str, expiry: int) -> tuple[float, list[tuple[int, int]]]:
        """See `Windows`."""
        connection = self._connection()
        now = self._now()
        return now, connection.execute(_ENTRIES, (key, int(now) - expiry * _TICKS, int(now) + _AHEAD)).fetchall()

    def shift(self, key: str, at: int, units: int) -> None:
        """See `Windows`."""
        self._connection().execute(_SHIFT, (units, key, at))

    def _connection(self) -> sqlite3.Connection:
        """Within the batch's transaction. What SQLite raises is `FileState.working`'s to deal with."""
        connection = self._state.connection
        if connection is not self._ready:
            connection.execute(_TABLE)
            connection.execute(_FORGET_ALL, (int(self._now()) - 3600 * _TICKS,))
            self._ready = connection
            self._forgot.clear()
        return connection

    def _now(self) -> float:
        return self._state.wall() * _TICKS


#: no tick and no number of units has so many digits (the script below says it again)
_LONGEST = 18
#: Redis' own clock: those of several machines need not agree. What is there and no hash is none of ours.
_LUA_NOW = """
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then redis.call('DEL', KEYS[1]) end
local clock = redis.call('TIME')
local now = clock[1] * 10 + clock[2] / 100000
"""
_LUA_TAKE = (
    _LUA_NOW
    + """
now = math.floor(now)
local limit, window, amount, used = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), 0
local kept = redis.call('HGETALL', KEYS[1])
for i = 1, #kept, 2 do
    local at, units = tonumber(kept[i]), kept[i + 1]
    local ours = at and kept[i]:match('^%d+$') and units:match('^%d+$') and #units < 18
    if not ours or at <= now - window or at > now + 50 then redis.call('HDEL', KEYS[1], kept[i])
    else used = used + units end
end
if used + amount > limit then return 0 end
redis.call('HINCRBY', KEYS[1], string.format('%.0f', now + 1), ARGV[3])
redis.call('PEXPIRE', KEYS[1], window * 100 + 1000)
return now + 1
"""
)
_LUA_ENTRIES = _LUA_NOW + "return {string.format('%.3f', now), redis.call('HGETALL', KEYS[1])}"
_LUA_SHIFT = """
local units = redis.call('HGET', KEYS[1], ARGV[1])
if units then redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', math.max(0, units + ARGV[2]))) end
"""


def _count(field: bytes) -> int | None:
    """A field as we write it; None for what somebody else did."""
    return int(field) if field.isdigit() and len(field) < _LONGEST else None


class RedisWindows(Windows):
    """In the Redis of a RedisState, each operation one script. Raises what the client raises."""

    def __init__(self, state: RedisState) -> None:
        super().__init__()
        self._prefix = f"{state.prefix}window:"
        self._take: Any = state.client.register_script(_LUA_TAKE)
        self._entries: Any = state.client.register_script(_LUA_ENTRIES)
        self._shift: Any = state.client.register_script(_LUA_SHIFT)

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """See `limits`."""
        at = int(self._take(keys=[self._prefix + key], args=[limit, expiry * _TICKS, amount]))
        self.taken_at = at or self.taken_at
        return at > 0

    def entries(self, key: str, expiry: int) -> tuple[float, list[tuple[int, int]]]:
        """See `Windows`."""
        told, fields = self._entries(keys=[self._prefix + key], args=[])
        now, kept = float(told), zip(map(_count, fields[::2]), map(_count, fields[1::2]), strict=True)
        pairs = sorted((at, units) for at, units in kept if at is not None and units is not None)
        return now, [(at, units) for at, units in pairs if now - expiry * _TICKS < at <= now + _AHEAD]

    def shift(self, key: str, at: int, units: int) -> None:
        """See `Windows`."""
        self._shift(keys=[self._prefix + key], args=[at, units])
