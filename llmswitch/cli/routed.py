"""`llmswitch ask --route`: the cheap model where it is enough."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from llmswitch.errors import ConfigError, StorageError
from llmswitch.runs.call import Call, Question, settle
from llmswitch.runs.route import Route, settle_own, spares

if TYPE_CHECKING:
    from llmswitch.cli.shell import Shell
    from llmswitch.profiles import Settings
    from llmswitch.runs.ask import Services
    from llmswitch.runs.routing import Choice, Routed, Rules, Step

__all__ = [
    "Checks",
    "Explain",
    "Margin",
    "Plan",
    "RouteBy",
    "Routing",
    "Task",
    "ask_tiers",
    "plan_route",
    "read_routing",
]

RouteBy = Annotated[
    str | None,
    typer.Option("--route", metavar="HOW", help="Choose among LLM_TIERS: auto, evidence (of benches) or cascade."),
]
Task = Annotated[
    str | None, typer.Option("--task", metavar="TAG", help="What kind of task it is, as a suite's metadata says.")
]
Checks = Annotated[
    list[str] | None,
    typer.Option(
        "--check",
        metavar="CHECK",
        help="What a cheap answer must hold: contains:X, is-json, agree, judge:TARGET; repeatable.",
    ),
]
Margin = Annotated[
    str | None, typer.Option("--margin", metavar="SHARE", help="How much worse than the best is enough [5pp].")
]
Explain = Annotated[bool, typer.Option("--explain", help="Say on stderr who was chosen and why.")]

_WAYS = ("auto", "evidence", "cascade")
_MARGIN = "5pp"


class Routing(NamedTuple):
    """What was asked for: `margin` is a share of answers."""

    way: str
    task: str | None
    checks: tuple[str, ...]
    margin: float
    explain: bool


class Plan(NamedTuple):
    """How it is gone about: `choice` by evidence, or without one the tiers one after another, by `rules`. The first
    `tiers` of the route's calls are those; the others are fallbacks."""

    routing: Routing
    choice: Choice | None
    rules: Rules | None
    tiers: int

    def document(self, call: Call, routed: Routed | None) -> dict[str, Any]:
        """What `--json` adds to the response as `route`."""
        document: dict[str, Any] = {"task": self.routing.task, "chosen": call.target.text}
        if self.choice is not None:
            return {**document, "by": "evidence", "reason": self.choice.reason, "tried": []}
        steps = routed.steps if routed is not None else ()
        tried = [{"target": one.target, "passed": one.passed, "reason": one.reason} for one in steps]
        return {**document, "by": "cascade", "reason": steps[-1].reason if steps else "", "tried": tried}


def read_routing(
    way: str | None, task: str | None, checks: list[str] | None, margin: str | None, *, explain: bool
) -> Routing | None:
    """None where nobody asked for a route. Raises ConfigError."""
    if way is None:
        given = [name for name, value in (("--check", checks), ("--margin", margin), ("--explain", explain)) if value]
        if given:
            raise ConfigError(f"{given[0]} belongs to --route: --route auto chooses among LLM_TIERS.")
        return None
    if way not in _WAYS:
        raise ConfigError(f"--route takes {', '.join(_WAYS)}, not {way!r}.")
    if way == "evidence" and checks:
        raise ConfigError("--check belongs to --route cascade, or auto: by evidence, no answer is checked.")
    if way == "cascade" and margin is not None:
        raise ConfigError("--margin belongs to --route evidence, or auto: a cascade checks the answer itself.")
    return Routing(way, task, tuple(checks or ()), _share(margin or _MARGIN), explain)


def _share(text: str) -> float:
    """`5pp`, `5%` or `0.05`."""
    told = text.strip().lower()
    scale = 0.01 if told.endswith(("pp", "%")) else 1.0
    try:
        value = float(told.removesuffix("pp").removesuffix("%")) * scale
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ConfigError(f"--margin must be a share such as 5pp or 0.05, not {text!r}.")
    return value


