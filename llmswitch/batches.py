"""Batches and their jobs, in the ledger's file: what was handed to whom, how far it is, what it may still cost.

A job goes through its states in one direction, each step one transaction, so that whoever was killed is followed by
somebody who knows what was done. What is sent is noted before it is sent: a job in state `sending` may be at its
vendor, and is looked for there before it is sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple

from llmswitch.book import LedgerSession, Reservation
from llmswitch.budget import BudgetLimits
from llmswitch.database import opened, reading, storage_errors
from llmswitch.errors import ConfigError
from llmswitch.ledger import Caller, CallRow, from_pico, to_pico
from llmswitch.text import encodable

__all__ = ["STATES", "Batch", "BatchJob", "Batches"]

#: how long the budget holds what a job may cost, in seconds: a job that nobody brings home was sent all the same
_HELD_S = 400 * 86_400.0
#: dealing: lines are being given to it. prepared: nothing was sent. sending: it may have been. sent: the vendor has it.
#: ended: nothing more comes from there. stored: every line has its answer, or why there is none. done: all of it is on
#: record.
STATES = ("dealing", "prepared", "sending", "sent", "ended", "stored", "done")


class Batch(NamedTuple):
    """What was handed in at once, at `at` (epoch seconds): `lines` questions from `source`, under `profile`."""

    id: str
    at: float
    command: str
    profile: str | None
    source: str
    fingerprint: str
    lines: int


class BatchJob(NamedTuple):
    """What of a batch goes to one target in one piece, and how far it is. Times are epoch seconds; unknown is None.

    `account` is the `Call.key` it was made for, `made_at` the moment whose day its cost counts for. `way` is how it is
    asked: as the vendor's batch, `live` one by one, or not at all, because the `cache` had the answers. `bound` is what
    it may cost at most in USD. `outcome` is how it ended at the vendor, and `said` why it did not end well; `done` and
    `failed` are the vendor's counts. Of its `recorded` lines, `spent` and `saved` (by the batch rate) are the sums of
    those whose price is known, and `unpriced` the number of the others.
    """

    batch_id: str
    number: int
    target: str
    provider: str
    request_model: str
    account: str
    way: Literal["batch", "live", "cache"]
    state: str
    lines: int
    made_at: float
    bound: Decimal | None = None
    vendor_id: str | None = None
    certain: bool = True
    sent_from: float | None = None
    sent_at: float | None = None
    ended_at: float | None = None
    expires_at: float | None = None
    outcome: str | None = None
    said: str | None = None
    done: int | None = None
    failed: int | None = None
    recorded: int = 0
    spent: Decimal = Decimal(0)
    saved: Decimal = Decimal(0)
    unpriced: int = 0
    reservation: int | None = None

    @property
    def id(self) -> str:
        """What the vendor knows it by."""
        return f"{self.batch_id}-j{self.number}"


#: kept as pico-dollars
_MONEY = ("bound", "spent", "saved")
_COLUMNS = tuple(f"{name}_pico" if name in _MONEY else name for name in BatchJob._fields)
_MARKS = ", ".join("?" * len(_COLUMNS))
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM batch_jobs"  # noqa: S608  # our own columns
_PUT = f"INSERT OR REPLACE INTO batch_jobs ({', '.join(_COLUMNS)}) VALUES ({_MARKS})"  # noqa: S608
_BATCH = f"SELECT {', '.join(Batch._fields)} FROM batches"  # noqa: S608


class Batches(NamedTuple):
    """Those of the ledger at `ledger`. Every method raises StorageError; `wall` gives epoch seconds."""

    ledger: Path
    wall: Callable[[], float]

    def add(self, batch: Batch, jobs: Sequence[BatchJob], limits: BudgetLimits | None) -> list[BatchJob]:
        """Note a new batch with its jobs and, under `limits`, hold what each may cost, in one transaction.

        Returns the jobs as noted. Raises BudgetError where the limits leave no room for all of them.
        """
        with self._session() as session:
            marks = ", ".join("?" * len(batch))
            with storage_errors(self.ledger):
                session.connection.execute(f"INSERT INTO batches VALUES ({marks})", _encodable(batch))  # noqa: S608
            return _noted(session, jobs, batch, limits)

    def add_jobs(self, batch: Batch, jobs: Sequence[BatchJob], limits: BudgetLimits | None) -> list[BatchJob]:
        """Note further jobs of a batch, as `add` does."""
        with self._session() as session:
            return _noted(session, jobs, batch, limits)

    def all(self) -> list[Batch]:
        """Every batch, the oldest first."""
        with reading(self.ledger) as connection:
            return [Batch(*row) for row in connection.execute(f"{_BATCH} ORDER BY at, id")]

    def find(self, name: str) -> Batch:
        """The batch whose id is `name`, or begins with it; ConfigError where there is none, or more than one."""
        if not name:  # a script's variable that nothing set: every id begins with it
            raise ConfigError("an empty id names no batch: 'llmswitch batch status' lists them.")
        found = [batch for batch in self.all() if batch.id.startswith(name)]
        exact = [batch for batch in found if batch.id == name]
        if len(exact or found) == 1:
            return (exact or found)[0]
        if not found:
            raise ConfigError(f"there is no batch {name!r}: 'llmswitch batch status' lists them.")
        raise ConfigError(f"{name!r} is the beginning of {len(found)} batches: {', '.join(b.id for b in found[:5])}.")

    def same(self, fingerprint: str) -> Batch | None:
        """The newest batch that asked the same of the same targets; None where there is none."""
        with reading(self.ledger) as connection:
            row = connection.execute(
                f"{_BATCH} WHERE fingerprint = ? ORDER BY at DESC LIMIT 1", (fingerprint,)
            ).fetchone()
        return None if row is None else Batch(*row)

    def jobs(self, batch_id: str) -> list[BatchJob]:
        """The batch's jobs, in their order."""
        with reading(self.ledger) as connection:
            found = connection.execute(f"{_SELECT} WHERE batch_id = ? ORDER BY number", (batch_id,)).fetchall()
        return [_job(row) for row in found]

    def known(self, provider: str) -> frozenset[str]:
        """What `provider` calls every job of ours that it has or had, whichever model it is for."""
        with reading(self.ledger) as connection:
            found = connection.execute(
                "SELECT vendor_id FROM batch_jobs WHERE provider = ? AND vendor_id IS NOT NULL", (provider,)
            ).fetchall()
        return frozenset(identifier for (identifier,) in found)

    def put(self, job: BatchJob) -> None:
        """Note how far `job` is now."""
        with opened(self.ledger) as connection:
            connection.execute(_PUT, _row(job))

    def drop(self, job: BatchJob) -> None:
        """Take a job off that no line belongs to, and give back what the budget holds for it."""
        with self._session() as session:
            with storage_errors(self.ledger):
                session.connection.execute(
                    "DELETE FROM batch_jobs WHERE batch_id = ? AND number = ?", (job.batch_id, job.number)
                )
            session.record((), _held(job))

    def record(self, job: BatchJob, rows: Sequence[CallRow]) -> BatchJob:
        """Put `rows` on record and note how far `job` is, in one transaction; returns it as noted. A job that is done
        settles what the budget held for it."""
        settled = _held(job) if job.state == "done" else ()
        noted = job._replace(reservation=None) if settled else job
        with self._session() as session:
            session.record(rows, settled)
            with storage_errors(self.ledger):
                session.connection.execute(_PUT, _row(noted))
        return noted

    def forget(self, batch_id: str) -> None:
        """Take the batch and its jobs off the list, and give back what the budget holds for them."""
        with opened(self.ledger) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                "DELETE FROM reservations WHERE id IN (SELECT reservation FROM batch_jobs WHERE batch_id = ?)",
                (batch_id,),
            )
            connection.execute("DELETE FROM batches WHERE id = ?", (batch_id,))
            connection.execute("COMMIT")

    @contextmanager
    def _session(self) -> Iterator[LedgerSession]:
        """One transaction, in which the budget's reservations change with everything else."""
        with closing(LedgerSession(self.ledger, self.wall)) as session:
            session.begin()
            yield session
            session.commit()


