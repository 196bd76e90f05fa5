"""A run's rows as columns of numbers: what figures and verdicts are worked out from, at some bytes a sample."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from llmswitch.runs.bench.model import SampleRow

__all__ = ["TIMES", "RunData", "TargetData"]

#: the columns that tell how fast an answer came, by their names in a `SampleRow`
TIMES = ("duration_s", "scheduled_latency_s", "time_to_first_token_s", "itl_s", "output_tokens_per_s")
_TOKENS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "reasoning_output_tokens",
)


@dataclass(slots=True)
class TargetData:
    """One target's samples, item i of each column the i-th of them.

    `times` holds the columns of `TIMES` in seconds (of answered calls alone), `scores` and `costs` (USD) the rest; NaN
    is unknown. `passed` is 1, 0, or -1 where nothing could be judged, `failed` 1 where the call brought an error.
    `cases` are numbers of `RunData.cases`.
    """

    cases: array[int] = field(default_factory=lambda: array("l"))
    repeats: array[int] = field(default_factory=lambda: array("l"))
    times: dict[str, array[float]] = field(default_factory=lambda: {name: array("d") for name in TIMES})
    scores: array[float] = field(default_factory=lambda: array("d"))
    costs: array[float] = field(default_factory=lambda: array("d"))
    passed: array[int] = field(default_factory=lambda: array("b"))
    failed: array[int] = field(default_factory=lambda: array("b"))
    errors: Counter[str] = field(default_factory=Counter)
    finish_reasons: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    retries: int = 0
    #: the sum of each kind of token that was counted at all, and of how many samples the count is estimated
    tokens: Counter[str] = field(default_factory=Counter)
    estimated: int = 0
    #: to the last digit, of the `priced` samples whose cost is known
    cost: Decimal = Decimal(0)
    currency: str = "USD"
    exact: bool = True
    priced: int = 0

    def __len__(self) -> int:
        return len(self.cases)

    def add(self, case: int, row: SampleRow) -> None:
        """One more sample."""
        answered = row.error is None
        self.cases.append(case)
        self.repeats.append(row.repeat)
        for name in TIMES:
            self.times[name].append(_number(getattr(row, name) if answered else None))
        self.scores.append(_number(row.score))
        self.passed.append(-1 if row.passed is None else int(row.passed))
        self.failed.append(int(not answered))
        self.requests += row.requests
        self.retries += max(0, row.requests - 1)
        if row.error is not None:
            self.errors[str(row.error.get("kind") or "unknown")] += 1
        if row.finish_reason is not None:
            self.finish_reasons[row.finish_reason] += 1
        self._count(row.usage or {})
        self.costs.append(self._pay(row.cost))

    def _count(self, usage: Mapping[str, Any]) -> None:
        for name in _TOKENS:
            if usage.get(name) is not None:
                self.tokens[name] += usage[name]
        self.estimated += bool(usage.get("estimated"))

    def _pay(self, cost: Mapping[str, Any] | None) -> float:
        if cost is None or cost.get("amount") is None:
            return math.nan
        amount = Decimal(str(cost["amount"]))
        self.cost += amount
        self.priced += 1
        self.exact = self.exact and bool(cost.get("exact", True))
        self.currency = cost.get("currency") or self.currency
        return float(amount)

    @property
    def usage(self) -> dict[str, Any]:
        """The tokens of all samples together, None where nobody counted, and of how many the count is an estimate."""
        return {**{name: self.tokens.get(name) for name in _TOKENS}, "estimated": self.estimated}


@dataclass(slots=True)
class RunData:
    """All samples of a run: its targets as they were typed, and the cases' ids with the numbers that stand for them,
    in the order in which they were first seen."""

    targets: dict[str, TargetData] = field(default_factory=dict)
    cases: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, rows: Iterable[SampleRow]) -> RunData:
        """Take in `rows`, none of which is kept. Each sample must come once."""
        data = cls()
        for row in rows:
            number = data.cases.setdefault(row.case, len(data.cases))
            data.targets.setdefault(row.target, TargetData()).add(number, row)
        return data


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
