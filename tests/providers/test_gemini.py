"""Gemini's adapter over real HTTP: llmock where it answers, a server of our own where it is told what to answer."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google.auth.exceptions
import google.genai
import pytest
from google.genai import errors
from google.genai._api_client import BaseApiClient
from llmock.scenarios import Fail, Reply, StreamFault
from llmock.simulation import MockResponseSettings
from llmock.testing import LLMockServer

from llmswitch.errors import ConfigError, ProviderError
from llmswitch.providers.gemini import VENDOR
from llmswitch.providers.gemini_errors import native_errors
from llmswitch.types import Attachment, Chunk, Message, Parameters, Request, Usage
from tests.providers.asking import ask, chunks, settings_of, text_of
from tests.providers.asking import question as any_question
from tests.servers.recorder import Answer, Handler, Loopback, Recorder, Seen, sse

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
    return {"candidates": [{**candidate, **ended}], "modelVersion": "m1", "responseId": "r1", **rest}


COUNTS = {"promptTokenCount": 3, "candidatesTokenCount": 2, "thoughtsTokenCount": 4, "totalTokenCount": 9}
WHOLE = piece("Paris", "STOP", usageMetadata=COUNTS)
STREAM = (
    piece("Par", usageMetadata={"promptTokenCount": 3, "totalTokenCount": 3}),
    piece("is", "STOP", usageMetadata=COUNTS),
)
USAGE = Usage(3, 6, cache_read_input_tokens=0, reasoning_output_tokens=4)


def sent(seen: Seen) -> Answer:
    if seen.path == "/token":
        return Answer({"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"})
    return Answer(events=STREAM) if "stream" in seen.path else Answer(WHOLE)


def refused(status: int, word: str, message: str, *details: dict[str, Any], **headers: str) -> Answer:
    error = {"code": status, "message": message, "status": word, "details": list(details)}
    return Answer({"error": error}, status, headers)


def error_info(reason: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}


@pytest.fixture
def server() -> Iterator[Recorder]:
    with Recorder(sent) as recorder:
        yield recorder


@pytest.fixture(scope="module")
def mock() -> Iterator[LLMockServer]:
    with LLMockServer(responses=MockResponseSettings(response_style="static")) as running:
        yield running


@pytest.fixture(autouse=True)
def _forget(mock: LLMockServer) -> Iterator[None]:
    yield
    mock.state.reset()


@pytest.fixture
def credentials(server: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Application-default credentials: a service account whose tokens come from `server`."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account",
        "project_id": "from-the-credentials",
        "private_key_id": "1",
        "private_key": key.decode(),
        "client_email": "a@b.invalid",
        "token_uri": f"{server.url}/token",
    }
    path = tmp_path / "account.json"
    path.write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))


# configuration


def test_defaults_are_the_sdks_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_GENAI_API_VERSION", raising=False)
    endpoint = VENDOR.configure(settings_of({"GEMINI_API_KEY": KEY}))
    plain = google.genai.Client(api_key=KEY, vertexai=False)
    options = plain._api_client._http_options
    assert (f"{endpoint.base_url}/", endpoint.api_version) == (options.base_url, options.api_version)
    assert (endpoint.provider, endpoint.price_provider, endpoint.project) == ("gemini", "google", None)
    assert KEY not in repr(endpoint) + str(endpoint.identity())
    plain.close()


@pytest.mark.parametrize("location", ["us-central1", "europe-west4", "global", "us", "eu"])
def test_a_location_is_the_host_that_the_sdk_would_ask(location: str) -> None:
    endpoint = VENDOR.configure(settings_of({"GOOGLE_PROJECT_ID": "p", "GOOGLE_LOCATION": location}))
    own = BaseApiClient(vertexai=True, project="p", location=location)
    assert (f"{endpoint.base_url}/", endpoint.api_version) == (
        own._http_options.base_url,
        own._http_options.api_version,
    )
    assert (endpoint.api_key, endpoint.project, endpoint.location) == (None, "p", location)


def test_the_default_model_has_a_price() -> None:
    from genai_prices import Usage as Tokens
    from genai_prices import calc_price

    assert VENDOR.default_model
    price = calc_price(Tokens(input_tokens=1000, output_tokens=1000), VENDOR.default_model, provider_id="google")
    assert price.total_price > 0
    assert price.model.id == VENDOR.default_model


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, "set GOOGLE_API_KEY"),
        ({"GOOGLE_PROJECT_ID": "p"}, "needs GOOGLE_LOCATION"),
        ({"GOOGLE_PROJECT_ID": "p", "GOOGLE_LOCATION": "evil.invalid/x"}, "GOOGLE_LOCATION must be a region"),
        ({"GOOGLE_PROJECT_ID": "p", "GOOGLE_LOCATION": "us-central1\n"}, None),
        ({"GOOGLE_PROJECT_ID": "p", "GOOGLE_LOCATION": "evil.invalid#"}, "GOOGLE_LOCATION must be a region"),
        ({"GOOGLE_API_KEY": KEY, "GOOGLE_GENAI_API_VERSION": "v1/../x"}, "GOOGLE_GENAI_API_VERSION must be a version"),
        ({"GOOGLE_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": "https://h?a"}, "GOOGLE_GEMINI_BASE_URL must be"),
        ({"GOOGLE_API_KEY": "a b"}, "GOOGLE_API_KEY holds"),
        ({"GEMINI_API_KEY": "a b"}, "GEMINI_API_KEY holds"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(environ: dict[str, str], told: str | None) -> None:
    settings = settings_of(environ)
    if told is None:  # a line break at the end is no part of the value
        assert VENDOR.configure(settings).location == "us-central1"
        return
    with pytest.raises(ConfigError, match=told):
        VENDOR.configure(settings)


def test_beta_is_the_sdks_word_for_the_newest_version() -> None:
    environ = {"GOOGLE_API_KEY": KEY, "GOOGLE_GENAI_API_VERSION": "beta"}
    assert VENDOR.configure(settings_of(environ)).api_version == "v1beta"
    vertex = {"GOOGLE_PROJECT_ID": "p", "GOOGLE_LOCATION": "eu", "GOOGLE_GENAI_API_VERSION": "beta"}
    assert VENDOR.configure(settings_of(vertex)).api_version == "v1beta1"


def test_a_profiles_project_is_stronger_than_a_key_that_lies_about(tmp_path: Path) -> None:
    from llmswitch.profiles import load_settings

    home, vertex = tmp_path / "home", "GOOGLE_PROJECT_ID=p\nGOOGLE_LOCATION=eu\n"
    (home / "config" / "profiles").mkdir(parents=True)
    (home / "config" / "profiles" / "work.env").write_text(vertex)
    environ = {"LLMSWITCH_HOME": str(home), "GOOGLE_API_KEY": KEY}
    assert VENDOR.configure(load_settings(cwd=tmp_path, environ=environ, profile="work")).project == "p"
    both = {**environ, "GOOGLE_PROJECT_ID": "p", "GOOGLE_LOCATION": "eu"}
    assert VENDOR.configure(load_settings(cwd=tmp_path, environ=both)).project is None


# what is sent

PICTURE = Attachment("image/png", b"\xfb\xff\xfe?>")
FULL = Request(
    "gemini-3.8-flash",
    (Message("user", "what?", (PICTURE,)), Message("assistant", "a dot"), Message("user", "sure?")),
    system="be brief",
    parameters=Parameters(0.0, 9, 0.5, 7, ("END",), "invented"),
    schema={"type": "object", "properties": {"a_b": {"type": "string"}}},
)


@pytest.mark.parametrize("request_", [question(), FULL])
def test_a_preview_is_what_is_sent(server: Recorder, request_: Request) -> None:
    environ = environ_of(server.url)
    ask(VENDOR, environ, request_)
    chunks(VENDOR, environ, request_)
    whole, streamed = server.seen
    assert whole.json == streamed.json == VENDOR.preview(VENDOR.configure(settings_of(environ)), request_)
    assert whole.path == "/v1/models/gemini-3.8-flash:generateContent"
    assert (streamed.path, streamed.query) == ("/v1/models/gemini-3.8-flash:streamGenerateContent", {"alt": "sse"})
    assert whole.headers["x-goog-api-key"] == streamed.headers["x-goog-api-key"] == KEY


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize("request_", [question(), FULL])
def test_vertex_is_asked_with_a_token_of_the_credentials(server: Recorder, request_: Request) -> None:
    environ = {"GOOGLE_PROJECT_ID": "p", "GOOGLE_LOCATION": "eu", "GOOGLE_GEMINI_BASE_URL": server.url}
    assert ask(VENDOR, environ, request_).text == "Paris"
    assert text_of(chunks(VENDOR, environ, request_)) == "Paris"
    calls = [seen for seen in server.seen if seen.path != "/token"]
    place = "/v1beta1/projects/p/locations/eu/publishers/google/models/gemini-3.8-flash"
    assert [seen.path for seen in calls] == [f"{place}:generateContent", f"{place}:streamGenerateContent"]
    for seen in calls:
        assert seen.headers["authorization"] == f"Bearer {TOKEN}"
        assert "x-goog-api-key" not in seen.headers
        assert seen.json == VENDOR.preview(VENDOR.configure(settings_of(environ)), request_)


@pytest.mark.parametrize("model", ["../x", "a?b", "a&b", "a#b", "a b", ""])
@pytest.mark.parametrize("asked", [ask, chunks])
def test_a_name_that_no_model_has_is_not_sent(server: Recorder, model: str, asked: Any) -> None:
    with pytest.raises(ConfigError, match="is not the name of a model"):
        asked(VENDOR, environ_of(server.url), any_question(model=model))
    assert server.seen == []


def _variables_the_sdk_reads() -> set[str]:
    found = set[str]()
    for path in Path(google.genai.__file__).parent.rglob("*.py"):
        text = path.read_text("utf-8")
        found |= set(re.findall(r"""(?:environ(?:\.get\(|\[)|getenv\()\s*["']([A-Z0-9_]+)["']""", text))
    return found


def test_no_variable_of_the_environment_changes_what_the_profile_says(
    server: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = environ_of(server.url)
    ask(VENDOR, ours, question())
    names = _variables_the_sdk_reads() - {"SSL_CERT_FILE", "SSL_CERT_DIR"}  # certificates are the environment's to say
    assert {"GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GEMINI_BASE_URL", "GOOGLE_GENAI_CLIENT_MODE"} <= names
    with Recorder(sent) as hostile:
        for name in names:
            monkeypatch.setenv(name, "hostile")
        for name in (*(n for n in names if n.endswith("_URL")), "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"{hostile.url}/hostile")
        monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
        monkeypatch.setenv("GOOGLE_GENAI_USE_ENTERPRISE", "true")
        monkeypatch.setenv("GOOGLE_GENAI_CLIENT_MODE", "replay")
        monkeypatch.setenv("GOOGLE_GENAI_HTTP_CLIENT", "auto")
        ask(VENDOR, ours, question())
        chunks(VENDOR, ours, question())
        assert hostile.seen == []
    calm, whole, streamed = server.seen
    assert (calm.path, calm.headers, calm.body) == (whole.path, whole.headers, whole.body)
    assert "hostile" not in whole.everything + streamed.everything


@pytest.mark.usefixtures("credentials")
def test_a_key_in_the_environment_does_not_go_to_vertex(server: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION"):
        monkeypatch.setenv(name, "hostile")
    environ = {"GOOGLE_PROJECT_ID": "p", "GOOGLE_LOCATION": "eu", "GOOGLE_GEMINI_BASE_URL": server.url}
    ask(VENDOR, environ, question())
    assert not any("hostile" in seen.everything for seen in server.seen)


def test_an_http_library_that_is_not_there_is_named(server: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_HTTP_CLIENT", "httpx")
    monkeypatch.setattr("google.genai._api_client.httpx", None)  # as where the SDK's extra is not installed
    with pytest.raises(ConfigError, match="Unset GOOGLE_GENAI_HTTP_CLIENT"):
        ask(VENDOR, environ_of(server.url), question())


def test_nothing_logs_the_key(server: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        ask(VENDOR, environ_of(server.url), question())
        chunks(VENDOR, environ_of(server.url), question())
    assert "httpx2" in {record.name for record in caplog.records}
    assert KEY not in caplog.text


@pytest.mark.parametrize("asked", [ask, chunks])
def test_an_answer_that_could_go_on_is_not_asked_to(server: Recorder, asked: Any) -> None:
    more = piece("Par", "CONTINUATION")
    more["candidates"][0]["continuationToken"] = "dG9rZW4="
    answers = iter((more, WHOLE))  # the second is for an SDK that goes on by itself

    def answered(seen: Seen) -> Answer:
        body = next(answers)
        return Answer(events=(body,)) if "stream" in seen.path else Answer(body)

    server.answer = answered
    got = asked(VENDOR, environ_of(server.url), question())
    finish = got[-1].finish_reason if isinstance(got, list) else got.finish_reason
    assert (finish, len(server.seen)) == ("length", 1)


# what comes back


def test_a_whole_answer(server: Recorder) -> None:
    answer = ask(VENDOR, environ_of(server.url), question())
    assert (answer.text, answer.finish_reason, answer.usage) == ("Paris", "stop", USAGE)
    assert (answer.provider, answer.request_model) == ("gemini", "gemini-3.8-flash")
    assert (answer.response_id, answer.response_model) == ("r1", "m1")


def test_a_streamed_answer(server: Recorder) -> None:
    first = Usage(3, 0, cache_read_input_tokens=0, reasoning_output_tokens=0)
    assert chunks(VENDOR, environ_of(server.url), question()) == [
        Chunk(text="Par", usage=first, response_model="m1", response_id="r1"),
        Chunk(text="is", finish_reason="stop", usage=USAGE, response_model="m1", response_id="r1"),
    ]


@pytest.mark.parametrize("stream", [True, False])
def test_llmock_answers(mock: LLMockServer, stream: bool) -> None:
    mock.state.scenarios.add(Reply(text="It is Paris."))
    if stream:
        pieces = chunks(VENDOR, mocked(mock), question("capital of France?"))
        text, finish, usage = text_of(pieces), pieces[-1].finish_reason, pieces[-1].usage
    else:
        whole = ask(VENDOR, mocked(mock), question("capital of France?"))
        text, finish, usage = whole.text, whole.finish_reason, whole.usage
    assert (text, finish) == ("It is Paris.", "stop")
    assert usage is not None
    assert usage.input_tokens
    assert usage.output_tokens


@pytest.mark.parametrize("asked", [ask, chunks])
def test_a_word_that_the_sdk_does_not_know_is_an_error_and_prints_nothing(server: Recorder, asked: Any) -> None:
    odd = piece("x", "INVENTED\x1b[31m")
    server.answer = lambda seen: Answer(events=(odd,)) if "stream" in seen.path else Answer(odd)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        got = asked(VENDOR, environ_of(server.url), question())
    finish = got[-1].finish_reason if isinstance(got, list) else got.finish_reason
    assert finish == "error"
    assert told == []


def test_a_blocked_prompt_ends_a_stream_without_text(server: Recorder) -> None:
    server.answer = Answer(events=({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}},))
    assert chunks(VENDOR, environ_of(server.url), question()) == [Chunk(finish_reason="content_filter")]


# failures


def _below(root: type[Exception]) -> Iterator[type[Exception]]:
    yield root
    for child in root.__subclasses__():
        yield from _below(child)


def test_every_exception_of_the_sdk_has_a_row_or_inherits_one() -> None:
    table = tuple(native_errors())
    defined = {cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, Exception)}
    unmapped = {cls.__name__ for cls in defined if not issubclass(cls, table)}
    # functions that the SDK calls, the interactions API, and a category of warnings: nothing of ours asks for them
    assert unmapped == {
        "UnknownFunctionCallArgumentError",
        "UnsupportedFunctionError",
        "FunctionInvocationError",
        "ContinuationInterruptedError",
        "ExperimentalWarning",
    }
    assert all(issubclass(cls, table) for cls in _below(google.auth.exceptions.GoogleAuthError))


def test_a_row_is_never_hidden_by_one_above_it() -> None:
    rows = list(native_errors())
    for index, row in enumerate(rows):
        assert not any(issubclass(row, above) for above in rows[:index]), row


@pytest.mark.parametrize(
    ("status", "word", "kind"),
    [
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
    ],
)
def test_a_status_is_one_request_and_one_error(server: Recorder, status: int, word: str, kind: str) -> None:
    server.answer = refused(status, word, "No way.", **{"retry-after": "7"})
    for asked in (ask, chunks):
        with pytest.raises(ProviderError) as caught:
            asked(VENDOR, environ_of(server.url), question())
        error = caught.value
        assert (error.kind, error.status, error.retry_after_s) == (kind, status, 7)
        assert (error.provider, error.request_model) == ("gemini", "gemini-3.8-flash")
        assert f"gemini: No way (HTTP {status})." in error.message
    assert len(server.seen) == 2


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("API_KEY_INVALID", "authentication"),
        ("API_KEY_SERVICE_BLOCKED", "permission"),
        ("RATE_LIMIT_EXCEEDED", "rate_limit"),
        ("INVENTED", "bad_request"),
    ],
)
def test_a_reason_says_more_than_the_status(server: Recorder, reason: str, kind: str) -> None:
    server.answer = refused(400, "INVALID_ARGUMENT", "API key not valid.", error_info(reason))
    with pytest.raises(ProviderError) as caught:
        ask(VENDOR, environ_of(server.url), question())
    assert caught.value.kind == kind
    assert ("Check GOOGLE_API_KEY" in caught.value.message) == (kind == "authentication")


def test_google_says_when_to_come_back_and_what_to_ask_about(server: Recorder) -> None:
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}
    about = {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "req-1"}
    server.answer = refused(429, "RESOURCE_EXHAUSTED", "Quota exceeded.", retry, about, **{"retry-after": "7"})
    with pytest.raises(ProviderError) as caught:
        chunks(VENDOR, environ_of(server.url), question())
    assert (caught.value.retry_after_s, caught.value.request_id) == (34.5, "req-1")


def violation(field: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"field": field}]}


@pytest.mark.parametrize(
    ("message", "details", "parameters", "named"),
    [
        ("Wrong.", [violation("generation_config.temperature")], {"temperature": 2.0}, "temperature"),
        ("Wrong.", [violation("generationConfig.topP")], {"top_p": 0.5}, "top_p"),
        ("Wrong.", [violation("generation_config.stop_sequences[0]")], {"stop": ("x",)}, "stop"),
        ("max_output_tokens must be positive", [], {"max_tokens": 1}, "max_tokens"),
        ("Thinking level is not supported", [], {"reasoning_effort": "low"}, "reasoning_effort"),
        ("Seed is not supported", [], {"seed": 1}, "seed"),
        ("Temperature is not supported", [], {}, None),
        ("Wrong.", [{"fieldViolations": "?"}, {"fieldViolations": [7]}, 7], {"temperature": 2.0}, None),
    ],
)
def test_what_a_400_complains_of(
    server: Recorder, message: str, details: list[Any], parameters: dict[str, Any], named: str | None
) -> None:
    server.answer = refused(400, "INVALID_ARGUMENT", message, *details)
    with pytest.raises(ProviderError) as caught:
        ask(VENDOR, environ_of(server.url), question(**parameters))
    assert (caught.value.kind, caught.value.parameter) == ("bad_request", named)


def test_a_prompt_that_is_too_long_is_told_apart(server: Recorder) -> None:
    told = "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576)."
    server.answer = refused(400, "INVALID_ARGUMENT", told)
    with pytest.raises(ProviderError) as caught:
        ask(VENDOR, environ_of(server.url), question(max_tokens=9))
    assert (caught.value.kind, caught.value.parameter) == ("context_length", None)


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"code": 503, "message": "Busy.", "status": "UNAVAILABLE"}, "overloaded", 503),
        ({"code": 429, "message": "Busy.", "status": "RESOURCE_EXHAUSTED"}, "rate_limit", 429),
        ({"code": 400, "message": "Busy.", "details": [error_info("API_KEY_INVALID")]}, "authentication", 400),
        ({"message": "Busy."}, "malformed", None),
        ("Busy.", "malformed", None),
    ],
)
def test_an_error_event_in_a_stream(server: Recorder, error: object, kind: str, status: int | None) -> None:
    server.answer = Answer(events=(piece("Par"), {"error": error}))
    seen: list[Chunk] = []
    with pytest.raises(ProviderError) as caught:
        chunks(VENDOR, environ_of(server.url), question(), seen)
    assert (caught.value.kind, caught.value.status) == (kind, status)
    assert text_of(seen) == "Par"


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize("asked", [ask, chunks])
def test_a_redirect_is_an_error_and_is_not_followed(server: Recorder, status: int, asked: Any) -> None:
    with Recorder(sent) as other:
        server.answer = Answer(status=status, headers={"location": f"{other.url}/v1/x"})
        with pytest.raises(ProviderError) as caught:
            asked(VENDOR, environ_of(server.url), question())
        assert other.seen == []
    assert (caught.value.kind, caught.value.status) == ("connection", status)
    assert "GOOGLE_GEMINI_BASE_URL" in caught.value.message


