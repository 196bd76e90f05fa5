"""Gemini's adapter over real HTTP: llmock where it answers, a server of our own where it is told what to answer."""

from __future__ import annotations

import json
import subprocess
import sys
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

from llmswitch.errors import ConfigError, QuotaError
from llmswitch.providers.gemini import VENDOR
from llmswitch.providers.gemini_errors import native_errors
from llmswitch.types import Attachment, Chunk, Message, Parameters, Request, Usage
from tests.providers.asking import ask, below, chunks, failed, settings_of, text_of
from tests.providers.asking import question as any_question
from tests.providers.fakes.gemini import (
    KEY,
    TOKEN,
    USAGE,
    WHOLE,
    environ_of,
    error_info,
    piece,
    question,
    refused,
    sent,
)
from tests.servers.recorder import Answer, Recorder, Seen


@pytest.fixture
def server() -> Iterator[Recorder]:
    with Recorder(sent) as recorder:
        yield recorder


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


def test_every_exception_of_the_sdk_has_a_row_or_inherits_one() -> None:
    table = tuple(native_errors())
    defined = {cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, Exception)}
    unmapped = {cls.__name__ for cls in defined if not issubclass(cls, table)}
    # the interactions API, and a category of warnings: nothing of ours asks for them
    assert unmapped == {"ContinuationInterruptedError", "ExperimentalWarning"}
    assert all(issubclass(cls, table) for cls in below(google.auth.exceptions.GoogleAuthError))


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
    error = failed(ask, VENDOR, environ_of(server.url), question())
    assert error.kind == kind
    assert ("Check GOOGLE_API_KEY" in error.message) == (kind == "authentication")


def test_google_says_when_to_come_back_and_what_to_ask_about(server: Recorder) -> None:
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}
    about = {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "req-1"}
    server.answer = refused(429, "RESOURCE_EXHAUSTED", "Quota exceeded.", retry, about, **{"retry-after": "7"})
    error = failed(chunks, VENDOR, environ_of(server.url), question())
    assert (error.retry_after_s, error.request_id) == (34.5, "req-1")


@pytest.mark.parametrize(
    ("quotas", "used_up"),
    [
        (["GenerateRequestsPerMinutePerProjectPerModel-FreeTier"], False),
        (["GenerateContentInputTokensPerModelPerMinute", "GenerateRequestsPerDayPerProjectPerModel-FreeTier"], True),
        ([], False),
        ([None, 7], False),
    ],
)
def test_the_quota_of_a_day_is_told_from_that_of_a_minute(
    server: Recorder, quotas: list[object], used_up: bool
) -> None:
    violations = [{"quotaId": quota} for quota in quotas]
    about = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}
    reason = error_info("RATE_LIMIT_EXCEEDED")
    server.answer = refused(429, "RESOURCE_EXHAUSTED", "Quota exceeded.", reason, about, retry)
    error = failed(chunks, VENDOR, environ_of(server.url), question())
    assert (isinstance(error, QuotaError), error.kind, error.retry_after_s) == (used_up, "rate_limit", 34)


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
    error = failed(ask, VENDOR, environ_of(server.url), question(**parameters))
    assert (error.kind, error.parameter) == ("bad_request", named)


def test_a_prompt_that_is_too_long_is_told_apart(server: Recorder) -> None:
    told = "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576)."
    server.answer = refused(400, "INVALID_ARGUMENT", told)
    error = failed(ask, VENDOR, environ_of(server.url), question(max_tokens=9))
    assert (error.kind, error.parameter) == ("context_length", None)


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
    found = failed(chunks, VENDOR, environ_of(server.url), question(), seen)
    assert (found.kind, found.status) == (kind, status)
    assert text_of(seen) == "Par"


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


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize("asked", [ask, chunks])
def test_an_echoed_token_is_not_shown(server: Recorder, asked: Any) -> None:
    echo = refused(403, "PERMISSION_DENIED", f"not with {TOKEN}")
    server.answer = lambda seen: sent(seen) if seen.path == "/token" else echo
    environ = {"GOOGLE_PROJECT_ID": "p", "GOOGLE_LOCATION": "eu", "GOOGLE_GEMINI_BASE_URL": server.url}
    error = failed(asked, VENDOR, environ, question())
    assert error.kind == "permission"
    assert TOKEN not in "".join(traceback.format_exception(error))
    assert "not with ***" in error.message


@pytest.mark.usefixtures("credentials")
def test_credentials_that_are_refused_are_an_authentication_error(server: Recorder) -> None:
    server.answer = Answer({"error": "invalid_grant", "error_description": "Account gone."}, 400)
    environ = {"GOOGLE_PROJECT_ID": "p", "GOOGLE_LOCATION": "eu", "GOOGLE_GEMINI_BASE_URL": server.url}
    error = failed(ask, VENDOR, environ, question())
    assert error.kind == "authentication"
    assert "Account gone" in error.message
    assert "gcloud auth application-default login" in error.message


def test_credentials_that_are_not_there_are_an_authentication_error(
    server: Recorder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    environ = {"GOOGLE_PROJECT_ID": "p", "GOOGLE_LOCATION": "eu", "GOOGLE_GEMINI_BASE_URL": server.url}
    error = failed(chunks, VENDOR, environ, question())
    assert error.kind == "authentication"
    assert "gcloud auth application-default login" in error.message
