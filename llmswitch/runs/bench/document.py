"""`run.json` as types: what stands in it. Reports, `show`, `diff` and the gate read a run from this and its rows."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

__all__ = [
    "CheckDocument",
    "ClientDocument",
    "ComparisonDocument",
    "GateDocument",
    "IntervalDocument",
    "Percentiles",
    "RunDocument",
    "TargetDocument",
    "unmeasured",
]


class IntervalDocument(TypedDict):
    """An estimate and between what the true value lies."""

    value: float
    low: float
    high: float


#: "p50", "p90", "p95", "p99" -> None where the sample cannot support it
Percentiles = dict[str, IntervalDocument | None]


class ClientDocument(TypedDict):
    """How this machine did while it measured. `paced` tells that dispatch was slowed down for its sake; `in_flight` is
    the mean number of calls under way, `asked_rps` what was asked for in an open loop."""

    loop_lag_p99_s: float | None
    cpu_fraction: float | None
    saturated: bool
    offered_rps: float | None
    asked_rps: float | None
    paced: bool
    in_flight: float | None


def unmeasured() -> ClientDocument:
    """How this machine did while it did not measure."""
    return ClientDocument(
        loop_lag_p99_s=None,
        cpu_fraction=None,
        saturated=False,
        offered_rps=None,
        asked_rps=None,
        paced=False,
        in_flight=None,
    )


class TargetDocument(TypedDict):
    """One target's figures. `adjusted_duration_s` counts a failed call as one that took for ever; `duration_s` and all
    other times are of calls that were answered."""

    target: str
    provider: str
    request_model: str
    base_url: str
    parameters: dict[str, Any]
    requests: int
    samples: int
    errors: dict[str, int]
    #: samples that were answered and could not be judged
    ungraded: int
    retries: int
    finish_reasons: dict[str, int]
    duration_s: Percentiles
    adjusted_duration_s: Percentiles
    scheduled_latency_s: Percentiles
    time_to_first_token_s: Percentiles
    itl_s: Percentiles
    output_tokens_per_s: Percentiles
    pass_rate: IntervalDocument | None
    pass_at_k: dict[str, float]
    pass_hat_k: dict[str, float]
    score: IntervalDocument | None
    #: {"amount", "currency", "exact", "samples"}: of the samples whose cost is known; None where none is
    cost: dict[str, Any] | None
    usage: dict[str, Any]
    goodput_rps: float | None
    good_fraction: float | None


class ComparisonDocument(TypedDict):
    """Two targets, case by case. `effect` is b against a: a share for times and cost (+0.1 is a tenth more), points for
    the score; `p` is corrected for all comparisons of the run, `repeats_needed` how many more would settle it."""

    a: str
    b: str
    metric: str
    effect: float | None
    low: float | None
    high: float | None
    p: float | None
    verdict: str
    repeats_needed: int | None


class CheckDocument(TypedDict):
    """One rule on one target. `effect`, `low` and `high` are in the rule's own unit, `reason` a sentence."""

    rule: str
    target: str
    verdict: str
    effect: float | None
    low: float | None
    high: float | None
    p: float | None
    reason: str


class GateDocument(TypedDict):
    """`pass`, `fail`, `inconclusive` or `not judged`, and why."""

    verdict: str
    checks: list[CheckDocument]
    #: the folder of the run that this one was measured against
    baseline: str | None
    alpha: float
    reason: str


class RunDocument(TypedDict):
    """The whole of `run.json`."""

    schema: str
    id: str
    suite: str
    suite_path: str
    fingerprint: str
    #: whether the suite has an assertion
    asserted: bool
    complete: bool
    seed: int
    started_at: str
    finished_at: str | None
    #: seconds during which requests were offered, over all sittings of a resumed run
    measured_s: float
    profile: str | None
    #: whether the samples were asked as a batch: no time is known then, and cost is at the batch rate
    batch: NotRequired[bool]
    #: `Options`, as JSON
    options: dict[str, Any]
    #: what else of the command line it takes to go on
    asked: dict[str, Any]
    #: which models grade: by target its `provider`, `request_model` and `parameters`
    judges: NotRequired[dict[str, dict[str, Any]]]
    cases: int
    #: samples of a closed loop; None where an open loop takes as many as it takes
    planned: int | None
    warmup: dict[str, Any]
    client: ClientDocument
    targets: list[TargetDocument]
    comparisons: list[ComparisonDocument]
    gate: GateDocument
    warnings: list[str]
    blessed: NotRequired[bool]
