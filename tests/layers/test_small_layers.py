"""Deadline, lenient, schema, price and record: each alone around a scripted provider."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from llmswitch.book import Book
from llmswitch.database import reading
from llmswitch.errors import (
    BadRequestError,
    CallConnectionError,
    CallTimeoutError,
    ConfigError,
    LLMSwitchError,
    MalformedError,
    RateLimitError,
)
from llmswitch.layers.attempt import AttemptLayer, Patience
from llmswitch.layers.base import Layer, collect, opened
from llmswitch.layers.deadline import DeadlineLayer
from llmswitch.layers.lenient import LenientLayer
from llmswitch.layers.price import PriceLayer
from llmswitch.layers.record import RecordLayer
from llmswitch.layers.schema import SchemaLayer, check_schema
from llmswitch.ledger import Caller
from llmswitch.pricing import Prices
from llmswitch.providers.base import Endpoint, Provider
from llmswitch.types import Chunk, Cost, Parameters, Request, Response, Spend, Trace, Usage
from tests.scripted import ANSWER, Scripted, question


def pipeline(scripted: Scripted, around: Callable[[Layer], Layer]) -> Layer:
    return around(AttemptLayer(scripted, provider="scripted", patience=Patience(), clock=scripted.clock))


def ask(layer: Layer, request: Request) -> Response:
    return asyncio.run(collect(layer.stream(request)))


def refusal(name: str) -> BadRequestError:
    return BadRequestError(f"Unsupported value: {name}", status=400, parameter=name)


def test_the_whole_call_is_bounded_and_the_attempt_says_timeout() -> None:
    import time

    scripted = Scripted((Chunk(text="a"), "hang"))
    layer = pipeline(scripted, lambda p: DeadlineLayer(p, total_s=0.05, clock=time.monotonic, named="--timeout"))
    request = question()
    with pytest.raises(CallTimeoutError, match=r"0\.05 s.*--timeout"):
        ask(layer, request)
    assert [a.outcome for a in request.trace.attempts] == ["timeout"]
    assert scripted.closed == 1


def test_a_call_in_time_is_left_alone() -> None:
    import time

    layer = pipeline(
        Scripted(ANSWER), lambda p: DeadlineLayer(p, total_s=30, clock=time.monotonic, named="LLM_TIMEOUT")
    )
    assert ask(layer, question()).text == "Paris"


def test_a_refused_parameter_of_the_profile_is_left_out_with_a_warning() -> None:
    warned: list[str] = []
    scripted = Scripted((refusal("temperature"),), (refusal("seed"),), ANSWER)
    request = question(
        parameters=Parameters(temperature=0.2, seed=1, top_p=0.5), optional=frozenset({"temperature", "seed"})
    )
    response = ask(pipeline(scripted, lambda p: LenientLayer(p, warn=warned.append)), request)
    assert response.text == "Paris"
    assert [r.parameters.as_dict() for r in scripted.requests] == [
        {"temperature": 0.2, "top_p": 0.5, "seed": 1},
        {"top_p": 0.5, "seed": 1},
        {"top_p": 0.5},
    ]
    assert [a.outcome for a in request.trace.attempts] == ["bad_request", "bad_request", "ok"]
    assert len(warned) == 2
    assert "temperature" in warned[0]


def test_a_refused_parameter_that_was_asked_for_is_a_usage_error() -> None:
    request = question(parameters=Parameters(temperature=0.2))
    with pytest.raises(ConfigError, match="refuses temperature") as caught:
        ask(pipeline(Scripted((refusal("temperature"),)), lambda p: LenientLayer(p, warn=print)), request)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("error", [refusal("top_p"), refusal("messages"), BadRequestError("no", status=400)])
def test_any_other_bad_request_stays_what_it_is(error: BadRequestError) -> None:
    request = question(parameters=Parameters(temperature=0.2), optional=frozenset({"temperature"}))
    with pytest.raises(BadRequestError) as caught:
        ask(pipeline(Scripted((error,)), lambda p: LenientLayer(p, warn=print)), request)
    assert caught.value is error


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def answered(text: str, schema: object = SCHEMA, finish: str = "stop") -> Response:
    chunk = Chunk(text=text, finish_reason=finish, usage=Usage(1, 1))  # type: ignore[arg-type]  # a test's shorthand
    return ask(pipeline(Scripted((chunk,)), SchemaLayer), question(schema=schema))


def test_an_answer_in_its_schema_passes() -> None:
    assert answered('{"n": 1}').text == '{"n": 1}'
    assert answered("anything", schema=None).text == "anything"


@pytest.mark.parametrize(("text", "says"), [('{"n": "x"}', r"\$\.n"), ("{}", "required"), ("n: 1", "not JSON")])
def test_an_answer_outside_its_schema_is_malformed(text: str, says: str) -> None:
    with pytest.raises(MalformedError, match=says):
        answered(text)


def test_an_answer_that_was_cut_says_why_it_does_not_match() -> None:
    with pytest.raises(MalformedError, match="max_tokens"):
        answered('{"n": ', finish="length")


def test_a_remote_reference_is_never_fetched() -> None:
    with pytest.raises(ConfigError, match="not in that file"):
        answered('{"n": 1}', schema={"$ref": "http://127.0.0.1:9/schema.json"})


@pytest.mark.parametrize(("schema", "says"), [([], "object"), ({"type": "nonsense"}, "no JSON Schema")])
def test_what_is_no_schema_is_refused(schema: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        check_schema(schema, "--schema s.json")


# -- price

_PRICES = Prices({"m": {"input_mtok": Decimal(10**6), "output_mtok": Decimal(2 * 10**6)}})


def priced(scripted: Scripted, prices: Prices = _PRICES) -> Layer:
    endpoint = Endpoint("scripted", "http://127.0.0.1:9")
    return pipeline(
        scripted, lambda p: PriceLayer(p, endpoint=endpoint, prices=prices, clock=scripted.clock, wall=lambda: 1e9)
    )


def lost(script: Sequence[Chunk | float | Exception | str], prices: Prices = _PRICES) -> list[Spend]:
    request = question("what is it?")  # 11 bytes: estimated as 3 tokens
    with pytest.raises(LLMSwitchError):
        ask(priced(Scripted(script), prices), request)
    return request.trace.lost


def test_an_answer_is_priced_in_the_tier_that_served_it_and_recorded_so(recorded: Recorded) -> None:
    rates = {name: Decimal(rate) for name, rate in (("input_mtok", "1"), ("output_mtok", "1"))}
    doubled = {"priority": {name: rate * 2 for name, rate in rates.items()}}
    prices = Prices({"scripted:m": rates}, special={"scripted:m": doubled})
    costs = {}
    for tier in (None, "default", "priority", "unheard-of"):
        scripted = Scripted((*ANSWER[:-1], replace(ANSWER[-1], service_tier=tier)))
        response = ask(recorded.around(priced(scripted, prices)), question())
        costs[tier] = response.cost and response.cost.amount * 10**6
    assert costs == {None: 7, "default": 7, "priority": 14, "unheard-of": None}
    assert [row["service_tier"] for row in recorded.rows()] == [None, "default", "priority", "unheard-of"]


def test_an_answer_carries_its_cost_attempts_and_the_whole_calls_duration() -> None:
    scripted = Scripted((2.0, *ANSWER))
    response = ask(priced(scripted), question(trace=Trace(started=90.0)))
    assert response.cost == Cost(Decimal(9), "LLM_PRICES")
    assert response.duration_s == 12.0
    assert [attempt.outcome for attempt in response.attempts] == ["ok"]
    assert ask(priced(Scripted((2.0, *ANSWER))), question()).duration_s == 2.0


def test_an_attempt_cut_after_some_text_is_lost_at_an_estimated_price() -> None:
    cut = CallConnectionError("cut")
    (spend,) = lost((Chunk(reasoning="hmm, "), Chunk(text="Par"), Chunk(text="is!!"), cut))
    assert (spend.provider, spend.model, spend.why) == ("scripted", "m", "connection")
    assert spend.usage == Usage(3, 3, estimated=True)
    assert spend.cost == Cost(Decimal(3 + 2 * 3), "LLM_PRICES", exact=False)


def test_a_lost_attempt_of_unknown_price_costs_unknown_and_not_0() -> None:
    (spend,) = lost((Chunk(text="Par"), CallConnectionError("cut")), Prices())
    assert spend.cost is None


@pytest.mark.parametrize(
    "error",
    [
        RateLimitError("slow down", status=429),
        BadRequestError("no", status=400),
        CallTimeoutError("the gateway's", status=504),
        CallConnectionError("refused"),
        CallTimeoutError("took no connection within 10 s"),
    ],
    ids=lambda error: f"{error.kind}-{error.status}",
)
def test_what_a_vendor_refused_or_never_got_is_not_lost(error: LLMSwitchError) -> None:
    assert lost((error,)) == []


@pytest.mark.parametrize("script", [(Chunk(response_id="r"),), (MalformedError("not JSON"),)], ids=["cut", "malformed"])
def test_what_a_vendor_took_and_did_not_answer_may_be_billed(script: tuple[Chunk | Exception, ...]) -> None:
    (spend,) = lost(script)
    assert spend.usage == Usage(3, 0, estimated=True)


def test_silence_until_the_first_token_may_be_billed() -> None:
    request = question("what is it?")
    attempt = AttemptLayer(
        Scripted(("hang",)), provider="scripted", patience=Patience(first_token_s=0.02), clock=time.monotonic
    )
    endpoint = Endpoint("scripted", "http://127.0.0.1:9")
    layer = PriceLayer(attempt, endpoint=endpoint, prices=_PRICES, clock=time.monotonic, wall=lambda: 1e9)
    with pytest.raises(CallTimeoutError, match="no token"):
        ask(layer, request)
    assert [(spend.why, spend.usage.input_tokens) for spend in request.trace.lost] == [("timeout", 3)]


def test_an_answer_that_was_read_to_its_end_loses_nothing() -> None:
    request = question()

    async def read() -> None:
        chunks = priced(Scripted(ANSWER)).stream(request)
        async with opened(chunks):
            while (await anext(chunks)).response is None:
                pass

    asyncio.run(read())
    assert request.trace.lost == []


# -- record

_CALLER = Caller("ask", "scripted:m", "production", "c1")


class Recorded:
    """What a call through the record layer leaves in a ledger."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.book = Book(path)
        self.warned: list[str] = []

    def around(self, inner: Provider, clock: Callable[[], float] = lambda: 7.0) -> RecordLayer:
        return RecordLayer(
            inner,
            provider="scripted",
            caller=_CALLER,
            book=self.book,
            warn=self.warned.append,
            clock=clock,
            wall=lambda: 1e9,
        )

    def rows(self) -> list[dict[str, object]]:
        self.book.close()
        with reading(self.path) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute("SELECT * FROM calls ORDER BY id")]


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Recorded]:
    found = Recorded(tmp_path / "ledger.db")
    yield found
    found.book.close()


