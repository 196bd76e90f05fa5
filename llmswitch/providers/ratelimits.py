"""What vendors say in headers about limits: when to ask again, and how much a minute takes.

And how it reaches the layer that keeps to it: whoever asks listens to the client under the SDKs, since no SDK hands
the headers of an answer on. Imports neither an SDK nor the client.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

__all__ = ["Listener", "Quota", "SeenLimits", "listener", "listening", "retry_after", "seen_limits"]

#: no vendor has a limit or a wait beyond it, and sums of them stay exact
_MOST = 2.0**53
#: a time as Go writes it, which OpenAI and those who copy it send: "6m0s", "20ms", "1h0m3.5s"
_SPAN = re.compile(r"(?:[0-9]{1,15}(?:\.[0-9]{1,15})?(?:h|ms|m|s|us|µs|ns))+")
_PART = re.compile(r"([0-9.]+)([a-zµ]+)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


class Quota(NamedTuple):
    """One limit as a vendor tells it: of how many, how many are left, and after how many seconds all are there."""

    limit: int | None = None
    remaining: int | None = None
    reset_s: float | None = None


class SeenLimits(NamedTuple):
    """What one response says about requests and tokens; None where it says nothing."""

    requests: Quota | None = None
    tokens: Quota | None = None


class Listener:
    """Hears of one request while it is under way. This one pays no heed to it."""

    def sending(self) -> None:
        """It is whole, and goes to the HTTP client."""

    def sent(self) -> None:
        """All of it has been written to the vendor."""

    def answered(self, headers: Mapping[str, str]) -> None:
        """The response has begun."""

    def received(self) -> None:
        """A part of the response's body was read."""


_LISTENER: ContextVar[Listener] = ContextVar("llmswitch_listener", default=Listener())  # noqa: B039  # it has no state


@contextmanager
def listening(to_tell: Listener) -> Iterator[None]:
    """What is sent inside, in this task or one that it starts, is told to `to_tell`."""
    token = _LISTENER.set(to_tell)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def listener() -> Listener:
    """Whoever listens to the request that is being sent."""
    return _LISTENER.get()


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds the vendor asks to wait, at least 0; None where it names no time that can be read.

    `headers` finds names in lower case (httpx2.Headers in any), `now` is epoch seconds. Milliseconds, which
    OpenAI and Azure send, go before RFC 9110's `Retry-After`, which is seconds (fractions are met) or a date. Where
    there is neither, the limit of which nothing remains says when it is there again.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("x-ms-retry-after-ms", 1000.0), ("retry-after", 1.0)):
        wait = _seconds(headers.get(name, ""), unit)
        if wait is not None:
            return min(wait, _MOST)
    try:
        due = parsedate_to_datetime(headers.get("retry-after", ""))
    except (ValueError, OverflowError):
        return _used_up(headers, now)
    # a date that names no zone would be read as local time; RFC 9110 knows GMT alone
    return max(0.0, due.replace(tzinfo=due.tzinfo or UTC).timestamp() - now)


def seen_limits(headers: Mapping[str, str], now: float) -> SeenLimits | None:
    """The limits a minute in `x-ratelimit-*` and `anthropic-ratelimit-*` headers; None where there is none.

    Anthropic's `tokens` are input and output together, as they are counted here; where only the two apart are sent,
    their sum. `now` is epoch seconds.
    """
    said = _said(headers)
    if not said:
        return None
    tokens = _quota(said, "tokens", now) or _together(_quota(said, "input-tokens", now), _quota(said, _OUTPUT, now))
    seen = SeenLimits(_quota(said, "requests", now), tokens)
    return seen if seen != SeenLimits() else None


_OUTPUT = "output-tokens"


def _said(headers: Mapping[str, str]) -> dict[str, str]:
    """ "limit-requests" -> its value, whatever family of headers it is of: Anthropic has the words the other way."""
    said = {}
    for name, value in headers.items():
        family, mark, rest = name.lower().partition("-ratelimit-")
        if mark and family == "x":
            said[rest] = value
        elif mark and family == "anthropic":
            resource, _, field = rest.rpartition("-")
            said[f"{field}-{resource}"] = value
    return said


def _quota(said: Mapping[str, str], resource: str, now: float) -> Quota | None:
    limit = _count(said.get(f"limit-{resource}", ""))
    remaining = _count(said.get(f"remaining-{resource}", ""))
    quota = Quota(limit or None, remaining, _until(said.get(f"reset-{resource}", ""), now))
    return quota if quota != Quota() else None


def _together(one: Quota | None, other: Quota | None) -> Quota | None:
    """Two limits of which one call needs both, as one. It is there again when the later one is."""
    if one is None or other is None:
        return one or other
    return Quota(_sum(one.limit, other.limit), _sum(one.remaining, other.remaining), _later(one.reset_s, other.reset_s))


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _later(one: float | None, other: float | None) -> float | None:
    return max((wait for wait in (one, other) if wait is not None), default=None)


def _used_up(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds until the limit of which nothing remains is there again; of several, until the last is."""
    said = _said(headers)
    quotas = (_quota(said, resource, now) for resource in ("requests", "tokens", "input-tokens", _OUTPUT))
    waits = [q.reset_s for q in quotas if q is not None and q.remaining == 0 and q.reset_s is not None]
    return max(waits, default=None)


def _until(text: str, now: float) -> float | None:
    """Seconds until `text`: a span ("6m0s"), a number of seconds, or a moment (RFC 3339)."""
    text = text.strip().lower()
    if _SPAN.fullmatch(text):
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    wait = _seconds(text, 1.0)
    if wait is not None:
        return wait
    try:
        moment = datetime.fromisoformat(text.upper())
        return max(0.0, moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _count(text: str) -> int | None:
    """None for what is no count; Azure sends -1 where it does not know."""
    value = _seconds(text, 1.0)
    return None if value is None or value > _MOST or text.strip().startswith("-") else int(value)


def _seconds(text: str, unit: float) -> float | None:
    try:
        value = float(text) / unit
    except ValueError:
        return None
    return max(0.0, value) if math.isfinite(value) else None
