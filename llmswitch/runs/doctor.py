"""Asking every configured provider one cheap question, all at once, and saying of each what is wrong with it.

The question is a real one: an answer of at most 16 tokens to a word. A list of models, or a count of tokens, is free,
but proves the key alone: neither the model nor the quota nor the credit is looked at, and gateways answer both where
the call itself fails. An answer proves everything that the next call needs, for some 20 tokens: about $0.00001 at the
rates of a small model, and a cent at those of the dearest of all; what it did cost is told, and in the ledger,
as every call is. It is asked as nothing else is: without cache, fallback, retry and circuit breaker, within a short
timeout, in one piece. A budget holds for it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from llmswitch.errors import BadRequestError, ConfigError, ContentFilterError, LLMSwitchError, QuotaError
from llmswitch.paths import Paths
from llmswitch.runs.checkup import Finding, machine_findings
from llmswitch.runs.probe import Answer, ask_all
from llmswitch.runs.settled import named_targets, settings_findings
from llmswitch.types import Cost, Message, Parameters, Response, Target

if TYPE_CHECKING:
    from llmswitch.profiles import Settings
    from llmswitch.runs.ask import Services
    from llmswitch.runs.call import Call

__all__ = ["TIMEOUT_S", "Asked", "Report", "World", "examine"]

#: how long one answer may take, in seconds
TIMEOUT_S = 15.0
#: of what is sent and what may come back: nothing is cheaper, and of 16 tokens every vendor takes the limit
_PROMPT, _SYSTEM, _MOST_TOKENS = "Hi", "Answer with one word.", 16
#: from how much on a clock is wrong, in seconds: what signs its requests with the time is refused beyond it
_SKEW_S = 300.0


class Asked(NamedTuple):
    """One provider: `finding` says how it stands. `problem` is the error's kind, 'quota' among them; `cost` is what the
    question did cost. Unknown, and what is of no question that was asked, is None."""

    target: str
    finding: Finding
    provider: str | None = None
    model: str | None = None
    base_url: str | None = None
    problem: str | None = None
    status: int | None = None
    duration_s: float | None = None
    cost: Cost | None = None


class Report(NamedTuple):
    """All that was looked at; `sent` tells whether anybody was asked."""

    findings: tuple[Finding, ...]
    asked: tuple[Asked, ...]
    sent: bool

    @property
    def exit_code(self) -> int:
        """0 where all is well, 2 where the configuration is wrong, else 1: what must be put right first counts."""
        standings = {finding.standing for finding in (*self.findings, *(one.finding for one in self.asked))}
        return 2 if "wrong" in standings else 1 if "failed" in standings else 0


class World(NamedTuple):
    """What is looked at; `settings` are those of this call, or the error that reading them raised."""

    cwd: Path
    environ: Mapping[str, str]
    settings: Settings | ConfigError
    warn: Callable[[str], None]
    clock: Callable[[], float]
    wall: Callable[[], float]


def examine(world: World, targets: Sequence[Target] = (), *, send: bool = True, timeout_s: float = TIMEOUT_S) -> Report:
    """Look at everything, or with `targets` at those providers alone; nobody is asked without `send`."""
    findings = (
        [] if targets else list(machine_findings(world.cwd, Paths.from_environment(world.environ), world.environ))
    )
    settings = world.settings
    if isinstance(settings, ConfigError):
        return _cleaned(Report((*findings, Finding("settings", "wrong", settings.message)), (), sent=False), ())
    if not targets:
        findings += settings_findings(settings, world.environ, send=send)
    asked, more = _providers(world, settings, targets, send=send, timeout_s=timeout_s)
    told = {finding.said for finding in findings}
    asked = [_once(one) if one.finding.said in told else one for one in asked]
    return _cleaned(Report((*findings, *more), tuple(asked), sent=send), _secrets(settings))


def _once(one: Asked) -> Asked:
    """What is wrong for all of them is said once."""
    return one._replace(finding=one.finding._replace(said="cannot be asked before that is put right", todo=None))


def _providers(
    world: World, settings: Settings, targets: Sequence[Target], *, send: bool, timeout_s: float
) -> tuple[list[Asked], list[Finding]]:
    """Every provider as it stands, and what their answers say of this machine."""
    try:
        calls, broken = _calls(settings, targets)
        services = _services(world, settings, timeout_s) if calls else None
    except ConfigError as error:
        return [], [Finding("providers", "wrong", f"none can be asked: {error.message}")]
    if services is None or not send:
        return [*broken, *(_unasked(call) for call in calls)], []
    answers = asyncio.run(ask_all(calls, services))
    found = [_judged(call, answer, settings, services) for call, answer in zip(calls, answers, strict=True)]
    return [*broken, *found], [*_network(calls, answers), *_clock(calls, answers)]


def _calls(settings: Settings, targets: Sequence[Target]) -> tuple[list[Call], list[Asked]]:
    """The question to each target, and those that cannot be asked. Two that are the same call are asked once."""
    from llmswitch.providers import find_vendor, vendor_names
    from llmswitch.runs.call import Question, needed, settle

    wanted = list(targets)
    if not wanted:
        vendors = [find_vendor(name, settings) for name in vendor_names(settings)]
        wanted = [Target(v.key, text=v.key) for v in vendors if v.configured(settings)] + named_targets(settings)
    question = Question(
        (Message("user", _PROMPT),), system=_SYSTEM, parameters=Parameters(max_tokens=_MOST_TOKENS), stream=False
    )
    calls: dict[str, Call] = {}
    broken = []
    if not wanted and settings.profile is None:
        try:  # as whoever names nobody is answered
            wanted = [settle(settings, Target("local", text="local"), question).target]
        except ConfigError:
            wanted = []
    if not wanted:
        todo = "type: llmswitch init, which asks for a key; or llmswitch pull, for a small model that needs none"
        return [], [Asked("providers", Finding("providers", "wrong", needed(settings), todo))]
    for target in wanted:
        try:
            call = settle(settings, target, question)
        except ConfigError as error:
            broken.append(Asked(target.text, Finding(target.text, "wrong", error.message), target.provider))
        else:
            calls.setdefault(call.key, call._replace(command="doctor"))
    return list(calls.values()), broken


def _services(world: World, settings: Settings, timeout_s: float) -> Services:
    """As of any call, but that nobody else is asked, nothing is asked twice, and nothing is taken from the cache."""
    from llmswitch.runs.ask import Deadlines, Services
    from llmswitch.runs.policy import read_policy

    policy = read_policy(settings)._replace(retries=0, fallback=(), balance=None, hedge_s=None, breaker=False)
    services = Services.from_settings(
        settings, use_cache=False, policy=policy, warn=world.warn, clock=world.clock, wall=world.wall
    )
    deadlines = Deadlines(timeout_s, timeout_s, timeout_s, named="--timeout")
    return services._replace(deadlines=deadlines, conversations=None)


def _unasked(call: Call) -> Asked:
    said = f"set up to be asked at {_base_url(call)}; nobody was (--offline)"
    return _of(call, Finding(call.target.text, "ok", said))


def _judged(call: Call, answer: Answer, settings: Settings, services: Services) -> Asked:
    from llmswitch.runs.advice import todo

    outcome, check = answer.outcome, call.target.text
    if isinstance(outcome, Response):
        said = f"answered as {outcome.response_model or call.request.model}"
        return _of(call, Finding(check, "ok", said))._replace(
            status=200, duration_s=outcome.duration_s, cost=outcome.cost
        )
    if not isinstance(outcome, LLMSwitchError):
        said = f"the SDK of {call.vendor.title} cannot be imported: {outcome}"
        return _of(call, Finding(check, "wrong", said, "type: pip install --force-reinstall llmswitch"))
    failed = _of(call, Finding(check, "failed", outcome.message))._replace(
        problem="quota" if isinstance(outcome, QuotaError) else outcome.kind,
        status=outcome.status,
        duration_s=sum(attempt.duration_s for attempt in outcome.attempts) if outcome.attempts else None,
    )
    if isinstance(outcome, ConfigError):
        return failed._replace(finding=failed.finding._replace(standing="wrong"))
    if _is_proof(outcome):
        said = f"took the key, the model and the question, and had no room for an answer: {outcome.message}"
        return failed._replace(finding=Finding(check, "ok", said), problem=None)
    return failed._replace(finding=failed.finding._replace(todo=todo(outcome, call, settings, services.prices)))


def _is_proof(error: LLMSwitchError) -> bool:
    """Whether the vendor worked on the question all the same: a filter's word, or thinking that 16 tokens cut off."""
    cut = isinstance(error, BadRequestError) and (
        error.parameter == "max_tokens" or "max_tokens or model" in str(error)
    )
    return cut or isinstance(error, ContentFilterError)


