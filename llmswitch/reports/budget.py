"""A `BudgetReport` as a table, as sentences, and as the document `llmswitch/budget/1`."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from llmswitch.budget import Spending
from llmswitch.reports.rows import UNKNOWN, Column, Table, money, plain
from llmswitch.runs.budget import BudgetReport

__all__ = ["budget_document", "budget_lines", "budget_table"]


def budget_table(report: BudgetReport) -> Table:
    """The day and the month: what may be spent, what is, what calls in flight hold, and what is left."""
    columns = (Column("budget"), *(Column(title, number=True) for title in ("limit", "spent", "reserved", "left")))
    return Table(
        columns,
        (
            _row(f"today, {report.today}", report.limits.daily, report.day),
            _row(f"{report.today:%B %Y}", report.limits.monthly, report.month),
        ),
    )


def _row(name: str, limit: Decimal | None, used: Spending) -> tuple[str, ...]:
    left = _left(limit, used)
    return (name, "none" if limit is None else money(limit), money(used.spent), money(used.reserved), money(left))


def _left(limit: Decimal | None, used: Spending) -> Decimal | None:
    return None if limit is None else max(Decimal(0), limit - used.spent - used.reserved)


def budget_lines(report: BudgetReport) -> Iterator[str]:
    """The forecast, and what the sums leave out."""
    told = report.forecast
    until = f"by {report.month_end:%d %B}".replace(" 0", " ")
    if told is None:
        yield f"{until}: {UNKNOWN}; a forecast takes a week of days on record before today."
    else:
        yield (
            f"{until}: about {money(told.value)}, 95 % between {money(told.low)} and {money(told.high)}, "
            f"if days to come are like the last {told.days}."
        )
        limit = report.limits.monthly
        if limit is not None and told.high > limit:
            sure = "exceeds" if told.low > limit else "may exceed" if told.value <= limit else "probably exceeds"
            yield f"that {sure} LLM_BUDGET_MONTHLY={money(limit)}: calls beyond it will be refused."
    if report.unknown:
        yield f"{report.unknown:,} calls of this month have no known price, and are in no sum: see LLM_PRICES."


def budget_document(report: BudgetReport) -> dict[str, Any]:
    """`cost budget --json`: amounts are USD as plain decimal text, unknown and unlimited are null."""
    told = report.forecast
    return {
        "schema": "llmswitch/budget/1",
        "today": report.today.isoformat(),
        "day": _figures(report.limits.daily, report.day),
        "month": _figures(report.limits.monthly, report.month),
        "forecast": None
        if told is None
        else {
            "until": report.month_end.isoformat(),
            "value": plain(told.value),
            "low": plain(told.low),
            "high": plain(told.high),
            "days": told.days,
        },
        "unknown_price_calls": report.unknown,
    }


def _figures(limit: Decimal | None, used: Spending) -> dict[str, str | None]:
    left = _left(limit, used)
    return {
        "limit": None if limit is None else plain(limit),
        "spent": plain(used.spent),
        "reserved": plain(used.reserved),
        "left": None if left is None else plain(left),
    }
