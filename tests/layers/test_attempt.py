"""One attempt: whole or an error, timed from its own start, and on record however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from llmswitch.errors import (
    CallTimeoutError,
    ContentFilterError,
    LLMSwitchError,
    RateLimitError,
    TruncatedError,
)
from llmswitch.layers.attempt import AttemptLayer, Patience
from llmswitch.layers.base import collect, opened
from llmswitch.providers.ratelimits import listener
from llmswitch.types import Chunk, Request, Response, Timing, Usage
from tests.scripted import ANSWER, Clock, Scripted, question

Steps = Sequence[Chunk | float | Exception | str]


def layer(*steps: Chunk | float | Exception | str, patience: Patience | None = None) -> AttemptLayer:
    clock = Clock()
    return AttemptLayer(Scripted(steps, clock=clock), provider="scripted", patience=patience or Patience(), clock=clock)


def ask(attempt: AttemptLayer, request: Request) -> Response:
    return asyncio.run(collect(attempt.stream(request)))


def test_a_stream_becomes_one_whole_response() -> None:
    request = question()
    response = ask(layer(*ANSWER), request)
    assert (response.text, response.finish_reason, response.response_model) == ("Paris", "stop", "m-2026")
    assert (response.response_id, response.request_id, response.usage.input_tokens) == ("r1", "q1", 5)
    assert [(a.outcome, a.status, a.model) for a in request.trace.attempts] == [("ok", 200, "m")]


def test_times_count_from_the_attempt_and_reasoning_is_no_content() -> None:
    steps = (
        0.5,
        Chunk(response_id="r"),
        0.5,
        Chunk(reasoning="hm"),
        1.0,
        Chunk(text="a"),
        0.25,
        Chunk(text="b"),
        0.25,
        Chunk(text="c"),
        3.0,
        Chunk(finish_reason="stop", usage=Usage(1, 13, 0, 0, 8)),
    )
    request = question()
    response = ask(layer(*steps), request)
    assert response.timing.time_to_first_token_s == pytest.approx(2.0)
    assert response.itl_s == pytest.approx(0.5 / 4)
    assert response.output_tokens_per_s == pytest.approx(8.0)
    assert request.trace.attempts[0].duration_s == pytest.approx(5.5)


class Wired:
    """An adapter over HTTP: it builds for 2 s, waits for 5, and takes what came apart for 1 s a piece."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    async def complete(self, request: Request) -> Response:
        raise NotImplementedError

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        heard = listener()
        self.clock.now += 2.0
        heard.sending()
        self.clock.now += 3.0
        heard.sending()  # a second request counts for nothing
        for piece in (Chunk(text="a"), Chunk(text="b"), Chunk(finish_reason="stop", usage=Usage(1, 2, 0, 0, 0))):
            self.clock.now += 2.0
            heard.received()
            self.clock.now += 1.0
            yield piece

    async def aclose(self) -> None:
        pass


def test_what_the_client_itself_takes_is_no_part_of_any_time() -> None:
    clock, request = Clock(), question()
    response = ask(AttemptLayer(Wired(clock), provider="w", patience=Patience(), clock=clock), request)
    assert clock.now == 114.0
    assert response.timing == Timing(time_to_first_token_s=5.0, content_span_s=3.0)
    assert request.trace.attempts[-1].duration_s == 11.0
    assert request.trace.own_s == 3.0


@pytest.mark.parametrize("usage", [Usage(1, 1, 0, 0, 0), Usage(1, 9, 0, 0, None), None])
def test_token_speed_is_unknown_without_two_visible_tokens(usage: Usage | None) -> None:
    response = ask(layer(Chunk(text="a"), 1.0, Chunk(text="b", finish_reason="stop", usage=usage)), question())
    assert response.itl_s is None
    assert response.output_tokens_per_s is None


