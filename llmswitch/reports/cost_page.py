"""A `CostReport` as one page that needs no network: what was spent, day by day, and every figure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

from llmswitch.reports.charts import Bar, bars_svg
from llmswitch.reports.cost import report_table, spent
from llmswitch.reports.html import page, safe, table_html
from llmswitch.reports.rows import UNKNOWN, money
from llmswitch.runs.cost import CostReport, CostRow

__all__ = ["chart_rows", "cost_page"]

#: bars that a reader takes in; of more days each stands for a month
_MOST = 31


def cost_page(report: CostReport, *, made_at: datetime) -> str:
    """The whole page, in the reader's light or dark."""
    return page("What was spent", _parts(report, made_at))


def _parts(report: CostReport, made_at: datetime) -> Iterator[str]:
    yield "<h1>What was spent</h1>"
    yield f'<p class="quiet">{safe(_span(report))}. Made {safe(f"{made_at:%Y-%m-%d %H:%M}")}.</p>'
    if not report.rows:
        yield "<p>No calls in that time.</p>"
        return
    total = report.total
    yield f"<p><strong>{safe(spent(total))}</strong> for {total.calls:,} calls.</p>"
    if total.unknown_price_calls:
        yield f"<p>The price of {total.unknown_price_calls:,} calls is unknown: they are missing from every sum.</p>"
    title, rows = chart_rows(report)
    bars = [Bar(label, float(amount or 0), text) for label, amount, text in rows]
    yield f"<section><h2>{safe(title)}</h2>\n{bars_svg(title, bars)}</section>"
    table = report_table(report, drawn=True)._replace(title="Figures")
    yield f"<section><h2>Figures</h2>\n{table_html(table)}</section>"


def _span(report: CostReport) -> str:
    first, last = (None if moment is None else _local(moment) for moment in (report.since, report.until))
    if first and last:
        return f"From {first} to {last}"
    return f"Since {first}" if first else f"Before {last}" if last else "All that is on record"


def _local(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment):%Y-%m-%d %H:%M}"  # noqa: DTZ006  # the reader's own zone


def chart_rows(report: CostReport) -> tuple[str, list[tuple[str, Decimal | None, str]]]:
    """What the bars are of, and of each its label, its length and what is written behind it.

    Days, where there are several of them, or months where there are many; else the report's own rows, dearest first.
    """
    days = report.total.days
    if len(days) < 2 or "day" not in report.by:
        ordered = sorted(report.rows, key=lambda row: row.cost or Decimal(0), reverse=True)[:_MOST]
        return f"Cost by {', '.join(report.by)}", [(_label(row), row.cost, spent(row)) for row in ordered]
    if len(days) <= _MOST:
        return "Cost by day", [(day.isoformat(), amount, money(amount)) for day, amount in days.items()]
    months: dict[str, Decimal] = {}
    for day, amount in days.items():
        months[f"{day:%Y-%m}"] = months.get(f"{day:%Y-%m}", Decimal(0)) + amount
    return "Cost by month", [(month, amount, money(amount)) for month, amount in months.items()]


def _label(row: CostRow) -> str:
    return " ".join(key or UNKNOWN for key in row.keys)
