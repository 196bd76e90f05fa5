"""The gate: what it fails, what it lets pass, what it leaves open, and that chance seldom makes it fail."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from llmswitch.runs.bench.data import RunData
from llmswitch.runs.bench.document import GateDocument
from llmswitch.runs.bench.gate import GateInput, judge_gate, without_times
from llmswitch.runs.bench.model import SampleRow, Slo
from llmswitch.runs.bench.rules import parse_rules

PRICE = {"amount": "0.01", "exact": True}


def night(seed: int, cases: int = 40, repeats: int = 5, *, slower: float = 1.0, loss: float = 0.0) -> RunData:
    """Heavy-tailed times and answers that pass with a chance of the case's own; the cases are the same every night."""

    def rows() -> Iterator[SampleRow]:
        suite, drawn = random.Random(0), random.Random(seed)  # noqa: S311  # the same in every run
        of_cases = [(suite.lognormvariate(0, 0.5), suite.betavariate(4, 0.6)) for _ in range(cases)]
        for repeat in range(repeats):
            for case, (usual, chance) in enumerate(of_cases):
                duration = usual * slower * drawn.lognormvariate(0, 0.4)
                passed = drawn.random() < chance - loss
                yield SampleRow(
                    f"1.{case}",
                    "a",
                    repeat,
                    text="",
                    duration_s=duration,
                    score=float(passed),
                    passed=passed,
                    cost=PRICE,
                )

    return RunData.read(rows())


def graded(*grades: bool | None, target: str = "a") -> RunData:
    """One case, asked as often as there are grades."""
    return RunData.read(SampleRow("1.1", target, n, text="", passed=passed) for n, passed in enumerate(grades))


def judged(run: RunData, *rules: str, **fields: Any) -> GateDocument:
    found = judge_gate(GateInput(run, **{"asserted": True, "rules": parse_rules(rules), **fields}))
    json.dumps(found, allow_nan=False)
    return found


def verdicts(found: GateDocument) -> dict[str, str]:
    return {check["rule"]: check["verdict"] for check in found["checks"]}


@pytest.mark.parametrize(
    ("grades", "asserted", "verdict"),
    [
        ((True, True), True, "pass"),
        ((True, False), True, "fail"),
        ((False, None), True, "fail"),
        ((True, None), True, "inconclusive"),
        ((True, True), False, "not judged"),
        ((), True, "not judged"),
    ],
)
def test_without_a_rule_no_assertion_may_fail(grades: tuple[bool | None, ...], asserted: bool, verdict: str) -> None:
    found = judged(graded(*grades), asserted=asserted)
    assert found["verdict"] == verdict
    assert found["reason"]


def test_a_night_that_is_much_worse_fails_every_rule_that_it_breaks_and_no_other() -> None:
    found = judged(night(2, slower=1.8, loss=0.25), baseline=night(1), baseline_id="r1")
    assert verdicts(found) == {"score:-2pp": "fail", "p95.duration:+10%": "fail", "cost:+5%": "pass"}
    assert found["verdict"] == "fail"
    for check in found["checks"][:2]:
        assert check["p"] is not None
        assert check["p"] < 0.05
        assert "not by chance" in check["reason"]
    slow = found["checks"][1]
    assert slow["low"] is not None
    assert slow["high"] is not None
    assert slow["low"] < 0.8 < slow["high"]


def test_a_night_that_is_better_passes() -> None:
    found = judged(night(2, slower=0.6, loss=-0.1), baseline=night(1), baseline_id="r1")
    assert set(verdicts(found).values()) == {"pass"}
    assert "four times in five" in found["checks"][1]["reason"]


def test_what_may_be_chance_is_inconclusive_and_the_same_samples_get_the_same_verdict() -> None:
    run, before = night(2, cases=20, repeats=4, slower=1.12), night(1, cases=20, repeats=4)
    found = judged(run, "p90.duration:+5%", baseline=before, baseline_id="r1")
    assert verdicts(found) == {"p90.duration:+5%": "inconclusive"}
    assert "may be chance" in found["reason"]
    assert "four times in five" in found["reason"]
    assert judged(run, "p90.duration:+5%", baseline=before, baseline_id="r1") == found


