"""Durations and moments as they are typed, and moments as they are shown."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from llmswitch.errors import ConfigError

__all__ = ["duration_s", "local", "moment", "span"]

_UNITS_S = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
#: a century: beyond it no calendar need be asked
_LONGEST_S = 36_525 * 86_400


def duration_s(text: str, flag: str) -> float:
    """`30m`, `12h`, `90d`, `8w` in seconds; ConfigError names `flag`. A day is 24 hours."""
    match = re.fullmatch(r"([0-9]{1,9})([mhdw])", text.strip())
    seconds = int(match[1]) * _UNITS_S[match[2]] if match else _LONGEST_S + 1
    if seconds > _LONGEST_S:
        raise ConfigError(f"{flag} must be a duration such as 30m, 12h, 90d or 8w, not {text!r}.")
    return float(seconds)


def moment(text: str, flag: str, now: float) -> float:
    """Epoch seconds of `7d` (that long before `now`) or of an ISO date or time, local where it names no zone."""
    if re.fullmatch(r"\s*[0-9]+[mhdw]\s*", text):
        return now - duration_s(text, flag)
    try:
        return datetime.fromisoformat(text.strip()).astimezone().timestamp()
    except (ValueError, OverflowError, OSError) as error:
        hint = "7d, 24h, 2026-11-01 or 2026-11-01T08:00"
        raise ConfigError(f"{flag} must be a duration or a date such as {hint}, not {text!r}.") from error


def span(since: str | None, until: str | None, now: float) -> tuple[float | None, float | None]:
    """The moments of `--since` and `--until`, None where not given; ConfigError where nothing lies between them."""
    first = None if since is None else moment(since, "--since", now)
    last = None if until is None else moment(until, "--until", now)
    if first is not None and last is not None and first >= last:
        raise ConfigError(f"--since {since} is not before --until {until}: nothing lies between them.")
    return first, last


def local(epoch_s: float | None) -> datetime | None:
    """Epoch seconds in the local zone, None where unknown; what stands in a file may be no moment of any calendar."""
    try:
        return None if epoch_s is None else datetime.fromtimestamp(epoch_s, tz=UTC).astimezone()
    except (TypeError, ValueError, OverflowError, OSError):
        return None
