"""Connecting when it comes to that: a target that is left alone costs no import of its SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from llmswitch.layers.base import Layer, opened
from llmswitch.providers.base import Provider
from llmswitch.types import Chunk, Request, Response

__all__ = ["ConnectLayer", "LateAdapter"]


class LateAdapter:
    """An adapter that is not there yet: it can be asked from `ready` on."""

    def __init__(self, connect: Callable[[], Awaitable[Provider]]) -> None:
        self._connect = connect
        self._adapter: Provider | None = None

    async def ready(self) -> Provider:
        """The adapter, connected; raises ConfigError where its SDK is not there."""
        self._adapter = self._adapter or await self._connect()
        return self._adapter

    async def complete(self, request: Request) -> Response:
        """The adapter's answer in one piece."""
        return await (await self.ready()).complete(request)

    def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The adapter's stream."""
        assert self._adapter is not None  # noqa: S101  # the connect layer has seen to that
        return self._adapter.stream(request)

    async def aclose(self) -> None:
        """The adapter belongs to whoever connects it."""


class ConnectLayer(Layer):
    """Has `adapter`, the innermost, connected before an attempt's clock starts, and after all that may refuse it."""

    def __init__(self, inner: Provider, *, adapter: LateAdapter) -> None:
        super().__init__(inner)
        self.adapter = adapter

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The same stream."""
        await self.adapter.ready()
        async with opened(self.inner.stream(request)) as chunks:
            async for chunk in chunks:
                yield chunk
