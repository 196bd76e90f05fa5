"""Who may go next: what the limiter does in its worker's thread, with the state that all processes share.

A call takes its place in a moving window (`windows.py`, on the `limits` library). Where the window is full, calls go in
the order in which they came, whatever process they are of: in a process they stand in line, and the first of each line
is known to the others by a document with a short lease, so that a killed process holds up nobody.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from llmswitch.state import Document, FileState, State

if TYPE_CHECKING:
    from llmswitch.windows import PerWindow, Windows

__all__ = ["LONGEST_PAUSE_S", "UNLIMITED", "Known", "Place", "RateLimits", "Ticket", "Turnstile", "Wait"]

#: how long a process that waits counts as waiting after its last sign of life, in seconds
_LEASE_S = 3.0
#: who came so much earlier goes first, in seconds: handing a turn on to another process takes about as long
_AT_ONCE_S = 0.1
#: how long what a vendor said is believed, in seconds
_KEEP_S = 3600.0
#: the longest that a vendor is left alone on its word, in seconds; then it is asked again
LONGEST_PAUSE_S = 3600.0
#: by how much the clocks of two machines may differ, in seconds
_SKEW_S = 5.0


class RateLimits(NamedTuple):
    """Per minute; None: no limit."""

    requests: int | None = None
    tokens: int | None = None

    def lowest(self, other: RateLimits) -> RateLimits:
        """Of each, what both allow."""
        return RateLimits(_lower(self.requests, other.requests), _lower(self.tokens, other.tokens))


def _lower(one: int | None, other: int | None) -> int | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)


UNLIMITED = RateLimits()


class Known(NamedTuple):
    """What a target's document says: limits learned, and until when to leave it alone, in epoch seconds."""

    limits: RateLimits = UNLIMITED
    blocked_until: float = 0.0

    @classmethod
    def of(cls, document: Document | None, now: float) -> Known:
        """Whatever of a document can be read. A pause that is longer than any is none: a clock went wrong."""
        found = document or {}
        requests, tokens, until = found.get("requests"), found.get("tokens"), found.get("blocked_until")
        # type, not isinstance: to Python, true is an int
        limits = RateLimits(
            requests if type(requests) is int and requests > 0 else None,
            tokens if type(tokens) is int and tokens > 0 else None,
        )
        believed = isinstance(until, int | float) and until <= now + LONGEST_PAUSE_S + _SKEW_S
        return cls(limits, float(until or 0) if believed else 0.0)

    def document(self) -> Document:
        """The same as a document."""
        return {**self.limits._asdict(), "blocked_until": self.blocked_until}


@dataclass(slots=True)
class Ticket:
    """A call that was let through: where in the windows its request and its tokens count, None where they do not.

    `granted` is when, on the monotonic clock. Written in the worker's thread alone.
    """

    key: str
    requests_at: int | None = None
    tokens_at: int | None = None
    tokens: int = 0
    granted: float = 0.0

    @property
    def counted(self) -> bool:
        """Whether a limit counts it."""
        return self.requests_at is not None or self.tokens_at is not None


class Wait(NamedTuple):
    """Not yet: for about how many seconds, and why. `first`: nobody of this process goes before."""

    seconds: float
    reason: str
    first: bool = True