def test_tokens_nobody_counted_are_estimated_and_say_so() -> None:
    response = ask(layer(Chunk(text="12345678", finish_reason="stop")), question("abcd", system="abcde"))
    assert (response.usage.input_tokens, response.usage.output_tokens) == (3, 2)
    assert response.usage.estimated


def test_a_stream_without_a_finish_reason_is_truncated_and_keeps_what_came() -> None:
    request = question()
    with pytest.raises(TruncatedError) as caught:
        ask(layer(Chunk(text="half an ans"), Chunk(usage=Usage(1, 2))), request)
    assert caught.value.partial_text == "half an ans"
    assert (caught.value.provider, caught.value.request_model) == ("scripted", "m")
    assert request.trace.attempts[0].outcome == "truncated"


@pytest.mark.parametrize("streamed", [True, False])
def test_a_blocked_answer_without_text_is_an_error(streamed: bool) -> None:
    request = question(stream=streamed)
    with pytest.raises(ContentFilterError):
        ask(layer(Chunk(finish_reason="content_filter")), request)
    assert [a.outcome for a in request.trace.attempts] == ["content_filter"]


def test_an_answer_in_one_piece_has_no_first_token() -> None:
    response = ask(layer(*ANSWER), question(stream=False))
    assert response.text == "Paris"
    assert response.timing.time_to_first_token_s is None


@pytest.mark.parametrize(
    ("before", "says"), [((), "LLM_FIRST_TOKEN_TIMEOUT"), ((Chunk(text="a"),), "LLM_IDLE_TIMEOUT")]
)
def test_silence_is_bounded_before_and_between_tokens(before: Steps, says: str) -> None:
    attempt = layer(*before, "hang", patience=Patience(first_token_s=0.05, idle_s=0.05))
    request = question()
    with pytest.raises(CallTimeoutError, match=says):
        ask(attempt, request)
    assert request.trace.attempts[0].outcome == "timeout"
    inner = attempt.inner
    assert isinstance(inner, Scripted)
    assert inner.closed == 1


def test_a_role_chunk_does_not_end_the_wait_for_the_first_token() -> None:
    patience = Patience(first_token_s=1.0, idle_s=100.0)
    with pytest.raises(CallTimeoutError, match="LLM_FIRST_TOKEN_TIMEOUT"):
        ask(layer(Chunk(response_id="r"), 2.0, Chunk(response_id="r"), "hang", patience=patience), question())


def test_an_error_names_who_was_asked_and_the_attempt_keeps_its_status() -> None:
    request = question()
    with pytest.raises(LLMSwitchError) as caught:
        ask(layer(0.5, RateLimitError("slow down", status=429, retry_after_s=3.0)), request)
    assert (caught.value.provider, caught.value.request_model) == ("scripted", "m")
    (attempt,) = request.trace.attempts
    assert (attempt.outcome, attempt.status, attempt.retry_after_s) == ("rate_limit", 429, 3.0)
    assert attempt.duration_s == pytest.approx(0.5)


def test_leaving_early_closes_the_stream_and_is_on_record() -> None:
    attempt, request = layer(*ANSWER), question()

    async def first() -> str:
        async with opened(attempt.stream(request)) as chunks:
            async for chunk in chunks:
                return chunk.text
        return ""

    assert asyncio.run(first()) == "Par"
    assert [a.outcome for a in request.trace.attempts] == ["interrupted"]
    inner = attempt.inner
    assert isinstance(inner, Scripted)
    assert inner.closed == 1


@pytest.mark.parametrize("streamed", [True, False])
def test_where_another_target_stands_ready_half_of_the_time_is_left_for_it(streamed: bool) -> None:
    attempt = layer("hang", patience=Patience(first_token_s=60.0))
    request = question(alternative=True, stream=streamed)
    request.trace.ends = attempt.clock() + 0.1
    with pytest.raises(CallTimeoutError, match=r"within 0\.05 s"):
        ask(attempt, request)
