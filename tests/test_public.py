"""The library as a service imports it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from llmock.pytest_plugin import LLMock

import llmswitch
from llmswitch import Attachment, ConfigError, Message, Parameters, Question, Switch
from llmswitch.errors import ERRORS_BY_KIND, CallConnectionError
from tests.servers.recorder import Answer, Recorder, Seen

KINDS = (
    "config authentication permission not_found bad_request context_length content_filter rate_limit overloaded server "
    "timeout connection truncated malformed budget interrupted"
)


def test_every_public_name_is_there_and_nothing_else_is() -> None:
    assert set(llmswitch.__all__) == set(dir(llmswitch)) == {*llmswitch._HOMES, "__version__"}
    for name in llmswitch.__all__:
        assert getattr(llmswitch, name) is not None
    with pytest.raises(AttributeError):
        llmswitch.nothing  # noqa: B018  # the access is the test


def test_importing_it_imports_nothing_dear() -> None:
    dear = ("asyncio", "dataclasses", "openai", "typer", "rich", "pydantic")
    code = f"import sys, llmswitch; print(*[m for m in {dear} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_error_kinds_are_the_contracts() -> None:
    assert set(ERRORS_BY_KIND) == set(KINDS.split())
    for kind, error in ERRORS_BY_KIND.items():
        assert error.kind == kind
        assert error("x").as_dict()["error"]["kind"] == kind


@pytest.fixture
def environ(llmock: LLMock, home: Path) -> dict[str, str]:
    return {
        "LLMSWITCH_HOME": str(home),
        "LLM_MAX_RETRIES": "0",
        "OPENAI_API_KEY": "k",
        "OPENAI_BASE_URL": llmock.base_url("openai"),
        "ANTHROPIC_API_KEY": "k",
        "ANTHROPIC_BASE_URL": llmock.base_url("anthropic"),
    }


def test_many_tasks_share_one_switch(environ: dict[str, str], llmock: LLMock, tmp_path: Path) -> None:
    async def run() -> list[str]:
        async with Switch.from_profile(cwd=tmp_path, environ=environ) as switch:
            targets = ["openai", "claude"] * 5
            asked = (switch.ask(f"question {i}", target=target) for i, target in enumerate(targets))
            responses = await asyncio.gather(*asked)
            again = await switch.ask("question 0", target="openai")
            assert again.cached
            return [response.provider for response in responses]

    assert asyncio.run(run()) == ["openai", "anthropic"] * 5
    assert len(llmock.requests) == 10


def test_a_stream_ends_with_its_whole_response(environ: dict[str, str], llmock: LLMock, tmp_path: Path) -> None:
    llmock.reply("one two three")

    async def run() -> None:
        async with Switch.from_profile(cwd=tmp_path, environ=environ) as switch:
            chunks = [chunk async for chunk in switch.stream("count", target="openai")]
        *pieces, last = chunks
        assert "".join(piece.text for piece in pieces) == "one two three"
        assert last.response is not None
        assert last.response.cost is not None
        assert last.response.timing.time_to_first_token_s is not None

    asyncio.run(run())


def test_code_without_an_event_loop_asks_the_same_way(environ: dict[str, str], llmock: LLMock, tmp_path: Path) -> None:
    llmock.reply("a").reply("b c d")
    with Switch.from_profile(cwd=tmp_path, environ=environ) as switch:
        assert switch.ask_sync("first", target="openai").text == "a"
        question = Question(messages=(Message("user", "second"),), stream=True)
        pieces = list(switch.stream_sync(question, target="openai"))
        assert "".join(piece.text for piece in pieces) == "b c d"
        for piece in switch.stream_sync("third", target="openai"):
            assert piece
            break
        with pytest.raises(ConfigError, match="unknown provider"):
            switch.ask_sync("x", target="nobody")


@pytest.fixture
def slow() -> Iterator[Recorder]:
    """A server that says nothing until the test is over."""
    over = threading.Event()

    def answer(_: object) -> Answer:
        over.wait(20)
        return Answer(500)

    with Recorder(answer) as server:
        yield server
        over.set()


def bridges() -> int:
    return sum(thread.name == "llmswitch" for thread in threading.enumerate())


def test_many_threads_share_one_switch_and_leave_no_thread(
    environ: dict[str, str], llmock: LLMock, tmp_path: Path
) -> None:
    switch = Switch.from_profile(cwd=tmp_path, environ=environ)
    together = threading.Barrier(24)

    def ask(number: int) -> str:
        together.wait(20)
        return switch.ask_sync(f"question {number}", target="openai").provider

    with ThreadPoolExecutor(24) as pool:
        assert list(pool.map(ask, range(24))) == ["openai"] * 24
    assert bridges() == 1
    switch.close()
    assert bridges() == 0


def test_the_two_ways_do_not_mix(environ: dict[str, str], tmp_path: Path) -> None:
    async def run() -> None:
        switch = Switch.from_profile(cwd=tmp_path, environ=environ)
        await switch.ask("hi", target="openai")
        for call in (lambda: switch.ask_sync("hi"), switch.close, lambda: switch.stream_sync("hi")):
            with pytest.raises(ConfigError, match="used from an event loop"):
                await asyncio.to_thread(call)
        with pytest.raises(ConfigError, match="used from an event loop"):
            await asyncio.to_thread(lambda: asyncio.run(switch.ask("hi")))
        await switch.aclose()
        await switch.aclose()
        with pytest.raises(ConfigError, match="closed"):
            await switch.ask("hi")

    asyncio.run(run())
    with Switch.from_profile(cwd=tmp_path, environ=environ) as switch:
        switch.ask_sync("hi", target="openai")
        for work in (switch.ask("hi"), switch.aclose()):
            with pytest.raises(ConfigError, match="without an event loop"):
                asyncio.run(work)


def test_a_closed_switch_says_so(environ: dict[str, str], llmock: LLMock, tmp_path: Path) -> None:
    llmock.reply("one two three").reply("one two three")
    switch = Switch.from_profile(cwd=tmp_path, environ=environ, use_cache=False)
    left, read = switch.stream_sync("a", target="openai"), switch.stream_sync("b", target="openai")
    assert next(left).text
    assert next(read).text
    switch.close()
    switch.close()
    left.close()  # type: ignore[attr-defined]  # a generator's
    for call in (lambda: next(read), lambda: switch.ask_sync("c"), lambda: switch.stream_sync("d")):
        with pytest.raises(ConfigError, match="this Switch is closed"):
            call()
    Switch.from_profile(cwd=tmp_path, environ=environ).close()


@pytest.mark.parametrize("retries", ["0", "2"])
def test_closing_while_it_asks_is_told_to_who_asked(
    retries: str, environ: dict[str, str], slow: Recorder, tmp_path: Path
) -> None:
    environ |= {"OPENAI_BASE_URL": slow.url, "LLM_MAX_RETRIES": retries, "LLM_FALLBACK": "claude"}
    switch = Switch.from_profile(cwd=tmp_path, environ=environ)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lambda: switch.ask_sync("hi", target="openai"))
        until(lambda: bool(slow.seen))
        switch.close()
        with pytest.raises(CallConnectionError, match="this Switch was closed"):
            asked.result(10)

    async def run() -> None:
        switch = Switch.from_profile(cwd=tmp_path, environ=environ)
        asked = asyncio.create_task(switch.ask("hello", target="openai"))
        await asyncio.to_thread(until, lambda: len(slow.seen) > 1)
        await switch.aclose()
        with pytest.raises(CallConnectionError, match="this Switch was closed"):
            await asked

    asyncio.run(run())


def test_closing_ends_the_wait_before_a_retry_and_leaves_nothing_behind(
    environ: dict[str, str], tmp_path: Path
) -> None:
    environ["LLM_MAX_RETRIES"] = "2"

    async def run(url: str, seen: list[Seen]) -> float:
        switch = Switch.from_profile(cwd=tmp_path, environ={**environ, "OPENAI_BASE_URL": url})
        asked = asyncio.create_task(switch.ask("hi", target="openai"))
        compared = asyncio.create_task(switch.compare("hi", ["openai"]))
        await asyncio.to_thread(until, lambda: bool(seen))
        await asyncio.sleep(0.5)  # one waits to ask again, the other until the vendor takes requests
        began = time.monotonic()
        await switch.aclose()
        for task in (asked, compared):
            with pytest.raises(CallConnectionError, match="this Switch was closed"):
                await task
            assert not task.cancelling()
        return time.monotonic() - began

    before = set(threading.enumerate())
    with Recorder(Answer(b"{}", 429, {"retry-after": "30"})) as server:
        assert asyncio.run(run(server.url, server.seen)) < 5
    assert {thread.name for thread in set(threading.enumerate()) - before} == set()


def test_closing_goes_on_where_who_closes_is_cancelled(environ: dict[str, str], slow: Recorder, tmp_path: Path) -> None:
    environ["ANTHROPIC_BASE_URL"] = slow.url
    ended = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Once, and then keep the connection until the other side ends it."""
        body = b'{"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}'
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body))
        writer.write(body)
        while await reader.read(4096):
            pass
        writer.close()
        ended.set()

    async def run() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            environ["OPENAI_BASE_URL"] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            switch = Switch.from_profile(cwd=tmp_path, environ=environ)
            assert (await switch.ask("hi", target="openai")).text == "hi"
            asked = asyncio.create_task(switch.ask("hi", target="claude"))
            await asyncio.to_thread(until, lambda: bool(slow.seen))
            closing = asyncio.create_task(switch.aclose())
            await asyncio.sleep(0)
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            await switch.aclose()
            with pytest.raises(CallConnectionError, match="this Switch was closed"):
                await asked
            await asyncio.wait_for(ended.wait(), 10)

    asyncio.run(run())


