"""The embedded model, for real: the small model itself answers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from llmswitch.errors import ConfigError, ContextLengthError
from llmswitch.profiles import load_settings
from llmswitch.providers import local
from llmswitch.providers.base import Endpoint
from llmswitch.providers.local import VENDOR
from llmswitch.types import Chunk, Message, Parameters, Request, Response
from llmswitch.weights import DEFAULT_MODEL, MODELS

CAPITAL = "What is the capital of France?"
#: long enough that only its cap, or somebody's leaving, ends the answer
STORY = "Tell me a very long story about a dog."


@pytest.fixture
def endpoint(home_with_model: Path) -> Endpoint:
    return located(home_with_model)


def located(home: Path, model: str = DEFAULT_MODEL) -> Endpoint:
    settings = load_settings(cwd=home, environ={"LLMSWITCH_HOME": str(home)})
    assert VENDOR.locate is not None
    return VENDOR.locate(VENDOR.configure(settings), model)


def request(text: str, **parameters: int | float | str) -> Request:
    return Request(
        model=DEFAULT_MODEL,
        messages=(Message("user", text),),
        system="You are a helpful assistant.",
        parameters=Parameters(**parameters),  # type: ignore[arg-type]  # each test names its own
    )


async def ask(endpoint: Endpoint, *questions: Request) -> list[Response]:
    """The answers to `questions`, asked at once."""
    provider = VENDOR.connect(endpoint)
    try:
        return await asyncio.gather(*(provider.complete(question) for question in questions))
    finally:
        await provider.aclose()


async def stream(endpoint: Endpoint, question: Request) -> list[Chunk]:
    provider = VENDOR.connect(endpoint)
    try:
        return [chunk async for chunk in provider.stream(question)]
    finally:
        await provider.aclose()


def test_it_knows_the_capital_of_france(endpoint: Endpoint) -> None:
    [answer] = asyncio.run(ask(endpoint, request(CAPITAL)))
    assert "Paris" in answer.text
    assert answer.finish_reason == "stop"
    assert (answer.provider, answer.request_model, answer.response_model) == ("local", DEFAULT_MODEL, DEFAULT_MODEL)
    assert answer.response_id
    assert answer.usage.input_tokens == 27
    assert answer.usage.visible_output_tokens == answer.usage.output_tokens
    assert answer.usage.cache_read_input_tokens == 0


def test_a_stream_comes_token_by_token_and_ends_with_the_same_answer(endpoint: Endpoint) -> None:
    chunks = asyncio.run(stream(endpoint, request(CAPITAL, max_tokens=10)))
    [answer] = asyncio.run(ask(endpoint, request(CAPITAL, max_tokens=10)))
    pieces = [chunk.text for chunk in chunks if chunk.text]
    assert len(pieces) > 5
    assert "".join(pieces) == answer.text
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["length"]
    assert [chunk.usage for chunk in chunks if chunk.usage] == [answer.usage]


def test_several_at_once_share_one_loading_and_do_not_change_each_other(endpoint: Endpoint) -> None:
    questions = [request(CAPITAL, max_tokens=4), request("Hi", max_tokens=4)] * 2
    alone = [asyncio.run(ask(endpoint, question))[0].text for question in questions[:2]]
    together = asyncio.run(ask(endpoint, *questions))
    assert [answer.text for answer in together] == alone * 2
    assert len([key for key in local._servers if key[0] == endpoint.base_url]) == 1


def test_parameters_reach_the_model(endpoint: Endpoint) -> None:
    hot = request(STORY, temperature=1.5, seed=7, max_tokens=6)
    same, again, other, cut = asyncio.run(
        ask(
            endpoint,
            hot,
            hot,
            replace(hot, parameters=replace(hot.parameters, seed=8)),
            replace(request(CAPITAL), parameters=Parameters(stop=("Paris",))),
        )
    )
    assert same.text == again.text
    assert same.text != other.text
    assert (same.finish_reason, same.usage.output_tokens) == ("length", 6)
    assert (cut.text, cut.finish_reason) == ("The capital of France is ", "stop")


def test_a_schema_is_obeyed(endpoint: Endpoint) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}, "large": {"type": "boolean"}},
        "required": ["city", "large"],
        "additionalProperties": False,
    }
    question = replace(request("Which city is the capital of France, and is it large?", max_tokens=100), schema=schema)
    [answer] = asyncio.run(ask(endpoint, question))
    said = json.loads(answer.text)
    assert set(said) == {"city", "large"}
    assert type(said["large"]) is bool


def test_a_prompt_longer_than_the_context_says_so(endpoint: Endpoint) -> None:
    with pytest.raises(ContextLengthError, match=r"context size \(8192 tokens\)\. Send less: .*\.$") as raised:
        asyncio.run(ask(endpoint, request("word " * 9000)))
    assert raised.value.status == 400
    assert raised.value.request_model == DEFAULT_MODEL


def test_who_hangs_up_does_not_keep_the_model_busy(endpoint: Endpoint) -> None:
    async def leave() -> float:
        provider = VENDOR.connect(endpoint)
        async with aclosing(provider.stream(request(STORY, max_tokens=2000))) as chunks:  # type: ignore[type-var]  # an async generator
            await anext(chunks)
        begun = time.monotonic()
        await provider.complete(request("Hi", max_tokens=1))
        await provider.aclose()
        return time.monotonic() - begun

    assert asyncio.run(leave()) < 8  # 2000 tokens take half a minute


def status(url: str, key: str | None) -> int:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx2.get(url, headers=headers, trust_env=False).status_code


def test_the_server_is_on_loopback_behind_a_key_and_has_no_pages(endpoint: Endpoint) -> None:
    base_url, key = local._served(endpoint)
    root = base_url.removesuffix("/v1")
    assert urlsplit(root).hostname == "127.0.0.1"
    assert len(key) >= 43
    assert status(f"{base_url}/models", key) == 200
    assert status(f"{base_url}/models", None) == 401
    assert status(f"{base_url}/models", "guess") == 401
    assert {path: status(root + path, key) for path in ("/", "/slots", "/metrics", "/tools")} == {
        "/": 404,
        "/slots": 501,
        "/metrics": 501,
        "/tools": 403,
    }
    with socket.socket() as elsewhere:  # another address of this machine: nobody listens there
        elsewhere.settimeout(5)
        assert elsewhere.connect_ex(("127.0.0.2", urlsplit(root).port)) != 0


def test_a_proxy_in_the_environment_is_not_asked(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    [answer] = asyncio.run(ask(endpoint, request("Hi", max_tokens=1)))
    assert answer.usage.output_tokens == 1


def test_the_endpoint_tells_known_weights_by_their_digest(endpoint: Endpoint, home_with_model: Path) -> None:
    row = MODELS[DEFAULT_MODEL]
    assert endpoint.fingerprint == row.sha256
    assert endpoint.base_url == (home_with_model / "data" / "models" / row.file).as_uri()
    assert endpoint.model == VENDOR.default_model == DEFAULT_MODEL


def test_any_file_of_weights_can_be_named(home: Path, models: Path) -> None:
    path = home.parent / "with space and #.gguf"
    path.symlink_to(models / MODELS[DEFAULT_MODEL].file)
    endpoint = located(home, str(path))
    [answer] = asyncio.run(ask(endpoint, replace(request("Hi", max_tokens=1), model=str(path))))
    assert answer.request_model == str(path)
    assert answer.usage.output_tokens == 1
    assert answer.usage.reasoning_output_tokens is None


def test_missing_weights_name_the_command_that_gets_them(home: Path) -> None:
    with pytest.raises(ConfigError, match="type 'llmswitch pull'"):
        located(home)


def test_the_preview_is_the_body_that_is_sent(endpoint: Endpoint) -> None:
    assert VENDOR.preview(endpoint, request("Hi", temperature=0.5)) == {
        "model": DEFAULT_MODEL,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Hi"},
        ],
        "temperature": 0.5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


# In processes of their own: what is printed, and how the process ends.

SCRIPT = """
import asyncio, os, signal, sys, threading, time
from pathlib import Path
from llmswitch.errors import LLMSwitchError
from llmswitch.profiles import load_settings
from llmswitch.providers.local import VENDOR
from llmswitch.types import Message, Parameters, Request

