"""A target that fails again and again is left alone for a while, by every process that knows of it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from llmswitch.circuit import Admission
from llmswitch.errors import (
    CallConnectionError,
    CallTimeoutError,
    CircuitOpenError,
    LLMSwitchError,
    OverloadedError,
    ServerError,
    TruncatedError,
)
from llmswitch.layers.base import Layer, opened
from llmswitch.providers.base import Provider
from llmswitch.types import Chunk, Request, Trace

__all__ = ["BreakerLayer"]

#: what speaks against a target; any other word of its, such as that the key is wrong, shows that it is there
_FAILURES = (ServerError, OverloadedError, CallTimeoutError, CallConnectionError, TruncatedError)
#: a call that its deadline cuts off after so many seconds of silence failed; sooner, it had no chance
_A_CHANCE_S = 1.0


class Health(Protocol):
    """Who knows how the targets fare. `report` and `abandon` wait for nothing: they are called while calls end."""

    async def admit(self, key: str) -> Admission:
        """Whether a call may go out now."""
        ...

    async def report(self, key: str, ok: bool, *, probe: bool = False) -> None:
        """How it ended."""
        ...

    async def abandon(self, key: str) -> None:
        """A probe ended before it knew anything."""
        ...


class BreakerLayer(Layer):
    """Raises CircuitOpenError, and sends nothing, while the target is left alone; tells `health` how calls end.

    A call that was cancelled, or refused by a layer further in before it was sent, tells nothing.
    """

    def __init__(
        self,
        inner: Provider,
        *,
        key: str,
        target: str,
        health: Health,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(inner)
        self.key = key
        self.target = target
        self.health = health
        self.clock = clock

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The same stream. A probe that brings anything has succeeded: who waits for the target is let in at once."""
        admission = await self.health.admit(self.key)
        if not admission.allowed:
            raise self._left_alone(admission)
        probe, silent = admission.probe, True
        sent = len(request.trace.attempts)
        try:
            async with opened(self.inner.stream(request)) as chunks:
                async for chunk in chunks:
                    silent = False
                    if probe or chunk.response is not None:
                        await self.health.report(self.key, True, probe=probe)
                        probe = False
                    yield chunk
        except LLMSwitchError as error:
            if isinstance(error, _FAILURES) or (probe and len(request.trace.attempts) > sent):
                await self.health.report(self.key, not isinstance(error, _FAILURES), probe=probe)
                probe = False
            raise
        except asyncio.CancelledError:
            if silent and self._overdue(request.trace, sent):
                await self.health.report(self.key, False, probe=probe)
                probe = False
            raise
        finally:
            if probe:
                await self.health.abandon(self.key)

    def _overdue(self, trace: Trace, sent: int) -> bool:
        """Whether it is the deadline that cancels a call which was sent, and the target had time to say something."""
        own = trace.attempts[sent:]
        return bool(own) and own[-1].duration_s >= _A_CHANCE_S and self.clock() >= trace.ends

    def _left_alone(self, admission: Admission) -> CircuitOpenError:
        provider = self.key.partition(":")[0]
        return CircuitOpenError(
            f"{self.target} failed {admission.failures} times of late and is asked again in "
            f"{math.ceil(admission.retry_after_s)} s; to ask it now, type 'llmswitch providers --reset {provider}'.",
            retry_after_s=admission.retry_after_s,
        )
