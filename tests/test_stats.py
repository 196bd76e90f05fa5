"""Intervals of the median: against tables, by simulation, and what holds for every sample."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from math import comb
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmswitch.stats import median_interval, ratios, repeats_needed

times = st.floats(min_value=1e-6, max_value=1e6)
samples = st.lists(times, min_size=6, max_size=60)


@pytest.mark.parametrize(
    ("n", "confidence", "rank"),
    # as tables of the two-sided sign test have them, at 95 % and 99 %
    [
        *((6, 0.95, 1), (8, 0.95, 1), (9, 0.95, 2), (11, 0.95, 2), (12, 0.95, 3), (15, 0.95, 4), (17, 0.95, 5)),
        *((20, 0.95, 6), (25, 0.95, 8), (30, 0.95, 10), (50, 0.95, 18), (100, 0.95, 40)),
        *((8, 0.99, 1), (11, 0.99, 1), (12, 0.99, 2), (20, 0.99, 4), (25, 0.99, 6), (50, 0.99, 16)),
    ],
)
def test_the_ranks_are_the_tables(n: int, confidence: float, rank: int) -> None:
    assert median_interval(list(range(1, n + 1)), confidence) == (rank, n + 1 - rank)


@pytest.mark.parametrize(("confidence", "n"), [(0.5, 2), (0.9, 5), (0.95, 6), (0.96875, 6), (0.99, 8), (0.999, 11)])
def test_too_few_values_give_no_interval_and_one_more_gives_one(confidence: float, n: int) -> None:
    assert repeats_needed(confidence) == n
    assert median_interval(list(range(n - 1)), confidence) is None
    assert median_interval(list(range(n)), confidence) == (0, n - 1)


def test_no_value_gives_no_interval() -> None:
    assert median_interval([]) is None
    assert ratios([], []) == []


@given(st.integers(6, 400), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_it_is_the_narrowest_pair_of_ranks_that_covers_enough(n: int, confidence: float) -> None:
    interval = median_interval(list(range(1, n + 1)), confidence)
    if interval is None:
        assert n < repeats_needed(confidence)
        return
    rank = int(interval[0])

    def coverage(k: int) -> float:
        return 1 - 2 * float(Fraction(sum(comb(n, i) for i in range(k)), 2**n))

    assert coverage(rank) >= confidence - 1e-12
    assert coverage(rank + 1) < confidence


@pytest.mark.parametrize("n", [6, 9, 20, 35])
def test_on_skewed_times_it_covers_the_true_median_as_often_as_it_says(n: int) -> None:
    """Lognormal with a heavy tail, whose median is 1."""
    drawn = random.Random(2026 + n)  # noqa: S311  # the same in every run
    rounds, hits = 4000, 0
    for _ in range(rounds):
        interval = median_interval([drawn.lognormvariate(0, 1.5) for _ in range(n)])
        assert interval is not None
        hits += interval[0] <= 1 <= interval[1]
    # the exact coverage of these n is 0.957 to 0.969; three standard errors of a simulation are 0.011
    assert 0.95 <= hits / rounds < 0.985


def test_targets_that_do_not_differ_are_called_different_as_seldom_as_it_says() -> None:
    """Both drift together from round to round, by far more than they differ."""
    drawn = random.Random(7)  # noqa: S311  # the same in every run
    rounds, wrong = 2000, 0
    for _ in range(rounds):
        drift = [drawn.lognormvariate(0, 2) for _ in range(12)]
        ours = [d * drawn.lognormvariate(0, 0.3) for d in drift]
        theirs = [d * drawn.lognormvariate(0, 0.3) for d in drift]
        interval = median_interval(ratios(ours, theirs))
        assert interval is not None
        wrong += not interval[0] <= 1 <= interval[1]
    assert 0 < wrong / rounds <= 0.05


def test_what_drifts_in_both_does_not_hide_a_difference() -> None:
    drift = [1.0, 50.0, 3.0, 200.0, 7.0, 900.0]
    low, high = median_interval(ratios([d * 1.2 for d in drift], drift)) or (0, 0)
    assert low == pytest.approx(1.2)
    assert high == pytest.approx(1.2)


def test_beside_what_is_nothing_a_ratio_has_no_end() -> None:
    assert ratios([2.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 2.0]) == [2, math.inf, 1, 0]
    assert median_interval(ratios([1.0] * 6, [0.0] * 6)) == (math.inf, math.inf)


def test_pairs_that_are_none_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0] * 7, [1.0] * 6)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -0.5, 95.0])
def test_a_confidence_that_is_none_is_a_mistake_of_the_caller(confidence: float) -> None:
    for ask in (repeats_needed, lambda c: median_interval([1.0] * 9, c)):
        with pytest.raises(ValueError, match="between 0 and 1"):
            ask(confidence)


@given(samples)
def test_it_lies_within_the_sample_and_around_its_median(values: list[float]) -> None:
    low, high = median_interval(values) or (None, None)
    assert low in values
    assert high in values
    assert low <= median(values) <= high


@given(samples, st.randoms(use_true_random=False))
def test_the_order_of_the_values_does_not_matter(values: list[float], shuffled: random.Random) -> None:
    other = values.copy()
    shuffled.shuffle(other)
    assert median_interval(other) == median_interval(values)


@given(samples, st.sampled_from([0.25, 2.0, 1024.0]))
def test_another_unit_gives_the_same_interval_in_that_unit(values: list[float], factor: float) -> None:
    low, high = median_interval(values) or (0, 0)
    assert median_interval([value * factor for value in values]) == (low * factor, high * factor)
    assert set(ratios([value * factor for value in values], values)) == {factor}


def test_the_most_repeats_there_can_be_are_no_work() -> None:
    low, high = median_interval(list(range(10_000))) or (0, 0)
    assert (low, high) == (4901, 5098)
