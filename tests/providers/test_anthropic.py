"""Anthropic's adapter over real HTTP: llmock where it answers, a server of our own where it is told what to answer."""

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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import anthropic
import pytest
from anthropic.types.shared import ErrorType
from llmock.scenarios import Fail, Reply, StreamFault
from llmock.simulation import MockResponseSettings
from llmock.testing import LLMockServer

from llmswitch.errors import ConfigError, ProviderError
from llmswitch.providers.anthropic import _ERROR_TYPES, _SDK_ERRORS, VENDOR
from llmswitch.types import Chunk, Usage
from tests.providers.asking import ask, chunks, settings_of, text_of
from tests.providers.asking import question as any_question
from tests.servers.recorder import Answer, Recorder, Seen

KEY = "sk-ant-test-0123456789abcdef"


def question(text: str = "hi", **fields: Any) -> Any:
    return any_question(text, model="claude-haiku-5-5", **fields)


def environ_of(url: str, **more: str) -> dict[str, str]:
    return {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": url, **more}


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
PAR = event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Par"}})
STREAM = (
    START,
    event({"type": "ping"}),
    PAR,
    event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "is"}}),
    event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}),
    event({"type": "message_stop"}),
)
HEADERS = {"request-id": "req_1"}


def sent(seen: Seen) -> Answer:
    return Answer(events=STREAM, headers=HEADERS) if seen.json["stream"] else Answer(WHOLE, headers=HEADERS)


def refused(status: int, kind: str, message: str, **headers: str) -> Answer:
    return Answer({"type": "error", "error": {"type": kind, "message": message}}, status, {**HEADERS, **headers})


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


def test_defaults_are_anthropics_own() -> None:
    endpoint = VENDOR.configure(settings_of({"ANTHROPIC_API_KEY": KEY}))
    assert (endpoint.provider, endpoint.base_url) == ("anthropic", "https://api.anthropic.com")
    assert VENDOR.default_max_tokens == 8192
    assert KEY not in repr(endpoint) + str(endpoint.identity())


def test_the_default_model_has_a_price() -> None:
    from genai_prices import Usage as Tokens  # a heavy import for one test
    from genai_prices import calc_price

    assert VENDOR.default_model
    price = calc_price(Tokens(input_tokens=1000, output_tokens=1000), VENDOR.default_model, provider_id="anthropic")
    assert price.total_price > 0
    assert price.model.id == VENDOR.default_model


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


def _variables_the_sdk_reads() -> set[str]:
    found = set[str]()
    for path in Path(anthropic.__file__).parent.rglob("*.py"):
        text = path.read_text("utf-8")
        found |= set(re.findall(r"""environ(?:\.get\(|\[)\s*["']([A-Z0-9_]+)["']""", text))
        found |= set(re.findall(r"""^ENV_[A-Z_]+ = ["']([A-Z0-9_]+)["']""", text, re.MULTILINE))
    return found


def test_no_variable_of_the_environment_changes_what_the_profile_says(
    server: Recorder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours = environ_of(server.url)
    ask(VENDOR, ours, question())
    names = _variables_the_sdk_reads()
    assert {"ANTHROPIC_CUSTOM_HEADERS", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "ANTHROPIC_PROFILE"} <= names
    with Recorder(sent) as hostile:
        for name in names:
            monkeypatch.setenv(name, "hostile")
        for name in (*(n for n in names if n.endswith("_URL")), "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"{hostile.url}/hostile")
        (tmp_path / "configs").mkdir()
        (tmp_path / "configs" / "hostile.json").write_text(json.dumps({"base_url": hostile.url}))
        monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))
        monkeypatch.setenv("TRACEPARENT", "00-" + "a" * 32 + "-" + "b" * 16 + "-01")
        headers = ("Authorization", "authorization", "X-Hostile", "X-API-Key", "anthropic-version", "User-Agent")
        monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "\n".join(f"{name}: hostile" for name in headers))
        ask(VENDOR, ours, question())
        chunks(VENDOR, ours, question())
        assert hostile.seen == []
    calm, whole, streamed = server.seen
    assert (calm.path, calm.headers, calm.body) == (whole.path, whole.headers, whole.body)
    assert "hostile" not in whole.everything + streamed.everything


