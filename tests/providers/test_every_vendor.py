"""What all adapters do alike, over real HTTP: llmock where it answers, a server of our own where it is told how to."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import re
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llmock.scenarios import Fail, Reply, StreamFault
from llmock.testing import LLMockServer

from llmswitch.errors import ConfigError
from llmswitch.providers import chat_errors, gemini_errors
from llmswitch.types import Chunk, Usage
from tests.providers.asking import LASTING, ask, chunks, connected, failed, text_of
from tests.providers.fakes import Row, anthropic, gemini, openai
from tests.servers.recorder import Answer, Recorder, Seen

ROWS = (anthropic.ROW, gemini.ROW, openai.ROW)


def named(row: object) -> str | None:
    """The vendor, in a test's name; the rest as pytest names it."""
    return row.vendor.key if isinstance(row, Row) else None


every_vendor = pytest.mark.parametrize("row", ROWS, ids=named)
both_ways = pytest.mark.parametrize("asked", [ask, chunks])


def each_of(attribute: str) -> list[tuple[Row, Any]]:
    """Each vendor with each of what it has of these."""
    return [(row, case) for row in ROWS for case in getattr(row, attribute)]


@pytest.fixture(autouse=True, params=[False, True], ids=["httpcore", "aiohttp"])
def transport(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test here, over both."""
    token = LASTING.set(request.param)
    yield
    LASTING.reset(token)


@pytest.fixture
def server(row: Row) -> Iterator[Recorder]:
    with Recorder(row.sent) as recorder:
        yield recorder


@every_vendor
def test_the_default_model_has_a_price(row: Row) -> None:
    from genai_prices import Usage as Tokens  # a heavy import for one test
    from genai_prices import calc_price

    assert row.vendor.default_model
    price = calc_price(
        Tokens(input_tokens=1000, output_tokens=1000), row.vendor.default_model, provider_id=row.price_provider
    )
    assert price.total_price > 0
    assert price.model.id == row.vendor.default_model


# what is sent


def variables_read_by(row: Row) -> set[str]:
    found = set[str]()
    for path in Path(next(iter(row.sdk.__path__))).rglob("*.py"):
        text = path.read_text("utf-8")
        found |= set(re.findall(r"""(?:environ(?:\.get\(|\[)|getenv\()\s*["']([A-Z0-9_]+)["']""", text))
        found |= set(re.findall(r"""^ENV_[A-Z_]+ = ["']([A-Z0-9_]+)["']""", text, re.MULTILINE))
    return found - {"SSL_CERT_FILE", "SSL_CERT_DIR"}  # certificates are the environment's to say


@every_vendor
def test_no_variable_of_the_environment_changes_what_the_profile_says(
    row: Row, server: Recorder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours = row.environ_of(server.url)
    ask(row.vendor, ours, row.question())
    names = variables_read_by(row)
    assert row.sdk_reads <= names
    with Recorder(row.sent) as hostile:
        for name in names:
            monkeypatch.setenv(name, "hostile")
        for name in (*(n for n in names if n.endswith("_URL")), "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"{hostile.url}/hostile")
        for name, value in row.hostile(tmp_path, hostile.url).items():
            monkeypatch.setenv(name, value)
        ask(row.vendor, ours, row.question())
        chunks(row.vendor, ours, row.question())
        assert hostile.seen == []
    calm, whole, streamed = server.seen
    assert (calm.path, calm.headers, calm.body) == (whole.path, whole.headers, whole.body)
    assert "hostile" not in whole.everything + streamed.everything


@every_vendor
def test_nothing_logs_the_key(row: Row, server: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        ask(row.vendor, row.environ_of(server.url), row.question())
        chunks(row.vendor, row.environ_of(server.url), row.question())
    assert row.logged in caplog.text
    assert row.key not in caplog.text


# what comes back


@every_vendor
@pytest.mark.parametrize("stream", [True, False])
def test_llmock_answers(row: Row, mock: LLMockServer, stream: bool) -> None:
    mock.state.scenarios.add(Reply(text="It is Paris."))
    if stream:
        pieces = chunks(row.vendor, row.mocked(mock), row.question("capital of France?"))
        text = text_of(pieces)
        (finish,) = (piece.finish_reason for piece in pieces if piece.finish_reason)
        usage = [piece.usage for piece in pieces if piece.usage][-1]
    else:
        whole = ask(row.vendor, row.mocked(mock), row.question("capital of France?"))
        text, finish, usage = whole.text, whole.finish_reason, whole.usage
    assert (text, finish) == ("It is Paris.", "stop")
    assert usage.input_tokens
    assert usage.output_tokens
    assert usage.reasoning_output_tokens == row.reasoning_tokens


# failures


@pytest.mark.parametrize("table", [chat_errors.native_errors, gemini_errors.native_errors])
def test_a_row_is_never_hidden_by_one_above_it(table: Any) -> None:
    rows = list(table())
    for index, row in enumerate(rows):
        assert not any(issubclass(row, above) for above in rows[:index]), row


@pytest.mark.parametrize(("row", "told"), each_of("statuses"), ids=named)
def test_a_status_is_one_request_and_one_error(row: Row, server: Recorder, told: tuple[int, str, str]) -> None:
    status, word, kind = told
    server.answer = row.refused(status, word, "No way.", **{"retry-after": "7"})
    for asked in (ask, chunks):
        error = failed(asked, row.vendor, row.environ_of(server.url), row.question())
        assert (error.kind, error.status, error.request_id) == (kind, status, row.request_id)
        assert (error.provider, error.request_model) == (row.vendor.key, row.question().model)
        assert error.retry_after_s == 7
        assert f"{row.vendor.key}: No way (HTTP {status})." in error.message
    assert len(server.seen) == 2


@every_vendor
def test_llmocks_errors_are_understood(row: Row, mock: LLMockServer) -> None:
    mock.state.scenarios.add(Fail(429, retry_after=2.5), Fail(row.overloaded))
    for kind, wait in (("rate_limit", 2.5), ("overloaded", 1.0)):
        error = failed(ask, row.vendor, row.mocked(mock), row.question())
        assert (error.kind, error.retry_after_s) == (kind, wait)


@every_vendor
@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@both_ways
def test_a_redirect_is_an_error_and_is_not_followed(row: Row, server: Recorder, status: int, asked: Any) -> None:
    with Recorder(row.sent) as other:
        server.answer = Answer(status=status, headers={"location": f"{other.url}/v1/x"})
        error = failed(asked, row.vendor, row.environ_of(server.url), row.question())
        assert other.seen == []
    assert (error.kind, error.status) == ("connection", status)
    assert row.url_variable in error.message


@every_vendor
def test_a_stream_that_ends_without_a_finish_reason_just_ends(row: Row, mock: LLMockServer) -> None:
    mock.state.scenarios.add(StreamFault("truncate", after_chunks=len(row.par) + 2))
    pieces = chunks(row.vendor, row.mocked(mock), row.question())
    assert text_of(pieces)
    assert all(piece.finish_reason is None for piece in pieces)


@every_vendor
@pytest.mark.parametrize(("fault", "kind"), [("disconnect", "connection"), ("malformed", "malformed")])
def test_a_broken_stream_is_an_error_after_what_came(row: Row, mock: LLMockServer, fault: Any, kind: str) -> None:
    mock.state.scenarios.add(StreamFault(fault, after_chunks=len(row.par) + 2))
    seen: list[Chunk] = []
    assert failed(chunks, row.vendor, row.mocked(mock), row.question(), seen).kind == kind
    assert text_of(seen)


@pytest.mark.parametrize(("row", "event"), each_of("broken"), ids=named)
def test_an_event_that_is_none_of_theirs_is_malformed(row: Row, server: Recorder, event: object) -> None:
    server.answer = Answer(events=(*row.par, event))
    seen: list[Chunk] = []
    assert failed(chunks, row.vendor, row.environ_of(server.url), row.question(), seen).kind == "malformed"
    assert text_of(seen) == "Par"


@every_vendor
def test_bytes_that_are_no_text_are_malformed(row: Row, server: Recorder) -> None:
    server.answer = Answer(b"event: ping\ndata: {\xff\xfe}\n\n", headers={"content-type": "text/event-stream"})
    assert failed(chunks, row.vendor, row.environ_of(server.url), row.question()).kind == "malformed"


def is_none(row: Row, server: Recorder, answer: Answer, kind: str) -> None:
    server.answer = answer
    error = failed(ask, row.vendor, row.environ_of(server.url), row.question())
    assert error.kind == kind
    # an empty answer of Google's is one: a blocked prompt's
    assert row.url_variable in error.message or "without a candidate" in error.message


@every_vendor
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(b"<html>hello</html>", headers={"content-type": "text/html"}), "malformed"),
        (Answer(b""), "malformed"),
        (Answer([1]), "malformed"),
        (Answer({}), "malformed"),
        (Answer(b'{"content": [', cut=True), "connection"),
        (Answer(b"x", headers={"content-encoding": "gzip"}), "malformed"),
    ],
)
def test_a_whole_answer_that_is_none(row: Row, server: Recorder, answer: Answer, kind: str) -> None:
    is_none(row, server, answer, kind)


@pytest.mark.parametrize(("row", "answer"), each_of("nonsense"), ids=named)
def test_a_whole_answer_that_is_none_of_theirs(row: Row, server: Recorder, answer: Answer) -> None:
    is_none(row, server, answer, "malformed")


@every_vendor
def test_an_answer_that_is_not_json_is_said_to_be_none(row: Row, server: Recorder) -> None:
    server.answer = Answer(b"hello")
    error = failed(ask, row.vendor, row.environ_of(server.url), row.question())
    assert error.message == (
        f"{row.vendor.key} at {server.url.removeprefix('http://')} sent an answer that cannot be read: it is not JSON. "
        f"Check that {row.url_variable} leads there."
    )


@every_vendor
def test_a_page_of_html_is_not_repeated(row: Row, server: Recorder) -> None:
    server.answer = Answer(b"<html>Bad gateway</html>", 502, {"content-type": "text/html"})
    error = failed(ask, row.vendor, row.environ_of(server.url), row.question())
    assert error.message == f"{row.vendor.key}: Bad Gateway (HTTP 502)."


@every_vendor
@both_ways
def test_nobody_listening_is_a_connection_error(row: Row, asked: Any) -> None:
    with Recorder() as gone:
        url = gone.url
    error = failed(asked, row.vendor, row.environ_of(url), row.question())
    assert error.kind == "connection"
    assert f"the connection to {url.removeprefix('http://')} failed" in error.message
    assert row.url_variable in error.message


@every_vendor
@both_ways
def test_an_echoed_key_is_not_shown(row: Row, server: Recorder, asked: Any) -> None:
    server.answer = row.refused(401, row.unauthorized, f"invalid {'x' * 470} {row.key}")
    error = failed(asked, row.vendor, row.environ_of(server.url), row.question())
    shown = error.message + repr(error.as_dict()) + "".join(traceback.format_exception(error))
    assert row.key[:12] not in shown
    assert f"Check {row.key_variable}" in error.message


@every_vendor
@both_ways
def test_the_connect_timeout_is_the_profiles(row: Row, full_listener: str, asked: Any) -> None:
    started = time.monotonic()
    error = failed(asked, row.vendor, row.environ_of(full_listener, LLM_CONNECT_TIMEOUT="0.3"), row.question())
    assert error.kind == "timeout"
    assert time.monotonic() - started < 5
    assert "0.3 s (LLM_CONNECT_TIMEOUT)" in error.message


# a server that means harm, or is broken


def raw(value: object, count: str) -> str:
    """`value` as JSON, `count` where it holds the number 987."""
    return (value if isinstance(value, str) else json.dumps(value)).replace("987", count)


@every_vendor
@pytest.mark.parametrize("count", ["1" * 5000, "[" * 100_000])
def test_a_number_or_a_depth_that_python_refuses_is_malformed(row: Row, server: Recorder, count: str) -> None:
    whole, events = row.counted(987)
    server.answer = lambda seen: Answer(
        raw(whole, count).encode(), events=[raw(e, count) for e in events] if is_streamed(seen) else None
    )
    for asked in (ask, chunks):
        error = failed(asked, row.vendor, row.environ_of(server.url), row.question())
        assert error.kind == "malformed"
        assert f"Check that {row.url_variable} leads there." in error.message


@every_vendor
@both_ways
@pytest.mark.parametrize("detail", ["1" * 5000, "[" * 100_000, "[" * 900 + "]" * 900, "[" * 985 + "]" * 985])
def test_an_error_that_python_cannot_read_is_an_error_of_ours(
    row: Row, server: Recorder, asked: Any, detail: str
) -> None:
    server.answer = Answer(f'{{"error": {{"message": {detail}, "code": 500}}}}'.encode(), 500)
    assert failed(asked, row.vendor, row.environ_of(server.url), row.question()).kind in ("malformed", "server")


def is_streamed(seen: Seen) -> bool:
    return "stream" in seen.path or bool(seen.json.get("stream"))


@every_vendor
@pytest.mark.parametrize("count", [-5, 10**13, "7x", 1.5])
def test_a_count_of_tokens_that_can_be_none_is_not_kept(row: Row, server: Recorder, count: object) -> None:
    whole, events = row.counted(count)
    server.answer = lambda seen: Answer(whole, events=events if is_streamed(seen) else None)
    environ = row.environ_of(server.url)
    if row.sdk_checks_counts and not isinstance(count, int):
        assert failed(ask, row.vendor, environ, row.question()).kind == "malformed"
        return
    pieces = chunks(row.vendor, environ, row.question())
    assert text_of(pieces) == "Paris"
    for usage in (ask(row.vendor, environ, row.question()).usage, *(p.usage for p in pieces if p.usage)):
        assert (usage.input_tokens, usage.output_tokens) == (None, None)
        assert count not in [getattr(usage, name) for name in Usage.__slots__]


@every_vendor
@pytest.mark.parametrize(
    "answer",
    [
        Answer(b"<html>\n\n<p>hello\n</html>", headers={"content-type": "text/html"}),
        Answer({"ok": True}),
        Answer(b"hello", headers={"content-type": "text/plain"}),
        Answer(b""),
        Answer(b"", headers={"content-type": "text/event-stream"}),
        Answer(b": ping\n\n", headers={"content-type": "text/event-stream"}),
    ],
)
def test_a_stream_without_one_event_is_malformed(row: Row, server: Recorder, answer: Answer) -> None:
    server.answer = answer
    error = failed(chunks, row.vendor, row.environ_of(server.url), row.question())
    assert error.kind == "malformed"
    assert f"Check that {row.url_variable} leads there." in error.message


MEGABYTE = b"x" * 2**20


def endless() -> Iterator[bytes]:
    while True:
        yield MEGABYTE


def comments() -> Iterator[bytes]:
    while True:
        yield b":" + MEGABYTE + b"\n\n"


@every_vendor
@pytest.mark.parametrize(("asked", "sent"), [(ask, endless), (chunks, endless), (chunks, comments)])
def test_a_body_without_end_is_given_up(row: Row, server: Recorder, asked: Any, sent: Any) -> None:
    server.answer = Answer(pieces=sent)
    error = failed(asked, row.vendor, row.environ_of(server.url), row.question())
    assert error.kind == "malformed"
    assert server.left.wait(5)


@every_vendor
@both_ways
def test_a_small_body_that_unpacks_without_end_is_given_up(row: Row, server: Recorder, asked: Any) -> None:
    bomb = gzip.compress(MEGABYTE * 65)
    server.answer = Answer(bomb, headers={"content-encoding": "gzip"})
    assert failed(asked, row.vendor, row.environ_of(server.url), row.question()).kind == "malformed"


@every_vendor
def test_a_packed_answer_is_read(row: Row, server: Recorder) -> None:
    whole, _ = row.counted(3)
    server.answer = Answer(gzip.compress(json.dumps(whole).encode()), headers={"content-encoding": "gzip"})
    assert ask(row.vendor, row.environ_of(server.url), row.question()).text == "Paris"


@every_vendor
@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (("a\ud83d", "\ude00b"), "a\U0001f600b"),
        (("\ud83d", "", "\ude00"), "\U0001f600"),
        (("a\ud83d",), "a\ufffd"),
        (("\ud83d", "b"), "\ufffdb"),
        (("\ude00",), "\ufffd"),
    ],
)
def test_halves_of_a_letter_are_joined_over_events(
    row: Row, server: Recorder, sent: tuple[str, ...], shown: str
) -> None:
    server.answer = Answer(events=(*row.par, *map(row.text_event, sent), *row.end))
    assert text_of(chunks(row.vendor, row.environ_of(server.url), row.question())) == f"Par{shown}"


@every_vendor
def test_half_a_letter_never_leaves_the_adapter(row: Row, server: Recorder) -> None:
    server.answer = Answer(row.worded("x\ud83d"))
    answer = ask(row.vendor, row.environ_of(server.url), row.question())
    assert (answer.text, answer.response_id, answer.response_model) == ("x\ufffd",) * 3


@every_vendor
def test_an_address_that_is_none_names_its_variable(row: Row) -> None:
    environ = row.environ_of("http://1.2.3.999")
    with pytest.raises(ConfigError, match=row.url_variable):
        connected(row.vendor, environ)


@every_vendor
@both_ways
def test_no_text_of_an_error_ends_twice(row: Row, server: Recorder, asked: Any) -> None:
    server.answer = Answer(drop=True)
    error = failed(asked, row.vendor, row.environ_of(server.url), row.question())
    assert error.kind == "connection"
    assert ".." not in error.message


@pytest.fixture
def held(row: Row) -> Iterator[Recorder]:
    """Sends a stream's first text, and then nothing."""
    hold = threading.Event()
    with Recorder(Answer(events=row.par, hold=hold)) as running:
        yield running
        hold.set()


@every_vendor
def test_leaving_a_stream_early_closes_its_connection(row: Row, held: Recorder) -> None:
    async def leave() -> None:
        adapter = connected(row.vendor, row.environ_of(held.url))
        pieces = adapter.stream(row.question())
        text = ""
        while not text:  # each piece in a task of its own, as `asyncio.wait_for` asks for it
            text = (await asyncio.create_task(anext(pieces))).text  # type: ignore[arg-type]  # a coroutine is one
        assert text == "Par"
        await pieces.aclose()  # type: ignore[attr-defined]  # an async generator is one
        assert await asyncio.to_thread(held.left.wait, 5), "the server still holds the connection"
        await adapter.aclose()

    asyncio.run(leave())


@every_vendor
def test_cancelling_a_stream_closes_its_connection(row: Row, held: Recorder) -> None:
    async def cancel() -> None:
        adapter = connected(row.vendor, row.environ_of(held.url))
        started = asyncio.Event()

        async def read() -> None:
            async for piece in adapter.stream(row.question()):
                started.set() if piece.text else None

        reading = asyncio.create_task(read())
        await started.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await asyncio.to_thread(held.left.wait, 5), "the server still holds the connection"
        await adapter.aclose()

    asyncio.run(cancel())
