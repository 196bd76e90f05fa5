"""A run's samples as CSV, one row each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TextIO

from llmswitch.reports.bench_samples import ending
from llmswitch.reports.csv import write_csv
from llmswitch.runs.bench.document import RunDocument
from llmswitch.runs.bench.model import Rows, SampleRow

__all__ = ["COLUMNS", "write_samples"]

COLUMNS = (
    "case",
    "description",
    "target",
    "repeat",
    "pass",
    "score",
    "why",
    "response_model",
    "finish_reason",
    "time_to_first_token_s",
    "itl_s",
    "output_tokens_per_s",
    "duration_s",
    "scheduled_latency_s",
    "input_tokens",
    "output_tokens",
    "tokens_estimated",
    "cost_usd",
    "cost_exact",
    "requests",
    "batch",
    "at_s",
    "error_kind",
    "error_message",
    "vars",
    "prompt_sha256",
    "prompt",
    "text",
)


def write_samples(document: RunDocument, rows: Rows, stream: TextIO) -> None:
    """A heading and a row for each sample, as they come; unknown is empty. `document` is of the same run."""
    write_csv(stream, COLUMNS, (_row(row) for row in rows()))


def _row(row: SampleRow) -> tuple[Any, ...]:
    usage, cost, error = row.usage or {}, row.cost or {}, row.error or {}
    return (
        row.case,
        row.description,
        row.target,
        row.repeat,
        row.passed,
        row.score,
        ending(row).why or None,
        row.response_model,
        row.finish_reason,
        row.time_to_first_token_s,
        row.itl_s,
        row.output_tokens_per_s,
        row.duration_s,
        row.scheduled_latency_s,
        usage.get("input_tokens"),
        usage.get("output_tokens"),
        bool(usage.get("estimated")) if usage else None,
        cost.get("amount"),
        cost.get("exact"),
        row.requests,
        row.batch,
        row.at_s,
        error.get("kind"),
        error.get("message"),
        _flat(row.vars),
        row.prompt_sha256,
        row.prompt,
        row.text,
    )


def _flat(values: Mapping[str, Any]) -> str | None:
    return json.dumps(dict(values), ensure_ascii=False) if values else None
