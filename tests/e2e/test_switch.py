"""The installed command kept going: retried, handed on, hedged, bounded by a budget; and what it says of that."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest

from tests.e2e.conftest import Command
from tests.servers.recorder import Seen
from tests.servers.vendors import Behaviour, Vendors

FAILS = Behaviour(status=500)
CUT = Behaviour("one two three four five six", cut_after=3, each_s=0.02)


@pytest.fixture
def vendors() -> Iterator[Vendors]:
    """Four vendors; models named after what they do."""
    seen: dict[str, int] = {}

    def fails_once(_: object) -> Behaviour:
        seen["once"] = seen.get("once", 0) + 1
        return FAILS if seen["once"] == 1 else Behaviour()

    def cut_once(_: object) -> Behaviour:
        seen["cut"] = seen.get("cut", 0) + 1
        return CUT if seen["cut"] == 1 else Behaviour()

    behaviours: dict[str, Behaviour | Callable[[Seen], Behaviour]] = {
        "fails": FAILS,
        "fails-once": fails_once,
        "cut": CUT,
        "cut-once": cut_once,
        "refused": Behaviour(status=400),
        "bad-key": Behaviour(status=401),
        "unknown": Behaviour(status=404),
        "limited": Behaviour(status=429),
        "slow": Behaviour(first_s=20.0),
        "gpt-4o-mini": Behaviour(first_s=20.0),
    }
    with Vendors(behaviours) as server:
        yield server


def env(vendors: Vendors, **more: str) -> dict[str, str]:
    return {**vendors.environ, "LLM_MAX_RETRIES": "2", **more}


def test_a_failure_that_passes_is_asked_again_and_only_the_attempts_tell(command: Command, vendors: Vendors) -> None:
    done = command("ask", "-t", "openai:fails-once", "--json", "hi", env=env(vendors))
    assert done.code == 0
    assert [attempt["outcome"] for attempt in done.document["attempts"]] == ["server", "ok"]
    assert done.document["duration_s"] > 0.4 > done.document["attempts"][1]["duration_s"]


def test_no_retries_where_none_are_wanted(command: Command, vendors: Vendors) -> None:
    done = command("ask", "-t", "openai:fails-once", "--max-retries", "0", "hi", env=env(vendors))
    assert done.code == 1
    assert vendors.asked == ["fails-once"]


@pytest.mark.parametrize("model", ["refused", "bad-key"])
def test_our_own_mistakes_are_neither_retried_nor_handed_on(command: Command, vendors: Vendors, model: str) -> None:
    done = command("ask", "-t", f"openai:{model}", "--fallback", "gemini", "hi", env=env(vendors))
    assert done.code == 1
    assert vendors.asked == [model]


def test_a_bad_key_is_handed_on_where_that_is_asked_for(command: Command, vendors: Vendors) -> None:
    more = env(vendors, LLM_FALLBACK_ON="authentication", LLM_FALLBACK="gemini")
    done = command("ask", "-t", "openai:bad-key", "--json", "hi", env=more)
    assert done.code == 0
    assert done.document["provider"] == "gemini"


@pytest.mark.parametrize("model", ["fails", "unknown"])
@pytest.mark.parametrize("how", [("--json",), ()])
def test_another_target_answers_with_its_own_model(
    command: Command, vendors: Vendors, model: str, how: tuple[str, ...]
) -> None:
    more = env(vendors, LLM_FALLBACK="gemini,claude", LLM_MAX_RETRIES="0")
    done = command("ask", "-t", f"openai:{model}", *how, "hi", env=more)
    assert (done.code, vendors.asked) == (0, [model, "gemini-2.5-flash"])
    assert "Paris is the capital." in done.out


def test_a_profiles_fallbacks_are_left_alone_by_flag(command: Command, vendors: Vendors) -> None:
    done = command("ask", "-t", "openai:fails", "--no-fallback", "hi", env=env(vendors, LLM_FALLBACK="gemini"))
    assert done.code == 1
    assert set(vendors.asked) == {"fails"}


def test_when_all_fail_the_error_lists_every_reason(command: Command, vendors: Vendors) -> None:
    more = env(vendors, LLM_MAX_RETRIES="0")
    done = command("ask", "-t", "openai:fails", "--fallback", "claude:unknown,team:limited", "--json", "hi", env=more)
    assert done.code == 1
    error = done.document["error"]
    assert (error["kind"], error["provider"]) == ("server", "openai")
    for target in ("openai:fails", "claude:unknown", "team:limited"):
        assert f"{target}: " in error["message"]


def test_a_fallback_without_a_key_is_noticed_before_anything_is_sent(command: Command, vendors: Vendors) -> None:
    done = command("ask", "-p", "openai", "--fallback", "groq", "hi", env=env(vendors))
    assert (done.code, vendors.asked) == (2, [])
    assert "GROQ_API_KEY" in done.err


def test_a_cut_answer_that_was_shown_is_an_error_with_its_text(command: Command, vendors: Vendors) -> None:
    done = command("ask", "-t", "openai:cut", "--fallback", "gemini", "hi", env=env(vendors))
    assert (done.code, vendors.asked) == (1, ["cut"])
    assert done.out.startswith("one two three")
    assert "not the whole answer" in done.err


@pytest.mark.parametrize("how", [("--json",), ("-o", "answer.txt")])
def test_a_cut_answer_that_nobody_saw_is_asked_for_again(
    command: Command, vendors: Vendors, how: tuple[str, ...]
) -> None:
    done = command("ask", "-t", "openai:cut-once", *how, "hi", env=env(vendors))
    assert (done.code, vendors.asked) == (0, ["cut-once", "cut-once"])
    text = (command.cwd / "answer.txt").read_text() if how[0] == "-o" else done.document["text"]
    assert text.strip() == "Paris is the capital."


def test_restart_on_cut_in_a_pipe_prints_the_whole_answer_alone(command: Command, vendors: Vendors) -> None:
    done = command("ask", "-t", "openai:cut-once", "--restart-on-cut", "hi", env=env(vendors))
    assert (done.code, done.out) == (0, "Paris is the capital.\n")


def test_compare_retries_and_leaves_a_profiles_fallbacks_alone(command: Command, vendors: Vendors) -> None:
    more = env(vendors, LLM_FALLBACK="claude", LLM_BALANCE="fastest")
    done = command("compare", "-t", "openai:fails-once", "-t", "team:fails", "--json", "hi", env=more)
    once, fails = done.document["results"]
    assert [attempt["outcome"] for attempt in once["attempts"]] == ["server", "ok"]
    assert fails["error"]["kind"] == "server"
    assert "claude-sonnet-4-5" not in vendors.asked


def test_a_comparisons_fallback_may_be_one_of_its_rows(command: Command, vendors: Vendors) -> None:
    rows = ("-t", "openai", "-t", "gemini:fails", "--fallback", "openai")
    done = command("compare", *rows, "--max-retries", "0", "--no-cache", "--json", "hi", env=env(vendors))
    assert [row["provider"] for row in done.document["results"]] == ["openai", "openai"]
    assert sorted(vendors.asked) == ["fails", "gpt-4o", "gpt-4o"]


def test_a_comparison_that_no_budget_lets_begin_is_exit_5(command: Command, vendors: Vendors) -> None:
    rows = ("-t", "openai", "-t", "gemini")
    done = command("compare", *rows, "hi", env=env(vendors, LLM_BUDGET_DAILY="0.000001"))
    assert (done.code, vendors.asked) == (5, [])
    # one that fits is an answer, as where another target fails
    done = command("compare", *rows, "--max-cost", "0.05", "hi", env=env(vendors))
    assert (done.code, vendors.asked) == (0, ["gemini-2.5-flash"])


def test_a_slow_target_is_hedged_and_what_the_loser_may_have_cost_is_kept(
    command: Command, vendors: Vendors, home: Path
) -> None:
    done = command(
        "ask", "-t", "openai:slow", "--fallback", "gemini", "--hedge", "200ms", "--json", "hi", env=env(vendors)
    )
    assert (done.code, done.document["provider"]) == (0, "gemini")
    assert done.document["duration_s"] < 15
    assert {a["outcome"] for a in done.document["attempts"]} == {"interrupted", "ok"}
    with sqlite3.connect(home / "data" / "ledger.db") as ledger:
        rows = ledger.execute("SELECT provider, lost FROM calls ORDER BY lost").fetchall()
    ledger.close()
    assert rows == [("gemini", None), ("openai", "hedged")]


def test_a_dead_primary_is_no_longer_touched_by_the_twentieth_call(command: Command, vendors: Vendors) -> None:
    more = env(vendors, LLM_FALLBACK="gemini")
    touched, started = [], time.monotonic()
    for number in range(20):
        before = vendors.asked.count("fails")
        done = command("ask", "-t", "openai:fails", f"question {number}", env=more)
        assert done.code == 0
        touched.append(vendors.asked.count("fails") - before)
    assert touched[0] > 0
    # a slow machine's twenty calls take longer than the pause, and each that ends lets one probe through
    assert sum(touched) <= 5 + (time.monotonic() - started) // 30
    assert touched[-1] == 0 or time.monotonic() - started > 30
    shown = command("providers", "--health", "--json", env=more)
    assert "open" in shown.out


def test_a_fallback_that_does_not_start_leaves_the_call_to_the_next(command: Command, vendors: Vendors) -> None:
    pytest.importorskip("xllamacpp", reason="needs the extra 'local'")
    (command.cwd / "damaged.gguf").write_bytes(b"GGUF, and nothing more")
    more = env(vendors, LLM_FALLBACK="local:./damaged.gguf,team")
    for left_alone in (False, True):
        done = command("ask", "-t", "openai:fails", "--no-cache", "--json", "hi", env=more)
        assert (done.code, done.document["provider"]) == (0, "team"), left_alone
        command("ask", "-t", "openai:fails", "--no-fallback", "hi", env=more)
    assert len(vendors.asked) == 5 + 2


def test_a_budget_that_would_be_exceeded_is_exit_5_and_sends_nothing(command: Command, vendors: Vendors) -> None:
    for arguments, more in (
        (("--max-cost", "0.000001"), {}),
        ((), {"LLM_BUDGET_DAILY": "0.000001"}),
        ((), {"LLM_BUDGET_MONTHLY": "0.000001"}),
    ):
        done = command("ask", "-p", "openai", *arguments, "--json", "hi", env=env(vendors, **more))
        assert (done.code, vendors.asked) == (5, [])
        assert done.document["error"]["kind"] == "budget"


def test_a_budget_that_holds_lets_through_and_counts_the_true_cost(command: Command, vendors: Vendors) -> None:
    more = env(vendors, LLM_BUDGET_DAILY="0.09")
    first = command("ask", "-p", "openai", "--json", "one", env=more)
    assert first.code == 0
    # its worst case alone is 0.08: it was not what counts now
    again = command("ask", "-p", "openai", "--json", "two", env=more)
    assert (again.code, Decimal(again.document["cost"]["amount"])) == (0, Decimal(first.document["cost"]["amount"]))


def test_an_answer_from_the_cache_needs_no_budget(command: Command, vendors: Vendors) -> None:
    assert command("ask", "-p", "openai", "--max-cost", "1", "hi", env=env(vendors)).code == 0
    done = command("ask", "-p", "openai", "--max-cost", "0", "--json", "hi", env=env(vendors))
    assert (done.code, done.document["cached"]) == (0, True)


def test_a_model_of_unknown_price_is_refused_under_a_budget_unless_allowed(command: Command, vendors: Vendors) -> None:
    done = command("ask", "-p", "team", "--max-cost", "1", "hi", env=env(vendors))
    assert (done.code, vendors.asked) == (5, [])
    assert "--allow-unknown-price" in done.err
    assert command("ask", "-p", "team", "--max-cost", "1", "--allow-unknown-price", "hi", env=env(vendors)).code == 0


def test_a_killed_calls_reservation_is_settled_once_its_lease_is_over(
    command: Command, vendors: Vendors, home: Path
) -> None:
    more = env(vendors, LLM_BUDGET_DAILY="0.30")
    process = command.start(["ask", "-t", "openai:gpt-4o-mini", "hi"], more)
    while "gpt-4o-mini" not in vendors.asked and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    ledger = sqlite3.connect(home / "data" / "ledger.db")
    assert ledger.execute("SELECT count(*) FROM reservations").fetchone() == (1,)
    with ledger:  # as if its lease had been over for an hour
        ledger.execute("UPDATE reservations SET lease_until = lease_until - 3600")
    assert command("ask", "-p", "openai", "next", env=more).code == 0
    assert ledger.execute("SELECT count(*) FROM reservations").fetchone() == (0,)
    kinds = ledger.execute("SELECT finish_reason, cost_exact FROM calls ORDER BY id").fetchall()
    ledger.close()
    assert kinds[0] == ("interrupted", 0)


def test_a_limit_is_waited_for_and_a_deadline_that_is_too_short_says_so(command: Command, vendors: Vendors) -> None:
    more = env(vendors, OPENAI_RPM="1")
    assert command("ask", "-p", "openai", "one", env=more).code == 0
    started = time.monotonic()
    done = command("ask", "-p", "openai", "--timeout", "5", "--json", "two", env=more)
    assert time.monotonic() - started < 20
    assert (done.code, done.document["error"]["kind"]) == (1, "rate_limit")
    assert 30 < done.document["error"]["retry_after_s"] <= 60
    other = command("ask", "-p", "openai", "--fallback", "gemini", "--json", "three", env=more)
    assert (other.code, other.document["provider"]) == (0, "gemini")
    assert vendors.asked == ["gpt-4o", "gemini-2.5-flash"]


def test_a_balance_chooses_among_targets_that_nobody_named(command: Command, vendors: Vendors) -> None:
    more = env(vendors, LLM_BALANCE="weighted:gemini=1,openai=0")
    done = command("ask", "--json", "hi", env=more)
    assert (done.code, done.document["provider"]) == (0, "gemini")
    named = command("ask", "-p", "claude", "--json", "hi", env=more)
    assert named.document["provider"] == "anthropic"


def test_whom_a_balance_will_choose_is_not_said_before_it_has(command: Command, vendors: Vendors) -> None:
    more = env(vendors, LLM_BALANCE="weighted:openai=0,gemini=1")
    done = command("ask", "-v", "hi", env=more)
    assert "asking one of openai, gemini" in done.err
    assert "gpt-4o" not in done.err
    shown = command("ask", "--dry-run", "hi", env=more)
    assert shown.document["provider"] == "openai"
    assert "LLM_BALANCE chooses" in shown.err


@pytest.mark.parametrize(
    ("arguments", "more", "says"),
    [
        (("--fallback", "nobody"), {}, "nobody"),
        (("--fallback", "gemini", "--no-fallback"), {}, "--no-fallback"),
        (("--hedge", "soon"), {}, "--hedge"),
        (("--max-cost", "much"), {}, "--max-cost"),
        (("--max-retries", "99"), {}, "--max-retries"),
        ((), {"LLM_BALANCE": "best"}, "LLM_BALANCE"),
        ((), {"LLM_FALLBACK_ON": "bad_request"}, "LLM_FALLBACK_ON"),
        ((), {"OPENAI_RPM": "0"}, "OPENAI_RPM"),
        ((), {"LLM_BUDGET_DAILY": "-3"}, "LLM_BUDGET_DAILY"),
        ((), {"REDIS_URL": "http://127.0.0.1:1"}, "REDIS_URL"),
    ],
)
def test_what_cannot_be_is_exit_2_and_names_what_to_mend(
    command: Command, vendors: Vendors, arguments: tuple[str, ...], more: dict[str, str], says: str
) -> None:
    done = command("ask", "-p", "openai", *arguments, "--json", "hi", env=env(vendors, **more))
    assert (done.code, vendors.asked) == (2, [])
    assert says in done.document["error"]["message"]


def test_json_stays_one_document_with_everything_on(command: Command, vendors: Vendors) -> None:
    more = env(vendors, LLM_FALLBACK="gemini", LLM_BUDGET_DAILY="5", OPENAI_RPM="100", OPENAI_TPM="100000")
    done = command("ask", "-t", "openai:fails-once", "--allow-unknown-price", "-v", "--json", "hi", env=more)
    assert json.loads(done.out)["schema"] == "llmswitch/response/1"
    assert "asking again in" in done.err


def test_a_conversation_stays_with_the_target_that_was_chosen_for_it(command: Command, vendors: Vendors) -> None:
    more = env(vendors, LLM_BALANCE="weighted:openai=0,gemini=1")
    assert command("ask", "--json", "one", env=more).document["provider"] == "gemini"
    later = env(vendors, LLM_BALANCE="weighted:openai=1,gemini=0")
    assert command("ask", "-c", "--json", "two", env=later).document["provider"] == "gemini"
    assert command("ask", "--json", "three", env=later).document["provider"] == "openai"


def test_a_target_that_is_left_alone_costs_no_import_of_its_sdk(command: Command, vendors: Vendors) -> None:
    more = env(vendors, LLM_FALLBACK="gemini", LLM_MAX_RETRIES="0")
    with ThreadPoolExecutor(5) as pool:  # all within the minute that counts, however slow the machine is
        failed = pool.map(lambda n: command("ask", "-t", "claude:fails", f"question {n}", env=more), range(5))
        assert [one.code for one in failed] == [0] * 5
    looked = {**more, "PYTHONPROFILEIMPORTTIME": "1"}
    done = command("ask", "-t", "claude:fails", "the last one", env=looked)
    assert done.code == 0
    assert vendors.asked.count("fails") == 5
    assert "google.genai" in done.err
    assert "anthropic._client" not in done.err
