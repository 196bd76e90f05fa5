"""`llmswitch cost whatif`: the traffic that was really sent, priced elsewhere."""

from __future__ import annotations

from typing import Annotated

import typer

from llmswitch.cli.cost_report import Since, Until
from llmswitch.cli.options import Json, Profile, Quiet, TrustProfile, Verbose
from llmswitch.cli.shell import Shell
from llmswitch.cli.times import span
from llmswitch.errors import ConfigError

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def whatif(
    *,
    target: Annotated[
        list[str] | None, typer.Option("--target", "-t", help="provider[:model] to price it on; repeatable.")
    ] = None,
    since: Since = None,
    until: Until = None,
    profile: Profile = None,
    trust_profile: TrustProfile = False,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """What the calls on record would cost on other targets at today's prices, and how those did in your benches."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    if not target:
        raise ConfigError("name one or more targets to price the traffic on: -t gemini -t openai:gpt-4o-mini.")
    from llmswitch.pricing import load_prices
    from llmswitch.reports.whatif import whatif_document, whatif_lines, whatif_table
    from llmswitch.runs.prices import named_keys
    from llmswitch.runs.whatif import what_if

    settings = shell.settings(profile=profile, trust_profile=trust_profile)
    prices, now = load_prices(settings), shell.wall()
    keys = [(name, key) for name in dict.fromkeys(target) for key in named_keys(settings, prices, name)]
    first, last = span(since, until, now)
    found = what_if(settings.paths.ledger, prices, keys, since=first, until=last, now=now)
    if json:
        shell.json(whatif_document(found))
        return
    if not found.traffic:
        shell.note("no answered calls on record in that time: each 'llmswitch ask' adds one.")
        return
    shell.table(whatif_table(found))
    for line in whatif_lines(found):
        shell.line(line)