def test_an_answer_is_on_record_before_its_last_chunk(recorded: Recorded) -> None:
    layer = recorded.around(priced(Scripted(ANSWER)))
    request = question()

    async def read() -> None:
        async for chunk in layer.stream(request):
            if chunk.response is not None:
                with reading(recorded.path) as connection:
                    assert connection.execute("SELECT count(*) FROM calls").fetchone()[0] == 1

    asyncio.run(read())
    (row,) = recorded.rows()
    assert (row["command"], row["target"], row["profile"], row["conversation_id"]) == _CALLER[:4]
    assert (row["finish_reason"], row["started_at"], row["cost_pico"]) == ("stop", 1e9, 9 * 10**12)
    assert (request.trace.started, request.trace.started_at) == (7.0, 1e9)


def test_a_failed_call_keeps_on_its_own_row_what_its_last_attempt_may_have_cost(recorded: Recorded) -> None:
    request = question()
    with pytest.raises(CallConnectionError) as caught:
        ask(recorded.around(priced(Scripted((Chunk(text="half"), CallConnectionError("cut"))))), request)
    (row,) = recorded.rows()
    assert (row["error_kind"], row["finish_reason"], row["lost"]) == ("connection", "error", None)
    assert (row["input_tokens"], row["output_tokens"], row["cost_pico"], row["cost_exact"]) == (1, 1, 3 * 10**12, 0)
    assert [attempt.outcome for attempt in caught.value.attempts] == ["connection"]
    assert (caught.value.provider, caught.value.request_model) == ("scripted", "m")


