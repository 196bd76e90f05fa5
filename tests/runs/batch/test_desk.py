"""A batch's desk, without any vendor."""

from __future__ import annotations

import asyncio
from pathlib import Path

from llmswitch.batches import BatchJob
from llmswitch.runs.batch.desk import Desk
from tests.runs.batch.life import Life, folders_of, services_of, settings_of, submitted


class _Watching:
    def __init__(self) -> None:
        self.lines = 0

    def told(self, line: str) -> None: ...

    def changed(self, job: BatchJob) -> None:
        self.lines += job.lines


def test_whoever_watches_knows_of_every_line_from_the_beginning(tmp_path: Path) -> None:
    life = Life(tmp_path, {"OPENAI_API_KEY": "sk-nobody"}, "openai", prompts=12, job_lines=5)
    batch = submitted(life, lambda step: None)
    settings, watcher = settings_of(life), _Watching()

    async def opened() -> None:
        async with Desk(batch, folders_of(life).of(batch.id), settings, services_of(settings), watcher):
            assert watcher.lines == 12

    asyncio.run(opened())
