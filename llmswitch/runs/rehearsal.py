"""One answer from this machine itself, before any clock starts.

An SDK builds much of itself in its first call: 40 to 70 ms of CPU each, in which no other target's answer is read.
Several of them asked at once would be timed with each other's first calls in it. So each is first asked for an
answer that a server in this process gives: with no key, no prompt and no network.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from llmswitch.errors import LLMSwitchError
from llmswitch.runs.call import Call
from llmswitch.types import Message, Request, Secret

__all__ = ["rehearse"]

_PATIENCE_S = 5.0


async def rehearse(calls: Iterable[Call]) -> None:
    """Let each vendor's SDK answer once. Where that does not work the calls are only slower to begin."""
    distinct = {call.vendor.rehearsal: call for call in calls if call.vendor.rehearsal}
    for call in distinct.values():
        with suppress(OSError, TimeoutError):  # such as a machine that lets nobody listen
            async with asyncio.timeout(_PATIENCE_S):
                await _rehearse(call)


async def _rehearse(call: Call) -> None:
    body = call.vendor.rehearsal.encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await reader.readuntil(b"\r\n\r\n")
            head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {len(body)}\r\n"
            writer.write(head.encode() + b"connection: close\r\n\r\n" + body)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        here = replace(
            call.endpoint,
            base_url=f"http://127.0.0.1:{port}",
            api_key=Secret("rehearsal"),
            token=None,
            project=None,
            location=None,
            headers=(),
        )
        adapter = await asyncio.to_thread(call.vendor.connect, here)
        try:
            with suppress(LLMSwitchError):  # what it makes of the answer is of no concern
                async for _ in adapter.stream(Request("rehearsal", (Message("user", "-"),))):
                    pass
        finally:
            await adapter.aclose()
