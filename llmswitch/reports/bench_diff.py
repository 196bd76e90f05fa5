"""Two runs side by side: their figures, and the cases that pass in one and not in the other."""

from __future__ import annotations

from collections.abc import Iterator

from llmswitch.reports.bench_figures import Figure, figures
from llmswitch.reports.bench_samples import ending
from llmswitch.reports.rows import UNKNOWN, Cell, Column, Table, count
from llmswitch.runs.bench.document import RunDocument
from llmswitch.runs.bench.model import Rows, SampleRow
from llmswitch.text import one_line

__all__ = ["diff"]

#: cases that are shown, and characters of an answer's first line
_MOST, _LONGEST = 100, 60

#: a case and a target
_Cell = tuple[str, str]


def diff(a_doc: RunDocument, a_rows: Rows, b_doc: RunDocument, b_rows: Rows) -> tuple[Table, ...]:
    """The figures of each target of either run, then the cases whose pass changed, those that got worse first.

    Rows are read twice; of a case and target that did not change, two numbers are kept.
    """
    before, after = _tallies(a_rows), _tallies(b_rows)
    changed = [cell for cell, passed in before.items() if cell in after and _share(passed) != _share(after[cell])]
    changed.sort(key=lambda cell: _share(after[cell]) - _share(before[cell]))
    shown = changed[:_MOST]
    texts = (_firsts(a_rows, shown), _firsts(b_rows, shown))
    columns = (Column("case"), Column("target"), Column("passed"), Column(a_doc["id"]), Column(b_doc["id"]))
    rows = tuple(
        (
            cell[0],
            cell[1],
            f"{_passes(before[cell])} → {_passes(after[cell])}",
            *(told.get(cell, UNKNOWN) for told in texts),
        )
        for cell in shown
    )
    more = f", {count(len(shown))} of them shown" if len(shown) < len(changed) else ""
    title = f"{count(len(changed))} {'case' if len(changed) == 1 else 'cases'} changed{more}"
    return (_figures(a_doc, b_doc), Table(columns, rows, title))


def _figures(a_doc: RunDocument, b_doc: RunDocument) -> Table:
    """One row a target and figure that either run has."""
    names = dict.fromkeys(target["target"] for run in (a_doc, b_doc) for target in run["targets"])
    rows = [row for name in names for row in _target(name, a_doc, b_doc)]
    columns = (
        Column("target"),
        Column("figure"),
        Column(a_doc["id"], number=True),
        Column(b_doc["id"], number=True),
        Column("change", number=True),
    )
    return Table(columns, tuple(rows), "Figures of both runs")


def _target(name: str, a_doc: RunDocument, b_doc: RunDocument) -> Iterator[tuple[str | Cell, ...]]:
    named: dict[str, dict[int, Figure]] = {}
    for place, run in enumerate((a_doc, b_doc)):
        for figure in figures(run):
            named.setdefault(figure.title, {})[place] = figure
    for title, found in named.items():
        readings = [
            next((found[place].read(t) for t in run["targets"] if t["target"] == name), None)
            if place in found
            else None
            for place, run in enumerate((a_doc, b_doc))
        ]
        before, after = readings
        if before is None and after is None:
            continue
        cells = (Cell(UNKNOWN) if one is None else Cell(one.text, one.note, value=one.value) for one in readings)
        change = UNKNOWN if before is None or after is None else _change(title, before.value, after.value)
        yield name, title, *cells, change


#: figures whose change is told in points
_POINTS = ("pass", "score", "good")


def _change(title: str, before: float, after: float) -> str:
    """`+12 %`, `−3.1 pp`; a share of nothing is unknown."""
    if title in _POINTS:
        return f"{(after - before) * 100:+.1f} pp".replace("-", "−")
    return f"{(after / before - 1) * 100:+.1f} %".replace("-", "−") if before else UNKNOWN


def _tallies(rows: Rows) -> dict[_Cell, tuple[int, int]]:
    """How often a case passed with a target, and of how many askings that were judged."""
    found: dict[_Cell, tuple[int, int]] = {}
    for row in rows():
        if row.passed is not None:
            passed, judged = found.get((row.case, row.target), (0, 0))
            found[row.case, row.target] = passed + row.passed, judged + 1
    return found


def _share(tally: tuple[int, int]) -> float:
    passed, judged = tally
    return passed / judged


def _passes(tally: tuple[int, int]) -> str:
    return f"{tally[0]}/{tally[1]}"


def _firsts(rows: Rows, shown: list[_Cell]) -> dict[_Cell, str]:
    """Of each the first line of an answer, of one that did not pass where there is one."""
    wanted, found, failed = set(shown), {}, set()
    for row in rows():
        cell = (row.case, row.target)
        worse = ending(row).kind != "pass"
        if cell in wanted and (cell not in found or (worse and cell not in failed)):
            found[cell] = _first_line(row)
            if worse:
                failed.add(cell)
    return found


def _first_line(row: SampleRow) -> str:
    lines = (row.text or "").strip().splitlines()
    return one_line(lines[0], _LONGEST) if lines else ending(row).what or UNKNOWN
