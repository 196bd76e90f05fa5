"""Several calls at once, each to the end, whatever that is; and what time it is where they were answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple

from llmswitch.errors import LLMSwitchError
from llmswitch.layers.base import Layer, collect
from llmswitch.providers.ratelimits import Listener, listener, listening
from llmswitch.types import Request, Response

if TYPE_CHECKING:
    from llmswitch.providers.base import Provider
    from llmswitch.runs.adapters import Adapters
    from llmswitch.runs.ask import Services
    from llmswitch.runs.call import Call
    from llmswitch.runs.shared import Shared

__all__ = ["Answer", "ask_all"]


class _Dates(Layer, Listener):
    """Around an adapter: keeps by how much the vendor's clock is ahead of ours, in seconds, where its answer tells.

    Whoever listened before hears everything all the same.
    """

    def __init__(self, inner: Provider, wall: Callable[[], float]) -> None:
        super().__init__(inner)
        self._wall = wall
        self._outer = Listener()
        self.ahead_s: float | None = None

    async def complete(self, request: Request) -> Response:
        self._outer = listener()
        with listening(self):
            return await self.inner.complete(request)

    def sending(self) -> None:
        self._outer.sending()

    def sent(self) -> None:
        self._outer.sent()

    def received(self) -> None:
        self._outer.received()

    def answered(self, headers: Mapping[str, str]) -> None:
        self._outer.answered(headers)
        try:
            told = parsedate_to_datetime(headers.get("date") or "")
        except ValueError:
            return
        self.ahead_s = (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp() - self._wall()


class Answer(NamedTuple):
    """How a call ended. `ahead_s` is by how much the vendor's clock is ahead of ours; None where it did not say."""

    outcome: Response | Exception
    ahead_s: float | None = None


async def ask_all(calls: Sequence[Call], services: Services) -> list[Answer]:
    """Ask them, after every SDK was imported: importing one is no part of the time that another has."""
    from llmswitch.runs.adapters import Adapters
    from llmswitch.runs.shared import Shared

    shared, adapters = Shared(services), Adapters()
    try:
        ready = [await _connected(call, adapters) for call in calls]
        pairs = zip(calls, ready, strict=True)
        return await asyncio.gather(*(_ask(call, services, shared, adapter) for call, adapter in pairs))
    finally:
        await adapters.aclose()
        await shared.aclose()


async def _connected(call: Call, adapters: Adapters) -> Provider | Exception:
    """The adapter, or why there is none; an SDK that is not installed raises ImportError."""
    try:
        return await adapters.get(call)
    except (LLMSwitchError, ImportError) as error:
        return error


async def _ask(call: Call, services: Services, shared: Shared, adapter: Provider | Exception) -> Answer:
    from llmswitch.runs.ask import Asking, answer
    from llmswitch.runs.route import Route

    if isinstance(adapter, Exception):
        return Answer(adapter)
    dates = _Dates(adapter, services.wall)

    async def connect(_: Call) -> Provider:
        return dates

    try:
        whole = await collect(answer(Route((call,)), Asking(services, shared, connect)))
    except LLMSwitchError as error:
        return Answer(error, dates.ahead_s)
    return Answer(whole, dates.ahead_s)
