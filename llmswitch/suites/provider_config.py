"""A provider's `config` as a target's parameters, settings and headers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmswitch.errors import ConfigError
from llmswitch.suites.families import family_of
from llmswitch.suites.nodes import Node
from llmswitch.trust import checked_url, is_loopback

__all__ = ["ProviderConfig", "read_config", "untrusted"]

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
#: what promptfoo's vendors call our parameters
_PARAMETERS: Mapping[str, str] = {
    **dict.fromkeys(("temperature",), "temperature"),
    **dict.fromkeys(
        ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens", "num_predict"), "max_tokens"
    ),
    **dict.fromkeys(("top_p", "topP"), "top_p"),
    **dict.fromkeys(("seed",), "seed"),
    **dict.fromkeys(("stop", "stop_sequences", "stopSequences"), "stop"),
    **dict.fromkeys(("reasoning_effort",), "reasoning_effort"),
}
_SETTINGS = {"apiVersion": "AZURE_OPENAI_API_VERSION", "organization": "OPENAI_ORGANIZATION"}


@dataclass
class ProviderConfig:
    """What a config says. `parameters` are texts as a target holds them, `url` an address that may be asked."""

    parameters: dict[str, list[str]] = field(default_factory=dict)
    url: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    more: dict[str, str] = field(default_factory=dict)
    key: Node | None = None

    def settings(self, provider: str) -> dict[str, str]:
        """As variables of `provider`; a fault where the key is to come from any other variable than its own."""
        family = family_of(provider)
        if self.key is not None and self.key.value not in family.keys:
            self.key.fault("names a variable of its own for the key: put the key into a profile instead.")
        return {**self.more, **({family.url: self.url} if self.url else {})}


def untrusted(node: Node, what: str) -> str:
    """The message for something that only a trusted file may decide."""
    return (
        f"{what}, and this file is not trusted. Read it, then type 'llmswitch profiles trust {node.source.file}', "
        "or give --trust-profile for one call."
    )


def read_config(node: Node | None) -> ProviderConfig:
    """What `node` says; faults for what cannot be taken."""
    config = ProviderConfig()
    if node is None or not node.is_a(dict, "a mapping"):
        return config
    for key, one in node.items():
        if one.value is None:
            continue
        if key in _PARAMETERS:
            config.parameters[_PARAMETERS[key]] = _parameter(one)
        elif key in _READERS:
            _READERS[key](config, key, one)
        else:
            taken = ", ".join((*dict.fromkeys(_PARAMETERS.values()), *_READERS))
            one.fault(f"a provider's config {key!r} cannot be taken. These can: {taken}.")
    return config


def _parameter(node: Node) -> list[str]:
    """A parameter as the texts that a target holds: several for stop."""
    listed: list[Any] = node.value if isinstance(node.value, list) else [node.value]
    return [one if isinstance(one, str) else repr(one) for one in listed]


def _generation(config: ProviderConfig, key: str, node: Node) -> None:
    config.parameters.update(read_config(node).parameters)


def _reasoning(config: ProviderConfig, key: str, node: Node) -> None:
    effort = node.find("effort")
    if effort is None or len(node.value) > 1:
        node.fault("of reasoning, only the effort can be taken.")
    else:
        config.parameters["reasoning_effort"] = _parameter(effort)


def _setting(config: ProviderConfig, key: str, node: Node) -> None:
    value = node.text()
    if value is not None:
        config.more[_SETTINGS[key]] = value


def _key(config: ProviderConfig, key: str, node: Node) -> None:
    config.key = node


def _host(config: ProviderConfig, key: str, node: Node) -> None:
    value = node.text("a host's name")
    if value is not None:
        _address(config, node, f"https://{value}/v1")


def _url(config: ProviderConfig, key: str, node: Node) -> None:
    value = node.text("an address")
    if value is not None:
        _address(config, node, value)


def _address(config: ProviderConfig, node: Node, url: str) -> None:
    try:
        checked_url(url, "the address")
    except ConfigError as error:
        node.fault(error.message)
        return
    if is_loopback(url) or node.source.trusted:
        config.url = url
    else:
        node.fault(untrusted(node, "an address decides where calls go"))


def _headers(config: ProviderConfig, key: str, node: Node) -> None:
    if not node.is_a(dict, "a mapping of names to values"):
        return
    if not node.source.trusted:
        node.fault(untrusted(node, "headers decide who reads a call"))
        return
    for name, one in node.items():
        value = one.value if isinstance(one.value, str) else str(one.value)
        if _HEADER.fullmatch(name) and value.isascii() and value.isprintable():
            config.headers += ((name, value),)
        else:
            one.fault("is no header that can be sent.")


_READERS: Mapping[str, Callable[[ProviderConfig, str, Node], None]] = {
    "apiBaseUrl": _url,
    "apiHost": _host,
    "apiKeyEnvar": _key,
    "apiVersion": _setting,
    "generationConfig": _generation,
    "headers": _headers,
    "organization": _setting,
    "reasoning": _reasoning,
}
