"""The questions of one batch and what came of them: a SQLite file of the batch's own, for this user alone.

A million lines are more than a process should hold, and their texts are none of the ledger's business. What is stored
here is stored before the ledger says so, and storing it twice changes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from llmswitch.database import storage_errors
from llmswitch.errors import StorageError
from llmswitch.paths import private_file
from llmswitch.text import encodable

__all__ = ["Counts", "Failed", "Line", "Lines", "Outcome", "Settled"]

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS lines (
        number INTEGER PRIMARY KEY,
        line INTEGER NOT NULL,
        id TEXT,
        target TEXT NOT NULL,
        job INTEGER NOT NULL,
        cache_key TEXT,
        body TEXT NOT NULL,
        most_output INTEGER,
        cached INTEGER NOT NULL,
        answer TEXT,
        error TEXT
    )""",
    "CREATE UNIQUE INDEX IF NOT EXISTS lines_by_id ON lines (id, target) WHERE id IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS lines_by_job ON lines (job, number)",
)
_OPEN = "answer IS NULL AND error IS NULL"
#: lines that are read, or written, at once
_MANY = 500


def _errors(path: Path) -> AbstractContextManager[None]:
    return storage_errors(path, "the batch's lines in")


class Line(NamedTuple):
    """One question to one target. `number` counts them from 1, in the order of output; `line` is the input's, `id` the
    user's own. `job` has it, 0 where the cache had its answer; `body` is what is sent, as JSON text, `most_output` the
    tokens that its answer is capped at. `answer` is a stored answer (answers.py).
    """

    number: int
    line: int
    id: str | None
    target: str
    job: int
    cache_key: str | None
    body: str
    most_output: int | None = None
    cached: bool = False
    answer: str | None = None


class Settled(NamedTuple):
    """What came of a line, by its number: a stored answer (answers.py), which the cache had where it is `cached`, or
    an error document as JSON text."""

    number: int
    answer: str | None = None
    error: str | None = None
    cached: bool = False


class Outcome(NamedTuple):
    """A line, and what came of it; neither answer nor error is not yet."""

    number: int
    line: int
    id: str | None
    target: str
    job: int
    cache_key: str | None
    cached: bool
    answer: str | None
    error: str | None


class Failed(NamedTuple):
    """A line to be sent once more; see `Line`."""

    number: int
    job: int
    body: str
    most_output: int | None


class Counts(NamedTuple):
    """Lines by what came of them."""

    answered: int
    failed: int
    open: int