def test_a_failure_that_cost_nothing_has_unknown_tokens_and_no_price(recorded: Recorded) -> None:
    with pytest.raises(RateLimitError):
        ask(recorded.around(priced(Scripted((RateLimitError("no", status=429),)))), question())
    (row,) = recorded.rows()
    assert (row["error_kind"], row["input_tokens"], row["cost_pico"]) == ("rate_limit", None, None)


class Twice(Layer):
    """Asks again after a failure."""

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        with suppress(LLMSwitchError):
            await collect(self.inner.stream(request))
        async for chunk in self.inner.stream(request):
            yield chunk


def test_what_an_earlier_attempt_spent_is_a_row_of_its_own_before_the_calls(recorded: Recorded) -> None:
    scripted = Scripted((Chunk(text="half"), CallConnectionError("cut")), ANSWER)
    ask(recorded.around(Twice(priced(scripted))), question())
    first, own = recorded.rows()
    assert (first["lost"], first["cost_pico"], first["error_kind"]) == ("connection", 3 * 10**12, None)
    assert (own["lost"], own["cost_pico"], own["finish_reason"]) == (None, 9 * 10**12, "stop")
    assert first["started_at"] == own["started_at"]


def test_an_answer_outside_its_schema_was_paid_for_like_any_other(recorded: Recorded) -> None:
    wrong = (Chunk(text="no", finish_reason="stop", usage=Usage(5, 2)),)
    right = (Chunk(text='{"n": 1}', finish_reason="stop", usage=Usage(5, 4)),)
    ask(recorded.around(Twice(SchemaLayer(priced(Scripted(wrong, right))))), question(schema=SCHEMA))
    assert [(row["lost"], row["cost_pico"]) for row in recorded.rows()] == [
        ("malformed", 9 * 10**12),
        (None, 13 * 10**12),
    ]
    with pytest.raises(MalformedError):
        ask(recorded.around(SchemaLayer(priced(Scripted(wrong)))), question(schema=SCHEMA))
    last = recorded.rows()[-1]
    assert (last["error_kind"], last["cost_pico"], last["output_tokens"]) == ("malformed", 9 * 10**12, 2)


