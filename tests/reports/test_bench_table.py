"""What a run's figures, sentences and tables say, on a terminal and off it."""

from __future__ import annotations

import io
from typing import Any

import pytest

from llmswitch.reports.bench_diff import diff
from llmswitch.reports.bench_figures import figures_table
from llmswitch.reports.bench_headline import caveats, differences, headline
from llmswitch.reports.bench_history import history_table
from llmswitch.reports.bench_percentiles import percentiles_table, repeats_table
from llmswitch.reports.bench_table import tables
from llmswitch.reports.rows import UNKNOWN, Cell, Table
from llmswitch.reports.table import plain, print_table
from llmswitch.runs.bench.document import RunDocument
from tests.reports.runs import TARGETS, check, compared, failed, percentiles, row, rows_of, run, target

TWO = (target("slow", p50=2.0, passed=0.9, cost="0.2"), target("fast", p50=0.5, passed=0.91, cost="0.1"))


def column(table: Table, title: str) -> list[Cell]:
    place = [one.title for one in table.columns].index(title)
    return [cell if isinstance(cell, Cell) else Cell(cell) for cell in (row[place] for row in table.rows)]


def marked(document: RunDocument, title: str) -> list[bool]:
    return [cell.best for cell in column(figures_table(document), title)]


def test_every_figure_stands_with_its_interval_and_what_failed_with_its_kind() -> None:
    errors = {"timeout": 1, "rate_limit": 3}
    table = figures_table(run(target("claude", p50=1.2, errors=errors), target("free", cost=None, passed=None)))

    assert column(table, "pass")[0][:2] == ("95 %", "90 % to 98 %")
    assert column(table, "E2E p50")[0][:2] == ("1.20 s", "1.15 s to 1.25 s")
    assert column(table, "cost")[0][:2] == ("$0.120000", "$1.20 per 1,000")
    assert column(table, "errors")[0][:2] == ("4 of 100", "3 rate limit, 1 timeout, 3 retried")
    assert [column(table, title)[1].text for title in ("pass", "score", "cost")] == [UNKNOWN] * 3


def test_the_best_is_marked_only_where_it_is_told_from_all_others() -> None:
    apart = run(*TWO)
    assert marked(apart, "E2E p50") == [False, True]  # their intervals are apart
    assert marked(apart, "pass") == [False, False]  # they overlap
    undecided = run(*TWO, comparisons=[compared("slow", "fast", verdict="undecided")])
    assert marked(undecided, "E2E p50") == [False, False]  # the paired comparison knows better than two intervals
    assert marked(run(TWO[0]), "E2E p50") == [False]  # of one there is no best


def test_a_cost_is_ranked_by_what_a_call_costs_and_not_by_how_many_were_made() -> None:
    half = target("half", cost="0.10", samples=10)
    whole = target("whole", cost="0.20", samples=100)

    assert marked(run(half, whole), "cost") == [False, True]


def test_under_an_open_loop_latency_counts_from_when_requests_were_due() -> None:
    document = run(target("a", p50=1.0, scheduled_latency_s=percentiles(3.0, p95=5.0)))

    assert column(figures_table(document), "E2E p50")[0].text == "3.00 s"
    assert "E2E counts from when a request was due, not from when it was sent." in caveats(document)


def test_the_headline_has_the_verdict_first_and_then_who_leads() -> None:
    gate = {"verdict": "fail", "checks": [check(), check("cost:+5%", verdict="pass")], "baseline": None}
    document = run(*TWO, gate={**gate, "alpha": 0.05, "reason": "fail: 1 of 2 checks."})

    assert headline(document) == (
        "FAIL: 1 of 2 checks.",
        "Best score: not told apart are fast (0.910) and slow (0.900).",
        "Fastest: fast (500 ms).",
        "Cheapest: fast ($1.00 per 1,000 calls).",
    )


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({}, "Latency: slow is 12 % slower than fast (5 % to 19 %, p 0.003)."),
        (
            {"effect": -0.12, "low": -0.19, "high": -0.05, "verdict": "better", "p": 0.0001},
            "Latency: slow is 12 % faster than fast (5 % to 19 %, p < 0.001).",
        ),
        ({"metric": "score", "effect": -0.021}, "Score: slow scores 2.1 pp less than fast (5 pp to 19 pp, p 0.003)."),
        ({"metric": "cost", "low": None, "high": None}, "Cost: slow costs 12 % more than fast (p 0.003)."),
        (
            {"low": -0.03, "high": 0.07, "p": 0.4, "verdict": "undecided", "repeats_needed": 12},
            "Latency: slow and fast cannot be told apart (−3 % to +7 %, p 0.40). 12 more repeats would settle this.",
        ),
        (
            {"effect": None, "low": None, "high": None, "p": None, "verdict": "unknown"},
            "Latency: too few to compare fast and slow.",
        ),
    ],
)
def test_a_comparison_is_a_sentence(changed: dict[str, Any], sentence: str) -> None:
    assert differences(run(*TWO, comparisons=[compared("fast", "slow", **changed)])) == (sentence,)


