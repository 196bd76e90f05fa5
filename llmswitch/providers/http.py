"""The one HTTP client under every SDK, and what its failures mean.

The SDKs follow redirects by default, and one of them re-sends its key to another origin; none may here. A proxy
from the environment never stands between us and this machine. Only imported when a request must go out.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from llmswitch.errors import CallConnectionError, CallTimeoutError, ConfigError, MalformedError, ProviderError
from llmswitch.providers.base import Endpoint
from llmswitch.trust import is_loopback

__all__ = ["HTTP_ERRORS", "http_client", "retry_after"]

#: native type -> ours, the first match in order counts; what is not here is a bug of ours and is not caught.
HTTP_ERRORS: Mapping[type[Exception], type[ProviderError]] = {
    httpx2.TimeoutException: CallTimeoutError,
    httpx2.DecodingError: MalformedError,
    httpx2.TransportError: CallConnectionError,
    httpx2.TooManyRedirects: CallConnectionError,
    httpx2.StreamError: CallConnectionError,
    httpx2.InvalidURL: CallConnectionError,
}


#: bytes of one response, unpacked: no answer comes near it, and a hostile server would fill the memory
_MOST_BYTES = 64 * 2**20
#: bytes of one line of a stream: an SDK takes time that grows with their square
_MOST_LINE = 8 * 2**20


class TooLargeError(httpx2.DecodingError):
    """A response, or a line of one, that does not end."""


class _Bounded(httpx2.AsyncByteStream):
    """A response's body, unpacked and counted. The response that it is put into must not unpack it again."""

    def __init__(self, response: httpx2.Response, most_line: int) -> None:
        assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101  # an AsyncClient's response has one
        self._packed = response.stream
        self._headers = response.headers.copy()
        self._left = _MOST_BYTES
        self._most_line = most_line
        self._line = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        # one of its own each time: the SDK of OpenAI reads on, after its iterator, to keep the connection
        body = httpx2.Response(200, headers=self._headers, stream=self._packed)
        async with aclosing(body.aiter_bytes()) as parts:
            async for part in parts:
                self._left -= len(part)
                self._line = 0 if b"\n" in part else self._line + len(part)
                if self._left < 0 or self._line > self._most_line:
                    raise TooLargeError("it is too large to be one")
                yield part

    async def aclose(self) -> None:
        await self._packed.aclose()


class _Client(httpx2.AsyncClient):
    """Reads no more of a response than is bounded, whatever way the request takes."""

    async def send(
        self,
        request: httpx2.Request,
        *,
        stream: bool = False,
        auth: Any = httpx2.USE_CLIENT_DEFAULT,
        follow_redirects: Any = httpx2.USE_CLIENT_DEFAULT,
    ) -> httpx2.Response:
        response = await super().send(request, stream=True, auth=auth, follow_redirects=follow_redirects)
        response.stream = _Bounded(response, _MOST_LINE if stream else _MOST_BYTES)
        response.headers.pop("content-encoding", None)
        if not stream:
            await response.aread()
        return response


def http_client(endpoint: Endpoint, url_variable: str) -> httpx2.AsyncClient:
    """A client for one endpoint. Read deadlines are the deadline layer's; only connecting is bounded here.

    Raises ConfigError where no request can go to the endpoint's address; `url_variable` is where that was set.

    Loading the certificates costs 50 to 100 ms of CPU: an http:// endpoint, which cannot be redirected to https://,
    gets a context that trusts nobody instead.
    """
    try:
        plain = httpx2.URL(endpoint.base_url).scheme == "http"
    except httpx2.InvalidURL as error:
        raise ConfigError(
            f"{url_variable} is no address that can be asked: {str(error).rstrip('.')}.", provider=endpoint.provider
        ) from error
    return _Client(
        verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else True,
        follow_redirects=False,
        trust_env=not is_loopback(endpoint.base_url),
        timeout=httpx2.Timeout(None, connect=endpoint.connect_timeout_s),
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20),
    )


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds the vendor asks to wait, at least 0; None where it names no time that can be read.

    `headers` finds names in lower case (httpx2.Headers in any), `now` is epoch seconds. Milliseconds, which
    OpenAI and Azure send, go before RFC 9110's `Retry-After`, which is seconds (fractions are met) or a date.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("x-ms-retry-after-ms", 1000.0), ("retry-after", 1.0)):
        wait = _seconds(headers.get(name, ""), unit)
        if wait is not None:
            return wait
    try:
        due = parsedate_to_datetime(headers.get("retry-after", ""))
    except (ValueError, OverflowError):
        return None
    # a date that names no zone would be read as local time; RFC 9110 knows GMT alone
    return max(0.0, due.replace(tzinfo=due.tzinfo or UTC).timestamp() - now)


def _seconds(text: str, unit: float) -> float | None:
    try:
        value = float(text) / unit
    except ValueError:
        return None
    return max(0.0, value) if math.isfinite(value) else None
