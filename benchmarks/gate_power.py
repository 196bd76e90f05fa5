"""Whether the gate keeps its word: `python -m benchmarks.gate_power`.

Nights are simulated, two for each verdict, and judged by the gate itself on the rules that a baseline alone means
(score:-2pp, p95.duration:+10%, cost:+5%). First nights on which nothing changed: how often the gate fails, how often
one of its tests alone takes chance for a change (whatever the size), and how often a gate fails that looks at the
figures and makes no test. Then nights that are 15 % slower and lose 5 points of score: how often that is caught, by
the number of samples, and how many it takes to catch four in five.

Latencies are lognormal around a median of each case's own, with one call in thirty 2 to 8 times as slow; answers pass
with a chance of each case's own, 0.86 on average.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np

from llmswitch.intervals import pass_rate
from llmswitch.runs.bench.data import RunData
from llmswitch.runs.bench.document import CheckDocument
from llmswitch.runs.bench.gate import GateInput, judge_gate
from llmswitch.runs.bench.model import SampleRow
from llmswitch.runs.bench.rules import DEFAULT_BASELINE_RULES, Rule, parse_rules

_ALPHA = 0.05
_SIZES = (40, 80, 160, 320, 640)
_RULES = {rule.text: rule for rule in parse_rules(DEFAULT_BASELINE_RULES) if isinstance(rule, Rule)}
_MEDIAN_RULE = "p50.duration:+10%"


class Scene(NamedTuple):
    """What a night is like. `spread` is how far the cases' medians lie apart, `drift` how far the whole night's speed
    strays from call to call (both as standard deviations of a logarithm), `alike` the share of cases whose repeats are
    all the same within a night."""

    name: str
    cases: int = 40
    repeats: int = 5
    targets: int = 1
    spread: float = 0.4
    drift: float = 0.0
    alike: float = 0.0


_SCENES = (
    Scene("heavy tails"),
    Scene("one repeat", cases=120, repeats=1),
    Scene("few cases, 25 repeats", cases=6, repeats=25),
    Scene("cases far apart", spread=1.0),
    Scene("drift within a night, all targets alike", drift=0.15),
    Scene("5 repeats, half of them alike", alike=0.5),
    Scene("drift, and repeats alike, 3 targets", targets=3, drift=0.15, alike=0.5),
)


def night(scene: Scene, suite: int, seed: int, *, slower: float = 1.0, loss: float = 0.0) -> Iterator[SampleRow]:
    """One night's rows: the same `suite` has the same cases, another `seed` is another night."""
    of_suite, drawn = np.random.default_rng(suite), np.random.default_rng([suite, seed, 1])
    medians = np.exp(of_suite.normal(0, scene.spread, scene.cases))
    chances = of_suite.beta(4, 0.6, scene.cases)
    lengths = np.exp(of_suite.normal(5, 0.5, scene.cases))
    keys = itertools.product(range(scene.cases), range(scene.targets))
    alike = {key: Draw(drawn) for key in keys if drawn.random() < scene.alike}
    speed = drawn.normal(0, scene.drift)
    for repeat in range(scene.repeats):
        for case in range(scene.cases):
            # half of what drifts is over after 14 blocks
            speed = 0.95 * speed + drawn.normal(0, scene.drift * (1 - 0.95**2) ** 0.5)
            for target in range(scene.targets):
                one = alike.get((case, target)) or Draw(drawn)
                duration = medians[case] * slower * np.exp(speed + one.noise + drawn.normal(0, 0.1)) * one.stretch
                passed = bool(one.luck < chances[case] - loss)
                tokens = int(lengths[case] * np.exp(one.length))
                yield SampleRow(
                    case=f"1.{case + 1}",
                    target=f"target {target + 1}",
                    repeat=repeat,
                    text="",
                    duration_s=float(duration),
                    score=float(passed),
                    passed=passed,
                    cost={"amount": f"{tokens * 1e-5:.5f}", "currency": "USD", "exact": True},
                )


class Draw:
    """What chance makes of one answer."""

    def __init__(self, drawn: np.random.Generator) -> None:
        self.noise = drawn.normal(0, 0.35)
        self.stretch = drawn.uniform(2, 8) if drawn.random() < 1 / 30 else 1.0
        self.luck = drawn.random()
        self.length = drawn.normal(0, 0.2)


