"""`Switch`: what a service imports, a profile's providers behind one object.

    async with Switch.from_profile("production") as switch:
        response = await switch.ask("Why is the sky blue?", target="claude")

The same layers as the command's: retries, fallbacks, balance, limits, budgets, cache, deadlines, prices, ledger.
Connections are kept between calls.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from llmswitch.bridge import CLOSED, CUT, Bridge
from llmswitch.errors import CallConnectionError, ConfigError, LLMSwitchError
from llmswitch.layers.base import collect, opened
from llmswitch.profiles import Settings, load_settings
from llmswitch.runs.adapters import Adapters
from llmswitch.runs.ask import Asking, Services, answer
from llmswitch.runs.call import Question
from llmswitch.runs.compare import Comparison, Job, compare_with, settle_calls
from llmswitch.runs.judge import Asked
from llmswitch.runs.policy import read_policy
from llmswitch.runs.route import Route, pick_target, route_of, settle_own
from llmswitch.runs.sampling import Quiet
from llmswitch.runs.shared import Shared
from llmswitch.targets import parse_target
from llmswitch.types import Chunk, Message, Response

__all__ = ["Switch"]


class Switch:
    """Asks any provider of one profile; close it to free its sockets.

    Used in one of two ways, which the first call decides: with `await`, from any number of tasks of one event loop,
    and ended with `await aclose()`; or with `ask_sync` and `stream_sync`, from any number of threads, and ended with
    `close()`. The other way, another loop and a closed Switch raise ConfigError. Closing ends what is being asked
    with CallConnectionError; closing twice is harmless.

    Every method raises LLMSwitchError and its children: ConfigError where nothing was sent, ProviderError where the
    vendor, or the way to it, failed.
    """

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings
        self.services = services
        self._shared = Shared(services)
        self._adapters = Adapters(lasting=True)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bridge: Bridge | None = None
        self._closed = False
        #: the tasks that wait for a call right now, and those of them that closing has cut off
        self._waiting: set[asyncio.Task[object]] = set()
        self._cut: set[asyncio.Task[object]] = set()
        self._none_waits = asyncio.Event()
        self._releasing: asyncio.Task[None] | None = None

    @classmethod
    def from_profile(
        cls,
        profile: str | None = None,
        *,
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
        warn: Callable[[str], None] = lambda message: None,
        use_cache: bool = True,
        hedge_s: float | None = None,
        max_cost: Decimal | None = None,
        allow_unknown_price: bool = False,
    ) -> Self:
        """The switch of `profile`, or of LLM_PROFILE, or of the environment alone. `warn` gets lines for people.

        A target that has sent nothing after `hedge_s` seconds gets the next one as a rival. All calls of this Switch
        together may cost `max_cost` USD at the most; under any budget, a model of unknown price is refused unless
        `allow_unknown_price`. Raises ConfigError.
        """
        settings = load_settings(
            cwd=cwd or Path.cwd(), environ=os.environ if environ is None else environ, profile=profile, warn=warn
        )
        policy = read_policy(settings, allow_unknown_price=allow_unknown_price)
        services = Services.from_settings(
            settings,
            use_cache=use_cache,
            policy=policy._replace(hedge_s=hedge_s, max_cost=max_cost),
            warn=warn,
            clock=time.monotonic,
            wall=time.time,
        )
        return cls(settings, services._replace(conversations=None))

    async def ask(self, question: str | Question, *, target: str | None = None) -> Response:
        """One whole answer, asked in one piece unless the question says `stream`.

        Nobody sees its pieces: one that is cut is asked for again like any other that failed.
        """
        asked = question if isinstance(question, Question) else _question(question, stream=False)
        self._enter()
        route = self._route(asked._replace(restarts=True), target)
        with self._cut_off():
            return await collect(answer(route, self._asking))

    async def stream(self, question: str | Question, *, target: str | None = None) -> AsyncGenerator[Chunk]:
        """Pieces of text as they come, then one last chunk with the whole `response`.

        After the first piece nobody else is asked, unless the question says `restarts`: a chunk with `restart` then
        makes all pieces before it void.
        """
        asked = question if isinstance(question, Question) else _question(question, stream=True)
        async with opened(self._chunks(asked, target)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def compare(
        self, question: str | Question, targets: Sequence[str] = (), *, repeats: int = 1, judge: str | None = None
    ) -> Comparison:
        """The same question to all `targets`, or to every provider that is configured; a failure is a sample, too.

        A target's sample is its own answer: fallbacks are left alone. With `repeats`, one call at a time, uncached.
        """
        asked = question if isinstance(question, Question) else _question(question, stream=True)
        self._enter()
        asked = asked._replace(restarts=True, bounded=self.services.policy.budgeted)
        calls = settle_calls(self.settings, asked, targets, self.services.warn)
        ranks = None
        if judge is not None:
            named = parse_target(judge, "judge")
            ranks = settle_own(self.settings, named, Question(asked.messages))._replace(command="compare")
        about = Asked(asked.messages[-1].text, asked.system or self.settings.get("LLM_SYSTEM"))
        job = Job(about, calls, repeats, random.getrandbits(32), ranks)
        with self._cut_off():
            comparison = await compare_with(job, self._asking, self._adapters, Quiet())
            if comparison.interrupted:  # a command shows what it has; here, whoever cancelled waits for the end
                raise asyncio.CancelledError
        return comparison

    def ask_sync(self, question: str | Question, *, target: str | None = None) -> Response:
        """`ask` for code without an event loop."""
        return self._sync().run(self.ask(question, target=target))

    def stream_sync(self, question: str | Question, *, target: str | None = None) -> Iterator[Chunk]:
        """`stream` for code without an event loop."""
        return self._sync().iterate(self.stream(question, target=target))

    def compare_sync(
        self, question: str | Question, targets: Sequence[str] = (), *, repeats: int = 1, judge: str | None = None
    ) -> Comparison:
        """`compare` for code without an event loop."""
        return self._sync().run(self.compare(question, targets, repeats=repeats, judge=judge))

    async def aclose(self) -> None:
        """Close every connection; raises ConfigError where the Switch belongs to another loop.

        Who is cancelled while it closes is, and it closes all the same.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            if not self._closed:
                self._belong(loop)
                self._closed = True
                self._releasing = loop.create_task(self._release())
        if self._releasing is not None and self._loop is loop:
            await asyncio.shield(self._releasing)

    def close(self) -> None:
        """`aclose` for code without an event loop."""
        with self._lock:
            if self._closed:
                return
            bridge = self._bridged()
            self._closed = True
        bridge.close(self._release())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _release(self) -> None:
        """Whoever waits for an answer, a retry, a limit or another process is cut off before anything is closed."""
        self._cut = set(self._waiting)
        if self._cut:
            self._none_waits.clear()
            for task in self._cut:
                task.cancel()
            await self._none_waits.wait()
        await self._adapters.aclose()
        await self._shared.aclose()
        if self.services.cache is not None:
            self.services.cache.close()

    @property
    def _asking(self) -> Asking:
        return Asking(self.services, self._shared, self._adapters.get)

    async def _chunks(self, question: Question, target: str | None) -> AsyncIterator[Chunk]:
        self._enter()
        route = self._route(question, target)
        try:
            async with opened(answer(route, self._asking)) as chunks:
                while True:
                    self._check_open()
                    with self._cut_off():
                        chunk = await anext(chunks, None)
                    if chunk is None:
                        return
                    yield chunk
        finally:
            if self._closed:  # and what a stream that was left open has written since
                await self._shared.aclose()

    def _route(self, question: Question, target: str | None) -> Route:
        policy = self.services.policy
        chosen, told = pick_target(self.settings, policy, named=target, model=question.model)
        if told:
            self.settings.warn(told)
        question = question._replace(bounded=question.bounded or policy.budgeted)
        route = route_of(self.settings, policy, question, chosen, conversation=question.conversation)
        return route._replace(calls=tuple(call._replace(command="library") for call in route.calls))

    def _enter(self) -> None:
        """A call begins, on the loop that the Switch belongs to."""
        with self._lock:
            self._check_open()
            self._belong(asyncio.get_running_loop())

    @contextmanager
    def _cut_off(self) -> Iterator[None]:
        """While the current task waits in here, closing the Switch cuts it off with an error that says so."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # this runs in one
        self._waiting.add(task)
        try:
            yield
        except asyncio.CancelledError as error:
            if task in self._cut and not task.uncancel():  # else somebody else cancels it, too
                raise CallConnectionError(CUT) from error
            raise
        except LLMSwitchError as error:
            if self._closed:
                raise CallConnectionError(CUT, provider=error.provider, request_model=error.request_model) from error
            raise
        finally:
            self._waiting.discard(task)
            if not self._waiting:
                self._none_waits.set()

    def _sync(self) -> Bridge:
        with self._lock:
            self._check_open()
            return self._bridged()

    def _bridged(self) -> Bridge:
        """The bridge, made once, under the lock: two would be two loops."""
        if self._bridge is None:
            if self._loop is not None:
                self._refuse()
            self._bridge = Bridge()
            self._loop = self._bridge.loop
        return self._bridge

    def _check_open(self) -> None:
        if self._closed:
            raise ConfigError(CLOSED)

    def _belong(self, loop: asyncio.AbstractEventLoop) -> None:
        """Connections live on the loop that opened them: the first loop to ask keeps the Switch."""
        self._loop = self._loop or loop
        if self._loop is not loop:
            self._refuse()

    def _refuse(self) -> NoReturn:
        if self._bridge is not None:
            raise ConfigError("this Switch was used without an event loop: go on with ask_sync, stream_sync, close().")
        raise ConfigError("this Switch was used from an event loop: go on there, with await ask() and await aclose().")


def _question(text: str, *, stream: bool) -> Question:
    return Question(messages=(Message("user", text),), stream=stream)
