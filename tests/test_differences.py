"""Differences of two samples: against textbooks and scipy, by simulation, and what holds for every sample."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test  # type: ignore[import-untyped]  # scipy has no types

from llmswitch.differences import (
    detectable,
    difference,
    holm,
    mean_of,
    quantile_of,
    rank_test,
    repeats_needed,
)
from llmswitch.intervals import clustered_mean, quantile

#: Darwin's maize: by how many eighths of an inch the crossed plant of each pair is higher than the self-fertilised one
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
numbers = st.lists(st.integers(0, 9), min_size=2, max_size=12)


def test_darwins_maize_is_fishers() -> None:
    # of the 32,768 ways to give the differences their signs 863 sum up to as much: Fisher, The Design of Experiments,
    # 8th ed., section 21
    found = difference(mean_of(np.array([0.0] * 15 + DARWIN), np.ones(30)), 15, alternative="greater")
    assert found.p == pytest.approx(863 / 2**15, abs=0.006)
    assert found.effect == pytest.approx(np.mean(DARWIN))
    assert found.low is not None
    assert found.high is not None
    assert found.low < 20.9 < found.high


def test_where_all_swaps_can_be_made_the_p_value_is_their_share() -> None:
    differences = np.array(DARWIN[:10], dtype=float)
    signs = np.array([[1 if number >> bit & 1 else -1 for bit in range(10)] for number in range(2**10)])
    expected = np.mean((signs * differences).sum(axis=1) >= differences.sum() - 1e-9)
    found = difference(mean_of(np.concatenate([np.zeros(10), differences]), np.ones(20)), 10, alternative="greater")
    assert found.p == pytest.approx(expected)


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("count", [8, 60])
def test_the_p_value_is_scipys(count: int, alternative: Literal["two-sided", "greater", "less"]) -> None:
    differences = np.random.default_rng(count).normal(0.15, 1, count)
    ours = difference(
        mean_of(np.concatenate([np.zeros(count), differences]), np.ones(2 * count)), count, alternative=alternative
    )
    theirs = permutation_test(
        (differences,), np.mean, permutation_type="samples", vectorized=False, alternative=alternative, rng=1
    )
    assert ours.p == pytest.approx(theirs.pvalue, abs=1e-12 if count == 8 else 0.015)


def test_the_same_seed_is_the_same_difference() -> None:
    drawn = np.random.default_rng(1)
    statistic = mean_of(drawn.normal(size=80), np.ones(80))
    assert difference(statistic, 40, seed=3) == difference(statistic, 40, seed=3)
    assert difference(statistic, 40, seed=3) != difference(statistic, 40, seed=4)


@given(numbers, st.data())
@settings(deadline=None, max_examples=25)
def test_what_is_the_same_differs_by_nothing_and_the_sides_can_be_exchanged(a: list[int], data: st.DataObject) -> None:
    b = data.draw(st.lists(st.integers(0, 9), min_size=len(a), max_size=len(a)))
    ones = np.ones(2 * len(a))
    same = difference(mean_of(np.array([*a, *a], dtype=float), ones), len(a))
    assert (same.effect, same.low, same.high, same.error, same.p) == (0, 0, 0, 0, 1)
    there = difference(mean_of(np.array([*a, *b], dtype=float), ones), len(a))
    back = difference(mean_of(np.array([*b, *a], dtype=float), ones), len(a))
    assert there.effect == pytest.approx(-(back.effect or 0.0))
    assert there.p == pytest.approx(back.p, abs=0.02)
    assert 0 < there.p <= 1
    assert (there.low or 0.0) <= (there.effect or 0.0) + 1e-12
    assert (there.effect or 0.0) <= (there.high or 0.0) + 1e-12


def test_a_share_of_nothing_is_none_and_nothing_of_nothing_no_change() -> None:
    grown = difference(mean_of(np.array([0.0, 0, 1, 2]), np.ones(4)), 2, relative=True)
    assert (grown.effect, grown.low, grown.high) == (None, None, None)
    assert difference(mean_of(np.zeros(4), np.ones(4)), 2, relative=True).effect == 0
    one = difference(mean_of(np.array([2.0, 3]), np.ones(2)), 1)
    assert (one.effect, one.low, one.p) == (1, None, 1)


@given(st.lists(st.integers(0, 40), min_size=36, max_size=200), st.sampled_from([0.5, 0.9, 0.95]))
@settings(deadline=None, max_examples=60)
def test_a_quantile_of_units_is_that_of_their_values(values: list[int], q: float) -> None:
    units = np.arange(len(values)) % 7
    statistic = quantile_of(np.array(values, dtype=float), units, 7, q)
    chosen = np.array([[0, 1, 2, 3, 4, 5, 6], [0, 0, 3, 3, 3, 6, 2]])
    for row, found in zip(chosen, statistic(chosen), strict=True):
        taken = sorted(value for unit in row for value, of in zip(values, units, strict=True) if of == unit)
        assert found == taken[math.ceil(round(q * len(taken), 9)) - 1]
    whole = quantile([float(value) for value in values], q)
    if whole is not None:
        assert statistic(np.arange(7)) == whole.value


def test_where_nothing_changed_the_test_of_a_tail_finds_so_as_seldom_as_it_says() -> None:
    """Heavy-tailed times of 12 cases, half of which take the very same time in all of a night's repeats; 120 nights."""
    drawn, found = np.random.default_rng(5), 0
    units = np.repeat(np.arange(24), 5)
    for _ in range(120):
        medians = np.tile(drawn.normal(0, 0.5, 12), 2)
        noise = drawn.standard_t(3, (24, 5)) * 0.3
        alike = drawn.random(24) < 0.5
        noise[alike] = noise[alike][:, :1]
        times = np.exp(medians[:, None] + noise).ravel()
        found += difference(quantile_of(times, units, 24, 0.9), 12, alternative="greater").p <= 0.05
    assert 0.01 <= found / 120 <= 0.09  # 0.05 and two standard errors


