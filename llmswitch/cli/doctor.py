"""`llmswitch doctor`: what is wrong on this machine and with each configured provider, and what to type next."""

from __future__ import annotations

import shutil
from typing import Annotated

import typer

from llmswitch.cli.options import Json, Profile, Quiet, TrustProfile, Verbose
from llmswitch.cli.shell import Shell
from llmswitch.errors import ConfigError
from llmswitch.targets import number, parse_target

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def doctor(
    *,
    provider: Annotated[
        list[str] | None,
        typer.Option("--provider", "-p", metavar="NAME", help="Only this provider, or target; repeatable."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Send nothing: look at this machine alone.")] = False,
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="SECONDS", help="The longest one answer may take [15].")
    ] = None,
    profile: Profile = None,
    trust_profile: TrustProfile = False,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Ask every configured provider one word, for about $0.00001 each, and say what is wrong and what to type next."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    targets = [parse_target(name, "--provider") for name in provider or ()]
    if timeout is not None and not number(timeout, "--timeout", 0):
        raise ConfigError("--timeout must be a number of seconds above 0.")
    from llmswitch.reports.doctor import doctor_document, doctor_lines, summary
    from llmswitch.runs.doctor import TIMEOUT_S, World, examine

    try:
        settings = shell.settings(profile=profile, trust_profile=trust_profile)
    except ConfigError as error:
        world = World(shell.cwd, shell.environ, error, shell.warn, shell.clock, shell.wall)
    else:
        world = World(shell.cwd, shell.environ, settings, shell.warn, shell.clock, shell.wall)
    report = examine(world, targets, send=not offline, timeout_s=TIMEOUT_S if timeout is None else float(timeout))
    if json:
        shell.json(doctor_document(report))
    else:
        width = shutil.get_terminal_size().columns if shell.decorated(shell.stdout) else None
        for line in doctor_lines(report, width=width):
            shell.line(line)
        shell.note(summary(report))
    if report.exit_code:
        raise typer.Exit(report.exit_code)
