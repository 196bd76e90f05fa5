"""How a request is written as a part of an Anthropic batch, and what the vendor says of a job and its results. Pure.

Shapes as of anthropic 2.12: `types/messages/message_batch.py` and its neighbours.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from llmswitch.providers.anthropic_codec import encode
from llmswitch.providers.base import Endpoint
from llmswitch.providers.batch_wire import Status, count, moment
from llmswitch.providers.batching import JobState
from llmswitch.providers.failures import UndecodableError
from llmswitch.types import Request

__all__ = ["job_state", "lax", "line"]

#: how requests are counted; all of them are `processing` until the whole job has ended
_COUNTS = ("processing", "succeeded", "errored", "canceled", "expired")


def line(endpoint: Endpoint, custom_id: str, request: Request) -> dict[str, Any]:
    """One request; nothing is streamed in a batch. Raises BadRequestError for a seed."""
    params = encode(endpoint, replace(request, stream=False))
    del params["stream"]
    return {"custom_id": custom_id, "params": params}


class _Lax(dict[str, Any]):
    """An answer's object as the SDK builds it, unvalidated and None for what it lacks, in a twentieth of the time."""

    __getattr__ = dict.get


def lax(raw: object) -> object:
    """JSON as objects with attributes, which `anthropic_codec.decode` reads."""
    if isinstance(raw, dict):
        return _Lax((name, lax(value)) for name, value in raw.items())
    return [lax(value) for value in raw] if isinstance(raw, list) else raw


def job_state(raw: object) -> JobState:
    """A job; raises UndecodableError."""
    if not isinstance(raw, dict) or not isinstance(raw.get("id"), str) or not raw["id"]:
        raise UndecodableError("it has no id")
    told = raw.get("request_counts")
    told = told if isinstance(told, dict) else {}
    counts = {name: count(told.get(name)) or 0 for name in _COUNTS}
    ended = raw.get("processing_status") == "ended"
    return JobState(
        vendor_id=raw["id"],
        status=_status(raw, counts),
        total=sum(counts.values()) or None,
        done=counts["succeeded"] if ended else None,
        failed=counts["errored"] + counts["expired"] if ended else None,
        created_at=moment(raw.get("created_at")),
        ended_at=moment(raw.get("ended_at")),
        expires_at=moment(raw.get("expires_at")),
        certain=False,
    )


def _status(raw: dict[str, Any], counts: dict[str, int]) -> Status:
    """`ended` says not how; the counts do."""
    status = raw.get("processing_status")
    if status != "ended":
        return "cancelling" if status == "canceling" else "running"
    if counts["canceled"]:
        return "cancelled"
    return "expired" if counts["expired"] else "completed"
