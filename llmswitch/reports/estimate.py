"""Estimates as a table, and as the document `llmswitch/estimate/1`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmswitch.reports.rows import UNKNOWN, Cell, Column, Table, count, money, plain
from llmswitch.runs.estimate import BYTES_PER_TOKEN, FEWEST, Answers, Input, Money, TargetEstimate

__all__ = ["estimate_document", "estimate_notes", "estimate_table"]

_HOW = {"given": "as given", "cap": "up to the cap", "unknown": "unknown"}


def estimate_table(found: Sequence[TargetEstimate], per_month: int | None) -> Table:
    """Targets as they come, the cheapest first; with `per_month`, what so many of it cost a month."""
    several = any(one.calls > 1 for one in found)
    columns = [
        Column("target"),
        *([Column("calls", number=True)] if several else []),
        Column("input, all" if several else "input", number=True),
        Column("output, each" if several else "output", number=True),
        Column("cost, about", number=True),
        *([Column(f"{per_month:,} a month, about", number=True)] if per_month else []),
    ]
    best = next((one.target for one in found if one.rank is not None), None) if len(found) > 1 else None
    rows: tuple[tuple[str | Cell, ...], ...] = tuple(
        (
            Cell(one.target, note=_model(one)),
            *((count(one.calls),) if several else ()),
            _input(one),
            _output(one.output),
            _money(one.cost)._replace(best=one.target == best),
            *((_money(one.cost.times(per_month)),) if per_month else ()),
        )
        for one in found
    )
    return Table(tuple(columns), rows)


def estimate_notes(found: Sequence[TargetEstimate]) -> list[str]:
    """What the figures stand on, a line each."""
    notes = []
    if any(not one.input.exact for one in found):
        few, taken, many = BYTES_PER_TOKEN
        notes.append(
            f"~ input is approximated at {taken} bytes a token, in a band from {few} to {many}: prose, code and JSON "
            "lie within it; attachments are not in it."
        )
    notes += [f"{one.target} was not counted: {one.input.note}" for one in found if one.input.note]
    if any(one.output.how in ("cap", "unknown") for one in found):
        notes.append(
            f"an answer's length is known from {FEWEST} answers on in the ledger; until then give --answer-tokens N. "
            "Such targets are ordered as if answers had 500 tokens."
        )
    notes += [f"{one.target} takes {one.context_window:,} tokens: too few." for one in found if one.over_window]
    if any(one.rank is None for one in found):
        notes.append("a cost that is – is unknown: LLM_PRICES can give the price (docs/cost.md).")
    return notes


def estimate_document(found: Sequence[TargetEstimate], *, per_month: int | None, suite: str | None) -> dict[str, Any]:
    """`cost estimate --json`; unknown is null. `per_month` in a row is what so many of it cost."""
    return {
        "schema": "llmswitch/estimate/1",
        "suite": suite,
        "per_month": per_month,
        "rows": [
            {
                "target": one.target,
                "provider": one.provider,
                "request_model": one.request_model,
                "calls": one.calls,
                "input_tokens": {
                    "low": sum(one.input.low),
                    "about": sum(one.input.about),
                    "high": sum(one.input.high),
                    "counted": one.input.counted,
                    "of": len(one.input.about),
                    "note": one.input.note,
                },
                "output_tokens": one.output._asdict(),
                "cost": _amounts(one.cost),
                "per_month": _amounts(one.cost.times(per_month)) if per_month else None,
                "source": one.source,
                "context_window": one.context_window,
                "over_context_window": one.over_window,
            }
            for one in found
        ],
    }


def _amounts(cost: Money) -> dict[str, str | None] | None:
    if cost.low is None:
        return None
    return {**{name: plain(amount) for name, amount in cost._asdict().items()}, "currency": "USD"}


def _model(one: TargetEstimate) -> str:
    return "" if one.request_model in one.target else one.request_model


def _input(one: TargetEstimate) -> Cell:
    told = one.input
    if told.exact:
        return Cell(count(sum(told.about)), note="counted")
    band = _range(told)
    return Cell(f"~{sum(told.about):,}", note=f"{told.counted} counted; {band}" if told.counted else band)


def _range(told: Input) -> str:
    return f"{sum(told.low):,} to {sum(told.high):,}"


def _output(told: Answers) -> Cell:
    if told.how == "history":
        note = f"{told.low:,} to {told.high or 0:,} in 8 of 10, of {told.samples:,}"
        return Cell(f"~{told.about or 0:,}", note=note)
    if told.about is not None:
        return Cell(f"{told.about:,}", note=_HOW[told.how])
    return Cell(UNKNOWN if told.high is None else f"0 to {told.high:,}", note=_HOW[told.how])


def _money(cost: Money) -> Cell:
    if cost.low is None:
        return Cell(UNKNOWN)
    if cost.about is None:
        low = money(cost.low, exact=False)
        if cost.high is None:
            return Cell(f"at least {money(cost.low)}")
        return Cell(f"{low} to {money(cost.high, exact=False)}")
    span = f"{money(cost.low)} to {money(cost.high)}" if cost.low != cost.high else ""
    return Cell(money(cost.about, exact=False), note=span)
