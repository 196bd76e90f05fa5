"""When two answers say the same."""

from __future__ import annotations

import pytest

from llmswitch.runs.routing import alike


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("It is Paris.", "it is paris", True),
        ("", "", True),
        (
            "The capital of France is, as everybody knows, Paris.",
            "The capital of France is Paris, everybody knows.",
            True,
        ),
        ("Paris.", "Lyon.", False),
        ("The train took 41 minutes to get there.", "The train took 87 minutes to get there.", False),
        ("It costs 3.50 in all of the shops there.", "It costs 3.55 in all of the shops there.", False),
        ("After 41 minutes the train was there at last.", "The train was there after 41 minutes.", True),
    ],
)
def test_answers_say_the_same_in_other_words_but_never_with_other_numbers(one: str, other: str, same: bool) -> None:
    assert alike(one, other) is same
    assert alike(other, one) is same
