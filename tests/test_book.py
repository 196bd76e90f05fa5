from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmswitch import database
from llmswitch.book import Book, LedgerSession, Reservation
from llmswitch.budget import BudgetLimits
from llmswitch.database import MIGRATIONS, opened, reading
from llmswitch.errors import BudgetError, StorageError
from llmswitch.ledger import Caller, CallRow, Ledger, from_pico, lost_row
from llmswitch.types import Cost, Spend, Usage
from tests.cli.command import row

_NOON = 1_763_812_800.0  # 2025-11-22T12:00Z
_DAY = 86_400.0
_ASKER = Caller("ask", "openai?seed=1", "production", "c1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "ledger.db"


@pytest.fixture
def zone() -> Iterator[Callable[[str], None]]:
    """Sets the local time zone of this process, until the test is over."""
    before = os.environ.get("TZ")

    def entered(name: str | None) -> None:
        os.environ.pop("TZ", None) if name is None else os.environ.__setitem__("TZ", name)
        time.tzset()

    yield entered
    entered(before)


def _held(amount: str, *, at: float = _NOON, lease_s: float = 600.0) -> Reservation:
    return Reservation(_ASKER, "openai", "gpt-6-luna", Decimal(amount), at, at + lease_s)


def _row(cost: str) -> CallRow:
    return row()._replace(started_at=_NOON, cost=Cost(Decimal(cost), "test"))


def _limits(daily: str | None = None, monthly: str | None = None) -> BudgetLimits:
    return BudgetLimits(*(None if limit is None else Decimal(limit) for limit in (daily, monthly)))


def _kept(path: Path, table: str = "calls") -> list[sqlite3.Row]:
    with reading(path) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()  # noqa: S608 - this file's own


def _used(path: Path, work: Callable[[Book], Coroutine[Any, Any, object]], *, now: float = _NOON) -> None:
    """`work` with a Book at `path`, closed after it."""
    book = Book(path, wall=lambda: now)
    try:
        asyncio.run(work(book))
    finally:
        book.close()


# -- rows


def test_rows_are_kept_in_order_and_settle_what_was_reserved(path: Path) -> None:
    lost = lost_row(_ASKER, Spend("gemini", "g", "hedged", Usage(3, 1), Cost(Decimal("0.5"), "x", False)), started_at=1)

    async def call(book: Book) -> None:
        numbers = [await book.reserve(_held("2"), _limits("9")) for _ in range(3)]
        await book.record([lost, row()], numbers[:2], pytest.fail)

    _used(path, call)
    assert [(kept["lost"], kept["provider"], kept["cost_pico"]) for kept in _kept(path)] == [
        ("hedged", "gemini", 500_000_000_000),
        (None, "openai", 1_000_000_000),
    ]
    assert [kept["id"] for kept in _kept(path, "reservations")] == [3]


def test_what_is_posted_is_there_once_the_book_is_closed(path: Path) -> None:
    async def calls(book: Book) -> None:
        for _ in range(50):
            book.post([row()], [], pytest.fail)

    _used(path, calls)
    assert len(_kept(path)) == 50


def test_a_closed_book_opens_again_with_the_next_call(path: Path) -> None:
    book = Book(path)
    for _ in range(3):
        asyncio.run(book.record([row()], [], pytest.fail))
        book.close()
    assert len(_kept(path)) == 3


def test_one_book_serves_several_event_loops_at_once(path: Path) -> None:
    import threading

    book = Book(path)

    async def calls() -> None:
        await asyncio.gather(*(book.record([row()], [], pytest.fail) for _ in range(20)))

    threads = [threading.Thread(target=lambda: asyncio.run(calls())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    book.close()
    assert len(_kept(path)) == 80


def test_a_ledger_that_cannot_be_written_is_warned_of_once_and_costs_nothing_more(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    said: list[str] = []

    async def calls(book: Book) -> None:
        await book.record([row()], [], said.append)
        book.post([row()], [], said.append)
        await book.record([row()], [], said.append)

    _used(tmp_path / "file" / "ledger.db", calls)
    assert len(said) == 1
    assert "cannot use the ledger" in said[0]


def test_a_row_that_is_only_posted_is_warned_of_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    said: list[str] = []

    async def calls(book: Book) -> None:
        book.post([row()], [], said.append)

    _used(tmp_path / "file" / "ledger.db", calls)
    assert len(said) == 1


def test_a_ledger_that_comes_to_life_is_used_again(tmp_path: Path) -> None:
    blocked, said = tmp_path / "file", list[str]()
    blocked.write_text("in the way")

    async def calls(book: Book) -> None:
        await book.record([row()], [], said.append)
        blocked.unlink()
        await book.record([row()], [], said.append)

    _used(blocked / "ledger.db", calls)
    assert len(said) == 1
    assert len(_kept(blocked / "ledger.db")) == 1


@pytest.mark.parametrize("replaced", [False, True])
def test_a_ledger_deleted_or_replaced_in_the_middle_is_made_anew(path: Path, tmp_path: Path, replaced: bool) -> None:
    other = tmp_path / "other.db"
    Ledger(other).record(row(model="other"))

    async def calls(book: Book) -> None:
        await book.record([row()], [], pytest.fail)
        for file in path.parent.iterdir():
            file.unlink()
        if replaced:
            other.rename(path)
        await book.record([row(model="after")], [], pytest.fail)

    _used(path, calls)
    assert [kept["request_model"] for kept in _kept(path)] == (["other", "after"] if replaced else ["after"])


def test_a_row_waits_for_another_process_without_holding_up_the_loop(path: Path) -> None:
    Ledger(path).record(row())

    async def calls(book: Book) -> None:
        with opened(path) as writer:
            writer.execute("BEGIN IMMEDIATE")
            waiting = asyncio.create_task(book.record([row()], [], pytest.fail))
            started = time.monotonic()
            await asyncio.sleep(0.1)
            assert time.monotonic() - started < 1
            assert not waiting.done()
            writer.execute("COMMIT")
            await waiting

    _used(path, calls)
    assert len(_kept(path)) == 2


def test_a_loop_keeps_the_ledger_while_nobody_else_does_and_folds_its_log_back_now_and_then(path: Path) -> None:
    session, other = LedgerSession(path, lambda: _NOON), LedgerSession(path, lambda: _NOON)
    assert not session.begin_now()  # it is still to be opened, which may take time
    session.begin()
    session.commit()
    other.begin()
    assert not session.begin_now()
    other.commit()
    largest = 0
    for _ in range(1200):
        if not session.begin_now():
            session.begin()
        session.record([row()], [])
        session.commit()
        largest = max(largest, Path(f"{path}-wal").stat().st_size)
    assert largest < 2 * 1000 * 4096
    other.close()
    session.close()
    assert len(_kept(path)) == 1200


def test_a_batch_that_mixes_all_there_is_keeps_to_the_budget(path: Path) -> None:
    session = LedgerSession(path, lambda: _NOON)
    session.begin()
    held = [session.reserve(_held("4"), _limits("10")) for _ in range(2)]
    with pytest.raises(BudgetError):
        session.reserve(_held("4"), _limits("10"))
    session.record([_row("1")], held[:1])
    held.append(session.reserve(_held("4"), _limits("10")))  # 1 spent, 4 reserved, and these 4
    with pytest.raises(BudgetError):
        session.reserve(_held("1.5"), _limits("10"))
    session.shrink(held[1], Decimal(1))
    session.record([_row("3")], [])  # nobody had reserved it
    with pytest.raises(BudgetError):
        session.reserve(_held("1.5"), _limits("10"))
    session.reserve(_held("1"), _limits("10"))
    session.commit()
    session.close()


def test_a_batch_over_midnight_keeps_to_the_months_budget(path: Path) -> None:
    session = LedgerSession(path, lambda: _NOON)
    session.begin()
    for day in (0, 1, 0, 1):
        session.reserve(_held("2", at=_NOON + day * 86400, lease_s=200_000), _limits(monthly="9"))
    for day in (0, 1):
        with pytest.raises(BudgetError):
            session.reserve(_held("2", at=_NOON + day * 86400, lease_s=200_000), _limits(monthly="9"))
    session.commit()
    session.close()


def test_a_ledger_held_for_too_long_says_who_is_in_the_way(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PATIENCE_S", 0.05)
    Ledger(path).record(row())
    said: list[str] = []

    async def calls(book: Book) -> None:
        with opened(path) as writer:
            writer.execute("BEGIN IMMEDIATE")
            await book.record([row()], [], said.append)
            with pytest.raises(StorageError, match="another process"):
                await book.reserve(_held("1"), _limits("9"))
        await book.record([row()], [], said.append)

    _used(path, calls)
    assert len(said) == 1
    assert "another process holds it" in said[0]
    assert len(_kept(path)) == 2


def test_the_file_is_for_this_user_alone_while_it_is_open(path: Path) -> None:
    before = os.umask(0)
    book = Book(path)
    try:
        asyncio.run(book.record([row()], [], pytest.fail))
        files = list(path.parent.iterdir())
        assert len(files) == 3
        assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 3
    finally:
        os.umask(before)
        book.close()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


# -- what a day has cost


@settings(max_examples=15, deadline=None)
@given(
    costs=st.lists(
        st.tuples(st.integers(0, 40), st.none() | st.decimals(min_value=0, max_value=10, places=12)), max_size=20
    )
)
def test_the_sums_of_days_are_those_of_their_rows(
    costs: list[tuple[int, Decimal | None]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("sums") / "ledger.db"
    rows = [row(at=_NOON + hours * 3600, cost=None if cost is None else str(cost)) for hours, cost in costs]

    async def calls(book: Book) -> None:
        await book.record(rows[::2], [], pytest.fail)

    _used(path, calls)
    for each in rows[1::2]:
        Ledger(path).record(each)
    with reading(path) as connection:
        summed = connection.execute(
            """SELECT date(started_at, 'unixepoch', 'localtime'), sum(cost_pico) FROM calls
                WHERE cost_pico > 0 GROUP BY 1"""
        ).fetchall()
    assert [tuple(each) for each in _kept(path, "spending")] == summed


def test_what_an_older_version_recorded_counts(path: Path, zone: Callable[[str], None]) -> None:
    zone("EST5EDT,M3.2.0,M11.1.0")
    path.parent.mkdir()
    old = sqlite3.connect(path, isolation_level=None)
    for statement in MIGRATIONS[0]:
        old.execute(statement)
    old.execute("PRAGMA user_version = 1")
    for at, pico in ((_NOON, 5), (_NOON - 8 * 3600, 7), (_NOON, None), (_NOON, 0), (_NOON - 40 * _DAY, 11)):
        old.execute(
            "INSERT INTO calls (started_at, command, target, provider, usage_estimated, duration_s, attempts,"
            " finish_reason, cached, cost_pico) VALUES (?, 'ask', 'openai', 'openai', 0, 1, '[]', 'stop', 0, ?)",
            (at, pico),
        )
    old.close()
    _used(path, lambda book: book.reserve(_held("0"), _limits("1")))
    assert [tuple(each) for each in _kept(path, "spending")] == [
        ("2025-10-13", 11),
        ("2025-11-21", 7),
        ("2025-11-22", 5),
    ]


# -- reservations


def test_a_call_is_refused_once_what_is_spent_and_reserved_leave_no_room(path: Path) -> None:
    async def calls(book: Book) -> None:
        await book.record([row(at=_NOON, cost="4", caller=Caller("bench", "x", "other"))], [], pytest.fail)
        first = await book.reserve(_held("3"), _limits("10"))
        with pytest.raises(BudgetError, match=r"\$4 is spent and \$3 reserved.*up to \$3\.1"):
            await book.reserve(_held("3.1"), _limits("10"))
        second = await book.reserve(_held("3"), _limits("10"))
        book.shrink(first, Decimal("0.5"))
        book.shrink(second, Decimal(0))
        await book.reserve(_held("5.5"), _limits("10"))
        with pytest.raises(BudgetError):
            await book.reserve(_held("0.000000000001"), _limits("10"))

    _used(path, calls)
    assert [from_pico(kept["pico"]) for kept in _kept(path, "reservations")] == [Decimal("0.5"), Decimal("5.5")]


def test_a_months_limit_counts_all_its_days_and_a_days_limit_its_own(path: Path) -> None:
    async def calls(book: Book) -> None:
        spent = [row(at=_NOON + days * _DAY, cost="1") for days in (-30, -21, -1, 0)]  # October 23 is no November
        await book.record(spent, [], pytest.fail)
        await book.reserve(_held("1"), _limits("2", "4"))
        with pytest.raises(BudgetError, match="LLM_BUDGET_MONTHLY"):
            await book.reserve(_held("1"), _limits("9", "4"))
        with pytest.raises(BudgetError, match="LLM_BUDGET_DAILY"):
            await book.reserve(_held("1"), _limits("2", "9"))
        await book.reserve(_held("1", at=_NOON + _DAY), _limits("1"))

    _used(path, calls)


def test_a_day_is_the_local_one(path: Path, zone: Callable[[str], None]) -> None:
    zone("EST5EDT,M3.2.0,M11.1.0")
    midnight = _NOON - 12 * 3600 + 5 * 3600

    async def calls(book: Book) -> None:
        await book.record([row(at=midnight - 1, cost="1")], [], pytest.fail)
        with pytest.raises(BudgetError, match="begins anew on 2025-11-22"):
            await book.reserve(_held("1", at=midnight - 60), _limits("1"))
        await book.reserve(_held("1", at=midnight), _limits("1"))

    _used(path, calls, now=midnight)


def test_a_number_is_never_given_twice_so_that_nobody_settles_anothers(path: Path) -> None:
    async def calls(book: Book) -> None:
        first = await book.reserve(_held("1"), _limits("9"))
        book.shrink(first, Decimal(0))
        second = await book.reserve(_held("1"), _limits("9"))
        await book.record([], [first], pytest.fail)
        assert second != first

    _used(path, calls)
    assert len(_kept(path, "reservations")) == 1


@pytest.mark.parametrize("yields", range(4))
def test_who_is_cancelled_while_reserving_has_reserved_nothing(path: Path, yields: int) -> None:
    async def calls(book: Book) -> None:
        for _ in range(30):
            asking = asyncio.create_task(book.reserve(_held("1"), _limits("30")))
            for _ in range(yields):
                await asyncio.sleep(0.0005 * yields)
            asking.cancel()
            with suppress(asyncio.CancelledError):
                book.shrink(await asking, Decimal(0))
        await book.reserve(_held("30"), _limits("30"))

    _used(path, calls)


def test_a_result_that_came_as_its_asker_was_cancelled_is_taken_back(path: Path) -> None:
    async def calls(book: Book) -> None:
        asking = asyncio.create_task(book.reserve(_held("1"), _limits("1")))
        await asyncio.sleep(0)
        time.sleep(0.3)  # noqa: ASYNC251  # the result is ready before the loop turns again
        asyncio.get_running_loop().call_soon(asking.cancel)  # after the result, before its asker wakes up
        with pytest.raises(asyncio.CancelledError):
            await asking
        await book.reserve(_held("1"), _limits("1"))

    _used(path, calls)


def test_a_lease_that_lapsed_is_put_on_record_at_its_worst_and_frees_no_room(path: Path) -> None:
    _used(path, lambda book: book.reserve(_held("6", lease_s=30), _limits("10")))

    async def calls(book: Book) -> None:
        with pytest.raises(BudgetError, match=r"\$6 is spent,"):
            await book.reserve(_held("4.5"), _limits("10"))
        await book.reserve(_held("4"), _limits("10"))

    _used(path, calls, now=_NOON + 31)
    (kept,) = _kept(path)
    assert (kept["command"], kept["target"], kept["profile"], kept["conversation_id"]) == _ASKER[:4]
    assert (kept["provider"], kept["request_model"], kept["started_at"]) == ("openai", "gpt-6-luna", _NOON)
    assert (kept["finish_reason"], kept["error_kind"], kept["lost"]) == ("interrupted", None, None)
    assert (kept["cost_pico"], kept["cost_exact"], kept["input_tokens"]) == (6 * 10**12, 0, None)
    assert [each["pico"] for each in _kept(path, "reservations")] == [4 * 10**12]


def test_a_row_without_a_budget_settles_lapsed_leases_too(path: Path) -> None:
    async def reserve(book: Book) -> None:
        for lease in (30, 90):
            await book.reserve(_held("1", lease_s=lease), _limits("10"))

    _used(path, reserve)
    _used(path, lambda book: book.record([row()], [], pytest.fail), now=_NOON + 60)
    assert [kept["finish_reason"] for kept in _kept(path)] == ["interrupted", "stop"]
    assert len(_kept(path, "reservations")) == 1


# -- many processes

_SPENDER = """
import asyncio, os, random, sys
from decimal import Decimal
from pathlib import Path
from llmswitch.book import Book, LedgerSession, Reservation
from llmswitch.budget import BudgetLimits
from llmswitch.errors import BudgetError
from llmswitch.ledger import Caller, call_row
from llmswitch.types import Cost, Response
import time

path, go, bills, number = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
caller, chance = Caller("ask", "openai"), random.Random(number)
limits = BudgetLimits(Decimal("100"), Decimal("100"))
bill = os.open(bills, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)

async def call(book):
    now = time.time()
    held = await book.reserve(Reservation(caller, "openai", "m", Decimal("0.99"), now, now + 600), limits)
    await asyncio.sleep(0)
    if chance.random() < 0.2:
        book.shrink(held, Decimal(0))
        return
    cents = chance.randint(1, 99)
    os.write(bill, b"%d\\n" % cents)
    answer = Response("openai", "m", "", "stop", cost=Cost(Decimal(cents) / 100, "test"))
    await book.record([call_row(caller, answer, started_at=now)], [held], sys.exit)

async def spend():
    book, refused = Book(path), 0
    while refused < 10:
        ended = await asyncio.gather(*(call(book) for _ in range(4)), return_exceptions=True)
        for error in ended:
            if error is not None and not isinstance(error, BudgetError):
                raise error
        refused = refused + 1 if all(ended) else 0
    book.close()

print("ready", flush=True)
while not go.exists():
    time.sleep(0.005)
asyncio.run(spend())
"""


def test_16_processes_hammering_one_budget_spend_it_and_not_a_cent_more(path: Path, tmp_path: Path) -> None:
    go, bills = tmp_path / "go", tmp_path / "bills"
    command = [sys.executable, "-c", _SPENDER, str(path), str(go), str(bills)]
    processes = [
        subprocess.Popen([*command, str(number)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for number in range(16)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    go.touch()
    ended = [(process.communicate(timeout=60)[1], process.returncode) for process in processes]
    assert [code for _, code in ended] == [0] * 16, [errors for errors, _ in ended if errors]
    cents = [int(line) for line in bills.read_text().split()]
    recorded = sum(kept["cost_pico"] for kept in _kept(path))
    assert recorded == sum(cents) * 10**10
    assert 100 * 100 - 99 < sum(cents) <= 100 * 100
    assert _kept(path, "reservations") == []


_VICTIM = """
import asyncio, sys, time
from decimal import Decimal
from pathlib import Path
from llmswitch.book import Book, LedgerSession, Reservation
from llmswitch.budget import BudgetLimits
from llmswitch.ledger import Caller

async def ask():
    now = time.time()
    held = Reservation(Caller("ask", "openai"), "openai", "m", Decimal("6"), now, now + 60)
    await Book(Path(sys.argv[1])).reserve(held, BudgetLimits(Decimal("10")))
    print("reserved", flush=True)
    await asyncio.sleep(60)

asyncio.run(ask())
"""


def test_kill_9_in_the_middle_of_a_call_leaves_no_reservation_stuck_and_no_room_that_may_be_spent(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _VICTIM, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reserved\n"
        process.send_signal(signal.SIGKILL)
    now = time.time()

    async def before(book: Book) -> None:
        with pytest.raises(BudgetError, match=r"\$6 reserved"):
            await book.reserve(_held("5", at=now), _limits("10"))

    async def after(book: Book) -> None:
        with pytest.raises(BudgetError, match=r"\$6 is spent,"):
            await book.reserve(_held("5", at=now), _limits("10"))
        await book.record([row(at=now, cost="4")], [await book.reserve(_held("4", at=now), _limits("10"))], pytest.fail)

    _used(path, before, now=now)
    _used(path, after, now=now + 120)
    assert _kept(path, "reservations") == []
    assert [kept["finish_reason"] for kept in _kept(path)] == ["interrupted", "stop"]


def _rows(path: Path) -> int:
    return len(_kept(path)) if path.exists() else 0


def test_rows_that_are_gathered_are_written_together_and_all_of_them_by_the_end(path: Path) -> None:
    async def recorded() -> int:
        book = Book(path, gather_s=30)
        try:
            await asyncio.gather(*(book.record([_row("0.1")], (), pytest.fail) for _ in range(5)))
            await asyncio.sleep(0.05)
            return _rows(path)
        finally:
            await asyncio.to_thread(book.close)

    assert asyncio.run(recorded()) == 0
    assert len(_kept(path)) == 5


def test_gathered_rows_do_not_wait_for_the_end(path: Path) -> None:
    async def recorded() -> None:
        book = Book(path, gather_s=0.02)
        try:
            for _ in range(2):
                before = _rows(path)
                await book.record([_row("0.1")], (), pytest.fail)
                async with asyncio.timeout(10):
                    while _rows(path) == before:  # noqa: ASYNC110  # another thread writes
                        await asyncio.sleep(0.01)
        finally:
            await asyncio.to_thread(book.close)

    asyncio.run(recorded())
    assert len(_kept(path)) == 2
