"""Which runs may go: what is old, and nothing that others are measured against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from llmswitch.runs.bench.baseline import is_green
from llmswitch.runs.bench.document import RunDocument
from llmswitch.runs.bench.folder import RunFolder

__all__ = ["prunable"]

_Run = tuple[RunFolder, RunDocument]


def prunable(runs: Sequence[_Run], *, before: float | None = None, keep: int | None = None) -> list[RunFolder]:
    """Those of `runs`, the oldest first, that began before `before` (epoch seconds) and, of each suite and set of
    targets, are not among its `keep` newest; None asks for nothing.

    A blessed run stays, and of each suite and set of targets the newest green one: `last-green` means it. What a run
    that has not ended is measured against stays as long as that run.
    """
    going: list[_Run] = []
    seen, greens = Counter[object](), set[object]()
    for folder, document in reversed(runs):
        targets = frozenset(target["target"] for target in document["targets"])
        job = (document["suite"], targets, bool(document.get("batch")))
        seen[job] += 1
        newest_green = is_green(document) and job not in greens
        if newest_green:
            greens.add(job)
        young = before is not None and _began(document) >= before
        if not (newest_green or document.get("blessed") or young or (keep is not None and seen[job] <= keep)):
            going.append((folder, document))
    gone = {folder.path.resolve() for folder, _ in going}
    needed = {
        one["gate"]["baseline"] for folder, one in runs if not one["complete"] and folder.path.resolve() not in gone
    }
    return [folder for folder, _ in reversed(going) if str(folder.path.resolve()) not in needed]


def _began(document: RunDocument) -> float:
    return datetime.fromisoformat(document["started_at"]).timestamp()
