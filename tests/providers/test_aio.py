"""The transport over aiohttp, and what of a broken server's answer becomes which error."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

import httpx2
import pytest

from llmswitch.errors import CallConnectionError
from llmswitch.providers import http
from llmswitch.providers.aio import AioTransport
from llmswitch.providers.base import Endpoint
from llmswitch.providers.openai import VENDOR
from llmswitch.providers.pools import Pools
from llmswitch.types import Message, Request, Secret

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@asynccontextmanager
async def serving(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]],
) -> AsyncIterator[str]:
    """A server's address; every connection is over when it ends."""
    serving: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await handle(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    await asyncio.gather(*(task for task in serving if task is not None))


def answering(*answers: bytes) -> AbstractAsyncContextManager[str]:
    """A server that reads a request and sends the next of `answers` as it is, then hangs up unless that was OK."""
    left = list(answers)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent = OK
        while sent == OK:
            head = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
            await reader.readexactly(next((int(line[15:]) for line in head if line[:15] == b"content-length:"), 0))
            sent = left.pop(0)
            writer.write(sent)
            await writer.drain()

    return serving(handle)


def client(url: str) -> httpx2.AsyncClient:
    return http.http_client(Endpoint("box", url, lasting=True), "BOX_BASE_URL")


async def posted(url: str, times: int = 1) -> list[str]:
    async with client(url) as box:
        return [(await box.post(url, json={"a": 1})).text for _ in range(times)]


def test_an_endpoint_asked_again_and_again_is_asked_over_aiohttp(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(client("http://box.invalid")._transport, AioTransport)
    assert isinstance(http.http_client(Endpoint("box", "http://box.invalid"), "URL")._transport, Pools)
    monkeypatch.setattr(http, "find_spec", lambda name: None)
    assert isinstance(client("http://box.invalid")._transport, Pools)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", httpx2.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", httpx2.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", httpx2.RemoteProtocolError),
        (b"SMTP is what this is\r\n\r\n", httpx2.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nx-long: " + b"a" * 300_000 + b"\r\n\r\n", httpx2.RemoteProtocolError),
    ],
    ids=["hangs up", "half a body", "no chunk", "no http", "a header without end"],
)
def test_what_is_no_whole_answer_is_a_connection_that_failed(answer: bytes, kind: type[Exception]) -> None:
    async def run() -> None:
        async with answering(answer) as url:
            with pytest.raises(kind) as caught:
                await posted(url)
            assert str(caught.value)

    asyncio.run(run())


def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    async def run() -> list[str]:
        async with answering(OK, OK, OK.replace(b"OK\r", b"Fine\r"), OK) as url, client(url) as box:
            texts = []
            for _ in range(4):
                texts.append((await box.post(url, json={})).text)
                await asyncio.sleep(0.05)  # until the server's word that it closes is there
            return texts

    assert asyncio.run(run()) == ["ok"] * 4


def test_no_cookie_is_kept_and_nothing_said_that_httpx_does_not_say() -> None:
    heads: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()

    async def run() -> None:
        async with serving(handle) as url, client(url) as box:
            for _ in range(2):
                await box.get(f"{url}v1/a%2Fb?q=%20", headers={"X-Two": "2"})
                box.cookies.clear()  # httpx2's own, which an SDK's client has, too

    asyncio.run(run())
    assert heads[0].startswith(b"GET /v1/a%2Fb?q=%20 HTTP/1.1\r\n")
    names = sorted(line.partition(b":")[0].lower() for line in heads[0].split(b"\r\n")[1:] if line)
    assert names == [b"accept", b"accept-encoding", b"connection", b"host", b"user-agent", b"x-two"]
    assert heads[1] == heads[0]


def test_a_silent_server_is_waited_for_as_long_as_the_request_says() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def run() -> None:
        async with serving(handle) as url, client(url) as box:
            with pytest.raises(httpx2.ReadTimeout):
                await box.get(url, timeout=0.1)

    asyncio.run(run())


@pytest.mark.parametrize(
    "head", [b"x-policy: " + b"a" * 20_000, b"\r\n".join(b"x-%d: 1" % n for n in range(200))], ids=["long", "many"]
)
def test_headers_as_a_gateway_sends_them_are_read(head: bytes) -> None:
    async def run() -> list[str]:
        async with answering(b"HTTP/1.1 200 OK\r\n" + head + b"\r\ncontent-length: 2\r\n\r\nok") as url:
            return await posted(url)

    assert asyncio.run(run()) == ["ok"]


def test_a_name_and_password_in_the_address_are_sent_as_httpx_sends_them() -> None:
    heads: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK)
        await writer.drain()

    async def run() -> None:
        async with serving(handle) as url, client(url) as box:
            await box.get(url.replace("http://", "http://me:pass@"), headers={"Authorization": "Bearer k"})

    asyncio.run(run())
    assert b"\r\nAuthorization: Basic bWU6cGFzcw==\r\n" in heads[0]
    assert b"me:pass" not in heads[0]


def test_a_header_that_cannot_be_sent_is_an_error_of_httpx2() -> None:
    async def run() -> None:
        async with answering(OK) as url, client(url) as box:
            with pytest.raises(httpx2.LocalProtocolError):
                await box.get(url, headers={"Authorization": "Bearer one\ntwo"})

    asyncio.run(run())


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_certificate_that_nobody_vouches_for_is_a_connection_that_failed(tmp_path: Path) -> None:
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", f"{tmp_path / 'key'}", "-out", f"{tmp_path / 'certificate'}", "-subj", "/CN=127.0.0.1"]
    subprocess.run([*make, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")

    async def run() -> None:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
        async with server:
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            adapter = VENDOR.connect(Endpoint("openai", url, api_key=Secret("k"), lasting=True))
            with pytest.raises(CallConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
                await adapter.complete(Request("gpt-4o", (Message("user", "hi"),), stream=False))
            await adapter.aclose()

    asyncio.run(run())


def test_a_body_whose_length_is_not_known_is_sent_whole() -> None:
    bodies: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readuntil(b"\r\n\r\n")).lower().count(b"transfer-encoding: chunked") == 1
        bodies.append(await reader.readuntil(b"0\r\n\r\n"))
        writer.write(OK)
        await writer.drain()

    async def parts() -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"cd"

    async def run() -> None:
        async with serving(handle) as url, client(url) as box:
            await asyncio.wait_for(box.post(url, content=parts()), 10)

    asyncio.run(run())
    assert bodies == [b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"]
