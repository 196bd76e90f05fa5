"""A server on loopback that answers chat completions at once: `python -m benchmarks.loopback`.

Prints the port it listens on, and serves until its stdin is closed. Each answer is the same bytes, kept ready, so that
a client on the same machine is what is measured and not this.
"""

from __future__ import annotations

import asyncio
import json
import sys

_USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
_WHOLE = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "It is blue."}, "finish_reason": "stop"}],
    "usage": _USAGE,
}


def _events() -> bytes:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini"}
    role: list[dict[str, str]] = [{"role": "assistant", "content": ""}]
    words = [{"content": word} for word in ("It", " is", " blue", ".")]
    parts: list[dict[str, object]] = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in (*role, *words)
    ]
    parts.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    parts.append({**head, "choices": [], "usage": _USAGE})
    return b"".join(b"data: " + json.dumps(part).encode() + b"\n\n" for part in parts) + b"data: [DONE]\n\n"


def _response(body: bytes, kind: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (kind, len(body), body)


_ANSWER = _response(json.dumps(_WHOLE).encode(), b"application/json")
_STREAM = _response(_events(), b"text/event-stream")


class _Connection(asyncio.Protocol):
    """One client's connection, kept open; a request is whole when its content-length is there."""

    def __init__(self) -> None:
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # TCP has one
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, mark, rest = self.received.partition(b"\r\n\r\n")
        if not mark:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(rest) < length:
            return
        self.received = rest[length:]
        body = rest[:length]
        streams = b'"stream":true' in body or b'"stream": true' in body
        self.transport.write(_STREAM if streams else _ANSWER)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
