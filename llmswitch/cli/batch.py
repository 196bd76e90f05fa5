"""`llmswitch batch`: many prompts at half the price, without watching over them.

Subcommands are files beside this one, `batch_<name>.py`, with a `typer.Typer` called `app`, and one line in `_PARTS`.
"""

from __future__ import annotations

import typer

from llmswitch.cli.batch_collect import app as collect
from llmswitch.cli.batch_status import app as status
from llmswitch.cli.batch_submit import app as submit

__all__ = ["app"]

_PARTS = (submit, status, collect)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Many prompts at the vendors' half price: submitted now, collected later, from any shell.",
)
for _part in _PARTS:
    app.registered_commands += _part.registered_commands


@app.callback()
def _all() -> None:
    pass
