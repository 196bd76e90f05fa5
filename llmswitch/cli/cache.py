"""`llmswitch cache`: what the response cache holds, where it is, and emptying it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import typer

from llmswitch.cache import CacheStats, ResponseCache
from llmswitch.cli.options import Json, Profile, Quiet, Verbose
from llmswitch.cli.shell import Shell
from llmswitch.cli.times import local
from llmswitch.paths import Paths
from llmswitch.redis_cache import RedisCache, redis_cache
from llmswitch.reports.rows import UNKNOWN, Column, Table, count

__all__ = ["app"]

app = typer.Typer(help="The answers kept from earlier calls.", no_args_is_help=True, add_completion=False)


class _Caches(NamedTuple):
    """The one on this machine, and with REDIS_URL the one that a team shares."""

    local: ResponseCache
    shared: RedisCache | None


@contextmanager
def _caches(shell: Shell, profile: str | None) -> Iterator[_Caches]:
    settings = shell.settings(profile=profile)
    ttl = settings.integer("CACHE_TTL") or 0
    shell.detail(f"the response cache is {settings.paths.responses}")
    with closing(ResponseCache(settings.paths.responses, ttl_s=ttl, wall=shell.wall)) as local:
        shared = redis_cache(settings, ttl_s=ttl, wall=shell.wall)
        if shared is None:
            yield _Caches(local, None)
            return
        shell.detail(f"answers are shared in Redis at {shared.place}")
        with closing(shared):
            yield _Caches(local, shared)


@app.command()
def stats(profile: Profile = None, json: Json = False, verbose: Verbose = False, quiet: Quiet = False) -> None:
    """Print how many answers there are, how old and how large."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    with _caches(shell, profile) as caches:
        found = caches.local.stats()
        shared = caches.shared.stats() if caches.shared else None
    if json:
        shell.json(_document(found, shared, caches))
    else:
        shell.table(_table(found, shared, caches))


@app.command()
def path(verbose: Verbose = False, quiet: Quiet = False) -> None:
    """Print the cache's folder."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    shell.line(str(Paths.from_environment(shell.environ).responses))


@app.command()
def clear(profile: Profile = None, verbose: Verbose = False, quiet: Quiet = False) -> None:
    """Remove every answer, with REDIS_URL the shared ones too; a damaged cache is replaced by an empty one."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    with _caches(shell, profile) as caches:
        removed = caches.local.clear()
        shell.line("removed a database that could not be read" if removed is None else _removed(removed))
        if caches.shared:
            shell.line(f"{_removed(caches.shared.clear())} from Redis at {caches.shared.place}")


@app.command()
def prune(profile: Profile = None, verbose: Verbose = False, quiet: Quiet = False) -> None:
    """Remove expired answers, and the oldest of a cache over its size limit; Redis does so by itself."""
    shell = Shell.current(verbose=verbose, quiet=quiet)
    with _caches(shell, profile) as caches:
        shell.line(_removed(caches.local.prune()))


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


def _document(found: CacheStats, shared: CacheStats | None, caches: _Caches) -> dict[str, Any]:
    redis = {"place": caches.shared.place, **_counts(shared)} if caches.shared and shared else None
    return {
        "schema": "llmswitch/cache/1",
        "path": str(caches.local.folder),
        **_counts(found),
        "expired": found.expired,
        "limit_bytes": found.limit_bytes,
        "ttl_s": caches.local.ttl_s,
        "redis": redis,
    }


def _counts(found: CacheStats) -> dict[str, Any]:
    return {
        "entries": found.entries,
        "bytes": found.size_bytes,
        "oldest": _moment(found.oldest),
        "newest": _moment(found.newest),
    }


def _table(found: CacheStats, shared: CacheStats | None, caches: _Caches) -> Table:
    limit = "" if found.limit_bytes is None else f" of {_size(found.limit_bytes)}"
    rows = [
        ("answers", count(found.entries)),
        ("of them expired", count(found.expired)),
        ("size", f"{_size(found.size_bytes)}{limit}"),
        ("oldest", _moment(found.oldest) or UNKNOWN),
        ("newest", _moment(found.newest) or UNKNOWN),
        ("kept for", f"{count(caches.local.ttl_s)} s"),
        ("folder", str(caches.local.folder)),
    ]
    if caches.shared and shared:
        rows += [
            ("answers in Redis", count(shared.entries)),
            ("size there", _size(shared.size_bytes)),
            ("oldest there", _moment(shared.oldest) or UNKNOWN),
            ("newest there", _moment(shared.newest) or UNKNOWN),
            ("Redis", caches.shared.place),
        ]
    return Table((Column("cache"), Column("")), tuple(rows))
