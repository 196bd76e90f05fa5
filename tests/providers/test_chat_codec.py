"""Requests to JSON and back, on shapes as servers send them."""

from __future__ import annotations

import typing
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import pytest
from openai.types.chat.chat_completion import Choice
from openai.types.chat.chat_completion_chunk import Choice as ChunkChoice

from llmswitch.providers.base import Endpoint, Variables
from llmswitch.providers.chat_codec import _FINISH_REASONS, Dialect, decode, decode_chunk, encode
from llmswitch.providers.failures import UndecodableError
from llmswitch.types import Attachment, Chunk, FinishReason, Message, Request, Response, Usage
from tests.providers.asking import question

PLAIN = Dialect(Variables(key="BOX_API_KEY", url="BOX_BASE_URL", model="BOX_MODEL"))
ENDPOINT = Endpoint("box", "http://127.0.0.1:1/v1")
CLOSED = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


def body(request: Request, dialect: Dialect = PLAIN, endpoint: Endpoint = ENDPOINT) -> dict[str, Any]:
    return encode(dialect, endpoint, request)


def answer(message: object, **rest: Any) -> Response:
    raw = {"choices": [{"message": message, "finish_reason": "stop", **rest}], "model": "m", "id": "i"}
    return decode(raw, provider="box", request_model="asked")


def delta(content: object, **rest: Any) -> Chunk:
    return decode_chunk({"choices": [{"delta": content, **rest}], "model": "m", "id": "i"})


# encoding


def test_every_parameter_goes_by_the_name_that_the_server_knows() -> None:
    request = question(
        temperature=0.5, max_tokens=7, top_p=0.9, seed=3, stop=("a", "b"), reasoning_effort="low", stream=False
    )
    assert body(request) == {
        "model": "gpt-6-luna",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.5,
        "max_tokens": 7,
        "top_p": 0.9,
        "seed": 3,
        "stop": ["a", "b"],
        "reasoning_effort": "low",
        "stream": False,
    }
    renamed = Dialect(PLAIN.variables, names={"max_tokens": "max_completion_tokens", "seed": "random_seed"})
    sent = body(request, renamed)
    assert (sent["max_completion_tokens"], sent["random_seed"]) == (7, 3)
    assert "max_tokens" not in sent
    assert "seed" not in sent


def test_nothing_is_sent_that_nobody_asked_for() -> None:
    assert body(question(stream=False)).keys() == {"model", "messages", "stream"}


def test_a_stream_asks_for_its_usage_unless_the_server_refuses_the_option() -> None:
    assert body(question())["stream_options"] == {"include_usage": True}
    assert "stream_options" not in body(question(), Dialect(PLAIN.variables, stream_usage=False))
    assert "stream_options" not in body(question(stream=False))


@pytest.mark.parametrize(
    ("own", "endpoints", "sent"),
    [(None, None, None), ("s", None, "s"), (None, "e", "e"), ("s", "e", "s"), ("", "e", None)],
)
def test_a_request_without_a_system_prompt_gets_the_endpoints(
    own: str | None, endpoints: str | None, sent: str | None
) -> None:
    messages = body(question(system=own), endpoint=Endpoint("box", "http://x", system=endpoints))["messages"]
    assert messages[0] == ({"role": "system", "content": sent} if sent else {"role": "user", "content": "hi"})


def test_a_conversation_keeps_its_order() -> None:
    turns = (Message("user", "1"), Message("assistant", "2"), Message("user", "3"))
    sent = body(Request("m", turns, system="0"))["messages"]
    assert [(m["role"], m["content"]) for m in sent] == [
        ("system", "0"),
        ("user", "1"),
        ("assistant", "2"),
        ("user", "3"),
    ]


