"""Deadline, lenient and schema: each alone around a scripted provider."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from llmswitch.errors import BadRequestError, CallTimeoutError, ConfigError, MalformedError
from llmswitch.layers.attempt import AttemptLayer, Patience
from llmswitch.layers.base import Layer, collect
from llmswitch.layers.deadline import DeadlineLayer
from llmswitch.layers.lenient import LenientLayer
from llmswitch.layers.schema import SchemaLayer, check_schema
from llmswitch.types import Chunk, Parameters, Request, Response, Usage
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