def test_a_refusal_after_a_loss_does_not_take_the_loss_for_its_own(recorded: Recorded) -> None:
    scripted = Scripted((Chunk(text="half"), CallConnectionError("cut")), (RateLimitError("no", status=429),))
    with pytest.raises(RateLimitError):
        ask(recorded.around(Twice(priced(scripted))), question())
    first, own = recorded.rows()
    assert (first["lost"], first["cost_pico"]) == ("connection", 3 * 10**12)
    assert (own["error_kind"], own["cost_pico"]) == ("rate_limit", None)


def test_a_call_cut_by_its_deadline_keeps_its_cost(recorded: Recorded) -> None:
    inner = priced(Scripted((Chunk(text="half"), "hang")))
    layer = recorded.around(DeadlineLayer(inner, total_s=0.05, clock=time.monotonic, named="--timeout"))
    with pytest.raises(CallTimeoutError):
        ask(layer, question())
    (row,) = recorded.rows()
    assert (row["error_kind"], row["cost_pico"], row["lost"]) == ("timeout", 3 * 10**12, None)


def test_who_leaves_in_the_middle_leaves_a_row(recorded: Recorded) -> None:
    layer = recorded.around(priced(Scripted((Chunk(text="half"), "hang"))))

    async def leave() -> None:
        async with opened(layer.stream(question())) as chunks:
            await anext(chunks)

    asyncio.run(leave())
    (row,) = recorded.rows()
    assert (row["finish_reason"], row["error_kind"], row["cost_pico"]) == ("interrupted", None, 3 * 10**12)


def test_an_answer_that_was_recorded_is_not_interrupted_by_whoever_stops_reading(recorded: Recorded) -> None:
    layer = recorded.around(priced(Scripted(ANSWER)))

    async def leave() -> None:
        async with opened(layer.stream(question())) as chunks:
            while (await anext(chunks)).response is None:
                pass

    asyncio.run(leave())
    assert [row["finish_reason"] for row in recorded.rows()] == ["stop"]


def test_a_ledger_that_cannot_be_written_costs_one_warning_and_no_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    blocked = Recorded(tmp_path / "file" / "ledger.db")
    layer = blocked.around(priced(Scripted(ANSWER)))
    assert [ask(layer, question()).text for _ in range(3)] == ["Paris"] * 3
    blocked.book.close()
    assert len(blocked.warned) == 1
    assert "cannot use the ledger" in blocked.warned[0]
