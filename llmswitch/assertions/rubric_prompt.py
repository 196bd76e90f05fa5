"""A suite's own prompt for the judge (`rubricPrompt`), used as promptfoo does: with nothing around what it inserts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from llmswitch.assertions.js import parse
from llmswitch.assertions.lenient import load_yaml
from llmswitch.types import Message

__all__ = ["Chat", "Render", "as_json", "inserted", "rendered"]

#: a template and its variables -> text
Render = Callable[[str, Mapping[str, Any]], str]


class Chat(NamedTuple):
    """What is sent to the judge."""

    messages: tuple[Message, ...]
    system: str | None = None


def as_json(value: Any) -> str:
    """Compactly, as JavaScript writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def rendered(prompt: Any, render: Render, variables: Mapping[str, Any]) -> Chat:
    """`prompt` is text, JSON, or messages; of those each text is a template, so that nothing inserted is markup."""
    # objects are inserted as JSON
    shown = {name: _shown(one) for name, one in variables.items()}
    if isinstance(prompt, str):
        try:
            prompt = parse(prompt)
        except (ValueError, RecursionError):
            return _messages(render(str(prompt), shown))
    return _messages(as_json(_filled(prompt, lambda text: render(text, shown))))


def _shown(value: Any) -> Any:
    if isinstance(value, list):
        return [as_json(one) if isinstance(one, dict | list) else one for one in value]
    return as_json(value) if isinstance(value, dict) else value


def _filled(value: Any, fill: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return fill(value)
    if isinstance(value, list):
        return [_filled(one, fill) for one in value]
    return {key: _filled(one, fill) for key, one in value.items()} if isinstance(value, dict) else value


def _messages(text: str) -> Chat:
    """A chat as JSON or as YAML, or else one message of the user's."""
    try:
        chat = load_yaml(text) if text.lstrip().startswith("- role:") else parse(text)
    except (ValueError, RecursionError):
        chat = None
    if not isinstance(chat, list) or not all(isinstance(one, dict) and "role" in one for one in chat):
        return Chat((Message("user", text),))
    told = [(str(one["role"]), _content(one.get("content"))) for one in chat]
    system = "\n\n".join(content for role, content in told if role in ("system", "developer")) or None
    said = [
        Message("assistant" if role == "assistant" else "user", content)
        for role, content in told
        if role not in ("system", "developer")
    ]
    # of instructions alone, no vendor makes a conversation
    return Chat(tuple(said), system) if said else Chat((Message("user", system or ""),))


def _content(content: Any) -> str:
    parts = content if isinstance(content, list) else [content]
    return "\n".join(str(one.get("text", "")) if isinstance(one, dict) else str(one or "") for one in parts)


def inserted(text: str) -> Any:
    """An answer that is a JSON object or list is inserted compactly, as promptfoo does."""
    try:
        value = parse(text)
    except (ValueError, RecursionError):
        return text
    return as_json(value) if isinstance(value, dict | list) else text
