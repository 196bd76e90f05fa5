"""Killed with -9 after every step of a batch's life: whoever goes on ends where nobody was killed."""

from __future__ import annotations

import ast
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest

import llmswitch.runs.batch
from llmswitch.runs.batch.desk import STEPS
from tests.runs.batch.life import Life, lived
from tests.servers.batch_answers import BatchAnswer, Name
from tests.servers.batch_vendors import BatchBehaviour, BatchVendors
from tests.servers.recorder import Seen

pytestmark = pytest.mark.skipif(os.name != "posix", reason="no SIGKILL")

TARGETS = ("openai", "anthropic", "gemini", "azure")
FAILS = BatchBehaviour(fails_each=3)


class Scripted(BatchVendors):
    """Vendors whose job of each number, as they are asked for one, goes its own way; the further ones go well."""

    def __init__(self, script: Sequence[BatchBehaviour]) -> None:
        super().__init__()
        self.script = script
        self.asked_for = 0

    def _step(self, answer: BatchAnswer, seen: Seen, vendor: Name) -> None:
        if seen.method != "POST" or not seen.path.endswith(("/batches", ":batchGenerateContent")):
            super()._step(answer, seen, vendor)
            return
        behaviour = self.script[self.asked_for] if self.asked_for < len(self.script) else BatchBehaviour()
        self.asked_for += 1
        self.behaviour, jobs = behaviour, len(self.jobs)
        try:
            super()._step(answer, seen, vendor)
        finally:
            for job in self.jobs[jobs:]:
                job.behave = lambda: behaviour


class Scenario(NamedTuple):
    """What vendors do with each job, and what is lived."""

    script: tuple[BatchBehaviour, ...] = (FAILS, FAILS, FAILS)
    life: Mapping[str, object] = {}
    targets: tuple[str, ...] = TARGETS


WHOLE = Scenario()
LIVE = Scenario((), {"live": True}, ("openai",))
#: steps that a batch which goes well does not come to
_SCENARIOS = {
    "stored that it was refused": Scenario((BatchBehaviour(refuses=400),)),
    "asked a line": LIVE,
    "stored what came of a line": LIVE,
    "gave up what is missing": Scenario((BatchBehaviour(cut="line"),), {"gives_up": True}, ("anthropic",)),
    "stored that it is never sent": Scenario((BatchBehaviour(refuses=429),) * 3, {"ends_early": True}),
    "asked for its end": Scenario((BatchBehaviour(never_ends=True),) * 3, {"ends_early": True}),
}


class Left(NamedTuple):
    """What a life leaves: its rows, the prompts of each job that the vendor made, those that were asked live, the
    ledger's calls, and what the budget still holds."""

    rows: str
    jobs: list[list[str]]
    live: int
    calls: list[tuple[object, ...]]
    reserved: int


def left(life: Life, server: BatchVendors) -> Left:
    with closing(sqlite3.connect(life.home / "data" / "ledger.db")) as ledger:
        calls = ledger.execute(
            """SELECT target, error_kind, input_tokens, output_tokens, cost_pico, saved_pico, batch FROM calls
                WHERE NOT cached ORDER BY 1, 2, 3, 4, 5"""
        ).fetchall()
        (reserved,) = ledger.execute("SELECT count(*) FROM reservations").fetchone()
    jobs = [[prompt for _, prompt in job.requests] for job in server.jobs]
    return Left(life.output.read_text(), jobs, len(server.live), calls, reserved)


def life_of(scenario: Scenario, target: str, home: Path, server: BatchVendors) -> Life:
    environ = {**server.environ, "LLM_BUDGET_DAILY": "10", "LLM_BUDGET_MONTHLY": "10"}
    return Life(home, environ, target, **scenario.life)  # type: ignore[arg-type]  # its own fields


@lru_cache
def undisturbed(scenario: str, target: str) -> Left:
    """What a life leaves that nobody ended."""
    found = _SCENARIOS.get(scenario, WHOLE)
    with TemporaryDirectory() as folder, Scripted(found.script) as server:
        life = life_of(found, target, Path(folder) / "home", server)
        assert lived(life)
        return left(life, server)


def lived_to_its_end(life: Life, scenario: str, server: BatchVendors) -> None:
    """The life goes on after it was ended, as if it had not been."""
    assert lived(life._replace(sends=False))
    expected = undisturbed(scenario, life.target)
    found = left(life, server)
    assert found == expected
    assert found.reserved == 0
    assert not list((life.home / "data" / "batches").glob("*/*.jsonl")), "what was sent is no longer needed"


#: at these a vendor may have a job that nobody noted, and each has its own way to find it
_AT_THE_VENDORS = ("noted that it is being sent", "wrote what is sent", "the vendor has it", "noted that it is sent")


def _cases() -> Iterator[tuple[str, str]]:
    """Each step; at the vendors with each of them, else with one in its turn."""
    for place, step in enumerate(STEPS):
        targets = _SCENARIOS.get(step, WHOLE).targets
        yield from (
            (step, target) for target in (TARGETS if step in _AT_THE_VENDORS else targets[place % len(targets) :][:1])
        )


@pytest.mark.parametrize(("step", "target"), list(_cases()))
def test_a_killed_process_is_followed_by_one_that_goes_on(step: str, target: str, tmp_path: Path) -> None:
    scenario = _SCENARIOS.get(step, WHOLE)
    with Scripted(scenario.script) as server:
        life = life_of(scenario, target, tmp_path / "home", server)
        assert not lived(life, step), f"it does not come to {step!r}"
        lived_to_its_end(life, step, server)


@pytest.mark.parametrize("step", ["the vendor has it", "stored some answers", "put some on record"])
def test_one_that_goes_on_may_be_killed_again(step: str, tmp_path: Path) -> None:
    with Scripted(WHOLE.script) as server:
        life = life_of(WHOLE, "anthropic", tmp_path / "home", server)
        for _ in range(3):
            assert not lived(life, step)
        lived_to_its_end(life, step, server)


@pytest.mark.parametrize("target", TARGETS)
def test_a_job_that_was_taken_without_a_word_is_not_sent_again(target: str, tmp_path: Path) -> None:
    drops = BatchBehaviour(fails_each=3, drops_create=True)
    with Scripted((drops, drops, drops)) as server:
        life = life_of(WHOLE, target, tmp_path / "home", server)
        lived_to_its_end(life, "nobody is killed", server)


def test_the_steps_are_those_that_are_named() -> None:
    (folder,) = llmswitch.runs.batch.__path__
    told = set()
    for path in Path(folder).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("at", "desk.at", "self.at"):
                told |= {ast.literal_eval(argument) for argument in node.args}
    assert told == set(STEPS)
    assert len(STEPS) == len(set(STEPS))