def plan_route(
    shell: Shell, settings: Settings, services: Services, question: Question, routing: Routing
) -> tuple[Route, Plan]:
    """Whom the question may go to. Raises ConfigError for tiers that cannot be asked, and where there is no evidence
    and none but evidence was to decide."""
    tiers = services.policy.tiers
    if len(tiers) < 2:
        raise ConfigError("--route chooses among LLM_TIERS: name two targets or more in it, the cheapest first.")
    calls = tuple(settle_own(settings, tier, question) for tier in tiers)
    choice = _choice(shell, services, calls, routing)
    if choice is None:
        others = spares(settings, services.policy, question, besides=calls)
        return Route((*calls, *others)), Plan(routing, None, _rules(settings, question, routing), len(calls))
    if routing.explain:
        _explain_choice(shell, routing, choice)
    chosen = calls[choice.place]
    others = spares(settings, services.policy, question, besides=(chosen,))
    return Route((chosen, *others)), Plan(routing, choice, None, 1)


def _choice(shell: Shell, services: Services, calls: tuple[Call, ...], routing: Routing) -> Choice | None:
    """By evidence; None where the answers are to be checked."""
    from llmswitch.evidence import WHOLE, read_evidence
    from llmswitch.runs.routing import choose

    # what somebody wants checked is checked, whatever is on record
    if routing.way == "cascade" or routing.checks:
        return None
    try:
        evidence = read_evidence(services.ledger.path, routing.task or WHOLE)
    except StorageError as error:
        if routing.way == "evidence":
            raise
        shell.warn(error.message)
        return None
    choice = choose(calls, evidence, margin=routing.margin)
    if choice is None and routing.way == "evidence":
        kind = f"of the task {routing.task!r} " if routing.task else ""
        raise ConfigError(
            f"no bench {kind}on record has judged two of LLM_TIERS: run 'llmswitch bench' on them, "
            "or let --route cascade check the answers."
        )
    return choice


def _rules(settings: Settings, question: Question, routing: Routing) -> Rules:
    from llmswitch.runs.routing import Rules, parse_check
    from llmswitch.targets import parse_target

    assertions, agree, judge = [], False, None
    for check in routing.checks:
        if check == "agree":
            agree = True
        elif check.startswith("judge:"):
            named = parse_target(check.removeprefix("judge:"), "--check judge")
            judge = settle(settings, named, Question(messages=question.messages, bounded=question.bounded))
        else:
            assertions.append(parse_check(check))
    return Rules(tuple(assertions), agree=agree, judge=judge)


def _explain_choice(shell: Shell, routing: Routing, choice: Choice) -> None:
    task = f" for the task {routing.task!r}" if routing.task else ""
    for one in choice.considered:
        if one.found is None:
            shell.note(f"{one.target}: no bench has judged it{task}")
            continue
        found = one.found
        told = "the best" if one.lowest == 0 else f"at most {-(one.lowest or 0):.0%} worse than the best"
        rate = f"{found.passed / found.judged:.2f} [{found.low:.2f}, {found.high:.2f}] of {found.judged}"
        shell.note(f"{one.target}: passes {rate} in {found.suite}{task}: {told}")
    chosen = choice.considered[choice.place].target
    shell.note(f"asking {chosen}: {choice.reason}; {routing.margin:.0%} worse would be enough")


def ask_tiers(shell: Shell, route: Route, services: Services, plan: Plan) -> Routed:
    """The tiers one after another; nothing is shown before an answer is good enough."""
    with shell.holding_notes():
        routed = asyncio.run(_ask(shell, route, services, plan))
    last = routed.steps[-1]
    if not last.passed:
        shell.warn(f"no tier's answer is good enough; this is that of {last.target}: {last.reason}")
    return routed


async def _ask(shell: Shell, route: Route, services: Services, plan: Plan) -> Routed:
    from llmswitch.cli.waiting import Waiting
    from llmswitch.runs.adapters import Adapters
    from llmswitch.runs.ask import Asking
    from llmswitch.runs.routing import Rules, cascade
    from llmswitch.runs.shared import Shared

    def explain(step: Step) -> None:
        if plan.routing.explain:
            shell.note(f"{step.target}: {'enough' if step.passed else 'not enough'}: {step.reason}")

    shared, adapters, waiting = Shared(services), Adapters(), Waiting(shell)
    try:
        asking = Asking(services, shared, adapters.get)
        tiers, others = route.calls[: plan.tiers], route.calls[plan.tiers :]
        rules = plan.rules or Rules()
        return await cascade(tiers, rules, asking, waiting.tell, spares=others, stepped=explain)
    finally:
        waiting.clear()
        await adapters.aclose()
        await shared.aclose()
