"""The cache layer: hits, misses, what is stored, and one call for what many ask at once."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import llmswitch
from llmswitch.answers import encode
from llmswitch.cache import ResponseCache, cache_key
from llmswitch.errors import CallTimeoutError, OverloadedError, ProviderError
from llmswitch.layers.base import Layer, collect, opened
from llmswitch.layers.cache import CacheLayer
from llmswitch.layers.deadline import DeadlineLayer
from llmswitch.providers.base import Endpoint
from llmswitch.shelf import Shelf
from llmswitch.types import Attempt, Chunk, Cost, Message, Request, Response, Trace, Usage

ANSWER = Response(
    provider="scripted",
    request_model="m",
    text="Paris",
    finish_reason="stop",
    usage=Usage(5, 2, 0, 0, 0),
    duration_s=0.5,
    cost=Cost(Decimal("0.0001"), "a list"),
    attempts=(Attempt("scripted", "m", "ok", 200, 0.5),),
)
ENDPOINT = Endpoint("scripted", "http://127.0.0.1:1")
QUESTION = Request("m", (Message("user", "The capital of France?"),))


class Asked:
    """Answers after `delay_s`, counts how often it was asked, and fails where there is no answer to give."""

    def __init__(self, *answers: Response | Exception, delay_s: float = 0.0) -> None:
        self.answers = list(answers)
        self.delay_s = delay_s
        self.calls = 0

    async def complete(self, request: Request) -> Response:
        return await collect(self.stream(request))

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        answer = self.answers[min(self.calls, len(self.answers) - 1)]
        self.calls += 1
        yield Chunk(text="Par")
        await asyncio.sleep(self.delay_s)
        if isinstance(answer, Exception):
            raise answer
        yield Chunk(text="is")
        yield Chunk(response=answer)

    async def aclose(self) -> None:
        pass


class Setup:
    """Cache layers over one shelf, and the warnings it gave."""

    def __init__(self, folder: Path) -> None:
        self.cache = ResponseCache(folder, ttl_s=3600)
        self.warnings: list[str] = []
        self.shelf = Shelf(self.cache, warn=self.warnings.append)

    def layer(self, inner: Asked, *, refresh: bool = False) -> CacheLayer:
        return CacheLayer(
            inner,
            shelf=self.shelf,
            key=lambda request: cache_key(ENDPOINT, request, None),
            refresh=refresh,
            clock=iter(range(1000)).__next__,
        )

    def close(self) -> None:
        with closing(ResponseCache(self.cache.folder, ttl_s=3600)) as other:
            free = other.claim(cache_key(ENDPOINT, QUESTION, None)) if self.cache.folder.is_dir() else True
        assert free, "no lock is left"
        self.shelf.close()


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    with closing(Setup(tmp_path / "responses")) as made:
        yield made


async def chunks(layer: Layer, request: Request = QUESTION) -> list[Chunk]:
    return [chunk async for chunk in layer.stream(request)]


def test_who_is_cancelled_while_a_whole_answer_is_stored_has_paid_for_it(setup: Setup) -> None:
    trace, storing = Trace(), threading.Event()
    put = setup.cache.put

    def slowly(key: str, response: Response) -> None:
        storing.set()
        time.sleep(0.1)
        put(key, response)

    setup.cache.put = slowly  # type: ignore[method-assign]  # as while another process has the file locked

    async def cancelled() -> None:
        task = asyncio.create_task(chunks(setup.layer(Asked(ANSWER)), replace(QUESTION, trace=trace)))
        await asyncio.to_thread(storing.wait, 10)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(cancelled())
    assert [(spend.why, spend.cost) for spend in trace.lost] == [("interrupted", ANSWER.cost)]


def test_the_second_answer_comes_from_the_cache(setup: Setup) -> None:
    inner = Asked(ANSWER)
    first = asyncio.run(chunks(setup.layer(inner)))
    assert first == [Chunk(text="Par"), Chunk(text="is"), Chunk(response=ANSWER)]
    text, last = asyncio.run(chunks(setup.layer(inner)))
    assert inner.calls == 1
    assert text == Chunk(text="Paris")
    assert last.response == replace(
        ANSWER,
        usage=Usage(0, 0, 0, 0, 0, 0),
        cost=Cost(Decimal(0), "cache"),
        attempts=(),
        cached=True,
        original=ANSWER,
        duration_s=1,  # two looks at a clock that counts them
    )
    assert setup.warnings == []


def test_how_it_is_asked_makes_no_difference(setup: Setup) -> None:
    inner = Asked(ANSWER)
    asyncio.run(setup.layer(inner).complete(QUESTION))
    assert asyncio.run(collect(setup.layer(inner).stream(QUESTION))).cached
    assert inner.calls == 1


def test_another_question_is_asked(setup: Setup) -> None:
    inner = Asked(ANSWER)
    asyncio.run(chunks(setup.layer(inner)))
    asyncio.run(chunks(setup.layer(inner), replace(QUESTION, system="Be brief.")))
    assert inner.calls == 2


def test_refresh_asks_and_overwrites(setup: Setup) -> None:
    inner = Asked(ANSWER, replace(ANSWER, text="Lyon"))
    asyncio.run(chunks(setup.layer(inner)))
    fresh = asyncio.run(collect(setup.layer(inner, refresh=True).stream(QUESTION)))
    assert (fresh.text, fresh.cached, inner.calls) == ("Lyon", False, 2)
    assert asyncio.run(collect(setup.layer(inner).stream(QUESTION))).text == "Lyon"
    assert inner.calls == 2


@pytest.mark.parametrize("reason", ["content_filter", "tool_call", "error"])
def test_what_is_not_whole_is_given_and_not_stored(setup: Setup, reason: Any) -> None:
    inner = Asked(replace(ANSWER, finish_reason=reason))
    for _ in range(2):
        assert asyncio.run(collect(setup.layer(inner).stream(QUESTION))).finish_reason == reason
    assert inner.calls == 2
    assert setup.warnings == []


def test_a_cut_answer_at_max_tokens_is_whole(setup: Setup) -> None:
    inner = Asked(replace(ANSWER, finish_reason="length"))
    asyncio.run(chunks(setup.layer(inner)))
    assert asyncio.run(collect(setup.layer(inner).stream(QUESTION))).cached


def test_an_answer_from_another_cache_is_not_stored_again(setup: Setup) -> None:
    asyncio.run(chunks(setup.layer(Asked(replace(ANSWER, cached=True, original=ANSWER)))))
    assert setup.cache.stats().entries == 0


def test_an_empty_answer_is_replayed_as_one(setup: Setup) -> None:
    inner = Asked(replace(ANSWER, text=""))
    asyncio.run(chunks(setup.layer(inner)))
    (last,) = asyncio.run(chunks(setup.layer(inner)))
    assert last.response is not None
    assert (last.response.text, last.response.cached) == ("", True)


def test_a_failure_is_not_stored_and_the_next_one_asks(setup: Setup) -> None:
    inner = Asked(OverloadedError("busy"), ANSWER)
    with pytest.raises(OverloadedError):
        asyncio.run(chunks(setup.layer(inner)))
    assert not asyncio.run(collect(setup.layer(inner).stream(QUESTION))).cached
    assert inner.calls == 2


def test_a_reader_who_leaves_in_mid_stream_stores_nothing_and_holds_nobody_up(setup: Setup) -> None:
    async def leave() -> None:
        async with opened(setup.layer(inner).stream(QUESTION)) as stream:
            assert await anext(stream) == Chunk(text="Par")

    inner = Asked(ANSWER)
    asyncio.run(leave())
    assert setup.cache.stats().entries == 0
    assert not asyncio.run(collect(setup.layer(inner).stream(QUESTION))).cached


def test_twenty_tasks_that_ask_the_same_cost_one_call(setup: Setup) -> None:
    async def together() -> list[Response]:
        return await asyncio.gather(*(collect(setup.layer(inner).stream(QUESTION)) for _ in range(20)))

    inner = Asked(ANSWER, delay_s=0.1)
    answers = asyncio.run(together())
    assert inner.calls == 1
    assert {answer.text for answer in answers} == {"Paris"}
    assert sorted(answer.cached for answer in answers) == [False] + [True] * 19
    assert setup.warnings == []


def test_different_questions_do_not_wait_for_each_other(setup: Setup) -> None:
    class Meeting(Asked):
        """Answers only once both questions are there."""

        async def stream(self, request: Request) -> AsyncIterator[Chunk]:
            self.calls += 1
            if self.calls == 2:
                both.set()
            await both.wait()
            yield Chunk(response=ANSWER)

    async def together() -> None:
        other = replace(QUESTION, model="n")
        async with asyncio.timeout(20):
            await asyncio.gather(*(collect(setup.layer(inner).stream(q)) for q in (QUESTION, other)))

    both = asyncio.Event()
    inner = Meeting()
    asyncio.run(together())
    assert inner.calls == 2


def test_where_the_first_fails_the_next_one_asks(setup: Setup) -> None:
    async def together() -> list[Response | BaseException]:
        calls = (collect(setup.layer(inner).stream(QUESTION)) for _ in range(5))
        return await asyncio.gather(*calls, return_exceptions=True)

    inner = Asked(OverloadedError("busy"), OverloadedError("busy"), ANSWER, delay_s=0.02)
    results = asyncio.run(together())
    assert inner.calls == 3
    assert sum(isinstance(result, ProviderError) for result in results) == 2
    assert sum(isinstance(result, Response) and result.cached for result in results) == 2


def test_waiting_for_another_call_ends_with_the_deadline(setup: Setup) -> None:
    async def wait() -> None:
        lock = setup.cache.claim(cache_key(ENDPOINT, QUESTION, None))
        assert lock is not None
        try:
            loop = asyncio.get_running_loop()
            bounded = DeadlineLayer(setup.layer(inner), total_s=0.1, clock=loop.time, named="--timeout")
            await collect(bounded.stream(replace(QUESTION, trace=Trace(notify=told.append))))
        finally:
            lock.release()

    inner, told = Asked(ANSWER), list[str]()
    with pytest.raises(CallTimeoutError):
        asyncio.run(wait())
    assert inner.calls == 0
    assert told == ["the same is being asked by another process: waiting for its answer"]


def test_a_broken_cache_is_warned_of_and_loses_no_answer(setup: Setup) -> None:
    setup.cache.folder.mkdir()
    (setup.cache.folder / "cache.db").write_bytes(b"not a database " * 1000)
    inner = Asked(ANSWER)
    assert asyncio.run(collect(setup.layer(inner).stream(QUESTION))) == ANSWER
    assert setup.warnings
    assert all("is damaged" in message for message in setup.warnings)
    assert len(set(setup.warnings)) == 1, "one thing to say, however often it is met"


def test_a_cache_without_a_folder_is_warned_of_and_loses_no_answer(setup: Setup) -> None:
    setup.cache.folder.write_text("in the way", encoding="utf-8")
    inner = Asked(ANSWER)
    assert asyncio.run(collect(setup.layer(inner).stream(QUESTION))) == ANSWER
    assert any("Not a directory" in message for message in setup.warnings)
    setup.cache.folder.unlink()


def test_closing_lets_go_of_the_files(setup: Setup) -> None:
    asyncio.run(chunks(setup.layer(Asked(ANSWER))))
    assert (setup.cache.folder / "cache.db-wal").exists()
    setup.shelf.close()
    assert not (setup.cache.folder / "cache.db-wal").exists(), "the last connection is closed"


# ---------------------------------------------------------------- processes

_CHILD = """
import asyncio, json, os, sys, time
from dataclasses import replace
from pathlib import Path
import diskcache
from llmswitch.answers import decode
from llmswitch.cache import ResponseCache, cache_key
from llmswitch.layers.base import collect
from llmswitch.layers.cache import CacheLayer
from llmswitch.providers.base import Endpoint
from llmswitch.shelf import Shelf
from llmswitch.types import Chunk, Message, Request