def test_a_stream_left_open_is_told_that_its_switch_is_closed(
    environ: dict[str, str], llmock: LLMock, tmp_path: Path
) -> None:
    llmock.reply("one two three")

    async def run() -> None:
        switch = Switch.from_profile(cwd=tmp_path, environ=environ)
        stream = switch.stream("count", target="openai")
        assert (await anext(stream)).text
        await switch.aclose()
        with pytest.raises(ConfigError, match="this Switch is closed"):
            await anext(stream)

    before = set(threading.enumerate())
    asyncio.run(run())
    assert {thread.name for thread in set(threading.enumerate()) - before} == set()


def test_a_task_that_is_cancelled_while_it_asks_is_cancelled(
    environ: dict[str, str], slow: Recorder, tmp_path: Path
) -> None:
    environ["OPENAI_BASE_URL"] = slow.url

    async def run() -> None:
        async with Switch.from_profile(cwd=tmp_path, environ=environ) as switch:
            asked = asyncio.create_task(switch.ask("hi", target="openai"))
            await asyncio.to_thread(until, lambda: bool(slow.seen))
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked

    asyncio.run(run())


def until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + 20
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.01)


WRONG: Any = {"text": "hi", "texts": ("hi",), "role": "system", "number": 5, "digits": "0.5", "dict": {"seed": 1}}
HALF = "caf\udce9"  # a Latin-1 byte, as Python reads it from a command line
ASKED = (Message("user", "hi"),)
LOOP: dict[str, object] = {}
LOOP["self"] = LOOP


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (5, "the prompt must be text, not int"),
        (None, "the prompt must be text, not NoneType"),
        (b"hi", "the prompt must be text, not bytes"),
        (HALF, "the prompt holds bytes that are not UTF-8 text"),
        (Question(messages=()), "no message"),
        (Question(messages=WRONG["text"]), "messages must be"),
        (Question(messages=WRONG["texts"]), "a message must be a Message"),
        (Question(messages=(Message(WRONG["role"], "hi"),)), "role"),
        (Question(messages=(Message("user", "hi", (Attachment("image/png", WRONG["text"]),)),)), "data must be bytes"),
        (Question(ASKED, system=HALF), "the system prompt holds bytes"),
        (Question(ASKED, system=WRONG["number"]), "the system prompt must be text"),
        (Question(ASKED, model=HALF), "the model holds bytes"),
        (Question(ASKED, schema={HALF: 1}), "the schema holds bytes"),
        (Question(ASKED, schema={"title": [HALF]}), "the schema holds bytes"),
        (Question(ASKED, schema={"enum": {1, 2}}), "the schema cannot be written as JSON"),
        (Question(ASKED, schema={"maximum": float("nan")}), "the schema cannot be written as JSON"),
        (Question(ASKED, schema=LOOP), "the schema cannot be written as JSON"),
        (Question(ASKED, schema=WRONG["text"]), "the schema must be a dict"),
        (Question(ASKED, parameters=WRONG["dict"]), "parameters must be Parameters"),
        (Question(ASKED, parameters=Parameters(stop=(HALF,))), "stop holds bytes"),
        (Question(ASKED, parameters=Parameters(stop=WRONG["text"])), "stop must be a tuple"),
        (Question(ASKED, parameters=Parameters(temperature=float("nan"))), "temperature must be a number"),
        (Question(ASKED, parameters=Parameters(temperature=float("inf"))), "temperature must be a number"),
        (Question(ASKED, parameters=Parameters(temperature=WRONG["digits"])), "temperature must be a number, not str"),
        (Question(ASKED, parameters=Parameters(max_tokens=True)), "max_tokens must be a whole number, not bool"),
        (Question(ASKED, parameters=Parameters(max_tokens=0)), "max_tokens must be a whole number"),
        (Question(ASKED, parameters=Parameters(reasoning_effort=HALF)), "reasoning_effort must be"),
    ],
)
def test_what_is_no_question_is_refused_before_anything_is_sent(
    question: Any, words: str, environ: dict[str, str], llmock: LLMock, tmp_path: Path
) -> None:
    with Switch.from_profile(cwd=tmp_path, environ=environ) as switch:
        with pytest.raises(ConfigError, match=words) as caught:
            switch.ask_sync(question, target="openai")
        assert HALF not in caught.value.message
        with pytest.raises(ConfigError, match=words):
            list(switch.stream_sync(question, target="openai"))
    assert llmock.requests == []


def test_settings_and_target_are_held_to_the_same(environ: dict[str, str], tmp_path: Path) -> None:
    with Switch.from_profile(cwd=tmp_path, environ={**environ, "LLM_SYSTEM": HALF}) as switch:
        with pytest.raises(ConfigError, match="the system prompt holds bytes"):
            switch.ask_sync("hi", target="openai")
        for target in (f"openai:{HALF}", f"openai?stop={HALF}"):
            with pytest.raises(ConfigError, match="the target holds bytes"):
                switch.ask_sync("hi", target=target)
        wrong: Any = 5
        with pytest.raises(ConfigError, match="the target must be text"):
            switch.ask_sync("hi", target=wrong)
    environ["OPENAI_MODEL"] = HALF
    with (
        Switch.from_profile(cwd=tmp_path, environ=environ) as switch,
        pytest.raises(ConfigError, match="the model holds bytes"),
    ):
        switch.ask_sync("hi", target="openai")
