"""The limit layer around a scripted provider, and around a real adapter for what only headers tell."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmswitch.errors import BudgetError, CallTimeoutError, LLMSwitchError, RateLimitError
from llmswitch.layers.attempt import AttemptLayer, Patience
from llmswitch.layers.base import collect
from llmswitch.layers.limit import LimitLayer
from llmswitch.limiter import Limiter, RateLimits
from llmswitch.providers.base import Provider
from llmswitch.providers.openai import VENDOR
from llmswitch.state import FileState, State
from llmswitch.types import Chunk, Parameters, Request, Trace
from llmswitch.windows import SQLiteWindows
from llmswitch.worker import Worker
from tests.providers.asking import settings_of
from tests.scripted import ANSWER, Scripted, question
from tests.servers.recorder import Answer, Recorder

KEY = "scripted:m@host"
ONE_A_MINUTE = RateLimits(requests=1)


@contextmanager
def limiter_on(path: Path) -> Iterator[Limiter]:
    worker: Worker[State] = Worker(FileState(path), name="state")
    yield Limiter(worker, clock=time.monotonic, wall=time.time)
    worker.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def limiter(path: Path) -> Iterator[Limiter]:
    with limiter_on(path) as made:
        yield made


def layer(limiter: Limiter, limits: RateLimits, provider: Provider) -> LimitLayer:
    attempt = AttemptLayer(provider, provider="scripted", patience=Patience(), clock=time.monotonic)
    return LimitLayer(attempt, key=KEY, target="scripted:m", limits=limits, limiter=limiter, wall=time.time)


def taken(path: Path, kind: str) -> int:
    """How many of them count now, once everything that was posted is done."""
    state = FileState(path)
    _, kept = SQLiteWindows(state).entries(f"{KEY}/{kind}", 61)
    state.commit()
    state.close()
    return sum(units for _, units in kept)


def test_a_call_within_its_limits_is_the_same_call(limiter: Limiter) -> None:
    response = asyncio.run(collect(layer(limiter, RateLimits(5, 50_000), Scripted(ANSWER)).stream(question())))
    assert response.text == "Paris"


def test_a_call_beyond_its_limits_is_not_sent_and_is_no_attempt(limiter: Limiter) -> None:
    scripted = Scripted(ANSWER)
    limited = layer(limiter, ONE_A_MINUTE, scripted)
    refused = question(trace=Trace(ends=time.monotonic() + 30))

    async def run() -> None:
        await collect(limited.stream(question()))
        await collect(limited.stream(refused))

    before = time.monotonic()
    with pytest.raises(RateLimitError, match=r"^scripted:m's limit of 1 request a minute: .* in 6[12] s, at "):
        asyncio.run(run())
    assert time.monotonic() - before < 5
    assert len(scripted.requests) == 1
    assert refused.trace.attempts == []


def test_who_waits_is_told_what_for(limiter: Limiter) -> None:
    limited, told = layer(limiter, ONE_A_MINUTE, Scripted(ANSWER)), list[str]()

    async def run() -> None:
        await collect(limited.stream(question()))
        async with asyncio.timeout(0.3):
            await collect(limited.stream(question(trace=Trace(notify=told.append))))

    with pytest.raises(TimeoutError):
        asyncio.run(run())
    assert len(told) == 1
    assert re.fullmatch(r"scripted:m's limit of 1 request a minute: waiting 6[12] s", told[0])


@pytest.mark.parametrize("stream", [True, False])
def test_tokens_are_reserved_before_and_settled_after(path: Path, stream: bool) -> None:
    reserved = []

    class Asking(Scripted):
        async def stream(self, request: Request):  # type: ignore[no-untyped-def]  # as the one it stands for
            reserved.append(taken(path, "tokens"))
            async for chunk in super().stream(request):
                yield chunk

    with limiter_on(path) as limiter:
        limited = layer(limiter, RateLimits(tokens=50_000), Asking(ANSWER))
        request = question("x" * 400, parameters=Parameters(max_tokens=300), stream=stream)
        asyncio.run(collect(limited.stream(request)))
    assert reserved == [400]
    assert taken(path, "tokens") == 7
    assert taken(path, "requests") == 0


def test_without_max_tokens_an_answer_of_some_length_is_reserved(path: Path) -> None:
    with limiter_on(path) as limiter:
        limited = layer(limiter, RateLimits(tokens=50_000), Scripted((Chunk(text="a"), CallTimeoutError("slow"))))
        with pytest.raises(CallTimeoutError):
            asyncio.run(collect(limited.stream(question("x" * 400))))
    assert taken(path, "tokens") == 100 + 1024, "nobody knows what it took: what was reserved stays taken"


@pytest.mark.parametrize(
    ("error", "requests"),
    [(RateLimitError("no", status=429), 1), (BudgetError("too dear"), 0)],
)
def test_what_was_refused_takes_no_tokens_and_what_was_never_sent_no_request(
    path: Path, error: LLMSwitchError, requests: int
) -> None:
    with limiter_on(path) as limiter:
        limited = layer(limiter, RateLimits(5, 50_000), Scripted((error,)))
        with pytest.raises(type(error)):
            asyncio.run(collect(limited.stream(question())))
    assert (taken(path, "requests"), taken(path, "tokens")) == (requests, 0)


def test_a_call_that_is_left_in_the_middle_keeps_what_it_reserved(path: Path) -> None:
    async def run(limited: LimitLayer) -> None:
        async for _ in limited.stream(question()):
            break

    with limiter_on(path) as limiter:
        asyncio.run(run(layer(limiter, RateLimits(5, 50_000), Scripted(ANSWER))))
    assert (taken(path, "requests"), taken(path, "tokens")) == (1, 1025)


def test_a_429_that_says_how_long_holds_up_every_call_of_every_process(path: Path, limiter: Limiter) -> None:
    scripted = Scripted((RateLimitError("slow down", status=429, retry_after_s=30.0),), ANSWER)

    async def run(limiter: Limiter, *, alternative: bool) -> None:
        request = question(alternative=alternative, trace=Trace(ends=time.monotonic() + 20))
        await collect(layer(limiter, RateLimits(), scripted).stream(request))

    with pytest.raises(RateLimitError, match="slow down"):
        asyncio.run(run(limiter, alternative=False))
    for alternative in (True, False):
        with pytest.raises(RateLimitError, match=r"pause after too many requests.* in (30|29) s"):
            asyncio.run(run(limiter, alternative=alternative))
        with (
            limiter_on(path) as another,
            pytest.raises(RateLimitError, match="pause after too many requests") as caught,
        ):
            asyncio.run(run(another, alternative=alternative))
    assert 25 < (caught.value.retry_after_s or 0) <= 30
    assert len(scripted.requests) == 1


def test_a_short_pause_is_waited_for(limiter: Limiter) -> None:
    scripted = Scripted((RateLimitError("slow down", status=429, retry_after_s=0.4),), ANSWER)
    limited = layer(limiter, RateLimits(), scripted)

    async def run() -> float:
        with pytest.raises(RateLimitError):
            await collect(limited.stream(question()))
        before = time.monotonic()
        assert (await collect(limited.stream(question(alternative=True)))).text == "Paris"
        return time.monotonic() - before

    assert 0.3 < asyncio.run(run()) < 1.5


def chat(headers: Mapping[str, str]) -> Answer:
    message = {"message": {"content": "Paris"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 5, "completion_tokens": 2}
    return Answer({"id": "1", "model": "m", "choices": [message], "usage": usage}, headers=headers)


def test_limits_are_learned_from_a_real_answers_headers_by_every_process(path: Path) -> None:
    async def run(limiter: Limiter, url: str) -> None:
        adapter = VENDOR.connect(VENDOR.configure(settings_of({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"{url}/v1"})))
        try:
            request = question(stream=False, trace=Trace(ends=time.monotonic() + 20))
            await collect(layer(limiter, RateLimits(requests=10), adapter).stream(request))
        finally:
            await adapter.aclose()

    with Recorder(chat({"x-ratelimit-limit-requests": "2", "x-ratelimit-limit-tokens": "90000"})) as server:
        with limiter_on(path) as one:
            asyncio.run(run(one, server.url))
        with limiter_on(path) as other:
            asyncio.run(run(other, server.url))
            with pytest.raises(RateLimitError, match="limit of 2 requests a minute"):
                asyncio.run(run(other, server.url))
        assert len(server.seen) == 2
    assert taken(path, "requests") == 2
    assert taken(path, "tokens") == 7, "the first call did not know yet that tokens are limited"


def test_a_target_without_limits_costs_the_store_one_look_a_second(tmp_path: Path) -> None:
    reads = []

    class Watched(FileState):
        def read(self, key: str) -> dict[str, object] | None:
            reads.append(key)
            return super().read(key)

    worker: Worker[State] = Worker(Watched(tmp_path / "state.db"), name="state")
    limited = layer(Limiter(worker, clock=time.monotonic, wall=time.time), RateLimits(), Scripted(ANSWER))

    async def run() -> None:
        for _ in range(20):
            await collect(limited.stream(question()))

    asyncio.run(run())
    worker.close()
    assert set(reads) == {f"limit:{KEY}"}
    assert len(reads) <= 3
