"""Which keys a suite may have at each level: those read, those left out, and why the others cannot be taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import NamedTuple

from llmswitch.suites.nodes import Node

__all__ = ["ASSERTION", "EVALUATE", "OPTIONS", "PROMPT", "SCENARIO", "SUITE", "TEST", "Keys"]

_CODE = "it runs code of the suite's own"
_TRANSFORM = "answers are graded as they came from the model"


class Keys(NamedTuple):
    """`read` are used, `silent` change nothing here, `told` are left out with a word, `refused` are faults."""

    what: str
    read: tuple[str, ...]
    silent: tuple[str, ...] = ()
    told: Mapping[str, str] = {}
    refused: Mapping[str, str] = {}

    @property
    def _one(self) -> str:
        return f"{'an' if self.what[0] in 'aeiou' else 'a'} {self.what}"

    def check(self, node: Node, warn: Callable[[str], None]) -> bool:
        """Whether `node` is a mapping; a fault for each key that cannot be taken."""
        if not node.is_a(dict, f"a mapping: it is {self._one}"):
            return False
        for key in node.value:
            if (
                key in self.read
                or key in self.silent
                or key.startswith(("x-", ".", "_"))
                or node.value[key] in (None, [], {})
            ):
                continue
            if key in self.told:
                warn(f"{node.at(key).place}: {key} is left out: {self.told[key]}.")
            elif key in self.refused:
                node.at(key).fault(f"{key} cannot be taken: {self.refused[key]}.")
            else:
                close = get_close_matches(key, (*self.read, *self.silent), 1)
                hint = f" Did you mean {close[0]}?" if close else ""
                node.at(key).fault(f"{self._one} has no key {key!r}.{hint}")
        return True


SUITE = Keys(
    "suite",
    ("prompts", "providers", "targets", "tests", "defaultTest", "scenarios", "env", "evaluateOptions", "description"),
    ("$schema", "assertionTemplates", "definitions", "metadata", "outputPath", "sharing", "tags", "writeLatestResults"),
    {
        "commandLineOptions": "give them on the command line",
        "derivedMetrics": "the report shows each metric's own score",
        "tracing": "nothing is traced",
    },
    {
        "nunjucksFilters": _CODE,
        "extensions": _CODE,
        "redteam": "attacks are not made up here",
        "plugins": "attacks are not made up here",
        "strategies": "attacks are not made up here",
    },
)
TEST = Keys(
    "test",
    ("vars", "assert", "options", "threshold", "description", "providers", "prompts"),
    ("metadata",),
    {},
    {
        "provider": "name whom a test is for in providers",
        "providerOutput": "every answer comes from a model",
        "assertScoringFunction": _CODE,
        "transform": _TRANSFORM,
    },
)
OPTIONS = Keys(
    "test's options",
    ("prefix", "suffix", "provider", "rubricPrompt", "disableVarExpansion", "disableDefaultAsserts"),
    ("disableConversationVar",),
    {"runSerially": "the order is random, so that drift hits all targets alike"},
    {
        "transform": _TRANSFORM,
        "postprocess": _TRANSFORM,
        "transformVars": _CODE,
        "storeOutputAs": "each case is asked on its own",
        "repeat": "write evaluateOptions.repeat, or give --repeats",
        "factuality": "its scores cannot be changed",
        "tools": "only texts are asked for",
        "response_format": "only texts are asked for",
    },
)
ASSERTION = Keys(
    "assertion",
    ("type", "value", "threshold", "weight", "metric", "provider", "rubricPrompt", "config", "assert"),
    (),
    {},
    {"transform": _TRANSFORM, "contextTransform": _CODE},
)
EVALUATE = Keys(
    "suite's evaluateOptions",
    ("repeat", "maxConcurrency"),
    (
        "cache",
        "showProgressBar",
        "silent",
        "interactiveProviders",
        "generateSuggestions",
        "suggestionsCount",
        "isRedteam",
    ),
    {
        "delay": "--rate paces calls",
        "timeoutMs": "give --timeout",
        "maxEvalTimeMs": "give --duration",
    },
    {"filterRange": "it leaves tests out"},
)
PROMPT = Keys(
    "prompt",
    ("id", "label", "raw"),
    ("template", "display"),
    {},
    {"config": "put parameters into a provider's config", "function": _CODE},
)
SCENARIO = Keys("scenario", ("config", "tests"), ("description",))
