"""Several targets behind one call: who is asked next, on what, and what is said when nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from llmswitch.errors import (
    AuthenticationError,
    BadRequestError,
    BudgetError,
    CallConnectionError,
    ConfigError,
    ContentFilterError,
    ContextLengthError,
    LLMSwitchError,
    NotFoundError,
    OverloadedError,
    QuotaError,
    RateLimitError,
    ServerError,
    TruncatedError,
)
from llmswitch.layers.base import opened
from llmswitch.layers.fallback import FallbackLayer, Lane
from llmswitch.providers.base import Provider
from llmswitch.runs.policy import FALL_ON
from llmswitch.types import Chunk, Request, Response
from tests.scripted import Scripted, question

Steps = Sequence[Chunk | float | Exception | str]


def whole(name: str) -> Steps:
    return (Chunk(text=name), Chunk(response=Response(name, f"{name}-model", name, "stop")))


class Bench:
    """Lanes a, b, c, … over scripts, a's second one in `then`. `well` are the healthy ones, all by default."""

    def __init__(
        self,
        *scripts: Steps,
        fall_on: frozenset[str] = frozenset(FALL_ON),
        well: str = "abc",
        windows: dict[str, int | None] | None = None,
        hedge_s: float | None = None,
        then: Steps | None = None,
    ) -> None:
        self.inner = {name: Scripted(script) for name, script in zip("abc", scripts, strict=False)}
        self.inner["a"].scripts += [then] if then is not None else []
        self.well = well
        self.told: list[str] = []
        self.asked: list[str] = []
        lanes = [self._lane(name, (windows or {}).get(name)) for name in self.inner]
        self.layer = FallbackLayer(lanes, fall_on=fall_on, standing=self, hedge_s=hedge_s)

    async def healthy(self, keys: Sequence[str]) -> frozenset[str]:
        return frozenset(keys) & frozenset(self.well)

    def _lane(self, name: str, window: int | None) -> Lane:
        def connect() -> Provider:
            self.asked.append(name)
            return self.inner[name]

        return Lane(name, name, Request(f"{name}-model", question().messages), connect, lambda: window)

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
        RateLimitError("x", status=429),
        QuotaError("x", status=402),
        OverloadedError("x", status=529),
        ServerError("x", status=500),
        CallConnectionError("x"),
        TruncatedError("x"),
        NotFoundError("x", status=404),
    ],
)
def test_what_another_may_not_have_goes_to_the_next_with_its_own_model(error: LLMSwitchError) -> None:
    bench = Bench((error,), whole("b"))
    chunks = bench.ask()
    assert [chunk.text for chunk in chunks[:-1]] == ["b"]
    assert bench.inner["b"].requests[0].model == "b-model"
    assert bench.told == [f"a failed ({error.kind.replace('_', ' ')}): asking b"]


@pytest.mark.parametrize(
    "error",
    [
        BadRequestError("ours", status=400),
        AuthenticationError("our key", status=401),
        ContentFilterError("filtered"),
        BudgetError("too dear"),
        ConfigError("no SDK"),
    ],
)
def test_what_is_our_own_fault_is_reported(error: LLMSwitchError) -> None:
    bench = Bench((error,), whole("b"))
    with pytest.raises(type(error)) as caught:
        bench.ask()
    assert caught.value is error
    assert bench.asked == ["a"]


@pytest.mark.parametrize(
    ("kind", "error"),
    [("authentication", AuthenticationError("k", status=401)), ("content_filter", ContentFilterError("f"))],
)
def test_what_is_named_is_passed_on_as_well(kind: str, error: LLMSwitchError) -> None:
    bench = Bench((error,), whole("b"), fall_on=frozenset(FALL_ON) | {kind})
    assert bench.ask()[-1].response == Response("b", "b-model", "b", "stop")


def test_when_all_fail_the_error_has_every_targets_reason_and_the_first_ones_kind() -> None:
    bench = Bench(
        (RateLimitError("slow down", status=429, retry_after_s=30.0, request_id="r1"),),
        (AuthenticationError("bad key", status=401),),
        (ServerError("broken", status=500, retry_after_s=5.0),),
    )
    with pytest.raises(RateLimitError) as caught:
        bench.ask()
    assert caught.value.message == "every target failed. a: slow down; b: bad key; c: broken."
    assert (caught.value.status, caught.value.request_id, caught.value.retry_after_s) == (429, "r1", 5.0)


def test_one_target_alone_fails_as_itself() -> None:
    error = ServerError("broken", status=500)
    with pytest.raises(ServerError) as caught:
        Bench((error,)).ask()
    assert caught.value is error


def test_text_that_was_shown_stays_and_the_call_fails() -> None:
    bench = Bench((Chunk(text="half"), TruncatedError("cut")), whole("b"))
    with pytest.raises(TruncatedError):
        bench.ask()
    assert bench.asked == ["a"]


def test_text_is_taken_back_where_the_reader_knows_how() -> None:
    bench = Bench((Chunk(text="half"), TruncatedError("cut")), whole("b"))
    chunks = bench.ask(question(restarts=True))
    assert [chunk.text or chunk.restart for chunk in chunks[:-1]] == ["half", True, "b"]


