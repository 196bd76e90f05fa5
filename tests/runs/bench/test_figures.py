"""Figures worked out from rows: against hand-counted answers, and against scipy where it has the same."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from llmswitch.intervals import pass_rate, quantile
from llmswitch.runs.bench.data import RunData
from llmswitch.runs.bench.document import ComparisonDocument, TargetDocument
from llmswitch.runs.bench.figures import TargetHead, comparison_documents, target_documents
from llmswitch.runs.bench.model import SampleRow, Slo

HEAD = TargetHead("openai", "gpt-6-luna", "http://127.0.0.1", {"temperature": 0.0})


def row(case: int, repeat: int = 0, target: str = "a", **fields: Any) -> SampleRow:
    return SampleRow(f"1.{case}", target, repeat, requests=1, **fields)


def figures(rows: list[SampleRow], slo: Slo | None = None) -> TargetDocument:
    (document,) = target_documents(RunData.read(rows), {"a": HEAD}, measured_s=20.0, slo=slo)
    json.dumps(document, allow_nan=False)
    return document


def test_times_are_of_answers_and_failures_take_for_ever_in_the_adjusted_ones() -> None:
    rows = [row(n, duration_s=float(n)) for n in range(1, 96)]
    found = figures(rows + [row(n, duration_s=0.01, error={"kind": "server"}) for n in range(96, 101)])
    alone, adjusted = quantile(range(1, 96), 0.5), quantile(range(1, 96), 0.5, failed=5)
    assert alone is not None
    assert adjusted is not None
    assert found["duration_s"]["p50"] == alone._asdict()
    assert found["adjusted_duration_s"]["p50"] == adjusted._asdict()
    assert found["duration_s"]["p95"] is not None
    assert found["adjusted_duration_s"]["p95"] is None  # it is one of the five that never came
    assert found["duration_s"]["p99"] is None
    assert found["itl_s"] == dict.fromkeys(["p50", "p90", "p95", "p99"])
    assert (found["samples"], found["errors"]) == (100, {"server": 5})


def test_a_target_without_a_sample_has_no_figure() -> None:
    found = figures([])
    assert (found["samples"], found["parameters"]) == (0, {"temperature": 0.0})
    for name in ("pass_rate", "score", "cost", "goodput_rps", "good_fraction"):
        assert found[name] is None
    assert (found["pass_at_k"], found["pass_hat_k"]) == ({}, {})


def test_passes_of_k_are_the_means_over_cases_that_were_judged_as_often() -> None:
    passes: dict[int, list[bool | None]] = {1: [True] * 4, 2: [False] * 4, 3: [True, True, False, False]}
    passes[4] = [True, None, None, None]
    found = figures([row(case, n, passed=passed) for case, grades in passes.items() for n, passed in enumerate(grades)])
    # of case 3, half pass once, 5 of 6 pairs have a pass, 1 of 6 has two; case 4 was judged once
    assert found["pass_at_k"] == pytest.approx({"1": 2.5 / 4, "2": (1 + 5 / 6) / 3, "3": 2 / 3, "4": 2 / 3})
    assert found["pass_hat_k"] == pytest.approx({"1": 2.5 / 4, "2": (1 + 1 / 6) / 3, "3": 1 / 3, "4": 1 / 3})
    rate = pass_rate(7, 13)
    assert rate is not None
    assert found["pass_rate"] == rate._asdict()


def test_twenty_repeats_that_are_alike_make_no_score_surer() -> None:
    once = figures([row(n, score=n / 10) for n in range(11)])["score"]
    often = figures([row(n, repeat, score=n / 10) for n in range(11) for repeat in range(20)])["score"]
    assert once is not None
    assert often is not None
    assert often == pytest.approx(once)
    # as wide as Student's interval of eleven measurements, more or less: 0.5 +- 2.23 * 0.332 / sqrt(11)
    assert once["value"] == pytest.approx(0.5)
    assert once["low"] == pytest.approx(0.277, abs=0.02)
    assert once["high"] == pytest.approx(0.723, abs=0.02)
    perfect = figures([row(n, repeat, score=1.0) for n in range(11) for repeat in range(20)])["score"]
    of_eleven = pass_rate(11, 11)
    assert of_eleven is not None
    assert perfect == of_eleven._asdict()


def test_money_is_exact_and_says_of_how_many_samples_it_is() -> None:
    price = {"amount": "0.10", "currency": "USD", "exact": True}
    found = figures([row(1, cost=price), row(2, cost={**price, "exact": False}), row(3)])
    assert found["cost"] == {"amount": "0.2", "currency": "USD", "exact": False, "samples": 2}


def test_goodput_counts_what_meets_every_bound_and_errors_among_the_asked() -> None:
    good: dict[str, Any] = {"duration_s": 1.0, "time_to_first_token_s": 0.2, "itl_s": 0.01}
    rows = [
        row(1, **good),
        row(2, **{**good, "itl_s": None}),  # an answer of one token has no gap
        row(3, **{**good, "time_to_first_token_s": 0.9}),
        row(4, **{**good, "scheduled_latency_s": 9.0}),  # it was due long before it was sent
        row(5, error={"kind": "server"}, duration_s=0.1),
    ]
    found = figures(rows, Slo(ttft_s=0.8, itl_s=0.05, e2e_s=5.0))
    assert (found["goodput_rps"], found["good_fraction"]) == (2 / 20, 2 / 5)
    unknown = figures([row(1, duration_s=1.0)], Slo(itl_s=0.05))
    assert (unknown["goodput_rps"], unknown["good_fraction"]) == (None, None)
    assert figures([row(1, error={"kind": "server"})], Slo(itl_s=0.05))["good_fraction"] == 0


def compared(rows: Iterator[SampleRow]) -> dict[str, ComparisonDocument]:
    found = comparison_documents(RunData.read(rows))
    json.dumps(found, allow_nan=False)
    return {one["metric"]: one for one in found if (one["a"], one["b"]) == ("a", "b")}


def two_targets(cases: int, repeats: int, *, slower: float, worse: float) -> Iterator[SampleRow]:
    drawn = random.Random(10)  # noqa: S311  # the same in every run
    for repeat in range(repeats):
        for case in range(cases):
            for target, factor, loss in (("a", 1.0, 0.0), ("b", slower, worse)):
                duration = (1 + case % 5) * factor * drawn.lognormvariate(0, 0.3)
                score = min(1.0, max(0.0, drawn.gauss(0.7, 0.1) - loss))
                cost = {"amount": f"{0.01 * factor:.6f}", "exact": True}
                yield row(case, repeat, target, duration_s=duration, score=score, cost=cost)


def test_what_differs_is_found_with_its_size_and_its_side() -> None:
    found = compared(two_targets(40, 3, slower=1.3, worse=0.1))
    assert [one["verdict"] for one in found.values()] == ["worse", "worse", "worse"]
    for metric, true in (("score", -0.1), ("cost", 0.3), ("duration", 0.3)):
        low, high = found[metric]["low"], found[metric]["high"]
        assert low is not None
        assert high is not None
        assert low - 1e-6 <= true <= high + 1e-6
        assert found[metric]["repeats_needed"] is None


def test_what_does_not_differ_is_undecided_and_what_would_settle_it_is_said() -> None:
    found = compared(two_targets(40, 3, slower=1.03, worse=0.0))
    assert found["duration"]["verdict"] == "undecided"
    assert (found["duration"]["repeats_needed"] or 0) > 10
    assert found["cost"]["verdict"] == "worse"  # a price list is no chance: 3 % more in every case
    nothing = compared(iter([row(1, target="a", duration_s=1.0), row(2, target="b", duration_s=1.0)]))
    assert {one["verdict"] for one in nothing.values()} == {"unknown"}


def test_targets_that_are_alike_are_called_different_as_seldom_as_it_says() -> None:
    """Twenty runs of four targets: six pairs by three metrics each, corrected for all of them."""
    drawn, false_alarms = random.Random(3), 0  # noqa: S311  # the same in every run
    for _ in range(20):
        rows = (
            row(case, 0, target, duration_s=drawn.lognormvariate(case % 5, 0.5), score=float(drawn.random() < 0.8))
            for case in range(12)
            for target in "abcd"
        )
        found = comparison_documents(RunData.read(rows))
        false_alarms += any(one["verdict"] in ("better", "worse") for one in found)
    assert false_alarms <= 3
