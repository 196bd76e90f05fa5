"""How OpenAI and Azure write a request as a line of a batch's file, and what they say of a job. Pure.

Shapes as of openai 3.54: `openai/types/batch.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmswitch.providers.batch_wire import Status, count, epoch
from llmswitch.providers.batching import JobState
from llmswitch.providers.failures import UndecodableError

__all__ = ["OURS", "checked", "job_state", "line", "our_id"]

#: what they call it -> ours; what is not here is on its way
_STATUSES: Mapping[str, Status] = {
    "cancelling": "cancelling",
    "completed": "completed",
    "expired": "expired",
    "cancelled": "cancelled",
    "failed": "failed",
}
#: when it ended, by how
_ENDS = ("completed_at", "failed_at", "expired_at", "cancelled_at")
#: the name of our id in the vendor's metadata
OURS = "llmswitch"
#: how many errors of a file that was refused are told
_TOLD = 3


def line(url: str, custom_id: str, body: dict[str, Any]) -> dict[str, Any]:
    """One request as a line of the file; nothing is streamed in a batch."""
    asked = {name: value for name, value in body.items() if name not in ("stream", "stream_options")}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": asked}


def checked(raw: object) -> dict[str, Any]:
    """`raw` where it is an object with an id; raises UndecodableError."""
    if not isinstance(raw, dict) or not isinstance(raw.get("id"), str) or not raw["id"]:
        raise UndecodableError("it has no id")
    return raw


def our_id(raw: dict[str, Any]) -> object:
    """The id that a job was sent with."""
    metadata = raw.get("metadata")
    return metadata.get(OURS) if isinstance(metadata, dict) else None


def job_state(raw: dict[str, Any]) -> JobState:
    """What the vendor says of a job."""
    counts = raw.get("request_counts")
    counts = counts if isinstance(counts, dict) else {}
    # before the file has been looked through, all counts are 0
    total = count(counts.get("total")) or None
    return JobState(
        vendor_id=raw["id"],
        status=_STATUSES.get(str(raw.get("status")), "running"),
        total=total,
        done=count(counts.get("completed")) if total else None,
        failed=count(counts.get("failed")) if total else None,
        created_at=epoch(raw.get("created_at")),
        ended_at=next((end for end in map(epoch, map(raw.get, _ENDS)) if end is not None), None),
        expires_at=epoch(raw.get("expires_at")),
        said=_said(raw.get("errors")),
    )


def _said(errors: object) -> str | None:
    """The vendor's words for a file that it refused, as they came: its first errors, with their lines."""
    data = errors.get("data") if isinstance(errors, dict) else None
    told = [error for error in data if isinstance(error, dict)] if isinstance(data, list) else []
    words = []
    for error in told[:_TOLD]:
        where = "" if error.get("line") is None else f"line {error['line']}: "
        words.append(f"{where}{error.get('message') or error.get('code') or 'an error without a word'}")
    if len(told) > _TOLD:
        words.append(f"and {len(told) - _TOLD} more errors")
    return "; ".join(words) or None
