"""Two streams raced: who wins, what becomes of the loser, and what it may have cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from llmswitch.errors import LLMSwitchError, OverloadedError, ServerError
from llmswitch.layers.base import opened
from llmswitch.layers.hedge import raced
from llmswitch.types import Chunk, Response, Spend, Trace, Usage


class Runner:
    """Sends `texts`, each after `wait_s`, then `error` where there is one; notes when it was closed."""

    def __init__(self, *texts: str, wait_s: float = 0.0, error: Exception | None = None, trace: Trace) -> None:
        self.texts = texts
        self.wait_s = wait_s
        self.error = error
        self.trace = trace
        self.started = asyncio.Event()
        self.closed = False

    async def stream(self) -> AsyncIterator[Chunk]:
        self.started.set()
        try:
            for text in self.texts:
                await asyncio.sleep(self.wait_s)
                yield Chunk(text=text)
            if self.error is not None:
                await asyncio.sleep(self.wait_s)
                raise self.error
        except asyncio.CancelledError:
            self.trace.lost.append(Spend("p", "m", "interrupted", Usage(5, 0), None))
            raise
        finally:
            self.closed = True


def race(first: Runner, second: Runner, trace: Trace, failed: list[Exception] | None = None) -> list[str]:
    async def texts() -> list[str]:
        stream = raced(
            first.stream(),
            second.stream,
            after_s=0.05,
            trace=trace,
            failed=(failed if failed is not None else []).append,
        )
        async with opened(stream) as chunks:
            return [chunk.text async for chunk in chunks]

    return asyncio.run(texts())


def test_a_quick_first_is_alone() -> None:
    trace = Trace()
    first, second = Runner("a", "b", trace=trace), Runner("c", trace=trace)
    assert race(first, second, trace) == ["a", "b"]
    assert not second.started.is_set()
    assert trace.lost == []


def test_the_second_wins_where_the_first_is_slow_and_the_losers_cost_is_marked() -> None:
    trace = Trace()
    first, second = Runner("a", wait_s=30, trace=trace), Runner("c", "d", trace=trace)
    assert race(first, second, trace) == ["c", "d"]
    assert first.closed
    assert [spend.why for spend in trace.lost] == ["hedged"]


def test_the_first_still_wins_where_the_second_is_slower() -> None:
    trace = Trace()
    first, second = Runner("a", "b", wait_s=0.12, trace=trace), Runner("c", wait_s=30, trace=trace)
    assert race(first, second, trace) == ["a", "b"]
    assert second.closed
    assert [spend.why for spend in trace.lost] == ["hedged"]


def test_a_second_that_fails_is_told_of_and_the_first_waited_for() -> None:
    trace, failed = Trace(), list[Exception]()
    first, second = Runner("a", wait_s=0.2, trace=trace), Runner(error=ServerError("no"), trace=trace)
    assert race(first, second, trace, failed) == ["a"]
    assert trace.lost == []


def test_a_first_that_fails_late_leaves_the_answer_to_the_second() -> None:
    trace = Trace()
    first = Runner(error=ServerError("no"), wait_s=0.1, trace=trace)
    assert race(first, Runner("c", wait_s=0.2, trace=trace), trace) == ["c"]


def test_where_both_fail_the_firsts_error_is_raised_and_the_seconds_told() -> None:
    trace, failed = Trace(), list[Exception]()
    first = Runner(error=ServerError("one"), wait_s=0.1, trace=trace)
    with pytest.raises(LLMSwitchError, match="one"):
        race(first, Runner(error=OverloadedError("two"), trace=trace), trace, failed)
    assert [str(error) for error in failed] == ["two"]


def test_a_first_that_fails_in_time_is_raised_at_once() -> None:
    trace = Trace()
    second = Runner("c", trace=trace)
    with pytest.raises(ServerError):
        race(Runner(error=ServerError("one"), trace=trace), second, trace)
    assert not second.started.is_set()


def test_a_winner_that_is_cut_raises_after_what_it_sent() -> None:
    trace = Trace()
    with pytest.raises(ServerError, match="cut"):
        race(Runner("a", error=ServerError("cut"), trace=trace), Runner("c", trace=trace), trace)


def test_a_second_that_won_and_is_cut_is_told_of() -> None:
    trace, failed = Trace(), list[Exception]()
    second = Runner("c", error=ServerError("cut"), trace=trace)
    with pytest.raises(ServerError, match="cut") as caught:
        race(Runner("a", wait_s=30, trace=trace), second, trace, failed)
    assert failed == [caught.value]


def test_a_second_that_is_cut_after_the_first_failed_leaves_the_firsts_error() -> None:
    trace, failed = Trace(), list[Exception]()
    first = Runner(error=OverloadedError("busy"), wait_s=0.1, trace=trace)
    with pytest.raises(OverloadedError, match="busy"):
        race(first, Runner("c", error=ServerError("cut"), wait_s=0.2, trace=trace), trace, failed)
    assert [str(error) for error in failed] == ["cut"]


def test_leaving_early_ends_both() -> None:
    trace = Trace()
    first, second = Runner("a", wait_s=30, trace=trace), Runner(*"cdefgh", wait_s=0.01, trace=trace)

    async def leave() -> None:
        async with opened(raced(first.stream(), second.stream, after_s=0.01, trace=trace, failed=print)) as chunks:
            async for _ in chunks:
                return

    asyncio.run(leave())
    assert first.closed
    assert second.closed


def test_being_cancelled_while_waiting_ends_both() -> None:
    trace = Trace()
    first, second = Runner("a", wait_s=30, trace=trace), Runner("b", wait_s=30, trace=trace)

    async def cancelled() -> None:
        async def read() -> None:
            async with opened(raced(first.stream(), second.stream, after_s=0.01, trace=trace, failed=print)) as chunks:
                async for _ in chunks:
                    pass

        task = asyncio.create_task(read())
        await second.started.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(cancelled())
    assert first.closed
    assert second.closed


def test_a_loser_that_was_whole_just_then_is_paid_for_as_well() -> None:
    trace = Trace()
    whole = Response("p", "m", "c", "stop", usage=Usage(3, 4))

    async def both_at_once() -> list[str]:
        gate = asyncio.Event()

        async def first() -> AsyncIterator[Chunk]:
            await gate.wait()
            yield Chunk(text="a")
            yield Chunk(response=replace(whole, provider="first"))

        async def second() -> AsyncIterator[Chunk]:
            gate.set()
            yield Chunk(text="c")
            yield Chunk(response=replace(whole, provider="second"))

        async with opened(raced(first(), second, after_s=0.01, trace=trace, failed=print)) as chunks:
            return [chunk.text async for chunk in chunks]

    winner = asyncio.run(both_at_once())
    loser = {"a": "second", "c": "first"}[winner[0]]
    assert [(spend.provider, spend.why, spend.usage) for spend in trace.lost] == [(loser, "hedged", Usage(3, 4))]


def test_whoever_is_cancelled_again_and_again_leaves_neither_running() -> None:
    """A web server's cancel scope cancels at every turn of the loop until its task has ended."""
    trace = Trace()

    async def slow_to_close(runner: Runner) -> AsyncIterator[Chunk]:
        async with opened(runner.stream()) as chunks:
            async for chunk in chunks:
                yield chunk
        yield Chunk()

    first, second = Runner("a", wait_s=30, trace=trace), Runner("b", wait_s=30, trace=trace)

    async def cancelled() -> set[asyncio.Task[object]]:
        async def read() -> None:
            stream = raced(slow_to_close(first), lambda: slow_to_close(second), after_s=0.01, trace=trace, failed=print)
            async with opened(stream) as chunks:
                async for _ in chunks:
                    pass

        task = asyncio.create_task(read())
        await second.started.wait()
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        assert task.cancelled()
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(cancelled()) == set()
    assert first.closed
    assert second.closed
    assert [spend.why for spend in trace.lost] == ["interrupted", "interrupted"]


def test_an_answer_that_came_and_was_not_read_is_paid_for_as_well() -> None:
    trace = Trace()

    async def first() -> AsyncIterator[Chunk]:
        await asyncio.sleep(0.02)
        yield Chunk(text="a")
        yield Chunk(response=Response("p", "m", "a", "stop", usage=Usage(3, 4)))

    async def leave() -> None:
        second = Runner("b", wait_s=30, trace=Trace())
        async with opened(raced(first(), second.stream, after_s=0.01, trace=trace, failed=print)) as chunks:
            async for _ in chunks:
                await asyncio.sleep(0.02)  # the rest comes meanwhile
                return

    asyncio.run(leave())
    assert [(spend.why, spend.usage) for spend in trace.lost] == [("interrupted", Usage(3, 4))]
