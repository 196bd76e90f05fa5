"""A run for the terminal: its figures and its gate's checks as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from llmswitch.reports.bench_figures import figures_table, narrowed
from llmswitch.reports.bench_headline import mark
from llmswitch.reports.rows import Column, Table
from llmswitch.runs.bench.document import CheckDocument, RunDocument

__all__ = ["Shown", "checks_table", "tables"]


class Shown(NamedTuple):
    """A table, and the same for 80 cells."""

    table: Table
    narrow: Table | None = None


def tables(document: RunDocument) -> tuple[Shown, ...]:
    """Figures, and the gate's checks where there are any."""
    figures = figures_table(document)
    shown = [Shown(figures, narrowed(figures))]
    if document["gate"]["checks"]:
        shown.append(Shown(checks_table(document["gate"]["checks"])))
    return tuple(shown)


def checks_table(checks: Sequence[CheckDocument]) -> Table:
    """One row a rule and target, those that failed first."""
    order = ("fail", "inconclusive", "not judged", "pass")
    ranked = sorted(checks, key=lambda check: order.index(check["verdict"]) if check["verdict"] in order else 0)
    columns = (Column("rule"), Column("target"), Column("verdict"), Column("why"))
    return Table(columns, tuple(_row(check) for check in ranked), title="Checks of the gate")


def _row(check: CheckDocument) -> tuple[str, ...]:
    found = mark(check["verdict"])
    return check["rule"], check["target"], f"{found.sign} {found.word}", check["reason"]
