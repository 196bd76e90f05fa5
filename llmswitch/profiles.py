"""Profiles: which file holds a value, which source wins, and what a file may decide.

A value is taken from a flag; the profile, when one was named; the process environment; `./.env`; the default.
Empty means unset. Files are read once, their variables never enter the process's own environment, and a
variable that is not in the table (variables.py) is not read at all.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from llmswitch.errors import ConfigError
from llmswitch.paths import Paths, read_regular
from llmswitch.targets import integer, number
from llmswitch.trust import TrustStore, checked_url, is_loopback
from llmswitch.types import Secret
from llmswitch.variables import Variable, variable

__all__ = [
    "PROFILE_NAME",
    "EnvFile",
    "Found",
    "Settings",
    "Source",
    "find_profile",
    "is_own",
    "list_profiles",
    "load_settings",
]

T = TypeVar("T")

PROFILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_LARGEST_FILE = 1_000_000
#: how much all `${…}` of one file may stand for, in characters: names used in names double with each line
_LARGEST_EXPANSION = 65_536
#: as dotenv has it, but linear: a name ends at the next '$', so that nothing is read over and over
_VARIABLE = r"\$\{(?P<name>[^${}:]*)(?::-(?P<default>[^}]*))?\}"


class Entry(NamedTuple):
    """One value of a file, expanded; `outside` names what it took from beyond that file, `literal` a plain value."""

    value: str
    outside: frozenset[str] = frozenset()
    literal: bool = True

    def __repr__(self) -> str:
        """Without the value, which may be a key."""
        return "Entry(***)"


class EnvFile(NamedTuple):
    """A dotenv file as it was read: `content` is the very bytes parsed, `in_tree` that it is not the user's own."""

    path: Path
    content: bytes
    entries: Mapping[str, Entry]
    in_tree: bool
    shared: bool
    bad_lines: tuple[int, ...] = ()

    def __repr__(self) -> str:
        """Without the content, which may hold keys."""
        return f"EnvFile({str(self.path)!r})"

    @property
    def literal_secrets(self) -> tuple[str, ...]:
        """Names of the secrets whose value stands in the file itself."""
        return tuple(n for n, e in self.entries.items() if (v := variable(n)) and v.secret and e.literal and e.value)


class Source(NamedTuple):
    """One place a value may come from: `label` for people, and the file behind it where there is one."""

    label: str
    entries: Mapping[str, Entry]
    file: EnvFile | None = None
    trusted: bool = True


class Found(NamedTuple):
    """A value and where it came from. `refused` says why an untrusted file may not set it, or is None."""

    name: str
    value: str
    source: Source
    refused: str | None = None

    def __repr__(self) -> str:
        """Without the value, which may be a key."""
        return f"Found({self.name!r}, ***, {self.source.label!r})"

    @property
    def where(self) -> str:
        """The flag or variable to fix, with its file."""
        if self.source.label.startswith("--"):
            return self.source.label
        return self.name if self.source.file is None else f"{self.name} in {self.source.label}"


def _expand(path: Path, pairs: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, Entry]:
    """Expand `${NAME}` and `${NAME:-default}`, from the lines above first and the environment second."""
    entries: dict[str, Entry] = {}
    room = _LARGEST_EXPANSION
    for name, raw in pairs.items():
        text, outside, end = list[str](), set[str](), 0
        for match in re.finditer(_VARIABLE, raw[: raw.rfind("}") + 1]):
            used = match["name"]
            known = entries.get(used) or Entry(environ.get(used, ""), frozenset((used,)))
            room -= len(known.value) + len(known.outside)
            if room < 0:
                raise ConfigError(f"{name} in {path} grows too long: what ${{…}} stands for in it is over 64 kB.")
            outside |= known.outside
            text += (raw[end : match.start()], known.value or match["default"] or "")
            end = match.end()
        entries[name] = Entry("".join((*text, raw[end:])).strip(), frozenset(outside), literal=not end)
    return entries


def read_env_file(path: Path, *, in_tree: bool, environ: Mapping[str, str]) -> EnvFile | None:
    """Parse `path`; None where there is no such file. Raises ConfigError where it cannot be read or expanded."""
    try:
        found = read_regular(path, _LARGEST_FILE + 1)
        if found is None:
            return None
        content, mode = found
        text = content.decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read {path}: {reason}.") from error
    if len(content) > _LARGEST_FILE:
        raise ConfigError(f"cannot read {path}: it is over 1 MB, which no profile is.")
    from dotenv.parser import parse_stream  # with logging behind it, 5 ms that only a file is worth

    bindings = list(parse_stream(io.StringIO(text)))
    pairs = {b.key: b.value or "" for b in bindings if b.key and not b.error}
    bad = tuple(b.original.line for b in bindings if b.error)
    shared = os.name == "posix" and bool(mode & 0o077)
    return EnvFile(path, content, _expand(path, pairs, environ), in_tree, shared, bad)


