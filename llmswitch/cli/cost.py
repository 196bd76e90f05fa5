"""`llmswitch cost`: what was spent, what it will cost, and what switching would save.

A subcommand is one file beside this one, `cost_<name>.py`, with a `typer.Typer` called `app`, and one line in `_PARTS`.
"""

from __future__ import annotations

import typer

from llmswitch.cli.cost_budget import app as budget
from llmswitch.cli.cost_estimate import app as estimate
from llmswitch.cli.cost_prices import app as prices
from llmswitch.cli.cost_report import app as report
from llmswitch.cli.cost_report import print_report
from llmswitch.cli.cost_whatif import app as whatif
from llmswitch.cli.options import Json, Quiet, Verbose
from llmswitch.cli.shell import Shell
from llmswitch.errors import ConfigError

__all__ = ["app"]

_PARTS = (report, budget, prices, estimate, whatif)

app = typer.Typer(add_completion=False)
for _part in _PARTS:
    app.registered_commands += _part.registered_commands


@app.callback(invoke_without_command=True)
def _all(context: typer.Context, json: Json = False, verbose: Verbose = False, quiet: Quiet = False) -> None:
    """What was spent, by day, provider and model. Days are of the local time zone."""
    if context.invoked_subcommand is None:
        print_report(Shell.current(verbose=verbose, quiet=quiet), as_json=json)
    elif json or verbose or quiet:
        raise ConfigError(f"put options behind '{context.invoked_subcommand}', as in 'llmswitch cost report --json'.")
