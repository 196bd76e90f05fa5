"""How much of a budget is used, and what the month will come to if it goes on as it did."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from llmswitch.budget import BudgetLimits, Spending
from llmswitch.database import reading
from llmswitch.ledger import from_pico
from llmswitch.tallies import SUMS

__all__ = ["BudgetReport", "Forecast", "budget_report", "forecast"]

#: days that are looked back upon: eight weeks; and the fewest that tell anything
_PAST, _FEWEST = 56, 7
#: two-sided 95 % of Student's t at 6, 10, 15, 20, 30, 40, 60 degrees of freedom, from any table of it
_T = ((6, 2.447), (10, 2.228), (15, 2.131), (20, 2.086), (30, 2.042), (40, 2.021), (60, 2.000))


class Forecast(NamedTuple):
    """USD of a whole month: about `value`, and with 95 % between `low` and `high`. `days` were looked back upon."""

    value: Decimal
    low: Decimal
    high: Decimal
    days: int


class BudgetReport(NamedTuple):
    """`today` is local, `month_end` its month's last day; `forecast` is None where too little is on record."""

    today: date
    month_end: date
    limits: BudgetLimits
    day: Spending
    month: Spending
    forecast: Forecast | None
    #: calls of this month whose price nobody knows, pruned ones too: they are in no sum
    unknown: int


def budget_report(ledger: Path, limits: BudgetLimits, now: float) -> BudgetReport:
    """Sums of the local day and month of `now`, epoch seconds. Raises StorageError."""
    local = time.localtime(now)
    today = date(*local[:3])
    first = today.replace(day=1)
    month_end = (first + timedelta(days=32)).replace(day=1) - timedelta(days=1)
    with reading(ledger) as connection:
        connection.execute("BEGIN")
        spent = dict(
            connection.execute("SELECT day, pico FROM spending WHERE day >= ?", (f"{_back(today)}",)).fetchall()
        )
        held = dict(connection.execute("SELECT day, sum(pico) FROM reservations GROUP BY day").fetchall())
        (since,) = connection.execute(
            "SELECT min(day) FROM (SELECT min(day) AS day FROM spending UNION ALL SELECT min(day) FROM daily)"
        ).fetchone()
        (unknown,) = connection.execute(
            f"SELECT (SELECT coalesce({SUMS['unknown']}, 0) FROM calls WHERE started_at >= ?) "  # noqa: S608  # our own
            "+ (SELECT coalesce(sum(unknown), 0) FROM daily WHERE day >= ?)",
            (time.mktime((first.year, first.month, 1, 0, 0, 0, 0, 0, -1)), first.isoformat()),
        ).fetchone()
        paid = {date.fromisoformat(day): pico for day, pico in spent.items()}
        reserved = {date.fromisoformat(day): pico for day, pico in held.items()}
        begun = None if since is None else date.fromisoformat(since)
    gone = (local.tm_hour * 3600 + local.tm_min * 60 + local.tm_sec) / 86_400
    return BudgetReport(
        today=today,
        month_end=month_end,
        limits=limits,
        day=_spending(paid, reserved, today, today),
        month=_spending(paid, reserved, first, month_end),
        forecast=forecast(paid, begun, today, month_end, gone),
        unknown=unknown,
    )


def _back(today: date) -> date:
    return min(today - timedelta(days=_PAST), today.replace(day=1))


def _spending(paid: Mapping[date, int], held: Mapping[date, int], first: date, last: date) -> Spending:
    def within(sums: Mapping[date, int]) -> Decimal:
        return from_pico(sum(pico for day, pico in sums.items() if first <= day <= last))

    return Spending(within(paid), within(held))


def forecast(
    paid: Mapping[date, int], since: date | None, today: date, month_end: date, gone: float
) -> Forecast | None:
    """What the month of `today` comes to, in USD, from what was `paid` (pico-dollars) on each day on record.

    Days to come are taken to be like those of the last eight weeks, workdays like workdays and weekends like weekends,
    and today to go on for what is left of it (`gone` is the share that is over). The interval is that of a prediction:
    the days' own scatter, and that their mean is not known better (Student's t, a normal sum). It is too narrow where
    spend is about to change. None where fewer than a week is on record before today.
    """
    begun = today if since is None else max(since, today - timedelta(days=_PAST))
    past = [begun + timedelta(days=place) for place in range((today - begun).days)]
    if len(past) < _FEWEST:
        return None
    ahead = [today + timedelta(days=place) for place in range(1, (month_end - today).days + 1)]
    spent = sum(pico for day, pico in paid.items() if today.replace(day=1) <= day <= month_end)
    expected = variance = 0.0
    for weekend in (False, True):
        seen = [paid.get(day, 0) for day in past if _is_weekend(day) == weekend] or [paid.get(day, 0) for day in past]
        mean, scatter = _spread(seen)
        left = sum(_is_weekend(day) == weekend for day in ahead) + (1 - gone) * (_is_weekend(today) == weekend)
        expected += left * mean
        variance += scatter * (left + left**2 / len(seen))
    half = _student(len(past) - 2) * math.sqrt(variance)
    value, low, high = (from_pico(spent + round(max(0.0, expected + off))) for off in (0.0, -half, half))
    return Forecast(value, low, high, days=len(past))


def _is_weekend(day: date) -> bool:
    return day.weekday() >= 5


def _spread(seen: Sequence[int]) -> tuple[float, float]:
    """Mean and variance of the days, the latter as of a sample."""
    mean = fmean(seen)
    return mean, sum((value - mean) ** 2 for value in seen) / max(1, len(seen) - 1)


def _student(degrees: int) -> float:
    """The next smaller row of the table: an interval rather too wide."""
    return next((t for known, t in reversed(_T) if known <= degrees), _T[0][1] * 1.1)
