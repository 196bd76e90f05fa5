"""A table as data: computed once, printed by any of the reports."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

__all__ = ["UNKNOWN", "Cell", "Column", "Table", "count", "iso", "money", "plain", "seconds", "short"]

UNKNOWN = "–"


class Column(NamedTuple):
    """A heading; numbers align right."""

    title: str
    number: bool = False


class Cell(NamedTuple):
    """A value, what is said about it ('2.3× slower'), whether it is its column's best, and what to sort it by."""

    text: str
    note: str = ""
    best: bool = False
    value: float | None = None


class Table(NamedTuple):
    """Rows, one cell a column, a plain text where there is no more to it; `footer` is a last row set apart."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str | Cell, ...], ...]
    title: str = ""
    footer: tuple[str, ...] | None = None

    def only(self, titles: Collection[str]) -> Table:
        """The columns of these titles alone."""
        kept = [place for place, column in enumerate(self.columns) if column.title in titles]
        return Table(
            tuple(self.columns[place] for place in kept),
            tuple(tuple(row[place] for place in kept) for row in self.rows),
            title=self.title,
            footer=None if self.footer is None else tuple(self.footer[place] for place in kept),
        )


def seconds(value: float | None) -> str:
    """`0.42 s`, `12.3 s`; unknown is a dash."""
    if value is None:
        return UNKNOWN
    if value < 0.001:
        return f"{value * 1000:.2f} ms"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def money(amount: Decimal | None, *, exact: bool = True) -> str:
    """`$0.001230`, `$0`; `~` before what is not exact; unknown is a dash, never 0."""
    if amount is None:
        return UNKNOWN
    if not amount:
        return "$0"
    digits = 2 if amount >= 100 else 4 if amount >= 1 else 6
    return f"{'' if exact else '~'}${amount:,.{digits}f}"


def count(value: int | None) -> str:
    """`12,345`; unknown is a dash."""
    return UNKNOWN if value is None else f"{value:,}"


def short(value: int | None) -> str:
    """`950`, `12.3 k`, `250.6 M`: three digits or so, for what is only looked at; unknown is a dash."""
    if value is None or value < 10_000:
        return count(value)
    unit, size = ("k", 10**3) if value < 10**6 else ("M", 10**6) if value < 10**9 else ("G", 10**9)
    return f"{value / size:,.1f} {unit}"


def plain(amount: Decimal | None) -> str | None:
    """An amount for a document: no exponent, no zeros at the end."""
    return None if amount is None else format(amount.normalize(), "f")


def iso(epoch_s: float | None) -> str | None:
    """Epoch seconds for a document: ISO 8601 in the local zone."""
    return None if epoch_s is None else datetime.fromtimestamp(epoch_s, tz=UTC).astimezone().isoformat()