def test_an_interval_of_a_clustered_mean_covers_it_as_often_as_it_says() -> None:
    drawn, held = np.random.default_rng(11), 0
    for _ in range(500):
        cases = drawn.normal(0, 1, 12)
        sums = (cases[:, None] + drawn.normal(0, 0.3, (12, 5))).sum(axis=1)
        found = clustered_mean(sums, np.full(12, 5.0))
        assert found is not None
        held += found.low <= 0 <= found.high
    assert 0.92 <= held / 500 <= 0.98


def test_wilcoxons_test_is_the_tables() -> None:
    # the smaller sum of ranks is 24 of Darwin's 15: two-sided 0.041, as Conover's table A12 brackets it (0.02 to 0.05)
    assert rank_test(np.array(DARWIN, dtype=float)) == pytest.approx(0.0413, abs=5e-4)
    assert rank_test(np.zeros(8)) == 1
    assert rank_test(np.array([0.0, 0, 1, 2, 3, 4, 5, 6])) < 0.06


def test_holms_correction_is_the_example_of_his_method() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.7, 0.9]) == [1, 1]


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_keeps_the_order_and_is_between_the_value_and_bonferronis(ps: list[float]) -> None:
    corrected = holm(ps)
    for p, new in zip(ps, corrected, strict=True):
        assert p <= new <= min(1, p * len(ps)) + 1e-12
    assert [new for _, new in sorted(zip(ps, corrected, strict=True))] == sorted(corrected)


def test_what_can_be_told_is_told_as_often_as_is_said() -> None:
    # one-sided 5 % and 80 %: 1.645 + 0.842 standard errors
    assert detectable(1.0, 0.05) == pytest.approx(2.4865, abs=1e-4)
    assert detectable(2.0, 0.05, sides=2) == pytest.approx(2 * 2.8016, abs=1e-3)


def test_repeats_settle_what_varies_within_cases_and_not_what_varies_between_them() -> None:
    cases = np.repeat(np.arange(20), 4)
    sign = np.tile([1.0, -1, 1, -1], 20)
    # of variance 1 * 80 / 60 within cases and none between: 7.85 / 0.25^2 / (4 / 3)^-1 samples, 8.4 a case
    needed = repeats_needed(0.25 + sign, cases, 4, alpha=0.05)
    assert needed == math.ceil(2.8016**2 / 0.25**2 * (4 / 3) / 20) - 4
    between = np.where(cases % 2 == 0, 1.0, -1.0)
    assert repeats_needed(0.05 + between + 0.01 * sign, cases, 4, alpha=0.05) is None
    assert repeats_needed(0.001 + sign, cases, 4, alpha=0.05) is None  # over 10,000
    assert repeats_needed(np.zeros(80), cases, 4, alpha=0.05) is None
    assert repeats_needed(0.5 + np.tile([1.0, -1.0], 10), np.arange(20), 1, alpha=0.05) == 1
