"""Every percentile of a run, and what asking again would bring, as tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from llmswitch.reports.bench_figures import percent
from llmswitch.reports.rows import UNKNOWN, Cell, Column, Table, seconds
from llmswitch.runs.bench.document import IntervalDocument, Percentiles, RunDocument, TargetDocument

__all__ = ["percentiles_table", "repeats_table"]

_NAMES = ("p50", "p90", "p95", "p99")


class _Measured(NamedTuple):
    title: str
    read: Callable[[TargetDocument], Percentiles]
    show: Callable[[float], str] = seconds


_MEASURED = (
    _Measured("E2E", lambda target: target["duration_s"]),
    _Measured("E2E, failures as never answered", lambda target: target["adjusted_duration_s"]),
    _Measured("E2E from when due", lambda target: target["scheduled_latency_s"]),
    _Measured("TTFT", lambda target: target["time_to_first_token_s"]),
    _Measured("ITL", lambda target: target["itl_s"]),
    _Measured("tokens/s", lambda target: target["output_tokens_per_s"], "{:.1f}".format),
)


def percentiles_table(document: RunDocument) -> Table:
    """One row a target and measure that has any; what the sample cannot support is a dash."""
    columns = (Column("target"), Column("measure"), *(Column(name, number=True) for name in _NAMES))
    rows: list[tuple[str | Cell, ...]] = [
        (target["target"], measured.title, *(_cell(found.get(name), measured.show) for name in _NAMES))
        for target in document["targets"]
        for measured in _MEASURED
        if any((found := measured.read(target)).values())
    ]
    return Table(columns, tuple(rows), title="Percentiles; a dash where there are too few answers to tell")


def _cell(found: IntervalDocument | None, show: Callable[[float], str]) -> Cell:
    if found is None:
        return Cell(UNKNOWN)
    return Cell(show(found["value"]), f"{show(found['low'])} to {show(found['high'])}", value=found["value"])


def repeats_table(document: RunDocument) -> Table:
    """The chance that of k answers one passes (pass@k), and that all do (pass^k); no rows where each was asked once."""
    ks = sorted({int(k) for target in document["targets"] for k in target["pass_at_k"]})
    columns = (
        Column("target"),
        *(Column(f"pass@{k}", number=True) for k in ks),
        *(Column(f"pass^{k}", number=True) for k in ks),
    )
    rows: list[tuple[str | Cell, ...]] = [
        (target["target"], *(_share(target[name].get(str(k))) for name in ("pass_at_k", "pass_hat_k") for k in ks))
        for target in document["targets"]
    ]
    return Table(columns, tuple(rows) if ks[1:] else (), title="One of k answers passes (pass@k), all of k do (pass^k)")


def _share(found: float | None) -> Cell:
    return Cell(UNKNOWN) if found is None else Cell(percent(found), value=found)
