"""The ledger's file held open: rows of calls that were made, and what those in flight reserve.

A reservation is what a call may cost at most. It is made in one transaction with the check that it fits the budget,
so that no two processes take the same room, and goes as the call's row comes, in one transaction again. Its lease
outlasts the call's deadline: one that lapsed belongs to a process that was killed, and whoever comes next puts it on
record as if the worst had happened, since nobody knows whether the vendor billed it.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from llmswitch.budget import BudgetLimits, Spending, check_limits
from llmswitch.database import PATIENCE_S, connected, storage_errors
from llmswitch.errors import BudgetError, StorageError
from llmswitch.ledger import Caller, CallRow, from_pico, insert_row, to_pico
from llmswitch.paths import file_identity
from llmswitch.text import encodable
from llmswitch.types import Cost, Usage
from llmswitch.worker import Worker

__all__ = ["Book", "LedgerSession", "Reservation"]

_SUMS = """SELECT coalesce(sum(pico) FILTER (WHERE day = :day), 0), coalesce(sum(pico), 0)
    FROM {} WHERE day BETWEEN :first AND :last"""
_SPENT_AND_RESERVED = f"{_SUMS.format('spending')} UNION ALL {_SUMS.format('reservations')}"
#: so many batches in a row are done without folding the log back; it is done at so many pages, SQLite's own default
_MOST_HASTY, _LOG_PAGES = 100, 1000


class Reservation(NamedTuple):
    """What a call that began at `at` may cost at most, in USD, held until `lease_until`; both are epoch seconds."""

    caller: Caller
    provider: str
    request_model: str
    amount: Decimal
    at: float
    lease_until: float


class LedgerSession:
    """The file at `path` as a worker's store; every method raises StorageError where it cannot be used.

    `wall` gives epoch seconds. A file that was deleted or replaced meanwhile is opened anew.
    """

    def __init__(self, path: Path, wall: Callable[[], float]) -> None:
        self.path = path
        self.wall = wall
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._patient = True
        self._hasty = 0
        #: in this batch, by its one day, what it and its month hold at the most: nobody else writes meanwhile
        self._sums: dict[date, tuple[Spending, Spending]] = {}

    def begin(self) -> None:
        """Take the file's write lock, waiting for other processes."""
        with storage_errors(self.path):
            if self._connection is not None and self._file != file_identity(self.path):
                self.close()
            if self._connection is None:
                self._connection = connected(self.path)
                self._file = file_identity(self.path)
                self._patient = True
            self._take(self._connection, patient=True)
            self._hasty = 0

    def begin_now(self) -> bool:
        """Take the lock of the open file if it is free. Every so often it is left to `begin`, whose `commit` may take
        the time to fold SQLite's log back into the file."""
        connection, self._hasty = self._connection, self._hasty + 1
        if connection is None or self._hasty > _MOST_HASTY:
            return False
        try:
            with storage_errors(self.path):
                if self._file != file_identity(self.path):
                    return False
                self._take(connection, patient=False)
        except StorageError:  # whoever has time meets it again, and says what it is
            if connection.in_transaction:
                self.rollback()
            return False
        return True

    def _take(self, connection: sqlite3.Connection, *, patient: bool) -> None:
        if patient != self._patient:
            connection.execute(f"PRAGMA busy_timeout = {int(PATIENCE_S * 1000) if patient else 0}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES if patient else 0}")
            self._patient = patient
        connection.execute("BEGIN IMMEDIATE")
        self._sums.clear()
        self._settle_lapsed(connection)

    def commit(self) -> None:
        """What was done counts."""
        with storage_errors(self.path):
            self.connection.execute("COMMIT")

    def rollback(self) -> None:
        """Nothing of it counts; the file is opened anew, as it may be another by then."""
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    @property
    def connection(self) -> sqlite3.Connection:
        """The open file, between `begin` and `commit`: for what is to count together with what was done here."""
        assert self._connection is not None  # noqa: S101  # there is one between `begin` and its end
        return self._connection

    def record(self, rows: Sequence[CallRow], reserved: Sequence[int]) -> None:
        """Keep `rows`, which settle what was `reserved`."""
        with storage_errors(self.path):
            for number in reserved:
                self.connection.execute("DELETE FROM reservations WHERE id = ?", (number,))
            for row in rows:
                insert_row(self.connection, row)
        cost = sum((row.cost.amount for row in rows if row.cost is not None), Decimal(0))
        for day in self._sums:  # that of the reservation is counted on: a sum that is too large is looked at again
            self._add(day, spent=cost)

    def reserve(self, reservation: Reservation, limits: BudgetLimits) -> int:
        """Hold the reservation's amount; returns its number. BudgetError where the limits leave no room for it."""
        with storage_errors(self.path):
            day = date(*time.localtime(reservation.at)[:3])
            try:
                known = day in self._sums
                check_limits(limits, day, *(self._sums[day] if known else self._summed(day)), reservation.amount)
            except BudgetError:
                if not known:
                    raise
                check_limits(limits, day, *self._summed(day), reservation.amount)
            caller = reservation.caller
            inserted = self.connection.execute(
                """INSERT INTO reservations (at, day, pico, lease_until, command, profile, target, conversation_id,
                    provider, request_model) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                (
                    reservation.at,
                    f"{day}",
                    to_pico(reservation.amount),
                    reservation.lease_until,
                    caller.command,
                    caller.profile and encodable(caller.profile),
                    encodable(caller.target),
                    caller.conversation_id,
                    reservation.provider,
                    encodable(reservation.request_model),
                ),
            )
            self._add(day, reserved=reservation.amount)
            return int(inserted.lastrowid or 0)

    def _summed(self, day: date) -> tuple[Spending, Spending]:
        """What its day and its month hold."""
        span = {"day": f"{day}", "first": f"{day:%Y-%m}-01", "last": f"{day:%Y-%m}-31"}
        spent, reserved = self.connection.execute(_SPENT_AND_RESERVED, span).fetchall()
        today, month = (Spending(from_pico(paid), from_pico(held)) for paid, held in zip(spent, reserved, strict=True))
        self._sums = {day: (today, month)}  # what is added to one day's month would be missing in another's
        return today, month

    def _add(self, day: date, *, spent: Decimal = Decimal(0), reserved: Decimal = Decimal(0)) -> None:
        today, month = self._sums[day]
        self._sums[day] = (
            Spending(today.spent + spent, today.reserved + reserved),
            Spending(month.spent + spent, month.reserved + reserved),
        )

    def shrink(self, number: int, amount: Decimal) -> None:
        """A reservation's call came to `amount` and no more; 0 gives the room back."""
        self._sums.clear()
        with storage_errors(self.path):
            if amount:
                self.connection.execute("UPDATE reservations SET pico = ? WHERE id = ?", (to_pico(amount), number))
            else:
                self.connection.execute("DELETE FROM reservations WHERE id = ?", (number,))

    def _settle_lapsed(self, connection: sqlite3.Connection) -> None:
        """Put the reservations of killed processes on record, at their upper bound."""
        now = self.wall()
        lapsed = connection.execute(
            """SELECT id, command, target, profile, conversation_id, provider, request_model, pico, at, lease_until
                FROM reservations WHERE lease_until < ?""",
            (now,),
        ).fetchall()
        for number, command, target, profile, conversation_id, provider, model, pico, at, lease_until in lapsed:
            row = CallRow(
                caller=Caller(command, target, profile, conversation_id),
                started_at=at,
                provider=provider,
                request_model=model,
                usage=Usage(),
                finish_reason="interrupted",
                duration_s=lease_until - at,
                cost=Cost(from_pico(pico), "upper bound", exact=False),
            )
            insert_row(connection, row)
            connection.execute("DELETE FROM reservations WHERE id = ?", (number,))


class Book:
    """The ledger for calls that are really made, from any task of any loop. Nothing is opened before the first call.

    `wall` gives epoch seconds. With `gather_s`, rows that settle nothing are kept back for so many seconds and then
    written together, by a thread: a run that is measured has no other disk's work on its event loop. What is kept back
    is lost with a process that is killed.
    """

    def __init__(self, path: Path, *, wall: Callable[[], float] = time.time, gather_s: float = 0.0) -> None:
        self.path = path
        self._gather_s = gather_s
        self._gathered: list[CallRow] = []
        self._timer: threading.Timer | None = None
        self._worker = Worker(LedgerSession(path, wall), name="llmswitch-ledger", fatal=(StorageError,))
        self._told: set[str] = set()

    async def record(self, rows: Sequence[CallRow], reserved: Sequence[int], warn: Callable[[str], None]) -> None:
        """Keep `rows`, which settle what was `reserved`, in one transaction.

        A ledger that cannot be written costs a warning, the same one only once, and never the answer.
        """
        if self._gather_s and not reserved:
            self._gathered.extend(rows)
            if self._timer is None:
                self._timer = threading.Timer(self._gather_s, self._write_gathered, (warn,))
                self._timer.daemon = True
                self._timer.start()
            return
        try:
            await self._worker.do(lambda session: session.record(rows, reserved))
        except StorageError as error:
            self._tell(error, warn)

    def post(self, rows: Sequence[CallRow], reserved: Sequence[int], warn: Callable[[str], None]) -> None:
        """`record` for who cannot wait; `close` does."""
        self._worker.post(lambda session: session.record(rows, reserved), failed=lambda error: self._tell(error, warn))

    async def reserve(self, reservation: Reservation, limits: BudgetLimits) -> int:
        """Hold what a call may cost, for `record` to settle; returns the reservation's number.

        Raises BudgetError where the limits leave no room for it, StorageError where the ledger cannot be written.
        Whoever is cancelled in here has reserved nothing.
        """
        return await self._worker.do(
            lambda session: session.reserve(reservation, limits),
            undo=lambda session, number: session.shrink(number, Decimal(0)),
        )

    def shrink(self, number: int, amount: Decimal) -> None:
        """A reservation's call came to `amount` USD and no more; where that cannot be kept, the lease settles it."""
        self._worker.post(lambda session: session.shrink(number, amount))

    def close(self) -> None:
        """Do what is left, and let go of the file; the next call opens it again."""
        timer = self._timer
        if timer is not None:
            timer.cancel()
            timer.join()
            timer.function(*timer.args)
        self._worker.close()

    def _write_gathered(self, warn: Callable[[str], None]) -> None:
        """Called in a thread without a loop, so that it is the worker's own thread that writes."""
        self._timer = None
        rows, self._gathered = self._gathered, []
        if rows:
            self.post(rows, (), warn)

    def _tell(self, error: Exception, warn: Callable[[str], None]) -> None:
        if str(error) not in self._told:
            self._told.add(str(error))
            warn(str(error))
