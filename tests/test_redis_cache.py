"""The response cache in a real Redis: what it keeps, for whom, and what becomes of it where Redis is gone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

import llmswitch
from llmswitch.answers import encode
from llmswitch.cache import ResponseCache
from llmswitch.errors import ConfigError, StorageError
from llmswitch.profiles import load_settings
from llmswitch.redis_cache import RedisCache, SharedCache, open_cache, redis_cache
from llmswitch.redis_state import connect, prefix_of
from llmswitch.shelf import Shelf
from llmswitch.types import Attempt, Cost, Response, Timing, Usage
from tests.scripted import Clock
from tests.servers.redis import RedisServer, missing

ANSWER = Response(
    provider="openai",
    request_model="gpt-6-luna",
    text="Paris — \U0001f5fc",
    finish_reason="stop",
    usage=Usage(12, 3, 0, 0, 1),
    timing=Timing(0.2, 0.1),
    duration_s=0.5,
    cost=Cost(Decimal("0.000120"), "genai-prices"),
    attempts=(Attempt("openai", "gpt-6-luna", "ok", 200),),
)
KEY, OTHER = "ab" * 32, "cd" * 32


@contextmanager
def opened(url: str, *, namespace: str | None = None, ttl_s: int = 3600, lease_s: float = 10.0) -> Iterator[RedisCache]:
    with closing(RedisCache(connect(url), prefix_of(namespace), ttl_s=ttl_s, lease_s=lease_s)) as cache:
        yield cache


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[RedisCache]:
    with opened(redis_server.url) as cache:
        yield cache


# ---------------------------------------------------------------- what is kept


def test_what_was_put_is_got_by_another_machine(redis: RedisCache, redis_server: RedisServer) -> None:
    redis.put(KEY, ANSWER)
    with opened(redis_server.url, ttl_s=60) as other:
        assert other.get(KEY) == ANSWER
        assert other.get(OTHER) is None


def test_an_answer_is_gone_when_its_time_is_up(redis_server: RedisServer) -> None:
    with opened(redis_server.url, ttl_s=1) as short, opened(redis_server.url) as patient:
        short.put(KEY, ANSWER)
        assert patient.get(KEY) == ANSWER
        deadline = time.monotonic() + 10
        while patient.get(KEY) is not None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert patient.stats().entries == 0


def test_a_reader_with_less_patience_takes_no_older_answer(redis_server: RedisServer) -> None:
    client = connect(redis_server.url)
    wall = 1_800_000_000.0
    with closing(RedisCache(client, "p:", ttl_s=3600, wall=lambda: wall)) as writer:
        writer.put(KEY, ANSWER)
        assert RedisCache(client, "p:", ttl_s=30, wall=lambda: wall + 20).get(KEY) == ANSWER
        assert RedisCache(client, "p:", ttl_s=10, wall=lambda: wall + 20).get(KEY) is None


def test_only_whole_answers_are_stored(redis: RedisCache) -> None:
    for answer in (replace(ANSWER, finish_reason="error"), replace(ANSWER, cached=True)):
        with pytest.raises(ValueError, match="not to be stored"):
            redis.put(KEY, answer)
    assert redis.stats().entries == 0


@pytest.mark.parametrize(
    "value", [b"", b"\xff\xfe", b"not json", b"5", b"{}", b'{"at": "x", "answer": "{}"}', b"[" * 9999]
)
def test_a_value_that_is_no_answer_is_a_miss_and_overwritten(
    redis: RedisCache, redis_server: RedisServer, value: bytes
) -> None:
    with closing(connect(redis_server.url)) as client:
        client.set(f"llmswitch::answer:{KEY}", value)
    assert redis.get(KEY) is None
    redis.put(KEY, ANSWER)
    assert redis.get(KEY) == ANSWER


def test_stats_and_clear_are_of_one_namespace(redis_server: RedisServer) -> None:
    names = (None, "team", "te*m", "team:answer", "[a]", "\\")
    with ExitStack() as stack:
        caches = [stack.enter_context(opened(redis_server.url, namespace=name)) for name in names]
        for number, cache in enumerate(caches):
            for index in range(number + 1):
                cache.put(f"{index:064x}", ANSWER)
        assert [cache.stats().entries for cache in caches] == [1, 2, 3, 4, 5, 6]
        assert caches[2].clear() == 3
        assert [cache.stats().entries for cache in caches] == [1, 2, 0, 4, 5, 6]


def test_stats_tell_ages_and_size_of_more_than_one_batch(redis_server: RedisServer) -> None:
    client = connect(redis_server.url)
    times = iter(range(1_800_000_000, 1_800_002_000))
    with closing(RedisCache(client, "p:", ttl_s=3600, wall=lambda: float(next(times)))) as cache:
        for index in range(1200):
            cache.put(f"{index:064x}", ANSWER)
        found = cache.stats()
        assert (found.entries, found.expired, found.limit_bytes) == (1200, 0, None)
        assert (found.oldest, found.newest) == (1_800_000_000.0, 1_800_001_199.0)
        assert found.size_bytes > 1200 * len(encode(ANSWER))
        assert cache.clear() == 1200
        assert cache.stats() == (0, 0, 0, None, None, None)


# ---------------------------------------------------------------- the right to ask


def test_one_asks_at_a_time_among_all_machines(redis: RedisCache, redis_server: RedisServer) -> None:
    with opened(redis_server.url) as other:
        lock = redis.claim(KEY)
        assert lock is not None
        assert other.claim(KEY) is None
        assert other.claim(OTHER) is not None
        lock.release()
        assert other.claim(KEY) is not None


def test_a_lock_lapses_with_its_holder_and_not_while_that_renews_it(redis_server: RedisServer) -> None:
    with opened(redis_server.url, lease_s=0.3) as dead, opened(redis_server.url, lease_s=0.3) as other:
        lock = dead.claim(KEY)
        assert lock is not None
        ends = time.monotonic() + 1.0
        while time.monotonic() < ends:
            lock.renew()
            assert other.claim(KEY) is None
            time.sleep(0.02)
        deadline = time.monotonic() + 10
        while (taken := other.claim(KEY)) is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        lock.release()  # too late: it is another's now
        lock.renew()
        assert dead.claim(KEY) is None
        taken.release()


@pytest.mark.parametrize("kind", ["for ever", "for a day", "a list"])
def test_a_lock_that_nobody_of_ours_made_is_not_waited_for(
    redis: RedisCache, redis_server: RedisServer, kind: str
) -> None:
    name = f"llmswitch::asking:{KEY}"
    with closing(connect(redis_server.url)) as client:
        if kind == "a list":
            client.rpush(name, "x")
        else:
            client.set(name, "x", ex=86_400 if kind == "for a day" else None)
    assert redis.claim(KEY) is None
    lock = redis.claim(KEY)
    assert lock is not None
    assert redis.claim(KEY) is None
    lock.release()


_CHILD = """
import asyncio, json, sys
from pathlib import Path
from llmswitch.answers import decode
from llmswitch.cache import ResponseCache
from llmswitch.redis_cache import RedisCache, SharedCache
from llmswitch.redis_state import connect
from llmswitch.shelf import Shelf

