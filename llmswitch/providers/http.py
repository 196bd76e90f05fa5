"""The one HTTP client under every SDK, and what its failures mean.

The SDKs follow redirects by default, and one of them re-sends its key to another origin; none may here. A proxy
from the environment never stands between us and this machine. Only imported when a request must go out.
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx2

from llmswitch.errors import CallConnectionError, CallTimeoutError, MalformedError, ProviderError
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


def http_client(base_url: str, connect_timeout_s: float) -> httpx2.AsyncClient:
    """A client for one endpoint. Read deadlines are the deadline layer's; only connecting is bounded here."""
    return httpx2.AsyncClient(
        follow_redirects=False,
        trust_env=not is_loopback(base_url),
        timeout=httpx2.Timeout(None, connect=connect_timeout_s),
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20),
    )
