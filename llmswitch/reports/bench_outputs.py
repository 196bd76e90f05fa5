"""A run's files, made anew from what is on disk: while it goes on, by a process of its own, and at its end.

`python -m llmswitch.reports.bench_outputs FOLDER` does it once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO

from llmswitch.errors import LLMSwitchError, StorageError
from llmswitch.reports.bench_formats import FORMATS
from llmswitch.runs.bench.baseline import asked_otherwise, earlier_runs
from llmswitch.runs.bench.document import RunDocument
from llmswitch.runs.bench.folder import RunFolder
from llmswitch.runs.bench.rows import count_rows
from llmswitch.runs.bench.summary import Ended, summarised

__all__ = ["Refresher", "bring_up_to_date", "history_of", "is_current", "write_outputs"]

#: a run's files are as old as this at most, in seconds, or as many times what making them takes
_OLDEST_S, _TIMES = 30.0, 10.0
#: how much the process that makes them gives way to the one that measures
_NICE = 10
#: nights that a page shows
_MOST_NIGHTS = 60


def bring_up_to_date(folder: RunFolder, ended: Ended | None = None) -> RunDocument:
    """`run.json` and every file that is made from it, each replaced in one step. Raises StorageError.

    `ended` is how the run's sitting ended; without it, it still goes on, or its end is known already.
    """
    document = summarised(folder, ended)
    write_outputs(folder, document)
    # last, as it is what says that the run is complete: who is killed or out of disk before that can go on
    folder.write(document)
    return document


def write_outputs(folder: RunFolder, document: RunDocument) -> None:
    """Every file that is made from `document` and the rows."""
    history = history_of(folder, document)
    for form in FORMATS.values():
        if form.derived:
            _replace(folder.path / form.file, partial(form.write, document, folder.rows, history))


def history_of(folder: RunFolder, document: RunDocument) -> list[RunDocument]:
    """Earlier runs of the same suite, by batch where this one is, the oldest first: as many as a page shows."""
    found = (one for _, one in earlier_runs(folder.path.parent, document, lambda told: None))
    return [one for one in found if asked_otherwise(document, one) is None][-_MOST_NIGHTS:]


def is_current(folder: RunFolder, document: RunDocument) -> bool:
    """Whether `document`, as it was read, is the last word on the run, or counts every row and has its files."""
    if document["complete"]:
        return True
    there = all((folder.path / form.file).exists() for form in FORMATS.values() if form.derived)
    return there and sum(target["samples"] for target in document["targets"]) == count_rows(folder.samples)


def _replace(path: Path, write: Callable[[IO[str]], None]) -> None:
    """Have `path` written beside itself, for this user alone, and put in place in one step."""
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace", newline="") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}.") from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


class Refresher:
    """Has the files made anew now and then, while a run goes on: not in the process whose clocks measure."""

    def __init__(self, folder: RunFolder, *, clock: Callable[[], float]) -> None:
        self._folder, self._clock = folder, clock
        self._process: subprocess.Popen[bytes] | None = None
        self._began = clock()
        self._due = self._began + _OLDEST_S

    def look(self) -> None:
        """Begin where it is time, and nothing is being made."""
        now = self._clock()
        if self._process is not None:
            if self._process.poll() is None:
                return
            self._process = None
            self._due = now + max(_OLDEST_S, _TIMES * (now - self._began))
        if now >= self._due:
            self._began = now
            self._process = subprocess.Popen(  # noqa: S603  # this interpreter, this module, a folder of ours
                [sys.executable, "-I", "-m", "llmswitch.reports.bench_outputs", str(self._folder.path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def wait(self) -> None:
        """Until nothing is being made any more."""
        if self._process is not None:
            self._process.wait()


def _main(path: str) -> int:
    os.nice(_NICE)
    try:
        bring_up_to_date(RunFolder(Path(path)))
    except LLMSwitchError as error:
        sys.stderr.write(f"{error.message}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1]))
