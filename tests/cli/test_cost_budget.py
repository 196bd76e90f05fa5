"""`llmswitch cost budget | prune`, on ledgers filled by hand."""

from __future__ import annotations

import calendar
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from llmswitch.ledger import to_pico
from llmswitch.runs.budget import Forecast, forecast
from tests.cli.command import fill, ledger_of, row, run

_DAY = 86_400.0
_NEW_YORK = "EST5EDT,M3.2.0,M11.1.0"


def told(home: Path, *arguments: str, zone: str = "UTC", **environ: str) -> dict[str, Any]:
    done = run(home, "cost", *arguments, "--json", zone=zone, **environ)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_without_a_call_nothing_is_spent_and_nothing_forecast(home: Path) -> None:
    document = told(home, "budget", LLM_BUDGET_DAILY="5")
    assert document["schema"] == "llmswitch/budget/1"
    assert document["day"] == {"limit": "5", "spent": "0", "reserved": "0", "left": "5"}
    assert document["month"] == {"limit": None, "spent": "0", "reserved": "0", "left": None}
    assert document["forecast"] is None
    done = run(home, "cost", "budget")
    assert "takes a week of days" in done.stdout
    assert "no budget is set" in done.stderr


def test_what_is_spent_and_what_calls_in_flight_hold_is_told_apart(home: Path) -> None:
    now = time.time()
    fill(home, row(at=now, cost="1.25"), row(at=now - 400 * _DAY, cost="9"), row(at=now, cost=None))
    connection = sqlite3.connect(ledger_of(home))
    connection.execute(
        """INSERT INTO reservations (at, day, pico, lease_until, command, target, provider, request_model)
            VALUES (?, ?, ?, ?, 'ask', 'openai', 'openai', 'm')""",
        (now, f"{date(*time.gmtime(now)[:3])}", to_pico(Decimal("0.5")), now + 600),
    )
    connection.commit()
    connection.close()
    document = told(home, "budget", LLM_BUDGET_DAILY="1.5", LLM_BUDGET_MONTHLY="100")
    assert document["day"] == {"limit": "1.5", "spent": "1.25", "reserved": "0.5", "left": "0"}
    assert document["month"]["spent"] == "1.25"
    assert document["unknown_price_calls"] == 1


def paid(days: dict[date, str]) -> dict[date, int]:
    return {day: to_pico(Decimal(amount)) for day, amount in days.items()}


def test_a_steady_spend_is_forecast_to_the_cent() -> None:
    today, first = date(2026, 11, 16), date(2026, 10, 1)
    spent = {first + timedelta(days=place): "2" for place in range((today - first).days)}
    assert forecast(paid(spent), first, today, date(2026, 11, 30), 0.0) == Forecast(
        Decimal(60), Decimal(60), Decimal(60), days=46
    )
    half_over = forecast(paid({**spent, today: "1"}), first, today, date(2026, 11, 30), 0.5)
    assert half_over is not None
    assert half_over.value == Decimal(60)


def test_weekends_are_forecast_by_weekends() -> None:
    today, first = date(2026, 11, 14), date(2026, 9, 21)  # a Saturday
    days = [first + timedelta(days=place) for place in range((today - first).days)]
    spent = {day: "0" if day.weekday() >= 5 else "10" for day in days}
    found = forecast(paid(spent), first, today, date(2026, 11, 30), 0.0)
    assert found is not None
    assert found.value == 21 * 10, "November 2026 has 21 workdays"


def test_less_than_a_week_forecasts_nothing() -> None:
    today = date(2026, 11, 16)
    assert forecast({}, today - timedelta(days=6), today, date(2026, 11, 30), 0.0) is None
    assert forecast({}, None, today, date(2026, 11, 30), 0.0) is None


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    random, held = Random(7), 0  # noqa: S311  # repeatable, no secret
    first, today, last = date(2026, 9, 1), date(2026, 10, 20), date(2026, 10, 31)
    for _ in range(400):
        every = {
            first + timedelta(days=place): to_pico(Decimal(f"{random.lognormvariate(1, 0.5):.6f}"))
            for place in range((last - first).days + 1)
        }
        known = {day: pico for day, pico in every.items() if day < today}
        found = forecast(known, first, today, last, 0.0)
        assert found is not None
        truth = Decimal(sum(pico for day, pico in every.items() if day.month == 10)).scaleb(-12)
        held += found.low <= truth <= found.high
    assert 0.90 <= held / 400 <= 0.99


