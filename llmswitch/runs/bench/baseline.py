"""Which run another is measured against."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from llmswitch.errors import ConfigError, StorageError
from llmswitch.runs.bench.document import RunDocument
from llmswitch.runs.bench.folder import RunFolder, find_run, list_runs

__all__ = [
    "BLESSED",
    "LAST_GREEN",
    "asked_otherwise",
    "difference",
    "earlier_runs",
    "find_baseline",
    "is_green",
    "read_runs",
    "too_many_errors",
]

LAST_GREEN, BLESSED = "last-green", "blessed"
#: verdicts after which a run may be measured against: the first night has nothing to be judged by
_GREEN = ("pass", "not judged")


def difference(run: RunDocument, other: RunDocument) -> str | None:
    """In which respect the two cannot be measured against each other, as a sentence; None where they can.

    Cases and how they are graded, targets and judges, their models and parameters, and the load must be the same;
    addresses, and for how long the load was offered, need not. To a batch no load is offered.
    """
    if run["fingerprint"] != other["fingerprint"]:
        return "its cases, prompts or assertions are others"
    offered, before = ({**one["options"]["load"], "duration_s": None} for one in (run, other))
    if offered != before and not (run.get("batch") or other.get("batch")):
        return "it offered another load (--concurrency, --rate, --arrival, --no-pace)"
    judges, graded = run.get("judges", {}), other.get("judges", {})
    if judges.keys() != graded.keys():
        return f"it was graded by {', '.join(graded) or 'no model'}"
    found = (f"its judge {name} had {changed}" for name in judges if (changed := _changed(judges[name], graded[name])))
    return _others_asked(run, other) or next(found, None)


def asked_otherwise(run: RunDocument, other: RunDocument) -> str | None:
    """Why the two tell no time and no cost of each other, though they asked the same: one was asked by batch."""
    if bool(run.get("batch")) == bool(other.get("batch")):
        return None
    return "it was asked by batch" if other.get("batch") else "it was not asked by batch"


def _others_asked(run: RunDocument, other: RunDocument) -> str | None:
    asked, earlier = ({target["target"]: target for target in one["targets"]} for one in (run, other))
    for label in (*asked, *earlier):
        if label not in earlier:
            return f"it did not ask {label}"
        if label not in asked:
            return f"it asked {label}, too"
        changed = _changed(asked[label], earlier[label])
        if changed is not None:
            return f"{label} had {changed}"
    return None


def _changed(one: Any, before: Any) -> str | None:
    """What of a target is not what it was, in words."""
    for name in ("provider", "request_model"):
        if one[name] != before[name]:
            return f"another {name.replace('_', ' ')}, {before[name]}"
    now, then = one["parameters"], before["parameters"]
    others = sorted(key for key in {*now, *then} if now.get(key) != then.get(key))
    return f"other parameters ({', '.join(others)})" if others else None


def find_baseline(named: str, base: Path, run: RunDocument, warn: Callable[[str], None]) -> RunFolder | None:
    """The run that `--baseline named` means: `last-green`, `blessed`, or whatever `find_run` finds.

    The first two are the newest earlier run of the same cases, targets and parameters, and by batch where this one is,
    None where there is none. By name, a batch may be held against a run that was none: their scores may be compared.
    Raises ConfigError where one that was named is of others, or has not ended.
    """
    if named in (LAST_GREEN, BLESSED):
        return _newest(named, base, run, warn)
    folder = find_run(base, named)
    document = folder.read()
    reason = difference(run, document)
    if reason is None and not document["complete"]:
        reason = f"it has not ended: 'llmswitch bench --resume {folder.path}' goes on with it"
    if reason is not None:
        raise ConfigError(f"run {folder.id} is no baseline for this one: {reason}.")
    return folder


def _newest(named: str, base: Path, run: RunDocument, warn: Callable[[str], None]) -> RunFolder | None:
    passed_over = None
    for folder, document in earlier_runs(base, run, warn)[::-1]:
        if not is_green(document) or (named == BLESSED and not document.get("blessed")):
            continue
        reason = difference(run, document) or asked_otherwise(run, document)
        if reason is None:
            return folder
        passed_over = passed_over or f"run {folder.id} is no baseline any more: {reason}."
    if passed_over:
        warn(passed_over)
    return None


def is_green(document: RunDocument) -> bool:
    """Whether `last-green` may mean it: it went well, or somebody said that it is good enough."""
    if not document["complete"] or too_many_errors(document):
        return False
    return bool(document.get("blessed")) or document["gate"]["verdict"] in _GREEN


def too_many_errors(document: RunDocument) -> bool:
    """Whether of some target nothing was measured, or more calls or judges failed than may: it is no measure."""
    most = document["options"]["max_errors"]
    return any(
        not target["samples"] or sum(target["errors"].values()) + target["ungraded"] > most * target["samples"]
        for target in document["targets"]
    )


def earlier_runs(base: Path, run: RunDocument, warn: Callable[[str], None]) -> Sequence[tuple[RunFolder, RunDocument]]:
    """The runs of the same suite before this one, the oldest first; one that cannot be read is warned about."""
    before = (folder for folder in list_runs(base) if folder.id < run["id"])
    return [(folder, one) for folder, one in read_runs(before, warn) if one["suite"] == run["suite"]]


def read_runs(folders: Iterable[RunFolder], warn: Callable[[str], None]) -> Sequence[tuple[RunFolder, RunDocument]]:
    """Each run's `run.json` as it is on disk, in their order; one that cannot be read is warned about."""
    found: list[tuple[RunFolder, RunDocument]] = []
    for folder in folders:
        try:
            found.append((folder, folder.read()))
        except StorageError as error:
            warn(error.message)
    return found
