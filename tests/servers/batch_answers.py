"""How `BatchVendors` writes a response, and what it reads of a request, whatever the vendor."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from tests.servers.batch_forms import FAILURES
from tests.servers.batch_jobs import BatchBehaviour, Failing
from tests.servers.recorder import Handler, Seen, sse

__all__ = ["EVENTS", "BatchAnswer", "Name", "RefusedError", "file_of", "key_of"]

Name = Literal["openai", "azure", "anthropic", "gemini"]


class RefusedError(Exception):
    """The request is answered with an error."""

    def __init__(self, failing: Failing) -> None:
        super().__init__(failing.message)
        self.failing = failing


class BatchAnswer:
    """Writes one response in a vendor's way."""

    def __init__(self, out: Handler, vendor: Name) -> None:
        self._out = out
        self._vendor = vendor

    def send(self, body: bytes, status: int = 200, *, missing: int = 0) -> None:
        length = str(len(body) + missing)
        self._out.start(status, {"content-type": "application/json", "content-length": length})
        self._out.wfile.write(body)

    def json(self, document: object) -> None:
        self.send(json.dumps(document).encode())

    def fail(self, failing: Failing) -> None:
        self.send(json.dumps(FAILURES[self._vendor](failing)).encode(), failing.status)

    def lines(self, behaviour: BatchBehaviour, lines: list[bytes]) -> None:
        """A file, cut off as the behaviour says."""
        half = len(lines) // 2
        kept = lines if behaviour.cut is None else lines[:half]
        if behaviour.cut == "line":
            kept = [*kept, lines[half][: len(lines[half]) // 2]]
        body = b"".join(kept)
        self._out.start(
            200,
            {
                "content-type": "application/x-jsonl",
                "content-length": str(len(body) + (behaviour.cut == "transfer")),
            },
        )
        self._out.wfile.write(body[: len(body) // 2])
        self._out.wfile.flush()
        time.sleep(behaviour.results_s)
        self._out.wfile.write(body[len(body) // 2 :])

    def stream(self, events: Iterable[bytes]) -> None:
        self._out.start(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        for event in events:
            self._out.chunk(event)
        self._out.chunk(b"")


def _openai_events(whole: dict[str, Any]) -> Iterable[bytes]:
    choice = whole["choices"][0]
    part = {"index": 0, "delta": choice["message"], "finish_reason": None}
    last = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
    for choices, usage in (([part], None), ([last], None), ([], whole["usage"])):
        yield sse({"id": "c1", "model": whole["model"], "choices": choices, "usage": usage})
    yield sse("[DONE]")


def _anthropic_events(whole: dict[str, Any]) -> Iterable[bytes]:
    delta = {"type": "text_delta", "text": whole["content"][0]["text"]}
    for event in (
        {"type": "message_start", "message": {**whole, "content": [], "stop_reason": None}},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "message_delta", "delta": {"stop_reason": whole["stop_reason"]}, "usage": whole["usage"]},
        {"type": "message_stop"},
    ):
        yield f"event: {event['type']}\n".encode() + sse(event)


def _gemini_events(whole: dict[str, Any]) -> Iterable[bytes]:
    yield sse(whole)


EVENTS: Mapping[Name, Callable[[dict[str, Any]], Iterable[bytes]]] = {
    "openai": _openai_events,
    "azure": _openai_events,
    "anthropic": _anthropic_events,
    "gemini": _gemini_events,
}


def key_of(seen: Seen) -> str:
    """Whoever asks: the key, in whichever header the vendor has it."""
    names = ("x-goog-api-key", "x-api-key", "api-key")
    bearer = seen.headers.get("authorization", "").removeprefix("Bearer ")
    return next((seen.headers[name] for name in names if name in seen.headers), bearer)


def file_of(seen: Seen) -> bytes:
    """The file of a multipart body."""
    boundary = seen.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    for part in seen.body.split(b"--" + boundary):
        head, _, content = part.partition(b"\r\n\r\n")
        if b'name="file"' in head:
            return content.removesuffix(b"\r\n")
    raise AssertionError("no file in it")
