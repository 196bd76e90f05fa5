"""What a failed chat-completions call means: tables from the vendor's codes, the status and the SDK's exception.

The most specific says it: a code in the error's body, then the HTTP status, then the type of an error event, which
has no status, then the exception itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from llmswitch.errors import (
    AuthenticationError,
    BadRequestError,
    CallConnectionError,
    CallTimeoutError,
    ContentFilterError,
    ContextLengthError,
    MalformedError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProviderError,
    QuotaError,
    RateLimitError,
    ServerError,
    TruncatedError,
)
from llmswitch.providers.chat_codec import sent_request_id
from llmswitch.providers.failures import UNREADABLE, Failure

if TYPE_CHECKING:
    from openai import APIError

__all__ = ["native_errors", "read"]


#: `code`, `type` or Azure's `innererror.code` in an error's body, where it says more than the status
_CODES: Mapping[str, type[ProviderError]] = {
    "context_length_exceeded": ContextLengthError,
    "string_above_max_length": ContextLengthError,
    "exceed_context_size_error": ContextLengthError,  # llama.cpp
    "content_filter": ContentFilterError,
    "content_policy_violation": ContentFilterError,
    "image_content_policy_violation": ContentFilterError,
    "misalignment_policy_violation": ContentFilterError,
    "bio_policy": ContentFilterError,
    "invalid_prompt": ContentFilterError,  # a prompt that the usage policy refuses, by its own message
    "ResponsibleAIPolicyViolation": ContentFilterError,  # Azure
    "model_not_found": NotFoundError,
    "DeploymentNotFound": NotFoundError,  # Azure
    "invalid_api_key": AuthenticationError,
    "insufficient_quota": QuotaError,
    "billing_hard_limit_reached": QuotaError,
    "rate_limit_exceeded": RateLimitError,
    "overloaded": OverloadedError,
    "overloaded_error": OverloadedError,
    "engine_overloaded": OverloadedError,
    "slow_down": OverloadedError,
}

#: 402 is a used-up balance (OpenRouter, DeepSeek), as insufficient_quota is. 413 is a prompt with attachments that
#: the server takes no more of: what helps is what helps against a full context window. 409 and 425 pass by waiting.
_STATUSES: Mapping[int, type[ProviderError]] = {
    401: AuthenticationError,
    402: QuotaError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: CallTimeoutError,
    409: ServerError,
    410: NotFoundError,
    413: ContextLengthError,
    425: ServerError,
    429: RateLimitError,
    503: OverloadedError,
    529: OverloadedError,
}
#: by hundreds: a redirect is not followed, so that nothing answered
_STATUS_CLASSES: Mapping[int, type[ProviderError]] = {3: CallConnectionError, 4: BadRequestError, 5: ServerError}

#: the `type` of an error event in a stream
_EVENT_TYPES: Mapping[str, type[ProviderError]] = {
    "invalid_request_error": BadRequestError,
    "BadRequestError": BadRequestError,
    "authentication_error": AuthenticationError,
    "permission_error": PermissionDeniedError,
    "not_found_error": NotFoundError,
    "rate_limit_error": RateLimitError,
    "tokens": RateLimitError,
    "requests": RateLimitError,
    "timeout": CallTimeoutError,
}


def native_errors() -> dict[type[Exception], type[ProviderError]]:
    """What a call can raise -> ours, the first match in order counts. Imports the SDK."""
    import openai

    from llmswitch.providers.http import HTTP_ERRORS

    return {
        openai.APITimeoutError: CallTimeoutError,
        openai.APIConnectionError: CallConnectionError,
        openai.APIResponseValidationError: MalformedError,
        openai.OAuthError: AuthenticationError,
        openai.AuthenticationError: AuthenticationError,
        openai.PermissionDeniedError: PermissionDeniedError,
        openai.NotFoundError: NotFoundError,
        openai.RateLimitError: RateLimitError,
        openai.ConflictError: ServerError,
        openai.BadRequestError: BadRequestError,
        openai.UnprocessableEntityError: BadRequestError,
        openai.InternalServerError: ServerError,
        openai.APIStatusError: ServerError,
        openai.APIError: ServerError,  # an error event without a type that is known
        openai.LengthFinishReasonError: TruncatedError,
        openai.ContentFilterFinishReasonError: ContentFilterError,
        openai.WebSocketConnectionClosedError: CallConnectionError,
        openai.WebSocketQueueFullError: CallConnectionError,
        openai.OpenAIError: ServerError,
        **HTTP_ERRORS,
        **UNREADABLE,
    }


def read(error: Exception, *, names: Mapping[str, str], request_id: str | None, now: float) -> Failure:
    """What `error` means. `names` maps a vendor's parameter to ours, `now` is epoch seconds."""
    import openai

    from llmswitch.providers.ratelimits import retry_after

    kind, status, parameter, wait = _by_type(error), None, None, None
    if isinstance(error, openai.APIError):
        status = _status(error)
        kind = _by_body(error, status) or kind
        parameter = names.get(error.param, error.param) if kind is BadRequestError and error.param else None
    if isinstance(error, openai.APIStatusError):
        request_id = sent_request_id(error.response.headers)
        wait = retry_after(error.response.headers, now)
    return Failure(
        kind,
        said=_said(error),
        flaw=str(error.__cause__ or error) if kind is MalformedError and not isinstance(error, ValueError) else None,
        status=status,
        request_id=request_id,
        retry_after_s=wait,
        parameter=parameter,
    )


def _by_type(error: BaseException) -> type[ProviderError]:
    """The table's kind. What the SDK calls a connection error is told apart by its cause, where the table has it."""
    table = native_errors()
    kind = next((ours for native, ours in table.items() if isinstance(error, native)), ServerError)
    cause = error.__cause__
    if kind is CallConnectionError and cause is not None and isinstance(cause, tuple(table)):
        return _by_type(cause)
    return kind


def _status(error: APIError) -> int | None:
    """The HTTP status; that of an error event is its `code` where that is a number (OpenRouter, vLLM)."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return status
    return int(error.code) if error.code and re.fullmatch("[45][0-9]{2}", error.code) else None


def _by_body(error: APIError, status: int | None) -> type[ProviderError] | None:
    inner = error.body.get("innererror") if isinstance(error.body, dict) else None
    words = [error.code, error.type, inner.get("code") if isinstance(inner, dict) else None]
    for word in words:
        if isinstance(word, str) and word in _CODES:
            return _CODES[word]
    if status is not None:
        return _STATUSES.get(status) or _STATUS_CLASSES.get(status // 100)
    return next((_EVENT_TYPES[word] for word in words if isinstance(word, str) and word in _EVENT_TYPES), None)


def _said(error: Exception) -> str | None:
    """The vendor's own words: from its JSON, or plain text; empty where it used none, None where it did not answer."""
    import openai

    if not isinstance(error, openai.APIError) or isinstance(error, openai.APIConnectionError):
        return None
    said = error.body
    if isinstance(said, dict):
        said = said.get("message") or said.get("detail") or said
    if isinstance(said, dict | list):
        try:
            return json.dumps(said, ensure_ascii=False, default=str)
        except RecursionError:  # it was just shallow enough to be read
            return ""
    return said if isinstance(said, str) else ""