@pytest.mark.parametrize(("well", "alternative"), [("abc", True), ("ac", True), ("a", False)])
def test_a_target_is_told_whether_a_healthy_one_stands_behind_it(well: str, alternative: bool) -> None:
    bench = Bench(whole("a"), whole("b"), whole("c"), well=well)
    bench.ask()
    assert bench.inner["a"].requests[0].alternative is alternative


def test_the_last_one_has_nobody_behind_it() -> None:
    bench = Bench((ServerError("x"),), whole("b"))
    bench.ask()
    assert bench.inner["b"].requests[0].alternative is False


def test_a_prompt_that_is_too_long_goes_to_a_larger_window() -> None:
    windows: dict[str, int | None] = {"a": 1000, "b": 1000, "c": 2000}
    bench = Bench((ContextLengthError("too long", status=400),), whole("b"), whole("c"), windows=windows)
    assert bench.ask()[-1].response is not None
    assert bench.asked == ["a", "c"]


def test_a_prompt_that_no_window_is_larger_for_says_so() -> None:
    bench = Bench((ContextLengthError("too long", status=400),), whole("b"), windows={"a": 2000, "b": 1000})
    with pytest.raises(ContextLengthError, match=r"a: too long; b: its context window of 1,000 tokens is no larger"):
        bench.ask()
    assert bench.asked == ["a"]


def test_a_window_nobody_knows_may_be_larger() -> None:
    bench = Bench((ContextLengthError("too long", status=400),), whole("b"), windows={"a": 2000})
    assert bench.ask()[-1].response is not None


def test_all_share_one_trace_and_one_way_of_being_asked() -> None:
    bench = Bench((ServerError("x"),), whole("b"))
    request = question(stream=False, restarts=True)
    bench.ask(request)
    for name in "ab":
        asked = bench.inner[name].requests[0]
        assert asked.trace is request.trace
        assert (asked.stream, asked.restarts) == (False, True)


def test_a_slow_first_is_hedged_by_the_next_healthy_one() -> None:
    bench = Bench(("hang",), whole("b"), whole("c"), hedge_s=0.05, well="ac")
    assert bench.ask()[-1].response == Response("c", "c-model", "c", "stop")
    assert bench.asked == ["a", "c"]
    assert bench.inner["a"].closed == 1


def test_a_quick_first_is_never_hedged() -> None:
    bench = Bench(whole("a"), whole("b"), hedge_s=5.0)
    assert bench.ask()[-1].response == Response("a", "a-model", "a", "stop")
    assert bench.asked == ["a"]


def test_who_failed_as_a_rival_is_not_asked_once_more() -> None:

    bench = Bench(whole("a"), (ServerError("b broken"),), whole("c"), hedge_s=0.01)

    async def slow_failure(request: Request) -> object:
        await asyncio.sleep(0.1)
        raise ServerError("a broken")

    async def stream(request: Request):  # type: ignore[no-untyped-def]  # an async generator
        await slow_failure(request)
        yield Chunk()

    bench.inner["a"].stream = stream  # type: ignore[method-assign]
    assert bench.ask()[-1].response == Response("c", "c-model", "c", "stop")
    assert bench.asked == ["a", "b", "c"]


def test_a_rival_that_won_and_was_cut_fails_as_itself_and_who_was_only_slow_is_asked_again() -> None:
    bench = Bench(("hang",), (Chunk(text="half"), TruncatedError("b cut")), hedge_s=0.01)
    bench.inner["a"].scripts.append(whole("a"))
    chunks = bench.ask(question(restarts=True))
    assert [chunk.text or chunk.restart for chunk in chunks[:-1]] == ["half", True, "a"]
    assert bench.asked == ["a", "b", "a"]
    assert bench.told[-1] == "b failed (truncated): asking a"


def test_a_rival_that_won_and_was_cut_has_its_own_reason_where_all_fail() -> None:
    bench = Bench(("hang",), (Chunk(text="half"), TruncatedError("cut")), hedge_s=0.01)
    bench.inner["a"].scripts.append((ServerError("broken"),))
    with pytest.raises(ServerError, match=r"every target failed. a: broken; b: cut\."):
        bench.ask(question(restarts=True))
    assert bench.asked == ["a", "b", "a"]


def test_who_was_passed_over_is_waited_for_where_nobody_else_answers() -> None:
    limited = RateLimitError("slow down", status=429, retry_after_s=30.0)
    bench = Bench((limited,), (ServerError("broken"),), then=whole("a"))
    assert bench.ask()[-1].response == Response("a", "a-model", "a", "stop")
    assert bench.asked == ["a", "b", "a"]
    assert [request.alternative for request in bench.inner["a"].requests] == [True, False]


def test_that_happens_once_and_the_reasons_stay_in_their_order() -> None:
    limited = RateLimitError("slow down", status=429, retry_after_s=30.0)
    bench = Bench((limited,), (ServerError("broken"),))
    with pytest.raises(RateLimitError, match=r"a: slow down; b: broken\."):
        bench.ask()
    assert bench.asked == ["a", "b", "a"]


def test_the_last_one_has_been_waited_for_already() -> None:
    limited = RateLimitError("slow down", status=429, retry_after_s=30.0)
    bench = Bench((ServerError("broken"),), (limited,))
    with pytest.raises(ServerError):
        bench.ask()
    assert bench.asked == ["a", "b"]
