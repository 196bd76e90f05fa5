"""A server on loopback that answers when it says, to the millisecond: what a client reads beyond that is the client's.

`python -m benchmarks.clockwork` prints its port. It speaks OpenAI's chat completions, whole or streamed; the model
that is asked for decides: `wait-50` answers after 50 ms in one piece, `stream-200-10-50` streams 50 tokens of one word,
the first after 200 ms, each other 10 ms after the one before. Each of these times counts from the request, not from
what was sent last.
"""

# Only the standard library: it runs in a process of its own.
from __future__ import annotations

import asyncio
import contextlib
import json
import sys

__all__ = ["serve"]

_HEAD, _END = b"HTTP/1.1 200 OK\r\n", b"\r\n\r\n"


def _chunk(text: str | None, finish: str | None = None) -> bytes:
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return _event({"id": "c", "object": "chat.completion.chunk", "model": "clockwork", "choices": [choice]})


def _event(data: object) -> bytes:
    return f"data: {json.dumps(data)}\n\n".encode()


def _usage(tokens: int) -> dict[str, object]:
    return {
        "prompt_tokens": 10,
        "completion_tokens": tokens,
        "total_tokens": 10 + tokens,
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _last(tokens: int) -> bytes:
    usage = {"id": "c", "object": "chat.completion.chunk", "model": "clockwork", "choices": [], "usage": _usage(tokens)}
    return _chunk(None, "stop") + _event(usage) + b"data: [DONE]\n\n"


def _whole() -> bytes:
    message = {"role": "assistant", "content": "Paris."}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    document = {"id": "c", "object": "chat.completion", "created": 1, "model": "clockwork", "choices": [choice]}
    return json.dumps({**document, "usage": _usage(2)}).encode()


def _sized(body: bytes, kind: bytes) -> bytes:
    return _HEAD + b"content-type: %b\r\ncontent-length: %d" % (kind, len(body)) + _END + body


def _framed(part: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(part), part)


_PLAIN = _sized(_whole(), b"application/json")
_AT_ONCE = _sized(_chunk("Paris.") + _last(2), b"text/event-stream")
_STREAM = _HEAD + b"content-type: text/event-stream\r\ntransfer-encoding: chunked" + _END


class _Connection(asyncio.Protocol):
    """One connection, kept open; requests on it come one after another."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._got = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # for mypy: TCP's are
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        now = self._loop.time()
        self._got += data
        head, end, body = self._got.partition(b"\r\n\r\n")
        if not end:
            return
        lines = head.lower().split(b"\r\n")
        size = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), None)
        if size is None:  # chunked
            if not body.endswith(b"0\r\n\r\n"):
                return
            body = body.partition(b"\r\n")[2].rpartition(b"\r\n0\r\n")[0]
        elif len(body) < size:
            return
        self._got = b""
        asked = json.loads(body)
        kind, *numbers = str(asked["model"]).split("-")
        self._answer(kind, [int(number) for number in numbers], bool(asked.get("stream")), now)

    def _answer(self, kind: str, numbers: list[int], streamed: bool, now: float) -> None:
        if kind == "wait":
            self._loop.call_at(now + numbers[0] / 1000, self._write, _AT_ONCE if streamed else _PLAIN)
            return
        first_ms, each_ms, tokens = numbers
        self._loop.call_at(now + first_ms / 1000, self._token, now + first_ms / 1000, each_ms / 1000, 0, tokens)

    def _token(self, first: float, each_s: float, place: int, tokens: int) -> None:
        text = _framed(_chunk(f"w{place} "))
        self._write(_STREAM + text if place == 0 else text)
        if place + 1 < tokens:
            self._loop.call_at(first + (place + 1) * each_s, self._token, first, each_s, place + 1, tokens)
        else:
            self._write(_framed(_last(tokens)) + b"0\r\n\r\n")

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


async def serve() -> None:
    """Until the process is ended. Prints the port."""
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    sys.setswitchinterval(0.001)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve())
