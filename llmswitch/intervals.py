"""What a sample says of percentiles and pass rates, with how sure that is. Pure; scipy is the extra `bench`.

Every interval is two-sided, of at least the `confidence` that is asked for, and assumes of the measurements only that
they are drawn one independently of another. What a sample is too small to tell is None, never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

__all__ = ["Interval", "pass_at_k", "pass_hat_k", "pass_rate", "quantile", "samples_needed"]


class Interval(NamedTuple):
    """An estimate, and between what the true value lies."""

    value: float
    low: float
    high: float


def quantile(values: Sequence[float], q: float, *, failed: int = 0, confidence: float = 0.95) -> Interval | None:
    """The q-quantile of what `values` and `failed` more, which took for ever, were drawn from; q = 0.95 for p95.

    The estimate is the smallest value that at least q of the sample do not exceed (inverted distribution function);
    the interval's ends are two of `values`: the largest l and the smallest u with P(B < l) <= a/2 and
    P(B >= u) <= a/2, where a = 1 - confidence and B ~ Binomial(n, q) counts the values below the quantile. None where
    the sample has no such two, or where one of the three is a failure. Source: Conover, Practical Nonparametric
    Statistics, 3rd ed., section 3.2. Raises ValueError where q or `confidence` is not between 0 and 1.
    """
    n = len(values) + failed
    ranks = _ranks(n, q, confidence)
    if ranks is None or ranks[1] > len(values):
        return None
    ordered, (low, high) = sorted(values), ranks
    at = math.ceil(Fraction(q) * n)
    return Interval(ordered[at - 1], ordered[low - 1], ordered[high - 1])


def samples_needed(q: float, confidence: float = 0.95) -> int:
    """The smallest n of which `quantile` tells anything, if nothing fails: the smallest for which the quantile is very
    likely to lie within the sample, max(q, 1 - q)^n <= (1 - confidence) / 2."""
    return math.ceil(math.log((1 - confidence) / 2) / math.log(max(q, 1 - q)))


def _ranks(n: int, q: float, confidence: float) -> tuple[int, int] | None:
    """The l and u of `quantile`, counted from 1; None where l would be 0 or u beyond n."""
    from scipy.stats import binom  # type: ignore[import-untyped]  # scipy has no types

    for name, value in (("q", q), ("confidence", confidence)):
        if not 0 < value < 1:
            raise ValueError(f"{name} must lie between 0 and 1, not {value}")
    tail = (1 - confidence) / 2
    # ppf is the smallest k with P(B <= k) >= tail: of all l with P(B < l) <= tail it is the largest, or one too small
    low = int(binom.ppf(tail, n, q))
    low += int(binom.cdf(low, n, q) <= tail)
    high = int(binom.isf(tail, n, q)) + 1
    return (low, high) if low >= 1 and high <= n else None


def pass_rate(passed: int, n: int, confidence: float = 0.95) -> Interval | None:
    """The share that passes, with Wilson's score interval; None where nothing was judged.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
    """
    if n == 0:
        return None
    from scipy.stats import binomtest

    interval = binomtest(passed, n).proportion_ci(confidence, method="wilson")
    return Interval(passed / n, float(interval.low), float(interval.high))


def pass_at_k(passed: int, n: int, k: int) -> float | None:
    """The chance that of k answers at least one passes, where `passed` of n did; None for k > n.

    Unbiased: the share of all choices of k of the n with one that passed. Source: Chen et al., Evaluating Large
    Language Models Trained on Code (2021), equation 1.
    """
    if not 0 < k <= n:
        return None
    return 1 - math.comb(n - passed, k) / math.comb(n, k)


def pass_hat_k(passed: int, n: int, k: int) -> float | None:
    """The chance that k answers all pass ('pass^k'), where `passed` of n did; None for k > n.

    Unbiased, as `pass_at_k`. Source: Yao et al., tau-bench (2024), section 3.
    """
    if not 0 < k <= n:
        return None
    return math.comb(passed, k) / math.comb(n, k)
