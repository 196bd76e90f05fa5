"""The SDK's client for Anthropic, as every call of ours is sent through it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from llmswitch.providers.anthropic_errors import VARIABLES
from llmswitch.providers.base import Endpoint

if TYPE_CHECKING:
    import anthropic

__all__ = ["SAMPLING_HEADERS", "client"]

#: under the version the SDK sends by itself, sampling parameters are refused; older models take them under this one
SAMPLING_HEADERS: Mapping[str, str] = {"anthropic-version": "2023-06-01"}


def client(endpoint: Endpoint, *, endless: bool = False) -> anthropic.AsyncAnthropic:
    """No retries, no redirects, nothing of the environment in it. Imports the SDK; `endless`: see `http_client`.

    Raises ConfigError where the endpoint's address is none.
    """
    import anthropic

    from llmswitch.providers.http import http_client

    assert endpoint.api_key is not None  # noqa: S101  # configuring demands one
    key = endpoint.api_key.reveal()
    # the SDK sends the key as a bearer token; some gateways read this header alone
    headers = {"x-api-key": key, **dict(endpoint.headers)}
    made = anthropic.AsyncAnthropic(
        api_key=key,
        base_url=endpoint.base_url,
        max_retries=0,
        default_headers=headers,
        open_telemetry=False,
        http_client=http_client(endpoint, VARIABLES.url, endless=endless),
    )
    # ANTHROPIC_CUSTOM_HEADERS has been mixed in by now, and may hold another key: only ours are sent
    made._custom_headers = headers
    return made
