"""httpx2's requests sent by aiohttp, which reads and writes HTTP in C: two thirds of the CPU, and truer clocks.

For clients that ask again and again, in the extra `aiohttp`: importing it costs what ten calls save. Its own port to
httpx2 (httpx-aiohttp 0.2) takes a server that hangs up for a timeout, lets no more than 100 calls out at a time, and
does not tell when a request has been written.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager

import aiohttp
import httpx2
from yarl import URL

__all__ = ["AioTransport"]

#: theirs -> httpx2's, the first match in order counts; the last rows are for what is no HTTP, for bare sockets, and
#: for what cannot be sent, such as a header of two lines
_ERRORS: Mapping[type[Exception], type[httpx2.TransportError]] = {
    aiohttp.ConnectionTimeoutError: httpx2.ConnectTimeout,
    aiohttp.ServerTimeoutError: httpx2.ReadTimeout,
    aiohttp.ClientConnectorError: httpx2.ConnectError,
    aiohttp.ServerDisconnectedError: httpx2.RemoteProtocolError,
    aiohttp.ClientPayloadError: httpx2.RemoteProtocolError,
    aiohttp.NonHttpUrlClientError: httpx2.UnsupportedProtocol,
    aiohttp.ClientOSError: httpx2.ReadError,
    aiohttp.ClientError: httpx2.RemoteProtocolError,
    OSError: httpx2.ReadError,
    ValueError: httpx2.LocalProtocolError,
}
#: httpx2 says these itself
_OURS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
#: the longest header of a response, in bytes, and the most of them: aiohttp's own are less than what gateways send
_MOST_HEADER, _MOST_HEADERS = 2**16, 500


class _Body(httpx2.AsyncByteStream):
    """A response's body as it comes off the socket. Closed before its end, it closes the connection."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _translated():
            async for part in self._response.content.iter_any():
                yield part

    async def aclose(self) -> None:
        self._response.close()


class AioTransport(httpx2.AsyncBaseTransport):
    """For one event loop, and as many calls at a time as are made. An idle connection is kept for `kept_s` seconds.

    Reads of a silent socket wait without end unless the request's own timeout says otherwise.
    """

    def __init__(self, context: ssl.SSLContext, *, kept_s: float) -> None:
        self._context = context
        self._kept_s = kept_s
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it, and give the response with its body still to be read; raises httpx2's own errors."""
        assert isinstance(request.stream, httpx2.AsyncByteStream)  # noqa: S101  # an AsyncClient's request has one
        if self._session is None:
            self._session = self._opened()
        timeout = request.extensions.get("timeout", {})
        with _translated():
            response = await self._session.request(
                request.method,
                # without name and password, which httpx2 has put into a header
                URL(str(request.url.copy_with(userinfo=b"") if request.url.userinfo else request.url), encoded=True),
                headers=[
                    (name.decode("ascii"), value.decode("latin-1"))
                    for name, value in request.headers.raw
                    if name.lower() != b"transfer-encoding"  # aiohttp says so itself
                ],
                data=aiter(request.stream) if _has_body(request) else None,
                allow_redirects=False,
                # looking up the name is part of connecting
                timeout=aiohttp.ClientTimeout(
                    total=None, connect=timeout.get("connect"), sock_read=timeout.get("read")
                ),
            )
        return httpx2.Response(
            response.status,
            headers=response.raw_headers,
            stream=_Body(response),
            extensions={
                "http_version": b"HTTP/1.1",
                "reason_phrase": (response.reason or "").encode("latin-1", "replace"),
            },
        )

    async def aclose(self) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _opened(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._context, keepalive_timeout=self._kept_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_OURS,
            auto_decompress=False,
            trust_env=False,
            max_line_size=_MOST_HEADER,
            max_field_size=_MOST_HEADER,
            max_headers=_MOST_HEADERS,
        )


def _has_body(request: httpx2.Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except tuple(_ERRORS) as error:
        kind = next(ours for theirs, ours in _ERRORS.items() if isinstance(error, theirs))
        # a ValueError beneath, as that of a refused certificate is one, would pass for an answer that cannot be read
        raise kind(str(error) or type(error).__name__) from None if isinstance(error, ValueError) else error
