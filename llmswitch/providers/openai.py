"""OpenAI itself, through its chat completions."""

from __future__ import annotations

from typing import Any

from llmswitch.errors import ConfigError
from llmswitch.profiles import Settings
from llmswitch.providers.base import IMAGES, PDF, Endpoint, Offers, Provider, Variables, Vendor, endpoint_url
from llmswitch.providers.batching import Batcher, Batching, JobLimits
from llmswitch.providers.chat import ChatAdapter, plain_client
from llmswitch.providers.chat_batch import ChatBatcher
from llmswitch.providers.chat_batch_codec import line
from llmswitch.providers.chat_codec import REHEARSAL, Dialect, encode
from llmswitch.providers.values import token_count
from llmswitch.types import Request

__all__ = ["VENDOR"]

#: `max_tokens` is deprecated here, and reasoning models refuse it
_DIALECT = Dialect(
    Variables(key="OPENAI_API_KEY", url="OPENAI_BASE_URL", model="OPENAI_MODEL"),
    names={"max_tokens": "max_completion_tokens"},
)

_BATCH_URL = "/v1/chat/completions"
#: requests and bytes of a file (OpenAI's guide to batches; openai 3.54, resources/files.py)
_BATCH_LIMITS = JobLimits(lines=50_000, bytes=200_000_000)


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


class OpenAIAdapter(ChatAdapter):
    """Chat completions, and OpenAI's own counting of tokens, which other servers of its format lack."""

    async def count(self, request: Request) -> int | None:
        """Tokens of the request, by `responses.input_tokens.count`: the format differs, and the model's input does not.

        Raises a ProviderError.
        """
        import httpx2

        body = encode_count(self._encode(self._endpoint, request))
        with self._translated(request):
            reply = await self._client.post("/responses/input_tokens", cast_to=httpx2.Response, body=body)
            raw = reply.json()
        return token_count(raw.get("input_tokens")) if isinstance(raw, dict) else None


def encode_count(body: dict[str, Any]) -> dict[str, Any]:
    """The Responses format's words for what a body of chat completions gives the model to read.

    Source: openai/types/responses/input_token_count_params.py (openai 3.54).
    """
    counted: dict[str, Any] = {
        "model": body["model"],
        "input": [
            {"role": message["role"], "content": _parts(message["role"], message["content"])}
            for message in body["messages"]
        ],
    }
    if "response_format" in body:
        counted["text"] = {"format": {"type": "json_schema", **body["response_format"]["json_schema"]}}
    if "reasoning_effort" in body:
        counted["reasoning"] = {"effort": body["reasoning_effort"]}
    return counted


def _parts(role: str, content: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    return [_part(role, part) for part in content]


def _part(role: str, part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] == "text":
        return {"type": "output_text" if role == "assistant" else "input_text", "text": part["text"]}
    if part["type"] == "image_url":
        return {"type": "input_image", "detail": "auto", "image_url": part["image_url"]["url"]}
    return {"type": "input_file", **part["file"]}


def _connect(endpoint: Endpoint) -> Provider:
    assert endpoint.api_key is not None  # noqa: S101  # _configure demands one
    client = plain_client(endpoint, endpoint.api_key.reveal(), _DIALECT.variables.url)
    return OpenAIAdapter(endpoint, client, _DIALECT, _encode)


def _connect_batcher(endpoint: Endpoint) -> Batcher:
    assert endpoint.api_key is not None  # noqa: S101  # _configure demands one
    client = plain_client(endpoint, endpoint.api_key.reveal(), _DIALECT.variables.url, endless=True)
    return ChatBatcher(endpoint, client, _DIALECT, _BATCH_URL)


def _encode_line(endpoint: Endpoint, custom_id: str, request: Request) -> dict[str, Any]:
    return line(_BATCH_URL, custom_id, _encode(endpoint, request))


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
    offers=Offers(schema=True, batch=True, caching=True),
    rehearsal=REHEARSAL,
    counts=True,
    batch=Batching(_BATCH_LIMITS, _encode_line, _connect_batcher),
)
