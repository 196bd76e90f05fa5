"""SDKs warmed up before clocks start."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from llmswitch.profiles import load_settings
from llmswitch.runs.call import Call, Question, settle
from llmswitch.runs.rehearsal import rehearse
from llmswitch.targets import parse_target
from llmswitch.types import Chunk, Message
from tests.servers.recorder import Answer, Recorder
from tests.servers.vendors import Vendors

EVERY = ("gemini", "openai", "anthropic", "azure", "team", "groq")


def call_of(target: str, url: str, home: Path) -> Call:
    environ = {
        "LLMSWITCH_HOME": str(home),
        "OPENAI_API_KEY": "real-key",
        "OPENAI_BASE_URL": f"{url}/v1",
        "ANTHROPIC_API_KEY": "real-key",
        "ANTHROPIC_BASE_URL": url,
        "GOOGLE_API_KEY": "real-key",
        "GOOGLE_GEMINI_BASE_URL": url,
        "AZURE_OPENAI_ENDPOINT": url,
        "AZURE_OPENAI_API_KEY": "real-key",
        "AZURE_OPENAI_DEPLOYMENT_NAME": "d",
        "GROQ_API_KEY": "real-key",
        "GROQ_BASE_URL": f"{url}/v1",
        "LLM_ENDPOINTS": "team",
        "TEAM_BASE_URL": f"{url}/v1",
        "TEAM_MODEL": "m",
    }
    settings = load_settings(cwd=home.parent, environ=environ)
    return settle(settings, parse_target(target), Question(messages=(Message("user", "a secret prompt"),)))


@pytest.mark.parametrize("target", EVERY)
def test_the_vendors_answer_for_it_is_one_that_its_adapter_reads(target: str, home: Path) -> None:
    async def ask(call: Call) -> list[Chunk]:
        adapter = call.vendor.connect(call.endpoint)
        try:
            return [chunk async for chunk in adapter.stream(call.request)]
        finally:
            await adapter.aclose()

    with Recorder() as server:
        call = call_of(target, server.url, home)
        server.answer = Answer(
            headers={"content-type": "text/event-stream"}, pieces=lambda: [call.vendor.rehearsal.encode()]
        )
        chunks = asyncio.run(ask(call))
    assert "".join(chunk.text for chunk in chunks) == "-"
    assert any(chunk.finish_reason == "stop" for chunk in chunks)


def test_it_reaches_no_vendor_and_leaves_nothing_open(home: Path) -> None:
    with Vendors() as vendors:
        asyncio.run(rehearse([call_of(target, vendors.url, home) for target in EVERY]))
        assert vendors.seen == []
