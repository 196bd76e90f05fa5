"""A run's targets side by side: what they are measured by, how it is shown, and which of them is best at it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import NamedTuple

from llmswitch.reports.rows import UNKNOWN, Cell, Column, Table, count, money, seconds
from llmswitch.runs.bench.document import ComparisonDocument, IntervalDocument, RunDocument, TargetDocument

__all__ = [
    "Figure",
    "Reading",
    "by_batch",
    "counts_from_due",
    "dollars",
    "figures",
    "figures_table",
    "is_told",
    "leaders",
    "narrowed",
    "per_thousand",
    "percent",
    "readings",
]


class Reading(NamedTuple):
    """One target's value of a figure, between what the true one lies (None where not known), and as text."""

    target: str
    value: float
    text: str
    low: float | None = None
    high: float | None = None
    #: what is said about it
    note: str = ""


class Figure(NamedTuple):
    """A column that targets are ranked by. `metric` is what their comparisons call it."""

    title: str
    read: Callable[[TargetDocument], Reading | None]
    metric: str = ""
    more_is_better: bool = False


def percent(value: float, digits: int = 1) -> str:
    """`97.5 %`, `100 %`."""
    shown = f"{value * 100:.{digits}f}"
    return f"{shown.removesuffix('.0')} %"


def counts_from_due(document: RunDocument) -> bool:
    """Whether latency is from when a request was due, as under open-loop load, and not from when its call began."""
    return any(target["scheduled_latency_s"].get("p50") for target in document["targets"])


def by_batch(document: RunDocument) -> bool:
    """Whether the run was asked as a batch: it has no times, and its cost is at the batch rate."""
    return bool(document.get("batch"))


def figures(document: RunDocument) -> tuple[Figure, ...]:
    """What the run's targets are ranked by, those left out that no target has a value of."""
    latency: Callable[[TargetDocument], Mapping[str, IntervalDocument | None]] = (
        (lambda target: target["scheduled_latency_s"])
        if counts_from_due(document)
        else (lambda target: target["duration_s"])
    )
    every = (
        Figure("pass", lambda t: _interval(t, t["pass_rate"], percent), more_is_better=True),
        Figure("score", lambda t: _interval(t, t["score"], "{:.3f}".format), "score", more_is_better=True),
        Figure("E2E p50", lambda t: _interval(t, latency(t).get("p50"), seconds), "duration"),
        Figure("E2E p95", lambda t: _interval(t, latency(t).get("p95"), seconds)),
        Figure("TTFT", lambda t: _interval(t, t["time_to_first_token_s"].get("p50"), seconds), "time_to_first_token_s"),
        Figure(
            "tokens/s",
            lambda t: _interval(t, t["output_tokens_per_s"].get("p50"), _rate),
            "output_tokens_per_s",
            more_is_better=True,
        ),
        Figure("good", lambda t: _share(t, t["good_fraction"]), more_is_better=True),
        Figure("cost", _cost, "cost"),
    )
    kept = ("pass", "cost") if by_batch(document) else ("pass", "E2E p50", "E2E p95", "cost")
    return tuple(f for f in every if f.title in kept or any(f.read(target) for target in document["targets"]))


def dollars(value: float) -> str:
    """As short as it can be: `$1.20`, `$0.0034`."""
    return f"${value:,.2f}" if value >= 0.1 or not value else f"${value:.2g}" if value >= 0.0001 else f"${value:.1e}"


