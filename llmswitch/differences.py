"""Differences between two samples of measurements, and how sure they are. Pure; scipy is the extra `bench`.

Both samples are cut into the same units (a case, or neighbouring cases): what unit u holds in sample a is unit u of a
statistic, what it holds in b is unit `count` + u. Units are taken as independent of each other; within one unit
nothing is assumed. The p-value is that of a test of no change: where nothing changed, a unit's two halves are
exchangeable, so that every swap of the two is as likely as what was seen; of at most 10,000 ways to swap all are
looked at, else 9,999 random ones, and what was seen. Source: Phipson and Smyth, Permutation p-values should never be
zero, SAGMB 9 (2010). Intervals are by bootstrap over the units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from llmswitch.intervals import spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    #: of units given by their numbers, of shape (…, n): the statistic of all their values together, of shape (…)
    Statistic = Callable[[NDArray[Any]], NDArray[Any]]

__all__ = [
    "Difference",
    "detectable",
    "difference",
    "holm",
    "mean_of",
    "quantile_of",
    "rank_test",
    "repeats_needed",
]

_SWAPS, _DRAWS = 9_999, 2_999


class Difference(NamedTuple):
    """How far b is from a. `effect` is b - a, or b / a - 1 where that was asked for, between `low` and `high`; `error`
    is its standard error, by the same bootstrap. None: a is 0, or there are not two units. `p` is of no change."""

    a: float
    b: float
    effect: float | None
    low: float | None
    high: float | None
    error: float | None
    p: float


def mean_of(sums: NDArray[Any], counts: NDArray[Any]) -> Statistic:
    """The mean of all values, from each unit's sum and number of values, which is above 0."""

    def mean(units: NDArray[Any]) -> NDArray[Any]:
        total: NDArray[Any] = sums[units].sum(axis=-1) / counts[units].sum(axis=-1)
        return total

    return mean


def quantile_of(values: NDArray[Any], units: NDArray[Any], count: int, q: float) -> Statistic:
    """The smallest of all values that at least q of them do not exceed, as in `intervals.quantile`; `units` tells of
    each value its unit, of `count`."""
    import numpy as np

    ordered, ranks = np.unique(values, return_inverse=True)
    #: how many values of each unit are at most the i-th in order
    below = np.zeros((count, len(ordered)), dtype=np.int32)
    for unit in range(count):
        below[unit] = np.bincount(ranks[units == unit], minlength=len(ordered)).cumsum()
    flat, width = below.ravel(), len(ordered)

    def quantile(chosen: NDArray[Any]) -> NDArray[Any]:
        # the table flat, and units first: this is what a gate's time goes into
        starts = np.ascontiguousarray(np.moveaxis(chosen, -1, 0)) * width
        # what floating point adds to q n must not push it over the next whole number
        needed = np.ceil(flat.take(starts + width - 1).sum(axis=0) * q - 1e-9)
        low = np.zeros(chosen.shape[:-1], dtype=np.intp)
        high = np.full(chosen.shape[:-1], width - 1)
        for _ in range(width.bit_length()):
            middle = (low + high) // 2
            enough = flat.take(starts + middle).sum(axis=0) >= needed
            high = np.where(enough, middle, high)
            low = np.where(enough, low, np.minimum(middle + 1, high))
        found: NDArray[Any] = ordered[low]
        return found

    return quantile


