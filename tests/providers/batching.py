"""Batches in a test: pieces written as their owner writes them, and each vendor's batch calls asked in one loop."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest

from llmswitch.errors import ProviderError
from llmswitch.providers import anthropic, azure, gemini, openai
from llmswitch.providers.base import Endpoint, Vendor
from llmswitch.providers.batching import Batcher, Batching, JobAnswer, JobState, Piece
from llmswitch.types import Request
from tests.providers.asking import question, settings_of

T = TypeVar("T")

VENDORS = {"openai": openai.VENDOR, "azure": azure.VENDOR, "anthropic": anthropic.VENDOR, "gemini": gemini.VENDOR}


class Got(NamedTuple):
    """What `answers` gave, and what it raised at its end."""

    answers: list[JobAnswer]
    error: ProviderError | None

    @property
    def texts(self) -> dict[str, str]:
        """custom id -> text, of those that have one."""
        return {answer.custom_id: answer.response.text for answer in self.answers if answer.response is not None}

    @property
    def kinds(self) -> dict[str, str]:
        """custom id -> the kind of its error."""
        return {answer.custom_id: answer.error.kind for answer in self.answers if answer.error is not None}


class Bench:
    """One vendor, configured by `environ`."""

    def __init__(self, vendor: Vendor, environ: Mapping[str, str], folder: Path) -> None:
        assert vendor.batch is not None
        self.vendor = vendor
        self.batch: Batching = vendor.batch
        self.folder = folder
        self.endpoint: Endpoint = vendor.configure(settings_of(environ))
        assert self.endpoint.model is not None
        self.model = self.endpoint.model

    def piece(self, prompts: list[str], *, id_: str = "b7-j1", ours: Callable[[str], Request] | None = None) -> Piece:
        """A job of these prompts; its ids are `b7-1` and so on."""
        path = self.folder / f"{id_}.jsonl"
        batch = id_.partition("-")[0]
        with path.open("w", encoding="utf-8") as file:
            for number, prompt in enumerate(prompts, 1):
                request = question(prompt, model=self.model) if ours is None else ours(prompt)
                line = self.batch.encode(self.endpoint, f"{batch}-{number}", request)
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        return Piece(id_, self.model, len(prompts), path, time.time())

    def run(self, step: Callable[[Batcher], Awaitable[T]]) -> T:
        """`step` with the vendor's batcher, which is closed after it."""

        async def steps() -> T:
            batcher = self.batch.connect(self.endpoint)
            try:
                return await step(batcher)
            finally:
                await batcher.aclose()

        return asyncio.run(steps())

    def send(self, piece: Piece) -> JobState:
        return self.run(lambda batcher: batcher.send(piece))

    def find(self, piece: Piece) -> list[JobState]:
        return self.run(lambda batcher: batcher.find(piece))

    def look(self, vendor_id: str) -> JobState:
        return self.run(lambda batcher: batcher.look(vendor_id))

    def cancel(self, vendor_id: str) -> None:
        self.run(lambda batcher: batcher.cancel(vendor_id))

    def answers(self, vendor_id: str) -> Got:
        async def all_of(batcher: Batcher) -> Got:
            got: list[JobAnswer] = []
            try:
                async for answer in batcher.answers(vendor_id, self.model):
                    got.append(answer)  # noqa: PERF401  # what came before an error is kept
            except ProviderError as error:
                return Got(got, error)
            return Got(got, None)

        return self.run(all_of)

    def fails(self, step: Callable[[Batcher], Awaitable[object]]) -> ProviderError:
        """What `step` raises."""
        with pytest.raises(ProviderError) as caught:
            self.run(step)
        return caught.value