def judged(scene: Scene, seed: int, slower: float, loss: float, extra: str | None) -> list[CheckDocument]:
    """The gate's checks of one night against the one before."""
    before = RunData.read(night(scene, seed, 0))
    after = RunData.read(night(scene, seed, 1, slower=slower, loss=loss))
    given = GateInput(after, asserted=True, alpha=_ALPHA, baseline=before, baseline_id="before")
    checks = judge_gate(given)["checks"]
    if extra is not None:
        checks += judge_gate(given._replace(rules=parse_rules([extra])))["checks"]
    return checks


def unchanged(job: tuple[Scene, int]) -> tuple[bool, bool, bool]:
    """Of a night on which nothing changed: whether the gate fails, a test alone would, a look at the figures would."""
    checks = judged(*job, 1.0, 0.0, None)
    found = [check["p"] is not None and check["p"] < _ALPHA for check in checks]
    naive = [check["effect"] is not None and _RULES[check["rule"]].exceeds(check["effect"]) for check in checks]
    return any(check["verdict"] == "fail" for check in checks), any(found), any(naive)


def changed(job: tuple[Scene, int]) -> tuple[bool, ...]:
    """Of a night that is 15 % slower and loses 5 points: whether each rule, the median's, and the gate catch it."""
    checks = judged(*job, 1.15, 0.05, _MEDIAN_RULE)
    failed = {check["rule"] for check in checks if check["verdict"] == "fail"}
    return "score:-2pp" in failed, "p95.duration:+10%" in failed, bool(failed & _RULES.keys()), _MEDIAN_RULE in failed


def _share(hits: int, nights: int) -> str:
    found = pass_rate(hits, nights)
    assert found is not None  # noqa: S101  # there is a night
    return f"{found.value:6.1%} ({found.low:.1%} to {found.high:.1%})"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=200, help="nights of each kind (200)")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other nights (1)")
    return parser.parse_args()


def main() -> int:
    """Print both tables; 1 where a scene fails more often than alpha allows."""
    options = _options()
    nights = range(options.seed * 1_000_000, options.seed * 1_000_000 + options.nights)
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        print(f"{len(nights)} nights without a change, alpha {_ALPHA:g}: share that fails, with Wilson's interval")
        print(f"{'':42}{'gate':>26}{'its tests alone':>26}{'naive, no test':>26}")
        worst = 0
        for scene in _SCENES:
            found = list(workers.map(unchanged, [(scene, seed) for seed in nights], chunksize=4))
            hits = [sum(each) for each in zip(*found, strict=True)]
            worst = max(worst, hits[0])
            print(f"{scene.name:42}" + "".join(f"{_share(hit, len(nights)):>26}" for hit in hits), flush=True)
        kept = worst <= _ALPHA * len(nights)
        print(f"at most {_ALPHA:.0%} of nights fail without a change: {'met' if kept else 'MISSED'}\n")
        _print_power(workers, nights)
    return 0 if kept else 1


def _print_power(workers: ProcessPoolExecutor, nights: range) -> None:
    columns = ("score:-2pp", "p95.duration:+10%", "any of the gate's", f"{_MEDIAN_RULE} alone")
    print(f"{len(nights)} nights 15 % slower and 5 points worse, 5 repeats, 1 target: share caught")
    print(f"{'samples':10}" + "".join(f"{column:>26}" for column in columns))
    needed: dict[str, int] = {}
    for cases in _SIZES:
        scene = Scene("", cases=cases)
        found = list(workers.map(changed, [(scene, seed) for seed in nights], chunksize=2))
        hits = [sum(each) for each in zip(*found, strict=True)]
        print(f"{cases * 5:<10}" + "".join(f"{_share(hit, len(nights)):>26}" for hit in hits), flush=True)
        for column, hit in zip(columns, hits, strict=True):
            if hit >= 0.8 * len(nights):
                needed.setdefault(column, cases * 5)
    for column in columns:
        enough = f"{needed[column]} samples" if column in needed else f"more than {_SIZES[-1] * 5} samples"
        print(f"caught four times in five by {column}: {enough}")


if __name__ == "__main__":
    sys.exit(main())
