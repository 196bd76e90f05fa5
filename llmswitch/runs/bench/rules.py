"""What makes a gate fail, as people type it: `p95.duration:+10%`, `score<0.9`, `case.pass<4/5`, and an SLO."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from llmswitch.errors import ConfigError
from llmswitch.runs.bench.model import Slo

__all__ = ["DEFAULT_BASELINE_RULES", "TIMED", "CaseRule", "Rule", "parse_rules", "parse_slo", "slo_text"]

#: what holds where a baseline is given and no rule
DEFAULT_BASELINE_RULES = ("score:-2pp", "p95.duration:+10%", "cost:+5%")

_EXAMPLES = "'p95.duration:+10%', 'score:-2pp', 'cost:+5%', 'p95.duration>5s', 'score<0.9' or 'case.pass<4/5'"
_RULE = re.compile(r"(?:(p50|p90|p95|p99|mean)\.)?([a-z_]+)\s*([:<>])\s*(.*)", re.DOTALL)
_VALUE = re.compile(r"([+-]?)([0-9]{1,15}(?:\.[0-9]{1,15})?|\.[0-9]{1,15})\s*(%|pp|ms|s|)")
_CASE = re.compile(r"case\.pass\s*<\s*([0-9]{1,6})\s*/\s*([0-9]{1,6})")
_STATISTICS = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "mean": None, None: None}


class _Metric(NamedTuple):
    """What a rule may be about. `worse` is the sign of a change for the worse; the units that a change and a bound may
    be given in are there with what one of them is in seconds, dollars or shares. `timed`: it needs p50, … or mean."""

    worse: Literal[1, -1]
    timed: bool
    changes: Mapping[str, float]
    bounds: Mapping[str, float]


_SECONDS = {"s": 1.0, "ms": 0.001}
_TIME = _Metric(1, True, {"%": 0.01, **_SECONDS}, _SECONDS)
_SHARE = _Metric(-1, False, {"pp": 0.01}, {"": 1.0, "%": 0.01})
_METRICS = {
    "duration": _TIME,
    "scheduled": _TIME,
    "ttft": _TIME,
    "itl": _TIME,
    "tokens_per_s": _Metric(-1, True, {"%": 0.01}, {"": 1.0}),
    "score": _SHARE,
    "pass": _SHARE,
    "errors": _SHARE._replace(worse=1),
    "cost": _Metric(1, False, {"%": 0.01}, {"": 1.0}),
}


#: the metrics that are worked out from times
TIMED = frozenset(name for name, metric in _METRICS.items() if metric.timed)


class Rule(NamedTuple):
    """Fails where `metric`, at the quantile `q` (None: its mean), is worse than `limit`.

    `kind` tells what is held against the limit: a `share` of the baseline's value (0.1 is a tenth of it), the
    `change` from it, or, as a `bound`, the value itself. `limit` is in seconds, shares (1 pp is 0.01), USD for a
    sample, or tokens a second; of a change its size. `worse` is 1 where more is worse, else -1.
    """

    text: str
    metric: str
    q: float | None
    worse: Literal[1, -1]
    kind: Literal["share", "change", "bound"]
    limit: float
    unit: str

    @property
    def name(self) -> str:
        """What it is about, as it was typed."""
        return re.split("[:<>]", self.text)[0].strip()

    def show(self, value: float) -> str:
        """A value of `metric`, in words."""
        if self.metric in ("score", "pass", "errors", "tokens_per_s"):
            return f"{value:.3g}"
        return f"{value:.3g} USD" if self.metric == "cost" else seconds(value)

    def show_effect(self, effect: float) -> str:
        """What is held against the limit, in the unit that the rule was typed in."""
        if self.kind == "bound":
            return self.show(effect)
        size = {"%": f"{effect * 100:+.1f} %", "pp": f"{effect * 100:+.1f} pp"}
        return size.get(self.unit) or ("+" if effect >= 0 else "-") + seconds(abs(effect))

    def exceeds(self, effect: float) -> bool:
        """Whether `effect` is worse than the limit allows. What is typed as 2 pp is not exceeded by 2 pp."""
        limit = self.limit if self.kind == "bound" else self.worse * self.limit
        return (effect - limit) * self.worse > 1e-12


class CaseRule(NamedTuple):
    """Fails where a case passes fewer than `passes` of each `of` askings."""

    text: str
    passes: int
    of: int


def seconds(value: float) -> str:
    """A time, in words."""
    return f"{value * 1000:.3g} ms" if abs(value) < 1 else f"{value:.3g} s"


def parse_rules(texts: Iterable[str]) -> tuple[Rule | CaseRule, ...]:
    """The rules, in their order, each once. Raises ConfigError, which shows what a rule looks like."""
    return tuple(dict.fromkeys(_parse(text.strip()) for text in texts))


def _parse(text: str) -> Rule | CaseRule:
    case = _CASE.fullmatch(text)
    if case is not None:
        passes, of = int(case[1]), int(case[2])
        if not 0 < passes <= of:
            raise _wrong(text, f"{passes} of {of} is not a number of passes to ask for")
        return CaseRule(text, passes, of)
    parts = _RULE.fullmatch(text)
    if parts is None:
        raise _wrong(text, "it is no metric with a change or a bound")
    statistic, name, sign, value = parts.groups()
    metric = _METRICS.get(name)
    if metric is None:
        raise _wrong(text, f"there is no metric {name!r}, only {', '.join(_METRICS)}")
    if metric.timed != (statistic is not None):
        needs = f"{name} needs one of p50, p90, p95, p99, mean before it" if metric.timed else f"write {name} alone"
        raise _wrong(text, needs)
    of_change = sign == ":"
    size, unit = _size(text, value, metric, of_change)
    _check_sense(text, metric, sign, value)
    kind: Literal["share", "change", "bound"] = "bound"
    if of_change:
        kind = "share" if unit == "%" else "change"
    return Rule(text, name, _STATISTICS[statistic], metric.worse, kind, size, unit)


def _size(text: str, value: str, metric: _Metric, of_change: bool) -> tuple[float, str]:
    """The limit in base units, and the unit that it was typed in."""
    parts = _VALUE.fullmatch(value)
    units = metric.changes if of_change else metric.bounds
    if parts is None or parts[3] not in units:
        takes = " or ".join(unit or "no unit" for unit in units)
        raise _wrong(text, f"{value!r} is not a number with {takes}")
    size = float(parts[2]) * units[parts[3]]
    if not of_change and parts[1]:
        raise _wrong(text, "a bound has no sign")
    if not of_change and not metric.timed and "%" in units and size > 1:
        raise _wrong(text, f"{value!r} is more than all")
    return size, parts[3]


def _check_sense(text: str, metric: _Metric, sign: str, value: str) -> None:
    """A rule says when the gate FAILS: one that would fail a run for being good was meant the other way round."""
    worse = "+" if metric.worse > 0 else "-"
    if sign == ":" and not value.startswith(worse):
        raise _wrong(text, f"it names the change that is too much, which starts with '{worse}'")
    if sign != ":" and (sign == ">") != (metric.worse > 0):
        meant = ">" if metric.worse > 0 else "<"
        raise _wrong(text, f"the gate would fail on what is good: a rule says when it fails, here with '{meant}'")


def _wrong(text: str, why: str) -> ConfigError:
    return ConfigError(f"--fail-if {text!r}: {why}. Write for example {_EXAMPLES}.")


def parse_slo(text: str) -> Slo:
    """`ttft=800ms,itl=50ms,e2e=5s,good=95%` as an `Slo`. Raises ConfigError, which shows what one looks like."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        units = _SLO_UNITS.get(name)
        if units is None or name in found:
            raise _wrong_slo(text, f"{part.strip()!r} is not one of {', '.join(_SLO_UNITS)}, each given once")
        parts = _VALUE.fullmatch(value)
        size = float(parts[2]) * units[parts[3]] if parts and not parts[1] and parts[3] in units else 0.0
        if not size or (name == "good" and size > 1):
            raise _wrong_slo(text, f"{part.strip()!r} is not a time or share above 0")
        found[name] = size
    if not found.keys() - {"good"}:
        raise _wrong_slo(text, "it bounds no time")
    return Slo(found.get("ttft"), found.get("itl"), found.get("e2e"), found.get("good", Slo().good))


def slo_text(slo: Slo) -> str:
    """The SLO as it is typed."""
    bounds = {"ttft": slo.ttft_s, "itl": slo.itl_s, "e2e": slo.e2e_s}
    parts = [f"{name}={value * 1000:g}ms" for name, value in bounds.items() if value is not None]
    return f"slo:{','.join(parts)},good={slo.good * 100:.6g}%"


_SLO_UNITS: Mapping[str, Mapping[str, float]] = {
    "ttft": _SECONDS,
    "itl": _SECONDS,
    "e2e": _SECONDS,
    "good": {"%": 0.01, "": 1.0},
}


def _wrong_slo(text: str, why: str) -> ConfigError:
    return ConfigError(f"--slo {text!r}: {why}. Write for example ttft=800ms,itl=50ms,e2e=5s,good=95%.")
