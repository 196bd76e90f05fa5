"""promptfoo itself, from npm: what it asks for a suite, and what it says of each answer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

__all__ = ["VERSION", "Graded", "Promptfoo", "missing"]

#: the one place where the version stands whose verdicts are ours
VERSION = "0.121.20"
#: of what promptfoo leaves to choose, this is what `is-sql` needs, and its database (a file of this platform's own)
_SQL = "node-sql-parser@5.4.0"
_DATABASE = "0.5.29"
_PLATFORM = "const p=process; p.stdout.write(`${p.platform}-${p.arch}${p.platform === 'linux' ? '-gnu' : ''}`)"
#: seconds
_INSTALL, _RUN = 540, 120
_GUARD = Path(__file__).with_name("loopback.cjs")


def missing() -> str | None:
    """Why promptfoo cannot be run here; None where it can."""
    absent = [program for program in ("node", "npm") if shutil.which(program) is None]
    return f"{' and '.join(absent)} not installed" if absent else None


class Graded(NamedTuple):
    """An answer and what was found of it. `passed` and `score` are None where nothing could be judged.

    `asserted` holds (type, passed, score) of each assertion at the top of a test, in its order.
    """

    target: str
    prompt: str
    text: str
    passed: bool | None
    score: float | None
    asserted: tuple[tuple[str, bool, float], ...]


@dataclass(frozen=True)
class Promptfoo:
    """An installed promptfoo. `folder` is where its node_modules are, `home` where it may write."""

    folder: Path
    home: Path

    def install(self) -> None:
        """From npm, by name, without any script of any package; nothing where it is there already. Raises
        CalledProcessError, TimeoutExpired."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "install.lock"):
            if self._installed():
                return
            (self.folder / "package.json").write_text('{"private": true}\n')
            platform = subprocess.run(["node", "-e", _PLATFORM], capture_output=True, text=True, check=True).stdout
            quiet = ("--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error", "--ignore-scripts")
            # two thirds of its packages are for vendors and red teams, and optional
            smaller = ("--omit=optional", "--omit=peer", "--omit=dev")
            database = (f"libsql@{_DATABASE}", f"@libsql/{platform}@{_DATABASE}")
            command = ["npm", "install", *quiet, *smaller, f"promptfoo@{VERSION}", _SQL, *database]
            subprocess.run(command, cwd=self.folder, stdin=subprocess.DEVNULL, timeout=_INSTALL, check=True)

    def _installed(self) -> bool:
        try:
            found = json.loads((self._package / "package.json").read_text())["version"]
        except FileNotFoundError:
            return False
        return bool(found == VERSION)

    @property
    def _package(self) -> Path:
        return self.folder / "node_modules" / "promptfoo"

    def run(self, suite: Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """`promptfoo eval` of a suite, with nothing of this process's environment but what it cannot do without."""
        own = self.home / suite.name
        own.mkdir(parents=True, exist_ok=True)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(own),
            "PROMPTFOO_CONFIG_DIR": str(own / "config"),
            "PROMPTFOO_DISABLE_TELEMETRY": "1",
            "PROMPTFOO_DISABLE_UPDATE": "1",
            "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1",
            # it tells its makers that it may tell them nothing: so no address but this machine's is let through
            "NODE_OPTIONS": f"--require {_GUARD}",
            **environ,
        }
        quiet = ("--no-cache", "--no-table", "--no-progress-bar", "--no-write", "--max-concurrency", "8")
        main = self._package / "dist" / "src" / "main.js"
        return subprocess.run(
            ["node", str(main), "eval", "-c", str(suite), "-o", str(own / "out.json"), *quiet],
            cwd=own,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_RUN,
            check=False,
        )

    def graded(self, suite: Path, environ: Mapping[str, str]) -> list[Graded]:
        """What promptfoo found of every answer."""
        done = self.run(suite, environ)
        out = self.home / suite.name / "out.json"
        assert out.exists(), f"promptfoo did not take {suite.name}:\n{done.stdout}\n{done.stderr}"
        return [_graded(row) for row in json.loads(out.read_text())["results"]["results"]]


def _graded(row: Mapping[str, Any]) -> Graded:
    provider = row["provider"].get("label") or row["provider"]["id"]
    text = str((row.get("response") or {}).get("output"))
    failed = row["failureReason"] == 2
    found = (row.get("gradingResult") or {}).get("componentResults") or ()
    passed, score = (None, None) if failed else (row["success"], float(row["score"]))
    return Graded(provider, row["prompt"]["raw"], text, passed, score, () if failed else tuple(_top(found)))


def _top(found: Sequence[Mapping[str, Any]]) -> list[tuple[str, bool, float]]:
    """Those that stand at the top: what is in a set follows the set itself."""
    top, place = [], 0
    while place < len(found):
        one = found[place]
        members = (one.get("metadata") or {}).get("assertionSet")
        kind = "assert-set" if members else one["assertion"]["type"]
        top.append((kind, one["pass"], float(one["score"])))
        place += 1 + (members["assertionCount"] if members else 0)
    return top


if __name__ == "__main__":
    # what `.ci/run` starts at its beginning, so that the tests find it installed: FOLDER
    Promptfoo(Path(sys.argv[1]), Path(sys.argv[1])).install()
