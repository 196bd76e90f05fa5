"""Asking again: what can succeed, how long it waits, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import Future, RetryCallState

from llmswitch.errors import (
    AuthenticationError,
    BadRequestError,
    CallConnectionError,
    CallTimeoutError,
    CircuitOpenError,
    ContentFilterError,
    ContextLengthError,
    LLMSwitchError,
    MalformedError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    QuotaError,
    RateLimitError,
    ServerError,
    TruncatedError,
)
from llmswitch.layers.base import opened
from llmswitch.layers.retry import Backoff, RetryLayer, can_succeed
from llmswitch.types import Chunk, Request, Response
from tests.scripted import Clock, Scripted, question

WHOLE = (Chunk(text="Paris"), Chunk(response=Response("p", "m", "Paris", "stop")))
Steps = Sequence[Chunk | float | Exception | str]


class Quota:
    """Allows so many retries."""

    def __init__(self, left: int = 100) -> None:
        self.left = left

    async def may_retry(self, key: str) -> bool:
        self.left -= 1
        return self.left >= 0


class Bench:
    """A retry layer over scripts, on a clock that only its waits move."""

    def __init__(self, *scripts: Steps, retries: int = 2, quota: Quota | None = None, jitter: float = 0.5) -> None:
        self.inner = Scripted(*scripts, clock=Clock())
        self.waits: list[float] = []
        self.told: list[str] = []
        self.layer = RetryLayer(
            self.inner,
            key="k",
            target="openai",
            retries=retries,
            quota=quota or Quota(),
            clock=self.inner.clock,
            sleep=self._sleep,
            random=lambda: jitter,
        )

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.inner.clock.now += seconds

    def ask(self, request: Request | None = None) -> list[Chunk]:
        asked = request or question()
        asked.trace.notify = self.told.append

        async def all_of() -> list[Chunk]:
            async with opened(self.layer.stream(asked)) as chunks:
                return [chunk async for chunk in chunks]

        return asyncio.run(all_of())


@pytest.mark.parametrize(
    "error",
    [
        CallTimeoutError("t", status=408),
        ServerError("locked", status=409),
        ServerError("early", status=425),
        RateLimitError("slow", status=429),
        ServerError("broken", status=500),
        ServerError("gateway", status=502),
        OverloadedError("busy", status=503),
        OverloadedError("busy", status=529),
        CallConnectionError("reset"),
        CallTimeoutError("silent"),
        TruncatedError("cut"),
        MalformedError("no JSON"),
    ],
)
def test_what_may_pass_is_asked_again_and_nobody_notices(error: LLMSwitchError) -> None:
    bench = Bench((error,), WHOLE)
    assert bench.ask() == list(WHOLE)
    assert len(bench.inner.requests) == 2
    assert bench.told == [f"openai: {error.kind.replace('_', ' ')}; asking again in 0.5 s"]


@pytest.mark.parametrize(
    "error",
    [
        BadRequestError("no", status=400),
        AuthenticationError("no", status=401),
        QuotaError("no money", status=402),
        PermissionDeniedError("no", status=403),
        NotFoundError("no", status=404),
        ContextLengthError("long", status=413),
        BadRequestError("no", status=422),
        QuotaError("used up", status=429),
        ContentFilterError("filtered"),
        CallConnectionError("redirect", status=307),
        CircuitOpenError("left alone", retry_after_s=0.1),
    ],
)
def test_what_stays_as_it_is_is_not_asked_again(error: LLMSwitchError) -> None:
    bench = Bench((error,), WHOLE)
    with pytest.raises(type(error)):
        bench.ask()
    assert len(bench.inner.requests) == 1
    assert bench.waits == []
    assert not can_succeed(error)


def test_a_bug_is_no_failure_of_the_vendor() -> None:
    bench = Bench((ZeroDivisionError(),), WHOLE)
    with pytest.raises(ZeroDivisionError):
        bench.ask()
    assert len(bench.inner.requests) == 1


def test_it_gives_up_after_so_many_retries_with_the_last_error() -> None:
    errors = [ServerError(f"number {n}", status=500) for n in range(5)]
    bench = Bench(*((error,) for error in errors), retries=3)
    with pytest.raises(ServerError, match="number 3"):
        bench.ask()
    assert bench.waits == pytest.approx([0.5, 1.0, 2.0])


def test_no_retries_is_one_request() -> None:
    bench = Bench((ServerError("broken", status=500),), WHOLE, retries=0)
    with pytest.raises(ServerError):
        bench.ask()
    assert len(bench.inner.requests) == 1


def state_after(failures: int, error: Exception) -> RetryCallState:
    state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]  # unused here
    state.attempt_number = failures
    state.outcome = Future(failures)
    state.outcome.set_exception(error)
    return state


@given(chances=st.lists(st.floats(0, 1, exclude_max=True), min_size=2, max_size=9))
def test_each_wait_is_longer_than_the_last_until_the_cap_and_none_is_over_it(chances: list[float]) -> None:
    left = iter(chances)
    backoff = Backoff(lambda: next(left))
    waits = [backoff(state_after(n, ServerError("x"))) for n in range(1, len(chances) + 1)]
    assert all(later > 1.1 * earlier for earlier, later in pairwise(waits[:7]))
    assert max(waits) <= 60 * 1.2
    assert min(waits) >= 0.4


@given(
    chances=st.lists(st.floats(0, 1, exclude_max=True), min_size=2, max_size=6),
    told=st.floats(0, 3600),
)
def test_a_vendors_own_word_is_obeyed_and_the_waits_still_grow(chances: list[float], told: float) -> None:
    left = iter(chances)
    backoff = Backoff(lambda: next(left))
    waits = [backoff(state_after(n, RateLimitError("x", retry_after_s=told))) for n in range(1, len(chances) + 1)]
    assert all(wait >= told for wait in waits)
    assert waits == sorted(waits)


def test_a_wait_over_a_second_is_not_waited_where_a_fallback_stands_ready() -> None:
    bench = Bench((RateLimitError("slow", status=429, retry_after_s=30.0),), WHOLE)
    with pytest.raises(RateLimitError):
        bench.ask(question(alternative=True))
    assert bench.waits == []
    assert len(bench.inner.requests) == 1


def test_a_short_wait_is_waited_even_so() -> None:
    bench = Bench((ServerError("x", status=500),), WHOLE)
    assert bench.ask(question(alternative=True)) == list(WHOLE)
    assert bench.waits == pytest.approx([0.5])


def test_without_a_fallback_it_waits_as_long_as_it_is_told_if_that_fits() -> None:
    request = question()
    request.trace.ends = Clock().now + 60
    bench = Bench((RateLimitError("slow", status=429, retry_after_s=30.0),), WHOLE)
    assert bench.ask(request) == list(WHOLE)
    assert bench.waits == pytest.approx([30.5])


def test_a_wait_that_does_not_fit_into_the_deadline_fails_at_once_and_says_when_to_come_back() -> None:
    request = question()
    request.trace.ends = Clock().now + 20
    bench = Bench((RateLimitError("slow", status=429, retry_after_s=30.0),), WHOLE)
    with pytest.raises(RateLimitError, match=r"slow It is to be asked again in 30 s\.") as caught:
        bench.ask(request)
    assert bench.waits == []
    assert caught.value.retry_after_s == 30.0


def test_an_empty_quota_ends_the_retries_of_a_vendor_that_is_down() -> None:
    quota = Quota(left=3)
    for _ in range(4):
        bench = Bench((ServerError("down", status=500),), retries=2, quota=quota)
        with pytest.raises(ServerError):
            bench.ask()
    assert len(bench.inner.requests) == 1  # the last call had no retry left


def test_text_that_was_shown_ends_all_retrying() -> None:
    bench = Bench((Chunk(text="Pa"), TruncatedError("cut")), WHOLE)
    with pytest.raises(TruncatedError):
        bench.ask()
    assert len(bench.inner.requests) == 1


def test_thinking_is_not_shown_and_ends_nothing() -> None:
    bench = Bench((Chunk(reasoning="hm"), TruncatedError("cut")), WHOLE)
    assert bench.ask()[-1].response is not None


def test_text_is_taken_back_where_the_reader_knows_how() -> None:
    bench = Bench((Chunk(text="Pa"), TruncatedError("cut")), WHOLE)
    chunks = bench.ask(question(restarts=True))
    assert [chunk.text or chunk.restart for chunk in chunks[:-1]] == ["Pa", True, "Paris"]


def test_leaving_early_closes_what_is_inside() -> None:
    bench = Bench((ServerError("x", status=500),), WHOLE)

    async def first() -> None:
        async with opened(bench.layer.stream(question())) as chunks:
            async for _ in chunks:
                return

    asyncio.run(first())
    assert bench.inner.closed == 2


def test_a_circuit_that_opens_between_two_attempts_does_not_hide_what_the_vendor_said() -> None:
    opened_now = CircuitOpenError("openai failed 5 times", retry_after_s=30.0)
    bench = Bench((ServerError("out of order", status=500),), (opened_now,))
    with pytest.raises(ServerError) as caught:
        bench.ask()
    assert caught.value.message == "out of order openai failed 5 times"
    assert (caught.value.status, caught.value.retry_after_s) == (500, 30.0)
    assert len(bench.inner.requests) == 2