def _rate(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _interval(target: TargetDocument, found: IntervalDocument | None, show: Callable[[float], str]) -> Reading | None:
    if found is None:
        return None
    value, low, high = found["value"], found["low"], found["high"]
    note = f"{show(low)} to {show(high)}" if show(low) != show(high) else ""
    return Reading(target["target"], value, show(value), low, high, note)


def _share(target: TargetDocument, found: float | None) -> Reading | None:
    return None if found is None else Reading(target["target"], found, percent(found))


def per_thousand(target: TargetDocument) -> Decimal | None:
    """What a thousand calls cost, in USD, as those did whose cost is known."""
    cost = target["cost"]
    return Decimal(cost["amount"]) * 1000 / max(1, cost["samples"]) if cost else None


def _cost(target: TargetDocument) -> Reading | None:
    """The whole cost, ranked by that of a thousand calls: one target may have failed where another went on."""
    mean, cost = per_thousand(target), target["cost"]
    if mean is None or cost is None:
        return None
    exact = bool(cost["exact"])
    known, asked = cost["samples"], target["samples"]
    of = f", {count(known)} of {count(asked)} known" if known < asked else ""
    shown = money(Decimal(cost["amount"]), exact=exact)
    return Reading(
        target["target"], float(mean), shown, note=f"{'' if exact else '~'}{dollars(float(mean))} per 1,000{of}"
    )


def readings(document: RunDocument, figure: Figure) -> tuple[Reading, ...]:
    """Of the targets that have a value, in their order."""
    found = (figure.read(target) for target in document["targets"])
    return tuple(reading for reading in found if reading is not None)


def leaders(document: RunDocument, figure: Figure) -> tuple[Reading, ...]:
    """The best, and after it those that cannot be told from it; nothing where fewer than two have a value."""
    known = readings(document, figure)
    if len(known) < 2:
        return ()
    sign = -1 if figure.more_is_better else 1
    best, *others = sorted(known, key=lambda reading: sign * reading.value)
    return (best, *(other for other in others if not _apart(document, figure, best, other)))


def _apart(document: RunDocument, figure: Figure, best: Reading, other: Reading) -> bool:
    """Whether `other` is really worse: their comparison says so where there is one, else their intervals do."""
    pair = {best.target, other.target}
    for found in document["comparisons"]:
        if figure.metric and found["metric"] == figure.metric and {found["a"], found["b"]} == pair:
            return is_told(found)
    if None in (best.low, other.low) or best.low is None or best.high is None:
        return best.value != other.value
    if other.low is None or other.high is None:
        return False
    return other.high < best.low if figure.more_is_better else best.high < other.low


def is_told(found: ComparisonDocument) -> bool:
    """Whether a comparison shows a difference."""
    return found["verdict"] in ("better", "worse")


def figures_table(document: RunDocument) -> Table:
    """One row a target, in their order, each value with its interval; the best of a column is marked where it is told
    from all others."""
    ranked = figures(document)
    columns = (
        Column("target"),
        *(Column(figure.title, number=True) for figure in ranked),
        Column("errors", number=True),
    )
    best = {figure.title: _best(document, figure) for figure in ranked}
    rows = []
    for target in document["targets"]:
        cells = (_cell(figure.read(target), best[figure.title]) for figure in ranked)
        rows.append((_name(target), *cells, _errors(target)))
    return Table(columns, tuple(rows), title="Figures of each target")


def _best(document: RunDocument, figure: Figure) -> str | None:
    found = leaders(document, figure)
    return found[0].target if len(found) == 1 else None


def _cell(reading: Reading | None, best: str | None) -> Cell:
    if reading is None:
        return Cell(UNKNOWN)
    return Cell(reading.text, reading.note, reading.target == best, reading.value)


def _name(target: TargetDocument) -> Cell:
    model = target["request_model"]
    return Cell(target["target"], "" if model in target["target"] else model)


def _errors(target: TargetDocument) -> Cell:
    """How many samples failed, of what, and how often a request was made again."""
    kinds = sorted(target["errors"].items(), key=lambda item: -item[1])
    total = sum(target["errors"].values())
    told = [f"{count(times)} {kind.replace('_', ' ')}" for kind, times in kinds]
    told += [f"{count(target['retries'])} retried"] if target["retries"] else []
    return Cell(f"{count(total)} of {count(target['samples'])}" if total else "0", ", ".join(told), value=float(total))


def narrowed(table: Table) -> Table:
    """The same for 80 cells: no score, p95 under p50, of errors the most frequent, intervals on two lines."""
    at = {column.title: place for place, column in enumerate(table.columns)}
    middle = [title for title in ("E2E p50",) if title in at]
    titles = [title for title in ("pass", "TTFT", "tokens/s", "good", "cost") if title in at]
    columns = (
        Column("target"),
        *(Column(title, number=True) for title in titles[:1]),
        *(Column("E2E p50/p95", number=True) for _ in middle),
        *(Column(title, number=True) for title in titles[1:]),
        Column("errors", number=True),
    )
    rows = []
    for row in table.rows:
        cells = {title: _as_cell(row[place]) for title, place in at.items()}
        both = [cells[title]._replace(note=_text(cells["E2E p95"])) for title in middle]
        figured = [_terse(cells[title]) for title in titles]
        rows.append((cells["target"], *figured[:1], *both, *figured[1:], _terse(cells["errors"])))
    return Table(columns, tuple(rows), table.title)


def _as_cell(cell: str | Cell) -> Cell:
    return cell if isinstance(cell, Cell) else Cell(cell)


def _text(cell: Cell) -> str:
    return f"{cell.text} *" if cell.best else cell.text


def _terse(cell: Cell) -> Cell:
    """The first part of what is said alone, on two lines: `95.1 % to\n98.8 %`."""
    return cell._replace(note=cell.note.partition(", ")[0].replace(" to ", " to\n").replace(" per ", "\nper "))