def difference(
    statistic: Statistic,
    count: int,
    *,
    relative: bool = False,
    alternative: Literal["two-sided", "greater", "less"] = "two-sided",
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """How far the statistic of b is from that of a, each of `count` units; the same `seed`, the same result.

    `alternative` is what the test has in mind of b: that it is greater, less, or either. Of one unit alone nothing
    tells a change from chance: there p is 1.
    """
    import numpy as np

    a, b = float(statistic(np.arange(count))), float(statistic(np.arange(count) + count))
    effect = _effect(a, b, relative)
    if count < 2:
        return Difference(a, b, effect, None, None, None, 1.0)
    p = _swap_test(statistic, count, b - a, alternative, seed)
    if effect is None:
        return Difference(a, b, effect, None, None, None, p)
    drawn = np.random.default_rng(seed).integers(0, count, (_DRAWS, count))
    from_a, from_b = statistic(drawn), statistic(drawn + count)
    if relative:
        with np.errstate(divide="ignore", invalid="ignore"):
            effects = np.where(from_a == from_b, 0.0, from_b / from_a - 1)
    else:
        effects = from_b - from_a
    return Difference(a, b, effect, *spread(effects, count, confidence), p)


def _swap_test(statistic: Statistic, count: int, seen: float, alternative: str, seed: int) -> float:
    """The p-value of b - a = `seen`. By hand, as scipy.stats.permutation_test walks through the units one by one, which
    took a gate four times as long; tests hold this against it."""
    import numpy as np

    if 2**count <= _SWAPS + 1:
        return _share_as_far(statistic, (np.arange(2**count)[:, None] >> np.arange(count)) % 2 == 1, seen, alternative)
    drawn = np.random.default_rng(seed)
    # what happens by chance one time in five is nobody's news: a tenth of the swaps tells that
    first = _share_as_far(statistic, drawn.integers(0, 2, (_SWAPS // 10, count), dtype=bool), seen, alternative, 1)
    if first > 0.2:
        return first
    return _share_as_far(statistic, drawn.integers(0, 2, (_SWAPS, count), dtype=bool), seen, alternative, 1)


def _share_as_far(statistic: Statistic, swapped: NDArray[Any], seen: float, alternative: str, more: int = 0) -> float:
    """In how many of the swaps, and `more` that are as seen, b is as far from a as `seen`."""
    import numpy as np

    count = swapped.shape[1]
    units = np.arange(count)
    apart = statistic(units + np.where(swapped, 0, count)) - statistic(units + np.where(swapped, count, 0))
    # what floating point tells between equal sums is no difference
    near = 1e-9 * float(np.abs(apart).max(initial=abs(seen)))
    greater, less = (
        (int(hits.sum()) + more) / (len(apart) + more) for hits in (apart >= seen - near, apart <= seen + near)
    )
    return {"greater": greater, "less": less, "two-sided": min(1.0, 2 * min(greater, less))}[alternative]


def _effect(a: float, b: float, relative: bool) -> float | None:
    if not relative:
        return b - a
    if a == 0:
        return 0.0 if b == 0 else None
    return b / a - 1


def rank_test(differences: NDArray[Any]) -> float:
    """The p-value of Wilcoxon's signed-rank test, two-sided: whether `differences` lie as much above 0 as below.

    Those that are 0 take ranks and no side, as Pratt has it. Source: Conover, Practical Nonparametric Statistics, 3rd
    ed., section 5.7; Pratt, Remarks on zeros and ties in the Wilcoxon signed rank procedures, JASA 54 (1959).
    """
    from scipy.stats import wilcoxon  # type: ignore[import-untyped]  # scipy has no types

    if not differences.any():
        return 1.0
    return float(wilcoxon(differences, zero_method="pratt").pvalue)


def holm(ps: Sequence[float]) -> list[float]:
    """Each p-value corrected for all of them, so that any false alarm among them stays below alpha where it is below.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statistics 6 (1979).
    """
    corrected, worst = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        worst = max(worst, min(1.0, (len(ps) - rank) * ps[place]))
        corrected[place] = worst
    return corrected


def detectable(error: float, alpha: float, power: float = 0.8, *, sides: int = 1) -> float:
    """The change that a test at level `alpha` finds with this power, where the estimate has standard error `error`."""
    from scipy.stats import norm

    return float(norm.isf(alpha / sides) + norm.isf(1 - power)) * error


def repeats_needed(
    differences: NDArray[Any], cases: NDArray[Any], repeats: int, *, alpha: float, most: int = 10_000
) -> int | None:
    """How many repeats more would show the mean of `differences` at level `alpha`, four times in five, if it is what
    it now seems to be; None where `most` would not do.

    Each difference is of one asking of one of `cases`, which has `repeats` of them. The variance of the mean is V / n
    + W / (n R): between n cases, which more repeats leave as it is, and within them. With one repeat the two cannot be
    told apart, and all of it is taken for W: a bound from below. Source: the variance of a mean of cluster means, as
    in Donner and Klar, Design and Analysis of Cluster Randomization Trials (2000), with the normal approximation.
    """
    import numpy as np

    _, places, sizes = np.unique(cases, return_inverse=True, return_counts=True)
    n, means = len(sizes), np.bincount(places, differences) / sizes
    within = float(((differences - means[places]) ** 2).sum()) / max(1, len(differences) - n)
    total = float(means.var(ddof=1)) / n if n > 1 else within / len(differences)
    # in units of the variance that one more repeat of all cases takes a share of
    of_repeats = within / n / repeats if len(differences) > n else total
    wanted = (float(means.mean()) / detectable(1.0, alpha, sides=2)) ** 2 - max(0.0, total - of_repeats)
    if wanted <= 0:
        return None
    more = math.ceil(repeats * (of_repeats / wanted - 1))
    return max(1, more) if more <= most else None