def is_own(path: Path, paths: Paths) -> bool:
    """Whether `path` lies in the user's own config folder, however it was reached."""
    return paths.profiles.resolve() in path.resolve().parents


def list_profiles(cwd: Path, paths: Paths) -> list[tuple[str, Path, bool]]:
    """Every profile that can be named: (name, path, in_tree), the first of each name being the one that counts."""
    found = [(p.stem, p, not is_own(p, paths)) for p in sorted((cwd / "profiles").glob("*.env"))]
    found += [(p.name.removeprefix(".env."), p, True) for p in sorted(cwd.glob(".env.*")) if p.name != ".env.example"]
    if cwd / "profiles" != paths.profiles:
        found += [(p.stem, p, False) for p in sorted(paths.profiles.glob("*.env"))]
    return [row for row in found if PROFILE_NAME.fullmatch(row[0]) and row[1].is_file()]


def find_profile(name: str, cwd: Path, paths: Paths, environ: Mapping[str, str]) -> EnvFile:
    """The file of profile `name`: `./profiles/NAME.env`, `./.env.NAME`, then the user's own."""
    if not PROFILE_NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is not a profile's name: use letters, digits, '.', '_' and '-'.")
    candidates = (cwd / "profiles" / f"{name}.env", cwd / f".env.{name}", paths.profiles / f"{name}.env")
    for path in candidates:
        file = read_env_file(path, in_tree=not is_own(path, paths), environ=environ)
        if file is not None:
            return file
    known = sorted({row[0] for row in list_profiles(cwd, paths)})
    listing = f"Known: {', '.join(known)}." if known else "None exists yet: write one with 'llmswitch init'."
    raise ConfigError(f"no profile {name!r} in ./profiles, ./.env.{name} or {paths.profiles}. {listing}")


class Settings:
    """The values of one call, each with its source. Reading a value that an untrusted file may not set raises."""

    def __init__(
        self,
        sources: tuple[Source, ...],
        *,
        profile: str | None,
        paths: Paths,
        warn: Callable[[str], None],
    ) -> None:
        self.sources = sources
        self.profile = profile
        self.paths = paths
        self.warn = warn
        self._known: dict[object, Any] = {}

    def once(self, what: object, work: Callable[[], T]) -> T:
        """What `work` gives, worked out the first time that `what` is asked for: settings never change."""
        if what not in self._known:
            self._known[what] = work()
        found: T = self._known[what]
        return found

    def find(self, name: str) -> Found | None:
        """The winning value of `name`, refused or not, without raising; None where no source has one."""
        return self.once(name, lambda: self._find(name))

    def _find(self, name: str) -> Found | None:
        row = variable(name) or Variable(name)
        found = [self._found(row, source) for source in self.sources]
        hits = [f for f in found if f is not None]
        if row.lowest and hits:
            return min(hits, key=lambda f: number(f.value, f.where, 0))
        return hits[0] if hits else None

    def _found(self, row: Variable, source: Source) -> Found | None:
        for name in (row.name, *row.aliases):
            entry = source.entries.get(name)
            if entry is not None and entry.value:
                return Found(name, entry.value, source, self._refusal(row, name, entry, source))
        return None

    def _refusal(self, row: Variable, name: str, entry: Entry, source: Source) -> str | None:
        if source.trusted or source.file is None:
            return None
        reason = None
        if entry.outside:
            reason = f"takes {', '.join(f'${{{n}}}' for n in sorted(entry.outside))} from outside that file"
        elif row.guarded or (row.decides_host and not is_loopback(entry.value)):
            reason = "decides where calls go" if row.decides_host else "decides what calls are said to cost"
        if reason is None:
            return None
        path = source.file.path
        return (
            f"{name} in {source.label} {reason}, and this working tree's file is not trusted. "
            f"Read it, then type 'llmswitch profiles trust {path}', or give --trust-profile for one call."
        )

    def get(self, name: str) -> str | None:
        """The winning value, or the default, or None. Raises ConfigError where it is refused."""
        found = self.find(name)
        if found is None:
            row = variable(name)
            return row.default if row else None
        if found.refused:
            raise ConfigError(found.refused)
        return found.value

    def where(self, name: str) -> str:
        """What to call `name` in a message: the flag or variable, with its file."""
        found = self.find(name)
        return found.where if found else name

    def secret(self, name: str) -> Secret | None:
        """A key. ConfigError where it holds what no header can carry; its text is never shown."""
        value = self.get(name)
        if value is None:
            return None
        if not value.isascii() or not value.isprintable() or " " in value:
            raise ConfigError(f"{self.where(name)} holds a space, a line break or a letter that no key has.")
        return Secret(value)

    def url(self, name: str) -> str | None:
        """An address without a closing slash. Warns where it is http:// beyond this machine."""
        value = self.get(name)
        if value is None:
            return None
        checked_url(value, self.where(name))
        if value.lower().startswith("http:") and not is_loopback(value):
            self.warn(f"{self.where(name)} is http://: key and prompt travel in the clear.")
        return value.rstrip("/")

    def number(self, name: str, low: float = 0, high: float = float("inf")) -> float | None:
        """A finite number within [low, high], or None where unset."""
        value = self.get(name)
        return None if value is None else number(value, self.where(name), low, high)

    def integer(self, name: str, low: int = 0, high: int = 2**53) -> int | None:
        """A whole number within [low, high], or None where unset."""
        value = self.get(name)
        return None if value is None else integer(value, self.where(name), low, high)

    def flag(self, name: str) -> bool:
        """A switch: true/false, yes/no, on/off, 1/0."""
        value = (self.get(name) or "").lower()
        if value in ("true", "yes", "on", "1"):
            return True
        if value in ("false", "no", "off", "0"):
            return False
        raise ConfigError(f"{self.where(name)} must be true or false, not {value!r}.")

    def seconds(self, name: str) -> float:
        """A deadline above 0."""
        value = self.number(name)
        if not value:
            raise ConfigError(f"{self.where(name)} must be a number of seconds above 0.")
        return value

    def files(self) -> Iterator[EnvFile]:
        """The files that were read."""
        return (source.file for source in self.sources if source.file is not None)