def test_what_a_reader_must_know_is_said() -> None:
    client = {"loop_lag_p99_s": 0.03, "cpu_fraction": 0.91, "saturated": True, "paced": True, "in_flight": 9.0}
    document = run(
        target("claude", cost=None, samples=40, duration_s=percentiles(1.0)),
        complete=False,
        planned=100,
        warmup={"samples": 8, "errors": 0},
        client={**client, "offered_rps": 170.0, "asked_rps": 200.0},
        warnings=["{{missing}} has no value."],
    )

    assert caveats(document) == (
        "The run is not complete: 40 of 100 samples are there.",
        "This machine was the bottleneck (event loop late by 30 ms, CPU 91 %): times are partly its own, not the "
        "vendors'.",
        "Dispatch was slowed down so that this machine is not what is measured: 170 requests a second of the 200 "
        "asked for were offered.",
        "Warm-up: 8 calls, in no figure.",
        "p95 cannot be told from 40 answers, it takes 72 or more: every target.",
        "p99 cannot be told from 40 answers, it takes 368 or more: every target.",
        "Cost is unknown: claude.",
        "{{missing}} has no value.",
    )


def test_on_a_terminal_of_80_columns_no_line_is_wider_and_no_number_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    gate = {"verdict": "fail", "checks": [check()], "baseline": None, "alpha": 0.05, "reason": "x"}
    document = run(*(target(name, errors={"rate_limit": 7}) for name in TARGETS), gate=gate)
    stream = io.StringIO()

    for shown in tables(document):
        print_table(shown.table, stream, decorated=True, narrow=shown.narrow)

    text = stream.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    for number in ("95 %", "1.20 s", "2.64 s", "400 ms", "50.0", "$0.120000", "7 of 100"):
        assert text.count(number) == 4, number
    assert "✗ fail" in text


def test_as_plain_columns_a_table_is_whole() -> None:
    lines = plain(tables(run(*TWO))[0].table).splitlines()

    assert len(lines) == 3
    assert "500 ms * (480 ms to 520 ms)" in lines[2]


def test_checks_that_failed_come_first() -> None:
    checks = [check(verdict=verdict) for verdict in ("pass", "not judged", "fail", "inconclusive")]
    gate = {"verdict": "fail", "checks": checks, "baseline": None, "alpha": 0.05, "reason": ""}

    shown = column(tables(run(*TWO, gate=gate))[1].table, "verdict")

    assert [cell.text for cell in shown] == ["✗ fail", "? inconclusive", "– not judged", "✓ pass"]


def test_percentiles_that_the_sample_cannot_support_are_a_dash() -> None:
    table = percentiles_table(run(target("a", p50=1.0)))

    assert {cell.text for cell in column(table, "p99")} == {UNKNOWN}
    assert column(table, "p50")[0].text == "1.00 s"
    assert repeats_table(run(target("a"))).rows == ()


def test_a_diff_shows_figures_and_the_cases_that_changed_with_both_answers() -> None:
    before = run(target("a", p50=1.0, passed=0.9), id="before")
    after = run(target("a", p50=1.1, passed=0.8), id="after")
    a_rows = [
        row("1.1", "a", text="it\nis"),
        row("1.1", "a", 1, text="was"),
        row("1.2", "a", passed=False),
        row("1.3", "a"),
    ]
    b_rows = [
        row("1.1", "a", text="good"),
        row("1.1", "a", 1, passed=False, text="is not\nit"),
        row("1.2", "a", text="now"),
    ]

    figures, cases = diff(before, rows_of(a_rows), after, rows_of([*b_rows, failed("1.3", "a")]))

    changes = {line[1]: line[4] for line in figures.rows}
    assert changes["E2E p50"] == "+10.0 %"
    assert changes["pass"] == "−10.0 pp"
    assert cases.rows == (
        ("1.3", "a", "1/1 → 1 error", "You may return them within **30 days**.", "timeout"),
        ("1.1", "a", "2/2 → 1/2", "it", "is not"),
        ("1.2", "a", "0/1 → 1/1", "You may return them within **30 days**.", "now"),
    )


def test_a_list_of_runs_says_how_each_ended_and_what_it_cost() -> None:
    first = run(*TWO, id="one", verdict="fail", complete=False)
    second = run(target("a", cost=None), target("b", cost="0.5"), id="two", blessed=True)

    table = history_table([first, second])

    assert [cell[:2] for cell in column(table, "run")] == [("one", "not complete"), ("two", "blessed")]
    assert [cell.text for cell in column(table, "verdict")] == ["✗ fail", "✓ pass"]
    assert [cell.text for cell in column(table, "cost")] == ["$0.300000", "at least $0.500000"]
    assert column(table, "started")[0].text == "23 November 2026, 02:00 UTC"


def test_a_run_by_batch_has_no_column_of_times_and_says_why() -> None:
    nothing = dict.fromkeys(("p50", "p90", "p95", "p99"))
    untimed = [{**one, "duration_s": nothing, "adjusted_duration_s": nothing} for one in TWO]
    document = run(*untimed, batch=True)  # type: ignore[arg-type]  # two fields are others
    figures, narrow = tables(document)[0]
    assert narrow is not None
    assert [one.title for one in figures.columns][:2] == ["target", "pass"]
    for table in (figures, narrow):
        assert not any("E2E" in one.title for one in table.columns)
        assert all(len(row) == len(table.columns) for row in table.rows)
    assert caveats(document)[0] == "Asked by batch: no latency is known, and cost is at the batch rate."
    assert not any("cannot be told from" in line for line in caveats(document))
    both = history_table([document, run(*TWO)])
    assert column(both, "E2E p50")[0].text == UNKNOWN
    nights = history_table([document, document])
    assert not any("E2E" in one.title for one in nights.columns), "a page of nights by batch has no column of it"
