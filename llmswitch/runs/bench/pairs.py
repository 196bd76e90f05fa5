"""What two targets, or one on two nights, were both asked: side by side, and cut into units that are independent.

Scores and costs belong to cases, whose repeats may be alike: their units are cases, all repeats of one together; of
few cases, each with many repeats, parts of those. So do times, and they drift besides: slow minutes are slow for all
that is asked in them. They are cut a second time, into stretches of the run so long that what drifts within one is
mostly over in the next, and what is said of them must be true of both cuts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from llmswitch.differences import mean_of, quantile_of
from llmswitch.runs.bench.data import TargetData

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llmswitch.differences import Statistic

__all__ = ["Halves", "Pairs", "clusters", "column", "pair"]

#: units of times: few enough for each to outlast what drifts, enough for a test at a thousandth
_STRETCHES = 16
#: units of what belongs to cases: so few are split where there are repeats, so many are put together
_FEWEST, _MOST = 24, 100

_TIMES = {
    "duration": "duration_s",
    "scheduled": "scheduled_latency_s",
    "ttft": "time_to_first_token_s",
    "itl": "itl_s",
    "tokens_per_s": "output_tokens_per_s",
}
#: what comes and goes with the hour, and is cut into stretches of the run
_DRIFTING = frozenset({*_TIMES, "errors"})


def column(data: TargetData, metric: str) -> NDArray[Any]:
    """A target's samples of what a rule calls `metric`; NaN is unknown."""
    import numpy as np

    if metric in _TIMES:
        return np.asarray(data.times[_TIMES[metric]])
    if metric == "pass":
        passed = np.asarray(data.passed)
        return np.where(passed < 0, np.nan, passed)
    return np.asarray({"score": data.scores, "cost": data.costs, "errors": data.failed}[metric], dtype=float)


class Halves(NamedTuple):
    """A metric on both sides, of `number` units that have both: `units` tells of each value its unit, in b from
    `number` on. `sizes` are how many values a and b have."""

    values: NDArray[Any]
    units: NDArray[Any]
    number: int
    sizes: tuple[int, int]

    def mean(self) -> Statistic:
        """As `differences` takes it."""
        return mean_of(*self.totals())

    def quantile(self, q: float) -> Statistic:
        """As `differences` takes it."""
        return quantile_of(self.values, self.units, 2 * self.number, q)

    def totals(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Each unit's sum and number of values."""
        import numpy as np

        sums = np.bincount(self.units, self.values, minlength=2 * self.number)
        return sums, np.bincount(self.units, minlength=2 * self.number)


class Pairs(NamedTuple):
    """The samples of a and b that asked the same case for the same time, in the order in which a run asks: all cases,
    then all again. `rows` are their places in the columns of either."""

    a: TargetData
    b: TargetData
    rows: tuple[NDArray[Any], NDArray[Any]]
    cases: NDArray[Any]
    repeats: NDArray[Any]

    def both(self, metric: str) -> tuple[NDArray[Any], NDArray[Any]]:
        """The metric of each pair in a and in b."""
        return column(self.a, metric)[self.rows[0]], column(self.b, metric)[self.rows[1]]

    def cuts(self, metric: str) -> list[Halves]:
        """What is known of the metric on either side, in each way to cut it into units that are independent."""
        import numpy as np

        if metric not in _DRIFTING:
            return [self._halves(metric, clusters(self.cases, self.repeats))]
        number = len(self.cases)
        stretches = np.arange(number) * min(_STRETCHES, number) // max(1, number)
        if len(np.unique(self.repeats)) < 2:
            return [self._halves(metric, stretches)]
        return [self._halves(metric, units) for units in (stretches, clusters(self.cases, self.repeats, _STRETCHES))]

    def _halves(self, metric: str, units: NDArray[Any]) -> Halves:
        import numpy as np

        values = np.concatenate(self.both(metric))
        count = int(units.max()) + 1 if len(units) else 0
        units = np.concatenate([units, units + count])
        known = ~np.isnan(values)
        there = np.bincount(units[known], minlength=2 * count) > 0
        kept = np.flatnonzero(there[:count] & there[count:])
        numbers = np.full(2 * count, -1)
        numbers[kept], numbers[kept + count] = np.arange(len(kept)), np.arange(len(kept)) + len(kept)
        units = numbers[units]
        known &= units >= 0
        in_b = int((units[known] >= len(kept)).sum())
        return Halves(values[known], units[known], len(kept), (int(known.sum()) - in_b, in_b))


def clusters(cases: NDArray[Any], repeats: NDArray[Any] | None = None, most: int = _MOST) -> NDArray[Any]:
    """The unit of each sample, by its case. More cases than `most` share units with their neighbours; given their
    `repeats`, few are split by those, into stretches that follow each other."""
    import numpy as np

    found, places = np.unique(cases, return_inverse=True)
    number = len(found)
    if number > most:
        return places * most // number
    if repeats is None or not 0 < number < _FEWEST:
        return places
    asked, ranks = np.unique(repeats, return_inverse=True)
    parts = min(len(asked), -(-_FEWEST // number))
    return places * parts + ranks * parts // len(asked)


def pair(a: TargetData, b: TargetData, renumbered: Sequence[int] | None = None) -> Pairs:
    """What was asked of both. `renumbered` tells of each of b's case numbers what it is among a's, -1 for none."""
    import numpy as np

    cases = [np.asarray(a.cases), np.asarray(b.cases)]
    if renumbered is not None:
        cases[1] = np.asarray(renumbered, dtype=int)[cases[1]]
    there = np.flatnonzero(cases[1] >= 0)
    if not len(cases[0]) or not len(there):
        nothing = np.array([], dtype=int)
        return Pairs(a, b, (nothing, nothing), nothing, nothing)
    width = int(max(case.max() for case in cases)) + 1
    asked = (np.asarray(a.repeats) * width + cases[0], (np.asarray(b.repeats) * width + cases[1])[there])
    common, in_a, in_b = np.intersect1d(*asked, return_indices=True)
    return Pairs(a, b, (in_a, there[in_b]), common % width, common // width)
