"""The one HTTP client under every SDK, and what its failures mean.

The SDKs follow redirects by default, and one of them re-sends its key to another origin; none may here. A proxy
from the environment never stands between us and this machine. Only imported when a request must go out.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

import httpx2

from llmswitch.errors import CallConnectionError, CallTimeoutError, MalformedError, ProviderError
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


def http_client(base_url: str, connect_timeout_s: float) -> httpx2.AsyncClient:
    """A client for one endpoint. Read deadlines are the deadline layer's; only connecting is bounded here.

    Loading the certificates costs 50 to 100 ms of CPU: an http:// endpoint, which cannot be redirected to https://,
    gets a context that trusts nobody instead.
    """
    plain = base_url.lower().startswith("http:")
    return httpx2.AsyncClient(
        verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else True,
        follow_redirects=False,
        trust_env=not is_loopback(base_url),
        timeout=httpx2.Timeout(None, connect=connect_timeout_s),
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
