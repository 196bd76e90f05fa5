"""A suite as frozen values: targets, prompts, and cases that are ready to be asked. Nothing here reads a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from llmswitch.assertions.base import Assertion, Place
from llmswitch.errors import ConfigError
from llmswitch.types import Message

__all__ = ["Case", "Fault", "Suite", "SuiteError", "SuiteTarget"]


class Fault(NamedTuple):
    """What is wrong with a suite, and where."""

    place: Place
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class SuiteError(ConfigError):
    """A suite is refused, whole: every fault of it, in the order of its files. `message` holds a line for each."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)

    @property
    def lines(self) -> tuple[str, ...]:
        """How many there are, then a line for each that an editor can jump to."""
        count = "a fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        return f"the suite has {count}, and nothing was sent:", *map(str, self.faults)


@dataclass(frozen=True, slots=True)
class SuiteTarget:
    """Whom a suite asks: `text` is a target of ours (`openai:gpt-4o?temperature=0`), `label` what it is shown as.

    `variables` are settings that hold for this target alone (OPENAI_BASE_URL, …), subject to the trust rule;
    `headers` go with each request, subject to it as well. `prompts` (labels) are None where not given. `id` is what the
    suite calls the provider (`openai:chat:gpt-4o`), empty where it was given with -t.
    """

    text: str
    label: str
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    prompts: tuple[str, ...] | None = None
    place: Place | None = field(default=None, compare=False)
    id: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One prompt with one test's variables, rendered. `id` is unique in the suite and the same every night.

    `prompt` is the rendered prompt as text (of a chat, its JSON); `system` and `messages` are what is sent.
    `targets` are the labels it is for, None for all. `threshold` replaces 'all assertions must pass'. `tasks` are what
    kinds of task it stands for.
    """

    id: str
    prompt: str
    messages: tuple[Message, ...]
    system: str | None = None
    prompt_label: str = ""
    description: str | None = None
    vars: Mapping[str, Any] = field(default_factory=dict)
    assertions: tuple[Assertion, ...] = ()
    threshold: float | None = None
    targets: tuple[str, ...] | None = None
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Suite:
    """What a run is made of. `cases()` reads the files anew each time it is called, one case after another.

    `fingerprint` is a SHA-256 over everything that decides what is asked and how it is graded, targets left out.
    `count` is how many cases `cases()` gives, `asserted` whether any of them has an assertion, `graded` the targets
    that are asked to grade, `variables` what the suite's own `env` sets, `warnings` what its reader should know.
    `needs_judge` tells that a model grades an assertion for which the suite names none, `runs_code` that one runs code.
    """

    name: str
    path: str
    fingerprint: str
    targets: tuple[SuiteTarget, ...]
    cases: Callable[[], Iterator[Case]]
    count: int
    asserted: bool
    judge: str | None = None
    graded: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    trusted: bool = False
    repeats: int | None = None
    concurrency: int | None = None
    warnings: tuple[str, ...] = ()
    needs_judge: bool = False
    runs_code: bool = False