def days_ago(days: float) -> float:
    return time.time() - days * _DAY


def test_pruned_rows_leave_sums_that_every_report_still_has_to_the_last_digit(home: Path) -> None:
    fill(
        home,
        *(
            row(at=days_ago(500 - place / 3), cost=None if place % 7 == 0 else f"0.{place:012d}", model=f"m{place % 2}")
            for place in range(1, 60)
        ),
        row(at=days_ago(1), cost="3"),
    )
    reports = [("report", "--by", by) for by in ("day,provider,model", "profile", "command,model")]
    before = [told(home, *report) for report in reports]
    wanted = run(home, "cost", "prune", "--older-than", "400d", "--dry-run").stdout
    assert "59 rows" in wanted
    assert "would be forgotten" in wanted
    assert [told(home, *report) for report in reports] == before
    assert run(home, "cost", "prune", "--older-than", "400d").stdout == wanted.replace("would be ", "")
    after = [told(home, *report) for report in reports]
    for document in (*before, *after):
        for figures in (*document["rows"], document["total"]):
            figures.pop("duration_p50_s")
    assert after == before
    assert "0 rows" in run(home, "cost", "prune", "--older-than", "400d").stdout


def test_a_call_that_was_interrupted_before_anything_is_pruned_and_unknown_of_nothing(home: Path) -> None:
    fill(home, row(at=days_ago(9), cost=None, tokens=None, first_token_s=None)._replace(finish_reason="interrupted"))
    before = told(home, "report")["total"]
    done = run(home, "cost", "prune", "--older-than", "3d")
    assert (done.returncode, "1 rows" in done.stdout) == (0, True), done.stderr
    after = told(home, "report")["total"]
    assert (after["calls"], after["cost"], after["unknown_price_calls"]) == (1, before["cost"], 0)


def test_the_last_moment_of_a_day_is_that_days(home: Path) -> None:
    midnight = days_ago(3) // _DAY * _DAY
    fill(home, row(at=midnight - 0.0003), row(at=midnight - 10))
    before = told(home, "report", "--by", "day")["rows"]
    assert [entry["calls"] for entry in before] == [2]
    run(home, "cost", "prune", "--older-than", "1d")
    after = told(home, "report", "--by", "day")["rows"]
    assert [(entry["day"], entry["calls"]) for entry in after] == [(before[0]["day"], 2)]


def test_calls_without_a_price_are_as_many_as_in_the_report_and_stay_so_when_pruned(home: Path) -> None:
    # none of them before the month began, however early in it this runs
    begun = float(calendar.timegm((*time.gmtime()[:2], 1, 0, 0, 0)))
    at = [max(begun, days_ago(days)) for days in (0.0, 2.0, 2.5, 3.0)]
    fill(home, *(row(at=moment, cost=None) for moment in at), row(at=at[1], cost=None, tokens=None))
    since = time.strftime("%Y-%m-01", time.gmtime())
    assert told(home, "report", "--since", since)["total"]["unknown_price_calls"] == 5
    assert told(home, "budget")["unknown_price_calls"] == 5
    run(home, "cost", "prune", "--older-than", "1d")
    assert told(home, "budget")["unknown_price_calls"] == 5


def test_days_are_pruned_whole_and_found_by_since_and_until(home: Path) -> None:
    fill(home, *(row(at=days_ago(30 - hour / 24), cost="1") for hour in range(24 * 6)))
    since = time.strftime("%Y-%m-%d", time.gmtime(days_ago(28)))
    until = time.strftime("%Y-%m-%d", time.gmtime(days_ago(26)))
    before = told(home, "report", "--by", "day", "--since", since, "--until", until)
    assert before["total"]["calls"] == 48
    run(home, "cost", "prune", "--older-than", "25d")
    kept = sqlite3.connect(ledger_of(home)).execute("SELECT count(*), min(started_at) FROM calls").fetchone()
    assert kept[1] % _DAY < 3600, "the first day that is left is whole"
    after = told(home, "report", "--by", "day", "--since", since, "--until", until)
    assert [(entry["day"], entry["calls"], entry["cost"]) for entry in after["rows"]] == [
        (entry["day"], entry["calls"], entry["cost"]) for entry in before["rows"]
    ]