@dataclass(slots=True, eq=False)
class Place:
    """A call that wants to be let through. `arrived` is epoch seconds; `turn` is set once it is first in its line."""

    key: str
    limits: RateLimits
    tokens: int
    arrived: float
    loop: asyncio.AbstractEventLoop
    turn: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Tell it that it is first."""
        with suppress(RuntimeError):  # its loop has ended, and with it the call
            self.loop.call_soon_threadsafe(self.turn.set)


class _Load(NamedTuple):
    """What goes before a call: so many others, of so many tokens."""

    calls: int = 0
    tokens: int = 0


class Turnstile:
    """One a process, for the thread of one worker. `expiry` is how long what was taken counts, in whole seconds.

    Every method raises StorageError where the store fails.
    """

    def __init__(self, *, clock: Callable[[], float], wall: Callable[[], float], expiry: int) -> None:
        self._clock = clock
        self._wall = wall
        self._expiry = expiry
        self._member = secrets.token_hex(6)
        self._lines: dict[str, list[Place]] = {}
        self._announced: set[str] = set()
        self._windows: dict[State, Windows] = {}
        self._limits: dict[int, PerWindow] = {}

    def admit(self, store: State, place: Place, known: Known) -> Ticket | Wait:
        """Let it through, or give it a place in line; `known` is what the target's document says."""
        blocked = known.blocked_until - self._wall()
        if blocked > 0:
            return Wait(blocked, "pause after too many requests")
        limits = place.limits.lowest(known.limits)
        if limits == UNLIMITED:
            self.leave(store, place)
            return Ticket(place.key)
        line = self._living(place.key)
        before = line[: line.index(place) if place in line else None]
        others = self._others(store, place)
        if not before and not others.calls:
            ticket = self._take(store, place, limits)
            if ticket is not None:
                self.leave(store, place)
                return ticket
        if place not in line:
            line.append(place)
            self._lines[place.key] = line
        if not before:
            self._announce(store, place)
        load = _Load(others.calls + len(before), others.tokens + sum(other.tokens for other in before))
        return self._wait(store, place, limits, load)._replace(first=not before)

    def leave(self, store: State, place: Place) -> None:
        """It waits no longer: whoever comes next in its line is woken."""
        line = self._lines.get(place.key)
        if line is None or place not in line:
            return
        was_first = line[0] is place
        line.remove(place)
        if line and was_first:
            line[0].wake()
        if not line:
            del self._lines[place.key]
            self._withdraw(store, place.key)

    def give_back(self, store: State, ticket: Ticket) -> None:
        """It was never sent."""
        self._shift(store, f"{ticket.key}/requests", ticket.requests_at, -1)
        self._shift(store, f"{ticket.key}/tokens", ticket.tokens_at, -ticket.tokens)

    def settle(self, store: State, ticket: Ticket, tokens: int) -> None:
        """It took `tokens`, not what was reserved."""
        self._shift(store, f"{ticket.key}/tokens", ticket.tokens_at, tokens - ticket.tokens)
        ticket.tokens = tokens

    def count_from_now(self, store: State, ticket: Ticket) -> None:
        """It was sent only now: that is when the vendor counts it."""
        from llmswitch.windows import NO_LIMIT

        windows = self._windows_of(store)
        self.give_back(store, ticket)
        if ticket.requests_at is not None:
            windows.acquire_entry(f"{ticket.key}/requests", NO_LIMIT, self._expiry)
            ticket.requests_at = windows.taken_at
        if ticket.tokens_at is not None:
            windows.acquire_entry(f"{ticket.key}/tokens", NO_LIMIT, self._expiry, ticket.tokens)
            ticket.tokens_at = windows.taken_at

    def known(self, store: State, key: str) -> Known:
        """What the target's document says."""
        return Known.of(store.read(f"limit:{key}"), self._wall())

    def note(self, store: State, key: str, change: Callable[[Known], Known]) -> Known:
        """Change it."""

        def changed(document: Document | None) -> tuple[Document, Known]:
            after = change(Known.of(document, self._wall()))
            return after.document(), after

        return store.update(f"limit:{key}", changed, keep_s=_KEEP_S)

    def _living(self, key: str) -> list[Place]:
        """Who stands in line, but for those whose loop ended without a word."""
        line = self._lines.get(key, [])
        line[:] = [place for place in line if not place.loop.is_closed()]
        return line

    def _take(self, store: State, place: Place, limits: RateLimits) -> Ticket | None:
        windows, key, ticket = self._windows_of(store), place.key, Ticket(place.key, granted=self._clock())
        hit = windows.limiter.hit
        if limits.tokens is not None:
            # a call of more tokens than the limit has the whole window for itself
            ticket.tokens = min(place.tokens, limits.tokens)
            if not hit(self._window(limits.tokens), key, "tokens", cost=ticket.tokens):
                return None
            ticket.tokens_at = windows.taken_at
        if limits.requests is not None:
            if not hit(self._window(limits.requests), key, "requests"):
                self.give_back(store, ticket)
                return None
            ticket.requests_at = windows.taken_at
        return ticket

    def _window(self, most: int) -> PerWindow:
        """Kept: making one costs as much as asking SQLite."""
        from llmswitch.windows import PerWindow

        found = self._limits.get(most)
        if found is None:
            found = self._limits[most] = PerWindow(most, self._expiry)
        return found

    def _wait(self, store: State, place: Place, limits: RateLimits, before: _Load) -> Wait:
        windows, waits = self._windows_of(store), [Wait(0.0, "line of waiting calls")]
        if limits.requests is not None:
            wait = windows.wait(f"{place.key}/requests", limits.requests, self._expiry, before.calls + 1)
            waits.append(Wait(wait, _limit(limits.requests, "request")))
        if limits.tokens is not None:
            needed = before.tokens + min(place.tokens, limits.tokens)
            wait = windows.wait(f"{place.key}/tokens", limits.tokens, self._expiry, needed)
            waits.append(Wait(wait, _limit(limits.tokens, "token")))
        return max(waits, key=lambda found: found.seconds)

    def _shift(self, store: State, key: str, at: int | None, units: int) -> None:
        if at is not None and units:
            self._windows_of(store).shift(key, at, units)

    def _windows_of(self, store: State) -> Windows:
        found = self._windows.get(store)
        if found is None:
            found = self._windows[store] = _windows(store)
        return found

    def _others(self, store: State, place: Place) -> _Load:
        """The lines of other processes whose first has waited longer."""
        now, calls, tokens = self._wall(), 0, 0
        for member, (arrived, _, theirs, of) in _waiting(store.read(f"line:{place.key}"), now).items():
            if member != self._member and arrived < place.arrived - _AT_ONCE_S:
                calls, tokens = calls + int(theirs), tokens + int(of)
        return _Load(calls, tokens)

    def _announce(self, store: State, first: Place) -> None:
        """Tell other processes who is first here, and how many there are behind."""
        line, now = self._lines[first.key], self._wall()
        mine = [first.arrived, now + _LEASE_S, len(line), sum(place.tokens for place in line)]

        def changed(document: Document | None) -> tuple[Document, None]:
            return {**_waiting(document, now), self._member: mine}, None

        store.update(f"line:{first.key}", changed, keep_s=2 * _LEASE_S)
        self._announced.add(first.key)

    def _withdraw(self, store: State, key: str) -> None:
        def changed(document: Document | None) -> tuple[Document | None, None]:
            waiting = _waiting(document, self._wall())
            others = {member: row for member, row in waiting.items() if member != self._member}
            return others or None, None

        if key in self._announced:
            self._announced.discard(key)
            store.update(f"line:{key}", changed, keep_s=2 * _LEASE_S)


def _limit(most: int, of: str) -> str:
    return f"limit of {most} {of}{'' if most == 1 else 's'} a minute"


def _waiting(document: Document | None, now: float) -> dict[str, list[float]]:
    """Process -> when its first call arrived, until when that counts, how many calls wait there, of how many tokens.

    Those that were killed are left out, and so is a lease that is longer than any.
    """
    rows = (document or {}).items()
    return {
        member: row
        for member, row in rows
        if isinstance(row, list)
        and len(row) == 4
        and all(isinstance(n, int | float) for n in row)
        and now < row[1] <= now + _LEASE_S + _SKEW_S
    }


def _windows(store: State) -> Windows:
    from llmswitch.windows import RedisWindows, SQLiteWindows

    if isinstance(store, FileState):
        return SQLiteWindows(store)
    from llmswitch.redis_state import RedisState

    assert isinstance(store, RedisState)  # noqa: S101  # `State.working` gives one of the two
    return RedisWindows(store)
