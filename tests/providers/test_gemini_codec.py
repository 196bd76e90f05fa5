"""Gemini's words on recorded shapes, through the SDK's own models."""

from __future__ import annotations

from typing import Any

import pytest
from google.genai.types import BlockedReason, FinishReason, GenerateContentResponse

from llmswitch.providers.base import Endpoint
from llmswitch.providers.gemini_codec import BLOCK_REASONS, FINISH_REASONS, decode, decode_chunk, encode, preview
from llmswitch.types import Attachment, Chunk, Message, Parameters, Request, Usage
from tests.providers.asking import question

ENDPOINT = Endpoint("gemini", "https://generativelanguage.googleapis.com")


def piece(*parts: dict[str, Any], finish: str | None = None, **rest: Any) -> GenerateContentResponse:
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": finish, "index": 0}
    return GenerateContentResponse.model_validate({"candidates": [candidate], **rest})


def usage(**counts: Any) -> Usage | None:
    return decode_chunk(piece({"text": "x"}, usageMetadata=counts)).usage


# what is asked


def test_the_least_that_can_be_asked() -> None:
    assert encode(ENDPOINT, question()) == {
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "generationConfig": {},
    }


def test_everything_that_can_be_asked() -> None:
    request = Request(
        "m",
        (Message("user", "a"), Message("assistant", "b"), Message("user", "c")),
        system="be brief",
        parameters=Parameters(0.0, 9, 0.25, seed=0, stop=("END", "."), reasoning_effort="low"),
        schema={"type": "object"},
    )
    assert encode(ENDPOINT, request) == {
        "contents": [
            {"role": "user", "parts": [{"text": "a"}]},
            {"role": "model", "parts": [{"text": "b"}]},
            {"role": "user", "parts": [{"text": "c"}]},
        ],
        "systemInstruction": {"parts": [{"text": "be brief"}]},
        "generationConfig": {
            "temperature": 0.0,
            "topP": 0.25,
            "seed": 0,
            "maxOutputTokens": 9,
            "stopSequences": ["END", "."],
            "thinkingConfig": {"thinkingLevel": "LOW"},
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object"},
        },
    }


def test_attachments_go_before_the_text_and_none_makes_an_empty_text() -> None:
    picture, paper = Attachment("image/png", b"\x89PNG"), Attachment("application/pdf", b"%PDF")
    request = Request("m", (Message("user", "what?", (picture, paper)), Message("user", "", (picture,))))
    first, second = preview(ENDPOINT, request)["contents"]
    assert first["parts"] == [
        {"inlineData": {"mime_type": "image/png", "data": "iVBORw=="}},
        {"inlineData": {"mime_type": "application/pdf", "data": "JVBERg=="}},
        {"text": "what?"},
    ]
    assert len(second["parts"]) == 1


# what is answered


def test_every_finish_reason_and_block_reason_of_the_sdk_has_a_row() -> None:
    assert set(FINISH_REASONS) == {reason.value for reason in FinishReason}
    assert set(BLOCK_REASONS) == {reason.value for reason in BlockedReason}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("CONTINUATION", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("IMAGE_RECITATION", "content_filter"),
        ("MODEL_ARMOR", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "error"),
        ("OTHER", "error"),
    ],
)
def test_a_finish_reason(theirs: str, ours: str) -> None:
    assert decode_chunk(piece({"text": "x"}, finish=theirs)).finish_reason == ours


def test_a_piece_of_a_stream() -> None:
    counts = {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}
    got = decode_chunk(piece({"text": "Par"}, {"text": "is"}, modelVersion="m1", responseId="r1", usageMetadata=counts))
    assert got == Chunk(
        text="Paris",
        response_model="m1",
        response_id="r1",
        usage=Usage(3, 2, cache_read_input_tokens=0, reasoning_output_tokens=0),
    )


def test_thoughts_are_reasoning_and_never_text() -> None:
    got = decode_chunk(piece({"text": "hm", "thought": True}, {"text": "Paris"}, {"functionCall": {"name": "f"}}))
    assert (got.text, got.reasoning) == ("Paris", "hm")


def test_a_candidate_without_content_has_no_text() -> None:
    bare = GenerateContentResponse.model_validate({"candidates": [{"finishReason": "MAX_TOKENS"}]})
    assert decode_chunk(bare) == Chunk(finish_reason="length")


@pytest.mark.parametrize("reason", [row.value for row in BlockedReason])
def test_a_blocked_prompt_is_filtered_and_empty(reason: str) -> None:
    blocked = GenerateContentResponse.model_validate({"promptFeedback": {"blockReason": reason}})
    answer = decode(ENDPOINT, question(), blocked)
    assert (answer.text, answer.finish_reason) == ("", "content_filter")


def test_a_whole_answer_that_never_says_why_it_ended_is_an_error() -> None:
    assert decode(ENDPOINT, question(), piece({"text": "x"})).finish_reason == "error"


def test_thoughts_are_output_and_cached_tokens_are_input_already() -> None:
    assert usage(
        promptTokenCount=100,
        cachedContentTokenCount=80,
        candidatesTokenCount=5,
        thoughtsTokenCount=20,
        toolUsePromptTokenCount=7,
        totalTokenCount=132,
    ) == Usage(107, 25, cache_read_input_tokens=80, reasoning_output_tokens=20)


def test_a_count_that_google_leaves_out_is_zero() -> None:
    assert usage(promptTokenCount=3, totalTokenCount=3) == Usage(
        3, 0, cache_read_input_tokens=0, reasoning_output_tokens=0
    )


def test_a_piece_that_counts_nothing_leaves_usage_unknown() -> None:
    assert usage(trafficType="ON_DEMAND") is None
    assert decode_chunk(piece({"text": "x"})).usage is None
    assert decode(ENDPOINT, question(), piece({"text": "x"}, finish="STOP")).usage == Usage()
