"""What was spent: the ledger's rows, grouped and summed. Money is summed as whole pico-dollars, so sums are exact."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from llmswitch.database import reading
from llmswitch.ledger import from_pico
from llmswitch.tallies import DAYS, KEYS, Tally, day_of, from_calls, from_daily

__all__ = ["KEYS", "CostReport", "CostRow", "cost_report"]

#: durations are counted in classes, each so many times as wide as the one before, from a millisecond to an hour: a
#: median is told to within half of that, and exactly where its class holds one duration
_WIDER, _SHORTEST_S, _LONGEST_S = 1.05, 0.001, 3600.0

_Keys = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class CostRow:
    """The calls of one group; `keys` in the order of the report's `by`.

    Money is USD. `cost` is the sum of what is known, and None where prices are missing and none is known: that cached
    answers cost 0 tells nothing of the rest. `lost` is the part of it that bought no answer: what `hedged` calls spent
    on the slower target, and what went into attempts that failed. `failed` is those and calls that failed whole.
    `unknown_price_calls` tells how many are missing from it, and with any, or an assumed rate, it is not `exact`.
    `saved` is by the cache and by batches together. `duration_p50_s` is of calls that were answered, to within 2.5 %,
    and unknown of days that were pruned; an answer of a batch, which comes when it comes, has none. `days` is the cost
    of each local day of which some is known.
    """

    keys: _Keys
    calls: int
    errors: int
    cached: int
    input_tokens: int | None
    output_tokens: int | None
    cache_read_input_tokens: int | None
    cache_creation_input_tokens: int | None
    reasoning_output_tokens: int | None
    cost: Decimal | None
    exact: bool
    unknown_price_calls: int
    saved_by_cache: Decimal
    saved_by_batch: Decimal
    lost: Decimal
    hedged: Decimal
    failed: Decimal
    duration_p50_s: float | None
    days: Mapping[date, Decimal]

    @property
    def saved(self) -> Decimal:
        """By the cache and by batches."""
        return self.saved_by_cache + self.saved_by_batch


@dataclass(frozen=True, slots=True)
class CostReport:
    """Rows in the order of their keys, and their sum. `since` (included) and `until` (not) are epoch seconds."""

    since: float | None
    until: float | None
    by: tuple[str, ...]
    rows: tuple[CostRow, ...]
    total: CostRow


class _Group:
    """What is gathered of one group: sums, cost by day, and answered calls by how long they took."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.days: dict[date, int] = defaultdict(int)
        #: class of duration -> calls, and their seconds together
        self.took: dict[int, tuple[int, float]] = {}

    def merge(self, other: _Group) -> None:
        self.tally.merge(other.tally)
        for day, pico in other.days.items():
            self.days[day] += pico
        for place, (calls, seconds) in other.took.items():
            self.take(place, calls, seconds)

    def take(self, place: int, calls: int, seconds: float) -> None:
        before = self.took.get(place, (0, 0.0))
        self.took[place] = before[0] + calls, before[1] + seconds

    def median_s(self) -> float | None:
        """The mean of the class in which the middle one is."""
        left = (sum(calls for calls, _ in self.took.values()) + 1) // 2
        for _, (calls, seconds) in sorted(self.took.items()):
            left -= calls
            if left <= 0:
                return seconds / calls
        return None

    def row(self, keys: _Keys) -> CostRow:
        sums = self.tally
        # where no price is missing, a sum of none is 0: every call failed before anything was billed
        known = sums["priced"] or not sums["unknown"]
        return CostRow(
            keys=keys,
            calls=sums["calls"],
            errors=sums["errors"],
            cached=sums["cached"],
            input_tokens=sums.known("input_tokens"),
            output_tokens=sums.known("output_tokens"),
            cache_read_input_tokens=sums.known("cache_read_input_tokens"),
            cache_creation_input_tokens=sums.known("cache_creation_input_tokens"),
            reasoning_output_tokens=sums.known("reasoning_output_tokens"),
            cost=from_pico(sums["cost_pico"]) if known else None,
            exact=sums.known("exact") != 0 and not sums["unknown"],
            unknown_price_calls=sums["unknown"],
            saved_by_cache=from_pico(sums["saved_by_cache_pico"]),
            saved_by_batch=from_pico(sums["saved_by_batch_pico"]),
            lost=from_pico(sums["lost_pico"]),
            hedged=from_pico(sums["hedged_pico"]),
            failed=from_pico(sums["failed_pico"]),
            duration_p50_s=self.median_s(),
            days={day: from_pico(pico) for day, pico in sorted(self.days.items())},
        )


