"""`llmswitch batch` as it is typed, over loopback servers that speak each vendor's batch calls."""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import stat
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.conftest import COMMAND, Command, Done
from tests.servers.batch_vendors import KEY, BatchBehaviour, BatchVendors, Failing, answer_to

VENDORS = ("openai", "azure", "anthropic", "gemini")
#: every prompt to every vendor
EACH = (*(part for vendor in VENDORS for part in ("-t", vendor)), "--each")
PROMPTS = [f"question {number}" for number in range(1, 8)]
WRONG = "sk-wrong-9876543210"
_KEYS = ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY")

Rows = list[dict[str, Any]]


@pytest.fixture
def server() -> Iterator[BatchVendors]:
    with BatchVendors() as running:
        yield running


class Batched(NamedTuple):
    """The command with a server's environment, and a file of prompts."""

    command: Command
    server: BatchVendors

    def __call__(self, *arguments: str, stdin: str | bytes | None = None, **more: str) -> Done:
        return self.command("batch", *arguments, env={**self.server.environ, **more}, stdin=stdin)

    def file(self, content: str | bytes, name: str = "prompts.txt") -> str:
        """Its name, beside the command."""
        (self.command.cwd / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    def submit(self, *arguments: str, prompts: list[str] = PROMPTS, **more: str) -> str:
        """The batch's id."""
        done = self("submit", self.file("\n".join(prompts)), *arguments, "--yes", **more)
        assert done.code == 0, done.err
        return done.out.strip()

    def rows(self, *arguments: str, code: int = 0, **more: str) -> Rows:
        """What `collect --wait` writes."""
        done = self("collect", "--wait", "--poll", "0.05", *arguments, **more)
        assert done.code == code, done.err
        return [json.loads(line) for line in done.out.splitlines()]

    def reserved(self, **more: str) -> Decimal:
        """What the budget holds."""
        done = self.command("cost", "budget", "--json", env=more)
        return Decimal(done.document["day"]["reserved"])

    def ledger(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of the ledger."""
        with closing(sqlite3.connect(self.command.home / "data" / "ledger.db")) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
def batch(command: Command, server: BatchVendors) -> Batched:
    return Batched(command, server)


def texts(rows: Rows) -> list[str | None]:
    return [row.get("text") for row in rows]


def answers(prompts: list[str] = PROMPTS) -> list[str]:
    return [answer_to(prompt) for prompt in prompts]


def by_vendor(rows: Rows) -> list[Rows]:
    """The rows of each vendor, in the order of `VENDORS`."""
    return [[row for row in rows if row["target"] == vendor] for vendor in VENDORS]


def kinds(rows: Rows) -> list[str | None]:
    return [row["error"]["kind"] if row.get("error") else None for row in rows]


# the whole life


def test_a_batch_over_all_four_vendors_is_submitted_looked_at_and_collected(batch: Batched) -> None:
    server = batch.server
    server.behaviour = BatchBehaviour(looks=2, shuffled=True)
    ids = [part for vendor in VENDORS for part in ("-t", vendor)]
    name = batch.submit(*ids)
    assert Counter(job.vendor for job in server.jobs) == dict.fromkeys(VENDORS, 1)
    seen = batch("status", name, "--json").document["batches"][0]
    assert (seen["id"], seen["state"], seen["lines"], seen["answered"]) == (name, "running", 7, 0)
    assert {job["state"] for job in seen["jobs"]} == {"sent"}
    early = batch("collect", name, "-o", "early.jsonl")
    assert early.code in (0, 1)
    rows = batch.rows()
    assert [row["line"] for row in rows] == list(range(1, 8))
    assert texts(rows) == answers()
    assert [row["target"] for row in rows] == [VENDORS[place % 4] for place in range(7)]
    assert all(row["duration_s"] is None and row["time_to_first_token_s"] is None for row in rows)
    assert [row["cost"]["exact"] for row in rows] == [row["target"] != "azure" for row in rows]
    once, twice = batch("collect", name), batch("collect", name)
    assert once == twice
    assert batch("status", name, "--json").document["batches"][0]["state"] == "done"
    table = batch("status", name, "--offline").out
    assert name in table
    assert "collected" in table
    before = len(server.seen)
    assert batch("collect", name, **dict.fromkeys(_KEYS, "")).code == 0
    assert len(server.seen) == before, "what is collected needs nobody"
    for path in (batch.command.home / "data" / "batches").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert batch("prune", "--older-than", "1h").out == ""
    with closing(sqlite3.connect(batch.command.home / "data" / "ledger.db")) as ledger, ledger:
        ledger.execute("UPDATE batches SET at = at - 7200")
    assert batch("prune", "--older-than", "1h", "--dry-run").out.startswith(f"would remove {name}")
    assert batch("prune", "--older-than", "1h").out.startswith(f"removed {name}: 7 lines")
    assert batch("collect", name).code == 2
    assert batch("status", "--json").document["batches"] == []
    assert batch.ledger("SELECT count(*), sum(batch) FROM calls") == [(7, 7)]


def test_what_failed_is_sent_once_more_and_nothing_else(batch: Batched) -> None:
    server = batch.server
    server.behaviour = BatchBehaviour(fails_each=3, failing=Failing(429, "rate_limit_error", "slow down"))
    name = batch.submit(*EACH)
    for rows in by_vendor(batch.rows()):
        assert kinds(rows) == [None, None, "rate_limit"] * 2 + [None]
    server.behaviour = BatchBehaviour()
    again = batch("retry", name)
    assert again.code == 0, again.err
    assert "8 lines are sent once more, in 4 jobs" in again.err
    for rows in by_vendor(batch.rows()):
        assert texts(rows) == answers()
    assert Counter((job.vendor, job.lines) for job in server.jobs) == dict.fromkeys(product(VENDORS, (7, 2)), 1)
    assert batch.ledger("SELECT count(*), count(error_kind) FROM calls") == [(36, 8)]
    assert "no line failed, and none is sent once more" in batch("retry", name).err
    assert len(server.jobs) == 8


def test_an_expired_batch_gives_what_was_answered_and_the_rest_is_sent_once_more(batch: Batched) -> None:
    server = batch.server
    server.behaviour = BatchBehaviour(expires=True)
    name = batch.submit(*EACH)
    for vendor, rows in zip(VENDORS, by_vendor(batch.rows()), strict=True):
        answered = 0 if vendor == "gemini" else 3
        assert kinds(rows) == [None] * answered + ["timeout"] * (7 - answered)
        assert "expired" in rows[-1]["error"]["message"]
    server.behaviour = BatchBehaviour()
    assert batch("retry", name).code == 0
    for rows in by_vendor(batch.rows()):
        assert texts(rows) == answers()
    assert Counter(job.lines for job in server.jobs) == {7: 5, 4: 3}


def test_a_cancelled_batch_gives_what_was_answered(batch: Batched) -> None:
    server = batch.server
    server.behaviour = BatchBehaviour(never_ends=True)
    name = batch.submit(*EACH, LLM_BUDGET_DAILY="50")
    assert batch.reserved() > 0
    done = batch("cancel", name)
    assert done.code == 0, done.err
    for rows in by_vendor(batch.rows()):
        assert kinds(rows) == [None] * 3 + ["interrupted"] * 4
    assert batch.reserved() == 0
    assert batch("cancel", name).code == 0


def test_a_vendor_that_forgot_the_job_says_so_and_it_can_be_sent_again(batch: Batched) -> None:
    server = batch.server
    name = batch.submit(*EACH)
    server.behaviour = BatchBehaviour(forgets=True)
    done = batch("collect", "--wait")
    assert (done.code, done.out) == (1, "")
    assert done.err.count(f"'llmswitch batch retry {name}' sends its lines again") == 4
    server.jobs.clear()
    server.behaviour = BatchBehaviour()
    assert batch("retry", name).code == 0
    for rows in by_vendor(batch.rows()):
        assert texts(rows) == answers()


def test_an_answer_that_stands_twice_counts_once(batch: Batched) -> None:
    batch.server.behaviour = BatchBehaviour(duplicate=True)
    batch.submit(*EACH)
    for rows in by_vendor(batch.rows()):
        assert texts(rows) == answers()
    assert batch.ledger("SELECT count(*) FROM calls") == [(28,)]


@pytest.mark.parametrize("cut", ["line", "transfer"])
@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
def test_results_that_break_off_are_fetched_again(batch: Batched, vendor: str, cut: str) -> None:
    server = batch.server
    server.behaviour = BatchBehaviour(cut=cut)  # type: ignore[arg-type]  # one of its words
    name = batch.submit("-t", vendor)
    first = batch("collect", name, "--wait", "-o", "out.jsonl")
    assert first.code == 1
    assert not (batch.command.cwd / "out.jsonl").exists()
    assert "are not answered yet" in first.err
    assert [row.get("text") for row in batch.rows("--partial", code=1)] == answers()[:3] or server.jobs
    server.behaviour = BatchBehaviour()
    assert texts(batch.rows()) == answers()
    assert batch.ledger("SELECT count(*) FROM calls") == [(7,)]


def test_results_that_never_come_whole_are_given_up_by_a_retry(batch: Batched) -> None:
    batch.server.behaviour = BatchBehaviour(cut="line", shuffled=False)
    name = batch.submit("-t", "anthropic")
    assert batch("collect", name, "--wait").code == 1
    assert "4 lines are sent once more" in batch("retry", name).err
    batch.server.behaviour = BatchBehaviour()
    assert texts(batch.rows()) == answers()
    assert [job.lines for job in batch.server.jobs] == [7, 4]


def test_a_refused_job_is_told_and_can_be_sent_again(batch: Batched) -> None:
    batch.server.behaviour = BatchBehaviour(refuses=400)
    done = batch("submit", batch.file("\n".join(PROMPTS)), "-t", "openai", "--yes", LLM_BUDGET_DAILY="5")
    name = done.out.strip()
    assert done.code == 1
    assert f"llmswitch batch retry {name}" in done.err
    assert kinds(batch.rows(code=1)) == ["bad_request"] * 7
    assert batch.reserved() == 0
    batch.server.behaviour = BatchBehaviour()
    assert batch("retry", name).code == 0
    assert texts(batch.rows()) == answers()


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_connection_that_drops_after_the_job_was_made_does_not_make_another(batch: Batched, vendor: str) -> None:
    server = batch.server
    server.behaviour = BatchBehaviour(drops_create=True)
    args = ("submit", batch.file("\n".join(PROMPTS)), "-t", vendor, "--yes", "--job-lines", "4")
    first = batch(*args)
    assert first.code == 1
    assert "the same command goes on" in first.err
    second = batch(*args)
    assert "which was cut off" in second.err
    assert "found it at the vendor" in second.err
    server.behaviour = BatchBehaviour()
    assert batch(*args).code == 0
    assert texts(batch.rows()) == answers()
    assert sorted(job.lines for job in server.jobs) == [3, 4]


# other ways to be asked


def test_whoever_has_no_batch_interface_is_asked_one_by_one_under_the_same_commands(batch: Batched) -> None:
    server = batch.server
    team = {"LLM_ENDPOINTS": "team", "TEAM_BASE_URL": f"{server.url}/v1", "TEAM_API_KEY": KEY, "TEAM_MODEL": "m"}
    done = batch("submit", batch.file("\n".join(PROMPTS)), "-t", "team", **team)
    assert done.code == 0, done.err
    assert "team has no batch interface: its lines are asked one by one" in done.err
    assert texts(batch.rows(code=0, **team)) == answers()
    assert (server.live, server.jobs) == (["m"] * 7, [])
    assert batch.ledger("SELECT count(*), sum(batch) FROM calls") == [(7, 0)]


def test_live_asks_a_batching_vendor_one_by_one_at_the_usual_price(batch: Batched) -> None:
    batch.submit("-t", "openai", "--live", "--concurrency", "3")
    rows = batch.rows()
    assert texts(rows) == answers()
    assert len(batch.server.live) == 7
    assert batch.server.jobs == []
    assert all(row["duration_s"] > 0 for row in rows)
    ((spent, saved),) = batch.ledger("SELECT sum(cost_pico), sum(saved_pico) FROM calls")
    assert Decimal(spent).scaleb(-12) == sum(Decimal(row["cost"]["amount"]) for row in rows)
    assert not saved


def test_the_embedded_model_answers_a_batch(command: Command, home_with_model: Path) -> None:
    (command.cwd / "p.txt").write_text("What is the capital of France?\nSay hi.\n")
    done = command("batch", "submit", "p.txt", "-t", "local", "--max-tokens", "8", timeout=120)
    assert done.code == 0, done.err
    done = command("batch", "collect")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["provider"] for row in rows] == ["local", "local"]
    assert "Paris" in rows[0]["text"]


# money


def test_a_budget_refuses_the_whole_batch_before_anything_is_sent(batch: Batched) -> None:
    name = batch.file("\n".join(PROMPTS))
    for done in (
        batch("submit", name, "-t", "openai", "--yes", LLM_BUDGET_DAILY="0.01"),
        batch("submit", name, "-t", "openai", "--yes", "--max-cost", "0.01"),
        batch("submit", name, "-t", "openai", "--yes", "--live", "--max-cost", "0.00001"),
    ):
        assert done.code == 5, done.err
        assert done.out == ""
    assert batch.server.seen == []
    assert batch("status", "--json").document["batches"] == []
    assert list((batch.command.home / "data" / "batches").glob("*/*")) == []


def test_what_a_batch_may_cost_is_held_until_it_is_settled(batch: Batched) -> None:
    batch.submit("-t", "openai", LLM_BUDGET_DAILY="1")
    held = batch.reserved(LLM_BUDGET_DAILY="1")
    # 7 answers of up to 8,192 tokens at $5 a million
    assert Decimal("0.28") < held < Decimal("0.35")
    other = batch(
        "submit", batch.file("\n".join(PROMPTS * 20), "other.txt"), "-t", "openai", "--yes", LLM_BUDGET_DAILY="1"
    )
    assert other.code == 5
    assert "reserved" in other.err
    rows = batch.rows(LLM_BUDGET_DAILY="1")
    assert batch.reserved(LLM_BUDGET_DAILY="1") == 0
    spent = sum(Decimal(row["cost"]["amount"]) for row in rows)
    assert Decimal(batch.command("cost", "budget", "--json").document["day"]["spent"]) == spent
    # gpt-4o at $1.25 and $5 a million in a batch: 3 and 6 tokens each
    assert spent == 7 * (3 * Decimal("0.00000125") + 6 * Decimal("0.000005"))


def test_the_report_says_what_the_batch_saved(batch: Batched) -> None:
    batch.submit("-t", "openai", "-t", "azure")
    rows = batch.rows()
    total = batch.command("cost", "report", "--json").document["total"]
    assert total["calls"] == 7
    assert Decimal(total["cost"]["amount"]) == sum(Decimal(row["cost"]["amount"]) for row in rows)
    assert Decimal(total["saved_by_batch"]) == sum(
        Decimal(row["cost"]["amount"]) for row in rows if row["target"] == "openai"
    )
    assert total["duration_p50_s"] is None


def test_an_unknown_batch_price_is_said(batch: Batched) -> None:
    done = batch("submit", batch.file("hi"), "-t", "azure")
    assert "azure: no batch price is known: reckoned at its usual price, which bounds it" in done.err
    told = batch("submit", batch.file("ho"), "-t", "azure", "--json").document["targets"][0]
    assert told["batch_price_known"] is False
    done = batch("submit", batch.file("hey"), "-t", "openai:nobody-knows-it")
    assert "price unknown" in done.err
    done = batch("submit", batch.file("hum"), "-t", "openai:nobody-knows-it", LLM_BUDGET_DAILY="1")
    assert done.code == 5
    assert "LLM_PRICES" in done.err


def test_what_costs_more_than_was_said_is_confirmed(batch: Batched) -> None:
    arguments = ("submit", batch.file("\n".join(PROMPTS)), "-t", "openai", "--max-tokens", "1000")
    done = batch(*arguments, "--confirm-above", "0.001")
    assert done.code == 2
    assert "give --yes" in done.err
    assert batch.server.seen == []
    assert batch("submit", "-", "-t", "openai", "--max-tokens", "9", "--confirm-above", "0", stdin="x\n").code == 2
    assert batch(*arguments, "--confirm-above", "0.001", "--yes").code == 0


def test_a_dry_run_sends_and_keeps_nothing(batch: Batched) -> None:
    done = batch("submit", batch.file("\n".join(PROMPTS)), "-t", "openai", "--dry-run", "--json")
    assert done.document["lines"] == 7
    assert done.document["id"] is None
    assert batch.server.seen == []
    assert batch("status", "--json").document["batches"] == []


def test_answers_in_the_cache_are_not_sent_and_collected_ones_are_found_there(batch: Batched) -> None:
    env = batch.server.environ
    assert batch.command("ask", "-t", "openai", PROMPTS[0], env=env).code == 0
    name = batch.submit("-t", "openai")
    rows = batch.rows()
    assert texts(rows) == answers()
    assert [row["cached"] for row in rows] == [True] + [False] * 6
    assert [prompt for _, prompt in batch.server.jobs[0].requests] == PROMPTS[1:]
    asked = batch.command("ask", "-t", "openai", PROMPTS[3], "--json", env=env).document
    assert (asked["cached"], asked["text"]) == (True, answer_to(PROMPTS[3]))
    assert batch.server.live == ["gpt-4o"]
    second = batch.submit("-t", "openai")
    assert second != name
    assert [row["cached"] for row in batch.rows(second)] == [True] * 7
    assert len(batch.server.jobs) == 1
    third = batch.submit("-t", "openai", "--no-cache")
    assert [row["cached"] for row in batch.rows(third)] == [False] * 7
    assert len(batch.server.jobs) == 2


# handing in twice


def test_the_same_lines_are_not_under_way_twice_unless_that_is_wanted(batch: Batched) -> None:
    batch.server.behaviour = BatchBehaviour(never_ends=True)
    name = batch.submit("-t", "openai")
    done = batch("submit", "prompts.txt", "-t", "openai")
    assert (done.code, done.out.strip()) == (0, name)
    assert "are under way as" in done.err
    assert len(batch.server.jobs) == 1
    told = batch("submit", "prompts.txt", "-t", "openai", "--json").document
    assert (told["id"], told["resumed"]) == (name, True)
    assert batch.submit("-t", "openai", "--again") != name
    assert len(batch.server.jobs) == 2


# what goes wrong


def test_a_wrong_key_loses_nothing_and_the_same_command_goes_on(batch: Batched) -> None:
    arguments = ("submit", batch.file("\n".join(PROMPTS)), "-t", "openai", "-t", "gemini", "--yes", "--job-lines", "2")
    done = batch(*arguments, **dict.fromkeys(_KEYS, WRONG))
    assert done.code == 1
    assert WRONG not in done.out + done.err
    assert done.err.count("Incorrect API key") == 2
    assert batch.server.jobs == []
    assert batch(*arguments).code == 0
    assert len(batch.server.jobs) == 4
    done = batch("collect", "--wait", **dict.fromkeys(_KEYS, WRONG))
    assert done.code == 1, "it is no use to wait"
    assert texts(batch.rows()) == answers()


def test_another_account_than_it_was_sent_with_is_refused(batch: Batched) -> None:
    batch.submit("-t", "openai")
    with BatchVendors() as other:
        done = Batched(batch.command, other)("collect", "--wait")
        assert done.code == 2
        assert "was made for openai:gpt-4o@127.0.0.1" in done.err
        assert other.seen == []
    assert texts(batch.rows()) == answers()


def test_without_a_network_nothing_is_lost(batch: Batched) -> None:
    nowhere = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    batch.submit("-t", "openai")
    batch.server.__exit__(None, None, None)
    for arguments in (("status",), ("collect",), ("cancel", batch.ledger("SELECT id FROM batches")[0][0])):
        done = batch(*arguments)
        assert done.code == 1, arguments
        assert "connect" in done.err
    assert batch("status", "--offline").code == 0
    other = batch("submit", batch.file("else"), "-t", "openai", **nowhere)
    assert other.code == 1
    assert batch.ledger("SELECT state FROM batch_jobs ORDER BY made_at") == [("sent",), ("sending",)]
    batch.server.__init__()  # type: ignore[misc]  # so that its end ends something
    batch.server.__enter__()


@pytest.mark.skipif(os.name != "posix", reason="no RLIMIT_FSIZE")
@pytest.mark.parametrize("size", [60_000, 200_000, 600_000])
def test_a_full_disk_while_collecting_loses_nothing(batch: Batched, size: int) -> None:
    server = batch.server
    server.behaviour = BatchBehaviour(padding=20_000)
    prompts = [f"question {number}" for number in range(60)]
    batch.submit("-t", "openai", prompts=prompts)
    done = subprocess.run(
        [str(COMMAND), "batch", "collect", "--wait", "-o", "out.jsonl"],
        cwd=batch.command.cwd,
        env=batch.command.environment(server.environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY)),
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 2, done.stderr
    assert "look whether its disk is full" in done.stderr or "File too large" in done.stderr
    assert [path.name for path in batch.command.cwd.iterdir()] == ["prompts.txt"]
    rows = batch.rows()
    assert [text[:20] for text in map(str, texts(rows))] == [
        text[:20] for text in (a + "x" * 9 for a in answers(prompts))
    ]
    assert batch.ledger("SELECT count(*) FROM calls") == [(60,)]
    assert len(server.jobs) == 1


def test_an_output_that_cannot_be_written_is_told_before_anybody_is_asked(batch: Batched) -> None:
    batch.submit("-t", "openai")
    before = len(batch.server.seen)
    (batch.command.cwd / "folder").mkdir()
    for name in ("folder", "nowhere/out.jsonl"):
        done = batch("collect", "-o", name)
        assert done.code == 2
        assert "cannot write" in done.err
    assert len(batch.server.seen) == before


def test_an_output_that_is_a_device_stays_one_and_a_link_keeps_pointing(batch: Batched) -> None:
    batch.submit("-t", "openai")
    assert batch("collect", "-o", "/dev/null").code == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    (batch.command.cwd / "target.jsonl").write_text("old")
    (batch.command.cwd / "link.jsonl").symlink_to("target.jsonl")
    assert batch("collect", "-o", "link.jsonl").code == 0
    assert (batch.command.cwd / "link.jsonl").is_symlink()
    assert len((batch.command.cwd / "target.jsonl").read_text().splitlines()) == 7


# input


def test_prompts_come_from_standard_input(batch: Batched) -> None:
    done = batch("submit", "-", "-t", "openai", stdin="one\r\n\n  \ntwo\n")
    assert done.code == 0, done.err
    rows = batch.rows()
    assert [(row["line"], row["text"]) for row in rows] == [(1, answer_to("one")), (4, answer_to("two"))]


@pytest.mark.parametrize("content", ["", "\n\n \r\n", "\ufeff", "\ufeff\r\n"])
def test_an_empty_file_is_told(batch: Batched, content: str) -> None:
    for name in ("p.txt", "p.jsonl"):
        done = batch("submit", batch.file(content, name), "-t", "openai")
        assert done.code == 2
        assert "there is no question in the input" in done.err
    assert batch.server.seen == []


_BAD = [
    '{"prompt": "fine", "id": "a"}',
    '{"prompt": "half',
    '{"prompt": "again", "id": "a"}',
    '{"prompt": 3}',
    "[]",
    '{"no": "prompt"}',
    '{"prompt": "x", "temperature": 9}',
    '{"prompt": "x", "target": "nobody"}',
    '{"prompt": "\\ud800"}',
    '{"prompt": "x", "id": "\\udc00"}',
    '{"prompt": "x", "id": 1e999}',
    '{"prompt": "x", "max_tokens": NaN}',
    '{"prompt": "x", "stop": ["\\ud800"]}',
    '{"prompt": "' + "[" * 50_000,
    "[" * 50_000,
    '{"prompt": "also fine", "id": 7}',
]


def test_bad_lines_are_named_by_number_and_left_out_only_where_that_is_said(batch: Batched) -> None:
    name = batch.file("\n".join(_BAD), "p.jsonl")
    done = batch("submit", name, "-t", "openai")
    assert done.code == 2
    assert "14 lines are no question, and nothing was sent" in done.err
    for line in range(2, 16):
        assert f"line {line}: " in done.err
    assert "line 3: its id 'a' was used on line 1" in done.err
    assert batch.server.seen == []
    done = batch("submit", name, "-t", "openai", "--skip-bad")
    assert done.code == 0, done.err
    assert "left out 14 bad lines: 2, 3, 4" in done.err
    assert [(row["line"], row["id"], row["text"]) for row in batch.rows()] == [
        (1, "a", answer_to("fine")),
        (16, "7", answer_to("also fine")),
    ]


def test_a_file_that_is_no_text_is_refused_line_by_line(batch: Batched) -> None:
    done = batch("submit", batch.file(b"\xff\xfe\x00\n\x80abc\nfine\n"), "-t", "openai")
    assert done.code == 2
    assert "line 1: it is not UTF-8 text" in done.err
    assert "line 2: " in done.err


def test_a_long_line_a_mark_and_windows_ends_are_taken(batch: Batched) -> None:
    long = "word " * 600_000
    content = "\ufeff" + json.dumps({"prompt": "first"}) + "\r\n" + json.dumps({"prompt": long}) + "\r\n"
    done = batch("submit", batch.file(content, "p.jsonl"), "-t", "openai", "--yes")
    assert done.code == 0, done.err
    rows = batch.rows()
    assert rows[0]["text"] == answer_to("first")
    assert len(rows[1]["text"]) == len(answer_to(long))


def test_a_nul_is_sent_as_it_is(batch: Batched) -> None:
    batch.submit("-t", "openai", prompts=["a\0b", "\0"])
    assert texts(batch.rows()) == [answer_to("a\0b"), answer_to("\0")]


def test_csv_rows_have_their_own_targets_and_parameters(batch: Batched) -> None:
    name = batch.file('id,prompt,target\r\na,"two\r\nlines",gemini\r\nb,one,\r\n', "p.csv")
    assert batch("submit", name, "-t", "openai").code == 0
    rows = batch.rows()
    assert [(row["id"], row["target"], row["text"]) for row in rows] == [
        ("a", "gemini", answer_to("two\r\nlines")),
        ("b", "openai", answer_to("one")),
    ]


# hostile


def test_hostile_answers_reach_no_terminal_and_stay_whole_in_the_rows(batch: Batched) -> None:
    evil = "\x1b]0;owned\x07\x1b[2Jrm -rf\u202e"
    row = json.dumps({"prompt": evil, "id": evil, "\x1b[31mstrange": 1})
    done = batch("submit", batch.file(row, "\x1b[31mp.jsonl"), "-t", "openai", "--skip-bad")
    assert done.code == 0, done.err
    out = batch("collect", "--wait", "--poll", "0.05")
    assert json.loads(out.out)["text"] == answer_to(evil)
    status = batch("status", batch.ledger("SELECT id FROM batches")[0][0])
    for told in (done.out, done.err, out.out, out.err, status.out, status.err):
        assert "\x1b" not in told
        assert "\u202e" not in told or told == out.out


def test_odd_ids_in_the_results_are_nobody_s_answers(batch: Batched) -> None:
    name = batch.submit("-t", "openai", prompts=["one", "two"])
    (job,) = batch.server.jobs
    odd = [
        "",
        name,
        f"{name}-",
        f"{name}-0",
        f"{name}-01",
        f"{name}--1",
        f"{name}-3",
        f"{name}-²",
        f"{name}-" + "9" * 5000,
    ]
    odd += [f"{name}-{2**63}", f"{name}-1 ", "\x1b[31m", "other-1", f"{name}-1e0"]
    job.requests = [(custom_id, "stranger's") for custom_id in odd] + job.requests
    done = batch("collect", "--wait", "--poll", "0.05")
    assert done.code == 0, done.err
    assert texts([json.loads(line) for line in done.out.splitlines()]) == [answer_to("one"), answer_to("two")]
    assert f"{len(odd)} answers in the vendor's file are to no question of it" in done.err


def test_an_answer_to_another_job_s_question_is_nobody_s(batch: Batched) -> None:
    batch.submit("-t", "openai", "--job-lines", "1", prompts=["one", "two"])
    first, second = batch.server.jobs
    stolen, own = first.requests[0], second.requests[0]
    second.requests = [(stolen[0], "not this"), own]
    assert texts(batch.rows()) == [answer_to("one"), answer_to("two")]
