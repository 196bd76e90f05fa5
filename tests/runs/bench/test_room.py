"""Many calls at a time within a budget that has room for a few."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from llmswitch.errors import BudgetError, ServerError
from llmswitch.runs.ask import Asking
from llmswitch.runs.bench import room as module
from llmswitch.runs.bench.room import Room
from llmswitch.runs.route import Route
from llmswitch.types import Chunk, Response


class Till:
    """Answers each call after a moment, so many at a time; each holds one of `left` and spends none or, if dear, it."""

    def __init__(self, left: int, *, dear: bool = False) -> None:
        self.left, self.dear = left, dear
        self.refused = self.answered = 0

    async def answer(self, route: Any, asking: Any) -> AsyncIterator[Chunk]:
        if not self.left:
            self.refused += 1
            raise BudgetError("no room")
        self.left -= 1
        await asyncio.sleep(0.001)
        self.left += not self.dear
        if route == "broken":
            raise ServerError("down")
        self.answered += 1
        yield Chunk(response=Response("p", "m", "hi", "stop"))


def asked(till: Till, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr(module, "answer", till.answer)

    async def run() -> list[Any]:
        room = Room()
        work = (room.ask(cast(Route, call), cast(Asking, None)) for call in calls)
        return await asyncio.wait_for(asyncio.gather(*work, return_exceptions=True), 5)

    return asyncio.run(run())


def test_what_is_only_held_comes_back_and_all_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    till = Till(3)
    ends = asked(till, ["fine"] * 40, monkeypatch)
    assert [end.text for end in ends] == ["hi"] * 40
    assert till.refused <= 2 * 40, "a call that waits does not ask again and again"


def test_what_is_spent_does_not_and_the_rest_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    till = Till(5, dear=True)
    ends = asked(till, ["fine"] * 12, monkeypatch)
    assert till.answered == 5
    assert sum(isinstance(end, BudgetError) for end in ends) == 7


def test_a_call_that_fails_makes_room_too(monkeypatch: pytest.MonkeyPatch) -> None:
    till = Till(1)
    ends = asked(till, ["fine", "broken", "fine", "broken", "fine"], monkeypatch)
    assert till.answered == 3
    assert sum(isinstance(end, ServerError) for end in ends) == 2