FAKE_AIOHTTP = """
class ClientSession:
    def __init__(self, *args, **kwargs): raise SystemExit("aiohttp was used")
    async def _request(self, method, url, *, ssl=None): ...  # the SDK looks at its arguments

def __getattr__(name):
    return type(name, (Exception,), {})
"""

ASK_BESIDE_AIOHTTP = """
import os, sys
sys.path.append(sys.argv[2])
import google.genai, google.genai._api_client
from llmswitch.errors import ProviderError
from llmswitch.providers.gemini import VENDOR
from tests.providers.asking import ask, chunks, question

assert google.genai._api_client.has_aiohttp
assert google.genai.Client(api_key="x", vertexai=False)._api_client._use_aiohttp(), "the SDK would use it"
environ = {"GOOGLE_API_KEY": "k", "GOOGLE_GEMINI_BASE_URL": sys.argv[1]}
os.environ |= {"GOOGLE_API_KEY": "x", "GEMINI_API_KEY": "y"}  # the SDK would warn of two keys, and we send neither
for asked in (ask, chunks):
    try:
        asked(VENDOR, environ, question(model="m"))
    except ProviderError as error:
        print(error.kind, error.status)
"""


def test_aiohttp_is_not_used_where_it_is_and_stderr_stays_silent(server: Recorder, tmp_path: Path) -> None:
    (tmp_path / "aiohttp.py").write_text(FAKE_AIOHTTP)
    root = Path(__file__).parents[2]
    with Recorder(sent) as other:
        server.answer = Answer(status=307, headers={"location": f"{other.url}/v1/x"})
        done = subprocess.run(
            [sys.executable, "-c", ASK_BESIDE_AIOHTTP, server.url, str(root)],
            env={"PYTHONPATH": f"{tmp_path}:{root / 'tests' / 'guard'}", "LLMSWITCH_TEST_GUARD": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert other.seen == []
    assert (done.stdout, done.stderr, done.returncode) == ("connection 307\nconnection 307\n", "", 0)
    assert len(server.seen) == 2


def test_a_stream_that_ends_without_a_finish_reason_just_ends(mock: LLMockServer) -> None:
    mock.state.scenarios.add(StreamFault("truncate", after_chunks=3))
    pieces = chunks(VENDOR, mocked(mock), question())
    assert text_of(pieces)
    assert all(piece.finish_reason is None for piece in pieces)


@pytest.mark.parametrize(("fault", "kind"), [("disconnect", "connection"), ("malformed", "malformed")])
def test_a_broken_stream_is_an_error_after_what_came(mock: LLMockServer, fault: Any, kind: str) -> None:
    mock.state.scenarios.add(StreamFault(fault, after_chunks=3))
    seen: list[Chunk] = []
    with pytest.raises(ProviderError) as caught:
        chunks(VENDOR, mocked(mock), question(), seen)
    assert caught.value.kind == kind
    assert text_of(seen)


@pytest.mark.parametrize(
    "broken",
    [
        "{not json",
        "7",
        "[" * 100_000,
        {"candidates": 7},
        {"candidates": [7]},
        {"candidates": [{"content": {"parts": [{"text": 7}]}}]},
        {"candidates": [{"finishReason": 7}]},
        {"usageMetadata": {"promptTokenCount": "many"}},
    ],
)
def test_an_event_that_is_none_of_theirs_is_malformed(server: Recorder, broken: object) -> None:
    server.answer = Answer(events=(piece("Par"), broken))
    seen: list[Chunk] = []
    with pytest.raises(ProviderError) as caught:
        chunks(VENDOR, environ_of(server.url), question(), seen)
    assert caught.value.kind == "malformed"
    assert text_of(seen) == "Par"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(b"<html>hello</html>", headers={"content-type": "text/html"}), "malformed"),
        (Answer(b""), "malformed"),
        (Answer([1]), "malformed"),
        (Answer({}), "malformed"),
        (Answer({"promptFeedback": {}}), "malformed"),
        (Answer({"candidates": [7]}), "malformed"),
        (Answer(WHOLE, status=201), "malformed"),
        (Answer(b'{"candidates": [', cut=True), "connection"),
        (Answer(b"x", headers={"content-encoding": "gzip"}), "malformed"),
    ],
)
def test_a_whole_answer_that_is_none(server: Recorder, answer: Answer, kind: str) -> None:
    server.answer = answer
    with pytest.raises(ProviderError) as caught:
        ask(VENDOR, environ_of(server.url), question())
    assert caught.value.kind == kind


