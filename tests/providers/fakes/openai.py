"""The chat-completions format, as OpenAI's servers send it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import openai
from llmock.testing import LLMockServer

from llmswitch.providers.openai import VENDOR
from tests.providers.asking import question
from tests.providers.fakes import Row
from tests.servers.recorder import Answer, Seen

KEY = "sk-test-0123456789abcdef"


def environ_of(url: str, **more: str) -> dict[str, str]:
    return {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{url}/v1", **more}


def mocked(mock: LLMockServer) -> dict[str, str]:
    return environ_of(mock.url)


def piece(text: str | None = None, finish: str | None = None, **rest: Any) -> dict[str, Any]:
    return {
        "id": "c1",
        "model": "m1",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}],
    } | rest


WHOLE = {
    "id": "c1",
    "model": "m1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Paris"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}
STREAM = (
    {"id": "c1", "model": "m1", "choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]},
    piece("Par"),
    piece("is"),
    piece(finish="stop"),
    {"id": "c1", "model": "m1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
    "[DONE]",
)
HEADERS = {"x-request-id": "req_1"}


def counted(value: object) -> tuple[dict[str, Any], tuple[object, ...]]:
    usage = {
        **dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), value),
        "prompt_tokens_details": {"cached_tokens": value},
        "completion_tokens_details": {"reasoning_tokens": value},
    }
    return {**WHOLE, "usage": usage}, (*STREAM[:-2], piece(usage=usage), "[DONE]")


def worded(text: str) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": text, "model": text, "choices": [choice]}


def sent(seen: Seen) -> Answer:
    return Answer(events=STREAM, headers=HEADERS) if seen.json.get("stream") else Answer(WHOLE, headers=HEADERS)


def refused(status: int, code: str, message: str, **headers: str) -> Answer:
    return Answer({"error": {"message": message, "code": code}}, status, {**HEADERS, **headers})


def _hostile(folder: Path, url: str) -> Mapping[str, str]:
    headers = ("Authorization", "X-Hostile", "OpenAI-Organization", "api-key", "User-Agent", "Content-Type")
    return {"OPENAI_CUSTOM_HEADERS": "\n".join(f"{name}: hostile" for name in headers)}


ROW = Row(
    vendor=VENDOR,
    key=KEY,
    key_variable="OPENAI_API_KEY",
    url_variable="OPENAI_BASE_URL",
    question=question,
    environ_of=environ_of,
    mocked=mocked,
    sent=sent,
    refused=refused,
    unauthorized="invalid_api_key",
    overloaded=503,
    par=(piece("Par"),),
    text_event=piece,
    end=(piece(finish="stop"), "[DONE]"),
    counted=counted,
    worded=worded,
    request_id="req_1",
    reasoning_tokens=None,
    price_provider="openai",
    sdk=openai,
    sdk_reads=frozenset({"OPENAI_CUSTOM_HEADERS", "OPENAI_ORG_ID", "OPENAI_BASE_URL", "OPENAI_ADMIN_KEY"}),
    hostile=_hostile,
    logged="Sending HTTP Request",
    nonsense=(Answer({"choices": []}),),
)
