"""What a failed call to Gemini means: tables from Google's reasons, words and numbers, and the SDK's exceptions.

The most specific says it: a reason in the error's details, then the HTTP status, then Google's word for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

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
from llmswitch.types import Parameters, Request

if TYPE_CHECKING:
    from google.genai.errors import APIError

__all__ = ["KEY_VARIABLES", "native_errors", "read"]

#: what to check where the calls go with a key
KEY_VARIABLES = Variables(key="GOOGLE_API_KEY", url="GOOGLE_GEMINI_BASE_URL", model="GEMINI_MODEL")

#: `reason` of the google.rpc.ErrorInfo in an error's details -> ours: it says more than the status
_REASONS: Mapping[str, type[ProviderError]] = {
    "API_KEY_INVALID": AuthenticationError,
    "ACCESS_TOKEN_EXPIRED": AuthenticationError,
    "ACCESS_TOKEN_TYPE_UNSUPPORTED": AuthenticationError,
    "CREDENTIALS_MISSING": AuthenticationError,
    "API_KEY_SERVICE_BLOCKED": PermissionDeniedError,
    "API_KEY_IP_ADDRESS_BLOCKED": PermissionDeniedError,
    "API_KEY_HTTP_REFERRER_BLOCKED": PermissionDeniedError,
    "SERVICE_DISABLED": PermissionDeniedError,
    "CONSUMER_INVALID": PermissionDeniedError,
    "BILLING_DISABLED": PermissionDeniedError,
    "RATE_LIMIT_EXCEEDED": RateLimitError,
}

#: `status` of an error -> ours, where it says more than the number: a country or an account that gets no answers
_STATUS_WORDS: Mapping[str, type[ProviderError]] = {"FAILED_PRECONDITION": PermissionDeniedError}

_STATUSES: Mapping[int, type[ProviderError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: CallTimeoutError,
    409: ServerError,
    413: ContextLengthError,
    425: ServerError,
    429: RateLimitError,
    499: CallConnectionError,
    503: OverloadedError,
    504: CallTimeoutError,
    529: OverloadedError,
}
_STATUS_CLASSES: Mapping[int, type[ProviderError]] = {2: MalformedError, 3: CallConnectionError, 4: BadRequestError}

#: in the `quotaId` of a 429's violations: used up until tomorrow, such as GenerateRequestsPerDayPerProjectPerModel
_DAILY = "PerDay"

#: A 400 has no reason for this; the vendor says "The input token count (1200293) exceeds the maximum number of
#: tokens allowed (1048576)."
_CONTEXT_MARKERS = ("input token count", "exceeds the maximum number of tokens")

#: Word in what a 400 says, or in the field it complains of -> the parameter it refuses, looked for in this order and
#: only where it was set.
_PARAMETER_MARKERS: Mapping[str, str] = {
    "temperature": "temperature",
    "topp": "top_p",
    "seed": "seed",
    "stopsequence": "stop",
    "thinking": "reasoning_effort",
    "maxoutputtokens": "max_tokens",
}


def native_errors() -> dict[type[Exception], type[ProviderError]]:
    """What a call can raise -> ours, the first match in order counts. Imports the SDK."""
    import google.auth.exceptions
    from google.genai import errors

    from llmswitch.providers.http import HTTP_ERRORS

    return {
        errors.APIError: ServerError,  # by its details and status: see `read`
        errors.UnknownApiResponseError: MalformedError,
        google.auth.exceptions.TransportError: CallConnectionError,
        google.auth.exceptions.GoogleAuthError: AuthenticationError,
        **HTTP_ERRORS,
        **UNREADABLE,  # pydantic's ValidationError among them
        # the SDK takes the JSON apart before it validates it, and an error event apart without looking
        AttributeError: MalformedError,
        TypeError: MalformedError,
    }


def read(error: Exception, request: Request, now: float) -> Failure:
    """What `error` means for `request`; `now` is epoch seconds."""
    import google.auth.exceptions
    from google.genai.errors import APIError

    if not isinstance(error, APIError):
        kind = next(ours for native, ours in native_errors().items() if isinstance(error, native))
        refused = isinstance(error, google.auth.exceptions.GoogleAuthError) and kind is AuthenticationError
        return Failure(kind, said=str(error) if refused else None)
    said = str(error.message or "")
    details = _details(error)
    kind = _kind(error, said, details)
    return Failure(
        kind,
        said=said,
        status=error.code,
        request_id=next((str(item["requestId"]) for item in details if item.get("requestId")), None),
        retry_after_s=_retry_after(error, details, now),
        parameter=_refused_parameter(said, details, request.parameters) if kind is BadRequestError else None,
        secrets=_sent_secrets(error),
    )


def _details(error: APIError) -> list[dict[str, Any]]:
    """The google.rpc messages in an error's body: ErrorInfo, RetryInfo, BadRequest, RequestInfo."""
    body = error.details.get("error") if isinstance(error.details, dict) else None
    items = body.get("details") if isinstance(body, dict) else None
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _kind(error: APIError, said: str, details: list[dict[str, Any]]) -> type[ProviderError]:
    if _used_up(details):
        return QuotaError
    for item in details:
        reason = str(item.get("reason"))
        if reason in _REASONS:
            return _REASONS[reason]
    by_number = _STATUSES.get(error.code) or _STATUS_CLASSES.get(error.code // 100, ServerError)
    if by_number is not BadRequestError:
        return by_number
    if all(marker in said.lower() for marker in _CONTEXT_MARKERS):
        return ContextLengthError
    return _STATUS_WORDS.get(str(error.status), by_number)


def _used_up(details: list[dict[str, Any]]) -> bool:
    """Whether a limit of the day is among those that a 429 names in its google.rpc.QuotaFailure."""
    return any(_DAILY in str(violation.get("quotaId")) for violation in _listed(details, "violations"))


def _listed(details: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """The objects in the lists called `name` of all details."""
    lists = [item[name] for item in details if isinstance(item.get(name), list)]
    return [entry for found in lists for entry in found if isinstance(entry, dict)]


def _retry_after(error: APIError, details: list[dict[str, Any]], now: float) -> float | None:
    from llmswitch.providers.ratelimits import retry_after

    for item in details:
        delay = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)s", str(item.get("retryDelay")))
        if delay:
            return float(delay[1])
    headers = getattr(error.response, "headers", None)
    return None if headers is None else retry_after(headers, now)


def _refused_parameter(said: str, details: list[dict[str, Any]], parameters: Parameters) -> str | None:
    """The parameter that a 400 names, where it was set; None otherwise."""
    fields = [str(violation.get("field")) for violation in _listed(details, "fieldViolations")]
    told = re.sub(r"[_ ]", "", " ".join((*fields, said))).lower()
    for marker, name in _PARAMETER_MARKERS.items():
        if marker in told and getattr(parameters, name) is not None:
            return name
    return None


def _sent_secrets(error: APIError) -> tuple[str, ...]:
    """The bearer token of the request, which Vertex AI gets and no endpoint of ours knows."""
    headers = getattr(getattr(error.response, "request", None), "headers", {})
    return (str(headers.get("authorization", "")).removeprefix("Bearer "),)
