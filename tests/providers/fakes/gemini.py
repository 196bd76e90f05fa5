"""Gemini's format, as Google's servers send it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import google.genai
from llmock.testing import LLMockServer

from llmswitch.providers.gemini import VENDOR
from llmswitch.types import Request, Usage
from tests.providers.asking import question as any_question
from tests.providers.fakes import Row
from tests.servers.recorder import Answer, Seen

KEY = "AIza-test-0123456789abcdef"
TOKEN = "ya29.test-0123456789abcdef"


def question(text: str = "hi", **fields: Any) -> Request:
    return any_question(text, model="gemini-3.8-flash", **fields)


def environ_of(url: str, **more: str) -> dict[str, str]:
    return {"GOOGLE_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": url, **more}


def mocked(mock: LLMockServer) -> dict[str, str]:
    return environ_of(mock.base_url("gemini"), GOOGLE_GENAI_API_VERSION="v1beta")


def piece(text: str, finish: str | None = None, **rest: Any) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    ended = {"finishReason": finish} if finish else {}
    return {"candidates": [{**candidate, **ended}], "modelVersion": "m1", "responseId": "r1"} | rest


COUNTS = {"promptTokenCount": 3, "candidatesTokenCount": 2, "thoughtsTokenCount": 4, "totalTokenCount": 9}
WHOLE = piece("Paris", "STOP", usageMetadata=COUNTS)
STREAM = (
    piece("Par", usageMetadata={"promptTokenCount": 3, "totalTokenCount": 3}),
    piece("is", "STOP", usageMetadata=COUNTS),
)
USAGE = Usage(3, 6, cache_read_input_tokens=0, reasoning_output_tokens=4)


def counted(value: object) -> tuple[dict[str, Any], tuple[object, ...]]:
    counts: dict[str, Any] = {"usageMetadata": dict.fromkeys((*COUNTS, "cachedContentTokenCount"), value)}
    return {**WHOLE, **counts}, (piece("Par", **counts), piece("is", "STOP", **counts))


def worded(text: str) -> dict[str, Any]:
    return piece(text, "STOP", modelVersion=text, responseId=text)


def sent(seen: Seen) -> Answer:
    if seen.path == "/token":
        return Answer({"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"})
    return Answer(events=STREAM) if "stream" in seen.path else Answer(WHOLE)


def refused(status: int, word: str, message: str, *details: dict[str, Any], **headers: str) -> Answer:
    error = {"code": status, "message": message, "status": word, "details": list(details)}
    return Answer({"error": error}, status, headers)


def error_info(reason: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}


def _hostile(folder: Path, url: str) -> Mapping[str, str]:
    return {
        "GOOGLE_GENAI_USE_VERTEXAI": "true",
        "GOOGLE_GENAI_USE_ENTERPRISE": "true",
        "GOOGLE_GENAI_CLIENT_MODE": "replay",
        "GOOGLE_GENAI_HTTP_CLIENT": "auto",
    }


ROW = Row(
    vendor=VENDOR,
    key=KEY,
    key_variable="GOOGLE_API_KEY",
    url_variable="GOOGLE_GEMINI_BASE_URL",
    question=question,
    environ_of=environ_of,
    mocked=mocked,
    sent=sent,
    refused=refused,
    unauthorized="UNAUTHENTICATED",
    overloaded=503,
    par=(piece("Par"),),
    text_event=piece,
    end=(piece("", "STOP"),),
    counted=counted,
    worded=worded,
    request_id=None,
    reasoning_tokens=0,
    price_provider="google",
    sdk=google.genai,
    sdk_reads=frozenset({"GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GEMINI_BASE_URL", "GOOGLE_GENAI_CLIENT_MODE"}),
    hostile=_hostile,
    logged="httpx2:",
    sdk_checks_counts=True,
    broken=(
        "{not json",
        "7",
        "[" * 100_000,
        {"candidates": 7},
        {"candidates": [7]},
        {"candidates": [{"content": {"parts": [{"text": 7}]}}]},
        {"candidates": [{"finishReason": 7}]},
        {"usageMetadata": {"promptTokenCount": "many"}},
    ),
    nonsense=(
        Answer({"promptFeedback": {}}),
        Answer({"candidates": [7]}),
        Answer(WHOLE, status=201),
    ),
    statuses=(
        (400, "INVALID_ARGUMENT", "bad_request"),
        (400, "FAILED_PRECONDITION", "permission"),
        (401, "UNAUTHENTICATED", "authentication"),
        (403, "PERMISSION_DENIED", "permission"),
        (404, "NOT_FOUND", "not_found"),
        (405, "INVENTED", "bad_request"),
        (408, "INVENTED", "timeout"),
        (409, "ABORTED", "server"),
        (413, "INVENTED", "context_length"),
        (429, "RESOURCE_EXHAUSTED", "rate_limit"),
        (499, "CANCELLED", "connection"),
        (500, "INTERNAL", "server"),
        (502, "INVENTED", "server"),
        (503, "UNAVAILABLE", "overloaded"),
        (504, "DEADLINE_EXCEEDED", "timeout"),
    ),
)
