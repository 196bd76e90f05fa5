"""Batches for people and scripts: what is expected, how far each is, and what came of every line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from llmswitch.answers import decode
from llmswitch.batches import Batch, BatchJob
from llmswitch.batchlines import Counts, Outcome
from llmswitch.cache import as_cached
from llmswitch.reports.answer import response_document
from llmswitch.reports.rows import UNKNOWN, Column, Table, count, iso, money, plain
from llmswitch.runs.batch.submit import Expected
from llmswitch.runs.call import BOUND
from llmswitch.runs.estimate import Money

__all__ = [
    "Standing",
    "batches_document",
    "batches_table",
    "expected_document",
    "expected_lines",
    "jobs_table",
    "line_document",
    "narrowed",
]


class Standing(NamedTuple):
    """A batch as it is now; `counts` is None where its lines are gone."""

    batch: Batch
    jobs: Sequence[BatchJob]
    counts: Counts | None

    @property
    def state(self) -> str:
        """In a word or three: `not all sent`, `running`, `cancelling`, `to collect`, `done`."""
        states = {job.state for job in self.jobs}
        if states & {"dealing", "prepared", "sending"}:
            return "not all sent"
        if "sent" in states:
            return "cancelling" if any(job.outcome == "cancelling" for job in self.jobs) else "running"
        return "to collect" if states & {"ended", "stored"} else "done"

    @property
    def spent(self) -> Decimal:
        """USD of the lines that are on record and whose price is known."""
        return sum((job.spent for job in self.jobs), Decimal(0))

    @property
    def saved(self) -> Decimal:
        """USD that the batch rate has saved of it."""
        return sum((job.saved for job in self.jobs), Decimal(0))

    @property
    def unpriced(self) -> int:
        """Answers of unknown price."""
        return sum(job.unpriced for job in self.jobs)


def line_document(batch: Batch, outcome: Outcome, way: str) -> dict[str, Any]:
    """A line of `batch collect`: the fields of a response, or of an error, and which question it is to.

    How long an answer of a batch took nobody knows: its times are null.
    """
    head = {"line": outcome.line, "id": outcome.id, "batch": batch.id, "target": outcome.target}
    if outcome.answer is None:
        error = json.loads(outcome.error or "null")
        failed = error or {}
        return {
            **head,
            "provider": failed.get("provider"),
            "request_model": failed.get("request_model"),
            "error": error,
        }
    response = decode(outcome.answer)
    shown = as_cached(response, 0.0) if outcome.cached else response
    document = {**head, **response_document(shown, batch.profile)}
    if way == "batch":
        document["duration_s"] = None
    return document


def expected_lines(expected: Sequence[Expected]) -> list[str]:
    """What each target's lines will come to, a line each, and what stands behind it."""
    return [line for one in expected for line in _expected(one)]


def _expected(one: Expected) -> list[str]:
    jobs = f"{one.jobs} job{'s' if one.jobs != 1 else ''}" if one.way == "batch" else "asked one by one"
    cached = f", {one.cached:,} of them in the cache" if one.cached else ""
    told = f"{one.target}: {one.lines:,} lines{cached}, {jobs}"
    if one.lines > one.cached:
        told += f", {_range(one)}"
        if one.way == "batch" and one.priced and one.usual.about is not None:
            told += f" ({money(one.usual.about, exact=False)} one by one)"
    lines = [told]
    if not one.priced:
        lines.append(f"{one.target}: no batch price is known: reckoned at its usual price, which bounds it")
    return lines + ([one.note] if one.note else [])


def _range(one: Expected) -> str:
    cost = one.cost
    if cost.about is not None:
        return f"about {money(cost.about)} (from {money(cost.low)} to {money(cost.high)})"
    if cost.high is not None:
        return f"{money(cost.low)} to {money(cost.high)}"
    if cost.low is not None:
        return f"{money(cost.low)} to {money(one.most)}, at {BOUND:,} tokens an answer: nobody limits them"
    return "price unknown"


