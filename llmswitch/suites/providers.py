"""Whom a suite asks: promptfoo's provider ids, and targets of ours, as targets with their parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from llmswitch.errors import ConfigError
from llmswitch.suites.families import FAMILIES, REFUSED, RUNS_CODE
from llmswitch.suites.files import Files
from llmswitch.suites.model import SuiteTarget
from llmswitch.suites.nodes import Node
from llmswitch.suites.provider_config import read_config, untrusted
from llmswitch.targets import parse_target
from llmswitch.trust import is_loopback
from llmswitch.types import Target
from llmswitch.variables import variable

__all__ = ["Providers"]


_FILE = re.compile(r"file://.*\.(?:ya?ml|json)", re.DOTALL)
_KEYS = ("id", "label", "config", "prompts", "env", "delay")


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
        config = read_config(node.find("config"))
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
        reason = REFUSED.get(first.lower()) or (RUNS_CODE if text.endswith((".js", ".ts", ".mjs", ".py")) else None)
        if reason:
            node.fault(f"the provider {text!r} cannot be asked: {reason}.")
            return None
        family = FAMILIES.get(first.lower())
        if family and colon:
            kind, more, model = rest.partition(":")
            if kind in family.refused:
                node.fault(f"the provider {text!r} cannot be asked: {kind} is not a chat that answers with text.")
                return None
            rest = model if more and kind in family.said else rest
        provider = family.provider if family else first
        given = [f"{key}={quote(value, safe='')}" for key, values in parameters.items() for value in values]
        query = "&".join((*filter(None, (text.partition("?")[2],)), *given))
        try:
            target = parse_target(f"{provider}{colon}{rest}{'?' if query else ''}{query}", "the provider")
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
            elif one.source.trusted or not (row.guarded or (row.decides_host and not is_loopback(value))):
                settings[name] = value
            else:
                one.fault(untrusted(one, f"{name} decides {'what calls cost' if row.guarded else 'where calls go'}"))
        return settings