def load_settings(
    *,
    cwd: Path,
    environ: Mapping[str, str],
    flags: Mapping[str, tuple[str, str]] | None = None,
    profile: str | None = None,
    trust_profile: bool = False,
    warn: Callable[[str], None] = lambda message: None,
) -> Settings:
    """Read the sources of one call. `flags` maps a variable to (flag as typed, value); raises ConfigError."""
    paths = Paths.from_environment(environ)
    name = profile or environ.get("LLM_PROFILE") or None
    sources = [Source(flag, {var: Entry(value.strip())}) for var, (flag, value) in (flags or {}).items()]
    if name is not None:
        sources.append(_profile_source(name, cwd, paths, environ, trust_profile))
    ambient = {n: Entry(v.strip()) for n, v in environ.items() if v and variable(n)}
    sources.append(Source("the environment", ambient))
    local = read_env_file(cwd / ".env", in_tree=True, environ=environ)
    if local is not None:
        for line in local.bad_lines:
            warn(f"line {line} of ./.env cannot be read as NAME=value: left out.")
        sources.append(_file_source("./.env", local, paths, trust_profile))
    return Settings(tuple(sources), profile=name, paths=paths, warn=warn)


def _file_source(label: str, file: EnvFile, paths: Paths, trust_all: bool) -> Source:
    trusted = trust_all or not file.in_tree
    if not trusted and paths.trust.exists():
        trusted = TrustStore(paths.trust).trusts(file.path, file.content)
    known = {n: e for n, e in file.entries.items() if variable(n)}
    return Source(label, known, file, trusted)


def _profile_source(name: str, cwd: Path, paths: Paths, environ: Mapping[str, str], trust_all: bool) -> Source:
    file = find_profile(name, cwd, paths, environ)
    label = f"./{file.path.relative_to(cwd)}" if cwd in file.path.parents else str(file.path)
    if file.bad_lines:
        raise ConfigError(f"line {file.bad_lines[0]} of {label} cannot be read as NAME=value.")
    source = _file_source(label, file, paths, trust_all)
    own = paths.profiles / f"{name}.env"
    if file.in_tree and not source.trusted and own.exists():
        raise ConfigError(
            f"{label} stands before your own profile {own}, and this working tree's file is not trusted. "
            f"Read it, then type 'llmswitch profiles trust {file.path}', or give --trust-profile for one call."
        )
    return source
