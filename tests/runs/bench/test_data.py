"""Rows as columns: what is counted, what is unknown, and how little it takes."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterator
from decimal import Decimal

from llmswitch.runs.bench.data import RunData
from llmswitch.runs.bench.model import SampleRow


def test_columns_hold_what_the_rows_say_and_nan_for_what_they_do_not() -> None:
    usage = {"input_tokens": 7, "output_tokens": 3, "cache_read_input_tokens": None, "estimated": True}
    priced = {"amount": "0.10", "currency": "USD", "exact": True}
    rows = [
        SampleRow("1.2", "a", 0, duration_s=0.5, score=0.25, passed=False, requests=3, usage=usage, cost=priced),
        SampleRow("1.1", "a", 0, duration_s=9.0, error={"kind": "timeout"}, requests=2),
        SampleRow("1.1", "b", 4, finish_reason="stop", cost={"amount": "0.2", "exact": False}, passed=True),
        SampleRow("1.2", "a", 1, error={}, cost={"amount": None}),
    ]
    data = RunData.read(iter(rows))
    assert data.cases == {"1.2": 0, "1.1": 1}
    a, b = data.targets["a"], data.targets["b"]
    assert (list(a.cases), list(a.repeats), list(a.failed)) == ([0, 1, 0], [0, 0, 1], [0, 1, 1])
    assert (list(a.passed), list(b.passed)) == ([0, -1, -1], [1])
    assert a.times["duration_s"][0] == 0.5
    assert math.isnan(a.times["duration_s"][1])  # it took 9 s to fail, which is no answer's time
    assert math.isnan(b.scores[0])
    assert (a.requests, a.retries) == (5, 3)
    assert (a.errors, b.finish_reasons) == ({"timeout": 1, "unknown": 1}, {"stop": 1})
    assert (a.cost, a.exact, a.priced, b.exact) == (Decimal("0.10"), True, 1, False)
    assert a.usage["input_tokens"] == 7
    assert a.usage["cache_read_input_tokens"] is None
    assert (a.usage["estimated"], b.usage["estimated"]) == (1, 0)


def test_money_adds_up_to_the_last_digit() -> None:
    rows = (SampleRow(str(n), "a", 0, cost={"amount": "0.1"}) for n in range(10))
    assert RunData.read(rows).targets["a"].cost == Decimal("1.0")


def test_a_hundred_thousand_samples_take_far_less_than_fifty_megabytes() -> None:
    text = "an answer " * 100

    def rows() -> Iterator[SampleRow]:
        for number in range(100_000):
            yield SampleRow(
                f"1.{number // 4}", f"target {number % 4}", 0, text=f"{text}{number}", duration_s=number / 7, score=1.0
            )

    tracemalloc.start()
    try:
        data = RunData.read(rows())
        held, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(map(len, data.targets.values())) == 100_000
    assert held < 20e6
    assert most < 25e6
