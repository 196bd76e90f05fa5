"""What a bench is asked to do, read off the command line, the suite and the settings; nothing is sent."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from llmswitch.cli.bench_untimed import check_assertions, check_options
from llmswitch.cli.keys import warn_about_keys
from llmswitch.cli.options import switch_flags
from llmswitch.cli.question import read_parameters
from llmswitch.cli.shell import Shell
from llmswitch.errors import ConfigError
from llmswitch.profiles import Settings
from llmswitch.providers import find_vendor
from llmswitch.runs.ask import Services
from llmswitch.runs.bench.document import RunDocument
from llmswitch.runs.bench.grading import Grading
from llmswitch.runs.bench.model import Load, Options
from llmswitch.runs.bench.plan import planned
from llmswitch.runs.bench.rules import parse_rules, parse_slo
from llmswitch.runs.bench.targets import BenchTarget, settle_judges, settle_targets, with_suite
from llmswitch.runs.call import Question
from llmswitch.runs.policy import read_policy
from llmswitch.suites import Loading, load_suite
from llmswitch.suites.model import Suite
from llmswitch.targets import integer, number
from llmswitch.trust import TrustStore

__all__ = ["Asked", "Setting", "read_setting"]

_MOST_REPEATS, _MOST_AT_ONCE = 10_000, 1000


class Asked(NamedTuple):
    """The command line as it was typed, None where nothing was."""

    base: Path
    suite: str | None = None
    targets: tuple[str, ...] = ()
    profile: str | None = None
    repeats: str | None = None
    warmup: str | None = None
    concurrency: str | None = None
    rate: str | None = None
    arrival: str = "constant"
    duration: str | None = None
    no_pace: bool = False
    seed: str | None = None
    baseline: str | None = None
    fail_if: tuple[str, ...] = ()
    slo: str | None = None
    alpha: str = "0.05"
    max_errors: str = "20%"
    strict: bool = False
    batch: bool = False
    yes: bool = False
    confirm_above: str = "1"
    judge: str | None = None
    allow_code: bool = False
    allow_files: bool = False
    max_tokens: str | None = None
    temperature: str | None = None
    no_cache: bool = False
    refresh: bool = False
    timeout: str | None = None
    max_retries: str | None = None
    max_cost: str | None = None
    allow_unknown_price: bool = False
    trust_profile: bool = False
    as_json: bool = False

    def check_resumable(self) -> None:
        """Raises ConfigError where it says again what a resumed run has from its beginning."""
        given = [name for name, default in self._field_defaults.items() if getattr(self, name) != default]
        again = [f"--{name.replace('_', '-')}" for name in given if name not in _ANEW]
        if again:
            raise ConfigError(f"--resume goes on with the run as it was begun: leave out {', '.join(again)}.")

    def kept(self) -> dict[str, Any]:
        """What `run.json` keeps of it, beside the options: what it takes to ask the same again. No permission is."""
        return {name: getattr(self, name) for name in _KEPT}

    def again(self, document: RunDocument) -> Asked:
        """For a run that is resumed: what was asked then; permissions, money and patience are given anew."""
        kept = document["asked"]
        values = {name: kept[name] for name in _KEPT if kept.get(name) is not None}
        targets = values.pop("targets", [])
        whole = isinstance(targets, list) and all(isinstance(one, str) for one in (*targets, *values.values()))
        if not whole:
            raise ConfigError(f"what run.json of {document['id']} has under 'asked' is damaged: begin a new run.")
        values["targets"] = tuple(targets)
        profile = self.profile or document["profile"]
        return self._replace(**values, suite=document["suite_path"], profile=profile)


#: what is asked of whoever resumes a run, too: permissions, money, where to read and how to print
_ANEW = (
    "profile",
    "strict",
    "yes",
    "confirm_above",
    "allow_code",
    "allow_files",
    "no_cache",
    "refresh",
    "max_cost",
    "allow_unknown_price",
    "trust_profile",
    "as_json",
)
_KEPT = ("targets", "judge", "max_tokens", "temperature", "timeout", "max_retries")


class Setting(NamedTuple):
    """A run settled: whom to ask what, how, and who grades. `planned` is None in an open loop."""

    suite: Suite
    targets: tuple[BenchTarget, ...]
    options: Options
    grading: Grading
    services: Services
    settings: Settings
    profile: str | None
    planned: int | None


def read_setting(shell: Shell, asked: Asked, before: RunDocument | None = None) -> Setting:
    """Raises ConfigError for whatever is wrong; `before` is the run to go on with, whose options hold."""
    flags = {
        **switch_flags(timeout=asked.timeout, max_retries=asked.max_retries),
        # what is measured is the target's own answer
        "LLM_FALLBACK": ("bench", "none"),
        "LLM_BALANCE": ("bench", "none"),
    }
    settings = shell.settings(profile=asked.profile, flags=flags, trust_profile=asked.trust_profile)
    suite = _suite(shell, asked, settings)
    settings = with_suite(settings, suite)
    if before is not None and before["fingerprint"] != suite.fingerprint:
        raise ConfigError(f"{suite.path} is not what run {before['id']} was begun with: begin a new run.")
    policy = read_policy(settings, max_cost=asked.max_cost, allow_unknown_price=asked.allow_unknown_price)
    services = Services.from_settings(
        settings,
        use_cache=not asked.no_cache,
        refresh=asked.refresh,
        policy=policy._replace(breaker=False),
        warn=shell.warn,
        clock=shell.clock,
        wall=shell.wall,
    )
    parameters = read_parameters(max_tokens=asked.max_tokens, temperature=asked.temperature)
    # a run that was begun under a budget is gone on with under its bounds, with or without one
    bounded = policy.budgeted or (
        before is not None and all("max_tokens" in one["parameters"] for one in before["targets"])
    )
    question = Question(messages=(), parameters=parameters, bounded=bounded)
    targets = settle_targets(settings, suite, question)
    judges = settle_judges(settings, suite, asked.judge, Question(messages=(), bounded=bounded))
    warn_about_keys(shell, settings)
    options = _options(asked, suite) if before is None else Options.from_dict(before["options"])
    if before is None and options.batch:
        check_assertions(suite)
    return Setting(
        suite=suite,
        targets=targets,
        options=options,
        grading=Grading(judges, shell.environ, allow_code=asked.allow_code),
        services=services,
        settings=settings,
        profile=settings.profile,
        planned=None
        if options.load.rate is not None
        else planned(suite, [target.label for target in targets], options.repeats),
    )


def _suite(shell: Shell, asked: Asked, settings: Settings) -> Suite:
    if asked.suite is None:
        raise ConfigError("no suite is named: llmswitch bench suite.yaml, or --resume RUN to go on with a run.")
    store = TrustStore(settings.paths.trust)
    loading = Loading(
        allow_files=asked.allow_files,
        trusted=lambda path, content: asked.trust_profile or store.trusts(path, content),
        environ=shell.environ,
        targets=asked.targets,
        known_provider=lambda name: _is_known(name, settings),
    )
    suite = load_suite(Path(asked.suite), loading=loading, warn=shell.warn)
    if suite.needs_judge and asked.judge is None and suite.judge is None:
        raise ConfigError(f"{suite.path} has assertions that a model grades, and names none: add --judge TARGET.")
    if suite.runs_code and not asked.allow_code:
        raise ConfigError(f"{suite.path} has assertions that run code: read them, then add --allow-code.")
    return suite


def _is_known(name: str, settings: Settings) -> bool:
    try:
        find_vendor(name, settings)
    except ConfigError:
        return False
    return True


def _options(asked: Asked, suite: Suite) -> Options:
    """How the run is made. Raises ConfigError."""
    if asked.batch:
        check_options(asked)
    if (asked.rate is None) != (asked.duration is None):
        raise ConfigError("--rate and --duration belong together: --rate 5 --duration 60s asks five times a second.")
    if asked.rate is not None and (asked.repeats is not None or asked.concurrency is not None):
        raise ConfigError("--rate asks for as long as --duration says: leave out --repeats and --concurrency.")
    if asked.arrival not in ("constant", "poisson"):
        raise ConfigError(f"--arrival must be constant or poisson, not {asked.arrival!r}.")
    repeats = None if asked.repeats is None else integer(asked.repeats, "--repeats", 1, _MOST_REPEATS)
    at_once = None if asked.concurrency is None else integer(asked.concurrency, "--concurrency", 1, _MOST_AT_ONCE)
    load = Load(
        concurrency=at_once or suite.concurrency or Load().concurrency,
        rate=None if asked.rate is None else number(asked.rate, "--rate", 0.001, 10_000),
        arrival="poisson" if asked.arrival == "poisson" else "constant",
        duration_s=None if asked.duration is None else _seconds(asked.duration, "--duration"),
        paced=not asked.no_pace,
    )
    parse_rules(asked.fail_if)
    return Options(
        repeats=repeats or suite.repeats or 1,
        warmup=0 if asked.warmup is None else integer(asked.warmup, "--warmup", 0, 1000),
        seed=secrets.randbits(32) if asked.seed is None else integer(asked.seed, "--seed", 0),
        load=load,
        slo=None if asked.slo is None else parse_slo(asked.slo),
        fail_if=asked.fail_if,
        baseline=asked.baseline,
        alpha=_alpha(asked.alpha),
        max_errors=_share(asked.max_errors, "--max-errors"),
        batch=asked.batch,
    )


def _seconds(text: str, flag: str) -> float:
    """`30s`, `5m`, `1h`, or plain seconds."""
    units: Mapping[str, float] = {"s": 1, "m": 60, "h": 3600}
    told = text.strip().lower()
    scale = units.get(told[-1:], None)
    value = number(told[:-1] if scale else told, flag, 0) * (scale or 1)
    if not value:
        raise ConfigError(f"{flag} must be a time above 0, such as 30s or 5m, not {text!r}.")
    return value


def _alpha(text: str) -> float:
    value = _share(text, "--alpha")
    if not 0 < value < 1:
        raise ConfigError(
            f"--alpha must lie between 0 and 1, such as 0.05, not {text!r}: such a gate would know already."
        )
    return value


def _share(text: str, flag: str) -> float:
    """`5%` or `0.05`."""
    told = text.strip()
    if told.endswith("%"):
        return number(told[:-1], flag, 0, 100) / 100
    return number(told, flag, 0, 1)
