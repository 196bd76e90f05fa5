"""Windows: what was taken, in SQLite and in a real Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits.strategies import MovingWindowRateLimiter

from llmswitch.redis_state import RedisState
from llmswitch.state import FileState, MemoryState
from llmswitch.windows import NO_LIMIT, PerWindow, RedisWindows, SQLiteWindows, Windows
from tests.servers.redis import RedisServer

EXPIRY = 3


class Wall:
    """Epoch seconds that pass only when told."""

    def __init__(self, now: float = 1.8e9) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["sqlite", "redis"])
def windows(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Windows]:
    if request.param == "sqlite":
        file = FileState(tmp_path / "state.db")
        yield SQLiteWindows(file)
        file.commit()
        file.close()
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    redis = RedisState(server.url)
    yield RedisWindows(redis)
    redis.close()


def most_within(taken: list[tuple[float, int]], span: float) -> int:
    """The most units in any `span` seconds."""
    return max(
        (sum(units for at, units in taken if start <= at < start + span) for start, _ in taken),
        default=0,
    )


steps = st.lists(st.tuples(st.floats(0, 1.5), st.integers(1, 6)), max_size=60)


@given(steps, st.integers(1, 8))
def test_no_window_ever_holds_more_than_the_limit(steps: list[tuple[float, int]], limit: int) -> None:
    wall, taken = Wall(), []
    state = MemoryState(wall=wall)
    windows = SQLiteWindows(state)
    for pause, amount in steps:
        wall.now += pause
        if windows.acquire_entry("k", limit, EXPIRY, amount):
            taken.append((wall.now, amount))
    state.commit()
    state.close()
    assert most_within(taken, EXPIRY) <= limit


@given(st.floats(0, 1), st.floats(0.003, 0.07))
def test_who_tries_all_the_time_gets_the_limit_in_each_window_and_no_more(offset: float, pause: float) -> None:
    wall, taken = Wall(1.8e9 + offset), []
    state = MemoryState(wall=wall)
    windows = SQLiteWindows(state)
    while wall.now < 1.8e9 + 4 * EXPIRY:
        if windows.acquire_entry("k", 3, EXPIRY, 1):
            taken.append((wall.now, 1))
        wall.now += pause
    state.commit()
    state.close()
    assert most_within(taken, EXPIRY) == 3
    assert len(taken) in (9, 12)


@given(steps, st.integers(1, 8))
def test_what_is_refused_fits_after_the_wait_that_is_told_and_not_a_quarter_second_before(
    steps: list[tuple[float, int]], limit: int
) -> None:
    wall = Wall()
    state = MemoryState(wall=wall)
    windows = SQLiteWindows(state)
    for pause, amount in steps:
        wall.now += pause
        amount = min(amount, limit)  # noqa: PLW2901  # more never fits at once
        if windows.acquire_entry("k", limit, EXPIRY, amount):
            continue
        wait = windows.wait("k", limit, EXPIRY, amount)
        assert 0 < wait <= EXPIRY + 0.1
        wall.now += wait - 0.25
        assert wait < 0.25 or not windows.acquire_entry("k", limit, EXPIRY, amount)
        wall.now += 0.25 + 1e-5
        assert windows.acquire_entry("k", limit, EXPIRY, amount)
    state.commit()
    state.close()


def test_the_library_counts_two_amounts_of_one_target_in_one_window(windows: Windows) -> None:
    window = MovingWindowRateLimiter(windows)
    assert all(window.hit(PerWindow(3, EXPIRY), "openai:m@host", "requests") for _ in range(3))
    assert not window.hit(PerWindow(3, EXPIRY), "openai:m@host", "requests")
    assert not window.hit(PerWindow(2, EXPIRY), "openai:m@host", "requests")
    assert window.hit(PerWindow(4, EXPIRY), "openai:m@host", "requests")
    assert window.hit(PerWindow(3, EXPIRY), "openai:other@host", "requests")
    assert window.get_window_stats(PerWindow(6, EXPIRY), "openai:m@host", "requests").remaining == 2


def test_what_was_taken_counts_for_its_seconds_and_no_longer(windows: Windows) -> None:
    before = time.time()
    assert windows.acquire_entry("k", 5, 1, 5)
    assert not windows.acquire_entry("k", 5, 1, 1)
    wait = windows.wait("k", 5, 1, 1)
    assert 0 < wait <= 1.1
    while not windows.acquire_entry("k", 5, 1, 1):
        assert time.time() < before + 3
        time.sleep(0.01)
    assert 1 <= time.time() - before < 2


def test_what_is_given_back_can_be_taken_again_and_never_becomes_credit(windows: Windows) -> None:
    assert windows.acquire_entry("k", 10, EXPIRY, 8)
    at = windows.taken_at
    windows.shift("k", at, -5)
    assert windows.acquire_entry("k", 10, EXPIRY, 7)
    windows.shift("k", at, -100)
    windows.shift("k", windows.taken_at, -100)
    assert not windows.acquire_entry("k", 10, EXPIRY, 11)
    assert windows.acquire_entry("k", 10, EXPIRY, 10)


def test_more_than_was_reserved_counts_too_and_what_counts_no_more_is_left_alone(windows: Windows) -> None:
    assert windows.acquire_entry("k", 10, EXPIRY, 4)
    windows.shift("k", windows.taken_at, 5)
    windows.shift("k", windows.taken_at - 1000, 5)
    windows.shift("unheard of", windows.taken_at, 5)
    assert not windows.acquire_entry("k", 10, EXPIRY, 2)
    assert windows.acquire_entry("k", 10, EXPIRY, 1)
    assert windows.acquire_entry("unheard of", 1, EXPIRY, 1)


def test_millions_of_tokens_are_one_entry(windows: Windows) -> None:
    assert windows.acquire_entry("k", 30_000_000, EXPIRY, 29_999_999)
    _, kept = windows.entries("k", EXPIRY)
    assert [units for _, units in kept] == [29_999_999]
    assert not windows.acquire_entry("k", 30_000_000, EXPIRY, 2)


def test_who_waits_behind_several_windows_is_told_so(windows: Windows) -> None:
    assert windows.acquire_entry("k", 2, EXPIRY, 2)
    waits = [windows.wait("k", 2, EXPIRY, amount) for amount in (1, 2, 3, 5)]
    assert all(one <= other + 0.1 for one, other in pairwise(waits))
    assert 2 * EXPIRY < waits[3] <= 3 * EXPIRY + 0.1
    assert windows.wait("nobody took any", 2, EXPIRY, 1) == 0


def test_a_clock_that_is_set_back_locks_nobody_out(tmp_path: Path) -> None:
    wall = Wall()
    file = FileState(tmp_path / "state.db", wall=wall)
    windows = SQLiteWindows(file)
    assert windows.acquire_entry("k", 1, EXPIRY, 1)
    wall.now -= 3600
    assert windows.acquire_entry("k", 1, EXPIRY, 1)
    assert not windows.acquire_entry("k", 1, EXPIRY, 1)
    file.commit()
    file.close()


def test_the_table_is_there_again_after_the_file_was_deleted(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    file = FileState(path)
    windows = SQLiteWindows(file)
    assert file.working(lambda _: windows.acquire_entry("k", 1, EXPIRY, 1))
    file.commit()
    for name in path.parent.glob("state.db*"):
        name.unlink()
    assert file.working(lambda _: windows.acquire_entry("k", 1, EXPIRY, 1))
    file.commit()
    file.close()


def test_windows_of_targets_that_nobody_asks_any_more_are_forgotten(tmp_path: Path) -> None:
    wall = Wall()
    for later in (0.0, 7200.0):
        wall.now += later
        file = FileState(tmp_path / "state.db", wall=wall)
        assert SQLiteWindows(file).acquire_entry(f"k{later}", NO_LIMIT, EXPIRY, 1)
        file.commit()
        kept = [row[0] for row in file.connection.execute("SELECT key FROM windows")]
        file.commit()
        file.close()
    assert kept == ["k7200.0"]


def test_redis_forgets_a_window_by_itself(redis_server: RedisServer) -> None:
    redis = RedisState(redis_server.url, "team")
    assert RedisWindows(redis).acquire_entry("k", 1, 61, 1)
    (name,) = redis.client.keys("*")
    assert name == b"llmswitch:team:window:k"
    assert 61_000 < redis.client.pttl(name) <= 62_100
    redis.close()


@pytest.mark.parametrize("planted", ["text", {"a": "1", "<b>": "x"}, {"": "1e9"}, {".5": "7"}, {"": "9" * 30}])
def test_what_others_put_into_a_window_in_redis_is_thrown_away(
    redis_server: RedisServer, planted: str | dict[str, str]
) -> None:
    with closing(RedisState(redis_server.url)) as redis:
        windows, name = RedisWindows(redis), "llmswitch::window:k"
        for use in (lambda: windows.wait("k", 1, EXPIRY, 1), lambda: windows.acquire_entry("k", 1, EXPIRY, 1)):
            if isinstance(planted, str):
                redis.client.set(name, planted)
            else:
                tick = f"{time.time():.1f}".replace(".", "")
                redis.client.hset(
                    name,
                    mapping={field if field.isalpha() else tick + field: units for field, units in planted.items()},
                )
            assert use() in (0.0, True)
            redis.client.delete(name)


@pytest.mark.parametrize("call", [lambda w: w.incr("k", 1), lambda w: w.get("k"), lambda w: w.clear("k")])
def test_fixed_windows_are_refused(windows: Windows, call: Callable[[Windows], object]) -> None:
    with pytest.raises(NotImplementedError, match="moving"):
        call(windows)
