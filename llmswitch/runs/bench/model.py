"""What a bench is told, and the rows that it leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

__all__ = ["Key", "Load", "Options", "Rows", "SampleRow", "Slo"]

#: what a sample is known by: the case's id, the target as typed, and which asking of it this is, from 0
Key = tuple[str, str, int]


class Load(NamedTuple):
    """How requests are offered. `rate` None is a closed loop: each target has at most `concurrency` under way.

    With a `rate` (requests a second to each target) it is an open loop for `duration_s`: a request is due whether or
    not those before it were answered, and latency counts from then.
    """

    concurrency: int = 4
    rate: float | None = None
    arrival: Literal["constant", "poisson"] = "constant"
    duration_s: float | None = None
    #: whether dispatch may be slowed down so that this machine is not what is measured
    paced: bool = True


class Slo(NamedTuple):
    """What a good request keeps to, in seconds, None for no bound; `good` is the share that must be good."""

    ttft_s: float | None = None
    itl_s: float | None = None
    e2e_s: float | None = None
    good: float = 0.95


@dataclass(frozen=True, slots=True)
class Options:
    """How a run is made, as it is kept in `run.json`. A resumed run takes all of it from there."""

    repeats: int = 1
    warmup: int = 0
    seed: int = 0
    load: Load = field(default_factory=Load)
    slo: Slo | None = None
    fail_if: tuple[str, ...] = ()
    baseline: str | None = None
    alpha: float = 0.05
    #: the share of a target's samples that may fail before nothing is said of it
    max_errors: float = 0.2
    #: whether the samples are asked as a batch, which tells no time
    batch: bool = False

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        values = {name: getattr(self, name) for name in self.__slots__}
        slo = None if self.slo is None else self.slo._asdict()
        return {**values, "load": self.load._asdict(), "slo": slo, "fail_if": list(self.fail_if)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Options:
        """What `as_dict` gave. Raises TypeError, KeyError where it did not."""
        slo = None if values["slo"] is None else Slo(**values["slo"])
        return cls(**{**values, "load": Load(**values["load"]), "slo": slo, "fail_if": tuple(values["fail_if"])})


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One line of `samples.jsonl`. Times in seconds; unknown is None.

    `error` is None or {"kind", "message", …} as in the contract. `passed` and `score` are None where nothing could be
    judged: the call failed, or a judge did. `requests` counts HTTP attempts, `at_s` is when the call began (or was
    due) after the run's start. `cost` is {"amount", "currency", "source", "exact"} or None, `usage` as `ask --json`
    prints it and "estimated".
    """

    case: str
    target: str
    repeat: int
    prompt: str = ""
    prompt_sha256: str = ""
    vars: Mapping[str, Any] = field(default_factory=dict)
    text: str | None = None
    finish_reason: str | None = None
    usage: Mapping[str, Any] | None = None
    cost: Mapping[str, Any] | None = None
    time_to_first_token_s: float | None = None
    itl_s: float | None = None
    output_tokens_per_s: float | None = None
    duration_s: float | None = None
    scheduled_latency_s: float | None = None
    error: Mapping[str, Any] | None = None
    score: float | None = None
    passed: bool | None = None
    #: each {"type", "pass", "score", "reason", "weight", "metric"}
    assertions: tuple[Mapping[str, Any], ...] = ()
    requests: int = 0
    response_model: str | None = None
    at_s: float | None = None
    description: str | None = None
    #: what the judges of its answer cost, as `cost`; None where none was asked, or where it is unknown
    judge_cost: Mapping[str, Any] | None = None
    #: what kinds of task its case stands for
    tasks: tuple[str, ...] = ()
    #: whether it was asked by batch, which tells no time
    batch: bool = False

    @property
    def key(self) -> Key:
        """What the sample is known by."""
        return self.case, self.target, self.repeat

    @property
    def answered(self) -> bool:
        """Whether a whole answer came, judged or not: such a call is never made again."""
        return self.text is not None

    def as_dict(self) -> dict[str, Any]:
        """The row as the contract names its fields."""
        row = {name: getattr(self, name) for name in self.__slots__}
        row["pass"] = row.pop("passed")
        return {**row, "assertions": [dict(one) for one in self.assertions], "tasks": list(self.tasks)}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> SampleRow:
        """A row as it was written; fields of a later version are left out. Raises KeyError, TypeError."""
        known = {name: row[name] for name in cls.__slots__ if name in row}
        several = {name: tuple(row.get(name) or ()) for name in ("assertions", "tasks")}
        return cls(**{**known, "passed": row.get("pass"), **several})


#: reads a run's rows, from the first on at each call
Rows = Callable[[], Iterator[SampleRow]]