def test_a_sample_too_small_for_a_percentile_is_inconclusive() -> None:
    found = judged(night(2, 8), "p95.duration:+10%", "p95.duration>1s", baseline=night(1, 8), baseline_id="r1")
    assert set(verdicts(found).values()) == {"inconclusive"}
    assert "at least 72 samples" in found["checks"][0]["reason"]


def test_a_rule_of_change_without_a_baseline_is_not_judged() -> None:
    assert judged(night(1), baseline_id="last-green")["verdict"] == "not judged"
    found = judged(night(1), "score:-2pp", "score<0.1")
    assert verdicts(found) == {"score:-2pp": "not judged", "score<0.1": "pass"}
    assert found["verdict"] == "pass"
    assert "--baseline" in found["checks"][0]["reason"]


def test_bounds_hold_a_night_against_what_it_may_be_at_worst() -> None:
    rules = {
        "p50.duration>0.5s": "fail",
        "p50.duration>60s": "pass",
        "mean.duration>0.5s": "fail",
        "score<0.99": "fail",
        "score<0.2": "pass",
        "score<1": "fail",
        "pass<99%": "fail",
        "cost>0.005": "fail",
        "cost>0.02": "pass",
        "errors>0": "pass",
    }
    assert verdicts(judged(night(1), *rules)) == rules


def test_one_error_shows_that_there_are_errors_and_not_that_there_are_many() -> None:
    rows = [SampleRow(str(n), "a", 0, text="", duration_s=1.0) for n in range(9)]
    run = RunData.read([*rows, SampleRow("9", "a", 0, error={"kind": "server"})])
    assert verdicts(judged(run, "errors>0", "errors>5%")) == {"errors>0": "fail", "errors>5%": "inconclusive"}


def test_of_a_target_that_failed_too_often_no_time_is_judged() -> None:
    rows = [
        SampleRow(str(n), "a", 0, duration_s=1.0, text="")
        if n % 2
        else SampleRow(str(n), "a", 0, error={"kind": "server"})
        for n in range(200)
    ]
    found = judged(RunData.read(rows), "p95.duration>0.1s", "errors>5%")
    assert verdicts(found) == {"p95.duration>0.1s": "inconclusive", "errors>5%": "fail"}
    assert "50%" in found["checks"][0]["reason"]


def test_what_no_sample_can_be_is_not_said_to_have_been_told() -> None:
    rows = [SampleRow(str(n), "a", 0, text="", score=float(n % 2), passed=bool(n % 2)) for n in range(6)]
    (check,) = judged(RunData.read(rows), "score<0.4")["checks"]
    assert check["verdict"] == "pass"
    assert check["reason"].endswith("no worse than 0.4. So few samples can tell nothing.")


def test_of_a_target_of_which_half_has_no_grade_only_times_are_judged() -> None:
    """A judge that grades what is bad and stumbles over what is good tells nothing."""
    rows = [
        SampleRow(
            str(n), "a", 0, duration_s=1.0, text="", score=0.0 if n % 2 else None, passed=False if n % 2 else None
        )
        for n in range(200)
    ]
    found = judged(RunData.read(rows), "score<0.9", "pass<90%", "p50.duration>0.1s")
    assert verdicts(found) == {"score<0.9": "inconclusive", "pass<90%": "inconclusive", "p50.duration>0.1s": "fail"}
    assert "50% of the samples of the run have no grade" in found["checks"][0]["reason"]


