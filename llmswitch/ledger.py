"""The record of every call, failed ones too: who was asked, what it took, what it cost. No texts: see conversations.

`Ledger` opens the file for each operation and closes it again: about a millisecond, most of it SQLite folding its
log back into the file when the last connection closes, and nothing to leak between threads or forks. Calls that are
really made are kept by a `Book` (book.py), which holds it open.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from llmswitch.database import opened
from llmswitch.errors import LLMSwitchError, StorageError
from llmswitch.text import encodable
from llmswitch.types import Attempt, Cost, FinishReason, Response, Spend, Usage

__all__ = [
    "CallRow",
    "Caller",
    "Ledger",
    "call_row",
    "from_pico",
    "insert_row",
    "lost_row",
    "record_or_warn",
    "to_pico",
]

#: tokens, and pico-dollars, of one call: what is said to be more than this is no count, and sums would overflow
_MOST = 2**53


class Caller(NamedTuple):
    """Who asks: the command, the profile, the target as typed, and the conversation the call belongs to.

    `task` is the kind of task that whoever asks says it is.
    """

    command: str
    target: str
    profile: str | None = None
    conversation_id: str | None = None
    task: str | None = None


class CallRow(NamedTuple):
    """One call. `started_at` is epoch seconds, the other times seconds on a monotonic clock; unknown is None.

    `saved` is what a cached answer cost when it was first given, and what one at the `batch` rate would have cost more
    without; `service_tier` is the vendor's, None for the usual one. `error_kind` is None where an answer came. With
    `lost`, it is no call, but the spend of one attempt whose answer nobody got: see `Spend`. A named tuple, since
    making a frozen dataclass of this size would cost every cached answer 2 ms.
    """

    caller: Caller
    started_at: float
    provider: str
    request_model: str | None
    usage: Usage
    finish_reason: FinishReason | Literal["interrupted"]
    duration_s: float
    response_model: str | None = None
    response_id: str | None = None
    request_id: str | None = None
    cost: Cost | None = None
    saved: Cost | None = None
    time_to_first_token_s: float | None = None
    itl_s: float | None = None
    attempts: tuple[Attempt, ...] = ()
    error_kind: str | None = None
    cached: bool = False
    lost: str | None = None
    batch: bool = False
    service_tier: str | None = None


def call_row(
    caller: Caller,
    response: Response,
    *,
    started_at: float,
    error: LLMSwitchError | None = None,
    interrupted: bool = False,
) -> CallRow:
    """The row of a call that ended in `response`; with `error` or `interrupted`, `response` is as far as it came."""
    return CallRow(
        caller=caller,
        started_at=started_at,
        provider=response.provider,
        request_model=response.request_model,
        usage=response.usage,
        finish_reason="interrupted" if interrupted else "error" if error else response.finish_reason,
        duration_s=response.duration_s,
        response_model=response.response_model,
        response_id=response.response_id,
        request_id=response.request_id or (error.request_id if error else None),
        cost=response.cost,
        saved=response.original.cost if response.cached and response.original else None,
        time_to_first_token_s=response.timing.time_to_first_token_s,
        itl_s=response.itl_s,
        attempts=response.attempts or (error.attempts if error else ()),
        error_kind=error.kind if error else None,
        cached=response.cached,
        service_tier=response.service_tier,
    )


def lost_row(caller: Caller, spend: Spend, *, started_at: float) -> CallRow:
    """The row of what a call that started then spent beside its answer. It has no time of its own: see the call's."""
    return CallRow(
        caller=caller,
        started_at=started_at,
        provider=spend.provider,
        request_model=spend.model,
        usage=spend.usage,
        finish_reason="error",
        duration_s=0.0,
        cost=spend.cost,
        lost=spend.why,
    )


def to_pico(amount: Decimal) -> int:
    """USD as whole pico-dollars; pricing rounds to them already."""
    return int(amount.scaleb(12).to_integral_value(ROUND_HALF_EVEN))


