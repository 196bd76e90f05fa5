"""`llmswitch providers`."""

from __future__ import annotations

import asyncio
import io
import json
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from llmswitch.cli.app import main
from llmswitch.database import opened
from llmswitch.health import Health, Status
from llmswitch.redis_state import RedisState
from llmswitch.reports.providers import narrow_table
from llmswitch.reports.table import _rich_table
from llmswitch.runs.providers import Compared, ProviderRow, Takes
from llmswitch.runs.seen import PassRate, Seen, Speed
from llmswitch.state import FileState, State
from llmswitch.variables import variable
from llmswitch.worker import Worker
from tests.cli.command import fill, ledger_of, row
from tests.servers.redis import RedisServer

OPENAI, OTHER, CLAUDE = "openai:gpt-4o@api.openai.com", "openai:gpt-4o-mini@api.openai.com", "anthropic:c@127.0.0.1:9"


@pytest.fixture(autouse=True)
def _alone(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of the test's own, away from any profile and variable."""
    for name in os.environ:
        if variable(name) is not None:
            monkeypatch.delenv(name)
    monkeypatch.delenv("LLM_PROFILE", raising=False)
    monkeypatch.setenv("LLMSWITCH_HOME", str(home))
    monkeypatch.chdir(tmp_path)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["providers", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    code, out, _ = run(capsys, *arguments, "--json")
    assert code == 0
    return json.loads(out)


def note(state: State, *failed: str, **limits: float) -> None:
    """Put on record that each of `failed` failed once, as calls do, and what its vendor said of its limits."""
    worker: Worker[State] = Worker(state, name="test-state")
    health = Health(worker, time.time)

    async def report() -> None:
        for key in failed:
            await health.report(key, False)
            if limits:
                await worker.do(partial(_limit, key, limits))

    try:
        asyncio.run(report())
    finally:
        worker.close()


def _limit(key: str, limits: dict[str, float], state: State) -> None:
    state.update(f"limit:{key}", lambda before: (dict(limits), None), keep_s=60.0)


@pytest.fixture
def state(home: Path) -> State:
    return FileState(home / "cache" / "state.db")


def test_the_table_says_who_can_be_asked_and_what_the_others_need(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0123456789")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://user:hunter2@127.0.0.1:8080/v1")
    monkeypatch.setenv("LLM_ENDPOINTS", "team")
    monkeypatch.setenv("TEAM_BASE_URL", "http://127.0.0.1:8000/v1")
    monkeypatch.setenv("GOOGLE_PROJECT_ID", "p")
    code, out, err = run(capsys)
    lines = {line.split()[0]: " ".join(line.split()) for line in out.splitlines()}
    assert (code, err) == (0, "")
    assert lines["openai"].startswith("openai gpt-6-luna 0.10 0.50 1.05M images, PDF, schema, batch, caching – – –")
    assert lines["openai"].endswith("127.0.0.1:8080 ready")
    assert lines["anthropic"].startswith("anthropic claude-haiku-5-5 0.10 0.50 1M")
    assert lines["anthropic"].endswith("– set ANTHROPIC_API_KEY")
    assert lines["team"].endswith("set TEAM_MODEL, or name a model")
    assert "needs GOOGLE_LOCATION" in lines["gemini"]
    assert "llmswitch pull" in lines["local"] or "llmswitch[local]" in lines["local"]
    assert "secret" not in out
    assert "hunter2" not in out
    assert not home.exists()


def test_the_document_names_variables_and_problems(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret-0123456789")
    found = document(capsys)
    assert (found["schema"], set(found)) == ("llmswitch/providers/1", {"schema", "providers"})
    rows = {row["provider"]: row for row in found["providers"]}
    more = {"price", "context_window", "max_output_tokens", "takes", "health", "measured", "pass_rate"}
    assert {name: value for name, value in rows["anthropic"].items() if name not in more} == {
        "provider": "anthropic",
        "title": "Anthropic",
        "configured": True,
        "problem": None,
        "needs": ["ANTHROPIC_API_KEY"],
        "model": "claude-haiku-5-5",
        "base_url": "https://api.anthropic.com",
    }
    assert more < set(rows["anthropic"])
    assert rows["openai"]["configured"] is False
    assert rows["openai"]["problem"] == "set OPENAI_API_KEY"
    assert list(rows)[:4] == ["gemini", "openai", "anthropic", "azure"]


def test_a_profile_says_who_is_configured(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    profile = home / "config" / "profiles" / "work.env"
    profile.parent.mkdir(parents=True)
    profile.write_text("GROQ_API_KEY=gsk-0123456789\n")
    rows = {row["provider"]: row for row in document(capsys, "--profile", "work")["providers"]}
    assert [name for name, row in rows.items() if row["configured"] and name != "local"] == ["groq"]


def test_health_shows_each_target_that_was_asked_of_late(capsys: pytest.CaptureFixture[str], state: State) -> None:
    note(state, *[OPENAI] * 5)
    note(state, OTHER, requests=60, tokens=90_000, blocked_until=time.time() + 100)
    opened, paused = document(capsys, "--health")["targets"][::-1]
    assert 20 < opened.pop("retry_after_s") <= 30
    assert 80 < paused.pop("blocked_s") <= 100
    none = {"requests_per_minute": None, "tokens_per_minute": None}
    assert opened == {"target": OPENAI, "circuit": "open", "failures": 5, "blocked_s": None, "limits": none}
    assert paused == {
        "target": OTHER,
        "circuit": "closed",
        "failures": 1,
        "retry_after_s": None,
        "limits": {"requests_per_minute": 60, "tokens_per_minute": 90_000},
    }
    code, out, err = run(capsys, "--health")
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line.split() for line in out.splitlines() if line}
    assert lines[OPENAI][1:3] == ["open", "5"]
    assert 20 < int(lines[OPENAI][3]) <= 30
    assert lines[OTHER][1:3] == ["closed", "1"]
    assert lines[OTHER][-2:] == ["60", "90,000"]


def test_health_of_nobody_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "--health")
    assert (code, err) == (0, "llmswitch: no target was asked of late.\n")
    assert document(capsys, "--health")["targets"] == []


@pytest.mark.parametrize(
    ("name", "reset"),
    [
        ("openai", [OTHER, OPENAI]),
        ("openai:gpt-4o", [OPENAI]),
        (OTHER, [OTHER]),
        ("claude", [CLAUDE]),
        ("claude:c", [CLAUDE]),
        ("openai:gpt", []),
        ("gemini", []),
    ],
)
def test_a_reset_target_is_asked_again(
    capsys: pytest.CaptureFixture[str], state: State, name: str, reset: list[str]
) -> None:
    note(state, *[OPENAI, OTHER, CLAUDE] * 5)
    reset = sorted(reset)
    code, out, err = run(capsys, "--reset", name)
    assert (code, out.splitlines()) == (0, [f"{key} is asked again" for key in reset])
    assert err == ("" if reset else f"llmswitch: nothing is known of {name}: it is asked as ever.\n")
    left = {target["target"] for target in document(capsys, "--health")["targets"]}
    assert left == {OPENAI, OTHER, CLAUDE} - set(reset)


def test_reset_prints_its_document(capsys: pytest.CaptureFixture[str], state: State) -> None:
    note(state, CLAUDE)
    assert document(capsys, "--reset", "claude") == {"schema": "llmswitch/providers/1", "reset": [CLAUDE]}


def test_a_provider_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--reset", "clod")
    assert (code, out) == (2, "")
    assert "unknown provider 'clod'" in err
    assert run(capsys, "--reset", "openai", "--health")[0] == 2


def test_what_a_team_shares_is_shown_and_reset(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, redis_server: RedisServer
) -> None:
    note(RedisState(redis_server.url, "team"), *[OPENAI] * 5)
    assert document(capsys, "--health")["targets"] == []
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    assert document(capsys, "--health")["targets"] == []
    monkeypatch.setenv("CACHE_NAMESPACE", "team")
    assert [target["circuit"] for target in document(capsys, "--health")["targets"]] == ["open"]
    assert document(capsys, "--reset", "openai")["reset"] == [OPENAI]
    assert document(capsys, "--health")["targets"] == []


def test_a_redis_that_is_down_is_a_warning(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    note(state, OPENAI)
    monkeypatch.setenv("REDIS_URL", "redis://:hunter2@127.0.0.1:1/0")
    code, out, err = run(capsys, "--health")
    assert code == 0
    assert OPENAI in out
    assert err.startswith("llmswitch: warning: Redis at 127.0.0.1:1 cannot be used:")
    assert err.count("\n") == 1
    assert "hunter2" not in err


def test_a_provider_is_compared_by_the_model_that_is_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Path, state: State
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0123456789")
    monkeypatch.setenv("OPENAI_MODEL", "gpt-4o")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret-9876543210")
    monkeypatch.setenv("ANTHROPIC_MODEL", "no-such-model")
    now = time.time()
    fill(home, *(row(at=now - 60, model="gpt-4o", first_token_s=first) for first in (0.5, 0.1, 0.3)))
    bench(home, "old", passed=1, at=now - 90)
    bench(home, "new", passed=9, at=now - 80)
    note(state, *[OPENAI] * 5)
    rows = {one["provider"]: one for one in document(capsys)["providers"]}
    one = rows["openai"]
    assert one["price"]["input"] == "2.50"
    assert one["price"]["output"] == "10"
    assert one["context_window"] == 128_000
    assert one["takes"] == {"images": True, "pdf": True, "schema": True, "batch": True, "caching": True}
    assert (one["health"]["circuit"], one["health"]["failures"]) == ("open", 5)
    assert one["measured"] == {"days": 30, "calls": 3, "time_to_first_token_s": 0.3, "output_tokens_per_s": None}
    assert (one["pass_rate"]["value"], one["pass_rate"]["low"], one["pass_rate"]["high"]) == (0.9, 0.4, 0.95)
    assert (one["pass_rate"]["run"], one["pass_rate"]["judged"]) == ("new", 10)
    assert (one["max_output_tokens"], rows["anthropic"]["price"]) == (None, None)
    assert (rows["anthropic"]["measured"], rows["anthropic"]["pass_rate"], rows["anthropic"]["health"]) == (None,) * 3
    line = next(line for line in run(capsys)[1].splitlines() if line.startswith("openai "))
    assert "0.90 [0.40, 0.95]" in line
    assert "300 ms" in line
    assert "left alone, 30 s" in line or "left alone, 29 s" in line


def test_comparing_writes_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0123456789")
    fill(home, row(at=time.time()))
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}
    document(capsys)
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("broken", ["ledger", "prices"])
def test_what_cannot_be_read_is_a_warning_and_unknown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Path, tmp_path: Path, broken: str
) -> None:
    if broken == "ledger":
        (home / "data").mkdir(parents=True)
        (home / "data" / "ledger.db").write_bytes(b"no ledger " * 1000)
    else:
        (tmp_path / "prices.json").write_text('{"gpt-4o": {"input": -1, "output": 2}}')
        monkeypatch.setenv("LLM_PRICES", str(tmp_path / "prices.json"))
    code, out, err = run(capsys, "--json")
    assert (code, err.count("\n")) == (0, 1)
    assert ("ledger.db" if broken == "ledger" else "LLM_PRICES") in err
    openai = next(one for one in json.loads(out)["providers"] if one["provider"] == "openai")
    assert openai["measured" if broken == "ledger" else "price"] is None
    assert openai["price" if broken == "ledger" else "takes"] is not None


def test_80_columns_hold_the_narrow_table() -> None:
    takes = Takes(images=True, pdf=False, schema=None, batch=True, caching=True)
    ready = ProviderRow("anthropic", "Anthropic", True, ("K",), None, "claude-sonnet-4-5", None, takes, "k")
    rows = [
        Compared(ready, seen=Seen(Speed(3, 1.5, 87.4), PassRate(96, 100, 0.901, 0.985, "s", "r", 1.0))),
        Compared(ready._replace(name="team", problem="set TEAM_MODEL", configured=True)),
        Compared(ready._replace(name="openai", problem="set OPENAI_API_KEY", configured=False)),
        Compared(ready._replace(name="gemini"), status=Status("k", "open", 5, 27.2, None, None, None)),
    ]
    console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system=None)
    with console.capture() as caught:
        console.print(_rich_table(narrow_table(rows), whole=True, lean=True))
    lines = caught.get().splitlines()
    assert max(map(len, lines)) <= 80
    text = "\n".join(" ".join(line.split()) for line in lines)
    assert "i-?bc 1.50 s 87 0.96 ready" in text
    assert "0.90–0.98" in text or "0.90–0.99" in text
    for standing in ("needs more", "not set up", "left alone"):
        assert standing in text


def bench(home: Path, run_id: str, *, passed: int, at: float) -> None:
    """A row of evidence, as a bench leaves it, and one of a task, which is not the whole suite."""
    with opened(ledger_of(home)) as connection:
        for task, count in (("", passed), ("sums", 0)):
            connection.execute(
                """INSERT INTO evidence (run_id, path, suite, finished_at, target, provider, request_model, task,
                    cases, judged, passed, low, high, samples, counted)
                    VALUES (?, '/r', 'suite', ?, 'openai', 'openai', 'gpt-4o', ?, 10, 10, ?, 0.4, 0.95, 10, 0)""",
                (run_id, at + (1 if task else 0), task, count),
            )