folder, url, answer, delay_s = Path(sys.argv[1]), sys.argv[2], decode(sys.argv[3]), float(sys.argv[4])
warnings = []
remote = RedisCache(connect(url), "p:", ttl_s=3600, lease_s=1.0)
shelf = Shelf(SharedCache(remote, ResponseCache(folder, ttl_s=3600), warn=warnings.append), warn=warnings.append)

async def main():
    async with shelf.turn("ab" * 32, lambda: None) as turn:
        asked = turn.found is None
        if asked:
            print("asking", flush=True)
            await asyncio.sleep(delay_s)
            await turn.keep(answer)
    shelf.close()
    print(json.dumps([asked, turn.found.text, warnings]), flush=True)

print("ready", flush=True)
sys.stdin.readline()
asyncio.run(main())
"""


def _start(stack: ExitStack, folder: Path, server: RedisServer, delay_s: float) -> subprocess.Popen[str]:
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(folder), server.url, encode(ANSWER), str(delay_s)],
            env={**os.environ, "PYTHONPATH": str(Path(llmswitch.__file__).parents[1])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    )
    stack.callback(process.kill)
    return process


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def test_machines_that_ask_the_same_cost_one_call_even_a_long_one(tmp_path: Path, redis_server: RedisServer) -> None:
    with ExitStack() as stack:
        # each with a disk of its own; the call takes longer than two leases
        processes = [_start(stack, tmp_path / str(number), redis_server, 2.5) for number in range(6)]
        assert {_line(process) for process in processes} == {"ready"}
        for process in processes:
            _go(process)
        results = [json.loads(process.communicate(timeout=60)[0].splitlines()[-1]) for process in processes]
    assert sorted(asked for asked, *_ in results) == [False] * 5 + [True]
    assert {text for _, text, _ in results} == {ANSWER.text}
    assert [warnings for *_, warnings in results if warnings] == []


@pytest.mark.skipif(os.name != "posix", reason="no SIGKILL")
def test_where_the_asking_machine_dies_the_next_one_asks(tmp_path: Path, redis_server: RedisServer) -> None:
    with ExitStack() as stack:
        holder = _start(stack, tmp_path / "one", redis_server, 600)
        waiter = _start(stack, tmp_path / "two", redis_server, 0)
        assert (_line(holder), _line(waiter)) == ("ready", "ready")
        _go(holder)
        assert _line(holder) == "asking"
        _go(waiter)
        time.sleep(0.3)
        assert waiter.poll() is None, "it waits while the other one asks"
        killed = time.monotonic()
        holder.kill()
        assert _line(waiter) == "asking"
        assert time.monotonic() - killed < 10
        assert json.loads(_line(waiter))[:2] == [True, ANSWER.text]


# ---------------------------------------------------------------- Redis is gone


class Both:
    """A cache in Redis and on disk, on a clock of its own, and its warnings."""

    def __init__(self, url: str, folder: Path) -> None:
        self.clock = Clock()
        self.warnings: list[str] = []
        remote = RedisCache(connect(url), prefix_of(None), ttl_s=3600)
        local = ResponseCache(folder, ttl_s=3600)
        self.cache = SharedCache(remote, local, warn=self.warnings.append, clock=self.clock)

    def close(self) -> None:
        self.cache.close()


@pytest.fixture
def both(redis_server: RedisServer, tmp_path: Path) -> Iterator[Both]:
    with closing(Both(redis_server.url, tmp_path / "responses")) as made:
        yield made


def test_redis_stopped_and_started_in_the_middle_loses_nothing(both: Both, redis_server: RedisServer) -> None:
    cache = both.cache
    cache.put(KEY, ANSWER)
    redis_server.stop()
    assert cache.get(KEY) == ANSWER, "what this machine asked for is here, too"
    cache.put(OTHER, ANSWER)
    assert cache.get(OTHER) == ANSWER
    lock = cache.claim(KEY)
    assert lock is not None
    assert cache.claim(KEY) is None, "one asks at a time on this machine"
    lock.release()

    redis_server.start()
    with opened(redis_server.url) as other:
        cache.put("ef" * 32, ANSWER)
        assert other.get("ef" * 32) is None, "it is left alone for 5 s"
        both.clock.now += 5
        assert cache.get(OTHER) == ANSWER, "what came meanwhile is found"
        cache.put("12" * 32, ANSWER)
        assert other.get("12" * 32) == ANSWER
        assert cache.claim(KEY) is not None
        assert other.claim(KEY) is None
    assert len(both.warnings) == 1
    assert both.warnings[0].startswith(f"Redis at 127.0.0.1:{redis_server.port} cannot be used: ")


def test_a_restart_between_two_calls_is_not_even_noticed(both: Both, redis_server: RedisServer) -> None:
    both.cache.put(KEY, ANSWER)
    redis_server.restart()
    both.cache.put(OTHER, ANSWER)
    with opened(redis_server.url) as other:
        assert other.get(OTHER) == ANSWER
    assert both.warnings == []


def test_it_is_warned_of_once_however_often_it_fails(both: Both, redis_server: RedisServer) -> None:
    redis_server.stop()
    for _ in range(3):
        both.clock.now += 5
        both.cache.put(KEY, ANSWER)
        assert both.cache.get(KEY) == ANSWER
    assert len(both.warnings) == 1


@pytest.mark.skipif(os.name != "posix", reason="no SIGSTOP")
def test_a_redis_that_hangs_is_waited_for_once_and_not_on_the_event_loop(both: Both, redis_server: RedisServer) -> None:
    async def meanwhile() -> int:
        async def look() -> None:
            for number in range(5):
                async with shelf.turn(f"{number:064x}", lambda: None) as turn:
                    await turn.keep(ANSWER)

        looking, turns = asyncio.create_task(look()), 0
        while not looking.done():
            await asyncio.sleep(0.01)
            turns += 1
        await looking
        return turns

    with closing(connect(redis_server.url)) as client:
        os.kill(client.info("server")["process_id"], signal.SIGSTOP)
    started = time.monotonic()
    with closing(Shelf(both.cache, warn=both.warnings.append)) as shelf:
        turns = asyncio.run(meanwhile())
        took = time.monotonic() - started
    assert 0.9 < took < 4, "one wait of a second or two, not one for each call"
    assert turns > 30, "others went on meanwhile"
    assert len(both.warnings) == 1


@pytest.mark.skipif(os.name != "posix", reason="no SIGSTOP")
def test_what_calls_under_way_hold_in_a_redis_that_hangs_is_left_to_lapse(
    both: Both, redis_server: RedisServer
) -> None:
    locks = [both.cache.claim(f"{number:064x}") for number in range(10)]
    with closing(connect(redis_server.url)) as client:
        os.kill(client.info("server")["process_id"], signal.SIGSTOP)
    started = time.monotonic()
    for lock in locks:
        assert lock is not None
        lock.renew()
        lock.release()
    assert time.monotonic() - started < 3, "one wait, not one for each"
    assert len(both.warnings) == 1


def test_a_full_redis_is_still_read(both: Both, redis_server: RedisServer) -> None:
    both.cache.remote.put(KEY, ANSWER)
    with closing(connect(redis_server.url)) as client:
        client.config_set("maxmemory", "1")
    both.cache.put(OTHER, ANSWER)
    assert both.cache.get(OTHER) == ANSWER
    assert len(both.warnings) == 1
    assert "memory" in both.warnings[0]
    assert both.cache.get(KEY) == ANSWER, "which is in Redis alone"


# ---------------------------------------------------------------- settings


def _settings(home: Path, **environ: str) -> dict[str, str]:
    return {"LLMSWITCH_HOME": str(home), **environ}


def test_without_redis_url_answers_are_kept_on_disk(home: Path, tmp_path: Path) -> None:
    settings = load_settings(cwd=tmp_path, environ=_settings(home))
    cache = open_cache(settings, ttl_s=60, wall=time.time, warn=print)
    assert isinstance(cache, ResponseCache)
    assert not home.exists()


def test_redis_url_shares_answers_by_namespace(home: Path, tmp_path: Path, redis_server: RedisServer) -> None:
    def opened_by(machine: str, namespace: str) -> SharedCache:
        environ = _settings(tmp_path / machine, REDIS_URL=redis_server.url, CACHE_NAMESPACE=namespace)
        settings = load_settings(cwd=tmp_path, environ=environ)
        cache = open_cache(settings, ttl_s=60, wall=time.time, warn=print)
        assert isinstance(cache, SharedCache)
        return cache

    with (
        closing(opened_by("one", "team")) as one,
        closing(opened_by("two", "team")) as two,
        closing(opened_by("three", "others")) as three,
    ):
        one.put(KEY, ANSWER)
        assert two.get(KEY) == ANSWER
        assert three.get(KEY) is None


@pytest.mark.parametrize(
    "url", ["redis://:hunter2/x@h:6379", "http://h", "redis://:hunter2@h:port", "redis://h/0?nonsense=1"]
)
def test_an_address_that_is_none_is_refused_and_no_password_shown(home: Path, tmp_path: Path, url: str) -> None:
    settings = load_settings(cwd=tmp_path, environ=_settings(home, REDIS_URL=url))
    with pytest.raises(ConfigError, match="REDIS_URL") as caught:
        open_cache(settings, ttl_s=60, wall=time.time, warn=print)
    assert "hunter2" not in caught.value.message
    assert caught.value.__cause__ is None


@pytest.mark.skipif(missing() is not None, reason=missing() or "")
def test_a_password_and_tls_are_taken_from_the_address(home: Path, tmp_path: Path) -> None:
    with RedisServer(password="hunter2", tls=True) as server:
        settings = load_settings(cwd=tmp_path, environ=_settings(home, REDIS_URL=server.url))
        cache = redis_cache(settings, ttl_s=60, wall=time.time)
        assert cache is not None
        with closing(cache):
            cache.put(KEY, ANSWER)
            assert cache.get(KEY) == ANSWER
            assert cache.place == f"127.0.0.1:{server.port}"
        for wrong in (server.url.replace("hunter2", "secret3"), server.url.partition("?")[0]):
            with opened(wrong) as refused, pytest.raises(StorageError) as caught:
                refused.get(KEY)
            assert "hunter2" not in caught.value.message
            assert "secret3" not in caught.value.message
