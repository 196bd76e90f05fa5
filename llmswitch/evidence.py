"""What this machine's benches found of its targets, in the ledger's file: pass rates, times, tokens, task by task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from llmswitch.database import opened, reading
from llmswitch.ledger import from_pico, to_pico

__all__ = ["WHOLE", "Evidence", "keep_evidence", "read_evidence"]

#: the task that stands for a whole suite
WHOLE = ""


class Evidence(NamedTuple):
    """One target in one run. `passed` of `judged` samples, and between what the true share lies (95 %); where nothing
    was judged, between 0 and 1.

    Times are medians in seconds. `cost` is USD of the `samples`, None where some of it is unknown. `input_tokens` and
    `output_tokens` are of `counted` askings that every target of the run answered: two targets' can be compared.
    """

    run_id: str
    path: str
    suite: str
    finished_at: float
    target: str
    provider: str
    request_model: str
    task: str
    cases: int
    judged: int
    passed: int
    low: float
    high: float
    duration_p50_s: float | None
    output_tokens_per_s: float | None
    time_to_first_token_s: float | None
    cost: Decimal | None
    samples: int
    input_tokens: int | None
    output_tokens: int | None
    counted: int

    @property
    def pass_rate(self) -> float | None:
        """The share that passed, None where nothing was judged."""
        return self.passed / self.judged if self.judged else None


_COLUMNS = tuple("cost_pico" if name == "cost" else name for name in Evidence._fields)


def keep_evidence(ledger: Path, found: Iterable[Evidence]) -> None:
    """Put it on record, in the place of what the same run said before. Raises StorageError."""
    marks = ", ".join("?" * len(_COLUMNS))
    with opened(ledger) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            f"INSERT OR REPLACE INTO evidence ({', '.join(_COLUMNS)}) VALUES ({marks})",  # noqa: S608  # our own columns
            [one._replace(cost=None if one.cost is None else to_pico(one.cost)) for one in found],  # type: ignore[arg-type]  # as it is kept
        )
        connection.execute("COMMIT")


def read_evidence(ledger: Path, task: str = WHOLE) -> Sequence[Evidence]:
    """What is known of `task`, the newest run first. Raises StorageError."""
    with reading(ledger) as connection:
        lines = connection.execute(
            f"SELECT {', '.join(_COLUMNS)} FROM evidence WHERE task = ? ORDER BY finished_at DESC",  # noqa: S608
            (task,),
        ).fetchall()
    place = _COLUMNS.index("cost_pico")
    found = [Evidence(*line) for line in lines]
    return [
        one._replace(cost=None if line[place] is None else from_pico(line[place]))
        for one, line in zip(found, lines, strict=True)
    ]
