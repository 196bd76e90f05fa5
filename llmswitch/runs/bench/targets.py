"""Whom a bench asks: a suite's targets settled to calls, with what the suite says of each and may decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from llmswitch.errors import ConfigError
from llmswitch.profiles import Entry, EnvFile, Settings, Source
from llmswitch.runs.call import Call, Question
from llmswitch.runs.route import settle_own
from llmswitch.suites.model import Case, Suite, SuiteTarget
from llmswitch.targets import parse_target
from llmswitch.types import Message, Trace

__all__ = ["BenchTarget", "asked", "settle_judges", "settle_targets", "with_suite"]

#: what `cli/bench.py` calls its own word on what no flag sets
_FLAGS = ("bench",)
#: stands where a case's own messages will
_NOTHING = (Message("user", "-"),)


class BenchTarget(NamedTuple):
    """One target, as it is called in every output, and its call with no question in it yet."""

    label: str
    call: Call


def settle_targets(settings: Settings, suite: Suite, question: Question) -> tuple[BenchTarget, ...]:
    """The suite's targets, by settings that the suite had its say in; `question` gives flags and no messages. Raises
    ConfigError where one cannot be asked."""
    targets = tuple(
        BenchTarget(target.label, _settled(_overlaid(settings, suite, target.variables), target, question))
        for target in suite.targets
    )
    if not targets:
        raise ConfigError(f"{suite.path} names no target and no -t does: add -t claude, or providers: to the suite.")
    for place, target in enumerate(targets):
        if any(target.label == other.label for other in targets[:place]):
            raise ConfigError(f"{target.label} is named twice: give one of them a label of its own, or leave it out.")
    return targets


def _settled(settings: Settings, target: SuiteTarget, question: Question) -> Call:
    call = settle_own(settings, parse_target(target.text, "the suite's provider"), question._replace(messages=_NOTHING))
    endpoint = replace(call.endpoint, headers=(*call.endpoint.headers, *target.headers))
    return call._replace(command="bench", endpoint=endpoint)


def with_suite(settings: Settings, suite: Suite) -> Settings:
    """The settings with the suite's own `env`: for targets, judges, and all that a run does."""
    return _overlaid(settings, suite, suite.variables)


def _overlaid(settings: Settings, suite: Suite, variables: Mapping[str, str]) -> Settings:
    """The settings with what the suite says before all but the flags; it is a file of the working tree like any."""
    values = {name: Entry(value) for name, value in variables.items()}
    if not values:
        return settings
    path = Path(suite.path)
    file = EnvFile(path, b"", values, in_tree=not suite.trusted, shared=False)
    own = Source(path.name, values, file, trusted=suite.trusted)
    flags = [source for source in settings.sources if source.label in _FLAGS or source.label.startswith("--")]
    others = settings.sources[len(flags) :]
    return Settings((*flags, own, *others), profile=settings.profile, paths=settings.paths, warn=settings.warn)


def settle_judges(settings: Settings, suite: Suite, judge: str | None, question: Question) -> Mapping[str | None, Call]:
    """The calls of whoever grades, by the target that an assertion names; None is for those that name nobody.

    Judges grade as steadily as they can: at temperature 0, where the target says nothing else and the model takes it.
    """
    found: dict[str | None, Call] = {}
    own = judge or suite.judge
    for named in {*suite.graded, *([own] if own else [])}:
        target = SuiteTarget(named, named)
        call = _settled(settings, target, question)
        parameters = call.request.parameters
        if parameters.temperature is None:
            request = replace(
                call.request,
                parameters=replace(parameters, temperature=0.0),
                optional=call.request.optional | {"temperature"},
            )
            call = call._replace(request=request)
        found[named] = call
    if own:
        found[None] = found[own]
    return found


def asked(call: Call, case: Case) -> Call:
    """The call with a case's question in it."""
    request = replace(
        call.request,
        messages=case.messages,
        system=case.system if case.system is not None else call.request.system,
        stream=True,
        restarts=True,
        trace=Trace(),
    )
    return call._replace(request=request)
