"""What a judge is shown when it compares the answers to a case."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, cast

from llmswitch.assertions.base import Assertion, Verdict
from llmswitch.runs.bench.grading import Graders, Grading
from llmswitch.runs.bench.model import SampleRow
from llmswitch.runs.bench.room import Room
from llmswitch.suites.model import Case

LABELS = ("fast", "slow", "middling")


class Noting(Graders):
    """Asks no judge, and keeps what one would have been shown."""

    shown: list[str]

    async def _said(self, leaf: Assertion, answers: Any, bill: Any) -> list[Verdict]:
        self.shown = [answer.text for answer in answers]
        return [Verdict(leaf.type, place == 0, float(place == 0), "") for place in range(len(answers))]


def shown(case: Case, arriving: tuple[str, ...]) -> list[str]:
    """In which order the answers stand, of targets that answered in the order `arriving`."""

    async def graded() -> list[str]:
        graders = Noting(Grading({}, {}), cast("Any", None), Room(), labels=LABELS)
        rows = [SampleRow(case.id, target, 0, text=target) for target in arriving]
        for row in rows:
            graders.arrived(case, row)
        try:
            done = await asyncio.gather(*(graders.graded(case, row) for row in rows))
        finally:
            await graders.aclose()
        assert [row.target for row in done if row.score == 1.0] == graders.shown[:1], "each has its own verdict"
        return graders.shown

    return asyncio.run(graded())


def case_of(number: int) -> Case:
    return Case(f"1.{number}", "hi", (), assertions=(Assertion("select-best", value="the best"),))


def test_who_answers_first_does_not_stand_first_for_the_judge() -> None:
    orders = {tuple(shown(case_of(1), arriving)) for arriving in itertools.permutations(LABELS)}
    assert len(orders) == 1, "the same answers are compared in the same way, asked live or by batch"
    first = {shown(case_of(number), LABELS)[0] for number in range(20)}
    assert first == set(LABELS), "each stands first now and then"
