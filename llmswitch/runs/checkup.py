"""What can be wrong on this machine before anybody is asked: folders, stores, profiles, packages.

Nothing is sent and nothing is changed. What settings can be wrong in is in settled.py, who answers in doctor.py.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal, NamedTuple

from llmswitch.database import MIGRATIONS
from llmswitch.errors import ConfigError
from llmswitch.paths import Paths
from llmswitch.profiles import EnvFile, list_profiles, read_env_file

__all__ = ["Finding", "Standing", "machine_findings"]

#: `wrong` is what the configuration must say otherwise, `failed` a provider that cannot be asked; a `note` is neither
Standing = Literal["ok", "note", "failed", "wrong"]

_DAMAGED = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT})
_EXTRA = re.compile(r"extra\s*==\s*['\"]([A-Za-z0-9_-]+)['\"]")


class Finding(NamedTuple):
    """What was looked at, how it stands, what there is to say of it, and what to do or to type next."""

    check: str
    standing: Standing
    said: str
    todo: str | None = None


def machine_findings(cwd: Path, paths: Paths, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Everything that needs no settings: it can be looked at even where those cannot be read."""
    yield from _packages()
    yield _folders(paths)
    yield _ledger(paths.ledger)
    yield _cache(paths.cache)
    yield from _profiles(cwd, paths, environ)


def _packages() -> Iterator[Finding]:
    """What was to be installed with llmswitch, by its own metadata. An extra that is not there is no fault."""
    from importlib.metadata import PackageNotFoundError, requires, version

    from llmswitch import __version__

    try:
        lines = requires("llmswitch") or []
    except PackageNotFoundError:
        yield Finding("packages", "note", "llmswitch runs without being installed: what it needs cannot be told")
        return

    def there(name: str) -> bool:
        try:
            return bool(version(name))
        except PackageNotFoundError:
            return False

    wanted = _wanted(lines)
    missing = [name for name in wanted.pop("", []) if not there(name)]
    if missing:
        yield Finding(
            "packages",
            "wrong",
            f"{', '.join(missing)} cannot be found",
            "type: pip install --force-reinstall llmswitch",
        )
    else:
        yield Finding("packages", "ok", f"llmswitch {__version__} with everything that it needs")
    lacking = {extra: [name for name in names if not there(name)] for extra, names in wanted.items()}
    have = ", ".join(extra for extra, names in lacking.items() if not names) or "none"
    without = ", ".join(extra for extra, names in lacking.items() if names)
    yield Finding("extras", "ok", f"{have}{f'; not installed: {without}' if without else ''}")


def _wanted(lines: Sequence[str]) -> dict[str, list[str]]:
    """The packages that each extra brings, '' for those that are always there; of what is for developers, nothing."""
    wanted: dict[str, list[str]] = {}
    for line in lines:
        name, extra = re.match(r"[A-Za-z0-9._-]+", line), _EXTRA.search(line)
        if name is not None and name[0] != "llmswitch":
            wanted.setdefault(extra[1] if extra else "", []).append(name[0])
    wanted.pop("dev", None)
    return wanted


def _folders(paths: Paths) -> Finding:
    """They are for one user alone: a profile may hold a key, and the ledger holds conversations."""
    folders = [path for path in (paths.config, paths.profiles, paths.data, paths.cache) if path.is_dir()]
    kept = [*sorted(paths.profiles.glob("*.env")), paths.trust, paths.ledger, paths.prices, paths.state]
    shared = [path for path in folders if _is_shared(path)]
    files = [path for path in kept if path.is_file() and _is_shared(path)]
    if not shared and not files:
        return Finding("folders", "ok", ", ".join(map(str, dict.fromkeys((paths.config, paths.data, paths.cache)))))
    commands = [f"chmod {mode} {' '.join(map(str, some))}" for mode, some in (("700", shared), ("600", files)) if some]
    listed = ", ".join(map(str, (*shared, *files)))
    return Finding("folders", "wrong", f"others on this machine can read {listed}", f"type: {' && '.join(commands)}")


def _is_shared(path: Path) -> bool:
    return os.name == "posix" and bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def _ledger(path: Path) -> Finding:
    """Read as it is: whoever records a call brings it to the present version."""
    if not path.exists():
        return Finding("ledger", "ok", f"none yet: the first call makes {path}")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=2.0)) as connection:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            rows = connection.execute("SELECT count(*) FROM calls").fetchone()[0] if version else 0
    except (sqlite3.Error, OSError) as error:
        damaged = getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED
        todo = f"a new one is started where it is moved away: mv {path} {path}.damaged" if damaged else _writable(path)
        return Finding("ledger", "wrong", f"{path} cannot be read: {error}", todo)
    if version > len(MIGRATIONS):
        said = f"{path} is of version {version}, from a newer llmswitch; this one knows {len(MIGRATIONS)}"
        return Finding("ledger", "wrong", said, "upgrade llmswitch, or set LLMSWITCH_HOME to another folder")
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return Finding("ledger", "wrong", f"{path} cannot be written: no call is recorded", _writable(path))
    newer = "" if version == len(MIGRATIONS) else f", which the next call makes {len(MIGRATIONS)}"
    return Finding("ledger", "ok", f"{path}: version {version}{newer}, {rows:,} row{'' if rows == 1 else 's'}")


def _writable(path: Path) -> str:
    return f"type: chmod u+rwX {path.parent} {path}; or set LLMSWITCH_HOME to another folder"


def _cache(folder: Path) -> Finding:
    """Tried with a file that has no name, where the folder is there; else by what may be made in its next parent."""
    try:
        if folder.is_dir():
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"-")
                file.flush()
            return Finding("cache", "ok", f"{folder} can be written")
        parent = next(path for path in (folder, *folder.parents) if path.exists())
        reason = None if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK) else f"{parent} takes no new folder"
    except OSError as error:
        reason = error.strerror
    if reason is None:
        return Finding("cache", "ok", f"none yet: the first answer makes {folder}")
    said = f"{folder} cannot be written: {reason}. Every question is asked and paid for anew"
    return Finding("cache", "wrong", said, "make it writable and room on its disk, or set LLMSWITCH_HOME")


def _profiles(cwd: Path, paths: Paths, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Every file that a call here could take its settings from, whoever's it is."""
    found = [(f"profile {name}", path, in_tree) for name, path, in_tree in list_profiles(cwd, paths)]
    if (cwd / ".env").is_file():
        found.append(("./.env", cwd / ".env", True))
    for check, path, in_tree in found:
        try:
            file = read_env_file(path, in_tree=in_tree, environ=environ)
        except ConfigError as error:
            yield Finding(check, "wrong", error.message)
        else:
            if file is not None:
                yield _profile(check, file)


def _profile(check: str, file: EnvFile) -> Finding:
    if file.bad_lines:
        lines = ", ".join(map(str, file.bad_lines))
        return Finding(check, "wrong", f"{file.path}: line {lines} cannot be read", "write it as NAME=value")
    if file.shared and file.literal_secrets:
        said = f"{file.path} holds {', '.join(file.literal_secrets)}, and others on this machine can read it"
        return Finding(check, "wrong", said, f"type: chmod 600 {file.path}")
    return Finding(check, "ok", str(file.path))
