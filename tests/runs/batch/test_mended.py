"""Batches in this process, where something is not as it was when they were handed in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from llmswitch.batches import Batch, Batches, BatchJob
from llmswitch.batchlines import Counts
from llmswitch.errors import BudgetError, ConfigError, LLMSwitchError, StorageError
from llmswitch.runs.batch.again import Smaller, deal_again
from llmswitch.runs.batch.desk import Desk
from llmswitch.runs.batch.folder import LINES
from llmswitch.runs.batch.submit import limits_of
from llmswitch.runs.batch.working import Pace, advance, cancel, look_around, send_again, send_all
from tests.runs.batch.life import Life, folders_of, services_of, settings_of, submitted
from tests.servers.batch_answers import BatchAnswer, Name, RefusedError
from tests.servers.batch_vendors import BatchBehaviour, BatchVendors, Failing
from tests.servers.recorder import Seen

T = TypeVar("T")

PACE = Pace(first_s=0.01, most_s=0.05)
CAPPED = "openai?max_tokens=50"


class Unlisted(BatchVendors):
    """Vendors who answer whoever asks for the list of jobs with the status `unlisted`, where that is set."""

    unlisted: int | None = None

    def _step(self, answer: BatchAnswer, seen: Seen, vendor: Name) -> None:
        if self.unlisted is not None and seen.method == "GET" and seen.path.endswith("/batches"):
            raise RefusedError(Failing(self.unlisted, "no", "not now"))
        super()._step(answer, seen, vendor)


class _Nobody:
    def told(self, line: str) -> None: ...

    def changed(self, job: BatchJob) -> None: ...


def life_of(server: BatchVendors, home: Path, target: str = "openai", **more: str) -> Life:
    return Life(home, {**server.environ, **more}, target, prompts=4)


def new(life: Life) -> Batch:
    return submitted(life, lambda step: None)


def at_a_desk(life: Life, batch: Batch, work: Callable[[Desk], Awaitable[T]]) -> T:
    async def done() -> T:
        settings, folder = settings_of(life), folders_of(life).of(batch.id)
        async with Desk(batch, folder, settings, services_of(settings), _Nobody(), settling_s=0) as desk:
            return await work(desk)

    return asyncio.run(done())


def sent(life: Life, batch: Batch) -> list[LLMSwitchError]:
    """What keeps jobs from being sent."""
    return at_a_desk(life, batch, lambda desk: send_all(desk, PACE))


def collect(life: Life, batch: Batch) -> None:
    assert at_a_desk(life, batch, lambda desk: advance(desk, PACE, wait=True)) == []


def dealt(life: Life, batch: Batch, lines: int | None = None) -> list[BatchJob]:
    """Jobs of what failed."""

    async def deal(desk: Desk) -> list[BatchJob]:
        return deal_again(desk, limits_of(desk.services), Smaller(lines))

    return at_a_desk(life, batch, deal)


def jobs_of(life: Life, batch: Batch) -> list[BatchJob]:
    services = services_of(settings_of(life))
    return Batches(services.ledger.path, services.wall).jobs(batch.id)


@pytest.mark.parametrize(("target", "status"), [("openai", 429), ("openai", 404), ("anthropic", 401), ("gemini", 400)])
def test_a_job_that_cannot_be_looked_for_is_not_sent_once_more(target: str, status: int, tmp_path: Path) -> None:
    with Unlisted(BatchBehaviour(drops_create=True)) as server:
        life = life_of(server, tmp_path, target)
        batch = new(life)
        assert sent(life, batch), "the connection drops after the job was made"
        server.behaviour, server.unlisted = BatchBehaviour(), status
        assert [getattr(error, "status", None) for error in sent(life, batch)] == [status]
        server.unlisted = None
        assert sent(life, batch) == []
        assert len(server.jobs) == 1


def test_a_budget_that_was_set_since_holds_what_is_sent_now(tmp_path: Path) -> None:
    with BatchVendors() as server:
        life = life_of(server, tmp_path, CAPPED)
        batch = new(life)
        (poor,) = sent(life_of(server, tmp_path, CAPPED, LLM_BUDGET_DAILY="0.000001"), batch)
        assert isinstance(poor, BudgetError)
        assert server.jobs == []
        rich = life_of(server, tmp_path, CAPPED, LLM_BUDGET_DAILY="5")
        assert sent(rich, batch) == []
        assert jobs_of(life, batch)[0].reservation is not None
        collect(rich, batch)
        assert jobs_of(life, batch)[0].reservation is None


@pytest.mark.parametrize("failed", [False, True])
def test_answers_without_a_bound_are_not_sent_under_a_budget_that_was_set_since(failed: bool, tmp_path: Path) -> None:
    with BatchVendors(BatchBehaviour(fails_each=2)) as server:
        life = life_of(server, tmp_path)
        batch = new(life)
        budgeted = life_of(server, tmp_path, LLM_BUDGET_DAILY="5")
        if failed:
            assert sent(life, batch) == []
            collect(life, batch)
            with pytest.raises(BudgetError, match="--allow-unknown-price"):
                dealt(budgeted, batch)
        else:
            (refused,) = sent(budgeted, batch)
            assert "--allow-unknown-price" in str(refused)
        assert len(server.jobs) == failed


def test_what_failed_is_sent_once_more_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    with BatchVendors(BatchBehaviour(fails_each=1)) as server:
        life = life_of(server, tmp_path, CAPPED, LLM_BUDGET_DAILY="5")
        batch = new(life)
        assert sent(life, batch) == []
        collect(life, batch)
        before = jobs_of(life, batch)
        # two lines are held at some 0.0063 USD
        with pytest.raises(BudgetError):
            dealt(life_of(server, tmp_path, CAPPED, LLM_BUDGET_DAILY="0.01"), batch, lines=2)
        assert jobs_of(life, batch) == before
        new_jobs = dealt(life_of(server, tmp_path, CAPPED, LLM_BUDGET_DAILY="0.02"), batch, lines=2)
        assert [job.lines for job in new_jobs] == [2, 2]
        assert all(job.bound and 0.005 < job.bound < 0.01 for job in new_jobs)


def test_a_file_that_lost_its_lines_does_not_pass_for_a_collected_batch(tmp_path: Path) -> None:
    with BatchVendors() as server:
        life = life_of(server, tmp_path)
        batch = new(life)
        assert sent(life, batch) == []
        for path in folders_of(life).of(batch.id).glob(f"{LINES}*"):
            path.write_bytes(b"")
        with pytest.raises(StorageError, match="holds 0 lines, and the batch has 4"):
            collect(life, batch)


def test_an_empty_id_names_no_batch(tmp_path: Path) -> None:
    with BatchVendors() as server:
        life = life_of(server, tmp_path)
        batch = new(life)
        services = services_of(settings_of(life))
        store = Batches(services.ledger.path, services.wall)
        assert store.find(batch.id[:-2]) == batch
        with pytest.raises(ConfigError, match="an empty id"):
            store.find("")


def test_who_is_kept_out_is_told_of_what(tmp_path: Path) -> None:
    folders = folders_of(Life(tmp_path, {}, "openai"))
    with (
        folders.locked("f" * 64, "a batch of the same lines"),
        pytest.raises(ConfigError, match="at work on a batch of the same lines"),
        folders.locked("f" * 64, "a batch of the same lines"),
    ):
        raise AssertionError("it was let in")


@pytest.mark.parametrize("target", ["openai", "azure", "anthropic", "gemini"])
def test_a_vendor_that_does_not_know_a_job_for_a_moment_loses_nothing(target: str, tmp_path: Path) -> None:
    with BatchVendors() as server:
        life = life_of(server, tmp_path, target, LLM_BUDGET_DAILY="5")
        batch = new(life)
        assert at_a_desk(life, batch, lambda desk: send_all(desk, PACE)) == []
        server.behaviour = BatchBehaviour(forgets=True)
        (told,) = at_a_desk(life, batch, lambda desk: advance(desk, PACE, wait=True))
        assert "knows no job" in told.message
        assert f"llmswitch batch retry {batch.id}" in told.message
        server.behaviour = BatchBehaviour()
        assert at_a_desk(life, batch, lambda desk: advance(desk, PACE, wait=True)) == []
        assert at_a_desk(life, batch, counts) == (4, 0, 0)
        assert len(server.jobs) == 1


def test_a_retry_brings_home_what_the_vendor_has_and_sends_what_it_does_not_know(tmp_path: Path) -> None:
    with BatchVendors() as server:
        life = life_of(server, tmp_path)._replace(job_lines=2)
        batch = new(life)
        assert at_a_desk(life, batch, lambda desk: send_all(desk, PACE)) == []
        assert at_a_desk(life, batch, look_around) == []  # as 'batch status' does: they have ended, and nobody fetched
        again, problems = at_a_desk(life, batch, lambda desk: send_again(desk, None, Smaller(), PACE))
        assert (again, problems) == ([], [])
        assert at_a_desk(life, batch, counts) == (4, 0, 0)
        assert len(server.jobs) == 2
    with BatchVendors() as server:
        life = life_of(server, tmp_path / "other")
        batch = new(life)
        assert at_a_desk(life, batch, lambda desk: send_all(desk, PACE)) == []
        server.jobs.clear()
        again, problems = at_a_desk(life, batch, lambda desk: send_again(desk, None, Smaller(), PACE))
        assert ([job.lines for job in again], problems) == ([4], [])
        assert at_a_desk(life, batch, lambda desk: advance(desk, PACE, wait=True)) == []
        assert at_a_desk(life, batch, counts) == (4, 0, 0)


def test_a_job_that_its_vendor_does_not_know_can_be_cancelled(tmp_path: Path) -> None:
    with BatchVendors() as server:
        life = life_of(server, tmp_path, LLM_BUDGET_DAILY="5")
        batch = new(life)
        assert at_a_desk(life, batch, lambda desk: send_all(desk, PACE)) == []
        server.behaviour = BatchBehaviour(forgets=True)
        assert at_a_desk(life, batch, cancel) == []
        assert at_a_desk(life, batch, counts) == (0, 4, 0)
        (job,) = Batches(services_of(settings_of(life)).ledger.path, lambda: 0.0).jobs(batch.id)
        assert (job.state, job.reservation) == ("done", None)
        assert len(server.jobs) == 1


async def counts(desk: Desk) -> Counts:
    return desk.lines.counts()