folder, calls, answer, delay_s = Path(sys.argv[1]), Path(sys.argv[2]), decode(sys.argv[3]), float(sys.argv[4])

class Slow:
    async def stream(self, request):
        with open(calls, "a") as file:
            file.write(request.model + "\\n")
        print("asking", flush=True)
        await asyncio.sleep(delay_s)
        yield Chunk(response=replace(answer, request_model=request.model))

    async def aclose(self):
        pass

warnings = []
endpoint = Endpoint("scripted", "http://127.0.0.1:1")
shelf = Shelf(ResponseCache(folder, ttl_s=3600), warn=warnings.append)
layer = CacheLayer(
    Slow(), shelf=shelf, key=lambda request: cache_key(endpoint, request, None), refresh=False, clock=time.monotonic
)

async def main():
    question = Request("m", (Message("user", "The capital of France?"),))
    shared = await collect(layer.stream(question))
    own = await collect(layer.stream(replace(question, model=str(os.getpid()))))
    shelf.close()
    print(json.dumps([shared.cached, shared.text, own.cached, warnings]), flush=True)

print("ready", flush=True)
sys.stdin.readline()
asyncio.run(main())
"""


def _start(stack: ExitStack, folder: Path, calls: Path, delay_s: float) -> subprocess.Popen[str]:
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(folder), str(calls), encode(ANSWER), str(delay_s)],
            env={**os.environ, "PYTHONPATH": str(Path(llmswitch.__file__).parents[1])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    )
    stack.callback(process.kill)
    return process


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def test_two_dozen_processes_that_ask_the_same_cost_one_call(setup: Setup, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    with ExitStack() as stack:
        processes = [_start(stack, setup.cache.folder, calls, 0.3) for _ in range(24)]
        assert {_line(process) for process in processes} == {"ready"}
        for process in processes:
            _go(process)
        outputs = [process.communicate(timeout=120)[0].splitlines() for process in processes]
    results = [json.loads(lines[-1]) for lines in outputs]
    asked = calls.read_text(encoding="utf-8").split()
    assert asked.count("m") == 1, "one call for the question of all"
    assert len(asked) == 25, "and one for each of their own"
    assert sorted(shared for shared, *_ in results) == [False] + [True] * 23
    assert {text for _, text, *_ in results} == {"Paris"}
    assert not any(own for _, _, own, _ in results)
    assert [warnings for *_, warnings in results if warnings] == []
    assert setup.cache.stats().entries == 25


@pytest.mark.skipif(os.name != "posix", reason="no SIGKILL")
def test_where_the_asking_process_is_killed_the_next_one_asks(setup: Setup, tmp_path: Path) -> None:
    async def wait_and_kill() -> Response:
        waiting = asyncio.create_task(collect(setup.layer(inner).stream(QUESTION)))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        assert inner.calls == 0, "it waits while the other process asks"
        holder.kill()
        async with asyncio.timeout(30):
            return await waiting

    inner = Asked(ANSWER)
    with ExitStack() as stack:
        holder = _start(stack, setup.cache.folder, tmp_path / "calls", 600)
        assert _line(holder) == "ready"
        _go(holder)
        assert _line(holder) == "asking"
        response = asyncio.run(wait_and_kill())
    assert (response.cached, inner.calls) == (False, 1)
