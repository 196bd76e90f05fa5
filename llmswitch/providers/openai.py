"""OpenAI itself, through its chat completions."""

from __future__ import annotations

from typing import Any

from llmswitch.errors import ConfigError
from llmswitch.profiles import Settings
from llmswitch.providers.base import IMAGES, PDF, Endpoint, Provider, Variables, Vendor, endpoint_url
from llmswitch.providers.chat import ChatAdapter, plain_client
from llmswitch.providers.chat_codec import REHEARSAL, Dialect, encode
from llmswitch.types import Request

__all__ = ["VENDOR"]

#: `max_tokens` is deprecated here, and reasoning models refuse it
_DIALECT = Dialect(
    Variables(key="OPENAI_API_KEY", url="OPENAI_BASE_URL", model="OPENAI_MODEL"),
    names={"max_tokens": "max_completion_tokens"},
)


def _configure(settings: Settings) -> Endpoint:
    key = settings.secret("OPENAI_API_KEY")
    if key is None:
        raise ConfigError(
            "OPENAI_API_KEY is not set: put it in a profile with 'llmswitch init', or in the environment.",
            provider="openai",
        )
    return Endpoint(
        provider="openai",
        base_url=endpoint_url(settings, "OPENAI_BASE_URL", "https://api.openai.com/v1"),
        model=settings.get("OPENAI_MODEL") or VENDOR.default_model,
        api_key=key,
        organization=_identifier(settings, "OPENAI_ORGANIZATION"),
        project=_identifier(settings, "OPENAI_PROJECT_ID"),
        connect_timeout_s=settings.seconds("LLM_CONNECT_TIMEOUT"),
    )


def _identifier(settings: Settings, name: str) -> str | None:
    """What goes into a header as a key does, and is held to the same letters."""
    value = settings.secret(name)
    return value.reveal() if value else None


def _encode(endpoint: Endpoint, request: Request) -> dict[str, Any]:
    return encode(_DIALECT, endpoint, request)


def _connect(endpoint: Endpoint) -> Provider:
    assert endpoint.api_key is not None  # noqa: S101  # _configure demands one
    client = plain_client(endpoint, endpoint.api_key.reveal(), _DIALECT.variables.url)
    return ChatAdapter(endpoint, client, _DIALECT, _encode)


VENDOR = Vendor(
    key="openai",
    title="OpenAI",
    needs=("OPENAI_API_KEY",),
    model_variable="OPENAI_MODEL",
    asks=("OPENAI_API_KEY", "OPENAI_MODEL"),
    configure=_configure,
    connect=_connect,
    preview=_encode,
    default_model="gpt-6-luna",
    accepts=IMAGES | PDF,
    rehearsal=REHEARSAL,
)
