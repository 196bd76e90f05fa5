"""`llmswitch bench check`: a suite read as a run would, how many calls it takes, and about what they cost."""

from __future__ import annotations

from decimal import Decimal

from llmswitch.cli.bench_setting import Asked, read_setting
from llmswitch.cli.shell import Shell
from llmswitch.documents import cost_document
from llmswitch.reports.bench_headline import NO_LATENCY
from llmswitch.reports.rows import UNKNOWN, Column, Table, count, money
from llmswitch.runs.bench.estimate import ANSWER_TOKENS, estimates

__all__ = ["check_suite"]


def check_suite(shell: Shell, asked: Asked) -> None:
    """Print it. Raises what a run would before anything is sent."""
    setting = read_setting(shell, asked)
    suite, found = (
        setting.suite,
        estimates(setting.suite, setting.targets, setting.options, setting.services.prices, shell.wall()),
    )
    calls = sum(estimate.calls for estimate in found)
    costs = [estimate.cost for estimate in found]
    total = None if None in costs else sum((cost.amount for cost in costs if cost is not None), Decimal(0))
    if asked.as_json:
        shell.json(
            {
                "schema": "llmswitch/check/1",
                "suite": suite.name,
                "suite_path": suite.path,
                "fingerprint": suite.fingerprint,
                "cases": suite.count,
                "calls": calls,
                "estimated_cost": None if total is None else {"amount": str(total), "currency": "USD", "exact": False},
                "targets": [{**estimate._asdict(), "cost": cost_document(estimate.cost)} for estimate in found],
                "warnings": list(suite.warnings),
            }
        )
        return
    shell.line(f"{suite.path} is fine. Cases: {count(suite.count)}. Calls: {count(calls)}.")
    columns = (Column("target"), Column("model"), Column("calls", number=True), Column("cost, about", number=True))
    rows = tuple(
        (
            estimate.target,
            estimate.request_model,
            count(estimate.calls),
            UNKNOWN if estimate.cost is None else money(estimate.cost.amount, exact=False),
        )
        for estimate in found
    )
    footer = ("all", "", count(calls), UNKNOWN if total is None else money(total, exact=False))
    shell.table(Table(columns, rows, footer=footer if len(rows) > 1 else None))
    graded = " What judges cost is not in it." if setting.grading.judges else ""
    shell.note(f"the cost is for answers of {ANSWER_TOKENS} tokens, or the cap where that is less.{graded}")
    if setting.options.batch:
        shell.note(NO_LATENCY)
