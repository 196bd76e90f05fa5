"""What processes know together of the targets: on a clock of the test's own, in real files, threads and processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from llmswitch.circuit import Admission
from llmswitch.health import Health, Status
from llmswitch.shared_state import open_state
from llmswitch.state import Document, FileState, State
from llmswitch.worker import Worker
from tests.scripted import Clock

T = TypeVar("T")
KEY, OTHER = "openai:gpt-4o@api.openai.com", "gemini:flash@example.com"
_SPAWN = multiprocessing.get_context("spawn")


@contextmanager
def process(path: Path, wall: Callable[[], float], state: State | None = None) -> Iterator[Health]:
    """What one process has: a worker of its own over the shared file."""
    worker: Worker[State] = Worker(state or FileState(path, wall=wall), name="test-state")
    try:
        yield Health(worker, wall)
    finally:
        worker.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def health(path: Path, clock: Clock) -> Iterator[Health]:
    with process(path, clock) as made:
        yield made


def run(asked: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asked)


def fail(health: Health, times: int = 5) -> None:
    for _ in range(times):
        run(health.report(KEY, False))
    run(health.healthy([]))  # reports are not waited for; this is, behind them


def test_five_failures_leave_the_target_alone_at_once(health: Health) -> None:
    for _ in range(4):
        assert run(health.admit(KEY)) == Admission(True)
        fail(health, 1)
    assert run(health.admit(KEY)) == Admission(True)
    fail(health, 1)
    assert run(health.admit(KEY)) == Admission(False, retry_after_s=30.0, failures=5)
    assert run(health.admit(OTHER)) == Admission(True)


def test_another_process_leaves_it_alone_too(health: Health, path: Path, clock: Clock) -> None:
    with process(path, clock) as other:
        assert run(other.admit(KEY)).allowed
        fail(health)
        clock.now += 0.3
        assert not run(other.admit(KEY)).allowed


def test_the_first_after_the_pause_is_the_probe_and_the_only_one(health: Health, path: Path, clock: Clock) -> None:
    fail(health)
    clock.now += 30
    with process(path, clock) as other:
        assert run(health.admit(KEY)) == Admission(True, probe=True, failures=5)
        assert run(other.admit(KEY)) == Admission(False, retry_after_s=30.0, failures=5)
        run(health.report(KEY, True, probe=True))
        assert run(health.admit(KEY)) == Admission(True)  # which asks behind the report
        assert run(other.admit(KEY)) == Admission(True)


def test_a_probe_that_fails_doubles_the_pause(health: Health, clock: Clock) -> None:
    fail(health)
    clock.now += 30
    assert run(health.admit(KEY)).probe
    run(health.report(KEY, False, probe=True))
    assert run(health.admit(KEY)) == Admission(False, retry_after_s=60.0, failures=6)


def test_an_abandoned_probe_lets_the_next_one_go_at_once(health: Health, clock: Clock) -> None:
    fail(health)
    clock.now += 30
    assert run(health.admit(KEY)).probe
    run(health.abandon(KEY))
    assert run(health.admit(KEY)).probe


def test_a_probe_that_is_cancelled_while_it_is_admitted_is_given_back(path: Path, clock: Clock) -> None:
    worker: Worker[State] = Worker(FileState(path, wall=clock), name="test-state")
    health = Health(worker, clock)
    fail(health)
    held = threading.Event()

    async def cancelled() -> Admission:
        await health.healthy([KEY])
        clock.now += 30
        worker.post(lambda state: held.wait(10))
        admitting = asyncio.create_task(health.admit(KEY))
        await asyncio.sleep(0)
        admitting.cancel()
        held.set()
        with pytest.raises(asyncio.CancelledError):
            await admitting
        await health.healthy([KEY])  # the worker has been through the cancelled one, and has said so
        await asyncio.sleep(0)
        return await health.admit(KEY)

    try:
        assert run(cancelled()).probe
    finally:
        worker.close()


def test_whoever_comes_behind_a_report_is_told_of_it_at_once(path: Path, clock: Clock) -> None:
    worker: Worker[State] = Worker(FileState(path, wall=clock), name="test-state")
    health = Health(worker, clock)
    held = threading.Event()

    async def asked() -> Admission:
        assert (await health.admit(KEY)).allowed
        worker.post(lambda state: held.wait(10))
        for _ in range(5):
            await health.report(KEY, False)
        admitting = asyncio.create_task(health.admit(KEY))
        await asyncio.sleep(0)
        held.set()
        return await admitting

    try:
        assert not run(asked()).allowed
    finally:
        worker.close()


def test_who_is_late_for_the_probe_waits_for_the_one_that_was_quicker(path: Path, clock: Clock) -> None:
    class Overtaken(FileState):
        """Another process gets in between a look and a change."""

        def read(self, key: str) -> Document | None:
            document = super().read(key)
            overtake()
            return document

    def overtake() -> None:
        with process(path, clock) as quicker:
            told.append(run(quicker.admit(KEY)))
        clock.now += 1

    told: list[Admission] = []
    with process(path, clock) as health:
        fail(health)
        clock.now += 30
        with process(path, clock, Overtaken(path, wall=clock)) as late:
            assert run(late.admit(KEY)) == Admission(False, retry_after_s=29.0, failures=5)
        assert [admission.probe for admission in told] == [True]
        assert run(health.admit(KEY)).retry_after_s == 29.0


def test_answers_that_were_only_counted_speak_for_the_target(health: Health, clock: Clock) -> None:
    run(health.admit(KEY))
    for _ in range(60):
        run(health.report(KEY, True))
    for _ in range(20):
        clock.now += 0.01
        run(health.report(KEY, False))
        run(health.report(KEY, True))
    assert run(health.admit(KEY)).allowed


def test_without_them_it_would_be_left_alone(health: Health, clock: Clock) -> None:
    for _ in range(10):
        run(health.report(KEY, True))
        run(health.report(KEY, False))
    assert run(health.admit(KEY)) == Admission(False, retry_after_s=30.0, failures=10)


def test_answers_from_before_do_not_undo_the_failures_of_others(health: Health, path: Path, clock: Clock) -> None:
    run(health.admit(KEY))
    run(health.report(KEY, True))
    clock.now += 10
    with process(path, clock) as other:
        fail(other, 4)
        fail(health, 1)
        assert not run(health.admit(KEY)).allowed


def test_answers_are_not_written_one_by_one_while_all_goes_well(path: Path, clock: Clock) -> None:
    batches = 0

    class Counting(FileState):
        def commit(self) -> None:
            nonlocal batches
            batches += 1
            super().commit()

    with process(path, clock, Counting(path, wall=clock)) as health:
        for _ in range(100):
            assert run(health.admit(KEY)).allowed
            run(health.report(KEY, True))
    assert batches <= 2


def test_ten_retries_are_shared_and_answers_give_them_back(health: Health, path: Path, clock: Clock) -> None:
    with process(path, clock) as other:
        granted = [run(process.may_retry(KEY)) for process in (health, other) * 6]
        assert granted == [True] * 10 + [False] * 2
        run(health.report(KEY, True))
        run(health.report(KEY, True))
        assert run(health.may_retry(KEY))
        assert not run(other.may_retry(KEY))
        assert run(other.may_retry(OTHER))


def test_healthy_is_who_would_be_asked_now(health: Health, clock: Clock, path: Path) -> None:
    keys = [KEY, OTHER, "x:m@h"]
    assert run(health.healthy(keys)) == frozenset(keys)
    fail(health)
    with process(path, clock) as limiter:
        block(limiter, OTHER, clock.now + 5)
        assert run(health.healthy(keys)) == {"x:m@h"}
        clock.now += 5
        assert run(health.healthy(keys)) == {OTHER, "x:m@h"}
        clock.now += 25
        assert run(health.healthy(keys)) == frozenset(keys)
        assert run(limiter.admit(KEY)).probe
        assert run(health.healthy(keys)) == {OTHER, "x:m@h"}


def block(health: Health, key: str, until: float, **learned: int) -> None:
    """As the limiter writes it."""
    document = {"requests": None, "tokens": None, **learned, "blocked_until": until}
    run(health._worker.do(lambda state: state.update(f"limit:{key}", lambda before: (document, None), keep_s=60.0)))


def test_calls_under_way_are_counted_over_all_processes(health: Health, path: Path, clock: Clock) -> None:
    with process(path, clock) as other:
        for one, key in ((health, KEY), (health, KEY), (other, KEY), (other, OTHER)):
            run(one.entered(key, 600.0))
        run(other.in_flight([]))
        assert run(health.in_flight([KEY, OTHER, "x:m@h"])) == {KEY: 3, OTHER: 1, "x:m@h": 0}
        run(health.left(KEY))
        run(other.left(OTHER))
        run(other.in_flight([]))
        assert run(health.in_flight([KEY, OTHER])) == {KEY: 2, OTHER: 0}
        run(other.left(OTHER))
        assert run(other.in_flight([OTHER])) == {OTHER: 0}


def enter_and_probe(path: str, ready: str) -> None:
    with process(Path(path), time.time) as health:
        run(health.entered(KEY, 10.0))
        fail(health)
        with process(Path(path), lambda: time.time() + 30) as later:
            assert run(later.admit(KEY)).probe
        Path(ready).touch()
        time.sleep(60)


def test_a_process_that_is_killed_leaves_neither_a_probe_nor_a_call_behind(path: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    child = _SPAWN.Process(target=enter_and_probe, args=(str(path), str(ready)))
    child.start()
    deadline = time.monotonic() + 20
    while not ready.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    later = time.time()
    with process(path, lambda: later + 31) as health:
        assert not run(health.admit(KEY)).allowed
        assert run(health.in_flight([KEY])) == {KEY: 0}
    with process(path, time.time) as health:
        assert run(health.in_flight([KEY])) == {KEY: 1}
    with process(path, lambda: later + 61) as health:
        assert run(health.admit(KEY)).probe


def test_a_conversation_stays_with_its_target_for_an_hour(health: Health, path: Path, clock: Clock) -> None:
    with process(path, clock) as other:
        assert run(other.stuck_to("c1")) is None
        run(health.stick("c1", KEY))
        run(health.stick("c2", OTHER))
        run(health.stuck_to("c1"))
        assert (run(other.stuck_to("c1")), run(other.stuck_to("c2"))) == (KEY, OTHER)
        clock.now += 3600
        assert run(other.stuck_to("c1")) is None


def test_statuses_tell_of_every_target_that_anything_is_known_of(health: Health, clock: Clock) -> None:
    assert run(health.statuses()) == []
    fail(health)
    block(health, OTHER, clock.now + 12, requests=60, tokens=90_000)
    run(health.report("x:m@h", False))
    assert run(health.statuses()) == [
        Status(OTHER, "closed", 0, None, 12.0, 60, 90_000),
        Status(KEY, "open", 5, 30.0, None, None, None),
        Status("x:m@h", "closed", 1, None, None, None, None),
    ]
    clock.now += 30
    assert run(health.statuses())[1] == Status(KEY, "half-open", 5, None, None, None, None)


def test_a_reset_target_is_asked_again_at_once_and_keeps_its_limits(health: Health, clock: Clock) -> None:
    fail(health)
    block(health, KEY, clock.now + 12, requests=60)
    assert run(health.healthy([KEY])) == frozenset()
    run(health.reset(KEY))
    assert run(health.admit(KEY)) == Admission(True)
    assert run(health.healthy([KEY])) == {KEY}
    assert run(health.statuses()) == [Status(KEY, "closed", 0, None, None, 60, None)]
    run(health.reset(OTHER))
    assert len(run(health.statuses())) == 1


@pytest.mark.parametrize("damage", [{"x": 1}, {"x": [1]}, {"x": ["1", 9e9]}, {"x": [1, "soon"]}])
def test_damaged_documents_are_as_good_as_none(health: Health, damage: dict[str, object]) -> None:
    for key in (f"flight:{KEY}", f"circuit:{KEY}", f"limit:{KEY}", "sticky:c1"):

        def write(state: State, key: str = key) -> None:
            state.update(key, lambda before: (dict(damage), None), keep_s=60.0)

        run(health._worker.do(write))
    assert run(health.in_flight([KEY])) == {KEY: 0}
    assert run(health.admit(KEY)) == Admission(True)
    assert run(health.healthy([KEY])) == {KEY}
    assert run(health.stuck_to("c1")) is None
    assert run(health.may_retry(KEY))


def test_a_state_that_cannot_be_used_fails_no_call(tmp_path: Path, clock: Clock) -> None:
    warnings = list[str]()
    (tmp_path / "taken").write_text("")
    state = open_state(tmp_path / "taken" / "state.db", warn=warnings.append, wall=clock)
    with process(tmp_path, clock, state) as health:
        assert run(health.healthy([KEY])) == {KEY}
        fail(health)
        assert run(health.admit(KEY)) == Admission(False, retry_after_s=30.0, failures=5)
        assert run(health.may_retry(KEY))
    assert len(warnings) == 1


def test_many_tasks_at_once_are_told_the_same(health: Health, clock: Clock) -> None:
    fail(health)
    clock.now += 30

    async def admitted() -> list[Admission]:
        return await asyncio.gather(*(health.admit(KEY) for _ in range(50)))

    told = run(admitted())
    assert sum(admission.probe for admission in told) == 1
    assert sum(admission.allowed for admission in told) == 1
