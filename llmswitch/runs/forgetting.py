"""Old rows of the ledger: forgotten one by one, their daily sums kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from llmswitch.database import opened, reading
from llmswitch.tallies import DAYS, SUMS, from_calls

__all__ = ["Forgotten", "forget", "forgettable"]

_KEPT = ("day", "provider", "request_model", "profile", "command")


class Forgotten(NamedTuple):
    """How many rows, of how many local days."""

    rows: int
    days: int


def forgettable(ledger: Path, before: float) -> Forgotten:
    """What `forget` would take. Raises StorageError."""
    with reading(ledger) as connection:
        query = f"SELECT count(*), count(DISTINCT {DAYS}) FROM calls WHERE started_at < ?"  # noqa: S608  # our own text
        return Forgotten(*connection.execute(query, (_midnight(before),)).fetchone())


def forget(ledger: Path, before: float, each: Callable[[int], None] = lambda rows: None) -> Forgotten:
    """Put the sums of every local day that ended by `before` (epoch seconds) in the place of its rows.

    `each` is told how many were put away. A day is one transaction: killed in between, none is lost, none is counted
    twice, and no other process waits long.
    What a budget counts is untouched, and so are conversations. Raises StorageError.
    """
    rows = days = 0
    end = _midnight(before)
    with opened(ledger) as connection:
        while True:
            connection.execute("BEGIN IMMEDIATE")
            (first,) = connection.execute("SELECT min(started_at) FROM calls").fetchone()
            if first is None or first >= end:
                connection.execute("COMMIT")
                break
            until = min(end, _next_midnight(first))
            # every text in it is this project's own
            connection.execute(
                f"INSERT INTO daily ({', '.join((*_KEPT, *SUMS))}) "  # noqa: S608
                f"SELECT coalesce({DAYS}, '0001-01-01'), {', '.join(_KEPT[1:])}, {from_calls()} "
                "FROM calls WHERE started_at < ? GROUP BY 1, 2, 3, 4, 5",
                (until,),
            )
            gone = connection.execute("DELETE FROM calls WHERE started_at < ?", (until,)).rowcount
            connection.execute("COMMIT")
            rows, days = rows + gone, days + 1
            each(gone)
        connection.execute("PRAGMA incremental_vacuum").fetchall()
    return Forgotten(rows, days)


def _midnight(moment: float) -> float:
    """When its local day began."""
    day = datetime.fromtimestamp(moment).date()  # noqa: DTZ006  # the local calendar is what is asked for
    return time.mktime((day.year, day.month, day.day, 0, 0, 0, 0, 0, -1))


def _next_midnight(moment: float) -> float:
    """When its local day ends; of a moment that is in no calendar, the moment itself and what is before it."""
    try:
        day = datetime.fromtimestamp(moment).date()  # noqa: DTZ006
        return time.mktime((day.year, day.month, day.day + 1, 0, 0, 0, 0, 0, -1))
    except (ValueError, OverflowError, OSError):
        return moment + 1.0
