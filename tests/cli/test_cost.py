from __future__ import annotations

import json
import re
import sqlite3
import stat
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from llmswitch.ledger import Caller, call_row, lost_row
from llmswitch.reports.cost import narrowed, report_table
from llmswitch.runs.cost import cost_report
from llmswitch.types import Attempt, Cost, Response, Spend, Usage
from tests.cli.command import fill, ledger_of, row, run

#: New York's rules, spelled out so that no time zone files are needed
_NEW_YORK = "EST5EDT,M3.2.0,M11.1.0"


def _at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def _report(home: Path, *arguments: str, zone: str = "UTC") -> dict[str, Any]:
    done = run(home, "cost", *arguments, "--json", zone=zone)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


#: what a report says where there is nothing to say
_NOTHING = {
    "calls": 0,
    "errors": 0,
    "cached": 0,
    "input_tokens": None,
    "output_tokens": None,
    "cache_read_input_tokens": None,
    "cache_creation_input_tokens": None,
    "reasoning_output_tokens": None,
    "cost": {"amount": "0", "exact": True},
    "lost": "0",
    "hedged": "0",
    "failed": "0",
    "saved": "0",
    "saved_by_cache": "0",
    "saved_by_batch": "0",
    "unknown_price_calls": 0,
    "duration_p50_s": None,
    "days": {},
}


def test_an_empty_ledger_says_so_and_is_no_failure(home: Path) -> None:
    done = run(home, "cost")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no calls yet" in done.stderr
    assert not home.exists()


def test_an_empty_ledger_is_an_empty_document(home: Path) -> None:
    document = _report(home)
    assert document == {
        "schema": "llmswitch/cost/1",
        "since": None,
        "until": None,
        "rows": [],
        "total": _NOTHING,
    }


def test_spend_is_shown_by_day_provider_and_model_with_its_totals(home: Path) -> None:
    first = Response("openai", "gpt-4", "hi", "stop", cost=Cost(Decimal("0.0025"), "genai-prices"))
    cached = Response(
        "openai", "gpt-4", "hi", "stop", Usage(0, 0), cost=Cost(Decimal(0), "c"), cached=True, original=first
    )
    fill(
        home,
        row(at=_at("2026-11-20T10:00"), cost="0.0000001", tokens=(1000, 20)),
        row(at=_at("2026-11-20T11:00"), cost="0.000000000001"),
        row(at=_at("2026-11-21T10:00"), provider="anthropic", model="claude-haiku-5-5", cost="12.5", exact=False),
        call_row(Caller("ask", "openai"), cached, started_at=_at("2026-11-21T10:00")),
    )
    first_day = {
        "calls": 2,
        "input_tokens": 1010,
        "output_tokens": 25,
        "cost": {"amount": "0.000000100001", "exact": True},
        "duration_p50_s": 0.5,
        "days": {"2026-11-20": "0.000000100001"},
    }
    dear = {
        "calls": 1,
        "input_tokens": 10,
        "output_tokens": 5,
        "cost": {"amount": "12.5", "exact": False},
        "duration_p50_s": 0.5,
        "days": {"2026-11-21": "12.5"},
    }
    free = {
        "calls": 1,
        "cached": 1,
        "input_tokens": 0,
        "output_tokens": 0,
        "saved": "0.0025",
        "saved_by_cache": "0.0025",
        "days": {"2026-11-21": "0"},
    }
    assert _report(home) == {
        "schema": "llmswitch/cost/1",
        "since": None,
        "until": None,
        "rows": [
            {**_NOTHING, "day": "2026-11-20", "provider": "openai", "model": "gpt-6-luna", **first_day},
            {**_NOTHING, "day": "2026-11-21", "provider": "anthropic", "model": "claude-haiku-5-5", **dear},
            {**_NOTHING, "day": "2026-11-21", "provider": "openai", "model": "gpt-4", **free},
        ],
        "total": {
            **_NOTHING,
            "calls": 4,
            "cached": 1,
            "input_tokens": 1020,
            "output_tokens": 30,
            "cost": {"amount": "12.500000100001", "exact": False},
            "saved": "0.0025",
            "saved_by_cache": "0.0025",
            "duration_p50_s": 0.5,
            "days": {"2026-11-20": "0.000000100001", "2026-11-21": "12.5"},
        },
    }
    lines = run(home, "cost").stdout.splitlines()
    assert re.split(r" {2,}", lines[0]) == [
        *("day", "provider", "model", "calls", "errors", "cached", "p50", "input", "output", "cost", "saved by cache"),
        "unknown price",
    ]
    assert lines[2].split()[:3] == ["2026-11-21", "anthropic", "claude-haiku-5-5"]
    assert "~$12.5000" in lines[2]
    assert lines[-1].startswith("total")
    assert lines[-1].split()[1:8] == ["4", "0", "1", "500", "ms", "1,020", "30"]


