"""The adapter for every server that speaks chat completions, and the SDK client under it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmswitch.providers.base import Endpoint
from llmswitch.providers.chat_codec import Dialect, decode, decode_chunk, sent_request_id
from llmswitch.providers.failures import UndecodableError, translated
from llmswitch.providers.values import Halves
from llmswitch.types import Chunk, Request, Response

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["ChatAdapter", "plain_client", "seal"]

_PATH = "/chat/completions"


def plain_client(
    endpoint: Endpoint, key: str | Callable[[], Awaitable[str]], url_variable: str, *, endless: bool = False
) -> AsyncOpenAI:
    """OpenAI's client for `endpoint`: no retries, no redirects, nothing of the environment in it.

    Raises ConfigError where the endpoint's address, which `url_variable` holds, is none. `endless`: see `http_client`.
    """
    from openai import AsyncOpenAI

    from llmswitch.providers.http import http_client

    http = http_client(endpoint, url_variable, endless=endless)
    client = AsyncOpenAI(
        api_key=key,
        base_url=endpoint.base_url,
        timeout=http.timeout,
        max_retries=0,
        http_client=http,
    )
    seal(client, endpoint)
    return client


def seal(client: AsyncOpenAI, endpoint: Endpoint) -> None:
    """Take out of `client` what its constructor took from the environment.

    OPENAI_ORG_ID and OPENAI_PROJECT_ID fill in for None and would go to any host; OPENAI_CUSTOM_HEADERS may hold
    any header, Authorization too, and no argument keeps it out (openai/lib/_client_auth.py).
    """
    client.organization = endpoint.organization
    client.project = endpoint.project
    client._custom_headers = dict(endpoint.headers)


class ChatAdapter:
    """Asks one endpoint. `encode` is the vendor's, so that a preview is what is sent; `wall` gives epoch seconds."""

    def __init__(
        self,
        endpoint: Endpoint,
        client: AsyncOpenAI,
        dialect: Dialect,
        encode: Callable[[Endpoint, Request], dict[str, Any]],
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._endpoint = endpoint
        self._client = client
        self._dialect = dialect
        self._encode = encode
        self._wall = wall

    async def complete(self, request: Request) -> Response:
        """The whole answer; raises a ProviderError."""
        import httpx2
        from openai import APIError

        body = self._encode(self._endpoint, replace(request, stream=False) if request.stream else request)
        with self._translated(request):
            reply = await self._client.post(_PATH, cast_to=httpx2.Response, body=body)
        request_id = sent_request_id(reply.headers)
        with self._translated(request, request_id):
            raw = reply.json()
            if isinstance(raw, dict) and raw.get("error"):  # OpenRouter: a failure under status 200
                raise APIError("an error instead of an answer", reply.request, body=raw["error"])
            return decode(raw, provider=self._endpoint.provider, request_model=request.model, request_id=request_id)

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The answer as it comes; raises a ProviderError. Closing the iterator closes the connection."""
        from openai import AsyncStream

        body = self._encode(self._endpoint, replace(request, stream=True))
        with self._translated(request):
            events = await self._client.post(
                _PATH, cast_to=object, body=body, stream=True, stream_cls=AsyncStream[object]
            )
        request_id = sent_request_id(events.response.headers)
        refused = answered = False
        halves = Halves()
        with self._translated(request, request_id):
            async with events:
                async for raw in events:
                    chunk = decode_chunk(raw, request_id=request_id)
                    if refused and chunk.finish_reason:  # a refusal ends with 'stop'
                        chunk = replace(chunk, finish_reason="content_filter")
                    refused = refused or chunk.finish_reason == "content_filter"
                    answered = True
                    yield halves.join(chunk)
            if not answered:
                raise UndecodableError("it holds no event")
            for chunk in halves.rest():
                yield chunk

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.close()

    def _translated(self, request: Request, request_id: str | None = None) -> AbstractContextManager[None]:
        """`request_id` is that of an answer that came; one that refuses the call brings its own."""
        from llmswitch.providers.chat_errors import native_errors, read

        names = {theirs: ours for ours, theirs in self._dialect.names.items()}
        return translated(
            tuple(native_errors()),
            lambda error: read(error, names=names, request_id=request_id, now=self._wall()),
            endpoint=self._endpoint,
            request_model=request.model,
            variables=self._dialect.variables,
        )
