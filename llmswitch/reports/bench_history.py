"""Runs of a suite one after another: what `bench list` prints, and what a page draws of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import PurePath
from typing import Any, NamedTuple

from llmswitch.reports.bench_charts import Night, Track, history_svg
from llmswitch.reports.bench_figures import Figure, Reading, by_batch, dollars, figures, percent, readings
from llmswitch.reports.bench_headline import mark
from llmswitch.reports.rows import UNKNOWN, Cell, Column, Table, count, money, seconds
from llmswitch.runs.bench.document import RunDocument

__all__ = ["Drawing", "drawings", "history_document", "history_table", "in_order", "moment", "narrowed"]

#: nights of a drawing
_MOST = 60


def moment(text: str) -> str:
    """`23 November 2026, 02:00 UTC` of an ISO time; another text as it is."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{found.day} {found:%B %Y, %H:%M %Z}".strip()


def in_order(document: RunDocument, history: Sequence[RunDocument]) -> list[RunDocument]:
    """Earlier runs, the oldest first, and then this one: the last of them, and the blessed however old it is."""
    others = (run for run in history if run["id"] != document["id"])
    earlier = sorted(others, key=lambda run: run["started_at"])[::-1]
    kept = [run for place, run in enumerate(earlier) if place < _MOST - 1 or is_blessed(document, run)]
    return [*kept[::-1], document]


def is_blessed(document: RunDocument, run: RunDocument) -> bool:
    """Whether `run` is what others are measured by, or what `document` was."""
    return bool(run.get("blessed")) or PurePath(document["gate"]["baseline"] or "").name == run["id"]


def history_table(documents: Sequence[RunDocument]) -> Table:
    """One row a run, as they come."""
    columns = (
        Column("run"),
        Column("suite"),
        Column("started"),
        Column("verdict"),
        Column("targets", number=True),
        Column("samples", number=True),
        Column("pass", number=True),
        *(Column(title, number=True) for title in _TIMES),
        Column("cost", number=True),
    )
    table = Table(columns, tuple(_row(document) for document in documents), title="Runs")
    if documents and all(map(by_batch, documents)):  # not a time is known of any
        return table.only([column.title for column in columns if column.title not in _TIMES])
    return table


#: of a figure over all targets, the best and the worst
_TIMES = ("E2E p50", "E2E p95")
#: what 80 cells have room for; a run's id tells when it began
_NARROW = ("run", "suite", "verdict", "pass", "E2E p50", "cost")


def narrowed(table: Table) -> Table:
    """`history_table` for 80 cells."""
    return table.only(_NARROW)


def history_document(documents: Sequence[RunDocument]) -> dict[str, Any]:
    """The runs as JSON, as they come: of each what tells it from the others, and its targets' main figures."""
    return {"schema": "llmswitch/runs/1", "runs": [_run(document) for document in documents]}


def _run(document: RunDocument) -> dict[str, Any]:
    kept = ("id", "suite", "profile", "started_at", "finished_at", "complete")
    figured = ("target", "request_model", "samples", "errors", "pass_rate", "score", "duration_s", "cost")
    told: dict[str, Any] = {**document}
    targets: list[dict[str, Any]] = [{**target} for target in document["targets"]]
    return {
        **{name: told[name] for name in kept},
        "blessed": bool(document.get("blessed")),
        "batch": by_batch(document),
        "verdict": document["gate"]["verdict"],
        "targets": [{name: target[name] for name in figured} for target in targets],
    }


def _row(document: RunDocument) -> tuple[str | Cell, ...]:
    targets = document["targets"]
    samples = sum(target["samples"] for target in targets)
    marks = [] if document["complete"] else ["not complete"]
    marks += ["by batch"] if by_batch(document) else []
    marks += ["blessed"] if document.get("blessed") else []
    found = mark(document["gate"]["verdict"])
    return (
        Cell(document["id"], ", ".join(marks)),
        document["suite"],
        moment(document["started_at"]),
        f"{found.sign} {found.word}",
        Cell(count(len(targets)), value=float(len(targets))),
        Cell(count(samples), value=float(samples)),
        *(_span(document, title) for title in ("pass", *_TIMES)),
        _cost(document),
    )


def _span(document: RunDocument, title: str) -> Cell:
    """From the least to the most that a target has of it."""
    figure = next((figure for figure in figures(document) if figure.title == title), None)
    found = [] if figure is None else sorted(readings(document, figure), key=lambda reading: reading.value)
    if not found:
        return Cell(UNKNOWN)
    least, most = found[0].text, found[-1].text
    return Cell(least if least == most else f"{least} to {most}", value=found[-1].value)


def _cost(document: RunDocument) -> Cell:
    """Of all targets; that of an unknown price is not in it."""
    known = [target["cost"] for target in document["targets"] if target["cost"] is not None]
    if not known:
        return Cell(UNKNOWN)
    total = sum((Decimal(cost["amount"]) for cost in known), Decimal(0))
    least = len(known) < len(document["targets"])
    text = money(total, exact=all(cost["exact"] for cost in known))
    return Cell(f"at least {text}" if least else text, value=float(total))


class Drawing(NamedTuple):
    """A figure over nights, and its title."""

    title: str
    svg: str


#: a figure's title -> what it is called in full, how it is shown, and what it cannot exceed
_DRAWN: dict[str, tuple[str, Callable[[float], str], float]] = {
    "pass": ("Passed", percent, 1.0),
    "E2E p50": ("E2E latency, median", seconds, math.inf),
    "E2E p95": ("E2E latency, p95", seconds, math.inf),
    "cost": ("Cost of 1,000 calls", dollars, math.inf),
}


def drawings(document: RunDocument, history: Sequence[RunDocument]) -> list[Drawing]:
    """Night after night, each target of `document`; nothing where there was no earlier run."""
    nights = in_order(document, history)
    if len(nights) < 2:
        return []
    named = [Night(_day(run["started_at"]), is_blessed(document, run)) for run in nights]
    found = []
    for title, (told, show, most) in _DRAWN.items():
        tracks = [_track(place, target["target"], nights, title) for place, target in enumerate(document["targets"])]
        if any(value is not None for track in tracks for value in track.values):
            found.append(Drawing(told, history_svg(told, named, tracks, show, most)))
    return found


def _day(text: str) -> str:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return text[:10]
    return f"{found.day} {found:%b}"


def _track(place: int, name: str, nights: Sequence[RunDocument], title: str) -> Track:
    return Track(place, name, [_value(run, name, title) for run in nights])


def _value(run: RunDocument, name: str, title: str) -> float | None:
    figure: Figure | None = next((figure for figure in figures(run) if figure.title == title), None)
    if figure is None:
        return None
    found = (figure.read(target) for target in run["targets"] if target["target"] == name)
    reading: Reading | None = next(found, None)
    return reading.value if reading else None