def from_pico(pico: int) -> Decimal:
    """Pico-dollars as USD, in as few digits as it takes."""
    return Decimal(pico).scaleb(-12).normalize()


class Ledger(NamedTuple):
    """The ledger at `path`, made when first written to."""

    path: Path

    def record(self, row: CallRow) -> int:
        """Keep `row`; returns its number. Raises StorageError where it cannot be kept."""
        with opened(self.path) as connection:
            return insert_row(connection, row)


def insert_row(connection: sqlite3.Connection, row: CallRow) -> int:
    """Put `row` into the ledger that `connection` holds open; returns its number."""
    columns = _columns(row)
    inserted = connection.execute(_insertion(tuple(columns)), tuple(columns.values()))
    return int(inserted.lastrowid or 0)


@cache
def _insertion(names: tuple[str, ...]) -> str:
    marks = ", ".join("?" * len(names))
    return f"INSERT INTO calls ({', '.join(names)}) VALUES ({marks})"  # noqa: S608  # the keys below, never a caller's


def record_or_warn(ledger: Ledger, row: CallRow, warn: Callable[[str], None]) -> None:
    """Keep `row`; a ledger that cannot be written costs a warning, never the answer."""
    try:
        ledger.record(row)
    except StorageError as error:
        warn(error.message)


def _columns(row: CallRow) -> dict[str, str | float | int | None]:
    caller, usage, cost, saved = row.caller, row.usage, _plausible(row.cost), _plausible(row.saved)
    columns: dict[str, str | float | int | None] = {
        "started_at": row.started_at,
        "command": caller.command,
        "profile": caller.profile,
        "target": caller.target,
        "provider": row.provider,
        "request_model": row.request_model,
        "response_model": row.response_model,
        "response_id": row.response_id,
        "request_id": row.request_id,
        "input_tokens": _count(usage.input_tokens),
        "output_tokens": _count(usage.output_tokens),
        "cache_read_input_tokens": _count(usage.cache_read_input_tokens),
        "cache_creation_input_tokens": _count(usage.cache_creation_input_tokens),
        "cache_creation_1h_input_tokens": _count(usage.cache_creation_1h_input_tokens),
        "reasoning_output_tokens": _count(usage.reasoning_output_tokens),
        "usage_estimated": usage.estimated,
        "cost_pico": to_pico(cost.amount) if cost else None,
        "cost_exact": cost.exact if cost else None,
        "cost_source": cost.source if cost else None,
        "saved_pico": to_pico(saved.amount) if saved else None,
        "saved_exact": saved.exact if saved else None,
        "time_to_first_token_s": row.time_to_first_token_s,
        "itl_s": row.itl_s,
        "duration_s": row.duration_s,
        "attempts": json.dumps([_attempt(attempt) for attempt in row.attempts]),
        "finish_reason": row.finish_reason,
        "error_kind": row.error_kind,
        "cached": row.cached,
        "conversation_id": caller.conversation_id,
        "lost": row.lost,
        "batch": row.batch,
        "service_tier": row.service_tier,
        "task": caller.task,
    }
    return {name: encodable(value) if isinstance(value, str) else value for name, value in columns.items()}


def _count(tokens: int | None) -> int | None:
    """A vendor may send any number: unknown where it cannot be one of tokens."""
    return tokens if tokens is not None and 0 <= tokens <= _MOST else None


def _plausible(cost: Cost | None) -> Cost | None:
    return cost if cost is not None and 0 <= cost.amount.scaleb(12) <= _MOST else None


def _attempt(attempt: Attempt) -> dict[str, str | float | int | None]:
    return {
        "provider": attempt.provider,
        "model": attempt.model,
        "outcome": attempt.outcome,
        "status": attempt.status,
        "duration_s": attempt.duration_s,
        "retry_after_s": attempt.retry_after_s,
    }
