"""Anthropic's format, as its server sends it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anthropic
from llmock.testing import LLMockServer

from llmswitch.providers.anthropic import VENDOR
from llmswitch.types import Request
from tests.providers.asking import question as any_question
from tests.providers.fakes import Row
from tests.servers.recorder import Answer, Seen

KEY = "sk-ant-test-0123456789abcdef"


def question(text: str = "hi", **fields: Any) -> Request:
    return any_question(text, model="claude-haiku-5-5", **fields)


def environ_of(url: str, **more: str) -> dict[str, str]:
    return {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": url, **more}


def mocked(mock: LLMockServer) -> dict[str, str]:
    return environ_of(mock.base_url("anthropic"))


def event(data: dict[str, Any]) -> str:
    """Anthropic names each event beside its data; the order of the two lines is free."""
    return f"{json.dumps(data)}\nevent: {data['type']}"


WHOLE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m1",
    "content": [{"type": "text", "text": "Paris"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 2},
}
START = event({"type": "message_start", "message": {**WHOLE, "content": [], "stop_reason": None}})


def text_event(text: str) -> str:
    return event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})


PAR = text_event("Par")
END = (
    event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}),
    event({"type": "message_stop"}),
)
STREAM = (
    START,
    event({"type": "ping"}),
    PAR,
    text_event("is"),
    *END,
)
HEADERS = {"request-id": "req_1"}


def counted(value: object) -> tuple[dict[str, Any], tuple[object, ...]]:
    names = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    usage = {**dict.fromkeys(names, value), "output_tokens_details": {"thinking_tokens": value}}
    whole = {**WHOLE, "usage": usage}
    start = event({"type": "message_start", "message": {**whole, "content": [], "stop_reason": None}})
    end = event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage})
    return whole, (start, PAR, text_event("is"), end)


def worded(text: str) -> dict[str, Any]:
    return {**WHOLE, "id": text, "model": text, "content": [{"type": "text", "text": text}]}


def sent(seen: Seen) -> Answer:
    return Answer(events=STREAM, headers=HEADERS) if seen.json["stream"] else Answer(WHOLE, headers=HEADERS)


def refused(status: int, kind: str, message: str, **headers: str) -> Answer:
    return Answer({"type": "error", "error": {"type": kind, "message": message}}, status, {**HEADERS, **headers})


def _hostile(folder: Path, url: str) -> Mapping[str, str]:
    (folder / "configs").mkdir()
    (folder / "configs" / "hostile.json").write_text(json.dumps({"base_url": url}))
    headers = ("Authorization", "authorization", "X-Hostile", "X-API-Key", "anthropic-version", "User-Agent")
    return {
        "ANTHROPIC_CONFIG_DIR": str(folder),
        "ANTHROPIC_CUSTOM_HEADERS": "\n".join(f"{name}: hostile" for name in headers),
        "TRACEPARENT": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    }


ROW = Row(
    vendor=VENDOR,
    key=KEY,
    key_variable="ANTHROPIC_API_KEY",
    url_variable="ANTHROPIC_BASE_URL",
    question=question,
    environ_of=environ_of,
    mocked=mocked,
    sent=sent,
    refused=refused,
    unauthorized="authentication_error",
    overloaded=529,
    par=(START, PAR),
    text_event=text_event,
    end=END,
    counted=counted,
    worded=worded,
    request_id="req_1",
    reasoning_tokens=0,
    price_provider="anthropic",
    sdk=anthropic,
    sdk_reads=frozenset(
        {"ANTHROPIC_CUSTOM_HEADERS", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "ANTHROPIC_PROFILE"}
    ),
    hostile=_hostile,
    logged="Sending HTTP Request",
    broken=(
        "{not json\nevent: message_delta",
        "7\nevent: message_delta",
        "[]\nevent: message_delta",
        "[" * 100_000 + "\nevent: message_delta",
        event({"type": "message_delta"}),
        event({"type": "content_block_start"}),
        event({"type": "message_start"}),
    ),
    nonsense=(
        Answer({**WHOLE, "content": [7]}),
        Answer({**WHOLE, "content": [{"type": "text"}]}),
    ),
    statuses=(
        (400, "invalid_request_error", "bad_request"),
        (401, "authentication_error", "authentication"),
        (402, "billing_error", "rate_limit"),
        (403, "permission_error", "permission"),
        (404, "not_found_error", "not_found"),
        (405, "invented", "bad_request"),
        (408, "timeout_error", "timeout"),
        (409, "conflict_error", "server"),
        (413, "request_too_large", "context_length"),
        (422, "invalid_request_error", "bad_request"),
        (429, "rate_limit_error", "rate_limit"),
        (500, "api_error", "server"),
        (500, "overloaded_error", "overloaded"),
        (502, "invented", "server"),
        (503, "api_error", "overloaded"),
        (504, "timeout_error", "timeout"),
        (529, "overloaded_error", "overloaded"),
    ),
)
