"""Sums over the ledger's rows, and over the daily sums that are left of rows that were forgotten: as SQL, and folded.

Most rows are calls; those that are `lost` are what a call spent besides, on attempts whose answer nobody got: a
hedge's loser, a stream that was cut and retried. They count as spend, and as no call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta
from types import MappingProxyType
from typing import Any

__all__ = ["DAYS", "KEYS", "SUMS", "Tally", "day_of", "from_calls", "from_daily"]

#: what calls can be grouped by -> their column, the same in both tables; a day is worked out
KEYS: Mapping[str, str] = MappingProxyType(
    {"day": "day", "provider": "provider", "model": "request_model", "profile": "profile", "command": "command"}
)
#: A day of the local time zone, as SQLite says it. Of whole seconds: it would round to a millisecond, and have the last
#: half of one be the next day's.
DAYS = "date(CAST(started_at AS INTEGER), 'unixepoch', 'localtime')"

#: Column of `daily` -> its sum over calls. A call that failed, or was interrupted, before anything could be billed is
#: taken to have cost nothing: its tokens were not even estimated, unless it may have failed in its answer, or an
#: attempt was cut off under way.
SUMS: Mapping[str, str] = MappingProxyType(
    {
        "calls": "sum(lost IS NULL)",
        "errors": "count(error_kind)",
        "cached": "sum(cached)",
        "input_tokens": "sum(input_tokens)",
        "output_tokens": "sum(output_tokens)",
        "cache_read_input_tokens": "sum(cache_read_input_tokens)",
        "cache_creation_input_tokens": "sum(cache_creation_input_tokens)",
        "reasoning_output_tokens": "sum(reasoning_output_tokens)",
        "cost_pico": "sum(cost_pico)",
        "priced": "sum(cost_pico IS NOT NULL AND NOT cached)",
        "exact": "min(cost_exact)",
        "unknown": """sum(cost_pico IS NULL AND (input_tokens IS NOT NULL OR time_to_first_token_s IS NOT NULL
            OR (error_kind IS NULL AND (finish_reason <> 'interrupted' OR attempts LIKE '%"interrupted"%'))
            OR (error_kind IS NOT NULL AND error_kind IN ('truncated', 'malformed', 'timeout', 'content_filter'))))""",
        "saved_by_cache_pico": "coalesce(sum(saved_pico) FILTER (WHERE cached), 0)",
        "saved_by_batch_pico": "coalesce(sum(saved_pico) FILTER (WHERE NOT cached), 0)",
        "lost_pico": "coalesce(sum(cost_pico) FILTER (WHERE lost IS NOT NULL), 0)",
        "hedged_pico": "coalesce(sum(cost_pico) FILTER (WHERE lost = 'hedged'), 0)",
        "failed_pico": "coalesce(sum(cost_pico) FILTER (WHERE lost <> 'hedged' OR error_kind IS NOT NULL), 0)",
    }
)
#: what of a column is kept of two groups that are made one; all others add up
_LEAST = ("exact",)
#: looks at the clock's offset to find out whether it changes; no zone puts it forth and back again within a day
_LOOK_S = 43_200
#: a span that no ledger has, in seconds: somebody's clock was wrong, or a row is damaged
_LONGEST_S = 50 * 366 * 86_400


class Tally:
    """The sums of one group. Unknown, which is of no row at all or of none that has a value, is None."""

    __slots__ = ("sums",)

    def __init__(self) -> None:
        self.sums: dict[str, int | None] = dict.fromkeys(SUMS)

    def add(self, values: Iterable[int | None]) -> None:
        """Take in another group's, in the order of `SUMS`."""
        for name, value in zip(SUMS, values, strict=True):
            if value is not None:
                old = self.sums[name]
                self.sums[name] = value if old is None else min(old, value) if name in _LEAST else old + value

    def merge(self, other: Tally) -> None:
        """Take in another group."""
        self.add(other.sums.values())

    def __getitem__(self, name: str) -> int:
        """A sum that is 0 where there was nothing."""
        return self.sums[name] or 0

    def known(self, name: str) -> int | None:
        """A sum, None where nobody knows."""
        return self.sums[name]


def from_calls() -> str:
    """The sums over calls, for a SELECT."""
    return ", ".join(f"{sql} AS {name}" for name, sql in SUMS.items())


def from_daily() -> str:
    """The same over daily sums."""
    return ", ".join(f"{'min' if name in _LEAST else 'sum'}({name}) AS {name}" for name in SUMS)


def day_of(first: float | None, last: float | None) -> tuple[str, Callable[[Any], str | None]]:
    """SQL that tells calls from `first` to `last` (epoch seconds) apart by their local day, and what reads the day off.

    To ask the calendar for each of a million calls takes as long as to sum them. Where the clock is not changed
    between the first and the last, a division tells the same.
    """
    offset_s = _offset_s(first, last)
    if offset_s is None:
        return DAYS, lambda day: day
    return f"(CAST(started_at AS INTEGER) + {offset_s}) / 86400", _date


def _date(day: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()


def _offset_s(first: float | None, last: float | None) -> int | None:
    """The clock's distance from UTC throughout, None where it changes or no clock tells."""
    if first is None or last is None or first < 2 * 86_400 or last - first > _LONGEST_S:
        return None
    looks = [first + place * _LOOK_S for place in range(int((last - first) // _LOOK_S) + 1)]
    try:
        offsets = {time.localtime(look).tm_gmtoff for look in (*looks, last)}
    except (ValueError, OverflowError, OSError):
        return None
    return offsets.pop() if len(offsets) == 1 else None