def cost_report(ledger: Path, *, by: tuple[str, ...], since: float | None, until: float | None) -> CostReport:
    """Sum the calls that started within [since, until), grouped `by` keys of `KEYS`. Raises StorageError.

    Of days that were pruned there are sums alone: one counts where it began within the time.
    """
    groups: dict[_Keys, _Group] = defaultdict(_Group)
    with reading(ledger) as connection:
        connection.execute("BEGIN")  # all queries see the same calls, whoever writes meanwhile
        for source in (_spent, _spent_long_ago):
            for day, keys, sums in source(connection, by, since, until):
                group = groups[keys]
                group.tally.add(sums)
                if day is not None and sums[_COST] is not None:
                    group.days[day] += sums[_COST] or 0
        for keys, place, calls, seconds in _durations(connection, by, since, until):
            groups[keys].take(place, calls, seconds)
        total = _Group()
        for group in groups.values():
            total.merge(group)
        # in here, since what stands in a damaged file may be of no kind that can be put in order
        ordered = sorted(groups.items(), key=lambda found: [(key is not None, key or "") for key in found[0]])
        return CostReport(since, until, by, tuple(group.row(keys) for keys, group in ordered), total.row(()))


_COST = list(Tally().sums).index("cost_pico")
_Spent = tuple[date | None, _Keys, Sequence[int | None]]


def _spent(
    connection: sqlite3.Connection, by: tuple[str, ...], since: float | None, until: float | None
) -> Iterator[_Spent]:
    """Each day and group of calls."""
    where, given = _within(since, until)
    span = connection.execute(f"SELECT min(started_at), max(started_at) FROM calls {where}", given)  # noqa: S608
    day_sql, read = day_of(*span.fetchone())
    columns, named = [day_sql, *_columns(by)], range(1, len(by) + 2 - ("day" in by))
    # every text in it is this project's own
    query = f"SELECT {', '.join(columns)}, {from_calls()} FROM calls {where} GROUP BY {_places(named)}"  # noqa: S608
    for line in connection.execute(query, given):
        day = None if line[0] is None else read(line[0])
        yield _told(day, line, by)


def _spent_long_ago(
    connection: sqlite3.Connection, by: tuple[str, ...], since: float | None, until: float | None
) -> Iterator[_Spent]:
    """The same of the days that were pruned."""
    bounds = {"day >= ?": _first_day(since), "day < ?": _first_day(until)}
    given = {condition: bound for condition, bound in bounds.items() if bound is not None}
    where = f"WHERE {' AND '.join(given)}" if given else ""
    columns, named = ["day", *_columns(by)], range(1, len(by) + 2 - ("day" in by))
    query = f"SELECT {', '.join(columns)}, {from_daily()} FROM daily {where} GROUP BY {_places(named)}"  # noqa: S608
    for line in connection.execute(query, tuple(given.values())):
        yield _told(line[0], line, by)


def _durations(
    connection: sqlite3.Connection, by: tuple[str, ...], since: float | None, until: float | None
) -> Iterator[tuple[_Keys, int, int, float]]:
    """How many calls of each group took how long: a class, their number, their seconds."""
    where, given = _within(since, until, "error_kind IS NULL", "NOT cached", "NOT batch", "lost IS NULL")
    columns = [DAYS if key == "day" else KEYS[key] for key in by]
    query = (
        f"SELECT {', '.join((*columns, _class_sql()))}, count(*), sum(duration_s) FROM calls {where} "  # noqa: S608
        f"GROUP BY {_places(range(1, len(by) + 2))}"
    )
    for *keys, place, calls, seconds in connection.execute(query, given):
        yield tuple(keys), place, calls, seconds


def _columns(by: tuple[str, ...]) -> list[str]:
    return [KEYS[key] for key in by if key != "day"]


def _places(places: range) -> str:
    return ", ".join(str(place) for place in places)


def _told(day: str | None, line: Sequence[Any], by: tuple[str, ...]) -> _Spent:
    others = iter(line[1:])
    keys = tuple(day if key == "day" else next(others) for key in by)
    return None if day is None else date.fromisoformat(day), keys, tuple(others)


def _within(since: float | None, until: float | None, *conditions: str) -> tuple[str, tuple[float, ...]]:
    bounds = {"started_at >= ?": since, "started_at < ?": until}
    given = {condition: bound for condition, bound in bounds.items() if bound is not None}
    every = (*given, *conditions)
    return f"WHERE {' AND '.join(every)}" if every else "", tuple(given.values())


def _first_day(moment: float | None) -> str | None:
    """The first local day that begins at `moment` or later."""
    if moment is None:
        return None
    try:
        found = datetime.fromtimestamp(moment)  # noqa: DTZ006  # the local calendar is what is asked for
        midnight = datetime(found.year, found.month, found.day)  # noqa: DTZ001
        return (found.date() + timedelta(days=found > midnight)).isoformat()
    except (ValueError, OverflowError, OSError):
        return "9999-12-31" if moment > 0 else "0000-01-01"


@cache
def _class_sql() -> str:
    """The class of a duration. SQLite has no logarithm everywhere: the bounds are looked up by halves."""
    bounds = [_SHORTEST_S]
    while bounds[-1] < _LONGEST_S:
        bounds.append(bounds[-1] * _WIDER)

    def between(low: int, high: int) -> str:
        if high - low == 1:
            return str(low)
        middle = (low + high) // 2
        below, above = between(low, middle), between(middle, high)
        return f"CASE WHEN duration_s < {bounds[middle]:.6g} THEN {below} ELSE {above} END"

    return between(0, len(bounds))
