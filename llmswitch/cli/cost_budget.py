"""`llmswitch cost budget | prune | set-aside`: what may still be spent, and looking after the ledger."""

from __future__ import annotations

from typing import Annotated

import typer

from llmswitch.cli.options import Json, Profile, Quiet, TrustProfile, Verbose
from llmswitch.cli.shell import Shell
from llmswitch.cli.times import duration_s
from llmswitch.reports.rows import count

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def budget(
    profile: Profile = None,
    trust_profile: TrustProfile = False,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """What may be spent, what is spent and reserved, and what the month will come to."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    from llmswitch.budget import BudgetLimits
    from llmswitch.reports.budget import budget_document, budget_lines, budget_table
    from llmswitch.runs.budget import budget_report
    from llmswitch.runs.policy import read_policy

    settings = shell.settings(profile=profile, trust_profile=trust_profile)
    policy = read_policy(settings)
    report = budget_report(settings.paths.ledger, BudgetLimits(policy.daily, policy.monthly), shell.wall())
    if json:
        shell.json(budget_document(report))
        return
    shell.table(budget_table(report))
    for line in budget_lines(report):
        shell.line(line)
    if policy.daily is None and policy.monthly is None:
        shell.note("no budget is set: LLM_BUDGET_DAILY and LLM_BUDGET_MONTHLY set one, in USD.")


@app.command()
def prune(
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="TIME", help="Rows of whole days so long ago: 400d, 52w.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; remove nothing.")] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Forget old calls one by one, and keep their daily sums. Budgets and conversations stay as they are."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    from llmswitch.paths import Paths
    from llmswitch.runs.forgetting import forget, forgettable

    before = shell.wall() - duration_s(older_than, "--older-than")
    ledger = Paths.from_environment(shell.environ).ledger
    found = forgettable(ledger, before)
    if found.rows and not dry_run:
        found = forget(ledger, before)
    would = "would be " if dry_run else ""
    shell.line(f"{count(found.rows)} rows, {count(found.days)} days: {would}forgotten, the daily sums {would}kept.")


@app.command("set-aside")
def aside(verbose: Verbose = False, quiet: Quiet = False) -> None:
    """Move a damaged ledger away under another name, so that a new one is begun. One that is whole stays."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    import time

    from llmswitch.database import is_damaged, set_aside
    from llmswitch.errors import ConfigError
    from llmswitch.paths import Paths

    ledger = Paths.from_environment(shell.environ).ledger
    if not is_damaged(ledger):
        raise ConfigError(f"the ledger {ledger} {'is whole' if ledger.exists() else 'does not exist'}: it stays.")
    moved = set_aside(ledger, time.strftime("%Y%m%d-%H%M%S", time.localtime(shell.wall())))
    shell.line(f"{moved}")
    shell.warn("a new ledger begins with nothing spent: budgets count from now on. Nothing was deleted.")
