"""`llmswitch cache`: what the response cache holds, where it is, and emptying it."""

from __future__ import annotations

from contextlib import closing

import typer

from llmswitch.cache import CacheStats, ResponseCache
from llmswitch.cli.options import Json, Profile, Quiet, Verbose
from llmswitch.cli.shell import Shell
from llmswitch.cli.times import local
from llmswitch.paths import Paths
from llmswitch.reports.rows import UNKNOWN, Column, Table, count

__all__ = ["app"]

app = typer.Typer(help="The answers kept from earlier calls.", no_args_is_help=True, add_completion=False)


def _cache(shell: Shell, profile: str | None) -> ResponseCache:
    settings = shell.settings(profile=profile)
    shell.detail(f"the response cache is {settings.paths.responses}")
    return ResponseCache(settings.paths.responses, ttl_s=settings.integer("CACHE_TTL") or 0, wall=shell.wall)


@app.command()
def stats(profile: Profile = None, json: Json = False, verbose: Verbose = False, quiet: Quiet = False) -> None:
    """Print how many answers there are, how old and how large."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    cache = _cache(shell, profile)
    found = cache.stats()
    if json:
        shell.json(
            {
                "schema": "llmswitch/cache/1",
                "path": str(cache.folder),
                "entries": found.entries,
                "expired": found.expired,
                "bytes": found.size_bytes,
                "limit_bytes": found.limit_bytes,
                "oldest": _moment(found.oldest),
                "newest": _moment(found.newest),
                "ttl_s": cache.ttl_s,
            }
        )
    else:
        shell.table(_table(found, cache))


@app.command()
def path(verbose: Verbose = False, quiet: Quiet = False) -> None:
    """Print the cache's folder."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    shell.line(str(Paths.from_environment(shell.environ).responses))


@app.command()
def clear(profile: Profile = None, verbose: Verbose = False, quiet: Quiet = False) -> None:
    """Remove every answer; a damaged cache is replaced by an empty one."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    with closing(_cache(shell, profile)) as cache:
        removed = cache.clear()
    shell.line("removed a database that could not be read" if removed is None else _removed(removed))


@app.command()
def prune(profile: Profile = None, verbose: Verbose = False, quiet: Quiet = False) -> None:
    """Remove expired answers, and the oldest of a cache over its size limit."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    with closing(_cache(shell, profile)) as cache:
        shell.line(_removed(cache.prune()))


def _removed(number: int) -> str:
    return f"removed {count(number)} answer{'' if number == 1 else 's'}"


def _moment(epoch_s: float | None) -> str | None:
    """ISO, local with its offset, to the second."""
    moment = local(epoch_s)
    return moment.isoformat(timespec="seconds") if moment else None


def _size(number: int) -> str:
    """`812 B`, `1.4 MB`: powers of 1024, as the limit is one."""
    value, unit = float(number), "B"
    for larger in ("kB", "MB", "GB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"


def _table(found: CacheStats, cache: ResponseCache) -> Table:
    rows = (
        ("answers", count(found.entries)),
        ("of them expired", count(found.expired)),
        ("size", f"{_size(found.size_bytes)} of {_size(found.limit_bytes)}"),
        ("oldest", _moment(found.oldest) or UNKNOWN),
        ("newest", _moment(found.newest) or UNKNOWN),
        ("kept for", f"{count(cache.ttl_s)} s"),
        ("folder", str(cache.folder)),
    )
    return Table((Column("cache"), Column("")), rows)
