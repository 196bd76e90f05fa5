"""What a vendor's batch interface offers: many requests as one job, answered within a day at a lower price.

A job is made of a file in which each line is one request in the vendor's own form, and is known by an id of ours: a
job whose sending was cut off between the vendor's yes and our note is found again by it, and not sent twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from llmswitch.errors import ProviderError
from llmswitch.providers.base import Endpoint
from llmswitch.types import Request, Response

__all__ = ["Batcher", "Batching", "JobAnswer", "JobLimits", "JobState", "Piece"]


class JobLimits(NamedTuple):
    """What one job may hold at most: requests, bytes of its file, estimated input tokens (None: no limit known).

    Where a vendor's own limits are larger than what a process should hold in memory, these are smaller.
    """

    lines: int
    bytes: int
    tokens: int | None = None


class Piece(NamedTuple):
    """One job before it is sent. `id` is ours (letters, digits, '-'; at most 40); `path` is a file of UTF-8, each line
    what `Batching.encode` made of one request, of which there are `lines`; `sent_from` is when sending it began the
    first time, in epoch seconds.
    """

    id: str
    model: str
    lines: int
    path: Path
    sent_from: float


class JobState(NamedTuple):
    """What the vendor says of a job.

    `ended` tells that nothing more comes: `completed`, or early as `expired`, `cancelled` or `failed` (then `said` is
    the vendor's word why). `done` and `failed` count requests, None where the vendor does not say. Times are epoch
    seconds. `certain` is false where the vendor keeps no id of ours, so that the job is ours by time and size alone:
    its answers' ids tell.
    """

    vendor_id: str
    status: Literal["running", "cancelling", "completed", "expired", "cancelled", "failed"]
    total: int | None = None
    done: int | None = None
    failed: int | None = None
    created_at: float | None = None
    ended_at: float | None = None
    expires_at: float | None = None
    said: str | None = None
    certain: bool = True

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        return self.status not in ("running", "cancelling")


class JobAnswer(NamedTuple):
    """The answer to one request of a job, or why there is none; `custom_id` is what it was sent with."""

    custom_id: str
    response: Response | None
    error: ProviderError | None = None


class Batcher(Protocol):
    """A vendor's batch calls over one endpoint. Every method raises a ProviderError; each is one step, and no retry."""

    async def send(self, piece: Piece) -> JobState:
        """Hand the piece over as one job, which the vendor begins to answer, and to bill, at once."""
        ...

    async def find(self, piece: Piece) -> list[JobState]:
        """The jobs that `send` may have made of this very piece, the most likely first; empty where there is none."""
        ...

    async def look(self, vendor_id: str) -> JobState:
        """How the job is; NotFoundError where the vendor knows it no more."""
        ...

    async def cancel(self, vendor_id: str) -> None:
        """Ask for its end. What was answered by then stays, and is billed. Harmless where it has ended."""
        ...

    def answers(self, vendor_id: str, model: str) -> AsyncIterator[JobAnswer]:
        """What came of an ended job, in any order, in bounded memory, as far as the vendor's file goes.

        A line of it that cannot be read raises MalformedError; a file that is cut off, TruncatedError, after what
        could be read. Requests that the vendor says nothing of are simply not among them.
        """
        ...

    async def aclose(self) -> None:
        """Release every socket."""
        ...


class Batching(NamedTuple):
    """A vendor's batch interface: what a job may hold, how a request is written as one of its lines, and who sends it.

    `encode` is pure and returns what JSON can hold; `connect` imports the SDK. `unfit` says why an endpoint cannot
    batch though its vendor can (Gemini on Vertex AI takes its jobs from a bucket), None where it can.
    """

    limits: JobLimits
    encode: Callable[[Endpoint, str, Request], dict[str, Any]]
    connect: Callable[[Endpoint], Batcher]
    unfit: Callable[[Endpoint], str | None] = lambda endpoint: None
