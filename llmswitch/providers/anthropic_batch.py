"""Anthropic's Message Batches: all requests in one body, and a file of results in any order.

Facts are those of anthropic 2.12 (`resources/messages/batches.py`, `types/messages/message_batch*.py`). The vendor
keeps no name and no metadata of ours: a job is found again by when it was made and how large it is, and once it has
ended, by the ids in its results.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractContextManager, aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from llmswitch.errors import CallTimeoutError, NotFoundError, ProviderError
from llmswitch.providers.anthropic_batch_codec import job_state, lax, line
from llmswitch.providers.anthropic_client import SAMPLING_HEADERS, client
from llmswitch.providers.anthropic_codec import decode
from llmswitch.providers.anthropic_errors import VARIABLES, native_errors, read
from llmswitch.providers.base import Endpoint
from llmswitch.providers.batch_wire import (
    CLOCK_SKEW_S,
    Flaws,
    Joined,
    cancelled,
    heard,
    listed,
    records,
    since,
    step,
    upload_s,
)
from llmswitch.providers.batching import Batching, JobAnswer, JobLimits, JobState, Piece
from llmswitch.providers.failures import UndecodableError, translated
from llmswitch.types import Parameters, Request

if TYPE_CHECKING:
    from anthropic.types import Message as Answer

__all__ = ["BATCHING", "AnthropicBatcher"]

_PATH = "/v1/messages/batches"
#: jobs a page: they give up to 1,000
_PAGE = 100
_NO_PARAMETERS = Parameters()


class AnthropicBatcher:
    """One endpoint's batch calls; `wall` gives epoch seconds."""

    def __init__(self, endpoint: Endpoint, *, wall: Callable[[], float] = time.time) -> None:
        self._endpoint = endpoint
        self._client = client(endpoint, endless=True)
        self._native_errors = native_errors()
        self._wall = wall

    async def send(self, piece: Piece) -> JobState:
        """Hand it over; raises a ProviderError."""
        import asyncio

        import httpx2

        body = Joined(piece.path, b'{"requests":[', b"]}")
        sampled = await asyncio.to_thread(_samples, piece.path)
        async with step(self._endpoint, self._translated(piece.model), most_s=upload_s(piece.path)):
            reply = await self._client.post(
                _PATH,
                cast_to=httpx2.Response,
                content=aiter(body),
                options={"headers": {**body.headers, **(SAMPLING_HEADERS if sampled else {})}},
            )
            return job_state(reply.json())

    async def find(self, piece: Piece) -> list[JobState]:
        """Jobs of its time and size, but those whose results are another's; raises a ProviderError."""
        begin = piece.sent_from - CLOCK_SKEW_S
        async with aclosing(since(self._pages(piece.model), begin)) as jobs:
            alike = [job async for job in jobs if job.total == piece.lines]
        told = [(job, await self._is_of(piece, job)) for job in alike]
        return [job._replace(certain=ours is True) for job, ours in told if ours is not False]

    async def _pages(self, model: str) -> AsyncGenerator[list[tuple[float | None, JobState]]]:
        import httpx2

        after: str | None = None
        while True:
            params: dict[str, object] = {"limit": _PAGE}
            if after is not None:
                params["after_id"] = after
            async with step(self._endpoint, self._translated(model)):
                reply = await self._client.get(_PATH, cast_to=httpx2.Response, options={"params": params})
                page = reply.json()
                if not isinstance(page, dict):
                    raise UndecodableError(f"it is {type(page).__name__}, not an object")
                found = [job_state(raw) for raw in listed(page.get("data"))]
                if found and found[-1].vendor_id == after:
                    raise UndecodableError("its list of batches does not end")
            yield [(job.created_at, job) for job in found]
            if not page.get("has_more") or not found:
                return
            after = found[-1].vendor_id

    async def _is_of(self, piece: Piece, job: JobState) -> bool | None:
        """Whether the job is the piece's, by the first id in its results; None where those do not tell."""
        if not job.ended:
            return None
        flaws = Flaws(self._endpoint, piece.model)
        try:
            async with aclosing(self._records(job.vendor_id, piece.model, flaws)) as found:
                async for record in found:
                    return _holds(piece, record["custom_id"])
        except NotFoundError:  # the vendor keeps results for 29 days
            return None
        return None

    async def look(self, vendor_id: str) -> JobState:
        """How the job is; raises a ProviderError."""
        import httpx2

        async with step(self._endpoint, self._translated(None), vendor_id=vendor_id):
            return job_state((await self._client.get(_path(vendor_id), cast_to=httpx2.Response)).json())

    async def cancel(self, vendor_id: str) -> None:
        """Ask for its end; raises a ProviderError."""
        await cancelled(self._cancel(vendor_id), lambda: self.look(vendor_id))

    async def _cancel(self, vendor_id: str) -> None:
        import httpx2

        async with step(self._endpoint, self._translated(None), vendor_id=vendor_id):
            await self._client.post(_path(vendor_id) + "/cancel", cast_to=httpx2.Response)

    async def answers(self, vendor_id: str, model: str) -> AsyncIterator[JobAnswer]:
        """Every result but those of requests that were canceled; raises a ProviderError."""
        flaws = Flaws(self._endpoint, model)
        async with aclosing(self._records(vendor_id, model, flaws)) as found:
            async for record in found:
                answer = self._answer(record, model)
                if answer is not None:
                    yield answer
        flaws.check()

    async def _records(self, vendor_id: str, model: str, flaws: Flaws) -> AsyncGenerator[dict[str, Any]]:
        """Not from the address in `results_url`: the key is for one host."""
        from anthropic import AsyncStream

        async with step(self._endpoint, self._translated(model), vendor_id=vendor_id):
            file = await self._client.get(
                _path(vendor_id) + "/results",
                cast_to=object,
                options={"headers": {"Accept": "application/binary"}},
                stream=True,
                stream_cls=AsyncStream[object],
            )
        with self._translated(model):
            async with (
                file,
                aclosing(heard(self._endpoint, file.response.aiter_bytes())) as parts,
                aclosing(records(parts, flaws)) as found,
            ):
                async for record in found:
                    yield record

    async def aclose(self) -> None:
        """Release every socket."""
        await self._client.close()

    def _answer(self, record: dict[str, Any], model: str) -> JobAnswer | None:
        custom_id, result = record["custom_id"], record.get("result")
        result = result if isinstance(result, dict) else {}
        kind = result.get("type")
        if kind == "canceled":
            return None
        if kind == "expired":
            return JobAnswer(custom_id, None, self._expired(model))
        try:
            with self._translated(model, batched=True):
                if kind == "errored":
                    raise self._refusal(result.get("error"))
                if kind != "succeeded":
                    raise UndecodableError(f"its result is of no known type: {kind}")
                message = cast("Answer", lax(result.get("message")))
                return JobAnswer(custom_id, decode(self._endpoint, Request(model, ()), message))
        except ProviderError as refused:
            return JobAnswer(custom_id, None, refused)

    def _expired(self, model: str) -> CallTimeoutError:
        return CallTimeoutError(
            "the batch expired before anthropic came to it.", provider=self._endpoint.provider, request_model=model
        )

    def _refusal(self, body: object) -> Exception:
        """What the SDK makes of an error whose status nobody told, as it does of one in a stream."""
        import httpx2

        if isinstance(body, dict) and not isinstance(body.get("error"), dict):  # as Anthropic's guide shows it
            body = {"error": body}
        request_id = body.get("request_id") if isinstance(body, dict) else None
        headers = {"request-id": request_id} if isinstance(request_id, str) else {}
        reply = httpx2.Response(200, headers=headers, json=body, request=httpx2.Request("POST", _PATH))
        return self._client._make_status_error_from_response(reply)

    def _translated(self, model: str | None, *, batched: bool = False) -> AbstractContextManager[None]:
        """`batched`: of one request's result, which has no status."""

        def told(error: Exception) -> Any:
            failure = read(error, _NO_PARAMETERS, self._wall())
            return failure._replace(status=None) if batched else failure

        return translated(
            self._native_errors,
            told,
            endpoint=self._endpoint,
            request_model=model,
            variables=VARIABLES,
        )


def _path(vendor_id: str) -> str:
    return f"{_PATH}/{quote(vendor_id, safe='')}"


def _samples(path: Path) -> bool:
    """Whether any request of the file sets a sampling parameter."""
    with path.open("rb") as file:
        return any(
            not {"temperature", "top_p"}.isdisjoint(json.loads(line)["params"])
            for line in file
            if b'"temperature"' in line or b'"top_p"' in line
        )


def _holds(piece: Piece, custom_id: str) -> bool:
    """Whether the piece has a request of this id. Its file may be gone: then, whether its batch may have."""
    if not custom_id.startswith(piece.id.rpartition("-")[0] + "-"):
        return False
    word = json.dumps(custom_id).encode()
    try:
        with piece.path.open("rb") as file:
            return any(word in line and json.loads(line)["custom_id"] == custom_id for line in file)
    except FileNotFoundError:
        return True


#: Anthropic's documented limits: 100,000 requests or 256 MB a batch, whichever is reached first. The body is streamed
#: from the piece's file; the envelope around its lines is what the difference is for.
BATCHING = Batching(JobLimits(lines=100_000, bytes=255_000_000), line, AnthropicBatcher)
