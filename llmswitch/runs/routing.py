"""Which of several tiers is enough for a question: by what benches found, or by asking the cheap one and checking.

*By evidence*: the cheapest tier whose pass rate in the newest bench, for that kind of task, is no more than `margin`
below the best's; by the interval of the difference, so that a tier of which little is known is not taken for enough.
Only what one suite found is compared: another's questions are easier or harder.
*Cascade*: the cheapest tier is asked, its answer checked, and the next one asked only where the check fails.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from llmswitch.assertions.base import Answer, Assertion
from llmswitch.assertions.grade import judged
from llmswitch.assertions.model_graded import question, verdicts
from llmswitch.errors import CallTimeoutError, ConfigError, LLMSwitchError, ProviderError
from llmswitch.evidence import Evidence
from llmswitch.layers.base import collect
from llmswitch.runs.ask import Asking, answer
from llmswitch.runs.call import Call
from llmswitch.runs.route import Route
from llmswitch.targets import parse_target
from llmswitch.types import Parameters, Response

__all__ = ["Choice", "Considered", "Routed", "Rules", "Step", "alike", "cascade", "choose", "parse_check"]

#: the judge of a cascade passes an answer of which this is true
_RUBRIC = "It answers the question below correctly and completely, and does what is asked for.\n\nThe question: {}"
#: the share of words that two answers must have in common to say the same
_ALIKE = 0.8


class Considered(NamedTuple):
    """A tier, what is known of it, and how much worse than the best it may be (`lowest`, a share below 0); None where
    nothing is known."""

    target: str
    found: Evidence | None
    lowest: float | None


class Choice(NamedTuple):
    """The tier that is enough, by its place, and why."""

    place: int
    reason: str
    considered: tuple[Considered, ...]


def choose(calls: Sequence[Call], evidence: Sequence[Evidence], *, margin: float) -> Choice | None:
    """The first of `calls`, cheapest first, that is no more than `margin` worse than the best. None where no suite has
    judged two of them. `evidence` has the newest first."""
    known = _of_one_suite(calls, evidence)
    rated = [one for one in known if one is not None]
    if len(rated) < 2:
        return None
    # not the highest share: eight of eight are less than 199 of 200. Of two alike the dearer one, which the cheaper one
    # has to be shown to equal: two of two each show nothing
    best = max(reversed(rated), key=lambda one: one.low)
    considered = tuple(
        Considered(call.target.text, one, None if one is None else 0.0 if one is best else _lowest(one, best))
        for call, one in zip(calls, known, strict=True)
    )
    place = next(place for place, one in enumerate(considered) if one.lowest is not None and one.lowest >= -margin)
    found = considered[place].found
    assert found is not None  # noqa: S101  # it has a bound
    reason = f"it passes {_rate(found)} in {found.suite}, " + (
        "the best of those judged"
        if found is best
        else f"the best, {best.target}, {_rate(best)}: at most {-(considered[place].lowest or 0):.0%} worse"
    )
    return Choice(place, reason, considered)


def _of_one_suite(calls: Sequence[Call], evidence: Sequence[Evidence]) -> Sequence[Evidence | None]:
    """What the suite that judged most of `calls` found of each; of such suites, the one with the newest run."""
    suites = {one.suite: [other for other in evidence if other.suite == one.suite] for one in evidence}
    found = [[_newest(call, calls, rows) for call in calls] for rows in suites.values()]
    return max(found, key=lambda known: len(known) - known.count(None), default=())


def _newest(call: Call, calls: Sequence[Call], evidence: Sequence[Evidence]) -> Evidence | None:
    """Of the call's model: as it is asked, where a bench did so; else as no other tier of that model is asked."""
    who, asked = _who(call), call.target.parameters
    found = [one for one in evidence if (one.provider, one.request_model) == who and one.judged]
    others = [other.target.parameters for other in calls if _who(other) == who and other.target.parameters != asked]
    same = [one for one in found if _parameters(one) == asked]
    return next(iter(same or [one for one in found if _parameters(one) not in others]), None)


def _who(call: Call) -> tuple[str, str]:
    return call.endpoint.provider, call.request.model


def _parameters(found: Evidence) -> Parameters | None:
    """Those of its target; None where a suite gave it a name that is no target."""
    try:
        return parse_target(found.target).parameters
    except ConfigError:
        return None


def _lowest(one: Evidence, best: Evidence) -> float:
    """The lower end of the interval of the difference of two pass rates.

    Newcombe's hybrid of their Wilson intervals: Statistics in Medicine 17 (1998) 873-890, method 10.
    """
    p, q = one.passed / one.judged, best.passed / best.judged
    return p - q - math.sqrt((p - one.low) ** 2 + (best.high - q) ** 2)


def _rate(found: Evidence) -> str:
    return f"{found.passed / found.judged:.2f} [{found.low:.2f}, {found.high:.2f}]"


class Rules(NamedTuple):
    """When an answer is good enough: it must be whole and no refusal, and hold every one of `assertions`. With `agree`,
    asked twice the tier must say the same; `judge` is asked whether it is right. Both cost another call."""

    assertions: tuple[Assertion, ...] = ()
    agree: bool = False
    judge: Call | None = None


class Step(NamedTuple):
    """One tier that was asked: whether its answer was good enough, and why."""

    target: str
    passed: bool
    reason: str
    response: Response | None = None


class Routed(NamedTuple):
    """The answer, whose call it was, and every tier that was asked."""

    response: Response
    call: Call
    steps: tuple[Step, ...]


