from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmswitch import database
from llmswitch.budget import BudgetLimits
from llmswitch.conversations import Conversations, Turn, new_conversation_id
from llmswitch.database import MIGRATIONS, is_damaged, opened, reading
from llmswitch.errors import ConfigError, RateLimitError, StorageError, TruncatedError
from llmswitch.ledger import Caller, Ledger, call_row, from_pico, record_or_warn, to_pico
from llmswitch.runs.budget import budget_report
from llmswitch.runs.cost import cost_report
from llmswitch.types import Attachment, Attempt, Cost, Message, Response, Timing, Usage
from tests.cli.command import row

#: of each migration as it was released: one that changes would leave the files of older versions different
_RELEASED = ("83095d1e871d", "f0f0d85257c1", "61dc56dac3f1", "991058f2e085")

_WRITER = """
import sys
from pathlib import Path
from llmswitch.ledger import Caller, Ledger, call_row
from llmswitch.types import Response
path, go, number = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
answer = call_row(Caller("ask", "openai"), Response("openai", "gpt-6-luna", "", "stop"), started_at=1.0)
print("ready", flush=True)
while not go.exists():
    pass
for _ in range(number):
    print(Ledger(path).record(answer), flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "ledger.db"


def _writer(path: Path, go: Path, number: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path), str(go), str(number)],
        cwd=go.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _rows(path: Path) -> list[sqlite3.Row]:
    with reading(path) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute("SELECT * FROM calls ORDER BY id").fetchall()


# -- rows


def test_an_answer_keeps_everything_that_was_measured(path: Path) -> None:
    response = Response(
        provider="anthropic",
        request_model="claude-haiku-5-5",
        text="a secret text",
        finish_reason="length",
        usage=Usage(100, 40, 30, 20, 10, 5, estimated=True),
        response_model="claude-haiku-5-5-20261001",
        response_id="msg_1",
        request_id="req_1",
        timing=Timing(0.25, 2.9),
        duration_s=3.5,
        cost=Cost(Decimal("0.000000000001"), "LLM_PRICES", exact=False),
        attempts=(Attempt("anthropic", "claude-haiku-5-5", "overloaded", 529, 0.1, 1.5),),
    )
    caller = Caller("ask", "claude?temperature=0", "production", "0123456789")
    number = Ledger(path).record(call_row(caller, response, started_at=1_763_812_345.25))
    kept = dict(_rows(path)[0])
    assert json.loads(kept.pop("attempts")) == [
        {
            "provider": "anthropic",
            "model": "claude-haiku-5-5",
            "outcome": "overloaded",
            "status": 529,
            "duration_s": 0.1,
            "retry_after_s": 1.5,
        }
    ]
    assert kept == {
        "id": number,
        "started_at": 1_763_812_345.25,
        "command": "ask",
        "profile": "production",
        "target": "claude?temperature=0",
        "provider": "anthropic",
        "request_model": "claude-haiku-5-5",
        "response_model": "claude-haiku-5-5-20261001",
        "response_id": "msg_1",
        "request_id": "req_1",
        "input_tokens": 100,
        "output_tokens": 40,
        "cache_read_input_tokens": 30,
        "cache_creation_input_tokens": 20,
        "cache_creation_1h_input_tokens": 5,
        "reasoning_output_tokens": 10,
        "usage_estimated": 1,
        "cost_pico": 1,
        "cost_exact": 0,
        "cost_source": "LLM_PRICES",
        "saved_pico": None,
        "saved_exact": None,
        "time_to_first_token_s": 0.25,
        "itl_s": None,
        "duration_s": 3.5,
        "finish_reason": "length",
        "error_kind": None,
        "cached": 0,
        "conversation_id": "0123456789",
        "lost": None,
        "batch": 0,
        "service_tier": None,
        "task": None,
    }
    assert b"a secret text" not in path.read_bytes()


def test_a_failed_call_is_a_row_with_its_kind_and_what_is_unknown_is_null(path: Path) -> None:
    error = RateLimitError("slow down", request_id="req_9")
    error.attempts = (Attempt("openai", "gpt-6-luna", "rate_limit", 429),)
    so_far = Response("openai", "gpt-6-luna", "", "error", duration_s=0.2)
    Ledger(path).record(call_row(Caller("ask", "openai"), so_far, started_at=5.0, error=error))
    kept = _rows(path)[0]
    assert (kept["error_kind"], kept["finish_reason"], kept["request_id"]) == ("rate_limit", "error", "req_9")
    assert json.loads(kept["attempts"])[0]["status"] == 429
    unknown = ("input_tokens", "output_tokens", "cost_pico", "cost_exact", "saved_pico", "time_to_first_token_s")
    assert all(kept[name] is None for name in unknown)


def test_an_interrupted_call_says_so_and_is_no_error(path: Path) -> None:
    so_far = Response("openai", "gpt-6-luna", "half an ans", "error", duration_s=0.2)
    Ledger(path).record(call_row(Caller("ask", "openai"), so_far, started_at=5.0, interrupted=True))
    assert (_rows(path)[0]["finish_reason"], _rows(path)[0]["error_kind"]) == ("interrupted", None)


def test_a_cached_answer_keeps_what_the_first_call_cost_as_saved(path: Path) -> None:
    first = Response("openai", "m", "hi", "stop", cost=Cost(Decimal("0.25"), "genai-prices", exact=False))
    nothing = Cost(Decimal(0), "cache")
    again = Response("openai", "m", "hi", "stop", Usage(0, 0), cost=nothing, cached=True, original=first)
    Ledger(path).record(call_row(Caller("ask", "openai"), again, started_at=5.0))
    kept = _rows(path)[0]
    assert (kept["cached"], kept["cost_pico"], kept["cost_exact"]) == (1, 0, 1)
    assert (kept["saved_pico"], kept["saved_exact"]) == (250_000_000_000, 0)


@given(st.decimals(min_value=0, max_value=1_000_000, places=12))
def test_money_survives_the_ledger_to_the_last_digit(amount: Decimal) -> None:
    assert from_pico(to_pico(amount)) == amount


@settings(max_examples=10, deadline=None)
@given(amounts=st.lists(st.decimals(min_value=0, max_value=1000, places=12), min_size=1, max_size=12))
def test_the_total_is_the_sum_of_the_rows_to_the_last_digit(
    amounts: list[Decimal], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("sum") / "ledger.db"
    for index, amount in enumerate(amounts):
        Ledger(path).record(row(at=index * 40_000.0, model=f"m{index % 3}", cost=str(amount)))
    report = cost_report(path, by=("day", "model"), since=None, until=None)
    assert report.total.cost == sum(amounts, Decimal(0)) == sum((r.cost or 0 for r in report.rows), Decimal(0))
    assert report.total.calls == len(amounts)


# -- many processes


def test_two_dozen_processes_open_one_fresh_ledger_at_once_and_lose_nothing(path: Path, tmp_path: Path) -> None:
    go = tmp_path / "go"
    writers = [_writer(path, go, 20) for _ in range(24)]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    go.touch()
    ended = [(writer.communicate(timeout=60), writer.returncode) for writer in writers]
    assert [code for _, code in ended] == [0] * 24, [errors for (_, errors), _ in ended if errors]
    numbers = [int(line) for (out, _), _ in ended for line in out.split()]
    assert sorted(numbers) == list(range(1, 481))
    assert len(_rows(path)) == 480


def test_kill_9_while_writing_loses_no_row_that_was_kept(path: Path, tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.touch()
    with _writer(path, go, 100_000) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(100)]
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
    kept = max(int(line) for line in lines if line.strip().isdigit())
    with opened(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert kept <= len(_rows(path)) <= kept + 1
    assert Ledger(path).record(row()) == len(_rows(path))


def test_a_ledger_that_is_up_to_date_is_read_while_another_process_writes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Ledger(path).record(row())
    monkeypatch.setattr(database, "PATIENCE_S", 0.05)
    with opened(path) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert cost_report(path, by=("day",), since=None, until=None).total.calls == 1
        with pytest.raises(StorageError, match="another process holds it"):
            Ledger(path).record(row())


def test_a_row_waits_for_another_process_lock_instead_of_being_lost(path: Path) -> None:
    Ledger(path).record(row())
    with opened(path) as writer:
        writer.execute("BEGIN IMMEDIATE")
        numbers: list[int] = []
        waiting = threading.Thread(target=lambda: numbers.append(Ledger(path).record(row())))
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        writer.execute("COMMIT")
        waiting.join(10)
    assert numbers == [2]


# -- the file


def test_ledger_and_its_log_are_for_this_user_alone_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        with opened(path) as connection:
            connection.execute("INSERT INTO conversations VALUES ('a', 1, 1)")
            files = [path, *path.parent.glob("ledger.db-*")]
            assert len(files) == 3
            assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 3
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_reading_a_ledger_that_is_not_there_finds_nothing_and_makes_nothing(path: Path) -> None:
    assert cost_report(path, by=("day",), since=None, until=None).rows == ()
    assert Conversations(path).latest() is None
    assert Conversations(path).prune(0, 1e9) == 0
    assert not path.parent.exists()


def test_a_newer_ledger_is_refused_and_left_untouched(path: Path) -> None:
    Ledger(path).record(row())
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    for use in (
        lambda: Ledger(path).record(row()),
        lambda: cost_report(path, by=("day",), since=None, until=None),
        lambda: Conversations(path).prune(0, 1e9),
    ):
        with pytest.raises(StorageError, match=r"ledger\.db was written by a newer llmswitch .*upgrade llmswitch"):
            use()
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["not a database at all" * 100, "middle"])
def test_a_damaged_ledger_is_named_and_never_deleted(path: Path, damage: str) -> None:
    for index in range(20):
        Ledger(path).record(row(at=float(index)))
    content = path.read_bytes()
    broken = content[:4096] + b"\xff" * (len(content) - 4096) if damage == "middle" else damage.encode()
    path.write_bytes(broken)
    with pytest.raises(StorageError, match=r"ledger\.db: .*: it is damaged.*cost set-aside"):
        cost_report(path, by=("day",), since=None, until=None)
    assert path.read_bytes() == broken


def test_a_ledger_that_cannot_be_written_costs_a_warning_and_not_the_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    said: list[str] = []
    record_or_warn(Ledger(tmp_path / "file" / "ledger.db"), row(), said.append)
    assert len(said) == 1
    assert "cannot use the ledger" in said[0]
    assert "LLMSWITCH_HOME" in said[0]


@pytest.mark.parametrize("tokens", [2**70, 2**53 + 1, -1])
def test_a_count_that_is_none_is_unknown_and_loses_no_row(path: Path, tokens: int) -> None:
    Ledger(path).record(row(tokens=(tokens, 7)))
    kept = _rows(path)[0]
    assert (kept["input_tokens"], kept["output_tokens"], kept["cost_pico"]) == (None, 7, 10**9)


@pytest.mark.parametrize("cost", ["1e30", "-1", "9007.199254740993"])
def test_an_amount_that_is_none_is_unknown_and_loses_no_row(path: Path, cost: str) -> None:
    Ledger(path).record(row(cost=cost))
    kept = _rows(path)[0]
    assert (kept["cost_pico"], kept["cost_exact"], kept["cost_source"]) == (None, None, None)
    assert cost_report(path, by=("day",), since=None, until=None).total.unknown_price_calls == 1


def test_texts_that_utf8_cannot_hold_are_kept_with_a_replacement(path: Path) -> None:
    caller = Caller("ask", "open\udcff", conversation_id="c1")
    Ledger(path).record(row(model="m\udcff", caller=caller)._replace(response_id="\ud800"))
    kept = _rows(path)[0]
    assert (kept["request_model"], kept["target"], kept["response_id"]) == ("m\ufffd", "open\ufffd", "\ufffd")
    prompt = Message("user", "p\ud800", (Attachment("text/plain", b"x", "n\udcff"),))
    Conversations(path).append("c1", Turn(1.0, prompt, "a\udfff", "s\ud800", "t\ud800"))
    turn = Conversations(path).load("c1").turns[0]
    assert (turn.prompt.text, turn.answer, turn.system, turn.target) == ("p\ufffd", "a\ufffd", "s\ufffd", "t\ufffd")
    assert turn.prompt.attachments[0].name == "n\ufffd"


def test_a_ledger_whose_columns_are_not_its_own_is_a_storage_error(path: Path) -> None:
    Ledger(path).record(row(caller=Caller("ask", "openai", conversation_id="c1")))
    Conversations(path).append("c1", _turn(1.0, "x"))
    with opened(path) as connection:
        connection.execute("ALTER TABLE calls RENAME COLUMN cost_source TO cost_sourcf")
    with pytest.raises(StorageError, match="No item with that key"):
        Conversations(path).load("c1")


@pytest.mark.parametrize("seed", range(60))
def test_whatever_bytes_are_damaged_it_works_or_is_a_storage_error(path: Path, seed: int) -> None:
    for index in range(5):
        Ledger(path).record(row(at=float(index), caller=Caller("ask", "openai", conversation_id="c1")))
        Conversations(path).append("c1", _turn(float(index), "x" * 500))
    content, rng = bytearray(path.read_bytes()), random.Random(seed)  # noqa: S311 - repeatable, no secret
    written = [place for place, byte in enumerate(content) if byte]
    for place in rng.sample(written[: len(written) // rng.choice((1, 8))], 20):
        content[place] = rng.randrange(256)
    path.write_bytes(content)
    for use in (
        lambda: Conversations(path).list(9),
        lambda: Conversations(path).load("c1"),
        lambda: cost_report(path, by=("day", "model"), since=None, until=None),
        lambda: budget_report(path, BudgetLimits(), 1_000_000.0),
        lambda: is_damaged(path),
        lambda: Ledger(path).record(row()),
    ):
        with suppress(StorageError, ConfigError):  # a conversation's damaged name is another name
            use()


def test_a_day_that_is_none_is_a_storage_error(path: Path) -> None:
    Ledger(path).record(row(cost="1"))
    with opened(path) as connection:
        connection.execute("UPDATE spending SET day = '2026-11-1C'")
    with pytest.raises(StorageError, match="cost set-aside"):
        budget_report(path, BudgetLimits(), 1_000_000.0)


def test_a_table_whose_making_is_no_text_is_damage(path: Path) -> None:
    Ledger(path).record(row())
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE turns (", b"CREATE TABLE turns \xc2"))
    assert is_damaged(path)


def test_a_name_whose_bytes_are_damaged_hides_no_sum(path: Path) -> None:
    Ledger(path).record(row())
    with opened(path) as connection:
        connection.execute("UPDATE calls SET request_model = CAST(x'6fff6b' AS TEXT)")
    (found,) = cost_report(path, by=("model",), since=None, until=None).rows
    assert (found.keys, found.calls) == (("o\ufffdk",), 1)


@pytest.mark.parametrize(
    ("version", "change"),
    [
        (0, "CREATE TABLE calls (x)"),
        (-1, "CREATE TABLE calls (x)"),
        (len(MIGRATIONS), "ALTER TABLE calls RENAME COLUMN cost_pico TO cost"),
        (len(MIGRATIONS), "DROP TABLE daily"),
    ],
)
def test_a_file_that_sqlite_finds_whole_and_that_is_no_ledger_is_damaged(path: Path, version: int, change: str) -> None:
    if version > 0:
        Ledger(path).record(row())
    path.parent.mkdir(exist_ok=True)
    connection = sqlite3.connect(path)
    connection.execute(change)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    assert is_damaged(path)
    with pytest.raises(StorageError, match="cost set-aside"):
        cost_report(path, by=("day",), since=None, until=None)


@pytest.mark.parametrize("version", range(len(MIGRATIONS) + 1))
def test_a_ledger_of_any_version_is_none_that_is_damaged(path: Path, version: int) -> None:
    path.parent.mkdir()
    old = sqlite3.connect(path, isolation_level=None)
    for statements in MIGRATIONS[:version]:
        for statement in statements:
            old.execute(statement)
    old.execute(f"PRAGMA user_version = {version}")
    old.close()
    assert not is_damaged(path)


@pytest.mark.parametrize("version", range(len(MIGRATIONS)))
def test_a_ledger_of_every_earlier_version_is_brought_up_to_date(path: Path, version: int) -> None:
    path.parent.mkdir()
    old = sqlite3.connect(path, isolation_level=None)
    for statements in MIGRATIONS[:version]:
        for statement in statements:
            old.execute(statement)
    old.execute(f"PRAGMA user_version = {version}")
    old.close()
    assert Ledger(path).record(row()) == 1
    with reading(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_released_migrations_do_not_change() -> None:
    digests = tuple(hashlib.sha256("\n".join(each).encode()).hexdigest()[:12] for each in MIGRATIONS)
    assert digests == _RELEASED


# -- conversations


def _turn(at: float, prompt: str) -> Turn:
    return Turn(at, Message("user", prompt), "fine", None, "openai")


def test_a_conversation_comes_back_as_it_was(path: Path) -> None:
    kept = Conversations(path)
    image = Attachment("image/png", b"\x89PNG", "a.png")
    first = Turn(1.0, Message("user", "what is this?", (image, image)), "a cat", "be brief", "openai")
    second = Turn(2.0, Message("user", "sure?"), "yes", "be long", "claude")
    kept.append("abc0000001", first)
    kept.append("abc0000001", second)
    loaded = kept.load("abc")
    assert loaded.id == "abc0000001"
    assert loaded.turns == (first, second)
    assert [(m.role, m.text) for m in loaded.messages] == [
        ("user", "what is this?"),
        ("assistant", "a cat"),
        ("user", "sure?"),
        ("assistant", "yes"),
    ]
    assert loaded.messages[0].attachments == (image, image)
    assert (loaded.system, loaded.target) == ("be long", "claude")
    with reading(path) as connection:
        assert connection.execute("SELECT count(*) FROM attachments").fetchone()[0] == 1


def test_each_turn_is_linked_to_its_own_call(path: Path) -> None:
    kept, caller = Conversations(path), Caller("ask", "openai", conversation_id="c1")
    Ledger(path).record(row(model="first", caller=caller, cost="0.5", tokens=(7, 3)))
    kept.append("c1", _turn(1.0, "one"))
    kept.append("c1", _turn(2.0, "its call was not recorded"))
    Ledger(path).record(row(model="failed", caller=caller, cost=None))
    Ledger(path).record(row(model="third", caller=caller, cost=None))
    Ledger(path).record(row(model="somebody else's"))
    kept.append("c1", _turn(3.0, "three"))
    calls = [turn.call for turn in kept.load("c1").turns]
    assert [call and call.request_model for call in calls] == ["first", None, "third"]
    assert calls[0] is not None
    assert calls[0].cost == Cost(Decimal("0.5"), "genai-prices 0.2.3", True)
    assert calls[0].usage == Usage(7, 3)
    assert calls[2] is not None
    assert calls[2].cost is None


def test_the_latest_conversation_is_the_one_spoken_in_last(path: Path) -> None:
    kept = Conversations(path)
    kept.append("old", _turn(1.0, "first"))
    kept.append("new", _turn(2.0, "second"))
    kept.append("old", _turn(3.0, "again"))
    assert kept.latest() == "old"
    assert [(c.id, c.turns, c.prompt, c.updated_at) for c in kept.list(9)] == [
        ("old", 2, "first", 3.0),
        ("new", 1, "second", 2.0),
    ]
    assert [c.id for c in kept.list(1)] == ["old"]


@pytest.mark.parametrize("prefix", ["zz", "", "ab%", "a_c"])
def test_a_prefix_of_no_conversation_says_how_to_list_them(path: Path, prefix: str) -> None:
    Conversations(path).append("abc1", _turn(1.0, "x"))
    with pytest.raises(ConfigError, match="logs list"):
        Conversations(path).load(prefix)


def test_a_prefix_of_several_lists_them_and_a_longer_one_finds_its_own(path: Path) -> None:
    for name in ("abc1", "abc2"):
        Conversations(path).append(name, _turn(1.0, name))
    with pytest.raises(ConfigError, match="abc2, abc1"):
        Conversations(path).load("ab")
    assert Conversations(path).load("ABC2").id == "abc2"


def test_ids_sort_by_age_and_cannot_be_misread() -> None:
    moments = [1_577_836_800.0, 1_763_812_345.0, 1_763_812_346.0, 2_600_000_000.0]
    ids = [new_conversation_id(at, 2**20 - 1 - index) for index, at in enumerate(moments)]
    assert ids == sorted(ids)
    assert all(len(name) == 10 and not set(name) & set("ilou") for name in ids)
    assert len({new_conversation_id(moments[1], n) for n in range(1000)}) == 1000


def _bytes_of(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.glob("ledger.db*"))


def test_pruning_really_forgets_and_keeps_what_is_younger(path: Path) -> None:
    kept = Conversations(path)
    shared = Attachment("text/plain", b"SHARED-FILE" * 2000)
    for index in range(30):
        prompt = Message("user", f"SECRET-PROMPT {index} " * 100, (Attachment("x/y", b"SECRET-FILE" * 2000), shared))
        turn = Turn(100.0, prompt, "SECRET-ANSWER" * 100, "SECRET-SYSTEM", "openai")
        kept.append(f"old{index}", turn)
    kept.append("new", Turn(900.0, Message("user", "KEPT-PROMPT", (shared,)), "KEPT-ANSWER", None, "openai"))
    Ledger(path).record(row(caller=Caller("ask", "openai", conversation_id="old1")))
    size = path.stat().st_size
    assert b"SECRET" in _bytes_of(path)
    assert kept.prune(older_than_s=500.0, now=1000.0) == 30
    assert b"SECRET" not in _bytes_of(path)
    assert path.stat().st_size < size / 2
    assert kept.load("new").messages[0].attachments == (shared,)
    assert [c.id for c in kept.list(9)] == ["new"]
    assert len(_rows(path)) == 1
    assert kept.prune(older_than_s=500.0, now=1000.0) == 0


def test_pruning_beside_a_reader_says_that_bytes_stay_and_ends_the_work_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Conversations(path)
    kept.append("old", _turn(1.0, "SECRET"))
    kept.append("new", _turn(20.0, "on the same page of the file"))
    monkeypatch.setattr(database, "PATIENCE_S", 0.05)
    with opened(path) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM turns").fetchall()
        with pytest.raises(StorageError, match="another process still reads"):
            kept.prune(0, 10.0)
    assert kept.prune(0, 10.0) == 0
    assert b"SECRET" not in _bytes_of(path)


# -- sums


def test_a_failure_before_the_first_token_cost_nothing_and_any_other_without_price_is_unknown(path: Path) -> None:
    ledger, caller = Ledger(path), Caller("ask", "openai")
    nothing = Response("openai", "m", "", "error")
    started = Response("openai", "m", "", "error", timing=Timing(0.1))
    ledger.record(call_row(caller, nothing, started_at=1.0, error=RateLimitError("no")))
    report = cost_report(path, by=("model",), since=None, until=None)
    assert (report.total.cost, report.total.exact, report.total.errors) == (Decimal(0), True, 1)
    for error, response in ((TruncatedError("cut"), nothing), (RateLimitError("late"), started)):
        ledger.record(call_row(caller, response, started_at=1.0, error=error))
    ledger.record(call_row(caller, nothing, started_at=1.0, interrupted=True))  # while it waited: nothing was sent
    under_way = replace(nothing, attempts=(Attempt("openai", "m", "interrupted"),))
    ledger.record(call_row(caller, under_way, started_at=1.0, interrupted=True))
    total = cost_report(path, by=("model",), since=None, until=None).total
    assert (total.cost, total.exact, total.errors, total.unknown_price_calls) == (None, False, 3, 3)


def test_one_assumed_rate_makes_the_sum_inexact(path: Path) -> None:
    for exact in (True, False, True):
        Ledger(path).record(row(exact=exact))
    assert not cost_report(path, by=("day",), since=None, until=None).total.exact


def test_since_is_included_and_until_is_not(path: Path) -> None:
    for at in (10.0, 20.0, 30.0):
        Ledger(path).record(row(at=at))
    for since, until, calls in ((10.0, 30.0, 2), (None, 30.0, 2), (10.5, None, 2), (None, None, 3), (31.0, None, 0)):
        assert cost_report(path, by=("day",), since=since, until=until).total.calls == calls


def test_recording_takes_a_few_milliseconds_of_cpu(path: Path) -> None:
    Ledger(path).record(row())
    started = time.process_time()
    for _ in range(20):
        Ledger(path).record(row())
    assert (time.process_time() - started) / 20 < 0.010
