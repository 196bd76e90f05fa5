"""Figures as characters: a line of days, and bars, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal

__all__ = ["bars", "spark"]

_LEVELS = "▁▂▃▄▅▆▇█"
#: a full cell, and its eighths
_BLOCKS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")
#: characters of a line of days, of which each then stands for several
_LONGEST = 14


def spark(amounts: Mapping[date, Decimal], days: Sequence[date]) -> str:
    """A character a day from the first to the last of `days`, or for as many days each as it takes to fit.

    A day without a call is a space; the tallest stands for the most of this line, not of others.
    """
    first, count = days[0], (days[-1] - days[0]).days + 1
    each = -(-count // _LONGEST)
    sums: list[Decimal | None] = []
    for start in range(0, count, each):
        found = [amounts.get(first + timedelta(days=place)) for place in range(start, min(start + each, count))]
        known = [amount for amount in found if amount is not None]
        sums.append(sum(known, Decimal(0)) if known else None)
    most = max((amount for amount in sums if amount is not None), default=Decimal(0))
    return "".join(" " if amount is None else _level(amount, most) for amount in sums)


def _level(amount: Decimal, most: Decimal) -> str:
    return _LEVELS[min(len(_LEVELS) - 1, int(amount / most * len(_LEVELS)))] if most else _LEVELS[0]


def bars(rows: Sequence[tuple[str, Decimal | None, str]], width: int) -> list[str]:
    """Label, bar and text, one line a row, none longer than `width` cells; unknown has no bar."""
    if not rows:
        return []
    label, told = (max(len(row[place]) for row in rows) for place in (0, 2))  # type: ignore[arg-type]  # both are texts
    label = min(label, max(8, width // 3))
    room = max(4, width - label - told - 2)
    most = max((amount for _, amount, _ in rows if amount), default=Decimal(1))
    lines = []
    for name, amount, text in rows:
        eighths = round(float((amount or 0) / most) * room * 8)
        if amount and not eighths:
            eighths = 1
        shown = name if len(name) <= label else f"{name[: label - 1]}…"
        lines.append(f"{shown:<{label}} {'█' * (eighths // 8)}{_BLOCKS[eighths % 8]} {text}")
    return lines