def expected_document(batch: Batch, expected: Sequence[Expected], *, resumed: bool) -> dict[str, Any]:
    """`batch submit --json`."""
    return {
        "schema": "llmswitch/batch/1",
        "id": batch.id,
        "resumed": resumed,
        "source": batch.source,
        "profile": batch.profile,
        "lines": batch.lines,
        "targets": [
            {
                "target": one.target,
                "way": one.way,
                "lines": one.lines,
                "cached": one.cached,
                "jobs": one.jobs,
                "estimated_cost": _money_document(one.cost),
                "usual_cost": _money_document(one.usual),
                "batch_price_known": one.priced,
            }
            for one in expected
        ],
    }


def _money_document(cost: Money) -> dict[str, str | None]:
    return {name: plain(value) for name, value in cost._asdict().items()}


def batches_table(standings: Sequence[Standing]) -> Table:
    """A row a batch."""
    columns = ("batch", "submitted", "from", "lines", "answered", "failed", "cost", "saved", "state")
    return Table(
        tuple(Column(name, number=name in _NUMBERS) for name in columns),
        tuple(_batch_row(one) for one in standings),
    )


def narrowed(table: Table) -> Table:
    """Batches, or jobs, for 80 cells: an id that is to be typed stays on one line."""
    return table.only({column.title for column in table.columns} - {"from", "saved", "way", "vendor's id"})


_NUMBERS = frozenset({"lines", "answered", "failed", "cost", "saved", "done"})


def _batch_row(one: Standing) -> tuple[str, ...]:
    counts = one.counts
    return (
        one.batch.id,
        _when(one.batch.at),
        one.batch.source,
        count(one.batch.lines),
        UNKNOWN if counts is None else count(counts.answered),
        UNKNOWN if counts is None else count(counts.failed),
        *_spent(one),
        one.state,
    )


def _spent(one: Standing) -> tuple[str, str]:
    """What is known to be spent and saved; before anything is collected, nothing is."""
    if not any(job.recorded for job in one.jobs):
        return UNKNOWN, UNKNOWN
    return ("≥ " if one.unpriced else "") + money(one.spent), money(one.saved)


def jobs_table(standing: Standing) -> Table:
    """A row a job of one batch."""
    columns = ("job", "target", "way", "lines", "done", "failed", "cost", "state", "vendor's id")
    return Table(
        tuple(Column(name, number=name in _NUMBERS) for name in columns),
        tuple(_job_row(job) for job in standing.jobs),
        title=f"{standing.batch.id}: {standing.batch.source}",
    )


def _job_row(job: BatchJob) -> tuple[str, ...]:
    ended = job.outcome if job.outcome not in (None, "completed") else None
    state = {"done": "collected", "stored": "ended"}.get(job.state, job.state)
    return (
        str(job.number),
        job.target,
        job.way,
        count(job.lines),
        count(job.done),
        count(job.failed),
        money(job.spent) if job.recorded else UNKNOWN,
        f"{state} ({ended})" if ended else state,
        job.vendor_id or "",
    )


def _when(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s).astimezone().strftime("%Y-%m-%d %H:%M")


def batches_document(standings: Sequence[Standing]) -> dict[str, Any]:
    """`batch status --json`; money in USD as text, times as ISO 8601, unknown is null."""
    return {"schema": "llmswitch/batches/1", "batches": [_batch_document(one) for one in standings]}


def _batch_document(one: Standing) -> dict[str, Any]:
    counts = one.counts
    return {
        "id": one.batch.id,
        "state": one.state,
        "submitted_at": iso(one.batch.at),
        "source": one.batch.source,
        "profile": one.batch.profile,
        "lines": one.batch.lines,
        "answered": None if counts is None else counts.answered,
        "failed": None if counts is None else counts.failed,
        "cost": {"amount": plain(one.spent), "currency": "USD", "exact": not one.unpriced},
        "saved": plain(one.saved),
        "jobs": [
            {
                "number": job.number,
                "target": job.target,
                "provider": job.provider,
                "request_model": job.request_model,
                "way": job.way,
                "state": job.state,
                "outcome": job.outcome,
                "message": job.said,
                "lines": job.lines,
                "done": job.done,
                "failed": job.failed,
                "vendor_id": job.vendor_id,
                "sent_at": iso(job.sent_at),
                "ended_at": iso(job.ended_at),
                "expires_at": iso(job.expires_at),
                "cost": {"amount": plain(job.spent), "currency": "USD", "exact": not job.unpriced},
            }
            for job in one.jobs
        ],
    }
