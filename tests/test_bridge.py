"""Threads and one event loop: who may ask, what closing does to those who are asking, and what it leaves behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from llmswitch.bridge import Bridge
from llmswitch.errors import CallConnectionError, ConfigError


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    before = threading.active_count()
    made = Bridge()
    yield made
    made.close(nothing())
    assert threading.active_count() == before
    assert made.loop.is_closed()


async def nothing() -> None:
    pass


async def count(ended: list[str]) -> AsyncGenerator[int]:
    """A generator around another, as the layers are."""

    async def inner() -> AsyncGenerator[int]:
        try:
            for number in range(3):
                yield number
                await asyncio.sleep(0)
        finally:
            await asyncio.sleep(0)
            ended.append("inner")

    source = inner()
    try:
        async for number in source:
            yield number
    finally:
        await source.aclose()
        ended.append("outer")


def test_a_result_and_an_exception_come_back(bridge: Bridge) -> None:
    async def fails() -> None:
        raise ValueError("as it was")

    async def works() -> int:
        return 7

    assert bridge.run(works()) == 7
    with pytest.raises(ValueError, match="as it was"):
        bridge.run(fails())


def test_closing_ends_an_open_stream_from_the_outside_in_and_its_iterator_quietly(bridge: Bridge) -> None:
    ended: list[str] = []
    left, asked = bridge.iterate(count(ended)), bridge.iterate(count(ended))
    assert [next(left), next(asked)] == [0, 0]
    bridge.close(nothing())
    assert ended == ["inner", "outer"] * 2
    left.close()  # type: ignore[attr-defined]  # a generator's
    with pytest.raises(ConfigError, match="this Switch is closed"):
        next(asked)


def test_leaving_a_stream_early_closes_it(bridge: Bridge) -> None:
    ended: list[str] = []
    for _ in bridge.iterate(count(ended)):
        break
    assert ended == ["inner", "outer"]
    assert list(bridge.iterate(count(ended))) == [0, 1, 2]


def test_closing_cuts_what_another_thread_waits_for_and_runs_the_last_work_after_it(bridge: Bridge) -> None:
    started, order = threading.Event(), list[str]()

    async def forever() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            order.append("call")

    async def last() -> None:
        order.append("last")

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: bridge.run(forever()))
        assert started.wait(10)
        bridge.close(last())
        with pytest.raises(CallConnectionError, match="closed before the answer was whole"):
            waiting.result(10)
    assert order == ["call", "last"]


def test_after_closing_nothing_runs_and_closing_again_is_harmless(bridge: Bridge) -> None:
    bridge.close(nothing())
    bridge.close(nothing())
    with pytest.raises(ConfigError, match="this Switch is closed"):
        bridge.run(nothing())


def test_a_stream_whose_reader_was_interrupted_is_closed_once_it_stopped(bridge: Bridge) -> None:
    """As Ctrl-C does it: the item's future is cancelled, and the generator closed at once."""
    ended: list[str] = []
    started = threading.Event()

    async def slow() -> AsyncGenerator[int]:
        try:
            started.set()
            await asyncio.Event().wait()
            yield 1
        finally:
            await asyncio.sleep(0.01)
            ended.append("slow")

    source = slow()
    future = asyncio.run_coroutine_threadsafe(bridge._next(source), bridge.loop)
    assert started.wait(10)
    future.cancel()
    bridge.run(bridge._end(source))
    assert ended == ["slow"]
