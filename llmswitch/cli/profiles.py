"""`llmswitch profiles`: which there are, what each says and where every value comes from, and which are trusted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from llmswitch.cli.options import Json, Quiet, TrustProfile, Verbose
from llmswitch.cli.shell import Shell
from llmswitch.errors import ConfigError, StorageError
from llmswitch.paths import Paths
from llmswitch.profiles import EnvFile, Found, Settings, find_profile, is_own, list_profiles, read_env_file
from llmswitch.reports.rows import Column, Table
from llmswitch.trust import TrustStore
from llmswitch.variables import VARIABLES, variable

__all__ = ["app"]

app = typer.Typer(help="List, show and trust profiles.", no_args_is_help=True, add_completion=False)


@app.command("list")
def list_(as_json: Json = False, verbose: Verbose = False, quiet: Quiet = False) -> None:
    """Every profile that can be named, and which file stands behind the name."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    paths = Paths.from_environment(shell.environ)
    store, seen, rows = TrustStore(paths.trust), set[str](), []
    for name, path, in_tree in list_profiles(shell.cwd, paths):
        file = read_env_file(path, in_tree=in_tree, environ=shell.environ)
        if file is None:
            continue
        trusted = not in_tree or store.trusts(path, file.content)
        rows.append({"name": name, "path": str(path), "trusted": trusted, "shadowed": name in seen})
        seen.add(name)
    if as_json:
        shell.json({"schema": "llmswitch/profiles/1", "profiles": rows})
    elif not rows:
        shell.note("no profiles yet: write one with 'llmswitch init', or copy one into ./profiles.")
    else:
        cells = tuple((str(r["name"]), str(r["path"]), _standing(r["trusted"], r["shadowed"])) for r in rows)
        shell.table(Table((Column("profile"), Column("file"), Column("standing")), cells))


def _standing(trusted: object, shadowed: object) -> str:
    if shadowed:
        return "hidden by the one above"
    return "trusted" if trusted else "not trusted: may not decide where calls go"


@app.command()
def show(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The profile [LLM_PROFILE, or none].")] = None,
    trust_profile: TrustProfile = False,
    as_json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Each value that is set, masked if it is secret, and the source it came from."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    settings = shell.settings(profile=name, trust_profile=trust_profile)
    found = [hit for hit in map(settings.find, _names(settings)) if hit is not None]
    rows = [
        {"name": hit.name, "value": _masked(hit), "source": hit.source.label, "refused": hit.refused} for hit in found
    ]
    set_names = {variable_row.name for hit in found if (variable_row := variable(hit.name))}
    rows += [
        {"name": row.name, "value": row.default, "source": "the default", "refused": None}
        for row in VARIABLES.values()
        if row.default is not None and row.name not in set_names
    ]
    if as_json:
        shell.json({"schema": "llmswitch/profile/1", "profile": settings.profile, "values": rows})
        return
    cells = tuple((str(r["name"]), str(r["value"]), str(r["source"])) for r in rows)
    shell.table(Table((Column("variable"), Column("value"), Column("source")), cells))
    for row in rows:
        if row["refused"]:
            shell.warn(str(row["refused"]))


def _names(settings: Settings) -> list[str]:
    """Every variable of the table that some source sets, table order first, endpoints' own after."""
    names = dict.fromkeys(VARIABLES)
    for source in settings.sources:
        names.update(dict.fromkeys(row.name for n, e in source.entries.items() if e.value and (row := variable(n))))
    return list(names)


def _masked(hit: Found) -> str:
    row = variable(hit.name)
    if row is not None and row.secret:
        return "***"
    return re.sub(r"://[^/@\s]*@", "://***@", hit.value)


@app.command()
def trust(
    name_or_path: Annotated[str, typer.Argument(metavar="NAME|PATH", help="A profile's name, or a file.")],
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Trust a working tree's file as it is now: one changed byte ends the trust."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    paths = Paths.from_environment(shell.environ)
    file = _named(name_or_path, shell, paths)
    if not file.in_tree:
        shell.note(f"{file.path} is your own: it needs no trust.")
        return
    try:
        digest = TrustStore(paths.trust).add(file.path, file.content)
    except OSError as error:
        raise StorageError(f"cannot keep the trust in {paths.trust}: {error.strerror}.") from error
    shell.note(f"trusted {file.path.absolute()} as it is now (SHA-256 {digest[:12]}…).")


def _named(name_or_path: str, shell: Shell, paths: Paths) -> EnvFile:
    path = shell.cwd / Path(name_or_path).expanduser()
    if "/" in name_or_path or path.is_file():
        file = read_env_file(path, in_tree=not is_own(path, paths), environ=shell.environ)
        if file is None:
            raise ConfigError(f"no file {name_or_path}.")
        return file
    return find_profile(name_or_path, shell.cwd, paths, shell.environ)
