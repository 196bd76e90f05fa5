"""What every layer is made of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace

from llmswitch.errors import TruncatedError
from llmswitch.providers.base import Provider
from llmswitch.text import estimate_tokens
from llmswitch.types import Chunk, Request, Response, Spend, Usage

__all__ = ["Layer", "collect", "estimated_usage", "opened", "unseen"]


def opened(stream: AsyncIterator[Chunk]) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
    """`stream`, closed on leaving however that happens, so that its socket and its `finally` do not wait for the GC."""
    return aclosing(stream)  # type: ignore[type-var]  # every stream of ours is an async generator, which has aclose


async def collect(chunks: AsyncIterator[Chunk]) -> Response:
    """Run a stream to its end and return the answer that its last chunk holds; raises what the stream raises."""
    response = None
    async with opened(chunks) as pieces:
        async for chunk in pieces:
            response = chunk.response or response
    if response is None:
        raise TruncatedError("the stream ended without an answer.")
    return response


def estimated_usage(request: Request, text: str) -> Usage:
    """Tokens where no vendor counted them, from the texts' bytes; attachments are not counted."""
    texts = [request.system or "", *(message.text for message in request.messages)]
    return Usage(sum(estimate_tokens(part) for part in texts), estimate_tokens(text), estimated=True)


def unseen(response: Response, why: str) -> Spend:
    """A whole answer that nobody gets, for `Trace.lost`: it was paid for all the same."""
    return Spend(response.provider, response.request_model, why, response.usage, response.cost)


class Layer:
    """A Provider around a Provider. A layer writes `stream` once; `complete` is the same call asked in one piece."""

    def __init__(self, inner: Provider) -> None:
        self.inner = inner

    async def complete(self, request: Request) -> Response:
        """The whole answer; raises what `stream` raises."""
        return await collect(self.stream(replace(request, stream=False)))

    def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """Pieces of text, then one last chunk with the whole `response`."""
        return self.inner.stream(request)

    async def aclose(self) -> None:
        """Release what the innermost provider holds."""
        await self.inner.aclose()
