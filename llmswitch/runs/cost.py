"""What was spent: the ledger's rows, grouped and summed. Money is summed as whole pico-dollars, so sums are exact.

Most rows are calls; those that are `lost` are what a call spent besides, on attempts whose answer nobody got: a
hedge's loser, a stream that was cut and retried. They count as spend, and as no call.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from llmswitch.database import reading
from llmswitch.ledger import from_pico

__all__ = ["KEYS", "CostReport", "CostRow", "cost_report"]

#: what calls can be grouped by -> how SQLite says it; days are of the local time zone
KEYS = {
    "day": "date(started_at, 'unixepoch', 'localtime')",
    "provider": "provider",
    "model": "request_model",
    "profile": "profile",
    "command": "command",
}

#: A call that failed, or was interrupted, before anything could be billed is taken to have cost nothing: its tokens
#: were not even estimated, unless it may have failed in its answer, or an attempt was cut off under way.
_SUMS = """sum(lost IS NULL) AS calls, count(error_kind) AS errors, sum(cached) AS cached,
    sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
    sum(cost_pico) AS cost, sum(cost_pico IS NOT NULL AND NOT cached) AS priced,
    min(cost_exact) AS exact, sum(saved_pico) AS saved, sum(cost_pico) FILTER (WHERE lost IS NOT NULL) AS lost,
    sum(cost_pico IS NULL AND (input_tokens IS NOT NULL OR time_to_first_token_s IS NOT NULL
        OR (error_kind IS NULL AND (finish_reason <> 'interrupted' OR attempts LIKE '%"interrupted"%'))
        OR error_kind IN ('truncated', 'malformed', 'timeout', 'content_filter'))) AS unknown"""


@dataclass(frozen=True, slots=True)
class CostRow:
    """The calls of one group; `keys` in the order of the report's `by`.

    `cost`, `saved` and `lost` are USD. `cost` is the sum of what is known, and None where prices are missing and none
    is known: that cached answers cost 0 tells nothing of the rest. `lost` is the part of it that bought no answer.
    `unknown_price_calls` tells how many are missing from it, and with any, or an assumed rate, it is not `exact`.
    """

    keys: tuple[str | None, ...]
    calls: int
    errors: int
    cached: int
    input_tokens: int | None
    output_tokens: int | None
    cost: Decimal | None
    exact: bool
    unknown_price_calls: int
    saved: Decimal
    lost: Decimal


@dataclass(frozen=True, slots=True)
class CostReport:
    """Rows in the order of their keys, and their sum. `since` (included) and `until` (not) are epoch seconds."""

    since: float | None
    until: float | None
    by: tuple[str, ...]
    rows: tuple[CostRow, ...]
    total: CostRow


def cost_report(ledger: Path, *, by: tuple[str, ...], since: float | None, until: float | None) -> CostReport:
    """Sum the calls that started within [since, until), grouped `by` keys of `KEYS`. Raises StorageError."""
    keys = ", ".join(KEYS[key] for key in by)
    places = ", ".join(str(place) for place in range(1, len(by) + 1))
    bounds = {"started_at >= ?": since, "started_at < ?": until}
    given = {condition: bound for condition, bound in bounds.items() if bound is not None}
    where = f"WHERE {' AND '.join(given)}" if given else ""
    with reading(ledger) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")  # rows and total see the same calls, whoever writes meanwhile
        # every text in it is this file's own
        query = f"SELECT {keys}, {_SUMS} FROM calls {where} GROUP BY {places} ORDER BY {places}"  # noqa: S608
        rows = tuple(_row(line, len(by)) for line in connection.execute(query, tuple(given.values())))
        total = connection.execute(f"SELECT {_SUMS} FROM calls {where}", tuple(given.values()))  # noqa: S608
        return CostReport(since, until, by, rows, _row(total.fetchone(), 0))


def _row(line: sqlite3.Row, keys: int) -> CostRow:
    # where no price is missing, a sum of none is 0: every call failed before anything was billed
    known = line["priced"] or not line["unknown"]
    return CostRow(
        keys=tuple(line)[:keys],
        calls=line["calls"] or 0,
        errors=line["errors"],
        cached=line["cached"] or 0,
        input_tokens=line["input_tokens"],
        output_tokens=line["output_tokens"],
        cost=from_pico(line["cost"] or 0) if known else None,
        exact=line["exact"] != 0 and not line["unknown"],
        unknown_price_calls=line["unknown"] or 0,
        saved=from_pico(line["saved"] or 0),
        lost=from_pico(line["lost"] or 0),
    )
