"""Documents that processes share: each store keeps the same promises."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from llmswitch.errors import StorageError
from llmswitch.redis_state import RedisState
from llmswitch.state import Document, FileState, MemoryState, State, decoded

STORES = ("file", "memory", "redis")


def open_store(kind: str, where: str) -> State:
    return FileState(Path(where)) if kind == "file" else RedisState(where)


@contextmanager
def batch(state: State) -> Iterator[State]:
    """As a worker does it."""
    state.begin()
    yield state
    state.commit()


def put(state: State, key: str, document: Document | None, keep_s: float = 60.0) -> None:
    with batch(state):
        state.update(key, lambda before: (document, None), keep_s=keep_s)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "state.db"


@pytest.fixture(params=STORES)
def state(request: pytest.FixtureRequest, path: Path) -> Iterator[State]:
    kinds: dict[str, Callable[[], State]] = {
        "file": lambda: FileState(path),
        "memory": MemoryState,
        "redis": lambda: RedisState(request.getfixturevalue("redis_server").url),
    }
    with closing(kinds[request.param]()) as store:
        yield store


def test_a_document_is_made_changed_and_removed(state: State) -> None:
    seen: list[Document | None] = []

    def count(document: Document | None) -> tuple[Document, int]:
        seen.append(document)
        number = (document or {"n": 0})["n"] + 1
        return {"n": number}, number

    with batch(state):
        assert [state.update("a", count, keep_s=60.0) for _ in range(2)] == [1, 2]
    assert seen == [None, {"n": 1}]
    assert state.read("a") == {"n": 2}
    assert state.read("b") is None
    put(state, "a", None)
    assert (state.read("a"), state.keys("")) == (None, [])


def test_a_change_that_raises_changes_nothing(state: State) -> None:
    put(state, "a", {"n": 1})

    def fails(document: Document | None) -> tuple[Document, None]:
        raise ValueError("no")

    with batch(state), pytest.raises(ValueError, match="no"):
        state.update("a", fails, keep_s=60.0)
    assert state.read("a") == {"n": 1}


def test_keys_are_found_by_their_beginning_alone(state: State) -> None:
    for key in ("limit:b", "limit:a", "circuit:a", "lim*t:c", "limit[a", "Limit:d", "lim_t:e"):
        put(state, key, {"n": 1})
    assert state.keys("limit:") == ["limit:a", "limit:b"]
    assert state.keys("lim*") == ["lim*t:c"]
    assert state.keys("limit[") == ["limit[a"]
    assert state.keys("lim_") == ["lim_t:e"]
    assert len(state.keys("")) == 7


def test_a_document_is_forgotten_after_its_time(state: State) -> None:
    put(state, "short", {"n": 1}, keep_s=0.02)
    put(state, "long", {"n": 1}, keep_s=60.0)
    deadline = time.monotonic() + 5
    while state.read("short") is not None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert state.keys("") == ["long"]


def test_a_write_keeps_a_document_for_its_whole_time_again() -> None:
    now = [1000.0]
    with closing(MemoryState(wall=lambda: now[0])) as state:
        put(state, "a", {"n": 1}, keep_s=10.0)
        now[0] += 9
        put(state, "a", {"n": 2}, keep_s=10.0)
        now[0] += 9
        assert state.read("a") == {"n": 2}
        now[0] += 1
        assert state.read("a") is None


def add(kind: str, where: str, times: int) -> None:
    with closing(open_store(kind, where)) as store:
        for _ in range(times):
            with batch(store):
                store.update("n", lambda before: ({"n": (before or {"n": 0})["n"] + 1}, None), keep_s=60.0)


@pytest.mark.parametrize("kind", ["file", "redis"])
def test_no_change_of_many_processes_is_lost(kind: str, path: Path, request: pytest.FixtureRequest) -> None:
    where = str(path) if kind == "file" else request.getfixturevalue("redis_server").url
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=add, args=(kind, where, 100)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    with closing(open_store(kind, where)) as store:
        assert store.read("n") == {"n": 400}


def test_the_file_is_for_its_user_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        with closing(FileState(path)) as state:
            put(state, "a", {"n": 1})
            assert {p.name: p.stat().st_mode & 0o777 for p in (path.parent, *path.parent.iterdir())} == {
                "cache": 0o700,
                "state.db": 0o600,
                "state.db-wal": 0o600,
                "state.db-shm": 0o600,
            }
    finally:
        os.umask(before)


def test_nothing_is_opened_before_it_is_used(path: Path) -> None:
    with closing(FileState(path)) as state, batch(state):
        pass
    assert not path.parent.exists()


def test_what_is_rolled_back_never_was(path: Path) -> None:
    with closing(FileState(path)) as state:
        put(state, "a", {"n": 1})
        state.begin()
        state.update("a", lambda before: ({"n": 2}, None), keep_s=60.0)
        assert state.read("a") == {"n": 2}
        state.rollback()
        assert state.read("a") == {"n": 1}


def test_a_deleted_file_is_made_again_and_shared_again(path: Path) -> None:
    with closing(FileState(path)) as one, closing(FileState(path)) as other:
        put(one, "a", {"n": 1})
        assert other.read("a") == {"n": 1}
        for left in path.parent.iterdir():
            left.unlink()
        put(one, "a", {"n": 2})
        with closing(FileState(path)) as fresh:
            assert fresh.read("a") == {"n": 2}
        assert other.read("a") == {"n": 2}


def whole(path: Path) -> bytes:
    with closing(FileState(path)) as state:
        put(state, "a", {"n": 1})
    return path.read_bytes()


@pytest.mark.parametrize("spared", [0, 16, 4096])
def test_a_damaged_file_costs_one_failure(path: Path, spared: int) -> None:
    content = whole(path)
    assert len(content) > 4096
    path.write_bytes(content[:spared] + b"\xff" * (len(content) - spared))
    with closing(FileState(path)) as state:
        with pytest.raises(StorageError, match=r"state\.db: it was damaged, and is started anew\."):
            put(state, "a", {"n": 2})
        put(state, "a", {"n": 3})
        assert state.read("a") == {"n": 3}


def test_what_is_no_document_is_none(path: Path) -> None:
    with closing(FileState(path)) as state:
        for key, value in (("a", "[1]"), ("b", "{"), ("c", "[" * 100_000), ("d", "7"), ("e", b"\xff{}")):
            put(state, key, {"n": 1})
            with batch(state):
                state.connection.execute("UPDATE documents SET value = ? WHERE key = ?", (value, key))
            assert state.read(key) is None
            put(state, key, {"n": 2})
            assert state.read(key) == {"n": 2}


def test_a_place_that_no_file_can_be_in_is_said_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (tmp_path / "taken" / "state.db", folder):
        with closing(FileState(path)) as state, pytest.raises(StorageError) as failed:
            put(state, "a", {"n": 1})
        assert str(path) in failed.value.message
        assert "set LLMSWITCH_HOME" in failed.value.message


def test_another_process_is_waited_for_and_not_for_ever(path: Path) -> None:
    with closing(FileState(path)) as state:
        put(state, "a", {"n": 1})
        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert state.read("a") == {"n": 1}  # at once: reading waits for nobody
            timer = threading.Timer(0.3, other.execute, ("COMMIT",))
            timer.start()
            put(state, "a", {"n": 2})
            timer.join()
            other.execute("BEGIN IMMEDIATE")
            started = time.monotonic()
            with pytest.raises(StorageError, match="another process has it locked"):
                put(state, "a", {"n": 3})
            assert 1.9 < time.monotonic() - started < 4
            other.execute("ROLLBACK")
        assert state.read("a") == {"n": 2}


def hold(path: str, begun: str) -> None:
    state = FileState(Path(path))
    state.begin()
    state.update("a", lambda before: ({"n": 2}, None), keep_s=60.0)
    Path(begun).touch()
    time.sleep(60)


def test_a_process_that_is_killed_in_a_transaction_leaves_no_lock(path: Path, tmp_path: Path) -> None:
    with closing(FileState(path)) as state:
        put(state, "a", {"n": 1})
        begun = tmp_path / "begun"
        process = multiprocessing.get_context("spawn").Process(target=hold, args=(str(path), str(begun)))
        process.start()
        deadline = time.monotonic() + 20
        while not begun.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert state.read("a") == {"n": 1}
        put(state, "b", {"n": 1})


def test_what_is_forgotten_leaves_the_file(path: Path) -> None:
    now = [1000.0]
    with closing(FileState(path, wall=lambda: now[0])) as state:
        for number in range(5):
            put(state, f"sticky:{number}", {"n": number}, keep_s=10.0)
        now[0] += 601
        put(state, "a", {"n": 1})
        with batch(state):
            assert state.connection.execute("SELECT key FROM documents").fetchall() == [("a",)]


def test_what_sqlite_raises_in_working_is_a_storage_error(path: Path) -> None:
    with closing(FileState(path)) as state:

        def wrong(store: State) -> None:
            assert isinstance(store, FileState)
            store.connection.execute("SELECT 1 FROM nowhere")

        with pytest.raises(StorageError, match="no such table"):
            state.working(wrong)
        put(state, "a", {"n": 1})


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"n": NaN}', '{"n": -Infinity}', '{"n": 1e999}', f'{{"n": {"9" * 400}}}', "[" * 99_999]
)
def test_what_nobody_can_reckon_with_is_no_document(text: str) -> None:
    assert decoded(text) is None
    assert decoded(text.encode()) is None


def test_a_document_of_many_megabytes_is_not_even_looked_at() -> None:
    assert decoded('{"n": "' + "x" * 2_000_000 + '"}') is None
    assert decoded('{"n": -1.5, "m": 12345678901234567890}') == {"n": -1.5, "m": 12345678901234567890}


def test_opening_waits_for_whoever_is_just_making_the_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("CREATE TABLE another (a)")
        other.execute("BEGIN EXCLUSIVE")
        timer = threading.Timer(0.2, lambda: other.execute("COMMIT"))
        timer.start()
        state = FileState(path)
        assert state.update("a", lambda before: ({"n": 1}, "done"), keep_s=60.0) == "done"
        state.commit()
        state.close()
        timer.join()
