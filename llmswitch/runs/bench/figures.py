"""What `run.json` says of each target, and of each two of them: worked out from a run's rows alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

from llmswitch.differences import difference, holm, rank_test, repeats_needed
from llmswitch.intervals import Interval, clustered_mean, pass_at_k, pass_hat_k, pass_rate, quantile
from llmswitch.runs.bench.data import TIMES, RunData, TargetData
from llmswitch.runs.bench.document import ComparisonDocument, IntervalDocument, Percentiles, TargetDocument
from llmswitch.runs.bench.model import Slo
from llmswitch.runs.bench.pairs import Pairs, clusters, column, pair

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TargetHead", "comparison_documents", "good_samples", "mean_interval", "target_documents"]

_PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
_ATTEMPTS = (1, 2, 3, 5, 10)


class TargetHead(NamedTuple):
    """What a target is, as far as its rows do not say it."""

    provider: str
    request_model: str
    base_url: str = ""
    parameters: Mapping[str, Any] = {}


def target_documents(
    data: RunData, heads: Mapping[str, TargetHead], *, measured_s: float, slo: Slo | None = None
) -> list[TargetDocument]:
    """Each target's figures, in the order of `heads`, by its text as typed; one without a sample is there as well.
    `measured_s` are the seconds during which requests were offered."""
    return [
        _document(target, head, data.targets.get(target, TargetData()), measured_s, slo)
        for target, head in heads.items()
    ]


def _document(target: str, head: TargetHead, data: TargetData, measured_s: float, slo: Slo | None) -> TargetDocument:
    good = None if slo is None else good_samples(data, slo)
    failed = sum(data.failed)
    times: dict[str, Percentiles] = {name: _percentiles(data.times[name]) for name in TIMES}
    judged = len(data.passed) - data.passed.count(-1)
    at_k, hat_k = _passes_of_k(data)
    return TargetDocument(
        target=target,
        provider=head.provider,
        request_model=head.request_model,
        base_url=head.base_url,
        parameters=dict(head.parameters),
        requests=data.requests,
        samples=len(data),
        errors=dict(data.errors),
        ungraded=sum(passed < 0 and not failed for passed, failed in zip(data.passed, data.failed, strict=True)),
        retries=data.retries,
        finish_reasons=dict(data.finish_reasons),
        duration_s=times["duration_s"],
        adjusted_duration_s=_percentiles(data.times["duration_s"], failed) if failed else times["duration_s"],
        scheduled_latency_s=times["scheduled_latency_s"],
        time_to_first_token_s=times["time_to_first_token_s"],
        itl_s=times["itl_s"],
        output_tokens_per_s=times["output_tokens_per_s"],
        pass_rate=_interval(pass_rate(data.passed.count(1), judged)),
        pass_at_k=at_k,
        pass_hat_k=hat_k,
        score=_interval(mean_interval(data, "score", share=True)),
        cost=_cost(data),
        usage=data.usage,
        goodput_rps=None if good is None or not measured_s else good / measured_s,
        good_fraction=None if good is None or not len(data) else good / len(data),
    )


def _percentiles(values: Any, failed: int = 0) -> Percentiles:
    import numpy as np

    known = np.asarray(values)
    # in order already: what sorts it again finds that out at once
    ordered = np.sort(known[~np.isnan(known)]).tolist()
    return {name: _interval(quantile(ordered, q, failed=failed)) for name, q in _PERCENTILES.items()}


def _interval(found: Interval | None) -> IntervalDocument | None:
    return None if found is None else IntervalDocument(value=found.value, low=found.low, high=found.high)


def _cost(data: TargetData) -> dict[str, Any] | None:
    if not data.priced:
        return None
    amount = format(data.cost.normalize(), "f")
    return {"amount": amount, "currency": data.currency, "exact": data.exact, "samples": data.priced}


def mean_interval(data: TargetData, metric: str, *, share: bool) -> Interval | None:
    """The mean of what is known of the metric; repeats of one case are taken for one measurement."""
    import numpy as np

    values = column(data, metric)
    known = ~np.isnan(values)
    units = clusters(np.asarray(data.cases)[known])
    counts = np.bincount(units)
    return clustered_mean(np.bincount(units, values[known]), counts, share=share)


def _passes_of_k(data: TargetData) -> tuple[dict[str, float], dict[str, float]]:
    """pass@k and pass^k, the means over all cases that were judged k times or more."""
    import numpy as np

    passed, cases = np.asarray(data.passed), np.asarray(data.cases)
    if not (passed >= 0).any():
        return {}, {}
    judged = np.bincount(cases[passed >= 0], minlength=1)
    passes = np.bincount(cases[passed == 1], minlength=len(judged))
    # as a rule few kinds of cases, however many there are of each
    kinds, many = np.unique(np.stack([passes, judged]), axis=1, return_counts=True)
    tallies = [(int(c), int(n), int(size)) for (c, n), size in zip(kinds.T, many, strict=True) if n]
    most = max(n for _, n, _ in tallies)
    of_k = sorted({k for k in _ATTEMPTS if k <= most} | {most})
    return {str(k): _mean_of_k(pass_at_k, tallies, k) for k in of_k}, {
        str(k): _mean_of_k(pass_hat_k, tallies, k) for k in of_k
    }


def _mean_of_k(chance: Any, tallies: list[tuple[int, int, int]], k: int) -> float:
    found = [(chance(c, n, k), size) for c, n, size in tallies if n >= k]
    return math.fsum(value * size for value, size in found) / sum(size for _, size in found)


def good_samples(data: TargetData, slo: Slo) -> int | None:
    """How many samples meet every bound; one that failed meets none. None where a bound is on what is known of none.

    Latency counts from when a request was due, where it was due at a time. What is unknown of one answer alone, such as
    the gap between the tokens of an answer of one token, breaks no bound.
    """
    import numpy as np

    scheduled = column(data, "scheduled")
    latency = np.where(np.isnan(scheduled), column(data, "duration"), scheduled)
    good = np.asarray(data.failed) == 0
    for bound, values in ((slo.ttft_s, column(data, "ttft")), (slo.itl_s, column(data, "itl")), (slo.e2e_s, latency)):
        if bound is None:
            continue
        if good.any() and np.isnan(values[good]).all():
            return None
        good &= ~(values > bound)
    return int(good.sum())


class _Compared(NamedTuple):
    """One comparison before it is corrected for the others. `b_is_more` tells which way b is off."""

    a: str
    b: str
    metric: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    b_is_more: bool = False


#: 1 where more is better
_BETTER = {"score": 1, "cost": -1, "duration": -1}


def comparison_documents(data: RunData, alpha: float = 0.05, *, timed: bool = True) -> list[ComparisonDocument]:
    """Each two targets, by score, cost and, where samples are `timed`, duration, on the cases that both were asked.

    `verdict` is of b against a: `better`, `worse`, `undecided`, or `unknown` where nothing is there to compare. Score
    and cost: the difference of the means, its interval by the paired bootstrap, its p-value by swapping the two
    targets' answers within cases. Duration: the ratio of geometric means, its interval by the same bootstrap, its
    p-value by Wilcoxon's signed-rank test on the log ratios, as times have tails and an outlier must not decide.
    """
    pairs = {(a, b): pair(data.targets[a], data.targets[b]) for a, b in combinations(data.targets, 2)}
    found = [
        _compare(a, b, metric, both)
        for (a, b), both in pairs.items()
        for metric in _BETTER
        if timed or metric != "duration"
    ]
    tested = [one for one in found if one.p is not None]
    corrected = dict(zip(map(id, tested), holm([one.p for one in tested if one.p is not None]), strict=True))
    return [_comparison(one, corrected.get(id(one)), pairs[one.a, one.b], alpha, len(tested)) for one in found]


def _compare(a: str, b: str, metric: str, both: Pairs) -> _Compared:
    if metric == "duration":
        return _compare_durations(a, b, both)
    (halves,) = both.cuts(metric)
    if not halves.number:
        return _Compared(a, b, metric)
    found = difference(halves.mean(), halves.number, relative=metric == "cost")
    return _Compared(a, b, metric, found.effect, found.low, found.high, found.p, found.b > found.a)


def _compare_durations(a: str, b: str, both: Pairs) -> _Compared:
    import numpy as np

    ratios, known = _differences(both, "duration")
    if not len(ratios):
        return _Compared(a, b, "duration")
    units = np.unique(clusters(both.cases, both.repeats)[known], return_inverse=True)[1]
    sums, counts = np.bincount(units, ratios), np.bincount(units)
    mean = clustered_mean(sums, counts)
    assert mean is not None  # noqa: S101  # there is a unit
    effect, low, high = (math.expm1(end) if math.isfinite(end) else None for end in mean)
    return _Compared(a, b, "duration", effect, low, high, rank_test(sums / counts), mean.value > 0)


def _differences(both: Pairs, metric: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """b - a of each pair of which both is known, of the logarithms where it is a time; and which pairs those are."""
    import numpy as np

    in_a, in_b = both.both(metric)
    if metric == "duration":
        # a clock that stood still measured no ratio
        in_a, in_b = (np.log(np.where(side > 0, side, np.nan)) for side in (in_a, in_b))
    apart = in_b - in_a
    known = ~np.isnan(apart)
    return apart[known], known


def _comparison(one: _Compared, p: float | None, both: Pairs, alpha: float, tests: int) -> ComparisonDocument:
    verdict, needed = "unknown", None
    if p is not None and p < alpha:
        verdict = "better" if one.b_is_more == (_BETTER[one.metric] > 0) else "worse"
    elif p is not None:
        verdict = "undecided"
        apart, known = _differences(both, one.metric)
        repeats = len(set(both.repeats.tolist()))
        if len(apart):
            needed = repeats_needed(apart, both.cases[known], repeats, alpha=alpha / tests)
    return ComparisonDocument(
        a=one.a,
        b=one.b,
        metric=one.metric,
        effect=one.effect,
        low=one.low,
        high=one.high,
        p=p,
        verdict=verdict,
        repeats_needed=needed,
    )
