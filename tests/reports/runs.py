"""Runs of a bench, as they are read from their folder, built by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from llmswitch.runs.bench.document import (
    CheckDocument,
    ComparisonDocument,
    IntervalDocument,
    Percentiles,
    RunDocument,
    TargetDocument,
)
from llmswitch.runs.bench.model import Key, SampleRow

__all__ = ["TARGETS", "check", "compared", "many_rows", "nights", "percentiles", "row", "rows_of", "run", "target"]

TARGETS = (
    "claude",
    "openai:gpt-6-luna?temperature=0.2&reasoning_effort=high",
    "gemini",
    "azure:our-deployment",
)


def around(value: float, share: float = 0.04) -> IntervalDocument:
    """`value` and a share of it to either side."""
    return {"value": value, "low": value * (1 - share), "high": value * (1 + share)}


def percentiles(p50: float, *, p95: float | None = None) -> Percentiles:
    """As of a sample that is too small for p99."""
    tail = around(p95, 0.1) if p95 is not None else None
    return {"p50": around(p50), "p90": tail, "p95": tail, "p99": None}


def target(
    name: str = "claude",
    *,
    p50: float = 1.2,
    passed: float | None = 0.95,
    cost: str | None = "0.120000",
    samples: int = 100,
    errors: dict[str, int] | None = None,
    **changed: Any,
) -> TargetDocument:
    """One target's figures; `cost` in USD of all samples, None where the price is unknown."""
    found: TargetDocument = {
        "target": name,
        "provider": name.partition(":")[0],
        "request_model": f"{name.partition('?')[0].rpartition(':')[2]}-1",
        "base_url": "https://vendor.invalid/v1",
        "parameters": {"temperature": 0.2},
        "requests": samples + 3,
        "samples": samples,
        "errors": errors or {},
        "ungraded": 0,
        "retries": 3,
        "finish_reasons": {"stop": samples},
        "duration_s": percentiles(p50, p95=p50 * 2.2),
        "adjusted_duration_s": percentiles(p50, p95=p50 * 2.2),
        "scheduled_latency_s": {"p50": None, "p90": None, "p95": None, "p99": None},
        "time_to_first_token_s": percentiles(p50 / 3, p95=p50),
        "itl_s": percentiles(0.02),
        "output_tokens_per_s": percentiles(60 / p50),
        "pass_rate": None if passed is None else {"value": passed, "low": passed - 0.05, "high": min(1, passed + 0.03)},
        "pass_at_k": {"1": passed or 0.0},
        "pass_hat_k": {"1": passed or 0.0},
        "score": None if passed is None else {"value": passed, "low": passed - 0.04, "high": min(1, passed + 0.03)},
        "cost": None if cost is None else {"amount": cost, "currency": "USD", "exact": True, "samples": samples},
        "usage": {"input_tokens": 2000, "output_tokens": 4000, "estimated": False},
        "goodput_rps": None,
        "good_fraction": None,
    }
    return {**found, **changed}  # type: ignore[typeddict-item]  # a test names the fields that it needs


def compared(a: str, b: str, metric: str = "duration", **changed: Any) -> ComparisonDocument:
    """b is 12 % slower than a, and that is no chance."""
    found: ComparisonDocument = {
        "a": a,
        "b": b,
        "metric": metric,
        "effect": 0.12,
        "low": 0.05,
        "high": 0.19,
        "p": 0.003,
        "verdict": "worse",
        "repeats_needed": None,
    }
    return {**found, **changed}  # type: ignore[typeddict-item]  # as above


def check(
    rule: str = "p95.duration:+10%", name: str = "claude", verdict: str = "fail", **changed: Any
) -> CheckDocument:
    """A rule on a target, and what came of it."""
    found: CheckDocument = {
        "rule": rule,
        "target": name,
        "verdict": verdict,
        "effect": 0.14,
        "low": 0.11,
        "high": 0.17,
        "p": 0.002,
        "reason": "14 % slower than the baseline (11 % to 17 %), and 10 % are allowed",
    }
    return {**found, **changed}  # type: ignore[typeddict-item]  # as above


