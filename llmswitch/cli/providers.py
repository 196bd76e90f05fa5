"""`llmswitch providers`: the vendors side by side, who is left alone because it failed, and asking it all the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from llmswitch.cli.options import Json, Profile, Quiet, TrustProfile, Verbose
from llmswitch.cli.shell import Shell
from llmswitch.errors import ConfigError
from llmswitch.health import Health, Status
from llmswitch.profiles import Settings
from llmswitch.providers import find_vendor
from llmswitch.reports.providers import health_table, narrow_table, providers_document, providers_table
from llmswitch.runs.providers import compared, provider_rows

__all__ = ["app"]

T = TypeVar("T")

app = typer.Typer(add_completion=False)


@app.command()
def providers(
    *,
    health: Annotated[
        bool, typer.Option("--health", help="Also how each target that was asked of late fares.")
    ] = False,
    reset: Annotated[
        str | None,
        typer.Option("--reset", metavar="NAME", help="Ask a provider, or a target, again that is left alone."),
    ] = None,
    profile: Profile = None,
    trust_profile: TrustProfile = False,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """The vendors side by side: what they cost and take, how they fare on this machine, and what they still need."""
    if health and reset is not None:
        raise ConfigError("give --health or --reset, not both.")
    shell = Shell.current(verbose=verbose, quiet=quiet)
    settings = shell.settings(profile=profile, trust_profile=trust_profile)
    if reset is not None:
        _reset(shell, settings, reset, json=json)
        return
    rows = provider_rows(settings)
    statuses = _asked(shell, settings, Health.statuses) if health else _known(shell, settings)
    found = compared(rows, settings, statuses, now=shell.wall(), warn=shell.warn)
    if json:
        shell.json(providers_document(found, statuses if health else None))
        return
    shell.table(providers_table(found), narrow=narrow_table(found))
    for row in rows:
        if row.problem is not None:
            shell.detail(f"{row.name}: {row.problem}")
    if not health:
        return
    if statuses:
        shell.line()
        shell.table(health_table(statuses))
    else:
        shell.note("no target was asked of late.")


def _known(shell: Shell, settings: Settings) -> list[Status]:
    """How the targets fare, where anybody keeps that: nothing is made to find out that it is empty."""
    if settings.find("REDIS_URL") is None and not settings.paths.state.exists():
        return []
    try:
        return _asked(shell, settings, Health.statuses)
    except ConfigError as error:  # the table says as much without it
        shell.warn(error.message)
        return []


def _reset(shell: Shell, settings: Settings, name: str, *, json: bool) -> None:
    provider, mark, model = name.partition(":")
    named = f"{find_vendor(provider, settings).key}{mark}{model}"

    async def reset(health: Health) -> list[str]:
        keys = [status.key for status in await health.statuses() if _names(named, status)]
        for key in keys:
            await health.reset(key)
        return keys

    keys = _asked(shell, settings, reset)
    if json:
        shell.json({"schema": "llmswitch/providers/1", "reset": keys})
        return
    for key in keys:
        shell.line(f"{key} is asked again")
    if not keys:
        shell.note(f"nothing is known of {name}: it is asked as ever.")


def _names(named: str, status: Status) -> bool:
    """Whether a provider, provider:model, or a target as it is shown stands for it."""
    return status.key == named or status.key.startswith((f"{named}:", f"{named}@"))


def _asked(shell: Shell, settings: Settings, work: Callable[[Health], Awaitable[T]]) -> T:
    """`work` with the health that the calls of these settings share."""
    import asyncio

    from llmswitch.shared_state import open_state
    from llmswitch.state import State
    from llmswitch.worker import Worker

    url = settings.secret("REDIS_URL")
    state = open_state(
        settings.paths.state,
        redis_url=url.reveal() if url else None,
        namespace=settings.get("CACHE_NAMESPACE"),
        warn=shell.warn,
        wall=shell.wall,
    )
    worker: Worker[State] = Worker(state, name="llmswitch-state")

    async def run() -> T:
        return await work(Health(worker, shell.wall))

    try:
        return asyncio.run(run())
    finally:
        worker.close()
