"""The gate: whether a run is good enough, against rules, a baseline, an SLO, or its own assertions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from llmswitch.differences import detectable, holm
from llmswitch.intervals import pass_rate
from llmswitch.runs.bench.checks import Finding, against_baseline, against_bound
from llmswitch.runs.bench.data import RunData, TargetData
from llmswitch.runs.bench.document import CheckDocument, GateDocument
from llmswitch.runs.bench.figures import good_samples
from llmswitch.runs.bench.model import Slo
from llmswitch.runs.bench.pairs import pair
from llmswitch.runs.bench.rules import DEFAULT_BASELINE_RULES, TIMED, CaseRule, Rule, parse_rules, slo_text

__all__ = ["GateInput", "judge_gate", "without_times"]

#: from the worst on: what any check says, the gate says
_VERDICTS = ("fail", "inconclusive", "pass", "not judged")
_MOST_NAMED = 5
_NOTHING = Finding()


class GateInput(NamedTuple):
    """What the gate is told. `baseline_id` is the baseline that was asked for, `baseline` its samples, None where there
    is none. `asserted` tells whether the suite has an assertion. Where more than `max_errors` of a target's calls
    failed, in either run, nothing is said of those that did not. `unlike` tells of rules, by their metric and kind, why
    they are not judged.
    """

    run: RunData
    asserted: bool
    rules: tuple[Rule | CaseRule, ...] = ()
    slo: Slo | None = None
    alpha: float = 0.05
    max_errors: float = 0.2
    baseline: RunData | None = None
    baseline_id: str | None = None
    unlike: Mapping[tuple[str, str], str] = {}


def without_times(batch: bool, baseline: bool | None) -> dict[tuple[str, str], str]:
    """Which rules are not judged, and why, where the run was asked as a `batch`, or its `baseline` was; that is None
    where there is none. A batch tells no time, and its answers are paid at another rate."""
    found: dict[tuple[str, str], str] = {}
    if batch:
        found |= {(metric, kind): "a batch tells no time" for metric in TIMED for kind in ("share", "change", "bound")}
    elif baseline:
        why = "the baseline was asked by batch, which tells no time"
        found |= {(metric, kind): why for metric in TIMED for kind in ("share", "change")}
    if baseline is not None and batch != baseline:
        asked = "run" if batch else "baseline"
        found |= {("cost", kind): f"the {asked} alone was paid at the batch rate" for kind in ("share", "change")}
    return found


def judge_gate(given: GateInput) -> GateDocument:
    """The verdict: the worst of all checks. The same samples get the same verdict, whenever they are judged."""
    rules = given.rules
    if given.baseline_id is not None and not rules:
        rules = parse_rules(DEFAULT_BASELINE_RULES)
    checks = _judge_rules([rule for rule in rules if isinstance(rule, Rule)], given)
    for target, data in given.run.targets.items():
        checks += [_judge_cases(rule, target, data, given.run) for rule in rules if isinstance(rule, CaseRule)]
        if given.slo is not None:
            checks.append(_judge_slo(given.slo, target, data))
        if not rules and given.slo is None:
            checks.append(_judge_assertions(target, data, given.asserted))
    verdict = next((verdict for verdict in _VERDICTS if any(check["verdict"] == verdict for check in checks)), None)
    return GateDocument(
        verdict=verdict or "not judged",
        checks=checks,
        baseline=given.baseline_id,
        alpha=given.alpha,
        reason=_reason(checks, verdict),
    )


def _reason(checks: list[CheckDocument], verdict: str | None) -> str:
    if verdict is None:
        return "There is no sample to judge."
    found = [check for check in checks if check["verdict"] == verdict]
    first = found[0]
    if len(checks) == 1 or verdict in ("pass", "not judged"):
        return first["reason"] if len(checks) == 1 else f"{verdict}: {len(found)} of {len(checks)} checks."
    of = f"{len(found)} of {len(checks)} checks"
    return f"{verdict}: {of}{', first of' if len(found) > 1 else ','} {first['target']}: {first['reason']}"


class _Tested(NamedTuple):
    """A finding that waits to be corrected for all others."""

    rule: Rule
    target: str
    finding: Finding


def _judge_rules(rules: Sequence[Rule], given: GateInput) -> list[CheckDocument]:
    """Every rule on every target, target by target."""
    found = [one for target in given.run.targets for one in _findings(rules, target, given)]
    tests = [one.finding.p for one in found if one.finding.p is not None]
    corrected = iter(holm(tests))
    return [_check(one, None if one.finding.p is None else next(corrected), given, len(tests)) for one in found]


def _findings(rules: Sequence[Rule], target: str, given: GateInput) -> Iterator[_Tested]:
    data, baseline = given.run.targets[target], given.baseline
    before = None if baseline is None else baseline.targets.get(target, TargetData())
    pairs = None
    if baseline is not None and before is not None:
        pairs = pair(before, data, [baseline.cases.get(case, -1) for case in given.run.cases])
    for rule in rules:
        sides = (
            {"the run": data} if rule.kind == "bound" or before is None else {"the run": data, "the baseline": before}
        )
        if (rule.metric, rule.kind) in given.unlike:
            yield _Tested(rule, target, _NOTHING)
            continue
        missing = "" if rule.metric == "errors" else _too_many_errors(rule, sides, given.max_errors)
        if missing:
            finding = Finding(missing=missing)
        elif rule.kind == "bound":
            finding = against_bound(rule, data)
        else:
            finding = Finding() if pairs is None else against_baseline(rule, pairs)
        yield _Tested(rule, target, finding)


def _too_many_errors(rule: Rule, sides: Mapping[str, TargetData], most: float) -> str:
    for side, data in sides.items():
        failed = sum(data.failed) / max(1, len(data))
        if failed > most:
            return f"{failed:.0%} of the calls of {side} failed, more than the {most:.0%} that may"
        ungraded = data.passed.count(-1) / max(1, len(data))
        if ungraded > most and rule.metric in ("score", "pass"):
            return f"{ungraded:.0%} of the samples of {side} have no grade, more than the {most:.0%} that may"
    return ""


def _check(one: _Tested, p: float | None, given: GateInput, tests: int) -> CheckDocument:
    rule, target, finding = one
    unlike = given.unlike.get((rule.metric, rule.kind))
    if unlike is not None:
        return _document(rule.text, target, "not judged", f"{rule.text} is not judged: {unlike}.")
    if p is None:
        none = rule.kind != "bound" and given.baseline is None
        verdict = "not judged" if none else "inconclusive"
        why = finding.missing or "it needs an earlier run to be held against, see --baseline"
        return _document(rule.text, target, verdict, f"{rule.text} cannot be judged: {why}.")
    limit = rule.show(rule.limit) if rule.kind == "bound" else rule.show_effect(rule.worse * rule.limit)
    level = given.alpha / tests
    if not finding.exceeded:
        verdict, said = "pass", f"no worse than {limit}. {_could_tell(rule, finding, level)}"
    elif p < given.alpha:
        verdict, said = "fail", f"worse than {limit}, and not by chance ({_of_p(p, tests)})."
    else:
        said = f"worse than {limit}, which may be chance ({_of_p(p, tests)}). {_could_tell(rule, finding, level)}"
        verdict = "inconclusive"
    reason = f"{rule.name} {finding.seen}: {said}".strip()
    return _document(rule.text, target, verdict, reason, finding, p=p)


def _document(
    rule: str, target: str, verdict: str, reason: str, finding: Finding = _NOTHING, *, p: float | None = None
) -> CheckDocument:
    return CheckDocument(
        rule=rule,
        target=target,
        verdict=verdict,
        effect=finding.effect,
        low=finding.low,
        high=finding.high,
        p=p,
        reason=reason,
    )


def _of_p(p: float, tests: int) -> str:
    return f"p {'= ' + format(p, '.2g') if p >= 0.0001 else '< 0.0001'}" + (
        f", corrected for {tests} tests" if tests > 1 else ""
    )


def _could_tell(rule: Rule, finding: Finding, level: float) -> str:
    """The least that samples that vary as these do would show, four times in five."""
    if finding.error is None:
        return ""
    if finding.error == 0:
        return f"What shows in fewer than {math.ceil(1 - math.log2(level))} cases could not have been told."
    told = detectable(finding.error, level, sides=1 if rule.kind == "bound" else 2)
    if rule.kind == "bound":
        end = rule.limit + rule.worse * told
        if end < 0 or (end > 1 and rule.metric in ("score", "pass", "errors")):
            return "So few samples can tell nothing."
        return f"{rule.show(end)} would have been told four times in five."
    # it must exceed the limit, too
    told = max(told, rule.limit + detectable(finding.error, 0.5))
    if told > 1 and rule.worse < 0:
        return "So few samples can tell no change."
    return f"A change of {rule.show_effect(rule.worse * told)} would have been told four times in five."


def _judge_cases(rule: CaseRule, target: str, data: TargetData, run: RunData) -> CheckDocument:
    """Counted, not tested: what a case can no longer reach has failed, and what it may yet reach is open."""
    names = list(run.cases)
    passed, missed = Counter[int](), Counter[int]()
    asked = Counter(data.cases)
    for case, grade in zip(data.cases, data.passed, strict=True):
        (passed if grade > 0 else missed)[case] += grade >= 0
    failing, open_ = [], []
    for case, times in asked.items():
        of = max(times, rule.of)
        wanted = rule.passes * of
        if (of - missed[case]) * rule.of < wanted:
            failing.append(case)
        elif passed[case] * rule.of < wanted:
            open_.append(case)
    verdict = "fail" if failing else "inconclusive" if open_ else "pass"
    said = {
        "fail": f"{len(failing)} of {len(asked)} cases pass too seldom: {_some(failing, names)}.",
        "inconclusive": f"{len(open_)} of {len(asked)} cases were judged too few times: {_some(open_, names)}.",
        "pass": f"all {len(asked)} cases pass {rule.passes} of {rule.of} times or more.",
    }[verdict]
    rates = [passed[case] / (passed[case] + missed[case]) for case in asked if passed[case] + missed[case]]
    return _document(rule.text, target, verdict, f"{rule.text}: {said}", Finding(effect=min(rates, default=None)))


def _some(cases: Sequence[int], names: Sequence[str]) -> str:
    more = f" and {len(cases) - _MOST_NAMED} more" if len(cases) > _MOST_NAMED else ""
    return ", ".join(names[case] for case in cases[:_MOST_NAMED]) + more


def _judge_slo(slo: Slo, target: str, data: TargetData) -> CheckDocument:
    """Fails where fewer are good than must be, and Wilson's interval has no room for so many."""
    text, good = slo_text(slo), good_samples(data, slo)
    share = None if good is None else pass_rate(good, len(data))
    if share is None:
        return _document(text, target, "inconclusive", f"{text}: a time that it bounds is known of no sample.")
    verdict = "pass"
    if share.value < slo.good:
        verdict = "fail" if share.high < slo.good else "inconclusive"
    said = {"pass": "enough", "fail": "too few, and not by chance", "inconclusive": "too few, which may be chance"}
    reason = (
        f"{share.value:.1%} of {len(data)} samples meet every bound (95 % interval {share.low:.1%} to "
        f"{share.high:.1%}); {slo.good:.4g} of them must: {said[verdict]}."
    )
    return _document(text, target, verdict, reason, Finding(*share))


def _judge_assertions(target: str, data: TargetData, asserted: bool) -> CheckDocument:
    """Without a rule: nothing may fail an assertion."""
    failed, passed, unknown = (data.passed.count(grade) for grade in (0, 1, -1))
    of = f"of {len(data)} samples"
    if not asserted:
        return _document("assertions", target, "not judged", "The suite asserts nothing.")
    if failed:
        verdict, said = "fail", f"{failed} {of} failed an assertion."
    elif unknown:
        verdict, said = "inconclusive", f"{unknown} {of} brought no answer that could be judged; no other failed."
    else:
        verdict, said = "pass", f"all {of[3:]} passed."
    share = pass_rate(passed, passed + failed)
    return _document("assertions", target, verdict, said, _NOTHING if share is None else Finding(*share))