def test_nothing_logs_the_key(server: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        ask(VENDOR, environ_of(server.url), question())
        chunks(VENDOR, environ_of(server.url), question())
    assert "Sending HTTP Request" in caplog.text
    assert KEY not in caplog.text


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


@pytest.mark.parametrize("stream", [True, False])
def test_llmock_answers(mock: LLMockServer, stream: bool) -> None:
    mock.state.scenarios.add(Reply(text="It is Paris."))
    environ = environ_of(mock.base_url("anthropic"))
    if stream:
        pieces = chunks(VENDOR, environ, question("capital of France?"))
        text, finish, usage = text_of(pieces), pieces[-1].finish_reason, pieces[-1].usage
    else:
        whole = ask(VENDOR, environ, question("capital of France?"))
        text, finish, usage = whole.text, whole.finish_reason, whole.usage
    assert (text, finish) == ("It is Paris.", "stop")
    assert usage is not None
    assert usage.input_tokens
    assert usage.output_tokens
    assert usage.reasoning_output_tokens == 0


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


def _below(root: type[Exception]) -> Iterator[type[Exception]]:
    yield root
    for child in root.__subclasses__():
        yield from _below(child)


def test_every_exception_of_the_sdk_has_a_row_or_inherits_one() -> None:
    classes = set(_below(anthropic.AnthropicError))
    lines = {cls.__name__: {base.__name__ for base in cls.__mro__} for cls in classes}
    assert {name for name, line in lines.items() if not line & (set(_SDK_ERRORS) | NEVER_RAISED)} == BASES
    assert set(_SDK_ERRORS) <= set(lines)


def test_every_error_type_of_the_sdk_has_a_row() -> None:
    assert set(_ERROR_TYPES) == set(get_args(ErrorType))


@pytest.mark.parametrize(
    ("status", "theirs", "kind"),
    [
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
    ],
)
def test_a_status_is_one_request_and_one_error(server: Recorder, status: int, theirs: str, kind: str) -> None:
    server.answer = refused(status, theirs, "No way.", **{"retry-after": "7"})
    for asked in (ask, chunks):
        with pytest.raises(ProviderError) as caught:
            asked(VENDOR, environ_of(server.url), question())
        error = caught.value
        assert (error.kind, error.status, error.request_id) == (kind, status, "req_1")
        assert (error.provider, error.request_model, error.retry_after_s) == ("anthropic", "claude-haiku-5-5", 7)
        assert f"anthropic: No way (HTTP {status})." in error.message
    assert len(server.seen) == 2


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
    with pytest.raises(ProviderError) as caught:
        ask(VENDOR, environ_of(server.url), question(**parameters))
    assert (caught.value.kind, caught.value.parameter) == (kind, named)


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
    with pytest.raises(ProviderError) as caught:
        chunks(VENDOR, environ_of(server.url), question(), seen)
    assert (caught.value.kind, caught.value.request_id) == (kind, "req_1")
    assert "anthropic: Overloaded" in caught.value.message
    assert text_of(seen) == "Par"


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize("asked", [ask, chunks])
def test_a_redirect_is_an_error_and_is_not_followed(server: Recorder, status: int, asked: Any) -> None:
    with Recorder(sent) as other:
        server.answer = Answer(status=status, headers={"location": f"{other.url}/v1/messages"})
        with pytest.raises(ProviderError) as caught:
            asked(VENDOR, environ_of(server.url), question())
        assert other.seen == []
    assert (caught.value.kind, caught.value.status) == ("connection", status)
    assert "ANTHROPIC_BASE_URL" in caught.value.message


def test_a_stream_that_ends_without_a_finish_reason_just_ends(mock: LLMockServer) -> None:
    mock.state.scenarios.add(StreamFault("truncate", after_chunks=5))
    pieces = chunks(VENDOR, environ_of(mock.base_url("anthropic")), question())
    assert text_of(pieces)
    assert all(piece.finish_reason is None for piece in pieces)


@pytest.mark.parametrize(("fault", "kind"), [("disconnect", "connection"), ("malformed", "malformed")])
def test_a_broken_stream_is_an_error_after_what_came(mock: LLMockServer, fault: Any, kind: str) -> None:
    mock.state.scenarios.add(StreamFault(fault, after_chunks=5))
    seen: list[Chunk] = []
    with pytest.raises(ProviderError) as caught:
        chunks(VENDOR, environ_of(mock.base_url("anthropic")), question(), seen)
    assert caught.value.kind == kind
    assert text_of(seen)


@pytest.mark.parametrize(
    "broken",
    [
        "{not json\nevent: message_delta",
        "7\nevent: message_delta",
        "[]\nevent: message_delta",
        "[" * 100_000 + "\nevent: message_delta",
        event({"type": "message_delta"}),
        event({"type": "message_delta", "delta": {}, "usage": {"input_tokens": "many"}}),
        event({"type": "content_block_start"}),
        event({"type": "message_start"}),
    ],
)
def test_an_event_that_is_none_of_theirs_is_malformed(server: Recorder, broken: str) -> None:
    server.answer = Answer(events=(START, PAR, broken))
    seen: list[Chunk] = []
    with pytest.raises(ProviderError) as caught:
        chunks(VENDOR, environ_of(server.url), question(), seen)
    assert caught.value.kind == "malformed"
    assert text_of(seen) == "Par"


def test_bytes_that_are_no_text_are_malformed(server: Recorder) -> None:
    server.answer = Answer(b"event: ping\ndata: \xff\xfe\n\n", headers={"content-type": "text/event-stream"})
    with pytest.raises(ProviderError) as caught:
        chunks(VENDOR, environ_of(server.url), question())
    assert caught.value.kind == "malformed"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(b"<html>hello</html>", headers={"content-type": "text/html"}), "malformed"),
        (Answer(b""), "malformed"),
        (Answer([1]), "malformed"),
        (Answer({}), "malformed"),
        (Answer({**WHOLE, "content": [7]}), "malformed"),
        (Answer({**WHOLE, "content": [{"type": "text"}]}), "malformed"),
        (Answer(b'{"content": [', cut=True), "connection"),
        (Answer(b"x", headers={"content-encoding": "gzip"}), "malformed"),
    ],
)
def test_a_whole_answer_that_is_none(server: Recorder, answer: Answer, kind: str) -> None:
    server.answer = answer
    with pytest.raises(ProviderError) as caught:
        ask(VENDOR, environ_of(server.url), question())
    assert caught.value.kind == kind
    assert "ANTHROPIC_BASE_URL" in caught.value.message


