"""What a failed call becomes, by the tables."""

from __future__ import annotations

import json
import traceback
from typing import Any

import httpx2
import openai
import pytest

from llmswitch.errors import LLMSwitchError, ProviderError, QuotaError
from llmswitch.providers import failures
from llmswitch.providers.base import Endpoint, Variables
from llmswitch.providers.chat_errors import native_errors, read
from llmswitch.providers.failures import UndecodableError
from llmswitch.types import Secret
from tests.providers.asking import below

KEY = "sk-test-0123456789abcdef"
ENDPOINT = Endpoint("box", "http://user:word@127.0.0.1:9/v1", api_key=Secret(KEY), token=Secret("tok-0987654321"))
ASKED = httpx2.Request("POST", "http://127.0.0.1:9/v1/chat/completions")

#: raised by what llmswitch never uses, and no public names of the SDK
NEVER_RAISED = {
    "APIRemovedInV1",  # the interface of 2023
    "MutuallyExclusiveAuthError",  # two credentials for Azure, refused when a client is made
    "StreamAlreadyConsumed",  # raw responses
    "SubjectTokenProviderError",  # workload identity
    "_AmbiguousModuleClientUsageError",  # the client that is the module itself
}


def translated(error: Exception) -> ProviderError:
    """What is raised where the SDK raises `error`."""
    with (
        pytest.raises(ProviderError) as caught,
        failures.translated(
            tuple(native_errors()),
            lambda e: read(e, names={"max_completion_tokens": "max_tokens"}, request_id="from-the-stream", now=0),
            endpoint=ENDPOINT,
            request_model="m",
            variables=Variables(key="BOX_API_KEY", url="BOX_BASE_URL", model="BOX_MODEL"),
        ),
    ):
        raise error
    return caught.value


def refused(status: int, error: object, headers: dict[str, str] | None = None) -> ProviderError:
    """What becomes of an answer with `status` and this error object, through the SDK's own making of exceptions."""
    response = httpx2.Response(status, json={"error": error}, headers=headers, request=ASKED)
    client = openai.OpenAI(api_key="x", http_client=httpx2.Client())
    try:
        return translated(client._make_status_error_from_response(response))
    finally:
        client.close()


def event(body: object) -> ProviderError:
    return translated(openai.APIError("An error occurred during streaming", ASKED, body=body))


def test_every_exception_of_the_sdk_has_a_row_of_its_own() -> None:
    import openai.lib.azure  # one more is defined there

    unmapped = {cls.__name__ for cls in below(openai.OpenAIError) if cls not in native_errors()}
    assert unmapped == NEVER_RAISED


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (300, "connection"),
        (307, "connection"),
        (400, "bad_request"),
        (401, "authentication"),
        (402, "rate_limit"),
        (403, "permission"),
        (404, "not_found"),
        (405, "bad_request"),
        (408, "timeout"),
        (409, "server"),
        (410, "not_found"),
        (413, "context_length"),
        (418, "bad_request"),
        (422, "bad_request"),
        (425, "server"),
        (429, "rate_limit"),
        (500, "server"),
        (501, "server"),
        (502, "server"),
        (503, "overloaded"),
        (504, "server"),
        (529, "overloaded"),
        (599, "server"),
    ],
)
def test_a_status_alone(status: int, kind: str) -> None:
    error = refused(status, {"message": "no"})
    assert (error.kind, error.status, error.provider, error.request_model) == (kind, status, "box", "m")


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, {"code": "context_length_exceeded"}, "context_length"),
        (400, {"code": "string_above_max_length"}, "context_length"),
        (400, {"code": 400, "type": "exceed_context_size_error"}, "context_length"),
        (400, {"code": "content_filter"}, "content_filter"),
        (400, {"code": None, "innererror": {"code": "ResponsibleAIPolicyViolation"}}, "content_filter"),
        (400, {"code": "content_policy_violation"}, "content_filter"),
        (400, {"code": "invalid_prompt"}, "content_filter"),
        (400, {"code": "invalid_api_key"}, "authentication"),
        (401, {"code": "invalid_api_key", "type": "invalid_request_error"}, "authentication"),
        (400, {"code": "model_not_found"}, "not_found"),
        (404, {"code": "DeploymentNotFound"}, "not_found"),
        (429, {"code": "insufficient_quota", "type": "insufficient_quota"}, "rate_limit"),
        (413, {"code": "rate_limit_exceeded"}, "rate_limit"),
        (400, {"code": "invented"}, "bad_request"),
        (503, {"type": "server_error"}, "overloaded"),
    ],
)
def test_a_code_says_more_than_the_status(status: int, error: dict[str, Any], kind: str) -> None:
    assert refused(status, {"message": "no", **error}).kind == kind


@pytest.mark.parametrize(
    ("status", "error", "used_up"),
    [
        (402, {}, True),
        (429, {"code": "insufficient_quota", "type": "insufficient_quota"}, True),
        (429, {"code": None, "type": "insufficient_quota"}, True),
        (400, {"code": "billing_hard_limit_reached"}, True),
        (429, {"code": "rate_limit_exceeded", "type": "tokens"}, False),
        (429, {}, False),
    ],
)
def test_a_quota_that_is_used_up_is_told_from_a_limit_that_passes(
    status: int, error: dict[str, Any], used_up: bool
) -> None:
    failure = refused(status, {"message": "no", **error})
    assert (isinstance(failure, QuotaError), failure.kind) == (used_up, "rate_limit")


