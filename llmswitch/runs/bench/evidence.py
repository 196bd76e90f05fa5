"""What a run says of its targets, for whoever has to choose one later: see `llmswitch.evidence`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from statistics import median

from llmswitch.evidence import WHOLE, Evidence
from llmswitch.intervals import pass_rate
from llmswitch.runs.bench.document import RunDocument
from llmswitch.runs.bench.folder import RunFolder
from llmswitch.runs.bench.model import SampleRow

__all__ = ["evidence_of"]


class _Gathered:
    """What is found of one target and task."""

    def __init__(self) -> None:
        self.cases: set[str] = set()
        self.judged = self.passed = self.samples = self.counted = self.input = self.output = 0
        self.cost: Decimal | None = Decimal(0)
        self.durations: list[float] = []
        self.first_tokens: list[float] = []
        self.speeds: list[float] = []

    def add(self, row: SampleRow, *, shared: bool) -> None:
        self.cases.add(row.case)
        self.samples += 1
        if row.passed is not None:
            self.judged += 1
            self.passed += row.passed
        if row.answered:
            self.cost = None if row.cost is None or self.cost is None else self.cost + Decimal(row.cost["amount"])
        for found, value in (
            (self.durations, row.duration_s if row.answered else None),
            (self.first_tokens, row.time_to_first_token_s),
            (self.speeds, row.output_tokens_per_s),
        ):
            if value is not None:
                found.append(value)
        if shared and row.usage is not None:
            self.counted += 1
            self.input += row.usage["input_tokens"]
            self.output += row.usage["output_tokens"]


def evidence_of(folder: RunFolder, document: RunDocument) -> list[Evidence]:
    """A row for each target of a run, and one more for each task that its suite names. Raises StorageError."""
    counted = Counter((row.case, row.repeat) for row in folder.rows() if _is_counted(row))
    shared = {key for key, targets in counted.items() if targets == len(document["targets"])}
    gathered: dict[tuple[str, str], _Gathered] = {}
    for row in folder.rows():
        for task in (WHOLE, *row.tasks):
            found = gathered.setdefault((row.target, task), _Gathered())
            found.add(row, shared=(row.case, row.repeat) in shared)
    return list(_rows(folder, document, gathered.items()))


def _is_counted(row: SampleRow) -> bool:
    """Whether the vendor itself counted the tokens of an answer."""
    usage = row.usage
    if usage is None or usage.get("estimated"):
        return False
    return usage.get("input_tokens") is not None and usage.get("output_tokens") is not None


def _rows(
    folder: RunFolder, document: RunDocument, gathered: Iterable[tuple[tuple[str, str], _Gathered]]
) -> Iterator[Evidence]:
    targets = {target["target"]: target for target in document["targets"]}
    ended = datetime.fromisoformat(document["finished_at"] or document["started_at"])
    for (label, task), found in gathered:
        if label not in targets:
            continue
        share = pass_rate(found.passed, found.judged)
        yield Evidence(
            run_id=document["id"],
            path=str(folder.path.resolve()),
            suite=document["suite"],
            finished_at=ended.timestamp(),
            target=label,
            provider=targets[label]["provider"],
            request_model=targets[label]["request_model"],
            task=task,
            cases=len(found.cases),
            judged=found.judged,
            passed=found.passed,
            low=share.low if share else 0.0,
            high=share.high if share else 1.0,
            duration_p50_s=median(found.durations) if found.durations else None,
            output_tokens_per_s=median(found.speeds) if found.speeds else None,
            time_to_first_token_s=median(found.first_tokens) if found.first_tokens else None,
            # at the batch rate it says nothing of what a call will cost
            cost=None if document.get("batch") else found.cost,
            samples=found.samples,
            input_tokens=found.input if found.counted else None,
            output_tokens=found.output if found.counted else None,
            counted=found.counted,
        )
