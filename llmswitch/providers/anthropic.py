"""Anthropic's Messages API, through its own SDK (facts read from anthropic 2.12).

The body goes through `client.post`, which is what the SDK's `messages.create` calls: that one has no argument for
temperature, refuses long answers that are not streamed, and warns about old models on stderr.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from dataclasses import replace

from llmswitch.errors import ConfigError
from llmswitch.profiles import Settings
from llmswitch.providers.anthropic_batch import BATCHING
from llmswitch.providers.anthropic_client import SAMPLING_HEADERS, client
from llmswitch.providers.anthropic_codec import MAX_TOKENS, decode, decode_event, encode, sampling
from llmswitch.providers.anthropic_errors import VARIABLES, native_errors, read
from llmswitch.providers.base import IMAGES, PDF, Endpoint, Offers, Vendor, endpoint_url
from llmswitch.providers.failures import UndecodableError, translated
from llmswitch.providers.values import Halves, token_count
from llmswitch.types import Chunk, Request, Response, Usage

__all__ = ["VENDOR", "AnthropicProvider"]

_BASE_URL = "https://api.anthropic.com"
_PATH = "/v1/messages"
_COUNT_PATH = "/v1/messages/count_tokens"
#: what of a call's body counting takes (anthropic 2.12, messages.count_tokens)
_COUNTED = ("model", "messages", "system", "output_config")


def _configure(settings: Settings) -> Endpoint:
    key = settings.secret("ANTHROPIC_API_KEY")
    if key is None:
        raise ConfigError(
            "anthropic needs a key: set ANTHROPIC_API_KEY in a profile or in the environment.", provider="anthropic"
        )
    # the SDK adds /v1 itself, and the address is often copied with it
    base_url = endpoint_url(settings, "ANTHROPIC_BASE_URL", _BASE_URL).removesuffix("/v1")
    return Endpoint(
        provider="anthropic",
        base_url=base_url,
        model=settings.get("ANTHROPIC_MODEL"),
        api_key=key,
        connect_timeout_s=settings.seconds("LLM_CONNECT_TIMEOUT"),
    )


class AnthropicProvider:
    """One endpoint's adapter. It translates and no more: every call is one HTTP request."""

    def __init__(self, endpoint: Endpoint, *, wall: Callable[[], float] = time.time) -> None:
        from anthropic import AsyncStream
        from anthropic.types import Message as Answer
        from anthropic.types import RawMessageStreamEvent

        self._endpoint = endpoint
        self._wall = wall
        self._answer = Answer
        self._stream_class = AsyncStream[RawMessageStreamEvent]
        self._native_errors = native_errors()
        self._client = client(endpoint)

    async def complete(self, request: Request) -> Response:
        """The whole answer in one piece; raises a ProviderError."""
        body = encode(self._endpoint, replace(request, stream=False))
        with self._translated(request):
            answer = await self._client.post(
                _PATH, cast_to=self._answer, body=body, options={"headers": _headers(request)}
            )
            return replace(decode(self._endpoint, request, answer), request_id=answer._request_id)

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The answer as it comes; raises a ProviderError. Closing it closes the connection."""
        body = encode(self._endpoint, replace(request, stream=True))
        usage, answered, halves = Usage(), False, Halves()
        with self._translated(request):
            events = await self._client.post(
                _PATH,
                cast_to=self._answer,
                body=body,
                options={"headers": _headers(request)},
                stream=True,
                stream_cls=self._stream_class,
            )
            async with events:
                yield Chunk(request_id=events.response.headers.get("request-id"))
                async for event in events:
                    chunk = decode_event(event, usage)
                    if chunk is not None:
                        usage, answered = chunk.usage or usage, True
                        yield halves.join(chunk)
            if not answered:
                raise UndecodableError("it holds no event")
            for chunk in halves.rest():
                yield chunk

    async def count(self, request: Request) -> int | None:
        """Tokens of the request, by `messages.count_tokens`; raises a ProviderError."""
        import httpx2

        body = encode(self._endpoint, replace(request, stream=False))
        with self._translated(request):
            reply = await self._client.post(
                _COUNT_PATH, cast_to=httpx2.Response, body={name: body[name] for name in _COUNTED if name in body}
            )
            raw = reply.json()
        return token_count(raw.get("input_tokens")) if isinstance(raw, dict) else None

    async def aclose(self) -> None:
        """Release every socket."""
        await self._client.close()

    def _translated(self, request: Request) -> AbstractContextManager[None]:
        return translated(
            self._native_errors,
            lambda error: read(error, request.parameters, self._wall()),
            endpoint=self._endpoint,
            request_model=request.model,
            variables=VARIABLES,
        )


def _headers(request: Request) -> dict[str, str]:
    sampled = any(value is not None for value in sampling(request.parameters).values())
    return dict(SAMPLING_HEADERS) if sampled else {}


_REHEARSAL = """event: content_block_delta
data: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "-"}}

event: message_delta
data: {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}

"""

VENDOR = Vendor(
    key="anthropic",
    title="Anthropic",
    needs=("ANTHROPIC_API_KEY",),
    model_variable="ANTHROPIC_MODEL",
    configure=_configure,
    connect=AnthropicProvider,
    preview=encode,
    default_model="claude-haiku-5-5",
    accepts=IMAGES | PDF,
    offers=Offers(schema=True, batch=True, caching=True),
    default_max_tokens=MAX_TOKENS,
    asks=("ANTHROPIC_API_KEY", "ANTHROPIC_MODEL"),
    rehearsal=_REHEARSAL,
    counts=True,
    batch=BATCHING,
)
