"""A rendered prompt as what is sent: text, or the messages of a chat in JSON or YAML."""

from __future__ import annotations

import json
from typing import Any

from llmswitch.errors import ConfigError
from llmswitch.suites.templates import RenderError
from llmswitch.suites.yaml12 import YamlError, parse_yaml
from llmswitch.types import Message

__all__ = ["conversation"]

_SYSTEM = ("system", "developer")


def conversation(prompt: str) -> tuple[str | None, tuple[Message, ...]]:
    """The system prompt and the messages of `prompt`; text that is no chat is one message. Raises RenderError."""
    chat = _chat(prompt)
    if chat is None:
        return None, (Message("user", prompt),)
    system: list[str] = []
    messages: list[Message] = []
    for one in chat:
        role, text = str(one.get("role")), _text(one)
        if role in _SYSTEM and not messages:
            system.append(text)
        elif role == "user":
            messages.append(Message("user", text))
        elif role == "assistant":
            messages.append(Message("assistant", text))
        elif role in _SYSTEM:
            raise RenderError("a system message must come before all others: not every vendor takes it later.")
        else:
            raise RenderError(f"a message's role must be system, user or assistant, not {role[:40]!r}.")
    if not messages:
        raise RenderError("a chat needs a message of the user.")
    return "\n\n".join(system) or None, tuple(messages)


def _chat(prompt: str) -> list[dict[str, Any]] | None:
    """The messages in `prompt`, None where it is plain text."""
    start = prompt.lstrip()
    found: Any = None
    if start.startswith("- role:"):
        try:
            found, _ = parse_yaml(prompt)
        except YamlError as error:
            raise RenderError(f"this chat is not YAML: {error.message}") from error
        except ImportError as error:
            raise ConfigError("a chat in YAML needs the extra: type pip install 'llmswitch[bench]'.") from error
    elif start.startswith("["):
        try:
            found = json.loads(prompt)
        except (ValueError, RecursionError):
            return None
    if not isinstance(found, list) or not found or not all(isinstance(one, dict) and "role" in one for one in found):
        return None
    return found


def _text(message: dict[str, Any]) -> str:
    more = [key for key in message if key not in ("role", "content", "name")]
    content = message.get("content")
    if more:
        raise RenderError(f"a message's {more[0][:40]!r} cannot be taken: only texts are sent.")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [None]
    texts = [part.get("text") if isinstance(part, dict) else None for part in parts]
    if all(isinstance(text, str) for text in texts):
        return "\n".join(str(text) for text in texts)
    raise RenderError("a message's content must be text, or a list of parts with text.")
