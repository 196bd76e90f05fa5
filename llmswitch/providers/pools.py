"""Connections in several small pools instead of a large one, whose upkeep grows with the square of the calls in flight.

httpcore2's pool looks at each of its connections twice a request, and asks the system about each idle one: at 50 calls
in flight that is a third of what a call costs (2.16, `_async/connection_pool.py`).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable

import httpx2

__all__ = ["Pools"]

#: calls in flight that share a pool
_MOST = 6
#: how long a pool that only a rush of calls needed outlives it, in seconds
_LINGER_S = 30.0


class _Pool:
    """`busy` calls are in flight; the last one ended at `left`."""

    def __init__(self, transport: httpx2.AsyncBaseTransport) -> None:
        self.transport = transport
        self.busy = 0
        self.left = 0.0


class _Body(httpx2.AsyncByteStream):
    """A response's body: its call is in flight until that is closed."""

    def __init__(self, body: httpx2.AsyncByteStream, leave: Callable[[], None]) -> None:
        self._body = body
        self._leave: Callable[[], None] | None = leave

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._body)

    async def aclose(self) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()
        await self._body.aclose()


class Pools(httpx2.AsyncBaseTransport):
    """A transport over several that `make` makes: a call takes the first one with room, so that few are kept warm."""

    def __init__(
        self, make: Callable[[], httpx2.AsyncBaseTransport], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._make = make
        self._clock = clock
        self._pools: list[_Pool] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it, and give the response with its body still to be read."""
        await self._shed()
        pool = self._with_room()

        def leave() -> None:
            pool.busy -= 1
            pool.left = self._clock()

        pool.busy += 1
        try:
            response = await pool.transport.handle_async_request(request)
        except BaseException:
            leave()
            raise
        assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101  # an async transport's response has one
        response.stream = _Body(response.stream, leave)
        return response

    async def aclose(self) -> None:
        """Close every connection."""
        pools, self._pools = self._pools, []
        for pool in pools:
            await pool.transport.aclose()

    def _with_room(self) -> _Pool:
        for pool in self._pools:
            if pool.busy < _MOST:
                return pool
        self._pools.append(_Pool(self._make()))
        return self._pools[-1]

    async def _shed(self) -> None:
        """The last pool is the first that nobody needs."""
        if len(self._pools) > 1:
            last = self._pools[-1]
            if not last.busy and self._clock() - last.left > _LINGER_S:
                self._pools.pop()
                await last.transport.aclose()