def parse_check(text: str) -> Assertion:
    """`contains:Paris`, `not-contains:sorry`, `is-json`: an assertion that takes no judge. Raises ConfigError."""
    from llmswitch.assertions import find, unknown

    name, _, value = text.partition(":")
    kind = name.strip().removeprefix("not-")
    row = find(kind)
    if row is None:
        raise ConfigError(f"--check {text!r}: {unknown(kind)}")
    if row.graded or row.code or row.members:
        raise ConfigError(f"--check {text!r}: {kind} needs more than the answer; judge:TARGET has a model grade it.")
    assertion = Assertion(kind, negated=name.strip().startswith("not-"), value=value.strip() or None)
    fault = row.check(assertion)
    if fault is not None:
        raise ConfigError(f"--check {text!r}: {fault}")
    # a pattern that does not compile, or a figure that no answer comes with: no tier would ever be enough
    tried = [judged(one, Answer("x")) for one in (assertion, replace(assertion, negated=not assertion.negated))]
    if not any(verdict.passed for verdict in tried):
        raise ConfigError(f"--check {text!r}: {tried[0].error or tried[0].reason}")
    return assertion


async def cascade(
    calls: Sequence[Call],
    rules: Rules,
    asking: Asking,
    told: Callable[[str], None] = lambda line: None,
    *,
    spares: Sequence[Call] = (),
    stepped: Callable[[Step], None] = lambda step: None,
) -> Routed:
    """Ask `calls` in their order until an answer is good enough; the last one's counts whatever it is.

    A tier that fails is passed over like one whose answer does not do, the last one handed on to `spares`. Each step is
    told to `stepped` as it is taken. All of it has the time of one call. Raises the last one's error, and at once what
    no other tier could mend: a budget, a setting.
    """
    steps: list[Step] = []

    def step(one: Step) -> None:
        steps.append(one)
        stepped(one)

    ends = asking.services.clock() + asking.services.deadlines.total_s
    for place, call in enumerate(calls):
        last = place == len(calls) - 1
        told(f"asking {call.target.text}")
        route = Route((call, *spares) if last else (call,))
        try:
            response = await collect(answer(route, _within(asking, ends), notify=told))
        except ProviderError as error:
            if last:
                raise
            step(Step(call.target.text, False, f"{error.kind}: {error.message}"))
            continue
        # of the last tier, it may be a fallback that answered
        by = next((one for one in route.calls if _who(one) == (response.provider, response.request_model)), call)
        told(f"checking the answer of {by.target.text}")
        # there is nobody to go on to: what would cost another call is not looked at
        fault = await _fault(by, response, Rules(rules.assertions) if last else rules, asking, ends)
        step(Step(by.target.text, fault is None, fault or "it does", response))
        if fault is None or last:
            return Routed(response, by, tuple(steps))
    raise ConfigError("there is no tier to ask: set LLM_TIERS, cheapest first.")


def _within(asking: Asking, ends: float) -> Asking:
    """The same with no more time than until `ends`, by the monotonic clock. Raises CallTimeoutError where that is
    over."""
    services, whole = asking.services, asking.services.deadlines
    left = round(ends - services.clock(), 1)
    if left <= 0:
        raise CallTimeoutError(f"no tier's answer did within {whole.total_s:g} s; give more time with {whole.named}.")
    deadlines = whole._replace(
        total_s=left, first_token_s=min(left, whole.first_token_s), idle_s=min(left, whole.idle_s)
    )
    return asking._replace(services=services._replace(deadlines=deadlines))


async def _fault(call: Call, response: Response, rules: Rules, asking: Asking, ends: float) -> str | None:
    """Why the answer does not do; None where it does. What costs nothing is looked at first."""
    prompt = call.request.messages[-1].text
    about = Answer(response.text, prompt=prompt, finish_reason=response.finish_reason)
    for assertion in (Assertion("is-refusal", negated=True), *rules.assertions):
        verdict = await asyncio.to_thread(judged, assertion, about)
        if not verdict.passed:
            return f"{assertion.name}: {verdict.reason}"
    if response.finish_reason != "stop":
        return f"it ended with {response.finish_reason}"
    if rules.agree:
        fresh = asking._replace(services=asking.services._replace(cache=None))
        try:
            again = await collect(answer(Route((call,)), _within(fresh, ends)))
        except ProviderError as error:
            return f"asked again: {error.kind}: {error.message}"
        if not alike(response.text, again.text):
            return "asked again, it says something else"
    return None if rules.judge is None else await _judged_wrong(rules.judge, about, asking, ends)


async def _judged_wrong(judge: Call, about: Answer, asking: Asking, ends: float) -> str | None:
    leaf = Assertion("llm-rubric", value=_RUBRIC.format(about.prompt))
    asked = question(leaf, [about], lambda template, variables: template)
    request = replace(judge.request, messages=asked.chat.messages, system=asked.chat.system, schema=None)
    try:
        reply = await collect(answer(Route((judge._replace(request=request),)), _within(asking, ends)))
    except LLMSwitchError as error:
        if not isinstance(error, ProviderError):
            raise
        return f"the judge gave no verdict: {error.message}"
    (verdict,) = verdicts(leaf, asked, reply.text)
    return None if verdict.passed else f"the judge: {verdict.reason}"


def alike(one: str, other: str) -> bool:
    """Whether two answers say the same: the same words in any order, or four fifths of them (F1 over both) with the
    same numbers: 'it took 41 minutes' is not 'it took 87 minutes', however long the sentence."""
    words, others = (Counter(re.findall(r"\w+", text.casefold())) for text in (one, other))
    if words == others:
        return True
    if _numbers(words) != _numbers(others):
        return False
    common = (words & others).total()
    return 2 * common / (words.total() + others.total()) >= _ALIKE


def _numbers(words: Iterable[str]) -> set[str]:
    return {word for word in words if any(letter.isdigit() for letter in word)}
