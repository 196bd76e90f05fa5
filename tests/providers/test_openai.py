"""OpenAI's adapter over real HTTP: llmock where it answers, a server of our own where it is told what to answer."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from llmock.scenarios import Fail, Reply, StreamFault
from llmock.simulation import MockResponseSettings
from llmock.testing import LLMockServer

from llmswitch.errors import ConfigError, ProviderError
from llmswitch.providers.openai import VENDOR
from llmswitch.types import Chunk, Usage
from tests.providers.asking import ask, chunks, question, settings_of, text_of
from tests.servers.recorder import Answer, Recorder, Seen

KEY = "sk-test-0123456789abcdef"


def environ_of(url: str, **more: str) -> dict[str, str]:
    return {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{url}/v1", **more}


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


def sent(seen: Seen) -> Answer:
    """A whole or a streamed answer, as was asked for."""
    headers = {"x-request-id": "req_1"}
    return Answer(events=STREAM, headers=headers) if seen.json.get("stream") else Answer(WHOLE, headers=headers)


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


def _variables_the_sdk_reads() -> set[str]:
    root = Path(openai.__file__).parent
    found = set[str]()
    for path in root.rglob("*.py"):
        found |= set(re.findall(r"""environ(?:\.get\(|\[)\s*["']([A-Z0-9_]+)["']""", path.read_text("utf-8")))
    return found


def test_no_variable_of_the_environment_changes_what_the_profile_says(
    server: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = environ_of(server.url)
    ask(VENDOR, ours, question())
    names = _variables_the_sdk_reads()
    assert {"OPENAI_CUSTOM_HEADERS", "OPENAI_ORG_ID", "OPENAI_BASE_URL", "OPENAI_ADMIN_KEY"} <= names
    with Recorder(sent) as hostile:
        for name in names:
            monkeypatch.setenv(name, "hostile")
        for name in (*(n for n in names if n.endswith("_URL")), "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"{hostile.url}/hostile")
        headers = ("Authorization", "X-Hostile", "OpenAI-Organization", "api-key", "User-Agent", "Content-Type")
        monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "\n".join(f"{name}: hostile" for name in headers))
        ask(VENDOR, ours, question())
        chunks(VENDOR, ours, question())
        assert hostile.seen == []
    calm, whole, streamed = server.seen
    assert calm.headers == whole.headers
    assert calm.body == whole.body
    assert "hostile" not in whole.everything + streamed.everything


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


@pytest.mark.parametrize("stream", [True, False])
def test_llmock_answers(mock: LLMockServer, stream: bool) -> None:
    mock.state.scenarios.add(Reply(text="It is Paris."))
    environ = environ_of(mock.url)
    if stream:
        pieces = chunks(VENDOR, environ, question("capital of France?"))
        text, finish = text_of(pieces), next(p.finish_reason for p in pieces if p.finish_reason)
        usage = next(p.usage for p in pieces if p.usage)
    else:
        whole = ask(VENDOR, environ, question("capital of France?"))
        text, finish, usage = whole.text, whole.finish_reason, whole.usage
    assert (text, finish) == ("It is Paris.", "stop")
    assert usage.input_tokens
    assert usage.output_tokens
    assert usage.reasoning_output_tokens is None


def test_a_refusal_in_a_stream_stays_one_when_the_stream_stops(server: Recorder) -> None:
    refusal = {"choices": [{"delta": {"refusal": "I cannot."}, "finish_reason": None}]}
    server.answer = Answer(events=(refusal, piece(finish="stop"), "[DONE]"))
    pieces = chunks(VENDOR, environ_of(server.url), question())
    assert text_of(pieces) == "I cannot."
    assert pieces[-1].finish_reason == "content_filter"


# failures


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
    with pytest.raises(ProviderError) as caught:
        (chunks if stream else ask)(VENDOR, environ_of(mock.url), question())
    assert (caught.value.kind, caught.value.status) == (kind, status)
    assert caught.value.retry_after_s == wait
    assert len(mock.state.journal.records(wait=5)) == 1


def test_a_prompt_that_is_too_long_is_told_apart(mock: LLMockServer) -> None:
    mock.state.scenarios.add(Fail(400, code="context_length_exceeded"))
    with pytest.raises(ProviderError) as caught:
        ask(VENDOR, environ_of(mock.url), question())
    assert caught.value.kind == "context_length"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("stream", [True, False])
def test_a_redirect_is_an_error_and_is_not_followed(server: Recorder, status: int, stream: bool) -> None:
    with Recorder(sent) as other:
        server.answer = Answer(status=status, headers={"location": f"{other.url}/v1/chat/completions"})
        with pytest.raises(ProviderError) as caught:
            (chunks if stream else ask)(VENDOR, environ_of(server.url), question())
        assert other.seen == []
    assert (caught.value.kind, caught.value.status) == ("connection", status)
    assert "OPENAI_BASE_URL" in caught.value.message


def test_a_stream_that_ends_without_a_finish_reason_just_ends(mock: LLMockServer) -> None:
    mock.state.scenarios.add(StreamFault("truncate", after_chunks=3))
    pieces = chunks(VENDOR, environ_of(mock.url), question())
    assert text_of(pieces)
    assert all(p.finish_reason is None for p in pieces)


@pytest.mark.parametrize(("fault", "kind"), [("disconnect", "connection"), ("malformed", "malformed")])
def test_a_broken_stream_is_an_error_after_what_came(mock: LLMockServer, fault: Any, kind: str) -> None:
    mock.state.scenarios.add(StreamFault(fault, after_chunks=3))
    seen: list[Chunk] = []
    with pytest.raises(ProviderError) as caught:
        chunks(VENDOR, environ_of(mock.url), question(), seen)
    assert caught.value.kind == kind
    assert text_of(seen)


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
    with pytest.raises(ProviderError) as caught:
        chunks(VENDOR, environ_of(server.url), question(), seen)
    assert (caught.value.kind, caught.value.request_id) == (kind, "req_9")
    assert text_of(seen) == "Par"


def test_bytes_that_are_no_text_are_malformed(server: Recorder) -> None:
    server.answer = Answer(b"data: {\xff\xfe}\n\n", headers={"content-type": "text/event-stream"})
    with pytest.raises(ProviderError) as caught:
        chunks(VENDOR, environ_of(server.url), question())
    assert caught.value.kind == "malformed"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(b"<html>hello</html>", headers={"content-type": "text/html"}), "malformed"),
        (Answer(b""), "malformed"),
        (Answer({"choices": []}), "malformed"),
        (Answer([1]), "malformed"),
        (Answer(b'{"choices": [', cut=True), "connection"),
        (Answer(b"x", headers={"content-encoding": "gzip"}), "malformed"),
        (Answer({"error": {"message": "upstream", "code": 502}}), "server"),
        (Answer({"error": {"message": "wait", "code": 429}}), "rate_limit"),
    ],
)
def test_a_whole_answer_that_is_none(server: Recorder, answer: Answer, kind: str) -> None:
    server.answer = answer
    with pytest.raises(ProviderError) as caught:
        ask(VENDOR, environ_of(server.url), question())
    assert caught.value.kind == kind


@pytest.mark.parametrize("stream", [True, False])
def test_nobody_listening_is_a_connection_error(stream: bool) -> None:
    with Recorder() as gone:
        url = gone.url
    with pytest.raises(ProviderError) as caught:
        (chunks if stream else ask)(VENDOR, environ_of(url), question())
    assert caught.value.kind == "connection"
    assert "OPENAI_BASE_URL" in caught.value.message


@pytest.mark.parametrize("stream", [True, False])
def test_an_echoed_key_is_not_shown(server: Recorder, stream: bool) -> None:
    error = {"message": f"Incorrect API key provided: {KEY}.", "code": "invalid_api_key"}
    server.answer = Answer({"error": error}, status=401)
    with pytest.raises(ProviderError) as caught:
        (chunks if stream else ask)(VENDOR, environ_of(server.url), question())
    assert KEY not in caught.value.message
    assert KEY not in repr(caught.value.as_dict())
    assert KEY not in str(caught.value.__cause__)
    assert "Check OPENAI_API_KEY" in caught.value.message


def test_the_connect_timeout_is_the_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener whose queue is full answers no SYN: connecting takes as long as it is allowed to."""
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            environ = environ_of(f"http://127.0.0.1:{listener.getsockname()[1]}", LLM_CONNECT_TIMEOUT="0.3")
            started = time.monotonic()
            with pytest.raises(ProviderError) as caught:
                ask(VENDOR, environ, question())
        finally:
            for filler in fillers:
                filler.close()
    assert caught.value.kind == "timeout"
    assert time.monotonic() - started < 5
    assert "0.3 s (LLM_CONNECT_TIMEOUT)" in caught.value.message


def test_leaving_a_stream_early_closes_its_connection(server: Recorder) -> None:
    hold = threading.Event()
    server.answer = Answer(events=(piece("Par"),), hold=hold)

    async def leave() -> None:
        adapter = VENDOR.connect(VENDOR.configure(settings_of(environ_of(server.url))))
        pieces = adapter.stream(question())
        async for _ in pieces:
            break
        await pieces.aclose()  # type: ignore[attr-defined]  # an async generator is one
        assert await asyncio.to_thread(server.left.wait, 5), "the server still holds the connection"
        await adapter.aclose()

    try:
        asyncio.run(leave())
    finally:
        hold.set()


def test_cancelling_a_stream_closes_its_connection(server: Recorder) -> None:
    hold = threading.Event()
    server.answer = Answer(events=(piece("Par"),), hold=hold)

    async def cancel() -> None:
        adapter = VENDOR.connect(VENDOR.configure(settings_of(environ_of(server.url))))
        started = asyncio.Event()

        async def read() -> None:
            async for _ in adapter.stream(question()):
                started.set()

        reading = asyncio.create_task(read())
        await started.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await asyncio.to_thread(server.left.wait, 5), "the server still holds the connection"
        await adapter.aclose()

    try:
        asyncio.run(cancel())
    finally:
        hold.set()
