"""The client watches itself, and gives way before it is what is measured."""

from __future__ import annotations

import asyncio
import time

from llmswitch.runs.bench.client import Pace, Watch


def test_a_loop_that_is_held_up_is_seen_late_and_an_idle_one_is_not() -> None:
    async def watched(hold_s: float) -> float:
        watch = Watch(clock=time.monotonic, cpu=time.process_time)
        watch.start()
        for _ in range(10):
            await asyncio.sleep(0.03)
            time.sleep(hold_s)  # noqa: ASYNC251  # what must be noticed
        await watch.stop()
        lag = watch.lag(0.99)
        assert lag is not None
        return lag

    assert asyncio.run(watched(0.2)) > 0.1
    assert asyncio.run(watched(0)) < 0.1


def test_nothing_watched_is_nothing_known() -> None:
    watch = Watch(clock=time.monotonic, cpu=time.process_time)
    assert watch.lag(0.99) is None
    assert watch.cpu_fraction is None


class Machine:
    """A clock that sleeping moves on, and a processor that each call takes `each_s` of."""

    def __init__(self) -> None:
        self.now = self.cpu = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_calls_are_let_out_no_faster_than_what_they_take_allows() -> None:
    machine = Machine()

    async def paced() -> tuple[float, float]:
        pace = Pace(clock=lambda: machine.now, cpu=lambda: machine.cpu, share=0.5, sleep=machine.sleep)
        for _ in range(1000):
            await pace.turn()
            machine.cpu += 0.010
            pace.ended()
        began, cpu = machine.now, machine.cpu
        for _ in range(500):
            await pace.turn()
            machine.cpu += 0.010
            pace.ended()
        return machine.now - began, machine.cpu - cpu

    elapsed, cpu = asyncio.run(paced())
    assert 0.45 < cpu / elapsed < 0.55


def test_who_is_slow_anyway_is_not_held_back() -> None:
    machine = Machine()

    async def paced() -> float:
        pace = Pace(clock=lambda: machine.now, cpu=lambda: machine.cpu, share=0.5, sleep=machine.sleep)
        for _ in range(200):
            await pace.turn()
            machine.cpu += 0.003
            machine.now += 0.5
            pace.ended()
        return pace.slowed_s

    assert asyncio.run(paced()) == 0.0