def test_totals_are_at_least_where_some_price_is_unknown_and_never_0_where_all_are(home: Path) -> None:
    at = _at("2026-11-20T10:00")
    fill(
        home,
        row(at=at, provider="local", model="smol", cost=None),
        row(at=at, provider="local", model="smol", cost=None),
    )
    assert _report(home)["total"]["cost"] is None
    assert re.search(r"total +2 +0 +0 +500 ms +20 +10 +– ", run(home, "cost").stdout)
    fill(home, row(at=at, cost="0.5"))
    document = _report(home)
    assert document["total"]["cost"] == {"amount": "0.5", "exact": False}
    assert document["total"]["unknown_price_calls"] == 2
    assert [entry["cost"] for entry in document["rows"]] == [None, {"amount": "0.5", "exact": True}]
    lines = run(home, "cost").stdout.splitlines()
    assert "at least $0.5" in lines[-1]
    assert "at least" not in "".join(lines[:-1])


def test_cached_answers_do_not_make_an_unknown_sum_0(home: Path) -> None:
    first = Response("openai", "gpt-4", "hi", "stop", cost=Cost(Decimal("0.0025"), "genai-prices"))
    cached = Response(
        "openai", "gpt-4", "hi", "stop", Usage(0, 0), cost=Cost(Decimal(0), "c"), cached=True, original=first
    )
    fill(
        home,
        call_row(Caller("ask", "openai"), cached, started_at=_at("2026-11-20T10:00")),
        row(at=_at("2026-11-20T10:00"), model="gpt-4", cost=None),
        call_row(Caller("ask", "openai"), cached, started_at=_at("2026-11-21T10:00")),
    )
    document = _report(home, "report", "--by", "day")
    assert [entry["cost"] for entry in document["rows"]] == [None, {"amount": "0", "exact": True}]
    assert (document["total"]["cost"], document["total"]["saved"]) == (None, "0.005")
    assert re.search(r"total +3 +0 +2 +500 ms +10 +5 +– ", run(home, "cost", "report", "--by", "day").stdout)
    fill(home, row(at=_at("2026-11-20T10:00"), provider="local", model="free", cost="0"))
    assert _report(home)["total"]["cost"] == {"amount": "0", "exact": False}
    assert "at least $0" in run(home, "cost").stdout.splitlines()[-1]


def test_what_bought_no_answer_counts_as_spend_and_as_no_call_and_is_shown_apart(home: Path) -> None:
    paid = Cost(Decimal("0.25"), "genai-prices", exact=False)
    loser = Spend("openai", "gpt-4", "hedged", Usage(8, 2, estimated=True), paid)
    unpriced = loser._replace(provider="local", cost=None)
    day, caller = _at("2026-11-20T10:00"), Caller("ask", "openai")
    fill(home, row(at=day, model="gpt-4", cost="0.5"))
    assert "lost" not in run(home, "cost").stdout
    fill(home, lost_row(caller, loser, started_at=day), row(at=day, model="gpt-4", cost="0.5"))
    (entry,) = _report(home)["rows"]
    assert (entry["calls"], entry["errors"], entry["input_tokens"]) == (2, 0, 28)
    assert (entry["cost"], entry["lost"]) == ({"amount": "1.25", "exact": False}, "0.25")
    lines = run(home, "cost").stdout.splitlines()
    assert re.split(r" {2,}", lines[0])[-4:] == ["cost", "of it hedged", "saved by cache", "unknown price"]
    assert re.search(r"total +2 +0 +0 +500 ms +28 +12 +~\$1\.2500 +~\$0\.250000 +\$0 +0$", lines[-1])
    fill(home, lost_row(caller, unpriced, started_at=day))
    total = _report(home)["total"]
    assert (total["calls"], total["lost"], total["unknown_price_calls"]) == (2, "0.25", 1)
    fill(home, lost_row(caller, unpriced, started_at=day), lost_row(caller, unpriced, started_at=day))
    assert run(home, "cost").stdout.splitlines()[-1].endswith(" 3"), "three of two calls are no share"


