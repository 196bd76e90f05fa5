"""Two runs side by side: their figures, and the cases that pass in one and not in the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from llmswitch.reports.bench_figures import Figure, Reading, figures
from llmswitch.reports.bench_samples import ending
from llmswitch.reports.rows import UNKNOWN, Cell, Column, Table, count
from llmswitch.runs.bench.document import RunDocument
from llmswitch.runs.bench.model import Rows, SampleRow
from llmswitch.text import one_line

__all__ = ["diff", "diff_document"]

#: cases that are shown, and characters of an answer's first line
_MOST, _LONGEST = 100, 60

#: a case and a target
_Cell = tuple[str, str]
#: how often a case passed with a target, how many of its answers were judged, and how many calls brought none
_Tally = tuple[int, int, int]
#: a figure in either run
_Both = tuple[Reading | None, Reading | None]


def diff(a_doc: RunDocument, a_rows: Rows, b_doc: RunDocument, b_rows: Rows) -> tuple[Table, ...]:
    """The figures of each target of either run, then the cases whose pass changed, those that got worse first.

    Rows are read twice; of a case and target that did not change, two numbers are kept.
    """
    changed = _changed(a_rows, b_rows)
    shown = changed[:_MOST]
    texts = (_firsts(a_rows, shown), _firsts(b_rows, shown))
    columns = (Column("case"), Column("target"), Column("passed"), Column(a_doc["id"]), Column(b_doc["id"]))
    rows = tuple(
        (
            one.case,
            one.target,
            f"{_passes(one.before)} → {_passes(one.after)}",
            *(told.get(one.cell, UNKNOWN) for told in texts),
        )
        for one in shown
    )
    more = f", {count(len(shown))} of them shown" if len(shown) < len(changed) else ""
    title = f"{count(len(changed))} {'case' if len(changed) == 1 else 'cases'} changed{more}"
    return (_figures(a_doc, b_doc), Table(columns, rows, title))


def diff_document(a_doc: RunDocument, a_rows: Rows, b_doc: RunDocument, b_rows: Rows) -> dict[str, Any]:
    """The same as JSON, every case that changed in it. `change` is a share of A's value, of a share its difference."""
    changed = _changed(a_rows, b_rows)
    texts = (_firsts(a_rows, changed), _firsts(b_rows, changed))
    return {
        "schema": "llmswitch/runs-diff/1",
        "a": a_doc["id"],
        "b": b_doc["id"],
        "figures": [
            {
                "target": name,
                "figure": title,
                **{side: None if one is None else one.value for side, one in zip("ab", both, strict=True)},
                "change": _effect(title, both),
            }
            for name in _names(a_doc, b_doc)
            for title, both in _target(name, a_doc, b_doc)
        ],
        "cases": [
            {
                "case": one.case,
                "target": one.target,
                **{
                    side: {"passed": passed, "judged": judged, "errors": errors, "answer": told.get(one.cell)}
                    for side, (passed, judged, errors), told in zip("ab", (one.before, one.after), texts, strict=True)
                },
            }
            for one in changed
        ],
    }


class _Changed(NamedTuple):
    """A case that passed another share of the times that it was asked of a target: before and after."""

    case: str
    target: str
    before: _Tally
    after: _Tally

    @property
    def cell(self) -> _Cell:
        return self.case, self.target

    @property
    def gain(self) -> float:
        return _share(self.after) - _share(self.before)


def _changed(a_rows: Rows, b_rows: Rows) -> list[_Changed]:
    """Those that got worse first."""
    before, after = _tallies(a_rows), _tallies(b_rows)
    both = [_Changed(*cell, passed, after[cell]) for cell, passed in before.items() if cell in after]
    return sorted((one for one in both if one.gain), key=lambda one: one.gain)


def _figures(a_doc: RunDocument, b_doc: RunDocument) -> Table:
    """One row a target and figure that either run has."""
    rows = tuple(
        (name, title, _shown(both[0]), _shown(both[1]), _change(title, both))
        for name in _names(a_doc, b_doc)
        for title, both in _target(name, a_doc, b_doc)
    )
    columns = (
        Column("target"),
        Column("figure"),
        Column(a_doc["id"], number=True),
        Column(b_doc["id"], number=True),
        Column("change", number=True),
    )
    return Table(columns, rows, "Figures of both runs")


def _names(a_doc: RunDocument, b_doc: RunDocument) -> dict[str, None]:
    return dict.fromkeys(target["target"] for run in (a_doc, b_doc) for target in run["targets"])


def _target(name: str, a_doc: RunDocument, b_doc: RunDocument) -> Iterator[tuple[str, _Both]]:
    """Each figure's title, and its reading in either run."""
    named: dict[str, dict[int, Figure]] = {}
    for place, run in enumerate((a_doc, b_doc)):
        for figure in figures(run):
            named.setdefault(figure.title, {})[place] = figure
    for title, found in named.items():
        before, after = (
            next((found[place].read(t) for t in run["targets"] if t["target"] == name), None)
            if place in found
            else None
            for place, run in enumerate((a_doc, b_doc))
        )
        if before is not None or after is not None:
            yield title, (before, after)


def _shown(reading: Reading | None) -> Cell:
    return Cell(UNKNOWN) if reading is None else Cell(reading.text, reading.note, value=reading.value)


#: figures whose change is told in points
_POINTS = ("pass", "score", "good")


def _effect(title: str, both: _Both) -> float | None:
    """A share of what it was; of what is a share itself the difference. A share of nothing is unknown."""
    before, after = both
    if before is None or after is None:
        return None
    if title in _POINTS:
        return after.value - before.value
    return after.value / before.value - 1 if before.value else None


def _change(title: str, both: _Both) -> str:
    """`+12 %`, `−3.1 pp`."""
    found = _effect(title, both)
    if found is None:
        return UNKNOWN
    return f"{found * 100:+.1f} {'pp' if title in _POINTS else '%'}".replace("-", "−")


def _tallies(rows: Rows) -> dict[_Cell, _Tally]:
    """What was neither judged nor an error says nothing."""
    found: dict[_Cell, _Tally] = {}
    for row in rows():
        if row.passed is not None or row.error is not None:
            passed, judged, errors = found.get((row.case, row.target), (0, 0, 0))
            found[row.case, row.target] = (
                passed + bool(row.passed),
                judged + (row.passed is not None),
                errors + (row.error is not None),
            )
    return found


def _share(tally: _Tally) -> float:
    passed, judged, errors = tally
    return passed / (judged + errors)


def _passes(tally: _Tally) -> str:
    passed, judged, errors = tally
    parts = [f"{passed}/{judged}"] if judged else []
    if errors:
        parts.append(f"{errors} error{'' if errors == 1 else 's'}")
    return ", ".join(parts)


def _firsts(rows: Rows, shown: Sequence[_Changed]) -> dict[_Cell, str]:
    """Of each the first line of an answer, of one that did not pass where there is one."""
    wanted, found, failed = {one.cell for one in shown}, {}, set()
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
