"""A target that fails again and again is left alone: the layer over what processes really share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from llmswitch.circuit import Admission
from llmswitch.errors import (
    AuthenticationError,
    BadRequestError,
    BudgetError,
    CallConnectionError,
    CallTimeoutError,
    CircuitOpenError,
    ContentFilterError,
    MalformedError,
    NotFoundError,
    OverloadedError,
    QuotaError,
    RateLimitError,
    ServerError,
    TruncatedError,
)
from llmswitch.health import Health
from llmswitch.layers.attempt import AttemptLayer, Patience
from llmswitch.layers.base import collect
from llmswitch.layers.breaker import BreakerLayer
from llmswitch.state import MemoryState, State
from llmswitch.types import Attempt, Chunk, Request, Trace
from llmswitch.worker import Worker
from tests.scripted import ANSWER, Clock, Scripted, question

KEY = "openai:m@api.openai.com"
Script = Sequence[Chunk | float | Exception | str]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Iterator[Health]:
    worker: Worker[State] = Worker(MemoryState(wall=clock), name="test-state")
    yield Health(worker, clock)
    worker.close()


class Target:
    """The layer over a target that plays one script a call."""

    def __init__(self, health: Health, clock: Clock, *scripts: Script) -> None:
        self.health = health
        self.scripted = Scripted(*scripts, clock=clock)
        attempt = AttemptLayer(self.scripted, provider="openai", patience=Patience(), clock=clock)
        self.layer = BreakerLayer(attempt, key=KEY, target="openai:m", health=health, clock=clock)

    @property
    def asked(self) -> int:
        return len(self.scripted.requests)

    def ask(self, request: Request | None = None) -> str:
        return asyncio.run(collect(self.layer.stream(request or question()))).text

    def fail(self, times: int) -> None:
        for _ in range(times):
            with pytest.raises(ServerError):
                self.ask()
        self.settle()

    def settle(self) -> None:
        """Wait for what was reported, before the clock is moved."""
        asyncio.run(self.health.healthy([]))

    def admission(self) -> Admission:
        return asyncio.run(self.health.admit(KEY))


@pytest.mark.parametrize("kind", [ServerError, OverloadedError, CallTimeoutError, CallConnectionError, TruncatedError])
def test_after_five_failures_the_target_is_not_touched(health: Health, clock: Clock, kind: type[Exception]) -> None:
    target = Target(health, clock, [kind("no")])
    for _ in range(5):
        with pytest.raises(kind, match=r"^no$"):
            target.ask()
    target.settle()
    clock.now += 17.5
    for _ in range(15):
        request = question()
        with pytest.raises(CircuitOpenError) as refused:
            target.ask(request)
        assert request.trace.attempts == []
    assert target.asked == 5
    assert refused.value.message == (
        "openai:m failed 5 times of late and is asked again in 13 s; to ask it now, type "
        "'llmswitch providers --reset openai'."
    )
    assert refused.value.retry_after_s == 12.5


@pytest.mark.parametrize(
    "kind",
    [
        AuthenticationError,
        BadRequestError,
        ContentFilterError,
        MalformedError,
        NotFoundError,
        RateLimitError,
        QuotaError,
        BudgetError,
    ],
)
def test_what_shows_that_the_target_is_there_is_no_failure(health: Health, clock: Clock, kind: type[Exception]) -> None:
    target = Target(health, clock, [kind("no")])
    for _ in range(30):
        with pytest.raises(kind):
            target.ask()
    assert target.asked == 30


def test_an_answer_in_between_begins_the_count_anew(health: Health, clock: Clock) -> None:
    failure: Script = [ServerError("no")]
    target = Target(health, clock, *[failure] * 4, ANSWER, *[failure] * 4, ANSWER)
    for _ in range(2):
        target.fail(4)
        assert target.ask() == "Paris"


def test_the_first_piece_that_a_probe_brings_lets_the_others_in(health: Health, clock: Clock) -> None:
    target = Target(health, clock, *[[ServerError("no")]] * 5, ANSWER)
    target.fail(5)
    clock.now += 30

    async def asked() -> None:
        async with aclosing(target.layer.stream(question())) as probe:  # type: ignore[type-var]  # it is a generator
            assert (await anext(probe)).text == "Par"
            assert (await collect(target.layer.stream(question()))).text == "Paris"
            assert "".join([chunk.text async for chunk in probe]) == "is"

    asyncio.run(asked())
    assert target.ask() == "Paris"


def test_what_a_probe_brings_later_says_nothing_new(health: Health, clock: Clock) -> None:
    failure: Script = [ServerError("no")]
    target = Target(health, clock, *[failure] * 5, [Chunk(text="Par"), Chunk(text="is"), "hang"], failure)
    target.fail(5)
    clock.now += 30

    async def asked() -> None:
        async with aclosing(target.layer.stream(question())) as probe:  # type: ignore[type-var]  # it is a generator
            await anext(probe)
            for _ in range(5):
                with pytest.raises(ServerError):
                    await collect(target.layer.stream(question()))
            await anext(probe)

    asyncio.run(asked())
    assert not target.admission().allowed


def test_while_a_probe_is_silent_nobody_else_is_let_in(health: Health, clock: Clock) -> None:
    target = Target(health, clock, *[[ServerError("no")]] * 5, ["hang"])
    target.fail(5)
    clock.now += 30

    async def asked() -> None:
        probe = asyncio.create_task(collect(target.layer.stream(question())))
        while target.asked < 6:  # noqa: ASYNC110  # the worker's thread sets no Event
            await asyncio.sleep(0.001)
        with pytest.raises(CircuitOpenError, match="asked again in 30 s"):
            await collect(target.layer.stream(question()))
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe

    asyncio.run(asked())
    assert target.asked == 6
    assert target.admission().probe


def test_a_probe_that_fails_leaves_the_target_alone_for_longer(health: Health, clock: Clock) -> None:
    target = Target(health, clock, [ServerError("no")])
    target.fail(5)
    clock.now += 30
    target.fail(1)
    assert target.admission() == Admission(False, retry_after_s=60.0, failures=6)


def test_a_probe_whose_stream_is_cut_counts_as_one_failure(health: Health, clock: Clock) -> None:
    target = Target(health, clock, *[[ServerError("no")]] * 5, [Chunk(text="Par"), ServerError("cut")])
    target.fail(5)
    clock.now += 30
    target.fail(4)
    assert target.admission() == Admission(True)
    target.fail(1)
    assert not target.admission().allowed


@pytest.mark.parametrize("kind", [BadRequestError, RateLimitError])
def test_a_probe_that_is_refused_has_found_the_target(health: Health, clock: Clock, kind: type[Exception]) -> None:
    target = Target(health, clock, *[[ServerError("no")]] * 5, [kind("no")])
    target.fail(5)
    clock.now += 30
    with pytest.raises(kind):
        target.ask()
    assert target.admission() == Admission(True)


@pytest.mark.parametrize("kind", [BudgetError, RateLimitError])
def test_a_probe_that_was_never_sent_leaves_its_place_to_the_next(
    health: Health, clock: Clock, kind: type[Exception]
) -> None:
    target = Target(health, clock, [ServerError("no")])
    target.fail(5)
    clock.now += 30
    # a layer further in that refuses, as a budget or a limit does, with no attempt behind it
    refusing = BreakerLayer(Scripted([kind("no")]), key=KEY, target="openai:m", health=health, clock=clock)
    with pytest.raises(kind):
        asyncio.run(collect(refusing.stream(question())))
    assert target.admission().probe


def test_a_probe_whose_reader_leaves_leaves_its_place_to_the_next(health: Health, clock: Clock) -> None:
    silent: Script = [Chunk(reasoning="hm"), "hang"]
    target = Target(health, clock, *[[ServerError("no")]] * 5, silent)
    target.fail(5)
    clock.now += 30

    async def left() -> None:
        async with aclosing(target.layer.stream(question())) as probe:  # type: ignore[type-var]  # it is a generator
            await anext(probe)

    asyncio.run(left())
    assert target.admission() == Admission(True)


class Overdue(Scripted):
    """Hangs for `waits_s` of the clock, until the call's deadline where `ends`."""

    def __init__(self, clock: Clock, waits_s: float, *, ends: bool = True, first: Chunk | None = None) -> None:
        super().__init__(clock=clock)
        self.waits_s = waits_s
        self.ends = ends
        self.first = first

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        if self.first is not None:
            yield self.first
        self.clock.now += self.waits_s
        request.trace.ends = self.clock.now if self.ends else self.clock.now + 1
        await asyncio.Event().wait()


