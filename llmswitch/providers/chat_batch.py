"""OpenAI's batch calls, which Azure has, too: a file of requests goes up, and a file of answers comes down.

Facts are those of openai 3.54 (`resources/batches.py`, `resources/files.py`, `types/batch.py`) and, for what a line of
results holds, of OpenAI's API description (`BatchRequestOutput`). JSON is read here and not through the SDK's models,
for the reason that chat_codec.py gives.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, aclosing
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from llmswitch.errors import BadRequestError, CallTimeoutError, ProviderError
from llmswitch.providers.base import Endpoint
from llmswitch.providers.batch_wire import (
    CLOCK_SKEW_S,
    Flaws,
    cancelled,
    epoch,
    heard,
    listed,
    records,
    since,
    step,
    upload_s,
)
from llmswitch.providers.batching import JobAnswer, JobState, Piece
from llmswitch.providers.chat_batch_codec import OURS, checked, job_state, our_id
from llmswitch.providers.chat_codec import Dialect, decode
from llmswitch.providers.failures import UndecodableError, masked, translated

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI

__all__ = ["ChatBatcher"]

#: how long a file is waited for that Azure has not looked through yet, and how often it is looked at, in seconds
_FILE_S, _FILE_EACH_S = 60.0, 2.0
#: jobs a page (the most that they give)
_PAGE = 100


class ChatBatcher:
    """One endpoint's batch calls. `url` is what lines and job name as the path of the call; `wall` gives epoch seconds,
    `sleep` waits between looks at a file that was sent up.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        client: AsyncOpenAI,
        dialect: Dialect,
        url: str,
        *,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._client = client
        self._dialect = dialect
        self._url = url
        self._wall = wall
        self._sleep = sleep

    async def send(self, piece: Piece) -> JobState:
        """Send the file up, then make a job of it; raises a ProviderError."""
        import httpx2

        with piece.path.open("rb") as file:
            async with step(self._endpoint, self._translated(piece.model), most_s=upload_s(piece.path)):
                reply = await self._client.post(
                    "/files",
                    cast_to=httpx2.Response,
                    body={"purpose": "batch"},
                    files=[("file", (f"{piece.id}.jsonl", file, "application/json"))],
                    options={"headers": {"Content-Type": "multipart/form-data"}},
                )
                uploaded = _named(reply)
        await self._taken_in(uploaded, piece.model)
        body = {
            "input_file_id": uploaded["id"],
            "endpoint": self._url,
            "completion_window": "24h",
            "metadata": {OURS: piece.id},
        }
        async with step(self._endpoint, self._translated(piece.model)):
            return self._state(_named(await self._client.post("/batches", cast_to=httpx2.Response, body=body)))

    async def _taken_in(self, file: dict[str, Any], model: str) -> None:
        """Wait until a job can be made of the file: Azure looks through it first."""
        import asyncio

        import httpx2

        sleep = self._sleep or asyncio.sleep
        waited = 0.0
        who = self._endpoint.provider
        while (status := file.get("status")) not in (None, "processed"):
            if status in ("error", "deleting", "deleted"):
                why = masked(str(file.get("status_details") or f"its status is {status}"), self._endpoint)
                raise BadRequestError(
                    f"{who} cannot use the file of requests: {why}", provider=who, request_model=model
                )
            if waited >= _FILE_S:
                raise CallTimeoutError(
                    f"{who} has not looked through the file of requests within {_FILE_S:.0f} s. Try again later.",
                    provider=who,
                    request_model=model,
                )
            await sleep(_FILE_EACH_S)
            waited += _FILE_EACH_S
            async with step(self._endpoint, self._translated(model)):
                file = _named(await self._client.get(f"/files/{_quoted(file['id'])}", cast_to=httpx2.Response))

    async def find(self, piece: Piece) -> list[JobState]:
        """The jobs that bear the piece's id; raises a ProviderError."""
        async with aclosing(since(self._pages(piece.model), piece.sent_from - CLOCK_SKEW_S)) as jobs:
            return [self._state(raw) async for raw in jobs if our_id(raw) == piece.id]

    async def _pages(self, model: str) -> AsyncGenerator[list[tuple[float | None, dict[str, Any]]]]:
        import httpx2

        after: str | None = None
        while True:
            params = {"limit": _PAGE} if after is None else {"limit": _PAGE, "after": after}
            async with step(self._endpoint, self._translated(model)):
                reply = await self._client.get("/batches", cast_to=httpx2.Response, options={"params": params})
                page = _object(reply)
                found = [checked(raw) for raw in listed(page.get("data"))]
                last = found[-1]["id"] if found else None
                if last is not None and last == after:
                    raise UndecodableError("its list of batches does not end")
            yield [(epoch(raw.get("created_at")), raw) for raw in found]
            if not page.get("has_more") or last is None:
                return
            after = last

    async def look(self, vendor_id: str) -> JobState:
        """How the job is; raises a ProviderError."""
        return self._state(await self._job(vendor_id))

    def _state(self, raw: dict[str, Any]) -> JobState:
        state = job_state(raw)
        return state if state.said is None else state._replace(said=masked(state.said, self._endpoint))

    async def _job(self, vendor_id: str, model: str | None = None) -> dict[str, Any]:
        import httpx2

        async with step(self._endpoint, self._translated(model), vendor_id=vendor_id):
            return _named(await self._client.get(f"/batches/{_quoted(vendor_id)}", cast_to=httpx2.Response))

    async def cancel(self, vendor_id: str) -> None:
        """Ask for its end; raises a ProviderError."""
        await cancelled(self._cancel(vendor_id), lambda: self.look(vendor_id))

    async def _cancel(self, vendor_id: str) -> None:
        import httpx2

        async with step(self._endpoint, self._translated(None), vendor_id=vendor_id):
            await self._client.post(f"/batches/{_quoted(vendor_id)}/cancel", cast_to=httpx2.Response)

    async def answers(self, vendor_id: str, model: str) -> AsyncIterator[JobAnswer]:
        """The file of answers, then the file of errors, of which there may be one, both or none."""
        job = await self._job(vendor_id, model)
        flaws = Flaws(self._endpoint, model)
        for name in ("output_file_id", "error_file_id"):
            if isinstance(job.get(name), str) and job[name]:
                async with aclosing(self._records(job[name], vendor_id, model, flaws)) as found:
                    async for record in found:
                        answer = self._answer(record, model)
                        if answer is not None:
                            yield answer
        flaws.check()

    async def _records(self, file_id: str, vendor_id: str, model: str, flaws: Flaws) -> AsyncGenerator[dict[str, Any]]:
        from openai import AsyncStream

        async with step(self._endpoint, self._translated(model), vendor_id=vendor_id):
            file = await self._client.get(
                f"/files/{_quoted(file_id)}/content",
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
        """Close every connection."""
        await self._client.close()

    def _answer(self, record: dict[str, Any], model: str) -> JobAnswer | None:
        """What a line says; None for one of a request that was cancelled, as most of those stand nowhere."""
        custom_id, response, error = record["custom_id"], record.get("response"), record.get("error")
        response = response if isinstance(response, dict) else {}
        code = error.get("code") if isinstance(error, dict) else None
        if code == "batch_cancelled":
            return None
        if code == "batch_expired":
            return JobAnswer(custom_id, None, self._expired(model))
        request_id = response.get("request_id")
        request_id = request_id if isinstance(request_id, str) else None
        try:
            with self._translated(model, request_id, CallTimeoutError if code == "request_timeout" else None):
                if isinstance(error, dict) or response.get("status_code") != 200:
                    raise self._refusal(response, error, request_id)
                body = response.get("body")
                provider = self._endpoint.provider
                return JobAnswer(custom_id, decode(body, provider=provider, request_model=model, request_id=request_id))
        except ProviderError as refused:
            return JobAnswer(custom_id, None, refused)

    def _expired(self, model: str) -> CallTimeoutError:
        who = self._endpoint.provider
        return CallTimeoutError(f"the batch expired before {who} came to it.", provider=who, request_model=model)

    def _refusal(self, response: dict[str, Any], error: object, request_id: str | None) -> Exception:
        """What the SDK would have raised had this been the answer to a call."""
        import httpx2
        from openai import APIError

        asked = httpx2.Request("POST", self._url)
        status = response.get("status_code")
        if isinstance(error, dict):
            return APIError(str(error.get("message") or "it failed"), asked, body=error)
        if type(status) is not int or not 300 <= status < 600:
            return UndecodableError("it holds neither an answer nor an error")
        headers = {} if request_id is None else {"x-request-id": request_id}
        reply = httpx2.Response(status, json=response.get("body"), headers=headers, request=asked)
        return self._client._make_status_error_from_response(reply)

    def _translated(
        self, model: str | None, request_id: str | None = None, kind: type[ProviderError] | None = None
    ) -> AbstractContextManager[None]:
        """`kind` is what a failure means, where its code says so here and in no answer to a call."""
        from llmswitch.providers.chat_errors import native_errors, read

        names = {theirs: ours for ours, theirs in self._dialect.names.items()}

        def told(error: Exception) -> Any:
            failure = read(error, names=names, request_id=request_id, now=self._wall())
            return failure if kind is None else failure._replace(kind=kind)

        return translated(
            tuple(native_errors()),
            told,
            endpoint=self._endpoint,
            request_model=model,
            variables=self._dialect.variables,
        )


def _quoted(identifier: str) -> str:
    return quote(identifier, safe="")


def _object(reply: httpx2.Response) -> dict[str, Any]:
    raw = reply.json()
    if not isinstance(raw, dict):
        raise UndecodableError(f"it is {type(raw).__name__}, not an object")
    return raw


def _named(reply: httpx2.Response) -> dict[str, Any]:
    return checked(_object(reply))
