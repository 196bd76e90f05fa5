"""Prices as a table, and as the document `llmswitch/prices/1`: USD for a million tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from llmswitch.reports.rows import UNKNOWN, Cell, Column, Table
from llmswitch.runs.prices import ListInUse, PriceRow, Rates

__all__ = ["list_line", "prices_document", "prices_table"]


def prices_table(rows: Sequence[PriceRow], *, narrow: bool = False) -> Table:
    """One row a model. Context steps stand under the rates they replace; `~` marks what another model's price, or
    another vendor's list, stands in for. `narrow` leaves out cache writes, tiers and where a price is from."""
    written = not narrow and any(row.rates and "cache_creation" in row.rates.base for row in rows)
    tiered = not narrow and any(row.tiers for row in rows)
    columns = [
        Column("model"),
        Column("input", number=True),
        Column("output", number=True),
        Column("cached", number=True),
        *([Column("cache write", number=True)] if written else []),
        Column("batch", number=True),
        *([Column("tiers", number=True)] if tiered else []),
        Column("window", number=True),
        *([] if narrow else [Column("from")]),
    ]
    lines: tuple[tuple[str | Cell, ...], ...] = tuple(
        (
            _name(row),
            _cell(row, "input"),
            _cell(row, "output"),
            _cell(row, "cache_read"),
            *([_written(row)] if written else []),
            _pair(row.batch),
            *([_tiers(row)] if tiered else []),
            short(row.context_window),
            *([] if narrow else [row.source or UNKNOWN]),
        )
        for row in rows
    )
    return Table(tuple(columns), lines, title="USD per million tokens")


def list_line(found: ListInUse) -> str:
    """Which list that was, for people."""
    newest = "" if found.newest_rate is None else f", its newest dated rate of {found.newest_rate.isoformat()}"
    if found.refreshed_at is None:
        return f"the list: {found.source}, packaged{newest}. 'llmswitch cost prices --update' fetches a newer one."
    return f"the list: {found.source}, kept by --update{newest}. --reset goes back to the packaged one."


def prices_document(rows: Sequence[PriceRow], found: ListInUse) -> dict[str, Any]:
    """`cost prices --json`; rates are plain decimal text, unknown is null. No list tells the longest answer."""
    refreshed = None if found.refreshed_at is None else datetime.fromtimestamp(found.refreshed_at, tz=UTC).isoformat()
    return {
        "schema": "llmswitch/prices/1",
        "currency": "USD",
        "per_tokens": 1_000_000,
        "list": {
            "source": found.source,
            "refreshed_at": refreshed,
            "newest_rate": None if found.newest_rate is None else found.newest_rate.isoformat(),
            "providers": found.providers,
            "models": found.models,
        },
        "rows": [
            {
                "provider": row.provider,
                "model": row.model,
                "listed_as": row.listed_as,
                "rates": _rates(row.rates),
                "batch": _rates(row.batch),
                "tiers": {name: _rates(rates) for name, rates in row.tiers.items()},
                "context_window": row.context_window,
                "max_output_tokens": None,
                "source": row.source,
                "exact": row.exact,
            }
            for row in rows
        ],
    }


def _rates(rates: Rates | None) -> dict[str, Any] | None:
    if rates is None:
        return None
    steps = [{"above_input_tokens": step.above, **_plain(step.rates)} for step in rates.steps]
    return {**_plain(rates.base), "steps": steps}


def _plain(rates: Mapping[str, Decimal]) -> dict[str, str]:
    return {name: rate(amount) for name, amount in rates.items()}


def rate(amount: Decimal) -> str:
    """No exponent; no zeros at the end beyond the cents."""
    text = format(amount.normalize(), "f")
    whole, _, part = text.partition(".")
    return f"{whole}.{part.ljust(2, '0')}" if part else whole


def short(tokens: int | None) -> str:
    """`200k`, `1.05M`."""
    if tokens is None:
        return UNKNOWN
    if tokens >= 1_000_000:
        return f"{tokens / 1_000_000:.3g}M"
    return f"{tokens / 1000:.4g}k" if tokens >= 1000 else str(tokens)


def _name(row: PriceRow) -> Cell:
    name = f"{row.provider}:{row.model}"
    other = row.listed_as is not None and row.rates is not None and row.listed_as != row.model
    return Cell(name, note=f"as {row.listed_as}" if other else "")


def _cell(row: PriceRow, field: str) -> Cell:
    if row.rates is None or field not in row.rates.base:
        return Cell(UNKNOWN)
    steps = [
        f"{rate(step.rates[field])} over {short(step.above)}"
        for step in row.rates.steps
        if step.rates[field] != row.rates.base[field]
    ]
    return Cell(f"{'' if row.exact else '~'}{rate(row.rates.base[field])}", note="\n".join(steps))


def _written(row: PriceRow) -> Cell:
    cell = _cell(row, "cache_creation")
    hour = row.rates.base.get("cache_creation_1h") if row.rates else None
    return cell if hour is None else cell._replace(note=f"{rate(hour)} for 1 h")


def _pair(rates: Rates | None) -> str:
    if rates is None:
        return UNKNOWN
    return " / ".join(rate(rates.base[name]) if name in rates.base else UNKNOWN for name in ("input", "output"))


def _tiers(row: PriceRow) -> Cell:
    lines = [f"{name} {_pair(rates)}" for name, rates in row.tiers.items()]
    return Cell(lines[0] if lines else UNKNOWN, note="\n".join(lines[1:]))
