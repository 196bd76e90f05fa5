"""The ways of asking a model for a grade: what it is told, what it is shown, and how its reply is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from llmswitch.assertions.base import Answer, Assertion, GradingError
from llmswitch.assertions.findings import Finding
from llmswitch.assertions.lenient import json_objects
from llmswitch.assertions.measures import number_of
from llmswitch.assertions.rubric_prompt import as_json, inserted
from llmswitch.text import one_line

__all__ = ["BEST", "CATEGORY_NAMES", "CLOSED_QA", "FACTUALITY", "RUBRIC", "Judging", "asked_of"]

#: of a reply, its last ones: reading them leniently is no work for an event loop
_MOST_CHARACTERS = 10_000
_BUDGET = 4_000


class Judging(NamedTuple):
    """One way of asking. `instructions` go before what `shown` names, title by title; `names` are what a rubricPrompt
    may insert; `read` makes a finding for each answer of the reply, in the order in which they were shown."""

    instructions: str
    shown: Callable[[Assertion, Sequence[Answer]], Mapping[str, str]]
    names: Callable[[Assertion, Sequence[Answer]], Mapping[str, Any]]
    read: Callable[[Assertion, int, str], list[Finding]]


def asked_of(assertion: Assertion) -> str:
    """The assertion's value as text: an object as JSON."""
    value = assertion.value
    return value if isinstance(value, str) else "" if value is None else as_json(value)


# llm-rubric


def _read_rubric(assertion: Assertion, count: int, reply: str) -> list[Finding]:
    said = _said(reply, ("pass", "score"))
    passed, score = said.get("pass"), said.get("score")
    if isinstance(passed, str):
        passed = passed.strip().lower() in ("true", "yes", "pass", "y")
    if passed is None:
        passed = True
    number = number_of(score) if score is not None else float(bool(passed))
    if not isinstance(passed, bool) or number is None or not 0 <= number <= 1:
        raise _nonsense(reply, "a verdict: pass is true or false, and the score from 0 to 1")
    if assertion.threshold is not None:
        passed = passed and number >= assertion.threshold
    reason = str(said.get("reason") or f"the judge's score is {number:g}")
    return [Finding(passed != assertion.negated, 1 - number if assertion.negated else number, reason)]


RUBRIC = Judging(
    instructions=(
        "You grade an answer by a rubric. The answer passes if what the rubric says is true of it.\n"
        'Reply with one JSON object and nothing else: {"reason": why, in at most three sentences, '
        '"pass": true or false, "score": a number from 0.0 (not at all) to 1.0 (fully)}'
    ),
    shown=lambda assertion, answers: {
        "The answer": answers[0].text,
        "The rubric": asked_of(assertion),
    },
    names=lambda assertion, answers: {
        "output": inserted(answers[0].text),
        "rubric": asked_of(assertion),
    },
    read=_read_rubric,
)


# model-graded-closedqa


def _read_closed(assertion: Assertion, count: int, reply: str) -> list[Finding]:
    letter = reply.rstrip()[-1:]
    if letter not in ("Y", "N"):
        raise _nonsense(reply, "a verdict: it ends in neither Y nor N")
    return [Finding(letter == "Y", float(letter == "Y"), reply)]


CLOSED_QA = Judging(
    instructions=(
        "You judge whether an answer to a task meets a criterion. First write, step by step, what speaks for it and "
        "what against it. Then write, on a last line of its own and without anything else on it, the letter Y if it "
        "meets the criterion or the letter N if it does not."
    ),
    shown=lambda assertion, answers: {
        "The task": answers[0].prompt,
        "The answer": answers[0].text,
        "The criterion": asked_of(assertion),
    },
    names=lambda assertion, answers: {
        "input": answers[0].prompt,
        "completion": inserted(answers[0].text),
        "criteria": asked_of(assertion),
    },
    read=_read_closed,
)


# factuality

