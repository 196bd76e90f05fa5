"""Asking within a budget, many at a time: what calls under way have set aside is not spent yet."""

from __future__ import annotations

import asyncio

from llmswitch.errors import BudgetError
from llmswitch.layers.base import collect
from llmswitch.runs.ask import Asking, answer
from llmswitch.runs.route import Route
from llmswitch.types import Response

__all__ = ["Room"]


class Room:
    """Lets a call that a budget has no room for wait until others have ended, which cost less than they may.

    For one event loop. Only what is refused while nothing else is under way is refused for good.
    """

    def __init__(self) -> None:
        self._under_way = 0
        self._waiting: list[asyncio.Event] = []

    async def ask(self, route: Route, asking: Asking) -> Response:
        """The whole answer; raises every error of errors.py, BudgetError where there is no room at all."""
        while True:
            self._under_way += 1
            try:
                response = await collect(answer(route, asking))
            except BudgetError:
                self._under_way -= 1
                if not self._under_way:
                    self._make_room()
                    raise
            except BaseException:
                self._under_way -= 1
                self._make_room()
                raise
            else:
                self._under_way -= 1
                self._make_room()
                return response
            turn = asyncio.Event()
            self._waiting.append(turn)
            await turn.wait()

    def _make_room(self) -> None:
        """One call ended: two of those that wait try again, so that there come to be as many at a time as there is
        room for."""
        for turn in self._waiting[:2]:
            turn.set()
        del self._waiting[:2]
