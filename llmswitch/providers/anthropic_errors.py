"""What a failed call to Anthropic means: tables from the SDK's exceptions, the vendor's error types and the status.

Facts are those of anthropic 2.12.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from llmswitch.errors import (
    AuthenticationError,
    BadRequestError,
    CallConnectionError,
    CallTimeoutError,
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
from llmswitch.providers.base import Variables
from llmswitch.providers.failures import UNREADABLE, Failure
from llmswitch.types import Parameters

if TYPE_CHECKING:
    import anthropic

__all__ = ["ERROR_TYPES", "SDK_ERRORS", "VARIABLES", "native_errors", "read"]

VARIABLES = Variables(key="ANTHROPIC_API_KEY", url="ANTHROPIC_BASE_URL", model="ANTHROPIC_MODEL")

#: the SDK's exception -> ours, by name so that the SDK need not be imported; the most specific class counts
SDK_ERRORS: Mapping[str, type[ProviderError]] = {
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
ERROR_TYPES: Mapping[str, type[ProviderError]] = {
    "invalid_request_error": BadRequestError,
    "authentication_error": AuthenticationError,
    "billing_error": QuotaError,
    "permission_error": PermissionDeniedError,
    "not_found_error": NotFoundError,
    "request_too_large": ContextLengthError,
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


def native_errors() -> tuple[type[Exception], ...]:
    """What a call can raise. Imports the SDK."""
    import anthropic

    from llmswitch.providers.http import HTTP_ERRORS

    return (anthropic.AnthropicError, *HTTP_ERRORS, *_UNDECODABLE)


def read(error: Exception, parameters: Parameters, now: float) -> Failure:
    """What `error` means for a request with `parameters`; `now` is epoch seconds."""
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
        parameter=_refused_parameter(said, parameters) if kind is BadRequestError else None,
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
    return next((SDK_ERRORS[name] for name in names if name in SDK_ERRORS), None)


def _status_kind(error: anthropic.APIStatusError) -> type[ProviderError]:
    """By its class, then by the vendor's `error.type`, then by its status."""
    hundreds = {3: CallConnectionError, 4: BadRequestError}
    by_status = hundreds.get(error.status_code // 100, ServerError)
    known = _by_class(error) or _STATUSES.get(error.status_code)
    return known or ERROR_TYPES.get(str(error.type), by_status)


def _refused_parameter(message: str, parameters: Parameters) -> str | None:
    """The parameter that a 400's message names, where it was set; None otherwise."""
    for marker, name in _PARAMETER_MARKERS.items():
        if marker in message and getattr(parameters, name) is not None:
            return name
    return None