#: category -> what it says of the answer, promptfoo's name for its score, and that score
_CATEGORIES = {
    "A": ("it says a part of what the expert says, and nothing against it", "subset", 1.0),
    "B": ("it says all that the expert says and more, and nothing against it", "superset", 1.0),
    "C": ("it says the same as the expert", "agree", 1.0),
    "D": ("it contradicts the expert", "disagree", 0.0),
    "E": ("it differs from the expert in what does not matter for its truth", "differButFactual", 1.0),
}
CATEGORY_NAMES = tuple(name for _, name, _ in _CATEGORIES.values())
_LETTER = re.compile(r"\(?([a-eA-E])\)")


def _read_factuality(assertion: Assertion, count: int, reply: str) -> list[Finding]:
    try:
        said = _said(reply, ("category",))
        letter = str(said["category"]).strip().upper()
    except GradingError:
        bracketed = _LETTER.search(reply)
        letter, said = bracketed[1].upper() if bracketed else "", {}
    if letter not in _CATEGORIES:
        raise _nonsense(reply, f"a category from {', '.join(_CATEGORIES)}")
    meaning, name, score = _CATEGORIES[letter]
    given = number_of(assertion.config.get(name))
    score = score if given is None else given
    return [Finding(score > 0, score, f"{letter}: {said.get('reason') or meaning}")]


FACTUALITY = Judging(
    instructions=(
        "You compare an answer to what an expert answers to the same question. Only facts count; style, grammar and "
        "punctuation do not.\n"
        + "".join(f"({letter}) {meaning}\n" for letter, (meaning, _, _) in _CATEGORIES.items())
        + 'Reply with one JSON object and nothing else: {"reason": why, in at most three sentences, '
        '"category": the one letter of these that is true of the answer}'
    ),
    shown=lambda assertion, answers: {
        "The question": answers[0].prompt,
        "The expert's answer": asked_of(assertion),
        "The answer": answers[0].text,
    },
    names=lambda assertion, answers: {
        "input": answers[0].prompt,
        "ideal": asked_of(assertion),
        "completion": inserted(answers[0].text),
    },
    read=_read_factuality,
)


# select-best


def _read_best(assertion: Assertion, count: int, reply: str) -> list[Finding]:
    # -1 says that none is
    number = re.search(r"(?:(?<!\w)-)?[0-9]+", reply)
    best = int(number[0]) if number and len(number[0]) < 10 else count
    if not 0 <= best < count:
        raise _nonsense(reply, f"the number of an answer, from 0 to {count - 1}")
    criteria = one_line(asked_of(assertion), 200)
    lost = Finding(False, 0.0, f"another answer is the best by: {criteria}")
    won = Finding(True, 1.0, f"it is the best by: {criteria}")
    return [won if place == best else lost for place in range(count)]


BEST = Judging(
    instructions=(
        "You choose, of several answers, the one that fits the criteria best. Neither its length nor its place among "
        "the others counts. Reply with the number of that answer and nothing else."
    ),
    shown=lambda assertion, answers: {
        "The criteria": asked_of(assertion),
        **{f"Answer {place}": answer.text for place, answer in enumerate(answers)},
    },
    names=lambda assertion, answers: {
        "criteria": asked_of(assertion),
        "outputs": [inserted(answer.text) for answer in answers],
    },
    read=_read_best,
)


def _said(reply: str, keys: Sequence[str]) -> Mapping[Any, Any]:
    """The last JSON object in the reply with one of `keys`: a judge may quote others before it comes to its own."""
    said = json_objects(reply[-_MOST_CHARACTERS:], budget=_BUDGET)
    objects = [one for one in said if isinstance(one, dict) and any(key in one for key in keys)]
    if not objects:
        raise _nonsense(reply, f"JSON with {' or '.join(keys)}")
    return objects[-1]


def _nonsense(reply: str, wanted: str) -> GradingError:
    return GradingError(f"the judge's reply is not {wanted}: {one_line(reply, 200) or 'it is empty'}.")
