"""`Switch`: what a service imports, a profile's providers behind one object.

    async with Switch.from_profile("production") as switch:
        response = await switch.ask("Why is the sky blue?", target="claude")

The same layers as the command's: cache, deadlines, prices, ledger. Connections are kept between calls.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from llmswitch.bridge import CLOSED, CUT, Bridge
from llmswitch.errors import CallConnectionError, ConfigError, LLMSwitchError
from llmswitch.layers.base import collect, opened
from llmswitch.profiles import Settings, load_settings
from llmswitch.providers.base import Endpoint, Provider
from llmswitch.runs.ask import Services, answer
from llmswitch.runs.call import Call, Question, choose_target, settle
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
        self._adapters: dict[Endpoint, asyncio.Task[Provider]] = {}
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bridge: Bridge | None = None
        self._closed = False

    @classmethod
    def from_profile(
        cls,
        profile: str | None = None,
        *,
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
        warn: Callable[[str], None] = lambda message: None,
        use_cache: bool = True,
    ) -> Self:
        """The switch of `profile`, or of LLM_PROFILE, or of the environment alone. `warn` gets lines for people."""
        settings = load_settings(
            cwd=cwd or Path.cwd(), environ=os.environ if environ is None else environ, profile=profile, warn=warn
        )
        services = Services.from_settings(
            settings, use_cache=use_cache, warn=warn, clock=time.monotonic, wall=time.time
        )
        return cls(settings, services._replace(conversations=None))

    async def ask(self, question: str | Question, *, target: str | None = None) -> Response:
        """One whole answer, asked in one piece unless the question says `stream`."""
        asked = question if isinstance(question, Question) else _question(question, stream=False)
        return await collect(self._chunks(asked, target))

    async def stream(self, question: str | Question, *, target: str | None = None) -> AsyncGenerator[Chunk]:
        """Pieces of text as they come, then one last chunk with the whole `response`."""
        asked = question if isinstance(question, Question) else _question(question, stream=True)
        async with opened(self._chunks(asked, target)) as chunks:
            async for chunk in chunks:
                yield chunk

    def ask_sync(self, question: str | Question, *, target: str | None = None) -> Response:
        """`ask` for code without an event loop."""
        return self._sync().run(self.ask(question, target=target))

    def stream_sync(self, question: str | Question, *, target: str | None = None) -> Iterator[Chunk]:
        """`stream` for code without an event loop."""
        return self._sync().iterate(self.stream(question, target=target))

    async def aclose(self) -> None:
        """Close every connection; raises ConfigError where the Switch belongs to another loop."""
        with self._lock:
            if self._closed:
                return
            self._belong(asyncio.get_running_loop())
            self._closed = True
        await self._release()

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
        adapters, self._adapters = self._adapters, {}
        for adapter in await asyncio.gather(*adapters.values(), return_exceptions=True):
            if not isinstance(adapter, BaseException):
                await adapter.aclose()
        if self.services.cache is not None:
            self.services.cache.close()

    async def _chunks(self, question: Question, target: str | None) -> AsyncIterator[Chunk]:
        with self._lock:
            self._check_open()
            self._belong(asyncio.get_running_loop())
        chosen, told = choose_target(self.settings, named=target, model=question.model)
        if told:
            self.settings.warn(told)
        call = settle(self.settings, chosen, question)._replace(command="library")
        try:
            adapter = await asyncio.shield(self._adapter(call))
            async with opened(answer(call, self.services, adapter)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except LLMSwitchError as error:
            if self._closed:
                raise CallConnectionError(CUT, provider=error.provider, request_model=error.request_model) from error
            raise

    def _adapter(self, call: Call) -> asyncio.Task[Provider]:
        """The adapter of the call's endpoint, connected once; in a thread, as importing an SDK takes a second."""
        task = self._adapters.get(call.endpoint)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = asyncio.create_task(asyncio.to_thread(call.vendor.connect, call.endpoint))
            self._adapters[call.endpoint] = task
        return task

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
