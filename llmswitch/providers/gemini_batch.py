"""Gemini's batch calls, with all requests in one body and all answers in one.

Facts are those of google-genai 3.4 (`batches.py`: the `_mldev` functions) and of ai.google.dev/api/batch-api. The calls
go through our HTTP client: the SDK's would hold a job twice on its way up, four times on its way down, and leave out
its error and its counts.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, aclosing
from typing import TYPE_CHECKING, Any

from llmswitch.errors import ProviderError
from llmswitch.providers.base import Endpoint
from llmswitch.providers.batch_json import skim
from llmswitch.providers.batch_wire import (
    CLOCK_SKEW_S,
    Flaws,
    Joined,
    cancelled,
    heard,
    listed,
    moment,
    since,
    step,
    upload_s,
)
from llmswitch.providers.batching import Batching, JobAnswer, JobLimits, JobState, Piece
from llmswitch.providers.failures import UndecodableError, masked, translated
from llmswitch.providers.gemini_batch_codec import job_path, job_state, key_of, line, metadata
from llmswitch.providers.gemini_codec import decode, model_name
from llmswitch.providers.gemini_errors import KEY_VARIABLES, native_errors, read
from llmswitch.types import Request

if TYPE_CHECKING:
    import httpx2

__all__ = ["BATCHING", "GeminiBatcher"]

#: google.rpc.Code -> the HTTP status of a call that fails so (google/rpc/code.proto says which)
_CODES: Mapping[int, int] = {
    1: 499,
    2: 500,
    3: 400,
    4: 504,
    5: 404,
    6: 409,
    7: 403,
    8: 429,
    9: 400,
    10: 409,
    11: 400,
    12: 501,
    13: 500,
    14: 503,
    15: 500,
    16: 401,
}
#: the code of a request that was cancelled
_CANCELLED = 1
#: jobs a page: each may come with all of its answers
_PAGE = 20
#: the list in a job's document that holds its answers
_ANSWERS = "inlinedResponses"
#: what of a job's document is long, and none of its state
_LONG = (_ANSWERS, "requests")


class GeminiBatcher:
    """One endpoint's batch calls; `wall` gives epoch seconds."""

    def __init__(self, endpoint: Endpoint, *, wall: Callable[[], float] = time.time) -> None:
        from llmswitch.providers.http import http_client

        assert endpoint.api_key is not None  # noqa: S101  # see `_unfit`
        self._endpoint = endpoint
        self._wall = wall
        self._native_errors = tuple(native_errors())
        self._http = http_client(endpoint, KEY_VARIABLES.url, endless=True)
        self._root = f"{endpoint.base_url.rstrip('/')}/{endpoint.api_version}"
        self._headers = {"x-goog-api-key": endpoint.api_key.reveal(), **dict(endpoint.headers)}

    async def send(self, piece: Piece) -> JobState:
        """Hand it over; raises a ProviderError."""
        model = model_name(piece.model)
        path = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
        name = json.dumps(piece.id).encode()
        before = b'{"batch":{"displayName":' + name + b',"inputConfig":{"requests":{"requests":['
        body = Joined(piece.path, before, b"]}}}}")
        async with step(self._endpoint, self._translated(piece.model), most_s=upload_s(piece.path)):
            reply = await self._ask("POST", f"{path}:batchGenerateContent", content=aiter(body), headers=body.headers)
            return self._state(await self._document(reply))

    async def find(self, piece: Piece) -> list[JobState]:
        """The jobs of the piece's name; raises a ProviderError."""
        async with aclosing(since(self._pages(piece.model), piece.sent_from - CLOCK_SKEW_S)) as jobs:
            return [self._state(raw) async for raw in jobs if metadata(raw).get("displayName") == piece.id]

    async def _pages(self, model: str) -> AsyncGenerator[list[tuple[float | None, dict[str, Any]]]]:
        token = ""
        while True:
            params = {"pageSize": str(_PAGE), **({"pageToken": token} if token else {})}
            async with step(self._endpoint, self._translated(model)):
                reply = await self._ask("GET", "batches", params=params)
            with self._translated(model):
                page = await self._document(reply)
                found = [raw for raw in listed(page.get("operations")) if isinstance(raw, dict)]
                following = page.get("nextPageToken")
                if following and following == token:
                    raise UndecodableError("its list of batches does not end")
            yield [(moment(metadata(raw).get("createTime")), raw) for raw in found]
            if not isinstance(following, str) or not following:
                return
            token = following

    async def look(self, vendor_id: str) -> JobState:
        """How the job is; raises a ProviderError. Of an ended one, the answers are passed over."""
        async with step(self._endpoint, self._translated(None), vendor_id=vendor_id):
            reply = await self._ask("GET", job_path(vendor_id))
        with self._translated(None):
            return self._state(await self._document(reply))

    def _state(self, raw: dict[str, Any]) -> JobState:
        state = job_state(raw)
        return state if state.said is None else state._replace(said=masked(state.said, self._endpoint))

    async def cancel(self, vendor_id: str) -> None:
        """Ask for its end; raises a ProviderError."""
        await cancelled(self._cancel(vendor_id), lambda: self.look(vendor_id))

    async def _cancel(self, vendor_id: str) -> None:
        async with step(self._endpoint, self._translated(None), vendor_id=vendor_id):
            reply = await self._ask("POST", f"{job_path(vendor_id)}:cancel")
            await reply.aclose()

    async def answers(self, vendor_id: str, model: str) -> AsyncIterator[JobAnswer]:
        """Every answer that stands in the job's document; raises a ProviderError."""
        import httpx2

        flaws = Flaws(self._endpoint, model)
        number = 0
        async with step(self._endpoint, self._translated(model), vendor_id=vendor_id):
            reply = await self._ask("GET", job_path(vendor_id))
        with self._translated(model):
            async with (
                aclosing(reply),
                aclosing(heard(self._endpoint, reply.aiter_bytes())) as parts,
                aclosing(skim(parts, _LONG)) as found,
            ):
                try:
                    async for name, item in found:
                        if name != _ANSWERS:
                            continue
                        number += 1
                        key = key_of(item)
                        if key is None:
                            flaws.bad(f"answer {number}, which does not say to which request it belongs")
                        elif (answer := self._answer(key, item, model)) is not None:
                            yield answer
                except (httpx2.TransportError, EOFError) as error:
                    flaws.cut(number, error)
        flaws.check()

    async def aclose(self) -> None:
        """Release every socket."""
        await self._http.aclose()

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        content: AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """The response with its body still to be read; raises what the SDK would."""
        from google.genai.errors import APIError

        request = self._http.build_request(
            method, f"{self._root}/{path}", params=params, content=content, headers={**self._headers, **(headers or {})}
        )
        reply = await self._http.send(request, stream=True)
        try:
            await APIError.raise_for_async_response(reply)
        except BaseException:
            await reply.aclose()
            raise
        return reply

    async def _document(self, reply: httpx2.Response) -> dict[str, Any]:
        """What the response says beside requests and answers, which take as long as they take."""
        document: dict[str, Any] = {}
        async with (
            aclosing(reply),
            aclosing(heard(self._endpoint, reply.aiter_bytes())) as parts,
            aclosing(skim(parts, _LONG)) as found,
        ):
            try:
                async for name, item in found:
                    document = item if name is None else document
            except EOFError as error:
                raise UndecodableError("it breaks off") from error
        return document

    def _answer(self, key: str, item: dict[str, Any], model: str) -> JobAnswer | None:
        """What one element says; None for a request that was cancelled, as with the other vendors."""
        from google.genai.types import GenerateContentResponse

        error = item.get("error")
        if isinstance(error, dict) and error.get("code") == _CANCELLED:
            return None
        try:
            with self._translated(model, told_status=isinstance(error, dict) and _is_status(error.get("code"))):
                if error is not None:
                    raise _refusal(error)
                if not isinstance(item.get("response"), dict):
                    raise UndecodableError("it holds neither an answer nor an error")
                answer = GenerateContentResponse._from_response(response=item["response"], kwargs={})
                return JobAnswer(key, decode(self._endpoint, Request(model, ()), answer))
        except ProviderError as refused:
            return JobAnswer(key, None, refused)

    def _translated(self, model: str | None, *, told_status: bool = True) -> AbstractContextManager[None]:
        """`told_status` is false where a number stands for a status that nobody sent."""
        asked = Request(model or "", ())

        def told(error: Exception) -> Any:
            failure = read(error, asked, self._wall())
            return failure if told_status else failure._replace(status=None)

        return translated(
            self._native_errors, told, endpoint=self._endpoint, request_model=model, variables=KEY_VARIABLES
        )


def _refusal(error: object) -> Exception:
    """What the SDK would have raised had this google.rpc.Status been the answer to a call."""
    from google.genai.errors import APIError

    if not isinstance(error, dict):
        return UndecodableError("its error is not an object")
    code = error.get("code")
    number = code if type(code) is int else 2
    return APIError(number if _is_status(number) else _CODES.get(number, 500), {"error": error})


def _is_status(code: object) -> bool:
    """Whether a google.rpc.Status has an HTTP status for its code, as some gateways write it."""
    return type(code) is int and 300 <= code < 600


def _unfit(endpoint: Endpoint) -> str | None:
    if endpoint.api_key is None:
        return "Vertex AI takes its batches from a bucket, which llmswitch does not fill. Set GOOGLE_API_KEY instead."
    return None


#: Google takes 20 MB in one call; how many requests it does not say. All answers of a job come in one document, which
#: is read as it comes: what bounds a job is how much is lost with it, and read again after it broke off.
BATCHING = Batching(JobLimits(lines=2_000, bytes=16_000_000), line, GeminiBatcher, _unfit)
