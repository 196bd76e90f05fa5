"""Every error llmswitch raises, by kind.

    LLMSwitchError                 kind           exit
      ConfigError                  config            2
        StorageError               config            2
      BudgetError                  budget            5
      ProviderError                                  1
        AuthenticationError        authentication
        PermissionDeniedError      permission
        NotFoundError              not_found
        BadRequestError            bad_request
          ContextLengthError       context_length
        ContentFilterError         content_filter
        RateLimitError             rate_limit
          QuotaError               rate_limit
        OverloadedError            overloaded
          CircuitOpenError         overloaded
        ServerError                server
        CallTimeoutError           timeout
        CallConnectionError        connection
        TruncatedError             truncated
        MalformedError             malformed
      CallInterruptedError         interrupted      130

An error carries what the vendor said (`status`, `request_id`, `retry_after_s` in seconds), who was asked
(`provider`, `request_model`) and the attempts made so far. Its text is written for the person at the shell:
what happened, why, and what to type next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmswitch.types import Attempt

__all__ = [
    "ERRORS_BY_KIND",
    "AuthenticationError",
    "BadRequestError",
    "BudgetError",
    "CallConnectionError",
    "CallInterruptedError",
    "CallTimeoutError",
    "CircuitOpenError",
    "ConfigError",
    "ContentFilterError",
    "ContextLengthError",
    "LLMSwitchError",
    "MalformedError",
    "NotFoundError",
    "OverloadedError",
    "PermissionDeniedError",
    "ProviderError",
    "QuotaError",
    "RateLimitError",
    "ServerError",
    "StorageError",
    "TruncatedError",
]


class LLMSwitchError(Exception):
    """The root. `kind` and `exit_code` belong to the class; everything else to the one failure."""

    kind = "config"
    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        request_model: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
        parameter: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.provider = provider
        self.request_model = request_model
        self.status = status
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        #: the request parameter the vendor refused, where it names one
        self.parameter = parameter
        self.attempts: tuple[Attempt, ...] = ()
        #: text the model had already sent when the call failed
        self.partial_text = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """What a terminal shows of it."""
        return (self.message,)

    def add(self, text: str) -> None:
        """Say more: a sentence after the message."""
        self.message = f"{self.message} {text}"
        self.args = (self.message,)

    def as_dict(self) -> dict[str, Any]:
        """The contract's error document, ready for JSON."""
        return {
            "error": {
                "kind": self.kind,
                "message": self.message,
                "provider": self.provider,
                "request_model": self.request_model,
                "status": self.status,
                "request_id": self.request_id,
                "retry_after_s": self.retry_after_s,
            }
        }


class ConfigError(LLMSwitchError):
    """Usage or configuration: nothing was sent."""


class BudgetError(LLMSwitchError):
    """A budget would be exceeded: nothing was sent."""

    kind = "budget"
    exit_code = 5


class StorageError(ConfigError):
    """Cache, ledger or an output file cannot be read or written. `ask` warns and goes on; other commands fail."""


class CallInterruptedError(LLMSwitchError):
    """Ctrl-C ended one of several calls; those that were over stay."""

    kind = "interrupted"
    exit_code = 130


class ProviderError(LLMSwitchError):
    """The vendor, or the way to it, failed."""

    kind = "server"
    exit_code = 1


class AuthenticationError(ProviderError):
    """The key was rejected (401)."""

    kind = "authentication"


class PermissionDeniedError(ProviderError):
    """The key is known and may not do this (403)."""

    kind = "permission"


class NotFoundError(ProviderError):
    """No such model, deployment or path (404)."""

    kind = "not_found"


class BadRequestError(ProviderError):
    """The vendor refused the request itself (400, 422)."""

    kind = "bad_request"


class ContextLengthError(BadRequestError):
    """The prompt does not fit the model's context window."""

    kind = "context_length"


class ContentFilterError(ProviderError):
    """The vendor's safety system blocked prompt or answer, and no text came."""

    kind = "content_filter"


class RateLimitError(ProviderError):
    """Too many requests, or the quota is used up (429)."""

    kind = "rate_limit"


class QuotaError(RateLimitError):
    """The quota or the balance is used up (402, some 429s): waiting a little does not help."""


class OverloadedError(ProviderError):
    """The vendor is over capacity (503, 529)."""

    kind = "overloaded"


class CircuitOpenError(OverloadedError):
    """The target failed too often of late: it is left alone for a while, and nothing was sent."""


class ServerError(ProviderError):
    """The vendor failed (5xx)."""

    kind = "server"


class CallTimeoutError(ProviderError):
    """A deadline passed: connecting, first token, silence between tokens, or the whole call."""

    kind = "timeout"


class CallConnectionError(ProviderError):
    """No connection, or it was cut."""

    kind = "connection"


class TruncatedError(ProviderError):
    """The stream ended without a finish reason: what came is not the whole answer."""

    kind = "truncated"


class MalformedError(ProviderError):
    """The answer could not be decoded, or does not match the schema that was asked for."""

    kind = "malformed"


def _leaves(root: type[LLMSwitchError]) -> list[type[LLMSwitchError]]:
    found = [root]
    for child in root.__subclasses__():
        found.extend(_leaves(child))
    return found


#: kind -> class; the more specific class wins where one inherits its parent's kind.
ERRORS_BY_KIND: dict[str, type[LLMSwitchError]] = {cls.kind: cls for cls in _leaves(LLMSwitchError)}
