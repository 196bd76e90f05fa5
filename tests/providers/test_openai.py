"""OpenAI's adapter over real HTTP: llmock where it answers, a server of our own where it is told what to answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from llmock.scenarios import Fail
from llmock.testing import LLMockServer

from llmswitch.errors import ConfigError
from llmswitch.providers.openai import VENDOR
from llmswitch.types import Chunk, Usage
from tests.providers.asking import ask, chunks, failed, question, settings_of, text_of
from tests.providers.fakes.openai import KEY, environ_of, piece, sent
from tests.servers.recorder import Answer, Recorder


@pytest.fixture
def server() -> Iterator[Recorder]:
    with Recorder(sent) as recorder:
        yield recorder


# configuration


def test_defaults_are_openais_own() -> None:
    endpoint = VENDOR.configure(settings_of({"OPENAI_API_KEY": KEY}))
    assert (endpoint.base_url, endpoint.model) == ("https://api.openai.com/v1", "gpt-6-luna")
    assert (endpoint.organization, endpoint.project, endpoint.connect_timeout_s) == (None, None, 10)
    assert KEY not in repr(endpoint)
    assert KEY not in str(endpoint.identity())


def test_the_profile_decides_where_and_as_whom() -> None:
    settings = settings_of(
        {
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": "https://gateway.example/v1//",
            "OPENAI_MODEL": "gpt-x",
            "OPENAI_ORGANIZATION": "org-1",
            "OPENAI_PROJECT_ID": "proj-1",
            "LLM_CONNECT_TIMEOUT": "3",
        }
    )
    endpoint = VENDOR.configure(settings)
    assert (endpoint.base_url, endpoint.model) == ("https://gateway.example/v1", "gpt-x")
    assert (endpoint.organization, endpoint.project, endpoint.connect_timeout_s) == ("org-1", "proj-1", 3)


def test_a_missing_key_is_named() -> None:
    assert not VENDOR.configured(settings_of({}))
    with pytest.raises(ConfigError, match="OPENAI_API_KEY is not set") as caught:
        VENDOR.configure(settings_of({}))
    assert caught.value.provider == "openai"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENAI_BASE_URL", "https://h/v1?tenant=a"),
        ("OPENAI_BASE_URL", "https://h/v1#a"),
        ("OPENAI_BASE_URL", "redis://h/1"),
        ("OPENAI_BASE_URL", "h/v1"),
        ("OPENAI_ORGANIZATION", "org 1"),
        ("OPENAI_PROJECT_ID", "proj-ü"),
        ("LLM_CONNECT_TIMEOUT", "0"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        VENDOR.configure(settings_of({"OPENAI_API_KEY": KEY, name: value}))


# what is sent


@pytest.mark.parametrize("stream", [True, False])
def test_a_preview_is_what_is_sent(server: Recorder, stream: bool) -> None:
    request = question(max_tokens=9, temperature=0, system="s", stream=stream)
    environ = environ_of(server.url)
    chunks(VENDOR, environ, request) if stream else ask(VENDOR, environ, request)
    (seen,) = server.seen
    assert seen.json == VENDOR.preview(VENDOR.configure(settings_of(environ)), request)
    assert seen.json["max_completion_tokens"] == 9
    assert "max_tokens" not in seen.json
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["authorization"] == f"Bearer {KEY}"


def test_organization_and_project_go_as_headers(server: Recorder) -> None:
    ask(VENDOR, environ_of(server.url, OPENAI_ORGANIZATION="org-1", OPENAI_PROJECT_ID="proj-1"), question())
    (seen,) = server.seen
    assert (seen.headers["openai-organization"], seen.headers["openai-project"]) == ("org-1", "proj-1")


# what comes back


def test_a_whole_answer(server: Recorder) -> None:
    answer = ask(VENDOR, environ_of(server.url), question())
    assert (answer.text, answer.finish_reason, answer.usage) == ("Paris", "stop", Usage(3, 2))
    assert (answer.provider, answer.request_model, answer.response_model) == ("openai", "gpt-6-luna", "m1")
    assert (answer.response_id, answer.request_id) == ("c1", "req_1")


def test_a_streamed_answer(server: Recorder) -> None:
    assert chunks(VENDOR, environ_of(server.url), question()) == [
        Chunk(response_model="m1", response_id="c1", request_id="req_1"),
        Chunk(text="Par", response_model="m1", response_id="c1", request_id="req_1"),
        Chunk(text="is", response_model="m1", response_id="c1", request_id="req_1"),
        Chunk(finish_reason="stop", response_model="m1", response_id="c1", request_id="req_1"),
        Chunk(usage=Usage(3, 2), response_model="m1", response_id="c1", request_id="req_1"),
    ]


def test_a_refusal_in_a_stream_stays_one_when_the_stream_stops(server: Recorder) -> None:
    refusal = {"choices": [{"delta": {"refusal": "I cannot."}, "finish_reason": None}]}
    server.answer = Answer(events=(refusal, piece(finish="stop"), "[DONE]"))
    pieces = chunks(VENDOR, environ_of(server.url), question())
    assert text_of(pieces) == "I cannot."
    assert pieces[-1].finish_reason == "content_filter"


# failures


@pytest.mark.parametrize(("code", "kind"), [(502, "server"), (429, "rate_limit")])
def test_an_error_where_an_answer_should_be(server: Recorder, code: int, kind: str) -> None:
    server.answer = Answer({"error": {"message": "upstream", "code": code}})
    error = failed(ask, VENDOR, environ_of(server.url), question())
    assert (error.kind, error.status) == (kind, code)


@pytest.mark.parametrize(
    ("status", "kind", "wait"),
    [
        (400, "bad_request", None),
        (401, "authentication", None),
        (429, "rate_limit", 2.5),
        (500, "server", None),
        (503, "overloaded", 0.5),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_a_status_is_one_request_and_one_error(
    mock: LLMockServer, status: int, kind: str, wait: float | None, stream: bool
) -> None:
    mock.state.scenarios.add(Fail(status, retry_after=wait, times=None))
    error = failed(chunks if stream else ask, VENDOR, environ_of(mock.url), question())
    assert (error.kind, error.status) == (kind, status)
    assert error.retry_after_s == wait
    assert len(mock.state.journal.records(wait=5)) == 1


def test_a_prompt_that_is_too_long_is_told_apart(mock: LLMockServer) -> None:
    mock.state.scenarios.add(Fail(400, code="context_length_exceeded"))
    error = failed(ask, VENDOR, environ_of(mock.url), question())
    assert error.kind == "context_length"


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"error": {"message": "boom", "type": "server_error"}}, "server"),
        ({"error": {"message": "slow", "code": "rate_limit_exceeded"}}, "rate_limit"),
        ({"error": {"message": "full", "type": "overloaded_error"}}, "overloaded"),
        ({"error": "out of memory"}, "server"),
        ("{not json", "malformed"),
        ("7", "malformed"),
        ({"no": "choices"}, "malformed"),
        ("[" * 100_000, "malformed"),
    ],
)
def test_an_event_that_is_no_chunk(server: Recorder, event: object, kind: str) -> None:
    server.answer = Answer(events=(piece("Par"), event), headers={"x-request-id": "req_9"})
    seen: list[Chunk] = []
    error = failed(chunks, VENDOR, environ_of(server.url), question(), seen)
    assert (error.kind, error.request_id) == (kind, "req_9")
    assert text_of(seen) == "Par"
