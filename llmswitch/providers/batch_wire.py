"""What the vendors' batch calls have in common: files that are streamed both ways, steps that end, lists of jobs.

Imports no SDK and no client; asyncio only when something is sent.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar, cast
from urllib.parse import urlsplit

from llmswitch.errors import CallTimeoutError, MalformedError, NotFoundError, ProviderError, TruncatedError
from llmswitch.providers.base import Endpoint
from llmswitch.providers.batching import JobState
from llmswitch.providers.failures import UndecodableError

__all__ = [
    "CLOCK_SKEW_S",
    "MOST_LINE",
    "Flaws",
    "Joined",
    "Status",
    "cancelled",
    "count",
    "epoch",
    "heard",
    "lines",
    "listed",
    "moment",
    "records",
    "since",
    "step",
    "upload_s",
]

T = TypeVar("T")
Status = Literal["running", "cancelling", "completed", "expired", "cancelled", "failed"]

#: how far the vendor's clock may be behind ours
CLOCK_SKEW_S = 60.0
#: bytes of one line of results: an answer is far smaller, and a damaged file may have no line's end at all
MOST_LINE = 16 * 2**20
#: how long a step may take, and a vendor be silent within its results, in seconds
STEP_S = 120.0
#: bytes a second of the slowest line that a job goes up
_SLOWEST = 50_000
#: epoch seconds from which on no date can be told everywhere: the last day of 9999
_LAST_S = 253_402_214_400
#: bytes of a file that are held at once
_PART = 2**16


def upload_s(path: Path) -> float:
    """Seconds that sending the file may take."""
    return STEP_S + path.stat().st_size / _SLOWEST


@asynccontextmanager
async def step(
    endpoint: Endpoint,
    translation: AbstractContextManager[None],
    *,
    vendor_id: str | None = None,
    most_s: float | None = None,
) -> AsyncGenerator[None]:
    """One call, whose failures `translation` makes ours, that ends within `most_s` seconds, or those of a step.

    `vendor_id` is the job that it is about: what the vendor does not find is that, and no model.
    """
    import asyncio

    most_s = STEP_S if most_s is None else most_s
    try:
        async with asyncio.timeout(most_s):
            with translation:
                yield
    except TimeoutError as error:
        raise _silent(endpoint, most_s) from error
    except NotFoundError as error:
        if vendor_id is None:
            raise
        raise NotFoundError(
            f"{endpoint.provider} at {_host(endpoint)} has no batch {vendor_id}, or has its results no more "
            "(HTTP 404). It may be of another account, or deleted, or older than the vendor keeps one.",
            provider=endpoint.provider,
            request_model=error.request_model,
            status=error.status,
            request_id=error.request_id,
        ) from error


async def heard(endpoint: Endpoint, parts: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """`parts`, none of which takes longer than a step may."""
    import asyncio

    while True:
        try:
            async with asyncio.timeout(STEP_S):
                part = await anext(parts, None)
        except TimeoutError as error:
            raise _silent(endpoint, STEP_S) from error
        if part is None:
            return
        yield part


def _silent(endpoint: Endpoint, seconds: float) -> CallTimeoutError:
    return CallTimeoutError(
        f"{endpoint.provider} at {_host(endpoint)} said nothing for {seconds:.0f} s. The job is not lost: try again.",
        provider=endpoint.provider,
    )


def _host(endpoint: Endpoint) -> str:
    return urlsplit(endpoint.base_url).netloc.rpartition("@")[2]


async def cancelled(ask: Awaitable[object], look: Callable[[], Awaitable[JobState]]) -> None:
    """Ask for a job's end; a vendor that refuses since the job has ended already has done no harm."""
    try:
        await ask
    except NotFoundError:
        raise
    except ProviderError as error:
        if error.status not in (400, 409, 422) or not (await look()).ended:
            raise


