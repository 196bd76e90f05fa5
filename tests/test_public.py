"""The library as a service imports it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from llmock.pytest_plugin import LLMock

import llmswitch
from llmswitch import ConfigError, Message, Question, Switch
from llmswitch.errors import ERRORS_BY_KIND

KINDS = (
    "config authentication permission not_found bad_request context_length content_filter rate_limit overloaded server "
    "timeout connection truncated malformed budget"
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
