"""Eight targets on loopback in a process of their own, which answer to the millisecond: `python -m benchmarks.vendors`.

Prints the port it listens on, and serves until its stdin is closed. A model's name tells how it answers:
`t-FIRST-TOKENS-LAST` sends its first token after FIRST milliseconds, its last one after LAST, TOKENS in all.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator, Mapping

__all__ = ["environ", "model", "targets"]

_COMPATIBLE = ("one", "two", "three", "four", "five")
targets = ("anthropic", "openai", "gemini", *_COMPATIBLE)


def model(first_s: float, tokens: int, last_s: float) -> str:
    """The name of a model that answers so."""
    return f"t-{round(first_s * 1000)}-{tokens}-{round(last_s * 1000)}"


def environ(port: int) -> dict[str, str]:
    """What configures all targets."""
    url = f"http://127.0.0.1:{port}"
    names = [name.upper() for name in _COMPATIBLE]
    return {
        "ANTHROPIC_API_KEY": "k",
        "ANTHROPIC_BASE_URL": url,
        "OPENAI_API_KEY": "k",
        "OPENAI_BASE_URL": f"{url}/v1",
        "GOOGLE_API_KEY": "k",
        "GOOGLE_GEMINI_BASE_URL": url,
        "LLM_ENDPOINTS": ",".join(_COMPATIBLE),
        **{f"{name}_BASE_URL": f"{url}/v1" for name in names},
    }


def _event(data: object, name: str = "") -> bytes:
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()


def _openai(words: list[str]) -> Iterator[bytes]:
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    for word in words:
        yield _event({**head, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]})
    usage = {"prompt_tokens": 3, "completion_tokens": len(words)}
    stop = _event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    yield stop + _event({**head, "choices": [], "usage": usage}) + _event("[DONE]")


def _anthropic(words: list[str]) -> Iterator[bytes]:
    message: dict[str, object] = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
    }
    usage = {"input_tokens": 3, "output_tokens": 1}
    start = _event({"type": "message_start", "message": {**message, "usage": usage}}, "message_start")
    for word in words:
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
        yield start + _event(delta, "content_block_delta")
        start = b""
    last = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": len(words)}}
    yield _event(last, "message_delta") + _event({"type": "message_stop"}, "message_stop")


def _gemini(words: list[str]) -> Iterator[bytes]:
    for word in words:
        yield _event({"candidates": [{"content": {"role": "model", "parts": [{"text": word}]}, "index": 0}]})
    usage = {"promptTokenCount": 3, "candidatesTokenCount": len(words), "totalTokenCount": 3 + len(words)}
    yield _event({"candidates": [{"finishReason": "STOP", "index": 0}], "usageMetadata": usage, "modelVersion": "m"})


#: how a request's path tells whose format is spoken
_FORMATS: Mapping[str, Callable[[list[str]], Iterator[bytes]]] = {
    "/chat/completions": _openai,
    "/messages": _anthropic,
    ":streamGenerateContent": _gemini,
}


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next(line.partition(":")[2] for line in head.lower().split("\r\n") if line.startswith("content-length:"))
    body = await reader.readexactly(int(length))
    came = asyncio.get_running_loop().time()
    path = head.split()[1]
    name = path.rpartition("/")[2].partition(":")[0] if ":" in path else json.loads(body)["model"]
    first, tokens, last = (int(part) for part in name.split("-")[1:])
    words = ["Word", *(f" word{number}" if number % 12 else f".\nWord{number}" for number in range(tokens - 1))]
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
    for number, event in enumerate(next(make for end, make in _FORMATS.items() if end in path)(words)):
        due = came + (first + (last - first) * min(number, tokens - 1) / max(1, tokens - 1)) / 1000
        await asyncio.sleep(due - asyncio.get_running_loop().time())
        writer.write(event)
    writer.close()


async def _serve() -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