def test_openais_reset_says_when_to_ask_again() -> None:
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m2s"}
    assert refused(429, {"message": "no"}, headers).retry_after_s == 62


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        ({"message": "no", "type": "server_error"}, "server", None),
        ({"message": "no", "code": "rate_limit_exceeded"}, "rate_limit", None),
        ({"message": "no", "type": "overloaded_error"}, "overloaded", None),
        ({"message": "no", "type": "invalid_request_error"}, "bad_request", None),
        ({"message": "no", "code": 502}, "server", 502),
        ({"message": "no", "code": "429"}, "rate_limit", 429),
        ({"message": "no", "code": 1500}, "server", None),
        ("no", "server", None),
    ],
)
def test_an_error_event_in_a_stream(body: object, kind: str, status: int | None) -> None:
    error = event(body)
    assert (error.kind, error.status, error.request_id) == (kind, status, "from-the-stream")
    assert "no" in error.message


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (httpx2.ConnectError("refused"), "connection"),
        (httpx2.RemoteProtocolError("peer closed"), "connection"),
        (httpx2.DecodingError("bad gzip"), "malformed"),
        (httpx2.ConnectTimeout("slow"), "timeout"),
        (OSError("tls"), "connection"),
        (None, "connection"),
    ],
)
def test_a_connection_error_is_told_apart_by_its_cause(cause: Exception | None, kind: str) -> None:
    error = openai.APIConnectionError(request=ASKED)
    error.__cause__ = cause
    assert translated(error).kind == kind


@pytest.mark.parametrize(
    "error",
    [
        json.JSONDecodeError("Expecting value", "x", 0),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        RecursionError("maximum recursion depth exceeded"),
        UndecodableError("it has no list of choices"),
    ],
)
def test_what_cannot_be_read_is_malformed(error: Exception) -> None:
    found = translated(error)
    assert found.kind == "malformed"
    assert "BOX_BASE_URL" in found.message


@pytest.mark.parametrize(
    ("param", "ours"),
    [("temperature", "temperature"), ("max_completion_tokens", "max_tokens"), ("messages", "messages"), (None, None)],
)
def test_a_refused_parameter_has_our_name_for_it(param: str | None, ours: str | None) -> None:
    assert refused(400, {"message": "no", "code": "unsupported_value", "param": param}).parameter == ours


def test_no_parameter_is_named_where_none_was_refused() -> None:
    assert refused(401, {"message": "no", "code": "invalid_api_key", "param": "key"}).parameter is None


def test_what_the_headers_say() -> None:
    error = refused(429, {"message": "no"}, {"retry-after": "3", "x-request-id": "req_1"})
    assert (error.retry_after_s, error.request_id) == (3.0, "req_1")
    error = refused(429, {"message": "no"}, {"retry-after-ms": "1500", "apim-request-id": "apim_1"})
    assert (error.retry_after_s, error.request_id) == (1.5, "apim_1")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            refused(401, {"message": "Incorrect API key provided."}),
            ["box", "Incorrect API key provided", "BOX_API_KEY"],
        ),
        (refused(404, {"message": "no such model"}), ["no such model", "BOX_MODEL", "BOX_BASE_URL"]),
        (refused(302, {"message": "x"}), ["redirect", "BOX_BASE_URL"]),
        (refused(503, None), ["Service Unavailable", "503"]),
        (refused(400, {"message": {"detail": [{"msg": "Extra inputs"}]}}), ["Extra inputs"]),
        (refused(400, "plain words"), ["plain words"]),
        (refused(400, {"message": "a\n\x1b[31mb" + "c" * 5000}), ["a bccc", "…"]),
    ],
)
def test_a_message_says_what_happened_and_what_to_look_at(error: LLMSwitchError, words: list[str]) -> None:
    for word in words:
        assert word in error.message
    assert "\n" not in error.message
    assert "\x1b" not in error.message
    assert len(error.message) < 700


def test_a_page_of_html_is_not_a_message() -> None:
    response = httpx2.Response(502, text="<html><body>nginx</body></html>", request=ASKED)
    client = openai.OpenAI(api_key="x", http_client=httpx2.Client())
    error = translated(client._make_status_error_from_response(response))
    client.close()
    assert error.message == "box: Bad Gateway (HTTP 502)."


@pytest.mark.parametrize("secret", [KEY, "tok-0987654321"])
def test_an_echoed_key_is_in_no_message_and_no_traceback(secret: str) -> None:
    words = {"message": f"Incorrect API key provided: {secret}. Find it\n{secret}", "code": secret, "type": secret}
    response = httpx2.Response(401, json={"error": words}, request=ASKED)
    client = openai.OpenAI(api_key="x", http_client=httpx2.Client())
    native = client._make_status_error_from_response(response)
    client.close()
    error = translated(native)
    assert "Incorrect API key provided: ***" in error.message
    assert secret not in "".join(traceback.format_exception(error))


def test_a_password_in_the_address_is_in_no_message() -> None:
    error = openai.APIConnectionError(request=ASKED)
    assert "127.0.0.1:9" in translated(error).message
    assert "word" not in translated(error).message


def test_a_key_with_an_escape_sequence_in_it_is_no_way_out() -> None:
    assert "provided: ***" in refused(401, {"message": f"provided: {KEY[:9]}\x1b[0m{KEY[9:]}"}).message
