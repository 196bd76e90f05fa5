"""Asking an adapter in a test, as the layers above would: settings from an environment, one loop a call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmswitch.errors import ProviderError
from llmswitch.profiles import Settings, load_settings
from llmswitch.providers.base import Provider, Vendor
from llmswitch.types import Chunk, Message, Parameters, Request, Response

NOWHERE = Path("/nonexistent-llmswitch-test")


def settings_of(environ: Mapping[str, str]) -> Settings:
    """Settings from `environ` alone: no file, no process environment."""
    return load_settings(cwd=NOWHERE, environ={"LLMSWITCH_HOME": str(NOWHERE), **environ})


#: whether adapters are connected as for many calls, and so over aiohttp: see the fixture `transport`
LASTING = ContextVar("LASTING", default=False)


def connected(vendor: Vendor, environ: Mapping[str, str]) -> Provider:
    """The vendor's adapter, over one transport or the other."""
    return vendor.connect(replace(vendor.configure(settings_of(environ)), lasting=LASTING.get()))


def question(text: str = "hi", *, model: str = "gpt-6-luna", **fields: Any) -> Request:
    """A request of one message; parameters by their names."""
    parameters = Parameters(**{n: fields.pop(n) for n in list(fields) if n in Parameters.__slots__})
    return Request(model, (Message("user", text),), parameters=parameters, **fields)


def ask(vendor: Vendor, environ: Mapping[str, str], request: Request) -> Response:
    """The whole answer, not streamed."""

    async def run() -> Response:
        adapter = connected(vendor, environ)
        try:
            return await adapter.complete(replace(request, stream=False))
        finally:
            await adapter.aclose()

    return asyncio.run(run())


def chunks(
    vendor: Vendor, environ: Mapping[str, str], request: Request, seen: list[Chunk] | None = None
) -> list[Chunk]:
    """Every piece of the streamed answer; `seen` keeps those that came before an error."""
    got: list[Chunk] = [] if seen is None else seen

    async def run() -> None:
        adapter = connected(vendor, environ)
        try:
            async for chunk in adapter.stream(request):
                got.append(chunk)  # noqa: PERF401  # what came before an error is kept
        finally:
            await adapter.aclose()

    asyncio.run(run())
    return got


def text_of(pieces: list[Chunk]) -> str:
    """The visible answer."""
    return "".join(piece.text for piece in pieces)


def failed(asked: Callable[..., object], vendor: Vendor, environ: Mapping[str, str], *question: Any) -> ProviderError:
    """What `ask` or `chunks` raises."""
    with pytest.raises(ProviderError) as caught:
        asked(vendor, environ, *question)
    return caught.value


def below(root: type[Exception]) -> Iterator[type[Exception]]:
    """`root` and everything derived from it."""
    yield root
    for child in root.__subclasses__():
        yield from below(child)