def cut(layer: BreakerLayer, *before: Attempt) -> None:
    """A call that is cancelled, as a deadline does it; `before` are attempts that it made already."""

    async def asked() -> None:
        task = asyncio.create_task(collect(layer.stream(question(trace=Trace(attempts=list(before))))))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asked())


@pytest.mark.parametrize(
    ("inner", "counts"),
    [
        ({"waits_s": 5.0}, True),
        ({"waits_s": 0.5}, False),
        ({"waits_s": 5.0, "ends": False}, False),
        ({"waits_s": 5.0, "first": Chunk(text="Par")}, False),
    ],
)
def test_silence_until_the_deadline_is_a_failure(
    health: Health, clock: Clock, inner: dict[str, Any], counts: bool
) -> None:
    patience = Patience(first_token_s=600.0, idle_s=600.0)
    attempt = AttemptLayer(Overdue(clock, **inner), provider="openai", patience=patience, clock=clock)
    layer = BreakerLayer(attempt, key=KEY, target="openai:m", health=health, clock=clock)
    for _ in range(5):
        cut(layer)
    assert asyncio.run(health.admit(KEY)).allowed is not counts


def test_a_call_that_waited_for_a_limit_until_its_deadline_was_never_sent(health: Health, clock: Clock) -> None:
    layer = BreakerLayer(Overdue(clock, 5.0), key=KEY, target="openai:m", health=health, clock=clock)
    for _ in range(5):
        cut(layer, Attempt("openai", "m", "rate_limit", 429, duration_s=5.0))
    assert asyncio.run(health.admit(KEY)).allowed