class Joined:
    """A body made of a file's lines, joined by commas between `before` and `after`; no more than a part is held."""

    def __init__(self, path: Path, before: bytes, after: bytes) -> None:
        self._path = path
        self._before = before
        self._after = after
        with path.open("rb") as file:
            self._size = file.seek(0, 2)
            file.seek(max(0, self._size - 1))
            self._size -= file.read(1) == b"\n"
        self.length = len(before) + self._size + len(after)

    @property
    def headers(self) -> dict[str, str]:
        """With the length told, no server has to read chunks."""
        return {"Content-Length": str(self.length), "Content-Type": "application/json"}

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        yield self._before
        left = self._size
        with self._path.open("rb") as file:
            while left and (part := file.read(min(_PART, left))):
                left -= len(part)
                yield part.replace(b"\n", b",")  # within JSON a line's end is written as \n
        yield self._after


async def lines(parts: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    r"""Each with its `\n`, the last one as it is. Split there alone: other separators stand within JSON texts.

    Raises UndecodableError for a line that does not end.
    """
    held: list[bytes] = []
    size = 0
    async for part in parts:
        *whole, rest = part.split(b"\n")
        for line in whole:
            yield b"".join((*held, line, b"\n"))
            held, size = [], 0
        if rest:
            held.append(rest)
            size += len(rest)
        if size > MOST_LINE:
            raise UndecodableError("a line of its results does not end")
    if held:
        yield b"".join(held)


class Flaws:
    """What was wrong with a job's results. What can be read is, and then the first of these is raised."""

    def __init__(self, endpoint: Endpoint, model: str) -> None:
        self._endpoint = endpoint
        self._model = model
        self._first: ProviderError | None = None

    def cut(self, after: int, cause: Exception | None = None) -> None:
        """The results ended too early, `after` so many."""
        self._note(TruncatedError, f"broke off after {after} answers. Collect again", cause)

    def bad(self, where: str, cause: Exception | None = None) -> None:
        """What stands at `where` is no result."""
        self._note(MalformedError, f"cannot be read at {where}. What could be read is kept", cause)

    def _note(self, kind: type[ProviderError], what: str, cause: Exception | None) -> None:
        who = self._endpoint
        if self._first is None:
            text = f"{who.provider} at {_host(who)}: the results of the batch {what}."
            self._first = kind(text, provider=who.provider, request_model=self._model)
            self._first.__cause__ = cause

    def check(self) -> None:
        """Raise the first."""
        if self._first is not None:
            raise self._first


async def records(parts: AsyncIterator[bytes], flaws: Flaws) -> AsyncGenerator[dict[str, Any]]:
    """The objects of a JSON Lines file, each with a text `custom_id`."""
    import httpx2

    number = 0
    try:
        async for line in lines(parts):
            number += 1
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                if line.endswith(b"\n"):
                    flaws.bad(f"line {number}", error)
                else:
                    flaws.cut(number - 1, error)
                continue
            if isinstance(record, dict) and isinstance(record.get("custom_id"), str):
                yield record
            else:
                flaws.bad(f"line {number}")
    except httpx2.TransportError as error:
        flaws.cut(number, error)


async def since(pages: AsyncIterator[list[tuple[float | None, T]]], begin: float) -> AsyncGenerator[T]:
    """What was created at `begin` or later, of pages of (when created, what).

    Stops at the first older one only while the pages have been newest first: who lists them otherwise, as no vendor
    is known to do, is read to the end, since a job that is not found is sent, and paid for, twice.
    """
    last, newest_first = math.inf, True
    async for page in pages:
        for created, item in page:
            if created is not None:
                newest_first = newest_first and created <= last
                last = created
            if created is None or created >= begin:
                yield item
        if newest_first and last < begin:
            return


def epoch(value: object) -> float | None:
    """A time that is told as a number of seconds; None where no calendar has it."""
    told = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LAST_S
    return float(cast("float", value)) if told else None


def moment(value: object) -> float | None:
    """A time that is told by RFC 3339, in epoch seconds."""
    if not isinstance(value, str):
        return None
    try:
        told = datetime.fromisoformat(value)
    except ValueError:
        return None
    return epoch(told.replace(tzinfo=told.tzinfo or UTC).timestamp())


def listed(value: object) -> list[Any]:
    """A list that may be missing; raises UndecodableError for anything else in its place."""
    if value is not None and not isinstance(value, list):
        raise UndecodableError(f"its list is {type(value).__name__}")
    return value or []


def count(value: object) -> int | None:
    """A number of requests, which Google writes as a text."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        return int(value)
    return value if type(value) is int and value >= 0 else None