def _stopped(home: Path, *, error: str | None, outcomes: tuple[str, ...], tokens: int | None) -> bool:
    """Whether a sum with such a call in it is known to the last digit."""
    attempts = tuple(Attempt("openai", "gpt-4", outcome, None, 0.1) for outcome in outcomes)
    stopped = row(at=_at("2026-11-20T10:00"), cost=None, first_token_s=None)._replace(
        usage=Usage(tokens, tokens),
        finish_reason="error" if error else "interrupted",
        error_kind=error,
        attempts=attempts,
    )
    fill(home, stopped, row(at=_at("2026-11-20T10:00"), cost="0.5"))
    return bool(_report(home)["total"]["cost"]["exact"])


@pytest.mark.parametrize(("error", "outcomes"), [(None, ()), (None, ("rate_limit",)), ("server", ("server",))])
def test_a_call_that_ended_with_nothing_under_way_has_cost_nothing(
    home: Path, error: str | None, outcomes: tuple[str, ...]
) -> None:
    assert _stopped(home, error=error, outcomes=outcomes, tokens=None)


@pytest.mark.parametrize(
    ("error", "outcomes", "tokens"),
    [(None, ("interrupted",), None), (None, ("interrupted",), 3), ("connection", ("connection",), 3)],
)
def test_a_call_that_was_cut_off_under_way_makes_a_sum_at_least(
    home: Path, error: str | None, outcomes: tuple[str, ...], tokens: int | None
) -> None:
    assert not _stopped(home, error=error, outcomes=outcomes, tokens=tokens)


def test_a_day_is_the_local_one_summer_time_included(home: Path) -> None:
    moments = ("2026-11-22T04:30", "2026-11-22T05:30", "2026-07-01T03:30", "2026-07-01T04:30")
    fill(home, *(row(at=_at(moment)) for moment in moments))
    assert [entry["day"] for entry in _report(home)["rows"]] == ["2026-07-01", "2026-11-22"]
    days = [entry["day"] for entry in _report(home, zone=_NEW_YORK)["rows"]]
    assert days == ["2026-06-30", "2026-07-01", "2026-11-21", "2026-11-22"]


def test_since_and_until_are_local_days_too(home: Path) -> None:
    fill(home, *(row(at=_at(moment)) for moment in ("2026-11-22T04:59", "2026-11-22T05:00", "2026-11-23T05:00")))
    document = _report(home, "report", "--since", "2026-11-22", "--until", "2026-11-23", zone=_NEW_YORK)
    assert document["total"]["calls"] == 1
    assert (document["since"], document["until"]) == ("2026-11-22T00:00:00-05:00", "2026-11-23T00:00:00-05:00")
    assert _report(home, "report", "--since", "2026-11-22T05:00Z", zone=_NEW_YORK)["total"]["calls"] == 2


@pytest.mark.parametrize("arguments", [("report",), ("whatif", "-t", "openai:gpt-4o")])
def test_a_time_that_ends_before_it_begins_is_exit_2(home: Path, arguments: tuple[str, ...]) -> None:
    done = run(home, "cost", *arguments, "--since", "2026-11-10", "--until", "2026-11-01")
    assert (done.returncode, "--since 2026-11-10 is not before --until 2026-11-01" in done.stderr) == (2, True)


def test_since_takes_a_duration_back_from_now(home: Path) -> None:
    now = time.time()
    fill(home, row(at=now - 3000), row(at=now - 3 * 86_400), row(at=now - 30 * 86_400))
    calls = [_report(home, "report", "--since", since)["total"]["calls"] for since in ("2h", "7d", "8w")]
    assert calls == [1, 2, 3]
    done = run(home, "cost", "report", "--since", "1m")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no calls in that time" in done.stderr