def test_attachments_go_before_the_question_as_data() -> None:
    files = (
        Attachment("image/png", b"\x89PNG", "a.png"),
        Attachment("application/pdf", b"%PDF", "b.pdf"),
        Attachment("application/pdf", b"%PDF"),
    )
    (message,) = body(Request("m", (Message("user", "what?", files),)))["messages"]
    pdf = f"data:application/pdf;base64,{b64encode(b'%PDF').decode()}"
    assert message["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + b64encode(b"\x89PNG").decode()}},
        {"type": "file", "file": {"filename": "b.pdf", "file_data": pdf}},
        {"type": "file", "file": {"filename": "document.pdf", "file_data": pdf}},
        {"type": "text", "text": "what?"},
    ]


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (CLOSED, True),
        ({**CLOSED, "additionalProperties": True}, False),
        ({k: v for k, v in CLOSED.items() if k != "additionalProperties"}, False),
        ({**CLOSED, "required": []}, False),
        ({**CLOSED, "properties": {"a": {"type": "object", "properties": {}}}}, False),
        ({**CLOSED, "properties": {"a": CLOSED}}, True),
        ({**CLOSED, "properties": {"a": {"type": "array", "items": CLOSED}}}, True),
        ({**CLOSED, "properties": {"a": {"type": "array", "items": {"type": "object"}}}}, False),
        ({**CLOSED, "properties": {"a": {"anyOf": [{"type": "null"}, {"type": "object"}]}}}, False),
        ({**CLOSED, "$defs": {"x": {"type": "object"}}}, False),
        ({**CLOSED, "properties": {"a": {"allOf": [{"type": "string"}]}}}, False),
        ({**CLOSED, "properties": {"a": {"enum": [{"type": "object"}]}}}, True),
        ({**CLOSED, "properties": {"a": True}}, False),
        ({"type": "array", "items": CLOSED}, False),
    ],
)
def test_strict_mode_is_asked_for_only_where_the_schema_qualifies(schema: Mapping[str, Any], strict: bool) -> None:
    assert body(question(schema=schema))["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema, "strict": strict},
    }


# decoding


@pytest.mark.parametrize("choice", [Choice, ChunkChoice])
def test_every_finish_reason_of_the_sdk_is_mapped(choice: type[Choice | ChunkChoice]) -> None:
    hint = choice.model_fields["finish_reason"].annotation
    literals = {v for part in (hint, *typing.get_args(hint)) for v in typing.get_args(part) if isinstance(v, str)}
    assert {"stop", "length"} <= literals, "the SDK's type is no longer read as it should be"
    assert literals <= _FINISH_REASONS.keys()


def test_every_finish_reason_is_one_of_ours() -> None:
    assert set(_FINISH_REASONS.values()) <= set(typing.get_args(FinishReason))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("stop", "stop"), ("length", "length"), ("tool_calls", "tool_call"), ("invented", "error"), (7, "error")],
)
def test_finish_reasons(theirs: object, ours: str) -> None:
    assert answer({"content": "x"}, finish_reason=theirs).finish_reason == ours
    assert delta({}, finish_reason=theirs).finish_reason == ours


@pytest.mark.parametrize("none", [None, ""])
def test_a_chunk_may_have_no_finish_reason_but_a_whole_answer_may_not(none: object) -> None:
    assert delta({"content": "x"}, finish_reason=none).finish_reason is None
    with pytest.raises(UndecodableError, match="finish_reason"):
        answer({"content": "x"}, finish_reason=none)


def test_a_whole_answer() -> None:
    raw = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "gpt-6-luna-2026-09-01",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Paris", "refusal": None}, "finish_reason": "stop"}
        ],
        "usage": {
            "prompt_tokens": 20,
            "completion_tokens": 9,
            "total_tokens": 29,
            "prompt_tokens_details": {"cached_tokens": 16, "cache_write_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 5},
        },
    }
    assert decode(raw, provider="openai", request_model="gpt-6-luna", request_id="req_1") == Response(
        provider="openai",
        request_model="gpt-6-luna",
        text="Paris",
        finish_reason="stop",
        usage=Usage(20, 9, 16, 4, 5),
        response_model="gpt-6-luna-2026-09-01",
        response_id="chatcmpl-1",
        request_id="req_1",
    )


def test_a_refusal_is_the_text_of_a_filtered_answer() -> None:
    refused = answer({"content": None, "refusal": "I cannot."})
    assert (refused.text, refused.finish_reason) == ("I cannot.", "content_filter")
    assert delta({"refusal": "I can"}) == Chunk(
        text="I can", finish_reason="content_filter", response_model="m", response_id="i"
    )


