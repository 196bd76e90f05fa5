"""One rule held against one target: how far off it is, and how likely by chance. The gate makes verdicts of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from llmswitch.differences import Difference, difference, mean_of
from llmswitch.intervals import Interval, pass_rate, quantile, samples_needed
from llmswitch.runs.bench.data import TargetData
from llmswitch.runs.bench.figures import mean_interval
from llmswitch.runs.bench.pairs import Halves, Pairs, clusters, column
from llmswitch.runs.bench.rules import Rule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Finding", "against_baseline", "against_bound"]

#: how many standard errors a 95 % interval is wide
_WIDTH = 3.92


class Finding(NamedTuple):
    """What a rule found. `seen` says it in words; `missing`, instead, why nothing can be found.

    `effect`, `low`, `high` and its standard error `error` are in the unit of `Rule.limit`; `p` is of the test that
    nothing changed, or that the bound is kept, not corrected yet.
    """

    effect: float | None = None
    low: float | None = None
    high: float | None = None
    error: float | None = None
    p: float | None = None
    exceeded: bool = False
    seen: str = ""
    missing: str = ""


def against_baseline(rule: Rule, pairs: Pairs) -> Finding:
    """The change from `pairs.a`, the baseline's samples, to `pairs.b`, the run's."""
    cuts = pairs.cuts(rule.metric)
    missing = _missing(rule, min(min(halves.sizes) for halves in cuts), "in each run")
    if missing:
        return Finding(missing=missing)
    found = _widest([_change(rule, halves) for halves in cuts])
    if found.effect is None:
        # a share of nothing: whatever there is now is more than any share
        return _found(rule, found, (found.b - found.a) * rule.worse > 0)
    return _found(rule, found, rule.exceeds(found.effect))


def _change(rule: Rule, halves: Halves) -> Difference:
    statistic = halves.mean() if rule.q is None else halves.quantile(rule.q)
    # on both sides, as the interval is: one that fails has no room in it for no change, and half of alpha is in hand
    return difference(statistic, halves.number, relative=rule.kind == "share")


def _widest(found: Sequence[Difference]) -> Difference:
    """What is true whichever way the samples are cut: the least sure of all."""
    return max(found, key=lambda one: one.error or 0.0)._replace(p=max(one.p for one in found))


def _found(rule: Rule, found: Difference, exceeded: bool) -> Finding:
    change = f"from {rule.show(found.a)} to {rule.show(found.b)}"
    if found.effect is not None:
        change += f", {rule.show_effect(found.effect)}"
    if found.low is not None and found.high is not None:
        change += f" (95 % interval {rule.show_effect(found.low)} to {rule.show_effect(found.high)})"
    return Finding(*found[2:6], found.p, exceeded, f"went {change}")


def against_bound(rule: Rule, data: TargetData) -> Finding:
    """The value itself, held against what it may be at worst."""
    import numpy as np

    values = column(data, rule.metric)
    known = ~np.isnan(values)
    missing = _missing(rule, int(known.sum()), "in the run")
    if missing:
        return Finding(missing=missing)
    value = _value(rule, data, values[known])
    assert value is not None  # noqa: S101  # there are enough for one
    cases, repeats = np.asarray(data.cases)[known], np.asarray(data.repeats)[known]
    counted = rule.q is not None or rule.metric in ("pass", "errors")
    p = _counted(rule, values[known]) if counted else _resampled(rule, values[known], clusters(cases, repeats))
    low, high = (end if np.isfinite(end) else None for end in value[1:])
    error = None if low is None or high is None else (high - low) / _WIDTH
    seen = f"is {rule.show(value.value)}"
    if low is not None and high is not None:
        seen += f" (95 % interval {rule.show(low)} to {rule.show(high)})"
    return Finding(value.value, low, high, error, p, rule.exceeds(value.value), seen)


def _value(rule: Rule, data: TargetData, values: NDArray[np.float64]) -> Interval | None:
    if rule.q is not None:
        return quantile(values.tolist(), rule.q)
    if rule.metric in ("pass", "errors"):
        return pass_rate(int(values.sum()), len(values))
    return mean_interval(data, rule.metric, share=rule.metric == "score")


def _counted(rule: Rule, values: NDArray[np.float64]) -> float:
    """The chance of so many bad samples, or more, where the bound is just kept: of a rate those that failed, of a
    quantile those beyond the bound. Cases that differ only make chance smaller. Source: Conover, Practical
    Nonparametric Statistics, 3rd ed., section 3.2, quantile test; Hoeffding, On the distribution of the number of
    successes in independent trials, Ann. Math. Stat. 27 (1956)."""
    from scipy.stats import binomtest  # type: ignore[import-untyped]  # scipy has no types

    if rule.q is None:
        bad, rate = (values > 0.5) == (rule.worse > 0), rule.limit if rule.worse > 0 else 1 - rule.limit
    else:
        bad, rate = (values - rule.limit) * rule.worse > 0, 1 - rule.q if rule.worse > 0 else rule.q
    return float(binomtest(int(bad.sum()), len(values), rate, alternative="greater").pvalue)


def _resampled(rule: Rule, values: NDArray[np.float64], units: NDArray[np.intp]) -> float:
    """As the test of a change, from a baseline that keeps to the bound in every case."""
    import numpy as np

    if rule.metric == "score" and rule.limit >= 1 and values.min() < 1:
        return 0.0  # no sample below 1 is needed but one to show that the mean is
    units = np.unique(units, return_inverse=True)[1]
    sums, counts = np.bincount(units, values), np.bincount(units)
    statistic = mean_of(np.concatenate([counts * rule.limit, sums]), np.concatenate([counts, counts]))
    return difference(statistic, len(sums), alternative="greater" if rule.worse > 0 else "less").p


def _missing(rule: Rule, known: int, where: str) -> str:
    """Why so few samples say nothing; nothing where they are enough."""
    needed = 1 if rule.q is None else samples_needed(rule.q)
    if known >= needed:
        return ""
    if known == 0:
        return f"{rule.name} is known of no sample {where}"
    return f"{rule.name} takes at least {needed} samples {where}, and there are {known}"
