"""What targets are ranked by: how each measure is read, shown and compared, over one asking or several.

Several askings are compared round by round, since what drifts in the meantime hits both of a pair. Two targets are
called different where the interval of the median ratio leaves out 1, at a confidence that holds for all pairs of
the measure at once (Bonferroni: the leader is chosen after the fact).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from statistics import median
from typing import Any, NamedTuple, cast

from llmswitch.reports.rows import UNKNOWN, money, seconds
from llmswitch.runs.compare import Comparison
from llmswitch.stats import median_interval, ratios, repeats_needed
from llmswitch.types import Response

__all__ = [
    "COST",
    "LATENCY",
    "MEASURES",
    "Difference",
    "Measure",
    "Standing",
    "differences",
    "first_call",
    "is_whole",
    "leader",
    "standings",
]

#: an answer that ended otherwise, a refusal among them, is no rival for being the fastest or the cheapest
_WHOLE = ("stop", "length")
_CONFIDENCE = 0.95

Number = float | Decimal


class Measure(NamedTuple):
    """A column that is ranked: how to read it off a response, how to show it, and what to call what is not best."""

    name: str
    title: str
    read: Callable[[Response], Number | None]
    show: Callable[[Any], str]
    worse: str
    #: what goes between `worse` and the name of the best
    than: str = "than"
    exact: Callable[[Response], bool] = lambda response: True
    more_is_better: bool = False
    #: whether it is a time, which an answer from the cache has none of
    timed: bool = True

    def shown(self, value: Number | None, *, exact: bool = True) -> str:
        """The value as text; unknown is a dash, what was assumed in it a '~' before it."""
        text = self.show(value)
        return text if exact or value is None else f"~{text}"


def first_call(response: Response) -> Response:
    """The call in which the answer was given: of one from the cache, the one whose tokens and cost it had."""
    return response.original if response.cached and response.original else response


def _dollars(response: Response) -> Decimal | None:
    cost = first_call(response).cost
    return cost.amount if cost else None


def _is_exact(response: Response) -> bool:
    cost = first_call(response).cost
    return cost is None or cost.exact


def _rates(value: float | None) -> str:
    """`87.2`, `1,204`; unknown is a dash."""
    return UNKNOWN if value is None else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


LATENCY = Measure("duration_s", "latency", lambda r: r.duration_s, seconds, "slower")
COST = Measure("cost", "cost", _dollars, money, "the cost", "of", exact=_is_exact, timed=False)
MEASURES = (
    Measure("time_to_first_token_s", "TTFT", lambda r: r.timing.time_to_first_token_s, seconds, "slower"),
    LATENCY,
    Measure("output_tokens_per_s", "tokens/s", lambda r: r.output_tokens_per_s, _rates, "slower", more_is_better=True),
    COST,
)


class Standing(NamedTuple):
    """One target by one measure: its values by repeat. Only whole answers count, and for times none from the cache."""

    target: str
    measure: Measure
    values: Mapping[int, Number]
    exact: bool = True

    @property
    def middle(self) -> Number | None:
        """The median; None without a value."""
        # all of one measure are floats, or all Decimals, which median() cannot know
        return median(cast(Iterable[float], self.values.values())) if self.values else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Where the median lies, with a confidence of 95 %; None where there are too few values to say."""
        return median_interval([float(value) for value in self.values.values()], _CONFIDENCE)


class Difference(NamedTuple):
    """How far `worse` is from `better`: the median of the ratios of the rounds that both answered, and its interval.

    Ratios are of the worse to the better, 1 and more; infinite where the better is free and the worse is not.
    `ratio` is None where no round was answered by both, `low` and `high` where `rounds` are fewer than `needed`.
    """

    measure: Measure
    better: str
    worse: str
    rounds: int
    needed: int
    ratio: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def shown(self) -> bool:
        """Whether the interval says that `worse` really is."""
        return self.low is not None and self.low > 1


def standings(comparison: Comparison, measure: Measure) -> tuple[Standing, ...]:
    """Every target's, in their order."""
    return tuple(_standing(comparison, target, measure) for target in comparison.targets)


def _standing(comparison: Comparison, target: str, measure: Measure) -> Standing:
    counted = {
        sample.repeat: sample.response
        for sample in comparison.of(target)
        if sample.response is not None and _counts(sample.response, measure)
    }
    values = {repeat: measure.read(response) for repeat, response in counted.items()}
    return Standing(
        target,
        measure,
        {repeat: value for repeat, value in values.items() if value is not None},
        all(measure.exact(response) for response in counted.values()),
    )


def _counts(response: Response, measure: Measure) -> bool:
    return is_whole(response) and not (measure.timed and response.cached)


def is_whole(response: Response) -> bool:
    """Whether it is an answer to be ranked: not cut by an error or a filter, and not empty."""
    return response.finish_reason in _WHOLE and bool(response.text.strip())


def leader(ranked: tuple[Standing, ...]) -> Standing | None:
    """The best by median, the first of equals; None where no target has a value."""
    known = [standing for standing in ranked if standing.middle is not None]
    if not known:
        return None
    sign = -1 if known[0].measure.more_is_better else 1
    return min(known, key=lambda standing: sign * (standing.middle or 0))


def differences(ranked: tuple[Standing, ...]) -> tuple[Difference, ...]:
    """Each other target against the leader, over the rounds that both answered."""
    best = leader(ranked)
    known = [standing for standing in ranked if standing.values]
    pairs = len(known) * (len(known) - 1) // 2
    confidence = 1 - (1 - _CONFIDENCE) / max(1, pairs)
    return tuple(_difference(best, other, confidence) for other in known if best is not None and other is not best)


def _difference(best: Standing, other: Standing, confidence: float) -> Difference:
    rounds = [repeat for repeat in best.values if repeat in other.values]
    over, under = (best, other) if best.measure.more_is_better else (other, best)
    times = ratios([float(over.values[n]) for n in rounds], [float(under.values[n]) for n in rounds])
    low, high = median_interval(times, confidence) or (None, None)
    return Difference(
        best.measure,
        best.target,
        other.target,
        rounds=len(rounds),
        needed=repeats_needed(confidence),
        ratio=median(times) if times else None,
        low=low,
        high=high,
    )
