"""Whom a suite asks: promptfoo's provider ids, and targets of ours, as targets with their parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

from llmswitch.errors import ConfigError
from llmswitch.suites.files import Files
from llmswitch.suites.model import SuiteTarget
from llmswitch.suites.nodes import Node
from llmswitch.targets import parse_target
from llmswitch.trust import checked_url, is_loopback
from llmswitch.types import Target
from llmswitch.variables import variable

__all__ = ["Providers", "untrusted"]


class _Family(NamedTuple):
    """What a first word of a promptfoo id is to us: `said` are words after it that mean a chat, `refused` those of
    interfaces that are not asked for text."""

    provider: str
    said: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    url: str | None = None


_NOT_TEXT = frozenset(
    (
        *(
            "agents",
            "assistant",
            "audio",
            "chatkit",
            "codex",
            "codex-app-server",
            "codex-sdk",
            "completion",
            "embedding",
        ),
        *("embeddings", "foundry-agent", "image", "live", "moderation", "realtime", "speech", "transcription", "tts"),
        *("video", "voice"),
    )
)
_FAMILIES: Mapping[str, _Family] = {
    "openai": _Family("openai", frozenset(("chat", "responses")), _NOT_TEXT, "OPENAI_BASE_URL"),
    "anthropic": _Family(
        "anthropic",
        frozenset(("messages",)),
        _NOT_TEXT | {"claude-agent-sdk", "claude-code"},
        "ANTHROPIC_BASE_URL",
    ),
    "claude": _Family("claude", url="ANTHROPIC_BASE_URL"),
    "google": _Family("google", frozenset(("chat",)), _NOT_TEXT, "GOOGLE_GEMINI_BASE_URL"),
    "gemini": _Family("gemini", url="GOOGLE_GEMINI_BASE_URL"),
    "azure": _Family("azure", frozenset(("chat", "responses")), _NOT_TEXT, "AZURE_OPENAI_ENDPOINT"),
    "azureopenai": _Family("azure", frozenset(("chat", "responses")), _NOT_TEXT, "AZURE_OPENAI_ENDPOINT"),
    # Ollama puts a chat's template around a completion's prompt as well
    "ollama": _Family("ollama", frozenset(("chat", "completion")), frozenset(("embedding", "embeddings"))),
    "groq": _Family("groq", frozenset(("responses",))),
    "mistral": _Family("mistral", frozenset(("chat",)), frozenset(("embedding", "embeddings"))),
    "xai": _Family("xai", frozenset(("responses",)), frozenset(("image", "video", "voice", "embedding", "embeddings"))),
    "togetherai": _Family("together", frozenset(("chat",)), frozenset(("completion", "embedding", "embeddings"))),
    "openrouter": _Family("openrouter"),
    "deepseek": _Family("deepseek"),
}
_RUNS_CODE = "it runs code or asks an address of the suite's own, and only models are asked here"
#: first words of ids that will not be asked, and why
_REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("exec", "file", "python", "javascript", "golang", "ruby", "package"), _RUNS_CODE),
    **dict.fromkeys(("http", "https", "webhook", "ws", "wss", "websocket", "mcp", "browser", "a2a"), _RUNS_CODE),
    **dict.fromkeys(("promptfoo", "sequence", "simulated-user"), "it is a part of promptfoo itself"),
    "echo": "it gives the prompt back, and only models are asked here",
    "manual-input": "it waits for somebody to type",
    "vertex": "write gemini:MODEL, and set GOOGLE_PROJECT_ID and GOOGLE_LOCATION for Vertex AI",
}
_FILE = re.compile(r"file://.*\.(?:ya?ml|json)", re.DOTALL)

#: a provider's config by our parameter's name; where several mean one, all are taken
_PARAMETERS: Mapping[str, str] = {
    "temperature": "temperature",
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "maxOutputTokens": "max_tokens",
    "num_predict": "max_tokens",
    "top_p": "top_p",
    "topP": "top_p",
    "seed": "seed",
    "stop": "stop",
    "stop_sequences": "stop",
    "stopSequences": "stop",
    "reasoning_effort": "reasoning_effort",
}
_KEYS = ("id", "label", "config", "prompts", "env", "delay")
_CONFIG = (
    "apiBaseUrl",
    "apiHost",
    "apiKeyEnvar",
    "headers",
    "apiVersion",
    "organization",
    "generationConfig",
    "reasoning",
)
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")


def untrusted(node: Node, what: str) -> str:
    """The message for something that only a trusted file may decide."""
    return (
        f"{what}, and this file is not trusted. Read it, then type 'llmswitch profiles trust {node.source.file}', "
        "or give --trust-profile for one call."
    )


@dataclass
class Providers:
    """Reads providers. `known` tells whether a provider's name is one of ours, `warn` what its reader should know."""

    files: Files
    known: Callable[[str], bool]
    warn: Callable[[str], None]

    def targets(self, node: Node) -> tuple[SuiteTarget, ...]:
        """All of a suite's; faults where there are none that can be asked."""
        listed = node.each() if isinstance(node.value, list) else iter((node,))
        found = [target for one in listed for target in self._read(one)]
        if not found and not node.source.faults.count:
            node.fault("names nobody to ask.")
        return self._distinct(found, node)

    def _distinct(self, found: list[SuiteTarget], node: Node) -> tuple[SuiteTarget, ...]:
        labels = [target.label for target in found]
        for target in found:
            if labels.count(target.label) > 1 and target.place is not None:
                node.source.faults.add(
                    target.place, f"two providers are called {target.label!r}: give each a label of its own."
                )
        return tuple(found)

    def _read(self, node: Node) -> list[SuiteTarget]:
        if isinstance(node.value, str):
            if _FILE.fullmatch(node.value):
                return self._from_file(node)
            found = self._target(node, node.value, {})
            return [SuiteTarget(found.text, node.value, place=node.place, id=node.value)] if found else []
        if not node.is_a(dict, "a provider's id or a mapping with an id"):
            return []
        keys = list(node.value)
        if len(keys) == 1 and keys[0] not in _KEYS and isinstance(node.value[keys[0]], dict):
            return self._options(node.at(keys[0]), keys[0])
        return self._options(node, None)

    def _from_file(self, node: Node) -> list[SuiteTarget]:
        path = self.files.one(node.value, node)
        document = self.files.document(path, node) if path else None
        if document is None:
            return []
        listed = list(document.each()) if isinstance(document.value, list) else [document]
        if any(isinstance(one.value, str) for one in listed):
            document.fault("a file of providers holds mappings with an id.")
            return []
        return [target for one in listed for target in self._read(one)]

    def _options(self, node: Node, named: str | None) -> list[SuiteTarget]:
        name = node.find("id")
        text = name.text("a provider's id") if name else named
        if text is None:
            if name is None:
                node.fault("a provider needs an id, such as openai:gpt-6-luna.")
            return []
        for key, one in node.items():
            if key not in _KEYS:
                one.fault(f"a provider's {key!r} cannot be taken: an answer is graded as it came from the model.")
        if node.find("delay"):
            self.warn(f"{node.place}: delay is left out; --rate paces calls.")
        config = self._config(node)
        found = self._target(name or node, text, config.parameters)
        if found is None:
            return []
        label = node.find("label")
        shown = label.text() if label else None
        return [
            SuiteTarget(
                found.text,
                shown or text,
                {**self.environment(node.find("env")), **config.settings(found.provider)},
                config.headers,
                self._prompts(node),
                node.place,
                text,
            )
        ]

    @staticmethod
    def _prompts(node: Node) -> tuple[str, ...] | None:
        prompts = node.find("prompts")
        if prompts is None or not prompts.is_a(list, "a list of prompts' labels"):
            return None
        return tuple(one.value for one in prompts.each() if one.is_a(str, "a prompt's label"))

    def judge(self, node: Node) -> str | None:
        """A target that grades, as text; a fault and None where it is none."""
        value: Node | None = node
        if isinstance(node.value, dict) and "id" not in node.value and node.find("text"):
            value = node.find("text")  # a judge by kind: text, embedding, …
        if value is None:
            return None
        found = self._read(value)
        if found and (found[0].headers or found[0].variables):
            value.fault("a judge's address and headers cannot be given here: put them into a profile.")
        return found[0].text if found else None

    def _target(self, node: Node, text: str, parameters: Mapping[str, list[str]]) -> Target | None:
        """`text` as a target of ours; a fault and None where it is none."""
        first, colon, rest = text.partition("?")[0].partition(":")
        reason = _REFUSED.get(first.lower()) or (_RUNS_CODE if text.endswith((".js", ".ts", ".mjs", ".py")) else None)
        if reason:
            node.fault(f"the provider {text!r} cannot be asked: {reason}.")
            return None
        family = _FAMILIES.get(first.lower())
        if family and colon:
            kind, more, model = rest.partition(":")
            if kind in family.refused:
                node.fault(f"the provider {text!r} cannot be asked: {kind} is not a chat that answers with text.")
                return None
            rest = model if more and kind in family.said else rest
        provider = family.provider if family else first
        query = "&".join(f"{key}={quote(value, safe='')}" for key, values in parameters.items() for value in values)
        own = text.partition("?")[2]
        try:
            whole = f"{provider}{colon}{rest}" + "".join(
                (f"?{own}" if own else "", "&?"[not own] if query else "", query)
            )
            target = parse_target(whole, "the provider")
        except ConfigError as error:
            node.fault(error.message)
            return None
        if not self.known(target.provider):
            node.fault(f"nobody is called {target.provider!r}: 'llmswitch providers' lists those that can be asked.")
            return None
        return target

    def environment(self, node: Node | None) -> dict[str, str]:
        """An `env` as settings of ours; what decides a host or a price counts only from a trusted file."""
        settings: dict[str, str] = {}
        if node is None or not node.is_a(dict, "a mapping of names to values"):
            return settings
        for name, one in node.items():
            if not one.is_a((str, int, float, bool), "text"):
                continue
            row, value = variable(name), one.value if isinstance(one.value, str) else str(one.value).lower()
            if row is None:
                self.warn(f"{one.place}: env {name} means nothing to llmswitch; templates may use it.")
            elif row.guarded or (row.decides_host and not is_loopback(value)):
                if one.source.trusted:
                    settings[name] = value
                else:
                    one.fault(
                        untrusted(one, f"{name} decides {'what calls cost' if row.guarded else 'where calls go'}")
                    )
            else:
                settings[name] = value
        return settings

    def _config(self, node: Node) -> _Config:
        config = _Config({}, None, (), {})
        given = node.find("config")
        if given is None or not given.is_a(dict, "a mapping"):
            return config
        parts = [
            given,
            *(one for key in ("generationConfig",) if (one := given.find(key)) and one.is_a(dict, "a mapping")),
        ]
        for part in parts:
            for key, one in part.items():
                if one.value is None or key == "generationConfig":
                    continue
                if key in _PARAMETERS:
                    config.parameters[_PARAMETERS[key]] = _parameter(one)
                elif key in _CONFIG:
                    config = self._setting(config, key, one)
                else:
                    one.fault(f"a provider's config {key!r} cannot be taken: {', '.join(_taken())} can.")
        return config

    def _setting(self, config: _Config, key: str, one: Node) -> _Config:
        if key == "headers":
            return config._replace(headers=self._headers(one))
        if key == "reasoning":
            effort = one.find("effort")
            if effort is None or len(one.value) > 1:
                one.fault("of reasoning, only the effort can be taken.")
            else:
                config.parameters["reasoning_effort"] = _parameter(effort)
            return config
        value = one.text()
        if value is None:
            return config
        if key in ("apiBaseUrl", "apiHost"):
            return config._replace(url=self._url(one, value if key == "apiBaseUrl" else f"https://{value}/v1"))
        if key == "apiKeyEnvar":
            return config._replace(key=one)
        settings = {"apiVersion": "AZURE_OPENAI_API_VERSION", "organization": "OPENAI_ORGANIZATION"}
        return config._replace(more={**config.more, settings[key]: value})

    @staticmethod
    def _url(node: Node, url: str) -> str | None:
        try:
            checked_url(url, "the address")
        except ConfigError as error:
            node.fault(error.message)
            return None
        if not is_loopback(url) and not node.source.trusted:
            node.fault(untrusted(node, "an address decides where calls go"))
            return None
        return url

    @staticmethod
    def _headers(node: Node) -> tuple[tuple[str, str], ...]:
        if not node.is_a(dict, "a mapping of names to values"):
            return ()
        if not node.source.trusted:
            node.fault(untrusted(node, "headers decide who reads a call"))
            return ()
        found = []
        for name, one in node.items():
            value = one.value if isinstance(one.value, str) else str(one.value)
            if _HEADER.fullmatch(name) and value.isascii() and value.isprintable():
                found.append((name, value))
            else:
                one.fault("is no header that can be sent.")
        return tuple(found)


class _Config(NamedTuple):
    """A provider's config as ours."""

    parameters: dict[str, list[str]]
    url: str | None
    headers: tuple[tuple[str, str], ...]
    more: Mapping[str, str]
    key: Node | None = None

    def settings(self, provider: str) -> dict[str, str]:
        """As variables of `provider`."""
        name = provider.upper().replace("-", "_")
        family = next((f for f in _FAMILIES.values() if f.provider == provider and f.url), None)
        url = (family.url if family else None) or f"{name}_BASE_URL"
        if self.key is not None and not (variable(self.key.value) and self.key.value.startswith(name[:6])):
            self.key.fault("names a variable of its own for the key: put the key into a profile instead.")
        return {**self.more, **({url: self.url} if self.url else {})}


def _taken() -> list[str]:
    return [*dict.fromkeys(_PARAMETERS.values()), "apiBaseUrl", "apiHost", "headers", "apiVersion", "organization"]


def _parameter(node: Node) -> list[str]:
    """A parameter as the texts that a target holds: several for stop."""
    listed: list[Any] = node.value if isinstance(node.value, list) else [node.value]
    return [one if isinstance(one, str) else repr(one) for one in listed]
