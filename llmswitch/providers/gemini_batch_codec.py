"""How a request is written as a part of a Gemini batch, and what Google says of a job. Pure.

Shapes as of google-genai 3.4 (`batches.py`) and of ai.google.dev/api/batch-api.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from llmswitch.providers.base import Endpoint
from llmswitch.providers.batch_wire import Status, count, moment
from llmswitch.providers.batching import JobState
from llmswitch.providers.failures import UndecodableError
from llmswitch.providers.gemini_codec import preview
from llmswitch.types import Request

__all__ = ["job_path", "job_state", "key_of", "line", "metadata"]

#: the end of their word for it (BATCH_STATE_… or JOB_STATE_…) -> ours; what is not here is on its way
_STATES: Mapping[str, Status] = {
    "SUCCEEDED": "completed",
    "PARTIALLY_SUCCEEDED": "completed",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
    "CANCELLING": "cancelling",
    "EXPIRED": "expired",
}


def line(endpoint: Endpoint, custom_id: str, request: Request) -> dict[str, Any]:
    """One request with its id, which comes back with its answer."""
    return {"request": preview(endpoint, request), "metadata": {"key": custom_id}}


def job_path(vendor_id: str) -> str:
    """A job's name, which is a part of the address; raises UndecodableError where it cannot be one."""
    if not re.fullmatch(r"batches/[A-Za-z0-9_-][A-Za-z0-9._-]*", vendor_id):
        raise UndecodableError(f"{vendor_id!r} is not the name of a batch")
    return vendor_id


def key_of(item: object) -> str | None:
    """The id of the request that an answer is for."""
    told = item.get("metadata") if isinstance(item, dict) else None
    key = told.get("key") if isinstance(told, dict) else None
    return key if isinstance(key, str) else None


def metadata(raw: dict[str, Any]) -> dict[str, Any]:
    """What a job's document says of it, beside how it ended."""
    told = raw.get("metadata")
    return told if isinstance(told, dict) else {}


def job_state(raw: dict[str, Any]) -> JobState:
    """A job; raises UndecodableError."""
    if not isinstance(raw.get("name"), str):
        raise UndecodableError("it has no name")
    told, error = metadata(raw), raw.get("error")
    stats = told.get("batchStats")
    stats = stats if isinstance(stats, dict) else {}
    total = count(stats.get("requestCount"))
    known = total is not None  # Google's JSON leaves out a number that is 0
    said = error.get("message") if isinstance(error, dict) else None
    return JobState(
        vendor_id=job_path(raw["name"]),
        status=_status(raw, told),
        total=total,
        done=(count(stats.get("successfulRequestCount")) or 0) if known else None,
        failed=(count(stats.get("failedRequestCount")) or 0) if known else None,
        created_at=moment(told.get("createTime")),
        ended_at=moment(told.get("endTime")),
        said=said if isinstance(said, str) and said else None,
    )


def _status(raw: dict[str, Any], told: dict[str, Any]) -> Status:
    known = _STATES.get(str(told.get("state")).partition("_STATE_")[2])
    if raw.get("done") is not True:
        return known or "running"
    if isinstance(raw.get("error"), dict):
        return known if known in ("cancelled", "expired") else "failed"
    return "completed" if known in (None, "cancelling") else known
