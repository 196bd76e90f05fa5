"""Connections in small pools: kept between calls, as many as calls are in flight, and let go after a rush."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

from llmswitch.providers.base import Endpoint
from llmswitch.providers.http import http_client
from llmswitch.providers.pools import Pools
from tests.scripted import Clock


class Counting:
    """A server on this loop that knows its connections, and answers once `gate` is open."""

    def __init__(self) -> None:
        self.opened = 0
        self.now = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        self.now += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await self.gate.wait()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        except asyncio.IncompleteReadError:
            pass
        finally:
            self.now -= 1
            writer.close()


@asynccontextmanager
async def counting() -> AsyncIterator[Counting]:
    made = Counting()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server:
        yield made


async def rush(client: httpx2.AsyncClient, server: Counting, calls: int) -> None:
    """So many at once."""
    server.gate.clear()
    asking = [asyncio.create_task(client.get(server.url)) for _ in range(calls)]
    async with asyncio.timeout(10):
        while server.now < calls:  # noqa: ASYNC110  # counted by the server
            await asyncio.sleep(0.005)
        server.gate.set()
        assert {answer.text for answer in await asyncio.gather(*asking)} == {"ok"}


def client_of(pools: Pools) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=pools, timeout=None)


def test_calls_one_after_another_share_a_connection() -> None:
    async def main() -> None:
        async with counting() as server, client_of(Pools(httpx2.AsyncHTTPTransport)) as client:
            for _ in range(20):
                await client.get(server.url)
            assert server.opened == 1

    asyncio.run(main())


def test_a_second_rush_opens_no_connection() -> None:
    async def main() -> None:
        async with counting() as server, client_of(Pools(httpx2.AsyncHTTPTransport)) as client:
            for _ in range(3):
                await rush(client, server, 40)
            assert server.opened == 40

    asyncio.run(main())


def test_what_only_a_rush_needed_is_let_go_after_it() -> None:
    async def main() -> None:
        clock = Clock()
        async with counting() as server, client_of(Pools(httpx2.AsyncHTTPTransport, clock=clock)) as client:
            await rush(client, server, 40)
            clock.now += 29
            for _ in range(10):
                await client.get(server.url)
            assert server.now == 40
            clock.now += 2
            async with asyncio.timeout(10):
                while server.now > 10:
                    await client.get(server.url)
            await client.get(server.url)
            assert server.opened == 40

    asyncio.run(main())


def test_calls_that_fail_or_are_left_give_their_room_back() -> None:
    async def main() -> None:
        made = 0

        def make() -> httpx2.AsyncHTTPTransport:
            nonlocal made
            made += 1
            return httpx2.AsyncHTTPTransport()

        async with counting() as server, client_of(Pools(make)) as client:
            for _ in range(30):
                with_error = asyncio.create_task(client.get("http://127.0.0.1:9/"))
                await asyncio.wait([with_error])
                assert isinstance(with_error.exception(), httpx2.ConnectError)
            server.gate.clear()
            for _ in range(30):
                left = asyncio.create_task(client.get(server.url))
                await asyncio.sleep(0.002)
                left.cancel()
                await asyncio.wait([left])
            server.gate.set()
            for _ in range(30):
                async with client.stream("GET", server.url) as answer:
                    assert answer.status_code == 200  # and its body is not read
            assert made == 1

    asyncio.run(main())


@pytest.mark.parametrize("lasting", [False, True], ids=["httpcore", "aiohttp"])
def test_as_many_calls_go_out_as_are_made_and_closing_closes_every_connection(lasting: bool) -> None:
    async def main() -> None:
        async with counting() as server:
            client = http_client(Endpoint("any", server.url, lasting=lasting), "ANY_BASE_URL")
            await rush(client, server, 120)
            assert server.now >= 20
            await client.aclose()
            async with asyncio.timeout(10):
                while server.now:  # noqa: ASYNC110  # counted by the server
                    await asyncio.sleep(0.005)

    asyncio.run(main())


def test_a_proxy_of_the_environment_is_still_asked_beyond_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> tuple[int, int]:
        async with counting() as proxy, counting() as server:
            monkeypatch.setenv("http_proxy", proxy.url)
            for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
                monkeypatch.delenv(name, raising=False)
            for url in ("http://vendor.invalid/v1", server.url):
                client = http_client(Endpoint("any", url), "ANY_BASE_URL")
                assert (await client.get(url)).text == "ok"
                await client.aclose()
            return proxy.opened, server.opened

    assert asyncio.run(main()) == (1, 1)
