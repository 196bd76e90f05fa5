"""Anthropic's Messages API, through its own SDK (facts read from anthropic 2.12).

The body goes through `client.post`, which is what the SDK's `messages.create` calls: that one has no argument for
temperature, refuses long answers that are not streamed, and warns about old models on stderr.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING

from llmswitch.errors import (
    AuthenticationError,
    BadRequestError,
    CallConnectionError,
    CallTimeoutError,
    ConfigError,
    ContextLengthError,
    MalformedError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProviderError,
    QuotaError,
    RateLimitError,
    ServerError,
)
from llmswitch.profiles import Settings
from llmswitch.providers.anthropic_codec import MAX_TOKENS, decode, decode_event, encode, sampling
from llmswitch.providers.base import IMAGES, PDF, Endpoint, Offers, Variables, Vendor, endpoint_url
from llmswitch.providers.failures import UNREADABLE, Failure, UndecodableError, translated
from llmswitch.providers.values import Halves, token_count
from llmswitch.types import Chunk, Parameters, Request, Response, Usage

if TYPE_CHECKING:
    import anthropic

__all__ = ["VENDOR", "AnthropicProvider"]

_BASE_URL = "https://api.anthropic.com"
_PATH = "/v1/messages"
_COUNT_PATH = "/v1/messages/count_tokens"
#: what of a call's body counting takes (anthropic 2.12, messages.count_tokens)
_COUNTED = ("model", "messages", "system", "output_config")

#: under the version the SDK sends by itself, sampling parameters are refused; older models take them under this one
_SAMPLING_HEADERS = {"anthropic-version": "2023-06-01"}

#: the SDK's exception -> ours, by name so that the SDK need not be imported; the most specific class counts
_SDK_ERRORS: Mapping[str, type[ProviderError]] = {
    "APITimeoutError": CallTimeoutError,
    "APIConnectionError": CallConnectionError,
    "APIResponseValidationError": MalformedError,
    "BadRequestError": BadRequestError,
    "AuthenticationError": AuthenticationError,
    "PaymentRequiredError": QuotaError,
    "PermissionDeniedError": PermissionDeniedError,
    "NotFoundError": NotFoundError,
    "RequestTimeoutError": CallTimeoutError,
    "ConflictError": ServerError,  # a lock that another request holds: the SDK, too, would ask again
    "PreconditionFailedError": BadRequestError,
    "ContentTooLargeError": ContextLengthError,
    "UnprocessableEntityError": BadRequestError,
    "RateLimitError": RateLimitError,
    "RequestHeaderFieldsTooLargeError": BadRequestError,
    "ClientClosedRequestError": CallConnectionError,
    "HTTPNotImplementedError": ServerError,
    "ServiceUnavailableError": OverloadedError,
    "GatewayTimeoutError": CallTimeoutError,
    "OverloadedError": OverloadedError,
}

#: `error.type` -> ours, for what has no class of its own: an error event in a stream, an unlisted status
_ERROR_TYPES: Mapping[str, type[ProviderError]] = {
    "invalid_request_error": BadRequestError,
    "authentication_error": AuthenticationError,
    "billing_error": QuotaError,
    "permission_error": PermissionDeniedError,
    "not_found_error": NotFoundError,
    "rate_limit_error": RateLimitError,
    "timeout_error": CallTimeoutError,
    "api_error": ServerError,
    "overloaded_error": OverloadedError,
    "memory_precondition_failed_error": BadRequestError,
    "memory_path_conflict_error": ServerError,
    "conflict_error": ServerError,
}

#: status -> ours, for what the SDK has no class for: it passes by waiting
_STATUSES: Mapping[int, type[ProviderError]] = {425: ServerError}

#: What cannot be decoded. The SDK builds its models without validating them: what an answer lacks is None there.
_UNDECODABLE = (*UNREADABLE, AttributeError, TypeError)

#: A 400 carries no code for these; the vendor's messages hold these words ("prompt is too long: 200001 tokens >
#: 200000 maximum", "input length and `max_tokens` exceed context limit: …").
_CONTEXT_MARKERS = ("prompt is too long", "exceed context limit")

#: the same of a balance: "Your credit balance is too low to access the Anthropic API."
_BALANCE_MARKER = "credit balance is too low"

#: word in the message of a 400 -> the parameter it refuses, looked for in this order and only where it was set
_PARAMETER_MARKERS: Mapping[str, str] = {
    "temperature": "temperature",
    "top_p": "top_p",
    "stop_sequences": "stop",
    "effort": "reasoning_effort",
    "max_tokens": "max_tokens",
}

_VARIABLES = Variables(key="ANTHROPIC_API_KEY", url="ANTHROPIC_BASE_URL", model="ANTHROPIC_MODEL")


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


def _read(error: Exception, request: Request, now: float) -> Failure:
    """What `error` means for `request`; `now` is epoch seconds."""
    import anthropic

    from llmswitch.providers.ratelimits import retry_after

    if not isinstance(error, anthropic.APIStatusError):
        return Failure(_kind(error))
    said = error.api_message if isinstance(error.api_message, str) and error.api_message else str(error)
    kind = _status_kind(error)
    if kind is BadRequestError and any(marker in said.lower() for marker in _CONTEXT_MARKERS):
        kind = ContextLengthError
    elif kind is BadRequestError and _BALANCE_MARKER in said.lower():
        kind = QuotaError
    return Failure(
        kind,
        said=said,
        status=error.status_code,
        request_id=error.request_id,
        retry_after_s=retry_after(error.response.headers, now),
        parameter=_refused_parameter(said, request.parameters) if kind is BadRequestError else None,
    )


def _kind(error: BaseException) -> type[ProviderError]:
    """Of what has no status. What the SDK calls a connection error is told apart by its cause, which it wraps."""
    from llmswitch.providers.http import HTTP_ERRORS

    table = {**HTTP_ERRORS, **dict.fromkeys(_UNDECODABLE, MalformedError)}
    for native in (error.__cause__, error):
        ours = next((ours for cls, ours in table.items() if isinstance(native, cls)), None)
        if ours is not None:
            return ours
    return _by_class(error) or ServerError


def _by_class(error: BaseException) -> type[ProviderError] | None:
    names = (cls.__name__ for cls in type(error).__mro__)
    return next((_SDK_ERRORS[name] for name in names if name in _SDK_ERRORS), None)


def _status_kind(error: anthropic.APIStatusError) -> type[ProviderError]:
    """By its class, then by the vendor's `error.type`, then by its status."""
    hundreds = {3: CallConnectionError, 4: BadRequestError}
    by_status = hundreds.get(error.status_code // 100, ServerError)
    known = _by_class(error) or _STATUSES.get(error.status_code)
    return known or _ERROR_TYPES.get(str(error.type), by_status)


def _refused_parameter(message: str, parameters: Parameters) -> str | None:
    """The parameter that a 400's message names, where it was set; None otherwise."""
    for marker, name in _PARAMETER_MARKERS.items():
        if marker in message and getattr(parameters, name) is not None:
            return name
    return None


class AnthropicProvider:
    """One endpoint's adapter. It translates and no more: every call is one HTTP request."""

    def __init__(self, endpoint: Endpoint, *, wall: Callable[[], float] = time.time) -> None:
        import anthropic
        from anthropic.types import Message as Answer
        from anthropic.types import RawMessageStreamEvent

        from llmswitch.providers.http import HTTP_ERRORS, http_client

        assert endpoint.api_key is not None  # noqa: S101  # _configure demands one
        key = endpoint.api_key.reveal()
        # the SDK sends the key as a bearer token; some gateways read this header alone
        headers = {"x-api-key": key, **dict(endpoint.headers)}
        self._endpoint = endpoint
        self._wall = wall
        self._answer = Answer
        self._stream_class = anthropic.AsyncStream[RawMessageStreamEvent]
        self._native_errors: tuple[type[Exception], ...] = (anthropic.AnthropicError, *HTTP_ERRORS, *_UNDECODABLE)
        self._client = anthropic.AsyncAnthropic(
            api_key=key,
            base_url=endpoint.base_url,
            max_retries=0,
            default_headers=headers,
            open_telemetry=False,
            http_client=http_client(endpoint, _VARIABLES.url),
        )
        # ANTHROPIC_CUSTOM_HEADERS has been mixed in by now, and may hold another key: only ours are sent
        self._client._custom_headers = headers

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
            lambda error: _read(error, request, self._wall()),
            endpoint=self._endpoint,
            request=request,
            variables=_VARIABLES,
        )


def _headers(request: Request) -> dict[str, str]:
    sampled = any(value is not None for value in sampling(request.parameters).values())
    return dict(_SAMPLING_HEADERS) if sampled else {}


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
)