def _noted(
    session: LedgerSession, jobs: Sequence[BatchJob], batch: Batch, limits: BudgetLimits | None
) -> list[BatchJob]:
    noted = [_reserved(session, job, batch, limits) for job in jobs]
    with storage_errors(session.path):
        session.connection.executemany(_PUT, map(_row, noted))
    return noted


def _reserved(session: LedgerSession, job: BatchJob, batch: Batch, limits: BudgetLimits | None) -> BatchJob:
    if limits is None or job.bound is None:
        return job
    who = Caller(batch.command, job.target, batch.profile)
    held = Reservation(who, job.provider, job.request_model, job.bound, job.made_at, job.made_at + _HELD_S)
    return job._replace(reservation=session.reserve(held, limits))


def _held(job: BatchJob) -> tuple[int, ...]:
    return () if job.reservation is None else (job.reservation,)


def _row(job: BatchJob) -> tuple[object, ...]:
    values = job._asdict()
    for name in _MONEY:
        values[name] = None if values[name] is None else to_pico(values[name])
    return _encodable(tuple(values.values()))


def _encodable(values: Sequence[object]) -> tuple[object, ...]:
    return tuple(encodable(value) if isinstance(value, str) else value for value in values)


def _job(row: Sequence[Any]) -> BatchJob:
    values = dict(zip(BatchJob._fields, row, strict=True))
    for name in _MONEY:
        values[name] = None if values[name] is None else from_pico(values[name])
    return BatchJob(**{**values, "certain": bool(values["certain"])})
