"""This machine while it measures: how late its event loop is, how busy it is, and how fast it may be driven.

A client that is the bottleneck reads its own queue as the vendor's latency. So dispatch is paced: no more of a
processor goes into asking than leaves the loop free when an answer comes.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Awaitable, Callable

__all__ = ["Pace", "Watch"]

#: how often the loop is asked how late it is, in seconds
_EVERY_S = 0.02
#: lags are counted in steps of a tenth of a millisecond, up to ten seconds
_STEP_S, _STEPS = 0.0001, 100_000


class Watch:
    """Counts how late the event loop comes to what is due, and the processor time of its thread, which `cpu` tells."""

    def __init__(self, *, clock: Callable[[], float], cpu: Callable[[], float]) -> None:
        self._clock = clock
        self._cpu = cpu
        self._lags = array("L", bytes(array("L").itemsize * (_STEPS + 1)))
        self._task: asyncio.Task[None] | None = None
        self._began = self._cpu_began = 0.0
        #: seconds of all times that it was started and stopped
        self.watched_s = 0.0
        self._cpu_s = 0.0

    def start(self) -> None:
        """From here on it counts."""
        self._began, self._cpu_began = self._clock(), self._cpu()
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Up to here."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        self.watched_s += self._clock() - self._began
        self._cpu_s += self._cpu() - self._cpu_began

    async def _watch(self) -> None:
        while True:
            due = self._clock() + _EVERY_S
            await asyncio.sleep(_EVERY_S)
            # the kernel wakes a sleeper up to a millisecond late: that is its timer's grain, and none of the loop's
            self._lags[min(_STEPS, max(0, int((self._clock() - due) / _STEP_S)))] += 1

    def lag(self, share: float) -> float | None:
        """The lag that `share` of the looks did not exceed, in seconds; None before the first look."""
        looks = sum(self._lags)
        if not looks:
            return None
        seen = 0
        for step, count in enumerate(self._lags):
            seen += count
            if seen >= share * looks:
                return (step + 1) * _STEP_S
        return None

    @property
    def cpu_fraction(self) -> float | None:
        """The share of one processor that the loop took; None before it was stopped for the first time."""
        return self._cpu_s / self.watched_s if self.watched_s else None


class Pace:
    """Lets calls out one by one, so far apart that asking takes at most `share` of one processor.

    What a call takes is not known before it was made: it begins at `guess_s` of processor time and follows what is
    seen. `slowed_s` is by how much calls were held back in all.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        cpu: Callable[[], float],
        share: float = 0.75,
        guess_s: float = 0.003,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._cpu = cpu
        self._share = share
        self._sleep = sleep
        self._each_s = guess_s
        self._next = 0.0
        self._ended = 0
        self._cpu_seen: float | None = None
        self.slowed_s = 0.0

    async def turn(self) -> None:
        """Wait until the next call may go out."""
        now = self._clock()
        self._next = max(self._next, now)
        wait_s = self._next - now
        self._next += self._each_s / self._share
        if wait_s > 0:
            self.slowed_s += wait_s
            await self._sleep(wait_s)

    def ended(self) -> None:
        """A call is over: every so many, what one takes is reckoned anew."""
        self._ended += 1
        if self._cpu_seen is None:
            self._cpu_seen = self._cpu()
        elif self._ended >= 20:
            now = self._cpu()
            taken = (now - self._cpu_seen) / self._ended
            self._each_s += 0.3 * (taken - self._each_s)
            self._cpu_seen, self._ended = now, 0
