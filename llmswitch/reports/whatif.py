"""A `WhatIf` as a table, as sentences, and as the document `llmswitch/whatif/1`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from llmswitch.evidence import Evidence
from llmswitch.reports.rows import UNKNOWN, Cell, Column, Table, count, iso, money, plain
from llmswitch.runs.whatif import BAND, Elsewhere, WhatIf

__all__ = ["whatif_document", "whatif_lines", "whatif_table"]


def whatif_table(found: WhatIf) -> Table:
    """What was paid, then what each target would have taken, the cheapest first, unknown last."""
    columns = (
        Column("same traffic on"),
        Column("cost", number=True),
        Column("change", number=True),
        Column("pass rate", number=True),
        Column("from bench"),
    )
    paid = _paid(found)
    first: tuple[str | Cell, ...] = ("as it was", Cell(paid, value=_number(found.cost)), "", *_passes(found.found))
    return Table(columns, (first, *(_row(one, found) for one in _ordered(found))))


def _ordered(found: WhatIf) -> list[Elsewhere]:
    return sorted(found.targets, key=lambda one: (one.cost is None, one.cost or Decimal(0)))


def _paid(found: WhatIf) -> str:
    least = "at least " if found.unknown_price_calls and found.cost is not None else ""
    return f"{least}{money(found.cost)}"


def _row(one: Elsewhere, found: WhatIf) -> tuple[str | Cell, ...]:
    between = f"{money(one.low)} to {money(one.high)}" if one.low != one.high else ""
    cost = Cell(money(one.cost, exact=one.exact), between, value=_number(one.cost))
    return (one.target, cost, _change(one.cost, found), *_passes(one.found))


def _change(cost: Decimal | None, found: WhatIf) -> str:
    """Against what was paid, where all of that is known."""
    if cost is None or not found.cost or found.unknown_price_calls:
        return UNKNOWN
    return f"{float(cost / found.cost - 1) * 100:+.0f} %".replace("-", "−")


def _passes(found: Evidence | None) -> tuple[str | Cell, str]:
    if found is None or found.pass_rate is None:
        return UNKNOWN, UNKNOWN
    day = datetime.fromtimestamp(found.finished_at, tz=UTC).astimezone()
    return (
        Cell(f"{found.pass_rate:.2f}", f"{found.low:.2f} to {found.high:.2f}", value=found.pass_rate),
        f"{found.suite}, {day:%Y-%m-%d}",
    )


def _number(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)


def whatif_lines(found: WhatIf) -> Iterator[str]:
    """One sentence about the cheapest target, and what all of it takes for granted."""
    best = next((one for one in _ordered(found) if one.cost is not None), None)
    if best is not None and found.cost is not None:
        passes = "" if best.found is None else f"; pass rate {_rate(best.found)}"
        against = "" if found.found is None or not passes else f" against {_rate(found.found)}"
        paid = _paid(found)
        yield f"same traffic on {best.target}: {money(best.cost)} instead of {paid}{passes}{against}"
    models = ", ".join(f"{one.provider}:{one.request_model} ({count(one.calls)})" for one in found.traffic[:3])
    more = f" and {len(found.traffic) - 3} more" if len(found.traffic) > 3 else ""
    yield f"of {count(found.calls)} answered calls, to {models}{more}; failed and cached ones are not in it."
    if found.unknown_price_calls:
        yield f"what {count(found.unknown_price_calls)} of them cost is unknown: no change can be told."
    if found.left_out:
        yield f"{count(found.left_out)} answered calls are left out: nobody knows their tokens."
    yield "prices are today's; cached reads, batches and context steps are kept, a tier by its own vendor."
    for one in found.targets:
        if one.measured < 1:
            yield (
                f"{one.target}: the tokens of {1 - one.measured:.0%} of the calls were never compared in a bench: they "
                f"are taken to be as many there, {1 - BAND[0]:.0%} fewer to {BAND[1] - 1:.0%} more."
            )


def _rate(found: Evidence) -> str:
    return f"{found.pass_rate or 0:.2f} [{found.low:.2f}, {found.high:.2f}]"


def whatif_document(found: WhatIf) -> dict[str, Any]:
    """`cost whatif --json`: amounts are USD as plain decimal text, unknown is null."""
    return {
        "schema": "llmswitch/whatif/1",
        "since": iso(found.since),
        "until": iso(found.until),
        "calls": found.calls,
        "left_out_calls": found.left_out,
        "unknown_price_calls": found.unknown_price_calls,
        "cost": plain(found.cost),
        "pass_rate": _evidence(found.found),
        "traffic": [
            {
                "provider": one.provider,
                "model": one.request_model,
                "calls": one.calls,
                "cost": plain(one.cost),
                "unknown_price_calls": one.unknown_price_calls,
            }
            for one in found.traffic
        ],
        "targets": [
            {
                "target": one.target,
                "provider": one.provider,
                "model": one.request_model,
                "cost": plain(one.cost),
                "low": plain(one.low),
                "high": plain(one.high),
                "exact": one.exact,
                "source": one.source,
                "measured_share": one.measured,
                "pass_rate": _evidence(one.found),
            }
            for one in found.targets
        ],
    }


def _evidence(found: Evidence | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "value": found.pass_rate,
        "low": found.low,
        "high": found.high,
        "suite": found.suite,
        "run": found.run_id,
        "finished_at": iso(found.finished_at),
    }