endpoint = VENDOR.configure(load_settings(cwd=Path.cwd(), environ=os.environ))
endpoint = VENDOR.locate(endpoint, sys.argv[1])
messages = (Message("user", "Tell me a very long story."),)
question = Request(endpoint.model, messages, parameters=Parameters(max_tokens=3000))

async def stream(fifth):
    provider, count = VENDOR.connect(endpoint), 0
    async for chunk in provider.stream(question):
        count += 1
        if count == 5:
            print(time.time(), flush=True)
            fifth()

def fail():
    raise ValueError("on purpose")
"""


def run_script(home: Path, body: str, model: str = DEFAULT_MODEL) -> tuple[subprocess.CompletedProcess[str], float]:
    """SCRIPT and `body`; how it ended, and the seconds from the time it printed to its end."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + body, model],
        env={**os.environ, "LLMSWITCH_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done, time.time() - float(done.stdout.split()[0]) if done.stdout else 0.0


@pytest.mark.parametrize(
    ("body", "code", "last"),
    [
        ("asyncio.run(stream(fail))", 1, "ValueError: on purpose"),
        ("asyncio.run(stream(lambda: os.kill(os.getpid(), signal.SIGINT)))", -signal.SIGINT, "KeyboardInterrupt"),
        # a thread that nobody waits for is still being answered
        (
            "seen = threading.Event()\n"
            "def ask():\n"
            "    try: asyncio.run(stream(seen.set))\n"
            "    except LLMSwitchError: pass\n"
            "threading.Thread(target=ask, daemon=True).start(); seen.wait()",
            0,
            "",
        ),
        # Ctrl-C again and again, while the server is being ended
        (
            "import atexit\n"
            "def press():\n"
            "    while not time.sleep(0.05): os.kill(os.getpid(), signal.SIGINT)\n"
            "seen = threading.Event()\n"
            "def ask():\n"
            "    try: asyncio.run(stream(seen.set))\n"
            "    except LLMSwitchError: pass\n"
            "threading.Thread(target=ask, daemon=True).start(); seen.wait()\n"
            "atexit.register(threading.Thread(target=press, daemon=True).start)",
            0,
            "",
        ),
    ],
    ids=["exception", "ctrl-c", "daemon-thread", "more-ctrl-c"],
)
def test_the_process_ends_promptly_and_prints_nothing_of_its_own(
    body: str, code: int, last: str, home_with_model: Path
) -> None:
    done, seconds = run_script(home_with_model, body)
    assert done.returncode == code
    assert (done.stderr.splitlines() or [""])[-1] == last
    assert last or not done.stderr
    assert seconds < 10  # by default it would be half a minute, or without end


def cut(real: bytes) -> bytes:
    return real[: len(real) // 2]


def garbage(real: bytes) -> bytes:
    return real[:4] + bytes(range(256)) * 100


def empty(real: bytes) -> bytes:
    return real[:4]


@pytest.mark.parametrize("damage", [cut, garbage, empty])
def test_damaged_weights_are_one_error_and_nothing_on_the_terminal(
    damage: Callable[[bytes], bytes], home: Path, models: Path
) -> None:
    path = home.parent / "damaged.gguf"
    path.write_bytes(damage((models / MODELS[DEFAULT_MODEL].file).read_bytes()))
    done, _ = run_script(
        home,
        "try: print(time.time()); VENDOR.connect(endpoint)\nexcept LLMSwitchError as e: print(type(e).__name__, e)",
        str(path),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].startswith(f"ConfigError {path} cannot be loaded: ")


def test_without_the_extra_the_error_names_the_line_to_type(
    endpoint: Endpoint, home_with_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)  # as Python marks what cannot be imported
    with pytest.raises(ConfigError, match=r"type  pip install 'llmswitch\[local\]'"):
        located(home_with_model)
    with pytest.raises(ConfigError, match=r"type  pip install 'llmswitch\[local\]'"):
        VENDOR.connect(replace(endpoint, fingerprint="not loaded yet"))
