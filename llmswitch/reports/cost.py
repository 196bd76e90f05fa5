"""A `CostReport` as a table, and as the contract's document `llmswitch/cost/1`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from llmswitch.reports.rows import UNKNOWN, Column, Table, count, money
from llmswitch.runs.cost import CostReport, CostRow

__all__ = ["report_document", "report_table"]

#: shown where there is some: money for attempts whose answer nobody got, part of the cost
_LOST = "of it lost"
_COLUMNS = ("calls", "errors", "cached", "input", "output", "cost", _LOST, "saved", "unknown price")


def report_table(report: CostReport) -> Table:
    """One row a group and a row of totals. A sum that some call's unknown price is missing from is 'at least' it."""
    titles = [title for title in _COLUMNS if title != _LOST or report.total.lost]
    columns = (*(Column(key) for key in report.by), *(Column(title, number=True) for title in titles))
    rows = tuple((*(key or UNKNOWN for key in row.keys), *_cells(row, titles)) for row in report.rows)
    footer = ("total", *("" for _ in report.by[1:]), *_cells(report.total, titles))
    return Table(columns, rows, footer=footer)


def _cells(row: CostRow, titles: Sequence[str]) -> tuple[str, ...]:
    cells = {
        "calls": count(row.calls),
        "errors": count(row.errors),
        "cached": count(row.cached),
        "input": count(row.input_tokens),
        "output": count(row.output_tokens),
        "cost": _spent(row),
        _LOST: money(row.lost, exact=False) if row.lost else "",
        "saved": money(row.saved),
        "unknown price": count(row.unknown_price_calls),
    }
    return tuple(cells[title] for title in titles)


def _spent(row: CostRow) -> str:
    if row.unknown_price_calls and row.cost is not None:
        return f"at least {money(row.cost)}"
    return money(row.cost, exact=row.exact)


def report_document(report: CostReport) -> dict[str, Any]:
    """`cost report --json`; times are ISO 8601 in the local zone, amounts plain decimal text, unknown is null."""
    return {
        "schema": "llmswitch/cost/1",
        "since": _moment(report.since),
        "until": _moment(report.until),
        "rows": [{**dict(zip(report.by, row.keys, strict=True)), **_figures(row)} for row in report.rows],
        "total": _figures(report.total),
    }


def _figures(row: CostRow) -> dict[str, Any]:
    return {
        "calls": row.calls,
        "errors": row.errors,
        "cached": row.cached,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cost": None if row.cost is None else {"amount": _plain(row.cost), "exact": row.exact},
        "lost": _plain(row.lost),
        "saved": _plain(row.saved),
        "unknown_price_calls": row.unknown_price_calls,
    }


def _plain(amount: Decimal) -> str:
    """No exponent, no zeros at the end."""
    return format(amount.normalize(), "f")


def _moment(epoch_s: float | None) -> str | None:
    return None if epoch_s is None else datetime.fromtimestamp(epoch_s, tz=UTC).astimezone().isoformat()
