"""What routing saves and what it costs in quality: `python -m benchmarks.routing [--run FOLDER]`.

From recorded results: a bench run of several targets on a suite whose answers are known (FOLDER, with two repeats or
more for `agree`), or, without one, from results drawn from the table below, so that everybody can see what is assumed:
a tier that is wrong makes the case's usual mistake three times in five, which asking twice does not show. Half of the
cases are evidence, the other half is what is counted: nobody is judged on what he was chosen by.

Strategies: always one tier; a tier drawn at random for each case; *evidence* (the cheapest tier that is no more than
5 pp worse than the best for that kind of task, by interval); *cascade*, which goes up a tier where the answer is a
refusal, breaks off, or, with `agree`, is another one when asked twice. What a cascade asks in vain is in its cost. A
`*` marks the Pareto front: nothing else is both cheaper and better.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

from llmswitch.assertions.base import Answer, Assertion
from llmswitch.assertions.grade import judged
from llmswitch.evidence import WHOLE, Evidence
from llmswitch.intervals import pass_rate
from llmswitch.runs.bench.model import SampleRow
from llmswitch.runs.bench.rows import read_rows
from llmswitch.runs.call import Call
from llmswitch.runs.routing import alike, choose
from llmswitch.types import Target

_MARGIN = 0.05
#: tier -> USD a call, and for each kind of task how often it is right and how often it refuses
_DRAWN: Mapping[str, tuple[str, Mapping[str, tuple[float, float]]]] = {
    "cheap": ("0.0002", {"extract": (0.97, 0.0), "reason": (0.45, 0.15)}),
    "middle": ("0.0015", {"extract": (0.98, 0.0), "reason": (0.75, 0.05)}),
    "strong": ("0.0100", {"extract": (0.98, 0.0), "reason": (0.93, 0.01)}),
}
_CASES = 800
#: of wrong answers to a case, the share that is the same mistake
_USUAL = 0.6


class Outcome(NamedTuple):
    """What a strategy came to on one case: USD, and the share of times that it was right."""

    cost: Decimal
    quality: float


def drawn() -> list[SampleRow]:
    """Two answers of every tier to every case."""
    dice = random.Random(11)  # noqa: S311  # repeatable, no secret
    rows = []
    for number in range(_CASES):
        task = "extract" if dice.random() < 0.6 else "reason"
        for tier, (price, skill) in _DRAWN.items():
            right, refuses = skill[task]
            for repeat in range(2):
                passed = dice.random() < right
                text = f"It is {number}."
                if not passed:
                    refused = dice.random() < refuses / (1 - right)
                    wrong = f"It is {number + 1 if dice.random() < _USUAL else dice.randrange(10**6)}."
                    text = "I'm sorry, but I can't help with that." if refused else wrong
                cost = {"amount": price, "currency": "USD", "source": "table", "exact": True}
                rows.append(
                    SampleRow(
                        f"1.{number}",
                        tier,
                        repeat,
                        text=text,
                        passed=passed,
                        cost=cost,
                        finish_reason="stop",
                        tasks=(task,),
                    )
                )
    return rows


Cases = dict[str, dict[str, list[SampleRow]]]


def by_case(rows: Iterable[SampleRow]) -> Cases:
    """Case -> target -> its answers; cases that not every target answered, and was judged on, are left out."""
    found: Cases = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.passed is not None and row.cost is not None:
            found[row.case][row.target].append(row)
    targets = {target for case in found.values() for target in case}
    return {case: answers for case, answers in found.items() if set(answers) == targets}


def evidence_from(cases: Cases, task: str) -> list[Evidence]:
    """What a bench of these cases would put on record for a task."""
    tally: dict[str, list[bool]] = defaultdict(list)
    for answers in cases.values():
        for target, rows in answers.items():
            tally[target] += [bool(row.passed) for row in rows if task == WHOLE or task in row.tasks]
    found = []
    for target, passes in tally.items():
        share = pass_rate(sum(passes), len(passes))
        if share is None:
            continue
        figures: dict[str, Any] = dict.fromkeys(Evidence._fields)
        figures |= {"run_id": "r", "suite": "evidence", "target": target, "provider": target, "request_model": target}
        figures |= {"task": task, "judged": len(passes), "passed": sum(passes), "low": share.low, "high": share.high}
        found.append(Evidence(**figures))
    return found


def cost(row: SampleRow) -> Decimal:
    return Decimal((row.cost or {})["amount"])


def one(answers: Mapping[str, Sequence[SampleRow]], target: str) -> Outcome:
    rows = answers[target]
    return Outcome(
        sum((cost(row) for row in rows), Decimal(0)) / len(rows), statistics.fmean(bool(row.passed) for row in rows)
    )


def cascaded(answers: Mapping[str, Sequence[SampleRow]], tiers: Sequence[str], *, agree: bool) -> Outcome:
    """The first tier whose answer does."""
    spent = Decimal(0)
    for tier in tiers:
        rows = answers[tier]
        row = rows[0]
        spent += cost(row)
        enough = (
            judged(Assertion("is-refusal", negated=True), Answer(row.text or "")).passed and row.finish_reason == "stop"
        )
        if enough and agree and tier != tiers[-1] and len(rows) > 1:
            spent += cost(rows[1])
            enough = alike(row.text or "", rows[1].text or "")
        if enough or tier == tiers[-1]:
            return Outcome(spent, float(bool(row.passed)))
    raise AssertionError("there is a last tier")


def strategies(known: Cases, tiers: Sequence[str]) -> dict[str, Callable[[Mapping[str, Sequence[SampleRow]]], Outcome]]:
    """By name; `known` is the half that is evidence."""
    dice = random.Random(5)  # noqa: S311  # repeatable, no secret
    calls = [_call(tier) for tier in tiers]
    chosen: dict[str, str] = {}

    def by_evidence(answers: Mapping[str, Sequence[SampleRow]]) -> Outcome:
        task = next(iter(next(iter(answers.values()))[0].tasks), WHOLE)
        if task not in chosen:
            choice = choose(calls, evidence_from(known, task), margin=_MARGIN)
            chosen[task] = tiers[choice.place if choice else -1]
        return one(answers, chosen[task])

    return {
        **{f"always {tier}": partial(one, target=tier) for tier in tiers},
        "random": lambda answers: one(answers, dice.choice(tiers)),
        "evidence": by_evidence,
        "cascade": lambda answers: cascaded(answers, tiers, agree=False),
        "cascade, agree": lambda answers: cascaded(answers, tiers, agree=True),
    }


def _call(tier: str) -> Call:
    """As much of a call as a choice looks at."""
    parts = SimpleNamespace(
        endpoint=SimpleNamespace(provider=tier), request=SimpleNamespace(model=tier), target=Target(tier, text=tier)
    )
    return cast(Call, parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a run's folder, with samples.jsonl")
    options = parser.parse_args()
    cases = by_case(drawn() if options.run is None else read_rows(options.run / "samples.jsonl"))
    names = sorted(cases)
    random.Random(3).shuffle(names)  # noqa: S311  # repeatable, no secret
    known = {name: cases[name] for name in names[::2]}
    counted = [cases[name] for name in names[1::2]]
    if not counted:
        raise SystemExit("no case was answered by every target, judged, and of known cost.")
    prices = {tier: statistics.fmean(float(one(answers, tier).cost) for answers in counted) for tier in counted[0]}
    tiers = sorted(prices, key=prices.__getitem__)
    print(f"{len(known)} cases as evidence, {len(counted)} counted; tiers, cheapest first: {', '.join(tiers)}")
    found = {
        name: (
            statistics.fmean(float(outcome.cost) for outcome in outcomes),
            statistics.fmean(o.quality for o in outcomes),
        )
        for name, strategy in strategies(known, tiers).items()
        for outcomes in [[strategy(answers) for answers in counted]]
    }
    dearest = found[f"always {tiers[-1]}"][0]
    for name, (price, quality) in sorted(found.items(), key=lambda item: item[1]):
        beaten = any(p <= price and q >= quality and (p, q) != (price, quality) for p, q in found.values())
        told = f"${price * 1000:8.4f} a thousand  {price / dearest:5.0%}  right {quality:.3f}"
        print(f"  {'' if beaten else '*':1} {name:<16} {told}")


if __name__ == "__main__":
    main()
