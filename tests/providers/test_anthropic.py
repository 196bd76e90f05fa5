"""Anthropic's adapter over real HTTP: llmock where it answers, a server of our own where it is told what to answer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any, get_args

import anthropic
import pytest
from anthropic.types.shared import ErrorType

from llmswitch.errors import ConfigError, QuotaError
from llmswitch.providers.anthropic import VENDOR
from llmswitch.providers.anthropic_errors import ERROR_TYPES, SDK_ERRORS
from llmswitch.types import Chunk, Usage
from tests.providers.asking import ask, below, chunks, failed, settings_of, text_of
from tests.providers.asking import question as any_question
from tests.providers.fakes.anthropic import HEADERS, KEY, PAR, START, environ_of, event, question, refused, sent
from tests.servers.recorder import Answer, Recorder


@pytest.fixture
def server() -> Iterator[Recorder]:
    with Recorder(sent) as recorder:
        yield recorder


# configuration


def test_defaults_are_anthropics_own() -> None:
    endpoint = VENDOR.configure(settings_of({"ANTHROPIC_API_KEY": KEY}))
    assert (endpoint.provider, endpoint.base_url) == ("anthropic", "https://api.anthropic.com")
    assert VENDOR.default_max_tokens == 8192
    assert KEY not in repr(endpoint) + str(endpoint.identity())


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v1/"])
def test_an_address_may_end_as_people_copy_it(tail: str) -> None:
    settings = settings_of(environ_of(f"https://gateway.example/claude{tail}"))
    assert VENDOR.configure(settings).base_url == "https://gateway.example/claude"


def test_a_missing_key_is_named() -> None:
    assert not VENDOR.configured(settings_of({}))
    with pytest.raises(ConfigError, match="set ANTHROPIC_API_KEY") as caught:
        VENDOR.configure(settings_of({}))
    assert caught.value.provider == "anthropic"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ANTHROPIC_BASE_URL", "https://h?tenant=a"),
        ("ANTHROPIC_BASE_URL", "h/v1"),
        ("ANTHROPIC_API_KEY", "sk-ant x"),
        ("LLM_CONNECT_TIMEOUT", "0"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        VENDOR.configure(settings_of({"ANTHROPIC_API_KEY": KEY, name: value}))


def test_importing_the_vendors_file_imports_no_sdk() -> None:
    code = (
        "import sys, llmswitch.providers.anthropic, llmswitch.providers.gemini;"
        "heavy = {'anthropic', 'openai', 'google.genai', 'google.auth', 'httpx2', 'pydantic'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# what is sent


@pytest.mark.parametrize("stream", [True, False])
def test_a_preview_is_what_is_sent(server: Recorder, stream: bool) -> None:
    request = question(max_tokens=9, system="s", schema={"type": "object"}, stream=stream)
    environ = environ_of(server.url)
    chunks(VENDOR, environ, request) if stream else ask(VENDOR, environ, request)
    (seen,) = server.seen
    assert seen.json == VENDOR.preview(VENDOR.configure(settings_of(environ)), request)
    assert seen.path == "/v1/messages"
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.headers["x-api-key"] == KEY
    assert seen.headers["anthropic-version"] > "2026"


@pytest.mark.parametrize("parameters", [{"temperature": 0.0}, {"top_p": 0.5}])
def test_sampling_is_asked_for_under_the_version_that_knows_it(server: Recorder, parameters: dict[str, Any]) -> None:
    ask(VENDOR, environ_of(server.url), question(**parameters))
    chunks(VENDOR, environ_of(server.url), question(**parameters))
    for seen in server.seen:
        assert seen.headers["anthropic-version"] == "2023-06-01"
        assert seen.json.items() >= parameters.items()


def test_a_long_answer_need_not_be_streamed(server: Recorder) -> None:
    assert ask(VENDOR, environ_of(server.url), question(max_tokens=128_000)).text == "Paris"


def test_a_model_that_the_sdk_calls_deprecated_is_asked_without_a_word(server: Recorder) -> None:
    from anthropic.resources.messages.messages import DEPRECATED_MODELS

    request = any_question(model=next(iter(DEPRECATED_MODELS)))
    assert ask(VENDOR, environ_of(server.url), request).text == "Paris"


# what comes back


def test_a_whole_answer(server: Recorder) -> None:
    answer = ask(VENDOR, environ_of(server.url), question())
    assert (answer.text, answer.finish_reason) == ("Paris", "stop")
    assert (answer.response_id, answer.request_id, answer.response_model) == ("msg_1", "req_1", "m1")


def test_a_streamed_answer(server: Recorder) -> None:
    assert chunks(VENDOR, environ_of(server.url), question()) == [
        Chunk(request_id="req_1"),
        Chunk(usage=Usage(3, 2, reasoning_output_tokens=0), response_model="m1", response_id="msg_1"),
        Chunk(text="Par"),
        Chunk(text="is"),
        Chunk(finish_reason="stop", usage=Usage(3, 7, reasoning_output_tokens=0)),
    ]


# failures


#: of those that are raised, the bases: what they mean is read off the error's type and status
BASES = {"AnthropicError", "APIError", "APIStatusError", "InternalServerError"}
#: raised, with what is below them, by what llmswitch never uses
NEVER_RAISED = {
    "APIWebhookValidationError",
    "CredentialsError",
    "MissingDependencyError",
    "MutuallyExclusiveAuthError",
    "RetryableError",
    "StreamAlreadyConsumed",
    "ToolsetUsageError",
    "WorkloadIdentityError",
}


def test_every_exception_of_the_sdk_has_a_row_or_inherits_one() -> None:
    classes = set(below(anthropic.AnthropicError))
    lines = {cls.__name__: {base.__name__ for base in cls.__mro__} for cls in classes}
    assert {name for name, line in lines.items() if not line & (set(SDK_ERRORS) | NEVER_RAISED)} == BASES
    assert set(SDK_ERRORS) <= set(lines)


def test_every_error_type_of_the_sdk_has_a_row() -> None:
    documented = {"request_too_large"}  # known to the SDK by its status alone, which a batch's result has not
    assert set(ERROR_TYPES) == set(get_args(ErrorType)) | documented


@pytest.mark.parametrize(
    ("message", "parameters", "kind", "named"),
    [
        ("prompt is too long: 200001 tokens > 200000 maximum", {}, "context_length", None),
        ("input length and `max_tokens` exceed context limit: 1", {"max_tokens": 9}, "context_length", None),
        ("temperature: Extra inputs are not permitted", {"temperature": 1.0}, "bad_request", "temperature"),
        ("temperature and top_p cannot both be specified", {"top_p": 1.0}, "bad_request", "top_p"),
        ("stop_sequences: each must contain non-whitespace", {"stop": (" ",)}, "bad_request", "stop"),
        ("max_tokens: 9 > 8, which is the maximum", {"max_tokens": 9}, "bad_request", "max_tokens"),
        ("output_config.effort: not supported", {"reasoning_effort": "max"}, "bad_request", "reasoning_effort"),
        ("max_tokens: 8192 > 4096, which is the maximum", {}, "bad_request", None),
        ("messages: at least one is needed", {"temperature": 1.0}, "bad_request", None),
    ],
)
def test_what_a_400_complains_of(
    server: Recorder, message: str, parameters: dict[str, Any], kind: str, named: str | None
) -> None:
    server.answer = refused(400, "invalid_request_error", message)
    error = failed(ask, VENDOR, environ_of(server.url), question(**parameters))
    assert (error.kind, error.parameter) == (kind, named)


@pytest.mark.parametrize(
    ("theirs", "kind"),
    [
        ("overloaded_error", "overloaded"),
        ("rate_limit_error", "rate_limit"),
        ("api_error", "server"),
        ("invalid_request_error", "bad_request"),
        ("invented", "server"),
    ],
)
def test_an_error_event_in_a_stream_is_told_by_its_type(server: Recorder, theirs: str, kind: str) -> None:
    broken = event({"type": "error", "error": {"type": theirs, "message": "Overloaded"}})
    server.answer = Answer(events=(START, PAR, broken), headers=HEADERS)
    seen: list[Chunk] = []
    error = failed(chunks, VENDOR, environ_of(server.url), question(), seen)
    assert (error.kind, error.request_id) == (kind, "req_1")
    assert "anthropic: Overloaded" in error.message
    assert text_of(seen) == "Par"


@pytest.mark.parametrize(
    ("status", "theirs", "said", "used_up"),
    [
        (402, "billing_error", "no", True),
        (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API.", True),
        (429, "rate_limit_error", "no", False),
    ],
)
def test_a_balance_that_is_used_up_is_told_from_a_limit_that_passes(
    server: Recorder, status: int, theirs: str, said: str, used_up: bool
) -> None:
    server.answer = refused(status, theirs, said)
    assert isinstance(failed(ask, VENDOR, environ_of(server.url), question()), QuotaError) is used_up


def test_a_limit_says_itself_when_it_is_there_again(server: Recorder) -> None:
    headers = {
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2999-01-01T00:00:00Z",
    }
    server.answer = refused(429, "rate_limit_error", "no", **headers)
    assert (failed(ask, VENDOR, environ_of(server.url), question()).retry_after_s or 0) > 3e10
