"""A `CostReport` as a table, and as the contract's document `llmswitch/cost/1`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from llmswitch.reports.rows import UNKNOWN, Cell, Column, Table, count, iso, money, plain, seconds, short
from llmswitch.reports.spark import spark
from llmswitch.runs.cost import CostReport, CostRow

__all__ = ["FIGURES", "csv_rows", "narrowed", "report_document", "report_table", "spent"]

#: shown where there is some: parts of other columns, and what few calls have
_PARTS: dict[str, Callable[[CostRow], object]] = {
    "of it cached": lambda row: row.cache_read_input_tokens,
    "of it reasoning": lambda row: row.reasoning_output_tokens,
    "of it failed": lambda row: row.failed,
    "of it hedged": lambda row: row.hedged,
    "saved by batch": lambda row: row.saved_by_batch,
}
_COLUMNS = (
    *("calls", "errors", "cached", "p50", "input", "of it cached", "output", "of it reasoning"),
    *("cost", "of it failed", "of it hedged", "saved by cache", "saved by batch", "unknown price"),
)
#: the same on a terminal, whose room is better used
_DRAWN: dict[str, Callable[[CostRow], object]] = {
    "errors": lambda row: row.errors,
    "cached": lambda row: row.cached,
    "saved by cache": lambda row: row.saved_by_cache,
    "unknown price": lambda row: row.unknown_price_calls,
}
_DAYS = "by day"
#: the figures that are left on a terminal with no room for all
_NARROW = frozenset({"calls", "cost", "unknown price", _DAYS})


def report_table(report: CostReport, *, drawn: bool = False) -> Table:
    """One row a group and a row of totals. A sum that some call's unknown price is missing from is 'at least' it.

    `drawn`, for a terminal, leaves out what is 0 throughout, shortens counts, and adds to each group of several days a
    line of what each day cost.
    """
    parts = {**_PARTS, **_DRAWN} if drawn else _PARTS
    titles = [title for title in _COLUMNS if title not in parts or parts[title](report.total)]
    days = list(report.total.days)
    lines = drawn and "day" not in report.by and len(days) > 1
    drawing = (Column(_DAYS, number=True),) if lines else ()
    columns = (*(Column(key) for key in report.by), *(Column(title, number=True) for title in titles), *drawing)

    def line(row: CostRow) -> tuple[str, ...]:
        return (spark(row.days, days),) if lines else ()

    rows: tuple[tuple[str | Cell, ...], ...] = tuple(
        (*(key or UNKNOWN for key in row.keys), *_cells(row, titles, drawn), *line(row)) for row in report.rows
    )
    total = (f"{cell.text} ({cell.note})" if cell.note else cell.text for cell in _cells(report.total, titles, drawn))
    footer = ("total", *("" for _ in report.by[1:]), *total, *line(report.total))
    return Table(columns, rows, footer=footer)


def narrowed(table: Table) -> Table:
    """The same with what was spent alone, for a terminal that it is too wide for."""
    return table.only({column.title for column in table.columns if not column.number or column.title in _NARROW})


def _cells(row: CostRow, titles: Sequence[str], drawn: bool) -> tuple[Cell, ...]:
    tokens = short if drawn else count
    # attempts whose answer nobody got are among them, and are no calls: of more than there are calls there is no share
    share = f"{row.unknown_price_calls / row.calls:.0%}" if 0 < row.unknown_price_calls <= row.calls else ""
    cells = {
        "calls": Cell(count(row.calls), value=row.calls),
        "errors": Cell(count(row.errors), value=row.errors),
        "cached": Cell(count(row.cached), value=row.cached),
        "p50": Cell(seconds(row.duration_p50_s), value=row.duration_p50_s),
        "input": Cell(tokens(row.input_tokens), value=row.input_tokens),
        "of it cached": Cell(tokens(row.cache_read_input_tokens), value=row.cache_read_input_tokens),
        "output": Cell(tokens(row.output_tokens), value=row.output_tokens),
        "of it reasoning": Cell(tokens(row.reasoning_output_tokens), value=row.reasoning_output_tokens),
        "cost": Cell(spent(row), value=None if row.cost is None else float(row.cost)),
        "of it failed": _sum(row.failed, exact=False),
        "of it hedged": _sum(row.hedged, exact=False),
        "saved by cache": _sum(row.saved_by_cache),
        "saved by batch": _sum(row.saved_by_batch),
        "unknown price": Cell(count(row.unknown_price_calls), share, value=row.unknown_price_calls),
    }
    return tuple(cells[title] for title in titles)


def _sum(amount: Decimal, *, exact: bool = True) -> Cell:
    return Cell(money(amount, exact=exact or not amount), value=float(amount))


def spent(row: CostRow) -> str:
    """`$1.20`, `~$1.20` where something was assumed, `at least $1.20` where a price is missing from it."""
    if row.unknown_price_calls and row.cost is not None:
        return f"at least {money(row.cost)}"
    return money(row.cost, exact=row.exact)


def report_document(report: CostReport) -> dict[str, Any]:
    """`cost report --json`; times are ISO 8601 in the local zone, amounts plain decimal text, unknown is null."""
    return {
        "schema": "llmswitch/cost/1",
        "since": iso(report.since),
        "until": iso(report.until),
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
        "cache_read_input_tokens": row.cache_read_input_tokens,
        "cache_creation_input_tokens": row.cache_creation_input_tokens,
        "reasoning_output_tokens": row.reasoning_output_tokens,
        "cost": None if row.cost is None else {"amount": plain(row.cost), "exact": row.exact},
        "lost": plain(row.lost),
        "hedged": plain(row.hedged),
        "failed": plain(row.failed),
        "saved": plain(row.saved),
        "saved_by_cache": plain(row.saved_by_cache),
        "saved_by_batch": plain(row.saved_by_batch),
        "unknown_price_calls": row.unknown_price_calls,
        "duration_p50_s": row.duration_p50_s,
        "days": {day.isoformat(): plain(amount) for day, amount in row.days.items()},
    }


#: the columns of a CSV behind the keys
FIGURES = (
    *("calls", "errors", "cached", "input_tokens", "output_tokens", "cache_read_input_tokens"),
    *("cache_creation_input_tokens", "reasoning_output_tokens", "cost", "cost_exact", "hedged", "failed"),
    *("saved_by_cache", "saved_by_batch", "unknown_price_calls", "duration_p50_s"),
)


def csv_rows(report: CostReport) -> list[list[Any]]:
    """One row a group, in the order of its keys and `FIGURES`; no totals, which a spreadsheet sums itself."""
    rows = []
    for row in report.rows:
        figures = _figures(row)
        cost = figures["cost"] or {"amount": None, "exact": None}
        flat = {**figures, "cost": cost["amount"], "cost_exact": cost["exact"]}
        rows.append([*row.keys, *(flat[name] for name in FIGURES)])
    return rows
