"""Intervals of percentiles and pass rates: against tables, by simulation, and what holds for every sample."""

from __future__ import annotations

import random
from itertools import combinations
from math import comb, inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmswitch.intervals import Interval, pass_at_k, pass_hat_k, pass_rate, quantile, samples_needed
from llmswitch.stats import median_interval, repeats_needed

times = st.lists(st.floats(min_value=0, max_value=1e6), min_size=1, max_size=300)
shares = st.sampled_from([0.01, 0.5, 0.9, 0.95, 0.99])


def tails(n: int, q: float, low: int, high: int) -> tuple[float, float]:
    """P(B < low) and P(B >= high) by their definition."""
    weights = [comb(n, k) * q**k * (1 - q) ** (n - k) for k in range(n + 1)]
    return sum(weights[:low]), sum(weights[high:])


@pytest.mark.parametrize(("q", "n"), [(0.5, 6), (0.9, 36), (0.95, 72), (0.99, 368)])
def test_a_sample_too_small_for_a_percentile_says_nothing_of_it(q: float, n: int) -> None:
    assert samples_needed(q) == n
    assert quantile(range(n - 1), q) is None
    assert quantile(range(n), q) is not None


def test_the_median_is_that_of_the_comparison() -> None:
    assert samples_needed(0.5) == repeats_needed()
    for n in range(6, 120):
        found = quantile(range(n), 0.5)
        assert found is not None
        assert found[1:] == median_interval(range(n))


@pytest.mark.parametrize(("q", "n"), [(0.9, 40), (0.9, 173), (0.95, 100), (0.95, 261), (0.99, 400), (0.99, 999)])
def test_the_ends_are_the_tightest_that_keep_to_the_level(q: float, n: int) -> None:
    found = quantile(range(1, n + 1), q)  # each value is its rank
    assert found is not None
    low, high = int(found.low), int(found.high)
    below, above = tails(n, q, low, high)
    assert below <= 0.025
    assert above <= 0.025
    assert tails(n, q, low + 1, high)[0] > 0.025
    assert tails(n, q, low, high - 1)[1] > 0.025


@pytest.mark.parametrize("q", [0.5, 0.9, 0.95])
def test_the_true_percentile_is_inside_as_often_as_is_said(q: float) -> None:
    source = random.Random(7)  # noqa: S311  # no secret
    rounds, held = 2000, 0
    for _ in range(rounds):
        found = quantile([source.random() for _ in range(120)], q)
        assert found is not None
        held += found.low <= q <= found.high
    assert held / rounds >= 0.94


@given(times, shares)
def test_an_estimate_is_a_value_that_was_seen_within_its_interval(values: list[float], q: float) -> None:
    found = quantile(values, q)
    if found is None:
        assert len(values) < samples_needed(q)
        return
    assert set(found) <= set(values)
    assert found.low <= found.value <= found.high
    assert sum(value <= found.value for value in values) >= q * len(values) - 1e-9
    assert sum(value < found.value for value in values) <= q * len(values)


def test_what_failed_took_longer_than_anything_that_did_not() -> None:
    values = [float(n) for n in range(1, 96)]
    found = quantile(values, 0.5, failed=5)
    assert found == quantile([*values, *[inf] * 5], 0.5)
    assert found == Interval(50, 40, 61)
    assert quantile(values, 0.95, failed=5) is None
    assert quantile([], 0.5, failed=100) is None
    assert quantile([], 0.5) is None


@pytest.mark.parametrize(("q", "confidence"), [(0, 0.95), (1, 0.95), (0.5, 0), (0.5, 1), (-1, 0.5)])
def test_what_is_no_share_is_refused(q: float, confidence: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        quantile([1.0], q, confidence=confidence)


@pytest.mark.parametrize(
    ("passed", "n", "low", "high"),
    # as Newcombe, Statistics in Medicine 17 (1998), table I, gives them for the score method
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_is_the_tables(passed: int, n: int, low: float, high: float) -> None:
    found = pass_rate(passed, n)
    assert found is not None
    assert found == pytest.approx(Interval(passed / n, low, high), abs=5e-5)


def test_nothing_judged_has_no_pass_rate() -> None:
    assert pass_rate(0, 0) is None


@pytest.mark.parametrize("n", [1, 4, 7])
def test_passes_of_k_are_the_shares_of_all_choices(n: int) -> None:
    for passed in range(n + 1):
        answers = [True] * passed + [False] * (n - passed)
        for k in range(1, n + 1):
            choices = list(combinations(answers, k))
            assert pass_at_k(passed, n, k) == pytest.approx(sum(map(any, choices)) / len(choices))
            assert pass_hat_k(passed, n, k) == pytest.approx(sum(map(all, choices)) / len(choices))


@pytest.mark.parametrize("k", [0, 4])
def test_of_fewer_answers_than_k_nobody_knows(k: int) -> None:
    assert pass_at_k(1, 3, k) is None
    assert pass_hat_k(1, 3, k) is None
