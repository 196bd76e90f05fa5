"""promptfoo's provider ids as data: which of our providers a first word means, and which ids nobody can be asked by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["FAMILIES", "REFUSED", "RUNS_CODE", "Family", "family_of"]


class Family(NamedTuple):
    """What the first word of an id is to us: `said` are words after it that mean a chat, `refused` those of interfaces
    that are not asked for text. `url` and `keys` name the variables of its address and its key."""

    provider: str
    said: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    url: str = ""
    keys: tuple[str, ...] = ()


_EMBEDDINGS = frozenset(("embedding", "embeddings"))
_PICTURES = frozenset(("image", "video", "voice"))
_NOT_TEXT = (
    _EMBEDDINGS
    | _PICTURES
    | frozenset(("agents", "assistant", "audio", "chatkit", "codex", "codex-app-server", "codex-sdk", "completion"))
    | frozenset(("foundry-agent", "live", "moderation", "realtime", "speech", "transcription", "tts"))
)
_CHAT = frozenset(("chat",))
_CHATS = frozenset(("chat", "responses"))
_ANTHROPIC = ("ANTHROPIC_BASE_URL", ("ANTHROPIC_API_KEY",))
_AZURE = ("AZURE_OPENAI_ENDPOINT", ("AZURE_OPENAI_API_KEY", "AZURE_API_KEY"))
_GEMINI = ("GOOGLE_GEMINI_BASE_URL", ("GOOGLE_API_KEY", "GEMINI_API_KEY"))

FAMILIES: Mapping[str, Family] = {
    "openai": Family("openai", _CHATS, _NOT_TEXT, "OPENAI_BASE_URL", ("OPENAI_API_KEY",)),
    "anthropic": Family(
        "anthropic", frozenset(("messages",)), _NOT_TEXT | {"claude-agent-sdk", "claude-code"}, *_ANTHROPIC
    ),
    "claude": Family("claude", frozenset(), frozenset(), *_ANTHROPIC),
    "google": Family("google", _CHAT, _NOT_TEXT, *_GEMINI),
    "gemini": Family("gemini", frozenset(), frozenset(), *_GEMINI),
    "azure": Family("azure", _CHATS, _NOT_TEXT, *_AZURE),
    "azureopenai": Family("azure", _CHATS, _NOT_TEXT, *_AZURE),
    # Ollama puts a chat's template around a completion's prompt as well
    "ollama": Family("ollama", frozenset(("chat", "completion")), _EMBEDDINGS),
    "groq": Family("groq", frozenset(("responses",))),
    "mistral": Family("mistral", _CHAT, _EMBEDDINGS),
    "xai": Family("xai", frozenset(("responses",)), _PICTURES | _EMBEDDINGS),
    "togetherai": Family("together", _CHAT, _EMBEDDINGS | {"completion"}, "", ("TOGETHER_API_KEY",)),
}
RUNS_CODE = "it runs code or asks an address of the suite's own, and only models are asked here"
#: first words of ids that nobody is asked by, and why
REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("exec", "file", "python", "javascript", "golang", "ruby", "package"), RUNS_CODE),
    **dict.fromkeys(("http", "https", "webhook", "ws", "wss", "websocket", "mcp", "browser", "a2a"), RUNS_CODE),
    **dict.fromkeys(("promptfoo", "sequence", "simulated-user"), "it is a part of promptfoo itself"),
    "echo": "it gives the prompt back, and only models are asked here",
    "manual-input": "it waits for somebody to type",
    "vertex": "write gemini:MODEL, and set GOOGLE_PROJECT_ID and GOOGLE_LOCATION for Vertex AI",
}


def family_of(provider: str) -> Family:
    """What is known of one of our providers by its name, its variables among it."""
    name = provider.upper().replace("-", "_")
    found = next((one for one in FAMILIES.values() if one.provider == provider), Family(provider))
    return found._replace(url=found.url or f"{name}_BASE_URL", keys=found.keys or (f"{name}_API_KEY",))