def test_a_page_of_html_is_not_repeated(server: Recorder) -> None:
    server.answer = Answer(b"<html>Bad gateway</html>", 502, {"content-type": "text/html"})
    with pytest.raises(ProviderError) as caught:
        ask(VENDOR, environ_of(server.url), question())
    assert caught.value.message == "gemini: Bad Gateway (HTTP 502)."


@pytest.mark.parametrize("asked", [ask, chunks])
def test_nobody_listening_is_a_connection_error(asked: Any) -> None:
    with Recorder() as gone:
        url = gone.url
    with pytest.raises(ProviderError) as caught:
        asked(VENDOR, environ_of(url), question())
    assert caught.value.kind == "connection"
    assert f"the connection to {url.removeprefix('http://')} failed" in caught.value.message
    assert "GOOGLE_GEMINI_BASE_URL" in caught.value.message


@pytest.mark.parametrize("asked", [ask, chunks])
def test_an_echoed_key_is_not_shown(server: Recorder, asked: Any) -> None:
    server.answer = refused(401, "UNAUTHENTICATED", f"invalid {'x' * 470} {KEY}")
    with pytest.raises(ProviderError) as caught:
        asked(VENDOR, environ_of(server.url), question())
    shown = caught.value.message + repr(caught.value.as_dict()) + "".join(traceback.format_exception(caught.value))
    assert KEY[:12] not in shown
    assert "Check GOOGLE_API_KEY" in caught.value.message


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize("asked", [ask, chunks])
def test_an_echoed_token_is_not_shown(server: Recorder, asked: Any) -> None:
    echo = refused(403, "PERMISSION_DENIED", f"not with {TOKEN}")
    server.answer = lambda seen: sent(seen) if seen.path == "/token" else echo
    environ = {"GOOGLE_PROJECT_ID": "p", "GOOGLE_LOCATION": "eu", "GOOGLE_GEMINI_BASE_URL": server.url}
    with pytest.raises(ProviderError) as caught:
        asked(VENDOR, environ, question())
    assert caught.value.kind == "permission"
    assert TOKEN not in "".join(traceback.format_exception(caught.value))
    assert "not with ***" in caught.value.message