def _of(call: Call, finding: Finding) -> Asked:
    return Asked(call.target.text, finding, call.endpoint.provider, call.request.model, _base_url(call))


def _base_url(call: Call) -> str:
    """Without a user and a password."""
    url: str = call.endpoint.identity()["base_url"]
    return url


def _network(calls: Sequence[Call], answers: Sequence[Answer]) -> list[Finding]:
    """Said once where every call beyond this machine failed to find its way."""
    from llmswitch.runs.advice import is_cut_off
    from llmswitch.trust import is_loopback

    away = [a.outcome for call, a in zip(calls, answers, strict=True) if not is_loopback(call.endpoint.base_url)]
    if len(away) < 2 or not all(isinstance(one, LLMSwitchError) and is_cut_off(one) for one in away):
        return []
    todo = "connect this machine, see to its name server; behind a proxy: export HTTPS_PROXY=http://HOST:PORT"
    return [Finding("network", "note", f"none of {len(away)} hosts can be found: there seems to be no network", todo)]


def _clock(calls: Sequence[Call], answers: Sequence[Answer]) -> list[Finding]:
    """By the one whose clock is nearest to ours: if even that is far away, it is ours that is wrong."""
    told = [(answer.ahead_s, call) for call, answer in zip(calls, answers, strict=True) if answer.ahead_s is not None]
    if not told:
        return []
    ahead_s, call = min(told, key=lambda one: abs(one[0]))
    if abs(ahead_s) < _SKEW_S:
        return [Finding("clock", "ok", f"within {max(1.0, abs(ahead_s)):.0f} s of {call.endpoint.provider}'s")]
    way = "behind" if ahead_s > 0 else "ahead of"
    said = f"this machine's clock is {abs(ahead_s):,.0f} s {way} {call.endpoint.provider}'s"
    return [Finding("clock", "wrong", said, "set it: type timedatectl set-ntp true, or ask who runs this machine")]


def _secrets(settings: Settings) -> tuple[str, ...]:
    """Every key and password that is set anywhere, the longest first."""
    from llmswitch.variables import variable

    found = {
        entry.value
        for source in settings.sources
        for name, entry in source.entries.items()
        if (row := variable(name)) is not None and row.secret and len(entry.value) > 3
    }
    return tuple(sorted(found, key=len, reverse=True))


def _cleaned(report: Report, secrets: tuple[str, ...]) -> Report:
    """Without any of `secrets`, whoever said them, and without users and passwords of addresses."""

    def clean(text: str | None) -> str | None:
        if text is None:
            return None
        for secret in secrets:
            text = text.replace(secret, "***")
        return re.sub(r"://[^/@\s]*@", "://***@", text)

    def cleaned(finding: Finding) -> Finding:
        return finding._replace(said=clean(finding.said) or "", todo=clean(finding.todo))

    asked = tuple(
        one._replace(finding=cleaned(one.finding), model=clean(one.model), target=clean(one.target) or "")
        for one in report.asked
    )
    return report._replace(findings=tuple(map(cleaned, report.findings)), asked=asked)
