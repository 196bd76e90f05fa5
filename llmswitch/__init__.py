"""llmswitch: every LLM vendor behind one switch.

    from llmswitch import Switch

    async with Switch.from_profile("production") as switch:
        response = await switch.ask("Why is the sky blue?", target="claude")
        print(response.text, response.cost)

Importing this imports nothing else until a name is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from llmswitch.errors import (
        AuthenticationError,
        BadRequestError,
        BudgetError,
        CallConnectionError,
        CallInterruptedError,
        CallTimeoutError,
        ConfigError,
        ContentFilterError,
        ContextLengthError,
        LLMSwitchError,
        MalformedError,
        NotFoundError,
        OverloadedError,
        PermissionDeniedError,
        ProviderError,
        RateLimitError,
        ServerError,
        StorageError,
        TruncatedError,
    )
    from llmswitch.runs.call import Question
    from llmswitch.switch import Switch
    from llmswitch.types import (
        Attachment,
        Attempt,
        Chunk,
        Cost,
        Message,
        Parameters,
        Response,
        Timing,
        Usage,
    )

#: public name -> the module it lives in
_HOMES = {
    "Attachment": "types",
    "Attempt": "types",
    "AuthenticationError": "errors",
    "BadRequestError": "errors",
    "BudgetError": "errors",
    "CallConnectionError": "errors",
    "CallInterruptedError": "errors",
    "CallTimeoutError": "errors",
    "Chunk": "types",
    "ConfigError": "errors",
    "ContentFilterError": "errors",
    "ContextLengthError": "errors",
    "Cost": "types",
    "LLMSwitchError": "errors",
    "MalformedError": "errors",
    "Message": "types",
    "NotFoundError": "errors",
    "OverloadedError": "errors",
    "Parameters": "types",
    "PermissionDeniedError": "errors",
    "ProviderError": "errors",
    "Question": "runs.call",
    "RateLimitError": "errors",
    "Response": "types",
    "ServerError": "errors",
    "StorageError": "errors",
    "Switch": "switch",
    "Timing": "types",
    "TruncatedError": "errors",
    "Usage": "types",
}

__all__ = [
    "Attachment",
    "Attempt",
    "AuthenticationError",
    "BadRequestError",
    "BudgetError",
    "CallConnectionError",
    "CallInterruptedError",
    "CallTimeoutError",
    "Chunk",
    "ConfigError",
    "ContentFilterError",
    "ContextLengthError",
    "Cost",
    "LLMSwitchError",
    "MalformedError",
    "Message",
    "NotFoundError",
    "OverloadedError",
    "Parameters",
    "PermissionDeniedError",
    "ProviderError",
    "Question",
    "RateLimitError",
    "Response",
    "ServerError",
    "StorageError",
    "Switch",
    "Timing",
    "TruncatedError",
    "Usage",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'llmswitch' has no attribute {name!r}")
    return getattr(import_module(f"llmswitch.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
