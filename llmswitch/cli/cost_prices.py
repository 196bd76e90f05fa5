"""`llmswitch cost prices`: what models cost, and fetching newer prices where somebody asks for that."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from llmswitch.cli.options import Json, Profile, Quiet, TrustProfile, Verbose
from llmswitch.cli.shell import Shell
from llmswitch.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from llmswitch.profiles import Settings
    from llmswitch.runs.price_update import Update

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def prices(
    model: Annotated[
        list[str] | None,
        typer.Argument(help="Targets or models; without any, what is configured and what was asked so far."),
    ] = None,
    *,
    update: Annotated[
        bool, typer.Option("--update", help="Fetch refreshed prices and keep them; nothing else ever does.")
    ] = False,
    origin: Annotated[
        str | None, typer.Option("--from", metavar="URL|FILE", help="With --update: where else to take them from.")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Put refreshed prices away: the packaged ones count.")] = False,
    profile: Profile = None,
    trust_profile: TrustProfile = False,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """What models cost, in USD per million tokens, and which list says so."""
    if update and reset:
        raise ConfigError("give --update or --reset, not both.")
    if (update or reset) and model:
        raise ConfigError("--update and --reset are for the whole list: name no model with them.")
    if origin is not None and not update:
        raise ConfigError("--from says where --update takes prices from: give both.")
    if origin == "":
        raise ConfigError("--from names neither an address nor a file.")
    shell = Shell.current(verbose=verbose, quiet=quiet)
    settings = shell.settings(profile=profile, trust_profile=trust_profile)
    if reset:
        _reset(shell, settings, json=json)
    elif update:
        _update(shell, settings, origin, json=json)
    else:
        _show(shell, settings, model or [], json=json)


def _show(shell: Shell, settings: Settings, names: list[str], *, json: bool) -> None:
    from llmswitch.pricing import load_prices
    from llmswitch.reports.prices import list_line, prices_document, prices_table
    from llmswitch.runs.prices import list_in_use, price_rows

    known = load_prices(settings)
    rows = price_rows(settings, known, names, shell.wall())
    found = list_in_use(known, shell.wall())
    if json:
        shell.json(prices_document(rows, found))
        return
    if rows:
        shell.table(prices_table(rows), narrow=prices_table(rows, narrow=True))
    else:
        shell.note("no provider is configured and nothing was asked yet: name a model, as in 'cost prices gpt-4o'.")
    if any(row.rates is None for row in rows):
        shell.note("a price that is – is unknown: LLM_PRICES can give it (docs/cost.md).")
    shell.note(list_line(found))


def _update(shell: Shell, settings: Settings, origin: str | None, *, json: bool) -> None:
    from llmswitch.keptprices import KeptPrices
    from llmswitch.pricelist import price_list
    from llmswitch.runs.price_update import default_origin, update_prices
    from llmswitch.text import one_line

    path = settings.paths.prices
    before = price_list(KeptPrices.at(path, shell.warn))
    now = datetime.fromtimestamp(shell.wall(), tz=UTC)
    made = update_prices(path, origin or default_origin(), before, now=now, warn=shell.warn)
    if json:
        shell.json({"schema": "llmswitch/prices/1", "update": _document(made)})
        return
    shell.line(f"kept {made.models:,} models of {made.providers} providers from {made.head.origin}")
    for what, names in (("new", made.new), ("gone", made.gone), ("other rates", made.changed)):
        if names:
            more = f" and {len(names) - 10} more" if len(names) > 10 else ""
            shell.line(f"{what}: {', '.join(one_line(name, 80) for name in names[:10])}{more}")
    if not (made.new or made.gone or made.changed):
        shell.line(f"nothing differs from {before.source}")
    shell.detail(f"they are in {path}")


def _document(made: Update) -> dict[str, object]:
    return {
        "fetched_at": datetime.fromtimestamp(made.head.fetched_at, tz=UTC).isoformat(),
        "origin": made.head.origin,
        "sha256": made.head.sha256,
        "providers": made.providers,
        "models": made.models,
        "new": list(made.new),
        "gone": list(made.gone),
        "changed": list(made.changed),
    }


def _reset(shell: Shell, settings: Settings, *, json: bool) -> None:
    path = settings.paths.prices
    try:
        path.unlink()
        there = True
    except FileNotFoundError:
        there = False
    except OSError as error:
        raise StorageError(f"cannot remove {path}: {error.strerror}.") from error
    if json:
        shell.json({"schema": "llmswitch/prices/1", "reset": there})
    else:
        shell.line("the packaged prices count again" if there else "the packaged prices count already")