class Lines:
    """The file at `path`, made where it is missing; every method raises StorageError. For one thread at a time.

    `holds` is how many lines a batch that is noted has: a file that holds others would have its answers thrown away.
    """

    def __init__(self, path: Path, holds: int | None = None) -> None:
        self.path = path
        with _errors(path):
            private_file(path)
            # whoever makes a batch's steps may go from thread to thread
            self._connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = NORMAL")
                for statement in _SCHEMA:
                    self._connection.execute(statement)
                found = self._connection.execute("SELECT coalesce(max(number), 0) FROM lines").fetchone()[0]
                if holds not in (None, found):
                    raise StorageError(
                        f"{path} holds {found:,} lines, and the batch has {holds:,}: bring the whole file back, or "
                        "send them anew with 'llmswitch batch submit FILE --again'."
                    )
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is done in here counts together, from its end on."""
        with _errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with _errors(self.path):
                self._connection.execute("ROLLBACK")
            raise
        with _errors(self.path):
            self._connection.execute("COMMIT")

    def add(self, line: Line) -> None:
        """Keep a question."""
        with _errors(self.path):
            self._connection.execute(
                "INSERT INTO lines (number, line, id, target, job, cache_key, body, most_output, cached, answer)"
                " VALUES (?,?,?,?,?,?,?,?,?,?)",
                tuple(encodable(value) if isinstance(value, str) else value for value in line),
            )

    def line_of(self, identifier: str, target: str) -> int | None:
        """The input's line that has this id and goes to this target; None where none has."""
        with _errors(self.path):
            found = self._connection.execute(
                "SELECT line FROM lines WHERE id = ? AND target = ?", (encodable(identifier), target)
            ).fetchone()
        return None if found is None else int(found[0])

    def bodies(self, job: int) -> Iterator[str]:
        """What the job's open lines are sent as, in their order."""
        for _, body in self.waiting(job):
            yield body

    def waiting(self, job: int) -> Iterator[tuple[int, str]]:
        """Number and body of the job's open lines, in their order."""
        after = 0
        while True:
            with _errors(self.path):
                found = self._connection.execute(
                    f"SELECT number, body FROM lines WHERE job = ? AND number > ? AND {_OPEN} ORDER BY number LIMIT ?",  # noqa: S608
                    (job, after, _MANY),
                ).fetchall()
            if not found:
                return
            yield from found
            after = found[-1][0]

    def settle(self, job: int, found: Iterable[Settled]) -> int:
        """Keep what came of lines of `job`; how many of them are lines of it at all. What came first stays."""
        theirs = 0
        with _errors(self.path), self.transaction():
            for number, answer, error, cached in found:
                changed = self._connection.execute(
                    f"UPDATE lines SET answer = ?, error = ?, cached = ? WHERE number = ? AND job = ? AND {_OPEN}",  # noqa: S608
                    (answer and encodable(answer), error and encodable(error), cached, number, job),
                ).rowcount
                theirs += changed or self._has(job, number)
        return theirs

    def _has(self, job: int, number: int) -> bool:
        found = self._connection.execute("SELECT 1 FROM lines WHERE number = ? AND job = ?", (number, job))
        return found.fetchone() is not None

    def fail_open(self, job: int, error: str) -> int:
        """Give every open line of the job this error; how many they were."""
        with self.transaction():
            return self._connection.execute(
                f"UPDATE lines SET error = ? WHERE job = ? AND {_OPEN}",  # noqa: S608
                (encodable(error), job),
            ).rowcount

    def counts(self, job: int | None = None) -> Counts:
        """Of one job, or of the whole batch."""
        where, values = ("", ()) if job is None else ("WHERE job = ?", (job,))
        with _errors(self.path):
            answered, failed, every = self._connection.execute(
                f"SELECT count(answer), count(error), count(*) FROM lines {where}",  # noqa: S608
                values,
            ).fetchone()
        return Counts(answered, failed, every - answered - failed)

    def outcomes(self, job: int | None = None, *, skip: int = 0) -> Iterator[Outcome]:
        """What came of each line, in their order, of one job or of all; the first `skip` are left out."""
        after, where = 0, "" if job is None else f"AND job = {int(job)}"
        while True:
            with _errors(self.path):
                found = self._connection.execute(
                    "SELECT number, line, id, target, job, cache_key, cached, answer, error FROM lines "  # noqa: S608
                    f"WHERE number > ? {where} ORDER BY number LIMIT ? OFFSET ?",
                    (after, _MANY, skip),
                ).fetchall()
            skip = 0
            if not found:
                return
            yield from (Outcome(*row) for row in found)
            after = found[-1][0]

    def give(self, numbers: Iterable[int], job: int) -> None:
        """Lines that failed go to another job, and are open again."""
        with _errors(self.path), self.transaction():
            self._connection.executemany(
                "UPDATE lines SET job = ?, error = NULL WHERE number = ? AND answer IS NULL",
                ((job, number) for number in numbers),
            )

    def failed(self, target: str) -> Iterator[Failed]:
        """The target's lines that failed, in their order."""
        after = 0
        while True:
            with _errors(self.path):
                found = self._connection.execute(
                    """SELECT number, job, body, most_output FROM lines
                        WHERE target = ? AND number > ? AND error IS NOT NULL ORDER BY number LIMIT ?""",
                    (target, after, _MANY),
                ).fetchall()
            if not found:
                return
            yield from (Failed(*row) for row in found)
            after = found[-1][0]

    def targets(self) -> list[str]:
        """Whom lines go to, in the order of the first of them."""
        with _errors(self.path):
            found = self._connection.execute("SELECT target FROM lines GROUP BY target ORDER BY min(number)").fetchall()
        return [target for (target,) in found]