def test_a_filtered_answer_without_text_is_empty_and_says_so() -> None:
    blocked = answer({"content": None}, finish_reason="content_filter")
    assert (blocked.text, blocked.finish_reason) == ("", "content_filter")


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thinking_is_kept_apart_from_the_answer(name: str) -> None:
    assert delta({"content": None, name: "hm"}).reasoning == "hm"
    assert delta({"content": None, name: "hm"}).text == ""
    assert answer({"content": "Paris", name: "hm"}).text == "Paris"


def test_content_may_be_a_list_of_parts() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Paris"}]
    piece = delta({"content": parts})
    assert (piece.text, piece.reasoning) == ("Paris", "hm")


def test_the_usage_chunk_has_no_choice() -> None:
    chunk = decode_chunk({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}, request_id="r")
    assert chunk == Chunk(usage=Usage(3, 2), request_id="r")


def test_usage_may_come_with_the_last_choice() -> None:
    raw = {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    assert decode_chunk(raw) == Chunk(finish_reason="stop", usage=Usage(3, 2))


def test_azures_filter_sends_choices_without_a_delta() -> None:
    raw = {"choices": [{"content_filter_offsets": {}, "finish_reason": None, "index": 0}], "model": "", "id": ""}
    assert decode_chunk(raw) == Chunk()


def test_what_a_server_does_not_separate_is_unknown_and_not_zero() -> None:
    usage = answer({"content": "x"}).usage
    assert usage == Usage()
    raw = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "completion_tokens_details": None}}
    got = decode_chunk(raw).usage
    assert got is not None
    assert (got.reasoning_output_tokens, got.cache_read_input_tokens) == (None, None)


@pytest.mark.parametrize("usage", [None, {}, [], "3", {"prompt_tokens": None}, {"prompt_tokens": True}])
def test_usage_that_counts_nothing_is_none(usage: object) -> None:
    assert decode_chunk({"choices": [], "usage": usage}).usage is None


def test_reasoning_counted_beside_the_completion_is_added_to_it() -> None:
    """xAI's real figures: 10120 + 1499 + 2809 = 14428; OpenAI's total has the reasoning within the completion."""
    details = {"reasoning_tokens": 2809}
    beside = {"prompt_tokens": 10120, "completion_tokens": 1499, "total_tokens": 14428}
    within = {"prompt_tokens": 10120, "completion_tokens": 4308, "total_tokens": 14428}
    for usage in (beside, within):
        got = decode_chunk({"choices": [], "usage": {**usage, "completion_tokens_details": details}}).usage
        assert got == Usage(10120, 4308, reasoning_output_tokens=2809)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        "text",
        {},
        {"choices": None},
        {"choices": {}},
        {"choices": "x"},
        {"choices": ["x"]},
        {"choices": [{"delta": "x"}]},
        {"choices": [{"delta": {"content": 7}}]},
        {"choices": [{"delta": {"content": ["x"]}}]},
        {"object": "error", "message": "no"},
    ],
)
def test_a_chunk_of_another_shape_is_no_short_answer(raw: object) -> None:
    with pytest.raises(UndecodableError):
        decode_chunk(raw)


@pytest.mark.parametrize("raw", [None, {}, {"choices": []}, {"choices": [{"message": [], "finish_reason": "stop"}]}])
def test_an_answer_of_another_shape_is_no_short_answer(raw: object) -> None:
    with pytest.raises(UndecodableError):
        decode(raw, provider="box", request_model="m")


def test_the_tier_that_served_the_call_is_the_vendors_word() -> None:
    raw = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "service_tier": "flex"}
    assert decode(raw, provider="box", request_model="asked").service_tier == "flex"
    assert decode_chunk({"choices": [], "usage": None, "service_tier": "priority"}).service_tier == "priority"
    assert answer({"content": "hi"}).service_tier is None
    assert decode_chunk({"choices": [], "usage": None, "service_tier": 5}).service_tier is None