def test_rows_are_keyed_by_what_was_asked_for(home: Path) -> None:
    fill(
        home,
        row(caller=Caller("ask", "openai", "production"), cost="1"),
        row(caller=Caller("ask", "openai"), cost="2"),
        row(caller=Caller("compare", "openai", "production"), cost="3", model="gpt-4"),
    )
    by_profile = _report(home, "report", "--by", "profile")["rows"]
    assert [(entry["profile"], entry["calls"]) for entry in by_profile] == [(None, 1), ("production", 2)]
    assert set(by_profile[0]) & {"day", "model", "provider", "command"} == set()
    by_two = _report(home, "report", "--by", "command, model")["rows"]
    assert [(entry["command"], entry["model"], entry["cost"]["amount"]) for entry in by_two] == [
        ("ask", "gpt-6-luna", "3"),
        ("compare", "gpt-4", "3"),
    ]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--since", "yesterday"), "--since"),
        (("--since", "7y"), "--since"),
        (("--since", "99999w"), "--since"),
        (("--until", "2026-13-01"), "--until"),
        (("--until", "0001-01-01"), "--until"),
        (("--by", "day,colour"), "--by"),
        (("--by", ""), "--by"),
        (("--by", "day,day"), "--by"),
    ],
)
def test_a_mistyped_option_is_named_and_exits_2(home: Path, arguments: tuple[str, ...], named: str) -> None:
    done = run(home, "cost", "report", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(rf"llmswitch: error: [^\n]*{named}[^\n]*\n", done.stderr)


def test_an_option_before_the_subcommand_is_not_silently_dropped(home: Path) -> None:
    done = run(home, "cost", "--json", "report")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["kind"] == "config"


def test_a_damaged_ledger_is_one_line_and_exit_2(home: Path) -> None:
    ledger_of(home).parent.mkdir(parents=True)
    ledger_of(home).write_bytes(b"scribble" * 1000)
    done = run(home, "cost")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert str(ledger_of(home)) in done.stderr
    assert ledger_of(home).read_bytes() == b"scribble" * 1000


def test_names_from_a_vendor_cannot_steer_the_terminal(home: Path) -> None:
    fill(home, row(model="evil\x1b]0;title\x07\x1b[2J\nmodel"))
    printed = run(home, "cost").stdout + run(home, "cost", "--json").stdout
    assert "\x1b" not in printed
    assert "\x07" not in printed


def test_the_report_is_the_same_as_sqlites_own_sum(home: Path) -> None:
    fill(home, *(row(at=index * 30_000.0, cost=f"0.{index:012d}", model=f"m{index % 4}") for index in range(1, 60)))
    connection = sqlite3.connect(ledger_of(home))
    pico = connection.execute("SELECT sum(cost_pico) FROM calls").fetchone()[0]
    connection.close()
    document = _report(home)
    amounts = [Decimal(entry["cost"]["amount"]) for entry in document["rows"]]
    assert sum(amounts) == Decimal(document["total"]["cost"]["amount"]) == Decimal(pico).scaleb(-12)
    assert all("E" not in entry["cost"]["amount"] for entry in document["rows"])


def test_failed_spend_is_shown_apart_from_hedged_and_from_what_was_saved_by_batch(home: Path) -> None:
    day, caller = _at("2026-11-20T10:00"), Caller("ask", "openai")
    paid = Cost(Decimal("0.25"), "genai-prices", exact=False)
    cut = Spend("openai", "gpt-4", "truncated", Usage(8, 2, estimated=True), paid)
    half = row(at=day, cost="0.5")._replace(batch=True, saved=Cost(Decimal("0.5"), "x"))
    broken = row(at=day, cost="0.125")._replace(error_kind="malformed")
    fill(home, lost_row(caller, cut, started_at=day), lost_row(caller, cut._replace(why="hedged"), started_at=day))
    fill(home, half, broken)
    total = _report(home)["total"]
    assert (total["lost"], total["hedged"], total["failed"]) == ("0.5", "0.25", "0.375")
    assert (total["saved"], total["saved_by_cache"], total["saved_by_batch"]) == ("0.5", "0", "0.5")
    assert (total["calls"], total["errors"], total["cost"]["amount"]) == (2, 1, "1.125")


def test_tokens_by_kind_add_up(home: Path) -> None:
    day = _at("2026-11-20T10:00")
    fill(home, *(row(at=day)._replace(usage=Usage(100, 50, 30, 20, 10)) for _ in range(3)), row(at=day))
    total = _report(home)["total"]
    kinds = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
    assert [total[kind] for kind in (*kinds, "reasoning_output_tokens")] == [310, 90, 60, 155, 30]
    header = run(home, "cost").stdout.splitlines()[0]
    assert "of it cached" in header
    assert "of it reasoning" in header


def test_the_median_is_of_answered_calls_and_near_enough(home: Path) -> None:
    rows = [row(at=1e9 + index)._replace(duration_s=0.01 * 1.02**index) for index in range(401)]
    failed = [row(at=1e9)._replace(duration_s=1e-4, error_kind="server", cost=None) for _ in range(500)]
    cached = [row(at=1e9)._replace(duration_s=1e-4, cached=True) for _ in range(500)]
    batch = [row(at=1e9)._replace(duration_s=80_000, batch=True) for _ in range(500)]
    fill(home, *rows, *failed, *cached, *batch)
    total = _report(home)["total"]
    assert total["duration_p50_s"] == pytest.approx(0.01 * 1.02**200, rel=0.025)
    assert total["calls"] == 1901


@pytest.mark.parametrize("zone", ["UTC", _NEW_YORK, "IST-5:30", "NZST-12NZDT,M9.5.0,M4.1.0/3"])
def test_days_are_the_calendars_whether_the_clock_changes_or_not(home: Path, zone: str) -> None:
    start = _at("2026-10-20T00:00")
    fill(home, *(row(at=start + hour * 3600.0) for hour in range(0, 24 * 30, 5)))
    of_all = {entry["day"]: entry["calls"] for entry in _report(home, "report", "--by", "day", zone=zone)["rows"]}
    days = of_all.keys()
    alone = {  # each day by itself, within which SQLite may divide
        day: _report(home, "report", "--by", "day", "--since", day, "--until", f"{day}T23:59:59.999", zone=zone)
        for day in list(days)[::6]
    }
    assert sum(of_all.values()) == 144
    for day, found in alone.items():
        assert [(entry["day"], entry["calls"]) for entry in found["rows"]] == [(day, of_all[day])]


def test_a_narrow_terminal_shows_what_was_spent_alone(home: Path) -> None:
    fill(home, row(at=_at("2026-11-20T10:00"), cost="0.5"), row(at=_at("2026-11-21T10:00"), cost=None))
    report = cost_report(ledger_of(home), by=("provider", "model"), since=None, until=None)
    table = narrowed(report_table(report, drawn=True))
    titles = [column.title for column in table.columns]
    assert titles == ["provider", "model", "calls", "cost", "unknown price"]
    assert [getattr(cell, "text", cell) for cell in table.rows[0]] == [
        *("openai", "gpt-6-luna", "2", "at least $0.500000", "1"),
    ]
    assert table.footer == ("total", "", "2", "at least $0.500000", "1 (50%)")


def test_csv_has_a_line_a_group_and_markdown_the_totals(home: Path) -> None:
    fill(home, row(cost="0.5"), row(cost=None, provider="local", model="=cmd()"))
    lines = run(home, "cost", "report", "--by", "provider,model", "--csv").stdout.splitlines()
    assert lines[0].startswith("provider,model,calls,errors,cached,input_tokens")
    assert [line.split(",")[:3] for line in lines[1:]] == [["local", "'=cmd()", "1"], ["openai", "gpt-6-luna", "1"]]
    marked = run(home, "cost", "report", "--by", "provider", "--markdown").stdout.splitlines()
    assert marked[0].startswith("| provider | calls |")
    assert marked[-1].startswith("| total | 2 |")
    done = run(home, "cost", "report", "--csv", "--json")
    assert (done.returncode, done.stdout.count("config")) == (2, 1)


def test_the_page_has_a_chart_and_starts_nothing_of_a_models_name(home: Path) -> None:
    hostile = "<script>alert(1)</script>"
    fill(home, *(row(at=_at(f"2026-11-{day:02d}T10:00"), cost=f"{day}", model=hostile) for day in range(10, 20)))
    page = home.parent / "cost.html"
    done = run(home, "cost", "report", "--html", str(page))
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert hostile not in text
    assert "&lt;script&gt;alert(1)" in text
    assert text.count("<rect") == 10
    assert "$145" in text
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert run(home, "cost", "report", "--html", "").returncode == 2
    assert run(home, "cost", "report", "--html", "nowhere/cost.html").returncode == 2
