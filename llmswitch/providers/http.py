"""The one HTTP client under every SDK, and what its failures mean.

The SDKs follow redirects by default, and one of them re-sends its key to another origin; none may here. A proxy
from the environment never stands between us and this machine. Only imported when a request must go out.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from importlib.util import find_spec
from typing import Any
from urllib.request import getproxies

import httpx2

from llmswitch.errors import CallConnectionError, CallTimeoutError, ConfigError, MalformedError, ProviderError
from llmswitch.providers.base import Endpoint
from llmswitch.providers.pools import Pools
from llmswitch.providers.ratelimits import Listener, listener
from llmswitch.trust import is_loopback

__all__ = ["HTTP_ERRORS", "http_client"]

#: native type -> ours, the first match in order counts; what is not here is a bug of ours and is not caught.
HTTP_ERRORS: Mapping[type[Exception], type[ProviderError]] = {
    httpx2.TimeoutException: CallTimeoutError,
    httpx2.DecodingError: MalformedError,
    httpx2.TransportError: CallConnectionError,
    httpx2.TooManyRedirects: CallConnectionError,
    httpx2.StreamError: CallConnectionError,
    httpx2.InvalidURL: CallConnectionError,
}


#: how long an idle connection is kept, in seconds: less than the 5 s after which many a server closes it, maybe just as
#: the next request is written to it
_KEPT_S = 4.0
#: bytes of one response, unpacked: no answer comes near it, and a hostile server would fill the memory
_MOST_BYTES = 64 * 2**20
#: bytes of one line of a stream: an SDK takes time that grows with their square
_MOST_LINE = 8 * 2**20


class TooLargeError(httpx2.DecodingError):
    """A response, or a line of one, that does not end."""


class _Bounded(httpx2.AsyncByteStream):
    """A response's body, unpacked and counted; it takes the response's place for its own, which unpacks nothing."""

    def __init__(self, response: httpx2.Response, most: float, most_line: float, heard: Listener) -> None:
        assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101  # an AsyncClient's response has one
        self._packed = response.stream
        self._packing = response.headers.get("content-encoding")
        if self._packing is not None:
            del response.headers["content-encoding"]
        self._heard = heard
        self._left = most
        self._most_line = most_line
        self._line = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts = self._unpacked()
        try:
            async for part in parts:
                self._heard.received()
                self._left -= len(part)
                self._line = 0 if b"\n" in part else self._line + len(part)
                if self._left < 0 or self._line > self._most_line:
                    raise TooLargeError("it is too large to be one")
                yield part
        finally:
            if isinstance(parts, AsyncGenerator):
                await parts.aclose()

    def _unpacked(self) -> AsyncIterator[bytes]:
        """Anew each time: the SDK of OpenAI reads on, after its iterator, to keep the connection."""
        if self._packing is None:
            return aiter(self._packed)
        packed = httpx2.Response(200, headers={"content-encoding": self._packing}, stream=self._packed)
        return packed.aiter_bytes()

    async def aclose(self) -> None:
        await self._packed.aclose()


class _Told(httpx2.AsyncByteStream):
    """A request's body that tells when it has been written."""

    def __init__(self, body: httpx2.AsyncByteStream, whom: Listener) -> None:
        self._body = body
        self._whom = whom

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._body:
            yield part
        self._whom.sent()

    async def aclose(self) -> None:
        await self._body.aclose()


class _Client(httpx2.AsyncClient):
    """Reads no more of a response than is bounded, whatever way the request takes; `endless`: see `http_client`."""

    endless = False

    async def send(
        self,
        request: httpx2.Request,
        *,
        stream: bool = False,
        auth: Any = httpx2.USE_CLIENT_DEFAULT,
        follow_redirects: Any = httpx2.USE_CLIENT_DEFAULT,
    ) -> httpx2.Response:
        heard = listener()
        if isinstance(request.stream, httpx2.AsyncByteStream):
            request.stream = _Told(request.stream, heard)
        heard.sending()
        response = await super().send(request, stream=True, auth=auth, follow_redirects=follow_redirects)
        heard.answered(response.headers)
        most: float = _MOST_BYTES
        most_line: float = _MOST_LINE if stream else _MOST_BYTES
        if stream and self.endless and response.status_code == 200:  # an SDK reads a refusal as a whole
            most = most_line = math.inf
        response.stream = _Bounded(response, most, most_line, heard)
        if not stream:
            await response.aread()
        return response


def http_client(endpoint: Endpoint, url_variable: str, *, endless: bool = False) -> httpx2.AsyncClient:
    """A client for one endpoint. Read deadlines are the deadline layer's; only connecting is bounded here.

    Raises ConfigError where no request can go to the endpoint's address; `url_variable` is where that was set.
    With `endless`, an answer that is streamed may be of any length: who asks so bounds what is held of it.

    Loading the certificates costs 50 to 100 ms of CPU: an http:// endpoint, which cannot be redirected to https://,
    gets a context that trusts nobody instead.
    """
    try:
        plain = httpx2.URL(endpoint.base_url).scheme == "http"
    except httpx2.InvalidURL as error:
        raise ConfigError(
            f"{url_variable} is no address that can be asked: {str(error).rstrip('.')}.", provider=endpoint.provider
        ) from error
    ambient = not is_loopback(endpoint.base_url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else httpx2.create_ssl_context(trust_env=ambient)
    # as many idle ones as the SDKs keep: fewer, and each rush of calls would shake hands anew
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=_KEPT_S)

    def pool() -> httpx2.AsyncHTTPTransport:
        return httpx2.AsyncHTTPTransport(verify=context, trust_env=ambient, limits=limits)

    def direct() -> httpx2.AsyncBaseTransport:
        if endpoint.lasting and find_spec("aiohttp") is not None:
            from llmswitch.providers.aio import AioTransport

            return AioTransport(context, kept_s=_KEPT_S)
        return Pools(pool)

    client = _Client(
        verify=context,
        follow_redirects=False,
        trust_env=ambient,
        timeout=httpx2.Timeout(None, connect=endpoint.connect_timeout_s),
        limits=limits,
        # a client that is given a transport passes the environment's proxies over
        transport=None if ambient and getproxies() else direct(),
    )
    client.endless = endless
    return client