def test_a_page_of_html_is_not_repeated(server: Recorder) -> None:
    server.answer = Answer(b"<html>Bad gateway</html>", 502, {"content-type": "text/html"})
    with pytest.raises(ProviderError) as caught:
        ask(VENDOR, environ_of(server.url), question())
    assert caught.value.message == "anthropic: Bad Gateway (HTTP 502)."


@pytest.mark.parametrize("asked", [ask, chunks])
def test_nobody_listening_is_a_connection_error(asked: Any) -> None:
    with Recorder() as gone:
        url = gone.url
    with pytest.raises(ProviderError) as caught:
        asked(VENDOR, environ_of(url), question())
    assert caught.value.kind == "connection"
    assert f"the connection to {url.removeprefix('http://')} failed" in caught.value.message
    assert "ANTHROPIC_BASE_URL" in caught.value.message


@pytest.mark.parametrize("asked", [ask, chunks])
def test_an_echoed_key_is_not_shown(server: Recorder, asked: Any) -> None:
    server.answer = refused(401, "authentication_error", f"invalid {'x' * 470} {KEY}")
    with pytest.raises(ProviderError) as caught:
        asked(VENDOR, environ_of(server.url), question())
    shown = caught.value.message + repr(caught.value.as_dict()) + "".join(traceback.format_exception(caught.value))
    assert KEY[:12] not in shown
    assert "Check ANTHROPIC_API_KEY" in caught.value.message


def test_llmocks_errors_are_understood(mock: LLMockServer) -> None:
    mock.state.scenarios.add(Fail(429, retry_after=2.5), Fail(529))
    for kind, wait in (("rate_limit", 2.5), ("overloaded", 1.0)):
        with pytest.raises(ProviderError) as caught:
            ask(VENDOR, environ_of(mock.base_url("anthropic")), question())
        assert (caught.value.kind, caught.value.retry_after_s) == (kind, wait)


def test_the_connect_timeout_is_the_profiles(full_listener: str) -> None:
    started = time.monotonic()
    with pytest.raises(ProviderError) as caught:
        ask(VENDOR, environ_of(full_listener, LLM_CONNECT_TIMEOUT="0.3"), question())
    assert caught.value.kind == "timeout"
    assert time.monotonic() - started < 5
    assert "0.3 s (LLM_CONNECT_TIMEOUT)" in caught.value.message


def test_leaving_a_stream_early_closes_its_connection(server: Recorder) -> None:
    hold = threading.Event()
    server.answer = Answer(events=(START, PAR), hold=hold)

    async def leave() -> None:
        adapter = VENDOR.connect(VENDOR.configure(settings_of(environ_of(server.url))))
        pieces = adapter.stream(question())
        async for piece in pieces:
            if piece.text:
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
    server.answer = Answer(events=(START, PAR), hold=hold)

    async def cancel() -> None:
        adapter = VENDOR.connect(VENDOR.configure(settings_of(environ_of(server.url))))
        started = asyncio.Event()

        async def read() -> None:
            async for piece in adapter.stream(question()):
                started.set() if piece.text else None

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
