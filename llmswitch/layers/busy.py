"""Calls under way are counted, where somebody chooses the target with the fewest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from llmswitch.layers.base import Layer, opened
from llmswitch.providers.base import Provider
from llmswitch.types import Chunk, Request

__all__ = ["BusyLayer"]


class Counter(Protocol):
    """Who counts; a call that never left is forgotten after its lease."""

    async def entered(self, key: str, lease_s: float) -> None:
        """One more."""
        ...

    async def left(self, key: str) -> None:
        """One less."""
        ...


class BusyLayer(Layer):
    """Counts a call to `key` from its start to its end, however that comes."""

    def __init__(self, inner: Provider, *, key: str, health: Counter, lease_s: float) -> None:
        super().__init__(inner)
        self.key = key
        self.health = health
        self.lease_s = lease_s

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The same stream."""
        await self.health.entered(self.key, self.lease_s)
        try:
            async with opened(self.inner.stream(request)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            await self.health.left(self.key)
