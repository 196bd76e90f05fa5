"""Counting a prompt's tokens by the vendor's own call, over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from llmswitch.errors import AuthenticationError, MalformedError, NotFoundError
from llmswitch.profiles import load_settings
from llmswitch.providers import find_vendor, vendor_names
from llmswitch.providers.base import Counter, Vendor
from llmswitch.types import Attachment, Message, Parameters, Request
from tests.providers.asking import LASTING, NOWHERE, connected
from tests.providers.fakes import anthropic, gemini, openai
from tests.servers.recorder import Answer, Recorder, Seen

ROWS = (anthropic.ROW, gemini.ROW, openai.ROW)
#: vendor -> the path that counts, and how its answer says 7
COUNTS: dict[str, tuple[str, Callable[[object], object]]] = {
    "openai": ("/v1/responses/input_tokens", lambda n: {"object": "response.input_tokens", "input_tokens": n}),
    "anthropic": ("/v1/messages/count_tokens", lambda n: {"input_tokens": n}),
    "gemini": ("/v1/models/m:countTokens", lambda n: {"totalTokens": n}),
}

PNG = Attachment("image/png", b"\x89PNG\r\n\x1a\n", "a.png")
PDF = Attachment("application/pdf", b"%PDF-1.7", "a.pdf")
REQUEST = Request(
    "m",
    (Message("user", "see", (PNG, PDF)), Message("assistant", "I see"), Message("user", "and?")),
    system="Be brief.",
    parameters=Parameters(max_tokens=9, temperature=0.5),
    schema={"type": "object", "properties": {}},
)


@pytest.fixture(autouse=True, params=[False, True], ids=["httpcore", "aiohttp"])
def transport(request: pytest.FixtureRequest) -> Iterator[None]:
    token = LASTING.set(request.param)
    yield
    LASTING.reset(token)


def count(vendor: Vendor, environ: Mapping[str, str], request: Request) -> int | None:
    async def run() -> int | None:
        adapter = connected(vendor, environ)
        assert isinstance(adapter, Counter)
        try:
            return await adapter.count(request)
        finally:
            await adapter.aclose()

    return asyncio.run(run())


def counted(row: Any, request: Request, answer: Answer) -> tuple[int | None, Seen]:
    with Recorder(answer) as server:
        found = count(row.vendor, row.environ_of(server.url), request)
        (seen,) = server.seen
        return found, seen


every_vendor = pytest.mark.parametrize("row", ROWS, ids=[row.vendor.key for row in ROWS])


@every_vendor
def test_the_vendor_is_asked_once_and_answers_nothing(row: Any) -> None:
    path, said = COUNTS[row.vendor.key]
    found, seen = counted(row, REQUEST, Answer(said(7)))
    assert (found, seen.path) == (7, path)
    for part in ("see", "I see", "and?", "Be brief."):
        assert part in seen.everything
    # nothing that asks for an answer
    assert not {"stream", "max_tokens", "max_output_tokens", "temperature", "generationConfig"} & seen.json.keys()


@every_vendor
@pytest.mark.parametrize("said", [None, -1], ids=str)
def test_a_count_that_is_none_is_unknown(row: Any, said: object) -> None:
    assert counted(row, REQUEST, Answer(COUNTS[row.vendor.key][1](said)))[0] is None


@every_vendor
def test_an_answer_that_is_no_json_is_malformed(row: Any) -> None:
    with pytest.raises(MalformedError):
        counted(row, REQUEST, Answer(b"<html>"))


@every_vendor
def test_a_key_that_is_refused_is_told_as_such(row: Any) -> None:
    with pytest.raises(AuthenticationError):
        counted(row, REQUEST, row.refused(401, row.unauthorized, "no"))


@every_vendor
def test_a_server_that_cannot_count_is_told_as_such(row: Any) -> None:
    with pytest.raises(NotFoundError):
        counted(row, REQUEST, Answer({"error": "no such path"}, status=404))


def test_openais_parts_have_the_names_of_the_responses_format() -> None:
    _, seen = counted(openai.ROW, REQUEST, Answer(COUNTS["openai"][1](7)))
    assert [item["role"] for item in seen.json["input"]] == ["system", "user", "assistant", "user"]
    image, document, text = seen.json["input"][1]["content"]
    assert (image["type"], document["type"], text) == (
        "input_image",
        "input_file",
        {"type": "input_text", "text": "see"},
    )
    assert image["image_url"].startswith("data:image/png;base64,")
    assert document["filename"] == "a.pdf"
    assert seen.json["text"]["format"]["schema"] == REQUEST.schema


def test_openais_names_are_the_sdks() -> None:
    from openai.types.responses import input_token_count_params as params

    _, seen = counted(openai.ROW, REQUEST, Answer(COUNTS["openai"][1](7)))
    assert seen.json.keys() <= params.InputTokenCountParams.__annotations__.keys()


def test_anthropics_names_are_the_sdks() -> None:
    from anthropic.types import message_count_tokens_params as params

    _, seen = counted(anthropic.ROW, REQUEST, Answer(COUNTS["anthropic"][1](7)))
    assert seen.json.keys() <= params.MessageCountTokensParams.__annotations__.keys()
    assert seen.json["system"] == "Be brief."


def test_gemini_gets_the_system_prompt_as_a_content() -> None:
    _, seen = counted(gemini.ROW, REQUEST, Answer(COUNTS["gemini"][1](7)))
    assert seen.json["contents"][0] == {"role": "user", "parts": [{"text": "Be brief."}]}
    assert len(seen.json["contents"]) == 4


def test_the_rows_say_which_adapters_count() -> None:
    settings = load_settings(cwd=NOWHERE, environ={"LLMSWITCH_HOME": str(NOWHERE)})
    counting = {name for name in vendor_names(settings) if find_vendor(name, settings).counts}
    assert counting == set(COUNTS)
