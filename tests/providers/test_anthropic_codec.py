"""Anthropic's words on recorded shapes, through the SDK's own making of its models."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from anthropic._models import construct_type
from anthropic.types import Message as Answer
from anthropic.types import RawMessageStreamEvent, StopReason

from llmswitch.errors import BadRequestError
from llmswitch.providers.anthropic_codec import FINISH_REASONS, decode, decode_event, encode
from llmswitch.providers.base import Endpoint
from llmswitch.types import Attachment, Chunk, Message, Parameters, Request, Response, Usage
from tests.providers.asking import question

ENDPOINT = Endpoint("anthropic", "https://api.anthropic.com")


def whole(**changes: Any) -> Response:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-5-5-20260901",
        "content": [{"type": "text", "text": "Par"}, {"type": "text", "text": "is"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 2},
        **changes,
    }
    return decode(ENDPOINT, question(model="claude-haiku-5-5"), construct_type(type_=Answer, value=message))  # type: ignore[arg-type]


def streamed(*events: dict[str, Any]) -> list[Chunk]:
    usage, chunks = Usage(), []
    for event in events:
        chunk = decode_event(construct_type(type_=RawMessageStreamEvent, value=event), usage)  # type: ignore[arg-type]
        if chunk is not None:
            usage = chunk.usage or usage
            chunks.append(chunk)
    return chunks


def start(**usage: Any) -> dict[str, Any]:
    counts = {"input_tokens": 3, "output_tokens": 1, **usage}
    return {"type": "message_start", "message": {"id": "msg_1", "model": "m1", "content": [], "usage": counts}}


def end(**usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9, **usage}}


# what is asked


def test_the_least_that_can_be_asked() -> None:
    assert encode(ENDPOINT, question(model="claude-haiku-5-5")) == {
        "model": "claude-haiku-5-5",
        "max_tokens": 8192,
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
    }


def test_everything_that_can_be_asked() -> None:
    request = Request(
        "m",
        (Message("user", "a"), Message("assistant", "b"), Message("user", "c")),
        system="be brief",
        parameters=Parameters(0.5, 9, 0.25, stop=("END", "."), reasoning_effort="low"),
        schema={"type": "object", "additionalProperties": False},
        stream=False,
    )
    assert encode(ENDPOINT, request) == {
        "model": "m",
        "max_tokens": 9,
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
        ],
        "stream": False,
        "system": "be brief",
        "stop_sequences": ["END", "."],
        "temperature": 0.5,
        "top_p": 0.25,
        "output_config": {
            "effort": "low",
            "format": {"type": "json_schema", "schema": {"type": "object", "additionalProperties": False}},
        },
    }


def test_a_temperature_of_zero_is_sent() -> None:
    assert encode(ENDPOINT, question(temperature=0.0))["temperature"] == 0


def test_attachments_go_before_the_text_and_none_makes_an_empty_text() -> None:
    picture, paper = Attachment("image/png", b"\x89PNG"), Attachment("application/pdf", b"%PDF")
    request = Request("m", (Message("user", "what?", (picture, paper)), Message("user", "", (picture,))))
    first, second = encode(ENDPOINT, request)["messages"]
    assert first["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}},
        {"type": "text", "text": "what?"},
    ]
    assert [block["type"] for block in second["content"]] == ["image"]


def test_a_seed_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(BadRequestError, match="takes no seed") as caught:
        encode(ENDPOINT, question(seed=0))
    assert (caught.value.parameter, caught.value.provider) == ("seed", "anthropic")


def test_an_open_schema_is_closed_as_the_vendor_wants_it_and_the_callers_is_left_alone() -> None:
    inner = {"type": "object", "properties": {"type": {"type": "string"}}}
    schema = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": inner}, "b": {"type": "object", "additionalProperties": True}},
        "$defs": {"d": {"anyOf": [inner, {"type": "null"}]}},
    }
    sent = encode(ENDPOINT, question(schema=schema))["output_config"]["format"]["schema"]
    closed = {**inner, "additionalProperties": False}
    assert sent == {
        "type": "object",
        "properties": {"a": {"type": "array", "items": closed}, "b": {"type": "object", "additionalProperties": True}},
        "$defs": {"d": {"anyOf": [closed, {"type": "null"}]}},
        "additionalProperties": False,
    }
    assert "additionalProperties" not in schema


# what is answered


def test_every_stop_reason_of_the_sdk_has_a_row() -> None:
    assert set(FINISH_REASONS) == set(get_args(StopReason))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("tool_use", "tool_call"),
        ("refusal", "content_filter"),
        ("invented", "error"),
        (None, "error"),
    ],
)
def test_a_stop_reason(theirs: str | None, ours: str) -> None:
    assert whole(stop_reason=theirs).finish_reason == ours


def test_a_whole_answer() -> None:
    answer = whole()
    assert (answer.text, answer.provider, answer.request_model) == ("Paris", "anthropic", "claude-haiku-5-5")
    assert (answer.response_model, answer.response_id) == ("claude-haiku-5-5-20260901", "msg_1")
    assert answer.usage == Usage(3, 2, reasoning_output_tokens=0)


def test_cached_tokens_are_input_and_an_hours_writes_are_told_apart() -> None:
    usage = {
        "input_tokens": 10,
        "output_tokens": 5,
        "cache_read_input_tokens": 200,
        "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
    }
    assert whole(usage=usage).usage == Usage(240, 5, 200, 30, 0, cache_creation_1h_input_tokens=20)


@pytest.mark.parametrize("block", [{"type": "thinking", "thinking": "hm"}, {"type": "redacted_thinking", "data": "x"}])
def test_thinking_is_no_text_and_its_tokens_are_unknown_where_they_are_not_separated(block: dict[str, Any]) -> None:
    answer = whole(content=[block, {"type": "text", "text": "Paris"}])
    assert answer.text == "Paris"
    assert answer.usage.reasoning_output_tokens is None


def test_thinking_tokens_that_are_separated_are_reasoning() -> None:
    usage = {"input_tokens": 3, "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 7}}
    answer = whole(content=[{"type": "thinking", "thinking": ""}, {"type": "text", "text": "Paris"}], usage=usage)
    assert (answer.usage.output_tokens, answer.usage.reasoning_output_tokens) == (9, 7)
    assert answer.usage.visible_output_tokens == 2


def test_a_stream_of_text() -> None:
    assert streamed(
        start(),
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Par"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "is"}},
        {"type": "content_block_stop", "index": 0},
        end(),
        {"type": "message_stop"},
        {"type": "invented"},
    ) == [
        Chunk(usage=Usage(3, 1, reasoning_output_tokens=0), response_model="m1", response_id="msg_1"),
        Chunk(),
        Chunk(text="Par"),
        Chunk(text="is"),
        Chunk(finish_reason="stop", usage=Usage(3, 9, reasoning_output_tokens=0)),
    ]


def test_later_counts_of_a_stream_replace_earlier_ones_and_missing_ones_do_not() -> None:
    written = {"cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 30}}
    first = start(input_tokens=10, cache_read_input_tokens=200, cache_creation_input_tokens=30, **written)
    assert streamed(first, end())[-1].usage == Usage(240, 9, 200, 30, 0, cache_creation_1h_input_tokens=30)
    later = end(input_tokens=15, cache_read_input_tokens=100)
    assert streamed(first, later)[-1].usage == Usage(145, 9, 100, 30, 0, cache_creation_1h_input_tokens=30)


def test_thinking_in_a_stream_is_reasoning_and_never_text() -> None:
    thinking = (
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s"}},
    )
    chunks = streamed(start(), *thinking, end())
    assert "".join(chunk.reasoning for chunk in chunks) == "hm"
    assert not any(chunk.text for chunk in chunks)
    assert chunks[-1].usage == Usage(3, 9)
    separated = streamed(start(), *thinking, end(output_tokens_details={"thinking_tokens": 4}))
    assert separated[-1].usage == Usage(3, 9, reasoning_output_tokens=4)


def test_a_gateway_that_counts_nothing_leaves_usage_unknown() -> None:
    chunks = streamed(
        {"type": "message_start", "message": {"id": "msg_1", "model": "m1"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
    )
    assert (chunks[-1].finish_reason, chunks[-1].usage) == ("stop", Usage(reasoning_output_tokens=0))


def test_the_tier_that_served_the_call_is_the_vendors_word() -> None:
    assert whole(usage={"input_tokens": 3, "output_tokens": 2, "service_tier": "priority"}).service_tier == "priority"
    assert whole().service_tier is None
    first, *_ = streamed(start(service_tier="batch"), end())
    assert first.service_tier == "batch"
    first, *_ = streamed(start(service_tier=[1]), end())
    assert first.service_tier is None