def test_a_budget_counts_what_was_pruned(home: Path) -> None:
    fill(home, *(row(at=days_ago(days), cost="1") for days in range(60)))
    before = told(home, "budget")
    run(home, "cost", "prune", "--older-than", "1d")
    after = told(home, "budget")
    assert (after["month"], after["day"]) == (before["month"], before["day"])
    assert (after["forecast"] is None) == (before["forecast"] is None)


def test_a_prune_that_is_killed_at_any_moment_loses_and_doubles_nothing(home: Path) -> None:
    fill(home, *(row(at=days_ago(400 - place / 20), cost="0.5", model=f"m{place % 3}") for place in range(1500)))
    before = told(home, "report", "--by", "model")["total"]
    environ = {**os.environ, "LLMSWITCH_HOME": str(home), "TZ": "UTC"}
    for delay in (0.25, 0.3, 0.35, 0.4):
        process = subprocess.Popen(
            [sys.executable, "-m", "llmswitch", "cost", "prune", "--older-than", "300d"],
            env=environ,
            stdout=subprocess.DEVNULL,
        )
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = told(home, "report", "--by", "model")["total"]
        assert (now["calls"], now["cost"]) == (before["calls"], before["cost"])
    run(home, "cost", "prune", "--older-than", "300d")
    total = told(home, "report", "--by", "model")["total"]
    assert (total["calls"], total["cost"], total["days"]) == (before["calls"], before["cost"], before["days"])


@pytest.mark.parametrize("zone", ["UTC", _NEW_YORK])
def test_a_day_when_the_clock_changes_is_pruned_like_any(home: Path, zone: str) -> None:
    start = 1_793_491_200.0  # 2026-11-01 in New York's summer time, which ends on that day
    fill(home, *(row(at=start + hour * 3600.0, cost="1") for hour in range(-30, 60)))
    before = told(home, "report", "--by", "day", zone=zone)["rows"]
    age = int((time.time() - start) // _DAY) - 4
    if age < 1:
        pytest.skip("too near to tell")
    run(home, "cost", "prune", "--older-than", f"{age}d", zone=zone)
    after = told(home, "report", "--by", "day", zone=zone)["rows"]
    assert [(entry["day"], entry["calls"]) for entry in after] == [(entry["day"], entry["calls"]) for entry in before]


@pytest.mark.parametrize("value", ["", "soon", "-3d", "400"])
def test_a_time_that_is_none_is_named(home: Path, value: str) -> None:
    done = run(home, "cost", "prune", "--older-than", value)
    assert done.returncode == 2
    assert "--older-than" in done.stderr


@pytest.mark.parametrize("damage", [b"scribble" * 2000, None])
def test_a_damaged_ledger_is_named_and_set_aside_and_never_deleted(home: Path, damage: bytes | None) -> None:
    fill(home, *(row(at=days_ago(place), cost="1") for place in range(300)))
    whole = ledger_of(home).read_bytes()
    content = damage or whole[:4096] + b"\xff" * (len(whole) - 4096)
    ledger_of(home).write_bytes(content)
    done = run(home, "cost", "report")
    assert done.returncode == 2
    assert str(ledger_of(home)) in done.stderr
    assert "llmswitch cost set-aside" in done.stderr
    assert ledger_of(home).read_bytes() == content
    done = run(home, "cost", "set-aside")
    assert done.returncode == 0, done.stderr
    moved = Path(done.stdout.strip())
    assert moved.read_bytes() == content
    assert moved.name.startswith("ledger.db.damaged-")
    assert "Nothing was deleted" in done.stderr
    assert told(home, "report")["total"]["calls"] == 0
    fill(home, row(cost="1"))
    assert told(home, "report")["total"]["calls"] == 1


def test_a_whole_ledger_and_one_of_a_newer_version_stay(home: Path) -> None:
    assert "does not exist" in run(home, "cost", "set-aside").stderr
    fill(home, row(cost="1"))
    done = run(home, "cost", "set-aside")
    assert (done.returncode, "is whole" in done.stderr) == (2, True)
    connection = sqlite3.connect(ledger_of(home))
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = ledger_of(home).read_bytes()
    assert "newer llmswitch" in run(home, "cost", "report").stderr
    assert run(home, "cost", "set-aside").returncode == 2
    assert ledger_of(home).read_bytes() == before