@pytest.mark.usefixtures("credentials")
def test_credentials_that_are_refused_are_an_authentication_error(server: Recorder) -> None:
    server.answer = Answer({"error": "invalid_grant", "error_description": "Account gone."}, 400)
    environ = {"GOOGLE_PROJECT_ID": "p", "GOOGLE_LOCATION": "eu", "GOOGLE_GEMINI_BASE_URL": server.url}
    with pytest.raises(ProviderError) as caught:
        ask(VENDOR, environ, question())
    assert caught.value.kind == "authentication"
    assert "Account gone" in caught.value.message
    assert "gcloud auth application-default login" in caught.value.message


def test_credentials_that_are_not_there_are_an_authentication_error(
    server: Recorder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    environ = {"GOOGLE_PROJECT_ID": "p", "GOOGLE_LOCATION": "eu", "GOOGLE_GEMINI_BASE_URL": server.url}
    with pytest.raises(ProviderError) as caught:
        chunks(VENDOR, environ, question())
    assert caught.value.kind == "authentication"
    assert "gcloud auth application-default login" in caught.value.message


def test_llmocks_errors_are_understood(mock: LLMockServer) -> None:
    mock.state.scenarios.add(Fail(429, retry_after=2.5), Fail(503))
    for kind, wait in (("rate_limit", 2.5), ("overloaded", 1.0)):
        with pytest.raises(ProviderError) as caught:
            ask(VENDOR, mocked(mock), question())
        assert (caught.value.kind, caught.value.retry_after_s) == (kind, wait)


@pytest.mark.parametrize("asked", [ask, chunks])
def test_the_connect_timeout_is_the_profiles(full_listener: str, asked: Any) -> None:
    started = time.monotonic()
    with pytest.raises(ProviderError) as caught:
        asked(VENDOR, environ_of(full_listener, LLM_CONNECT_TIMEOUT="0.3"), question())
    assert caught.value.kind == "timeout"
    assert time.monotonic() - started < 5
    assert "0.3 s (LLM_CONNECT_TIMEOUT)" in caught.value.message


class Held(Loopback):
    """Sends one piece, then empty lines until `done`: the SDK takes a comment for a broken chunk."""

    def __init__(self) -> None:
        super().__init__()
        self.done = threading.Event()

    def respond(self, seen: Seen, out: Handler) -> None:
        out.start(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        out.chunk(sse(piece("Par")))
        while not self.done.wait(0.01):
            out.chunk(b"\n")


@pytest.fixture
def held() -> Iterator[Held]:
    with Held() as running:
        yield running
        running.done.set()


def test_leaving_a_stream_early_closes_its_connection(held: Held) -> None:
    async def leave() -> None:
        adapter = VENDOR.connect(VENDOR.configure(settings_of(environ_of(held.url))))
        pieces = adapter.stream(question())
        # each piece in a task of its own, as `asyncio.wait_for` asks for it
        assert (await asyncio.create_task(anext(pieces))).text == "Par"  # type: ignore[arg-type]  # a coroutine is one
        await pieces.aclose()  # type: ignore[attr-defined]  # an async generator is one
        assert await asyncio.to_thread(held.left.wait, 5), "the server still holds the connection"
        await adapter.aclose()

    asyncio.run(leave())


def test_cancelling_a_stream_closes_its_connection(held: Held) -> None:
    async def cancel() -> None:
        adapter = VENDOR.connect(VENDOR.configure(settings_of(environ_of(held.url))))
        started = asyncio.Event()

        async def read() -> None:
            async for _ in adapter.stream(question()):
                started.set()

        reading = asyncio.create_task(read())
        await started.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await asyncio.to_thread(held.left.wait, 5), "the server still holds the connection"
        await adapter.aclose()

    asyncio.run(cancel())
