"""The client under the SDKs, and who listens to it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from llmswitch.errors import CallConnectionError
from llmswitch.providers.base import Endpoint
from llmswitch.providers.http import HTTP_ERRORS, http_client
from llmswitch.providers.ratelimits import Listener, listening
from tests.servers.recorder import Answer, Recorder


class Ear(Listener):
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def sent(self) -> None:
        self.heard.append("sent")

    def answered(self, headers: Mapping[str, str]) -> None:
        self.heard.append(headers["x-ratelimit-limit-requests"])


both_transports = pytest.mark.parametrize("lasting", [False, True], ids=["httpcore", "aiohttp"])


@both_transports
@pytest.mark.parametrize("status", [200, 429])
def test_a_listener_hears_when_a_request_is_written_and_what_headers_come_back(status: int, lasting: bool) -> None:
    ear = Ear()

    async def run(url: str) -> None:
        client = http_client(Endpoint("box", url, lasting=lasting), "BOX_BASE_URL")
        with listening(ear):
            response = await client.post(f"{url}/v1", json={"a": "b" * 100_000})
        assert response.status_code == status
        await client.post(f"{url}/v1", json={})
        await client.aclose()

    with Recorder(Answer(b"{}", status=status, headers={"X-RateLimit-Limit-Requests": "60"})) as server:
        asyncio.run(run(server.url))
        assert server.seen[0].json == {"a": "b" * 100_000}
    assert ear.heard == ["sent", "60"]


@both_transports
def test_who_was_never_connected_hears_nothing(lasting: bool) -> None:
    ear = Ear()
    with Recorder() as server:
        closed = server.url

    async def run() -> None:
        client = http_client(Endpoint("box", closed, lasting=lasting), "BOX_BASE_URL")
        with listening(ear), pytest.raises(tuple(HTTP_ERRORS)) as caught:
            await client.post(f"{closed}/v1", json={})
        assert next(ours for native, ours in HTTP_ERRORS.items() if isinstance(caught.value, native)) is (
            CallConnectionError
        )
        await client.aclose()

    asyncio.run(run())
    assert ear.heard == []
