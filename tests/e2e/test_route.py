"""`ask --route`: the cheap model where it is enough, by what benches found or by checking its answer."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from llmswitch.evidence import Evidence, keep_evidence
from tests.e2e.conftest import Command
from tests.servers.recorder import Seen
from tests.servers.vendors import Behaviour, Vendors

TIERS = "openai:small,gemini:middle,claude:big"
REFUSAL = Behaviour(text="I'm sorry, but I can't help with that.")
WRONG = Behaviour(text="It is Lyon.")


@pytest.fixture
def vendors() -> Iterator[Vendors]:
    with Vendors() as server:
        yield server


def env(vendors: Vendors, **more: str) -> dict[str, str]:
    return {**vendors.environ, "LLM_TIERS": TIERS, **more}


def found(provider: str, model: str, passed: int, judged: int = 200, *, task: str = "", at: float = 1e9) -> Evidence:
    share = passed / judged
    half = 1.96 * (share * (1 - share) / judged) ** 0.5
    name = {"anthropic": "claude"}.get(provider, provider)
    return Evidence(
        *(f"r{at:.0f}", "runs/r", "capitals", at, f"{name}:{model}", provider, model, task, 20, judged, passed),
        *(max(0.0, share - half), min(1.0, share + half), 1.0, 50.0, 0.2, Decimal("0.5"), judged, None, None, 0),
    )


def keep(command: Command, *rows: Evidence) -> None:
    keep_evidence(command.home / "data" / "ledger.db", rows)


def test_the_cheapest_that_benches_show_to_be_enough_is_asked(command: Command, vendors: Vendors) -> None:
    keep(
        command,
        found("openai", "small", 120),
        found("gemini", "middle", 196),
        found("anthropic", "big", 197),
        found("openai", "small", 199, task="simple"),
        found("anthropic", "big", 199, task="simple"),
    )
    done = command("ask", "--route", "auto", "--explain", "hi", env=env(vendors))
    assert (done.code, vendors.asked) == (0, ["middle"]), done.err
    assert "openai:small: passes 0.60" in done.err
    assert "asking gemini:middle: it passes 0.98" in done.err
    done = command("ask", "--route", "auto", "--task", "simple", "--json", "hello", env=env(vendors))
    assert vendors.asked == ["middle", "small"]
    route = done.document["route"]
    assert (route["by"], route["chosen"], route["task"], route["tried"]) == ("evidence", "openai:small", "simple", [])


def test_little_evidence_is_not_enough_and_the_newest_counts(command: Command, vendors: Vendors) -> None:
    keep(
        command, found("openai", "small", 10, 10), found("anthropic", "big", 199), found("openai", "small", 199, at=1e6)
    )
    done = command("ask", "--route", "evidence", "hi", env=env(vendors))
    assert (done.code, vendors.asked) == (0, ["small"])
    keep(command, found("openai", "small", 8, 8, at=2e9)._replace(low=0.6))
    command("ask", "--route", "evidence", "hello", env=env(vendors))
    assert vendors.asked == ["small", "big"]
    command("ask", "--route", "evidence", "--margin", "45pp", "hello you", env=env(vendors))
    assert vendors.asked[-1] == "small"


def test_of_two_alike_the_cheaper_one_must_be_shown_to_be_enough(command: Command, vendors: Vendors) -> None:
    keep(command, found("openai", "small", 2, 2)._replace(low=0.34), found("anthropic", "big", 2, 2)._replace(low=0.34))
    done = command("ask", "--route", "evidence", "--explain", "hi", env=env(vendors))
    assert vendors.asked == ["big"]
    assert "openai:small: passes 1.00 [0.34, 1.00] of 2 in capitals: at most 66% worse than the best" in done.err


def test_what_one_suite_found_is_held_against_no_other_suite(command: Command, vendors: Vendors) -> None:
    easy = found("openai", "small", 200, at=2e9)._replace(suite="easy")
    keep(command, easy, found("anthropic", "big", 100))
    done = command("ask", "--route", "evidence", "hi", env=env(vendors))
    assert (done.code, vendors.asked) == (2, [])
    keep(command, found("openai", "small", 50))
    command("ask", "--route", "evidence", "hi", env=env(vendors))
    assert vendors.asked == ["big"]


def test_one_model_asked_in_two_ways_is_two_tiers(command: Command, vendors: Vendors) -> None:
    tiers = [f"openai:m?reasoning_effort={effort}" for effort in ("low", "high")]
    passed = {tiers[0]: 100, tiers[1]: 198}
    keep(command, *(found("openai", "m", passed[tier])._replace(target=tier) for tier in tiers))
    done = command("ask", "--route", "evidence", "--json", "hi", env=env(vendors, LLM_TIERS=",".join(tiers)))
    assert (done.code, done.document["route"]["chosen"]) == (0, tiers[1]), done.err


def test_what_is_to_be_checked_is_checked_whatever_is_on_record(command: Command, vendors: Vendors) -> None:
    keep(command, found("openai", "small", 199), found("anthropic", "big", 199))
    vendors.behaviours = {"small": WRONG}
    done = command("ask", "--route", "auto", "--check", "contains:Paris", "--json", "hi", env=env(vendors))
    assert (done.code, done.document["route"]["chosen"]) == (0, "gemini:middle")


def test_a_ledger_that_cannot_be_read_is_a_warning_unless_evidence_alone_decides(
    command: Command, vendors: Vendors
) -> None:
    (command.home / "data").mkdir(parents=True, mode=0o700)
    (command.home / "data" / "ledger.db").write_bytes(b"no ledger at all" * 400)
    done = command("ask", "--route", "auto", "hi", env=env(vendors))
    assert (done.code, vendors.asked) == (0, ["small"])
    assert "set-aside" in done.err
    assert command("ask", "--route", "evidence", "hi", env=env(vendors)).code == 2


def test_without_evidence_evidence_alone_is_refused_and_nothing_is_sent(command: Command, vendors: Vendors) -> None:
    done = command("ask", "--route", "evidence", "--task", "x", "hi", env=env(vendors))
    assert (done.code, vendors.asked) == (2, [])
    assert "no bench of the task 'x'" in done.err


def test_a_cheap_answer_that_does_is_the_answer(command: Command, vendors: Vendors) -> None:
    done = command("ask", "--route", "auto", "--explain", "hi", env=env(vendors))
    assert (done.code, done.out, vendors.asked) == (0, "Paris is the capital.\n", ["small"]), done.err
    assert "openai:small: enough" in done.err


@pytest.mark.parametrize(
    ("behaviour", "arguments", "why"),
    [
        (REFUSAL, (), "not-is-refusal"),
        (Behaviour(text=""), (), "empty"),
        (Behaviour(status=500), (), "server"),
        (Behaviour(finish="length"), (), "length"),
        (WRONG, ("--check", "contains:Paris"), "contains"),
        (WRONG, ("--check", "not-contains:Lyon"), "not-contains"),
    ],
)
def test_an_answer_that_does_not_do_is_asked_of_the_next_tier(
    command: Command, vendors: Vendors, behaviour: Behaviour, arguments: tuple[str, ...], why: str
) -> None:
    vendors.behaviours = {"small": behaviour, "middle": behaviour}
    done = command("ask", "--route", "cascade", *arguments, "--json", "hi", env=env(vendors))
    assert (done.code, vendors.asked) == (0, ["small", "middle", "big"]), done.err
    assert done.document["text"] == "Paris is the capital."
    route = done.document["route"]
    assert (route["by"], route["chosen"]) == ("cascade", "claude:big")
    assert [one["passed"] for one in route["tried"]] == [False, False, True]
    assert why in route["tried"][0]["reason"]


def test_an_answer_must_match_the_schema(command: Command, vendors: Vendors) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    (command.cwd / "schema.json").write_text(json.dumps(schema))
    vendors.behaviours = {"small": Behaviour(text='{"town": 1}'), "middle": Behaviour(text='{"city": "Paris"}')}
    done = command("ask", "--route", "cascade", "--schema", "schema.json", "hi", env=env(vendors))
    assert (done.code, done.out.strip()) == (0, '{"city": "Paris"}'), done.err
    assert vendors.asked[-1] == "middle"


def test_a_tier_that_contradicts_itself_is_not_believed(command: Command, vendors: Vendors) -> None:
    said = iter(["It is Lyon.", "Paris, of course."])
    vendors.behaviours = {"small": lambda seen: Behaviour(text=next(said))}
    done = command("ask", "--route", "cascade", "--check", "agree", "--json", "hi", env=env(vendors))
    assert (done.code, vendors.asked) == (0, ["small", "small", "middle", "middle"])
    assert "something else" in done.document["route"]["tried"][0]["reason"]


def test_a_judge_decides_and_is_shown_the_question(command: Command, vendors: Vendors) -> None:
    def judge(seen: Seen) -> Behaviour:
        passed = "Lyon" not in json.dumps(seen.json)
        return Behaviour(text=json.dumps({"reason": "as it is", "pass": passed, "score": float(passed)}))

    vendors.behaviours = {"small": WRONG, "judge": judge}
    arguments = ["--check", "judge:team:judge", "--json", "capital of France?"]
    done = command("ask", "--route", "cascade", *arguments, env=env(vendors))
    assert (done.code, vendors.asked) == (0, ["small", "judge", "middle", "judge"]), done.err
    assert "capital of France?" in json.dumps(vendors.seen[1].json)
    assert done.document["route"]["tried"][0]["reason"] == "the judge: as it is"


def test_every_tier_that_was_asked_is_paid_for_and_on_record_with_its_task(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"small": REFUSAL}
    assert command("ask", "--route", "auto", "--task", "trivia", "hi", env=env(vendors)).code == 0
    connection = sqlite3.connect(command.home / "data" / "ledger.db")
    rows = connection.execute("SELECT request_model, task, error_kind FROM calls ORDER BY id").fetchall()
    connection.close()
    assert rows == [("small", "trivia", None), ("middle", "trivia", None)]


def test_when_the_last_tier_fails_its_error_is_the_answer(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"small": REFUSAL, "middle": REFUSAL, "big": Behaviour(status=500)}
    done = command("ask", "--route", "cascade", "hi", env=env(vendors))
    assert (done.code, done.out) == (1, "")
    assert "anthropic" in done.err


def test_explain_tells_of_the_tiers_before_an_error(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"small": REFUSAL, "middle": Behaviour(status=401), "big": Behaviour(status=500)}
    done = command("ask", "--route", "cascade", "--explain", "hi", env=env(vendors))
    assert "openai:small: not enough: not-is-refusal" in done.err
    assert "gemini:middle: not enough: authentication" in done.err


def test_the_last_tier_has_its_fallbacks(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"small": REFUSAL, "middle": REFUSAL, "big": Behaviour(status=500)}
    arguments = ["--route", "cascade", "--fallback", "team", "--json", "hi"]
    done = command("ask", *arguments, env=env(vendors))
    assert (done.code, vendors.asked) == (0, ["small", "middle", "big", "some-model"]), done.err
    assert done.document["route"]["chosen"] == "team"


def test_an_answer_that_no_tier_has_well_enough_is_told_so(command: Command, vendors: Vendors) -> None:
    done = command("ask", "--route", "cascade", "--check", "contains:Rome", "hi", env=env(vendors))
    assert (done.code, done.out) == (0, "Paris is the capital.\n")
    assert "warning: no tier's answer is good enough; this is that of claude:big: contains" in done.err


def test_all_tiers_together_have_the_time_of_one_call(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"small": Behaviour(hangs=True)}
    done = command("ask", "--route", "cascade", "--timeout", "1", "--no-cache", "--json", "hi", env=env(vendors))
    assert (done.code, vendors.asked) == (1, ["small"])
    assert (done.document["error"]["kind"], "within 1 s" in done.document["error"]["message"]) == ("timeout", True)


def test_a_second_time_the_cache_answers_at_every_tier(command: Command, vendors: Vendors) -> None:
    vendors.behaviours = {"small": REFUSAL}
    for _ in range(2):
        assert command("ask", "--route", "cascade", "hi", env=env(vendors)).code == 0
    assert vendors.asked == ["small", "middle"]


@pytest.mark.parametrize(
    ("arguments", "tiers", "named"),
    [
        (("--route", "wise"), TIERS, "--route"),
        (("--route", "auto", "-p", "openai"), TIERS, "LLM_TIERS"),
        (("--route", "auto"), "", "LLM_TIERS"),
        (("--route", "auto"), "openai", "LLM_TIERS"),
        (("--route", "auto"), "openai:small,groq", "GROQ_API_KEY"),
        (("--route", "cascade", "--check", "contain:x"), TIERS, "contains"),
        (("--route", "cascade", "--check", "llm-rubric:x"), TIERS, "judge:TARGET"),
        (("--route", "cascade", "--check", "regex:["), TIERS, "compile"),
        (("--route", "cascade", "--check", "not-regex:["), TIERS, "compile"),
        (("--route", "cascade", "--check", "perplexity"), TIERS, "log probabilities"),
        (("--route", "cascade", "--margin", "5pp"), TIERS, "--margin"),
        (("--route", "evidence", "--check", "agree"), TIERS, "--check"),
        (("--route", "auto", "--margin", "lots"), TIERS, "--margin"),
        (("--explain",), TIERS, "--route"),
        (("--check", "agree"), TIERS, "--route"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_sent(
    command: Command, vendors: Vendors, arguments: tuple[str, ...], tiers: str, named: str
) -> None:
    done = command("ask", *arguments, "hi", env=env(vendors, LLM_TIERS=tiers))
    assert (done.code, vendors.asked) == (2, []), done.err
    assert named in done.err


def test_a_profile_may_name_the_tiers(command: Command, vendors: Vendors, cwd: Path) -> None:
    (cwd / "profiles").mkdir()
    (cwd / "profiles" / "thrifty.env").write_text(f"LLM_TIERS={TIERS}\n")
    done = command("ask", "-P", "thrifty", "--route", "cascade", "hi", env=vendors.environ)
    assert (done.code, vendors.asked) == (0, ["small"]), done.err
