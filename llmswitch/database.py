"""Opening the SQLite file that holds ledger and conversations, and bringing it to the present version.

Migrations are numbered by their place and only ever appended; SQLite's `user_version` says how many a file has
had. Many processes may open a fresh file at once: one migrates, the rest wait for it. A file that is up to date
is opened without a write lock. The file is 0600 in a 0700 folder, and SQLite gives its -wal and -shm the same mode.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llmswitch.errors import StorageError
from llmswitch.paths import private_folder

__all__ = [
    "MIGRATIONS",
    "PATIENCE_S",
    "connected",
    "is_damaged",
    "opened",
    "reading",
    "set_aside",
    "storage_errors",
]

#: what the file is called, to whoever cannot use it
_LEDGER = "the ledger"

#: how long one process waits for another's lock, in seconds
PATIENCE_S = 10.0

#: Money is whole pico-dollars (1e-12 USD), so that SQL sums are exact; tokens and money are NULL where unknown.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE calls (
            id INTEGER PRIMARY KEY,
            started_at REAL NOT NULL,
            command TEXT NOT NULL,
            profile TEXT,
            target TEXT NOT NULL,
            provider TEXT NOT NULL,
            request_model TEXT,
            response_model TEXT,
            response_id TEXT,
            request_id TEXT,
            input_tokens INTEGER,
            output_tokens INTEGER,
            cache_read_input_tokens INTEGER,
            cache_creation_input_tokens INTEGER,
            cache_creation_1h_input_tokens INTEGER,
            reasoning_output_tokens INTEGER,
            usage_estimated INTEGER NOT NULL,
            cost_pico INTEGER,
            cost_exact INTEGER,
            cost_source TEXT,
            saved_pico INTEGER,
            saved_exact INTEGER,
            time_to_first_token_s REAL,
            itl_s REAL,
            duration_s REAL NOT NULL,
            attempts TEXT NOT NULL,
            finish_reason TEXT NOT NULL,
            error_kind TEXT,
            cached INTEGER NOT NULL,
            conversation_id TEXT
        )""",
        "CREATE INDEX calls_by_time ON calls (started_at)",
        "CREATE INDEX calls_by_conversation ON calls (conversation_id) WHERE conversation_id IS NOT NULL",
        """CREATE TABLE conversations (
            id TEXT PRIMARY KEY,
            started_at REAL NOT NULL,
            updated_at REAL NOT NULL
        )""",
        """CREATE TABLE turns (
            id INTEGER PRIMARY KEY,
            conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
            at REAL NOT NULL,
            prompt TEXT NOT NULL,
            answer TEXT NOT NULL,
            system TEXT,
            target TEXT NOT NULL,
            call_id INTEGER REFERENCES calls (id) ON DELETE SET NULL
        )""",
        "CREATE INDEX turns_by_conversation ON turns (conversation_id)",
        "CREATE INDEX turns_by_call ON turns (call_id) WHERE call_id IS NOT NULL",
        "CREATE TABLE attachments (sha256 TEXT PRIMARY KEY, data BLOB NOT NULL)",
        """CREATE TABLE turn_attachments (
            turn_id INTEGER NOT NULL REFERENCES turns (id) ON DELETE CASCADE,
            position INTEGER NOT NULL,
            sha256 TEXT NOT NULL REFERENCES attachments (sha256),
            media_type TEXT NOT NULL,
            name TEXT NOT NULL,
            PRIMARY KEY (turn_id, position)
        )""",
        "CREATE INDEX turn_attachments_by_content ON turn_attachments (sha256)",
    ),
    (
        # NULL for a call; else why the attempt whose spend this row is gave no answer: it is no call of its own
        "ALTER TABLE calls ADD COLUMN lost TEXT",
        # what calls in flight may cost at most; a number is never given twice
        """CREATE TABLE reservations (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            at REAL NOT NULL,
            day TEXT NOT NULL,
            pico INTEGER NOT NULL,
            lease_until REAL NOT NULL,
            command TEXT NOT NULL,
            profile TEXT,
            target TEXT NOT NULL,
            conversation_id TEXT,
            provider TEXT NOT NULL,
            request_model TEXT NOT NULL
        )""",
        # the sum of each local day, so that a budget is checked in microseconds however many calls there are
        "CREATE TABLE spending (day TEXT PRIMARY KEY, pico INTEGER NOT NULL) WITHOUT ROWID",
        """INSERT INTO spending SELECT date(started_at, 'unixepoch', 'localtime'), sum(cost_pico) FROM calls
            WHERE cost_pico > 0 AND date(started_at, 'unixepoch', 'localtime') IS NOT NULL GROUP BY 1""",
        """CREATE TRIGGER calls_are_spending AFTER INSERT ON calls WHEN NEW.cost_pico > 0 BEGIN
            INSERT INTO spending VALUES (date(NEW.started_at, 'unixepoch', 'localtime'), NEW.cost_pico)
                ON CONFLICT (day) DO UPDATE SET pico = pico + excluded.pico;
        END""",
    ),
    (
        # how it was bought, which decides the rate: at the vendor's batch rate, and in which tier (NULL: the usual one)
        "ALTER TABLE calls ADD COLUMN batch INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE calls ADD COLUMN service_tier TEXT",
        # what kind of task the caller said that it is
        "ALTER TABLE calls ADD COLUMN task TEXT",
        # the sums of rows that were forgotten: one row a local day and whatever a report groups by
        """CREATE TABLE daily (
            day TEXT NOT NULL,
            provider TEXT NOT NULL,
            request_model TEXT,
            profile TEXT,
            command TEXT NOT NULL,
            calls INTEGER NOT NULL,
            errors INTEGER NOT NULL,
            cached INTEGER NOT NULL,
            input_tokens INTEGER,
            output_tokens INTEGER,
            cache_read_input_tokens INTEGER,
            cache_creation_input_tokens INTEGER,
            reasoning_output_tokens INTEGER,
            cost_pico INTEGER,
            priced INTEGER NOT NULL,
            exact INTEGER,
            unknown INTEGER NOT NULL,
            saved_by_cache_pico INTEGER NOT NULL,
            saved_by_batch_pico INTEGER NOT NULL,
            lost_pico INTEGER NOT NULL,
            hedged_pico INTEGER NOT NULL,
            failed_pico INTEGER NOT NULL
        )""",
        "CREATE INDEX daily_by_day ON daily (day)",
        # what benches found of a target, task by task; task '' is the whole suite. `passed` of `judged` samples, and
        # the interval of that share; tokens and their samples are of prompts that all targets of the run answered
        """CREATE TABLE evidence (
            run_id TEXT NOT NULL,
            path TEXT NOT NULL,
            suite TEXT NOT NULL,
            finished_at REAL NOT NULL,
            target TEXT NOT NULL,
            provider TEXT NOT NULL,
            request_model TEXT NOT NULL,
            task TEXT NOT NULL,
            cases INTEGER NOT NULL,
            judged INTEGER NOT NULL,
            passed INTEGER NOT NULL,
            low REAL NOT NULL,
            high REAL NOT NULL,
            duration_p50_s REAL,
            output_tokens_per_s REAL,
            time_to_first_token_s REAL,
            cost_pico INTEGER,
            samples INTEGER NOT NULL,
            input_tokens INTEGER,
            output_tokens INTEGER,
            counted INTEGER NOT NULL,
            PRIMARY KEY (run_id, target, task)
        ) WITHOUT ROWID""",
        "CREATE INDEX evidence_by_task ON evidence (task, finished_at)",
    ),
    (
        # many prompts that were handed in at once; their texts are in a file of the batch's own. `fingerprint` is the
        # SHA-256 of what was asked and of whom, so that the same command again is known for what it is
        """CREATE TABLE batches (
            id TEXT PRIMARY KEY,
            at REAL NOT NULL,
            command TEXT NOT NULL,
            profile TEXT,
            source TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            lines INTEGER NOT NULL
        ) WITHOUT ROWID""",
        "CREATE INDEX batches_by_fingerprint ON batches (fingerprint)",
        # what of a batch goes to one vendor in one piece; 0 is what the cache answered. `recorded` of its lines, in
        # their order, are in `calls`; `reservation` is what the budget holds for it
        """CREATE TABLE batch_jobs (
            batch_id TEXT NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
            number INTEGER NOT NULL,
            target TEXT NOT NULL,
            provider TEXT NOT NULL,
            request_model TEXT NOT NULL,
            account TEXT NOT NULL,
            way TEXT NOT NULL,
            state TEXT NOT NULL,
            lines INTEGER NOT NULL,
            made_at REAL NOT NULL,
            bound_pico INTEGER,
            vendor_id TEXT,
            certain INTEGER NOT NULL,
            sent_from REAL,
            sent_at REAL,
            ended_at REAL,
            expires_at REAL,
            outcome TEXT,
            said TEXT,
            done INTEGER,
            failed INTEGER,
            recorded INTEGER NOT NULL,
            spent_pico INTEGER NOT NULL,
            saved_pico INTEGER NOT NULL,
            unpriced INTEGER NOT NULL,
            reservation INTEGER,
            PRIMARY KEY (batch_id, number)
        ) WITHOUT ROWID""",
    ),
)


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to the file at `path`, made and migrated where needed; what is not committed is rolled back.

    Statements commit one by one unless the caller begins a transaction. Raises StorageError for every failure.
    """
    with storage_errors(path):
        connection = connected(path)
        try:
            yield connection
        finally:
            connection.close()


@contextmanager
def storage_errors(path: Path, what: str = _LEDGER) -> Iterator[None]:
    """Raise StorageError, which says what to do, for every failure of the file at `path`, which is `what`."""
    try:
        yield
    # the last two are what a damaged table's columns and values make whoever reads them stumble over
    except (sqlite3.Error, OSError, ArithmeticError, ValueError, LookupError, TypeError) as error:
        raise StorageError(_explained(path, error, what)) from error


def connected(path: Path) -> sqlite3.Connection:
    """A connection as `opened` gives it, for whoever keeps it open; raises what `storage_errors` explains."""
    connection = _connect(path)
    try:
        # in WAL mode a power cut can then cost the newest rows and never the file; FULL would sync every call
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        _migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """As `opened`, but a file that does not exist reads as an empty one and is not made.

    A byte that is no text, in a file that was damaged, reads as U+FFFD: one bad name does not hide all sums.
    """
    try:
        missing = not path.exists()
    except OSError as error:
        raise StorageError(_explained(path, error)) from error
    if not missing:
        with opened(path) as connection:
            connection.text_factory = _text
            yield connection
        return
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        _migrate(connection, path)
        yield connection
    finally:
        connection.close()


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def is_damaged(path: Path) -> bool:
    """Whether the file at `path` is no ledger that can be read whole: SQLite's own check, which reads all of it, and
    whether it has the tables and columns of its version.

    A ledger of a newer version is none that is damaged. Raises StorageError where it cannot be looked at.
    """
    if not path.exists():
        return False
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=PATIENCE_S)
        try:
            connection.text_factory = _text
            sound = connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
            return not (sound and _has_its_columns(connection))
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return True
        raise StorageError(_explained(path, error)) from error
    except UnicodeDecodeError:  # what the check complains of is quoted from the file
        return True


def _has_its_columns(connection: sqlite3.Connection) -> bool:
    """Whether a file of its version begins as this one did; of a newer version nobody here can tell."""
    columns = (
        "SELECT one.name, of.name FROM sqlite_master AS one, pragma_table_info(one.name) AS of WHERE one.type = 'table'"
    )
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    found = set(connection.execute(columns))
    if version > len(MIGRATIONS):
        return True
    if version <= 0:  # before the first migration there is nothing in it
        return version == 0 and not found
    model = sqlite3.connect(":memory:")
    try:
        for statement in (statement for migration in MIGRATIONS[:version] for statement in migration):
            model.execute(statement)
        return found >= set(model.execute(columns))
    finally:
        model.close()


def set_aside(path: Path, stamp: str) -> Path:
    """Give the file, and what SQLite keeps beside it, another name that has `stamp` in it; returns the file's.

    Raises StorageError where that cannot be.
    """
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    try:
        if aside.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(aside))
        os.rename(path, aside)
        for ending in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.rename(f"{path}{ending}", f"{aside}{ending}")
    except OSError as error:
        raise StorageError(f"cannot move {path} to {aside.name}: {error.strerror}.") from error
    return aside


def _connect(path: Path) -> sqlite3.Connection:
    if not path.exists():
        private_folder(path.parent)
        # Made before SQLite opens it, whose own mode would be the umask's. Another process may be quicker; its file
        # is not opened here, since closing a second descriptor would drop SQLite's locks on it.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    # who keeps it open may use it in one thread after another
    return sqlite3.connect(path, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    if _version(connection, path) == len(MIGRATIONS):
        return
    _enter_wal(connection)
    connection.execute("BEGIN IMMEDIATE")
    for number in range(_version(connection, path), len(MIGRATIONS)):
        for statement in MIGRATIONS[number]:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(MIGRATIONS):
        raise StorageError(
            f"the ledger {path} was written by a newer llmswitch (version {version}, this one knows "
            f"{len(MIGRATIONS)}) and was left untouched: upgrade llmswitch, or set LLMSWITCH_HOME to another folder."
        )
    return version


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Turn a file that is not in WAL mode yet. Where two do so at once, SQLite may fail without waiting: this waits."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            # counts only before the first table is made; without it a pruned file never gets smaller
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            return


#: SQLite's primary result code -> what to do
_REMEDIES = {
    sqlite3.SQLITE_BUSY: "another process holds it; try again when that has ended",
    sqlite3.SQLITE_LOCKED: "another process holds it; try again when that has ended",
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_IOERR: "look whether its disk is full, or failing",
    sqlite3.SQLITE_READONLY: "make it and its folder writable, or set LLMSWITCH_HOME to another folder",
    sqlite3.SQLITE_CANTOPEN: "make it and its folder writable, or set LLMSWITCH_HOME to another folder",
}
#: what only a ledger has a command for
_DAMAGED = {
    sqlite3.SQLITE_ERROR: "if it is damaged or no ledger, 'llmswitch cost set-aside' moves it away and deletes nothing",
    sqlite3.SQLITE_CORRUPT: "it is damaged; 'llmswitch cost set-aside' moves it away and deletes nothing",
    sqlite3.SQLITE_NOTADB: "it is damaged or no ledger; 'llmswitch cost set-aside' moves it away and deletes nothing",
}


def _explained(path: Path, error: Exception, what: str = _LEDGER) -> str:
    if isinstance(error, OSError):
        remedy: str | None = _REMEDIES[sqlite3.SQLITE_CANTOPEN]
        reason = error.strerror or str(error)
    else:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        remedy = _REMEDIES.get(code) or (_DAMAGED.get(code) if what == _LEDGER else None)
        reason = str(error)
    return f"cannot use {what} {path}: {reason}{f': {remedy}' if remedy else ''}."
