"""What a sample says of percentiles and pass rates, with how sure that is. Pure; scipy is the extra `bench`.

Every interval is two-sided. Those of percentiles and pass rates are of at least the `confidence` that is asked for, and
assume of the measurements only that they are drawn one independently of another; those of means resample clusters of
measurements, and hold nearly, however alike those of one cluster are. What a sample is too small to tell is None, never
a guess.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Interval",
    "clustered_mean",
    "pass_at_k",
    "pass_hat_k",
    "pass_rate",
    "quantile",
    "samples_needed",
    "spread",
]

#: how often a bootstrap draws
_DRAWS = 2_999


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
    # of the 0.9 that is meant: the float is a little above it, and would make the 37th of 40 of the 36th
    at = math.ceil(Fraction(str(q)) * n)
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


def clustered_mean(
    sums: NDArray[Any], counts: NDArray[Any], *, share: bool = False, confidence: float = 0.95, seed: int = 0
) -> Interval | None:
    """The mean of measurements that come in clusters, from each cluster's sum and its number of them, above 0.

    None without a cluster; with one alone nothing is known of another: the ends are infinite. By the bootstrap over
    clusters, see `spread`. A `share` lies from 0 to 1, and so do the ends; where all are 0, or all 1, which says
    nothing of how they vary, it is Wilson's interval with each cluster as one of them. Source: Davison and Hinkley,
    Bootstrap Methods and their Application (1997), section 3.8.
    """
    import numpy as np

    number = len(sums)
    if number == 0:
        return None
    value = float(sums.sum() / counts.sum())
    if share and value in (0.0, 1.0):
        return pass_rate(round(value) * number, number, confidence)
    if number == 1:
        return Interval(value, *((0.0, 1.0) if share else (-math.inf, math.inf)))
    drawn = np.random.default_rng(seed).integers(0, number, (_DRAWS, number))
    low, high, _ = spread(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), number, confidence)
    # what floating point makes of a mean of equal values must not leave the estimate outside
    return Interval(value, min(value, value if low is None else low), max(value, value if high is None else high))


def spread(
    drawn: NDArray[Any], clusters: int, confidence: float = 0.95
) -> tuple[float | None, float | None, float | None]:
    """Low and high end of an interval, and the standard error, from what a bootstrap has `drawn` from 2 `clusters` or
    more; None where one of them is not finite.

    Percentiles of what was drawn, as far out as makes up for few clusters' varying less than what they come from.
    Source: Hesterberg, What teachers should know about the bootstrap, The American Statistician 69 (2015),
    on the expanded percentile interval.
    """
    import numpy as np
    from scipy.stats import norm, t

    tail = norm.cdf(math.sqrt(clusters / (clusters - 1)) * t.ppf((1 - confidence) / 2, clusters - 1))
    low, high = np.quantile(drawn, [tail, 1 - tail], method="inverted_cdf")
    error = float(drawn.std()) if np.isfinite(drawn).all() else None
    return *(float(end) if np.isfinite(end) else None for end in (low, high)), error  # type: ignore[return-value]  # two
