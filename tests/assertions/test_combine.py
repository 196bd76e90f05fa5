"""One grade from verdicts: weights, thresholds, sets and comparisons, as promptfoo 0.121 has them."""

from __future__ import annotations

import pytest

from llmswitch.assertions.base import Answer, Assertion, Verdict
from llmswitch.assertions.combine import Grade, combine
from llmswitch.assertions.grade import fold, grade, leaves


def verdict(passed: bool, score: float, weight: float = 1, name: str = "equals", error: str | None = None) -> Verdict:
    return Verdict(name, passed, score, f"{score:g}", weight, error=error)


YES, NO = verdict(True, 1), verdict(False, 0)


def has(text: str, weight: float = 1) -> Assertion:
    return Assertion("contains", value=text, weight=weight)


def a_set(
    *members: Assertion, threshold: float | None = None, weight: float = 1, metric: str | None = None
) -> Assertion:
    return Assertion("assert-set", members=members, threshold=threshold, weight=weight, metric=metric)


@pytest.mark.parametrize(
    ("verdicts", "threshold", "passed", "score"),
    [
        ([], None, True, 1),
        ([], 2, True, 1),
        ([YES, NO], None, False, 0.5),
        ([YES, NO], 0.5, True, 0.5),
        ([YES, NO], 0.6, False, 0.5),
        ([NO], 0, True, 0),
        ([verdict(True, 0, weight=0)], None, True, 0),
        ([verdict(True, 1, weight=3), NO], None, False, 0.75),
        ([verdict(True, 0.5), YES], None, True, 0.75),
        ([YES, verdict(True, 1, name="select-best")], None, True, 1),
        ([YES, verdict(False, 0, name="select-best")], 0, False, 0),
        ([NO, verdict(True, 1, name="select-best")], None, False, 0),
        ([verdict(True, 1, name="select-best")], None, True, 1),
    ],
)
def test_a_grade_is_the_weighted_mean_and_all_must_pass_unless_a_threshold_is_given(
    verdicts: list[Verdict], threshold: float | None, passed: bool, score: float
) -> None:
    found = combine(verdicts, threshold)
    assert (found.passed, found.score, found.error) == (passed, score, None)


def test_what_could_not_be_judged_leaves_no_grade() -> None:
    found = combine([YES, verdict(False, 0, weight=0, error="no price")], 0)
    assert found == Grade(None, None, "equals: no price", "equals: no price")


@pytest.mark.parametrize(
    ("assertions", "answer", "threshold", "passed", "score"),
    [
        ([a_set(has("a"), has("b"))], "a", None, False, 0.5),
        ([a_set(has("a"), has("b"), threshold=0.5)], "a", None, True, 0.5),
        ([a_set(has("a"), has("b"), threshold=0.5, weight=3), has("c")], "a", None, False, 0.375),
        ([a_set(has("z"), weight=0), has("a")], "a", None, False, 1),
        ([a_set(has("z", weight=0)), has("a")], "a", None, True, 0.5),
        ([a_set()], "a", None, True, 0),
        ([a_set(threshold=0.5)], "a", None, False, 0),
        ([a_set(has("z"))], "a", 0, True, 0),
    ],
)
def test_a_set_counts_as_one_with_its_own_threshold_and_weight(
    assertions: list[Assertion], answer: str, threshold: float | None, passed: bool, score: float
) -> None:
    found = combine(grade(assertions, Answer(answer)), threshold)
    assert (found.passed, found.score) == (passed, score)


def test_verdicts_of_a_set_that_were_made_elsewhere_are_folded_into_it() -> None:
    rubric = Assertion("llm-rubric", value="polite")
    asked = [has("a"), a_set(rubric, has("b"), metric="tone"), has("c")]
    assert leaves(asked) == [has("a"), rubric, has("b"), has("c")]
    elsewhere = verdict(True, 0.5, name="llm-rubric")
    folded = fold(asked, [YES, elsewhere, NO, YES])
    assert folded[0] == folded[2] == YES
    assert (folded[1].type, folded[1].passed, folded[1].score, folded[1].metric) == ("assert-set", False, 0.25, "tone")
    broken = fold(asked, [YES, elsewhere._replace(error="nonsense"), NO, YES])
    assert combine(broken).error == "assert-set: llm-rubric: nonsense"


@pytest.mark.parametrize("count", [0, 2])
def test_too_few_or_too_many_verdicts_are_noticed(count: int) -> None:
    with pytest.raises(ValueError, match="verdicts than assertions"):
        fold([has("a")], [YES] * count)


def test_what_takes_a_judge_or_code_is_an_error_here() -> None:
    for name in ("llm-rubric", "python", "no-such-type"):
        assert grade([Assertion(name, value="1")], Answer(""))[0].error
