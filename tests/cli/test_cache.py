"""`llmswitch cache`."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from llmswitch.cache import ResponseCache
from llmswitch.cli.app import main
from llmswitch.redis_cache import RedisCache
from llmswitch.redis_state import connect, prefix_of
from llmswitch.types import Response
from tests.servers.redis import RedisServer

ANSWER = Response("scripted", "m", "Paris", "stop")


@pytest.fixture
def folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's folder, in a home of the test's own and away from any profile."""
    monkeypatch.setenv("LLMSWITCH_HOME", str(home))
    for name in ("LLM_PROFILE", "CACHE_TTL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return home / "cache" / "responses"


def fill(folder: Path, *keys: str, ttl_s: int = 3600) -> None:
    with closing(ResponseCache(folder, ttl_s=ttl_s)) as cache:
        for key in keys:
            cache.put(key, ANSWER)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["cache", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_path_prints_the_folder_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "path") == (0, f"{folder}\n", "")
    assert not folder.exists()


def test_stats_count_what_is_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = time.time()
    fill(folder, "a", "b")
    fill(folder, "gone", ttl_s=0)
    code, out, err = run(capsys, "stats", "--json")
    stats = json.loads(out)
    assert (code, err) == (0, "")
    assert {name: stats[name] for name in ("entries", "expired", "limit_bytes", "ttl_s", "path")} == {
        "entries": 3,
        "expired": 1,
        "limit_bytes": 2**30,
        "ttl_s": 3600,
        "path": str(folder),
    }
    assert 4096 < stats["bytes"] < 100_000
    oldest, newest = (datetime.fromisoformat(stats[name]).timestamp() for name in ("oldest", "newest"))
    assert before - 1 <= oldest <= newest <= time.time()


def test_stats_of_no_cache_know_no_ages(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stats = json.loads(run(capsys, "stats", "--json")[1])
    assert (stats["entries"], stats["bytes"], stats["oldest"], stats["newest"]) == (0, 0, None, None)
    assert not folder.exists()


def test_stats_are_a_table_for_people(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(folder, "a")
    code, out, err = run(capsys, "stats")
    lines = {line.partition("  ")[0]: line.partition("  ")[2].strip() for line in out.splitlines()}
    assert (code, err) == (0, "")
    assert (lines["answers"], lines["of them expired"], lines["folder"]) == ("1", "0", str(folder))
    assert lines["size"].endswith("kB of 1.0 GB")


def test_an_age_of_no_calendar_is_unknown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(folder, "a")
    with closing(sqlite3.connect(folder / "cache.db")) as connection, connection:
        connection.execute("UPDATE Cache SET store_time = 1e300")
    stats = json.loads(run(capsys, "stats", "--json")[1])
    assert (stats["entries"], stats["oldest"], stats["newest"]) == (1, None, None)
    code, out, _ = run(capsys, "stats")
    assert code == 0
    assert out.count("–") >= 2


def test_the_profile_s_ttl_is_the_one_shown(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".env.quick").write_text("CACHE_TTL=60\n", encoding="utf-8")
    assert json.loads(run(capsys, "stats", "--json", "-P", "quick")[1])["ttl_s"] == 60
    (tmp_path / ".env.bad").write_text("CACHE_TTL=hot\n", encoding="utf-8")
    code, _, err = run(capsys, "stats", "-P", "bad")
    assert code == 2
    assert "CACHE_TTL" in err


def test_prune_says_how_many_went(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(folder, "a", "b")
    fill(folder, "gone", ttl_s=0)
    assert run(capsys, "prune") == (0, "removed 1 answer\n", "")
    assert run(capsys, "prune") == (0, "removed 0 answers\n", "")


def test_clear_says_how_many_went(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(folder, "a", "b")
    assert run(capsys, "clear") == (0, "removed 2 answers\n", "")
    assert json.loads(run(capsys, "stats", "--json")[1])["entries"] == 0
    assert run(capsys, "clear") == (0, "removed 0 answers\n", "")


def test_a_damaged_cache_names_the_command_that_mends_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder.mkdir(parents=True)
    (folder / "cache.db").write_bytes(b"not a database " * 1000)
    for command in ("stats", "prune"):
        code, out, err = run(capsys, command)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert "llmswitch cache clear" in err
    code, out, err = run(capsys, "stats", "--json")
    assert (code, json.loads(out)["error"]["kind"]) == (2, "config")
    code, out, err = run(capsys, "clear")
    assert (code, err) == (0, "")
    assert "could not be read" in out
    assert run(capsys, "stats")[0] == 0


def test_verbose_and_quiet_touch_stderr_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(folder, "a")
    code, out, err = run(capsys, "prune", "-v")
    assert (code, out) == (0, "removed 0 answers\n")
    assert str(folder) in err
    assert run(capsys, "prune", "-q") == (0, "removed 0 answers\n", "")
    assert run(capsys, "path", "-v", "-q")[1] == f"{folder}\n"


def share(server: RedisServer, *keys: str) -> None:
    with closing(RedisCache(connect(server.url), prefix_of(None), ttl_s=3600)) as cache:
        for key in keys:
            cache.put(key, ANSWER)


def test_with_redis_the_shared_answers_are_counted_and_cleared_too(
    folder: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = f"127.0.0.1:{redis_server.port}"
    fill(folder, "a")
    assert json.loads(run(capsys, "stats", "--json")[1])["redis"] is None
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    share(redis_server, "a" * 64, "b" * 64)
    code, out, err = run(capsys, "stats", "--json")
    stats = json.loads(out)
    assert (code, err, stats["entries"]) == (0, "", 1)
    assert (stats["redis"]["place"], stats["redis"]["entries"]) == (place, 2)
    assert stats["redis"]["bytes"] > 0
    assert abs(datetime.fromisoformat(stats["redis"]["oldest"]).timestamp() - time.time()) < 60
    table = run(capsys, "stats")[1]
    assert {line.partition("  ")[0] for line in table.splitlines()} >= {"answers", "answers in Redis", "Redis"}
    assert place in table
    code, out, err = run(capsys, "clear")
    assert (code, out, err) == (0, f"removed 1 answer\nremoved 2 answers from Redis at {place}\n", "")
    assert json.loads(run(capsys, "stats", "--json")[1])["redis"]["entries"] == 0


def test_a_redis_that_is_down_is_named_without_its_password(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:hunter2@127.0.0.1:9/0")
    fill(folder, "a")
    for command in ("stats", "clear"):
        code, out, err = run(capsys, command, "-v")
        assert code == 2
        assert "Redis at 127.0.0.1:9 cannot be used" in err
        assert "hunter2" not in out + err
    assert ResponseCache(folder, ttl_s=60).stats().entries == 0, "what is here was removed"
