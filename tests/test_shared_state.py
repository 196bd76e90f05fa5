"""One store after another: a store that fails costs a warning, never a call."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from llmswitch.errors import ConfigError
from llmswitch.redis_state import RedisState
from llmswitch.shared_state import SharedState, open_state
from llmswitch.state import FileState, MemoryState, State
from tests.scripted import Clock
from tests.servers.redis import RedisServer


def put(state: State, key: str, number: int) -> None:
    state.begin()
    state.update(key, lambda before: ({"n": number}, None), keep_s=60.0)
    state.commit()


def store_of(state: State) -> str:
    return state.working(lambda store: type(store).__name__)


def test_redis_stopped_and_started_in_the_middle_costs_one_warning(tmp_path: Path, redis_server: RedisServer) -> None:
    clock, warnings = Clock(), list[str]()
    state = open_state(tmp_path / "state.db", redis_url=redis_server.url, warn=warnings.append, clock=clock)
    with closing(state):
        put(state, "a", 1)
        assert (store_of(state), warnings) == ("RedisState", [])

        redis_server.stop()
        put(state, "a", 2)
        assert (state.read("a"), state.keys(""), store_of(state)) == ({"n": 2}, ["a"], "FileState")
        assert len(warnings) == 1
        assert f"Redis at 127.0.0.1:{redis_server.port} cannot be used" in warnings[0]

        redis_server.start()
        clock.now += 4.9
        assert store_of(state) == "FileState"
        clock.now += 0.1
        put(state, "a", 3)
        assert store_of(state) == "RedisState"

        redis_server.stop()
        assert state.read("a") == {"n": 2}
        assert len(warnings) == 1
    with closing(FileState(tmp_path / "state.db")) as file:
        assert file.read("a") == {"n": 2}


def test_without_redis_the_file_is_used(tmp_path: Path) -> None:
    warnings = list[str]()
    with closing(open_state(tmp_path / "state.db", warn=warnings.append)) as state:
        put(state, "a", 1)
        assert (store_of(state), warnings) == ("FileState", [])
    with closing(FileState(tmp_path / "state.db")) as file:
        assert file.read("a") == {"n": 1}


def test_where_no_file_can_be_memory_is_used(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    warnings = list[str]()
    with closing(open_state(tmp_path / "taken" / "state.db", warn=warnings.append)) as state:
        for number in range(3):
            put(state, "a", number)
            assert state.read("a") == {"n": number}
        assert store_of(state) == "MemoryState"
    assert len(warnings) == 1
    assert "cannot be kept in" in warnings[0]


def test_where_neither_redis_nor_file_can_be_used_memory_is(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    warnings = list[str]()
    path = tmp_path / "taken" / "state.db"
    with closing(open_state(path, redis_url="redis://:hunter2@127.0.0.1:1/0", warn=warnings.append)) as state:
        put(state, "a", 1)
        assert (state.read("a"), store_of(state)) == ({"n": 1}, "MemoryState")
    assert len(warnings) == 2
    assert "hunter2" not in "".join(warnings)


def test_the_namespace_is_that_of_redis(tmp_path: Path, redis_server: RedisServer) -> None:
    warnings = list[str]()
    url = redis_server.url
    with closing(open_state(tmp_path / "state.db", redis_url=url, namespace="team", warn=warnings.append)) as state:
        put(state, "a", 1)
    with closing(RedisState(url, "team")) as redis:
        assert redis.read("a") == {"n": 1}
    assert not (tmp_path / "state.db").exists()


def test_a_wrong_address_is_refused_when_the_state_is_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="REDIS_URL is no address"):
        open_state(tmp_path / "state.db", redis_url="http://127.0.0.1", warn=print)


def test_a_batch_that_cannot_be_committed_is_over_and_the_next_goes_on_elsewhere(tmp_path: Path) -> None:
    clock, warnings = Clock(), list[str]()
    file = FileState(tmp_path / "state.db")
    with closing(SharedState(file, MemoryState(), warn=warnings.append, clock=clock)) as state:
        put(state, "a", 1)
        connection = file.connection
        connection.execute("ROLLBACK")
        connection.execute("PRAGMA foreign_keys = ON")
        state.begin()
        state.update("a", lambda before: ({"n": 2}, None), keep_s=60.0)
        # a promise that is only looked at by COMMIT, and not kept
        connection.execute("CREATE TABLE child (parent TEXT REFERENCES documents (key) DEFERRABLE INITIALLY DEFERRED)")
        connection.execute("INSERT INTO child VALUES ('nobody')")
        state.commit()
        assert len(warnings) == 1
        assert store_of(state) == "MemoryState"
        clock.now += 5
        assert state.read("a") == {"n": 1}