def run(*targets: TargetDocument, verdict: str = "pass", **changed: Any) -> RunDocument:
    """A whole run of `targets`; fields by name."""
    found: RunDocument = {
        "schema": "llmswitch/run/1",
        "id": "20261123-020000-abcd",
        "suite": "support answers",
        "suite_path": "suite.yaml",
        "fingerprint": "0" * 64,
        "asserted": True,
        "complete": True,
        "seed": 7,
        "started_at": "2026-11-23T02:00:00+00:00",
        "finished_at": "2026-11-23T02:10:00+00:00",
        "measured_s": 600.0,
        "profile": "nightly",
        "options": {"repeats": 5, "warmup": 0, "seed": 7, "load": {"concurrency": 4, "rate": None}, "alpha": 0.05},
        "asked": {},
        "cases": 20,
        "planned": sum(found["samples"] for found in targets),
        "warmup": {"samples": 0, "errors": 0},
        "client": {
            "loop_lag_p99_s": 0.002,
            "cpu_fraction": 0.11,
            "saturated": False,
            "offered_rps": 3.9,
            "asked_rps": None,
            "paced": False,
            "in_flight": 3.8,
        },
        "targets": list(targets),
        "comparisons": [],
        "gate": {"verdict": verdict, "checks": [], "baseline": None, "alpha": 0.05, "reason": ""},
        "warnings": [],
    }
    return {**found, **changed}  # type: ignore[typeddict-item]  # as above


def row(
    case: str = "1.1", name: str = "claude", repeat: int = 0, *, passed: bool | None = True, **changed: Any
) -> SampleRow:
    """One answered sample that passed its one assertion, or did not."""
    values: dict[str, Any] = {
        "prompt": f"Question {case}: how long may I return a pair of shoes?",
        "prompt_sha256": "0" * 64,
        "vars": {"item": "shoes"},
        "text": "You may return them within **30 days**.",
        "finish_reason": "stop",
        "usage": {"input_tokens": 20, "output_tokens": 40, "estimated": False},
        "cost": {"amount": "0.0012", "currency": "USD", "source": "test", "exact": True},
        "time_to_first_token_s": 0.4,
        "itl_s": 0.02,
        "output_tokens_per_s": 50.0,
        "duration_s": 1.2,
        "score": None if passed is None else float(passed),
        "assertions": ({"type": "contains", "pass": passed, "score": passed, "reason": "'30 days' is not in it"},),
        "requests": 1,
        "response_model": "m-1",
        "at_s": 1.0,
    }
    return SampleRow(case, name, repeat, passed=passed, **{**values, **changed})


def failed(case: str, name: str, repeat: int = 0, kind: str = "timeout") -> SampleRow:
    """A call that never was answered."""
    error = {"kind": kind, "message": f"{name} did not answer in 60 s. Raise --timeout."}
    empty = {"text": None, "duration_s": None, "time_to_first_token_s": None, "assertions": (), "cost": None}
    return row(case, name, repeat, passed=None, error=error, **empty)


def rows_of(rows: Sequence[SampleRow]) -> Callable[[], Iterator[SampleRow]]:
    """What reads them, from the first on at each call."""
    return lambda: iter(rows)


def many_rows(targets: Sequence[str], cases: int, repeats: int, *, text: str = "") -> Callable[[], Iterator[SampleRow]]:
    """Rows as of a real run, the same at each call: times with a long tail, some that fail, some that do not pass."""

    def rows() -> Iterator[SampleRow]:
        random = Random(7)  # noqa: S311  # no secret
        for case in range(1, cases + 1):
            for repeat in range(repeats):
                for place, name in enumerate(targets):
                    yield _drawn(random, (f"1.{case}", name, repeat), place, text)

    return rows


def _drawn(random: Random, key: Key, place: int, text: str) -> SampleRow:
    case, name, repeat = key
    if random.random() < 0.012 * place:
        return failed(case, name, repeat, random.choice(("timeout", "rate_limit", "server")))
    duration = 0.4 * (place + 1) ** 0.6 * random.lognormvariate(0, 0.35)
    hard = int(case.rpartition(".")[2]) % 6 == 0
    passed = random.random() > (0.5 if hard else 0.02) * (1.3 if place == 2 else 0.6)
    return row(
        case,
        name,
        repeat,
        passed=passed,
        duration_s=duration,
        time_to_first_token_s=duration * 0.3,
        description="a customer who is angry" if hard else None,
        **({"text": text} if text else {}),
    )


def nights(count: int, *targets: TargetDocument) -> list[RunDocument]:
    """Earlier runs, a night apart, the oldest first, with a drift; the fourth is blessed."""
    random = Random(3)  # noqa: S311  # no secret
    found = []
    for night in range(count):
        shifted: list[TargetDocument] = []
        for one in targets:
            p50 = one["duration_s"]["p50"]
            middle = (p50["value"] if p50 else 1.0) * random.uniform(0.9, 1.1)
            rate = one["pass_rate"]["value"] if one["pass_rate"] else None
            passed = None if rate is None else min(1.0, rate * random.uniform(0.97, 1.03))
            shifted.append(
                target(one["target"], p50=middle, passed=passed, cost=one["cost"]["amount"] if one["cost"] else None)
            )
        day = f"2026-11-{night + 1:02}T02:00:00+00:00"
        found.append(run(*shifted, id=f"202611{night + 1:02}-020000-aaaa", started_at=day, blessed=night == 3))
    return found
