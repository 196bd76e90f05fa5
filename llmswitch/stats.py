"""Statistics of few measurements, without an assumption on how they are distributed. Pure; imports nothing of ours."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["median_interval", "ratios", "repeats_needed"]


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Two of `values` that hold the median of what they were drawn from between them, with at least `confidence`.

    The k-th smallest and the k-th largest, for the largest k with 2 P(B < k) <= 1 - confidence, where
    B ~ Binomial(n, 1/2) counts the values below the median. Exact for every continuous distribution, and on the safe
    side where values repeat. None where n is too small even for k = 1; raises ValueError where `confidence` is not
    between 0 and 1. Source: Conover, Practical Nonparametric Statistics, 3rd ed., section 3.2, 'Confidence interval
    for a quantile'.
    """
    rank = _rank(len(values), confidence)
    if rank == 0:
        return None
    ordered = sorted(values)
    return ordered[rank - 1], ordered[-rank]


def ratios(values: Sequence[float], others: Sequence[float]) -> list[float]:
    """values[i] / others[i], of values from 0 up: how many times `others` the `values` are, round by round.

    Item i of both was measured in the same round, so that what drifts from round to round cancels out of the median.
    Infinite beside a 0, and 1 where both are 0; raises ValueError where the lengths differ.
    """
    return [_ratio(value, other) for value, other in zip(values, others, strict=True)]


def _ratio(value: float, other: float) -> float:
    if other:
        return value / other
    return math.inf if value else 1.0


def repeats_needed(confidence: float = 0.95) -> int:
    """The smallest n for which `median_interval` is not None: the smallest with 2^(1-n) <= 1 - confidence."""
    repeats = 1
    while _rank(repeats, confidence) == 0:
        repeats += 1
    return repeats


def _rank(n: int, confidence: float) -> int:
    """The k of `median_interval`, 0 where there is none. In whole numbers: 2^n is soon too large for a float.

    `ways` is the binomial coefficient of n over `rank`, `below` the sum of those so far.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    part, whole = confidence.as_integer_ratio()
    rank, ways, below = 0, 1, 1
    while 2 * whole * below <= (whole - part) * 2**n:
        rank += 1
        ways = ways * (n - rank + 1) // rank
        below += ways
    return rank
