"""Verdicts are promptfoo's, row by row; and whatever stands in an answer, there is one."""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmswitch.assertions import find, names
from llmswitch.assertions.base import Answer, Assertion, Verdict
from llmswitch.assertions.grade import grade
from tests.assertions.verdicts import ROWS, Row

#: a value with which each type that needs no judge works
_VALUES = {name: value for name, value, _, _, passed, _ in ROWS if passed is not None} | dict.fromkeys(
    ("latency", "cost", "perplexity", "perplexity-score", "finish-reason"), "stop"
)
_HERE = [name for name in names() if not (row := find(name)) or not (row.graded or row.code or row.members)]


def assertion(name: str, value: Any = None, threshold: float | None = None, weight: float = 1) -> Assertion:
    return Assertion(name.removeprefix("not-"), name.startswith("not-"), value, threshold, weight)


def judged(name: str, value: Any, answer: Answer | str, threshold: float | None = None) -> Verdict:
    [verdict] = grade([assertion(name, value, threshold)], Answer(answer) if isinstance(answer, str) else answer)
    return verdict


@pytest.mark.parametrize("row", ROWS)
def test_a_verdict_is_that_of_promptfoo(row: Row) -> None:
    name, value, threshold, answer, passed, score = row
    verdict = judged(name, value, answer, threshold)
    assert verdict.type == name
    if passed is None or score is None:
        assert verdict.error
        return
    assert (verdict.error, verdict.passed) == (None, passed)
    assert verdict.score == pytest.approx(score, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "threshold", "answer", "passed", "score"),
    [
        ("latency", 50, Answer("", duration_s=0.05), True, 1),
        ("latency", 50, Answer("", duration_s=0.051), False, 0),
        ("not-latency", 50, Answer("", duration_s=0.051), True, 1),
        ("latency", 50, Answer(""), None, None),
        ("latency", None, Answer("", duration_s=0.05), None, None),
        ("cost", 0.3, Answer("", cost=Decimal("0.3")), True, 1),
        ("cost", 0.3, Answer("", cost=Decimal("0.30000001")), False, 0),
        ("cost", 0.3, Answer(""), None, None),
        ("perplexity", 5, Answer("", perplexity=5.5), False, 0),
        ("not-perplexity", None, Answer("", perplexity=5.5), True, 1),
        ("perplexity", 5, Answer(""), None, None),
        ("perplexity-score", 0.5, Answer("", perplexity=3), False, 0.25),
        ("not-perplexity-score", 0.5, Answer("", perplexity=3), True, 0.75),
    ],
)
def test_what_was_measured_is_held_against_the_threshold_and_unknown_is_an_error(
    name: str, threshold: float | None, answer: Answer, passed: bool | None, score: float | None
) -> None:
    verdict = judged(name, None, answer, threshold)
    assert (None if verdict.error else (verdict.passed, verdict.score)) == (None if passed is None else (passed, score))


@pytest.mark.parametrize(
    ("name", "value", "reason", "passed"),
    [
        ("finish-reason", "STOP", "stop", True),
        ("finish-reason", "tool_calls", "tool_call", True),
        ("finish-reason", "length", "stop", False),
        ("finish-reason", "stop", None, False),
        ("not-finish-reason", "stop", None, True),
    ],
)
def test_a_finish_reason_goes_by_either_name(name: str, value: str, reason: str | None, passed: bool) -> None:
    assert judged(name, value, Answer("", finish_reason=reason)).passed is passed


def test_an_assertion_of_weight_0_never_fails_and_keeps_its_score() -> None:
    [verdict] = grade([assertion("equals", "a", weight=0)], Answer("b"))
    assert (verdict.passed, verdict.score, verdict.weight) == (True, 0, 0)


def test_every_type_that_needs_no_judge_is_tried_with_hostile_answers() -> None:
    assert set(_HERE) <= set(_VALUES)


@given(answer=st.text(st.characters() | st.sampled_from("{}[]<>&\"'`/\\:,;\ud800"), max_size=40), negated=st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_answer_makes_grading_raise_or_a_score_leave_its_bounds(answer: str, negated: bool) -> None:
    for name in _HERE:
        for verdict in grade([Assertion(name, negated, _VALUES[name], threshold=0.5)], Answer(answer, cost=Decimal(1))):
            assert 0 <= verdict.score <= 1
            verdict.reason.encode()


@pytest.mark.parametrize(
    "answer",
    [
        "[" * 5_000,
        '{"a":' * 2_000 + "1" + "}" * 2_000,
        "{" * 2_000,
        "<a>" * 3_000,
        "<a>" * 3_000 + "</a>" * 3_000,
        "(" * 5_000,
        "SELECT " + "(" * 5_000 + "1" + ")" * 5_000,
        '{"a": ' + "9" * 100_000 + "}",
        "9" * 100_000,
        "a \ud800" * 1_000,
        "<!DOCTYPE a [" + "".join(f"<!ENTITY x{n} '{f'&x{n - 1};' * 10}'>" for n in range(1, 12)) + "]><a>&x11;</a>",
        " " * 1_000_000,
        "I can't " * 10_000,
    ],
    ids=lambda answer: answer[:12],
)
def test_a_deep_long_or_explosive_answer_has_a_verdict(answer: str) -> None:
    for name in _HERE:
        assert judged(name, _VALUES[name], answer).reason


def test_a_long_answer_is_not_quoted_whole() -> None:
    verdict = judged("equals", "a", "b" * 1_000_000)
    assert len(verdict.reason) < 1_100
    assert sys.getsizeof(judged("contains", "c" * 1_000_000, "b").reason) < 2_000
