"""Providers, and how their targets fare, as tables and as the document `llmswitch/providers/1`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from llmswitch.health import Status
from llmswitch.reports.rows import UNKNOWN, Column, Table, count
from llmswitch.runs.providers import ProviderRow

__all__ = ["health_table", "providers_document", "providers_table"]


def providers_table(rows: Sequence[ProviderRow]) -> Table:
    """One row a provider, and what it still needs."""
    cells = tuple((row.name, row.model or UNKNOWN, _place(row.base_url), row.problem or "ready") for row in rows)
    return Table((Column("provider"), Column("model"), Column("at"), Column("standing")), cells)


def health_table(statuses: Sequence[Status]) -> Table:
    """One row a target that was asked of late."""
    columns = (
        Column("target"),
        Column("circuit"),
        Column("failures", number=True),
        Column("asked again in", number=True),
        Column("requests/min", number=True),
        Column("tokens/min", number=True),
    )
    return Table(columns, tuple(_cells(status) for status in statuses))


def _cells(status: Status) -> tuple[str, ...]:
    pause = max(status.retry_after_s or 0.0, status.blocked_s or 0.0)
    return (
        status.key,
        status.state,
        count(status.failures),
        f"{math.ceil(pause)} s" if pause else UNKNOWN,
        count(status.requests),
        count(status.tokens),
    )


def _place(base_url: str | None) -> str:
    """The host of an address; of a file, nothing."""
    return (base_url and urlsplit(base_url).netloc) or UNKNOWN


def providers_document(rows: Sequence[ProviderRow], statuses: Sequence[Status] | None) -> dict[str, Any]:
    """`providers --json`; `targets` is there with `--health` alone, its times in seconds from now, unknown is null."""
    document: dict[str, Any] = {
        "schema": "llmswitch/providers/1",
        "providers": [
            {
                "provider": row.name,
                "title": row.title,
                "configured": row.configured,
                "problem": row.problem,
                "needs": list(row.needs),
                "model": row.model,
                "base_url": row.base_url,
            }
            for row in rows
        ],
    }
    if statuses is not None:
        document["targets"] = [
            {
                "target": status.key,
                "circuit": status.state,
                "failures": status.failures,
                "retry_after_s": status.retry_after_s,
                "blocked_s": status.blocked_s,
                "limits": {"requests_per_minute": status.requests, "tokens_per_minute": status.tokens},
            }
            for status in statuses
        ]
    return document