@pytest.mark.parametrize(
    ("grades", "verdict"),
    [
        ((True, True, True, True, False), "pass"),
        ((True, True, True, False, False), "fail"),
        ((False, False), "fail"),  # three passes more are not enough any more
        ((True, True, True, True), "pass"),
        ((True, True, True), "inconclusive"),
        ((True, True, True, None, None), "inconclusive"),
        ((True,) * 8 + (False,) * 2, "pass"),
        ((True,) * 7 + (False,) * 3, "fail"),
    ],
)
def test_a_cases_passes_are_counted(grades: tuple[bool | None, ...], verdict: str) -> None:
    found = judged(graded(*grades), "case.pass<4/5")
    assert found["verdict"] == verdict
    assert verdict == "pass" or "1.1" in found["reason"]


@pytest.mark.parametrize(("good", "verdict"), [(100, "pass"), (95, "pass"), (93, "inconclusive"), (80, "fail")])
def test_an_slo_fails_only_where_wilsons_interval_leaves_no_room(good: int, verdict: str) -> None:
    rows = (SampleRow(str(n), "a", 0, text="", duration_s=1.0 if n < good else 9.0) for n in range(100))
    found = judged(RunData.read(rows), slo=Slo(e2e_s=5.0))
    assert found["verdict"] == verdict
    assert found["checks"][0]["effect"] == good / 100


def test_more_rules_and_targets_ask_for_more_of_each() -> None:
    run, before = night(2, cases=30, loss=0.09), night(1, cases=30)
    alone = judged(run, "score:-2pp", baseline=before, baseline_id="r1")["checks"][0]
    among = judged(run, "score:-2pp", "cost:+5%", "mean.duration:+9%", baseline=before, baseline_id="r1")["checks"][0]
    assert alone["p"] is not None
    assert among["p"] == pytest.approx(min(1, 3 * alone["p"]))
    assert alone["effect"] == among["effect"]


def test_a_price_where_there_was_none_is_more_than_any_share() -> None:
    free = RunData.read(SampleRow(str(n), "a", 0, text="", cost={"amount": "0"}) for n in range(10))
    dear = RunData.read(SampleRow(str(n), "a", 0, text="", cost=PRICE) for n in range(10))
    found = judged(dear, "cost:+5%", baseline=free, baseline_id="r1")["checks"][0]
    assert (found["verdict"], found["effect"]) == ("fail", None)
    assert judged(free, "cost:+5%", baseline=free, baseline_id="r1")["verdict"] == "pass"


def test_without_a_change_the_gate_fails_as_seldom_as_it_says() -> None:
    """Forty nights of 12 cases with 6 repeats, at ten times the usual alpha so that its level shows."""
    fails = 0
    for seed in range(40):
        found = judged(
            night(2 * seed, 12, 6), "mean.duration:+0%", "score:-0pp", alpha=0.5,
            baseline=night(2 * seed + 1, 12, 6), baseline_id="r1",
        )  # fmt: skip
        fails += found["verdict"] == "fail"
    assert 2 <= fails <= 20


@pytest.mark.parametrize(
    ("batch", "baseline", "not_judged"),
    [
        (False, None, set()),
        (False, False, set()),
        (False, True, {"p95.duration:+10%", "cost:+5%"}),
        (True, False, {"p95.duration:+10%", "p95.duration>9s", "cost:+5%"}),
        (True, True, {"p95.duration:+10%", "p95.duration>9s"}),
    ],
)
def test_times_and_cost_of_a_batch_are_held_against_nothing_that_is_none(
    batch: bool, baseline: bool | None, not_judged: set[str]
) -> None:
    rules = ("score:-2pp", "p95.duration:+10%", "p95.duration>9s", "cost:+5%", "cost>0.02")
    before = None if baseline is None else night(1)
    found = judged(night(2), *rules, baseline=before, baseline_id=before and "b", unlike=without_times(batch, baseline))
    skipped = not_judged if baseline is not None else {"score:-2pp", "p95.duration:+10%", "cost:+5%"}
    assert {rule for rule, verdict in verdicts(found).items() if verdict == "not judged"} == skipped
    assert all("is not judged: " in check["reason"] for check in found["checks"] if check["rule"] in not_judged)
