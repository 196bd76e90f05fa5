"""`llmswitch cost estimate`, as it is installed, against servers that count."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import fill, ledger_of, row, run
from tests.servers.recorder import Answer, Recorder, Seen

_PROMPT = "What is the capital of France?"


def _count(seen: Seen) -> Answer:
    """Eleven tokens, in every vendor's words."""
    return Answer({"totalTokens": 11} if "countTokens" in seen.path else {"input_tokens": 11})


@pytest.fixture
def server() -> Iterator[Recorder]:
    with Recorder(_count) as recorder:
        yield recorder


def environ(server: Recorder) -> dict[str, str]:
    return {
        "OPENAI_API_KEY": "k",
        "OPENAI_BASE_URL": f"{server.url}/v1",
        "ANTHROPIC_API_KEY": "k",
        "ANTHROPIC_BASE_URL": server.url,
        "GOOGLE_API_KEY": "k",
        "GOOGLE_GEMINI_BASE_URL": server.url,
        "LLM_ENDPOINTS": "team",
        "TEAM_BASE_URL": f"{server.url}/v1",
        "TEAM_MODEL": "m",
    }


def estimate(home: Path, server: Recorder, *arguments: str, **more: str) -> list[dict[str, Any]]:
    done = run(home, "cost", "estimate", *arguments, "--json", **environ(server), **more)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["schema"] == "llmswitch/estimate/1"
    rows: list[dict[str, Any]] = document["rows"]
    return rows


def test_input_is_counted_by_its_vendor_and_nothing_is_asked_or_recorded(home: Path, server: Recorder) -> None:
    rows = estimate(
        home, server, _PROMPT, "-t", "openai:gpt-4o", "-t", "claude:claude-opus-5-5", "--answer-tokens", "100"
    )
    assert [row["target"] for row in rows] == ["openai:gpt-4o", "claude:claude-opus-5-5"]
    assert [(row["input_tokens"]["about"], row["input_tokens"]["counted"]) for row in rows] == [(11, 1), (11, 1)]
    # 11 at 2.5 and 100 at 10; 11 at 4 and 100 at 20
    assert [row["cost"]["about"] for row in rows] == ["0.0010275", "0.002044"]
    assert sorted(seen.path for seen in server.seen) == ["/v1/messages/count_tokens", "/v1/responses/input_tokens"]
    assert not ledger_of(home).exists()


def test_all_configured_targets_are_estimated_cheapest_first_and_unknown_prices_last(
    home: Path, server: Recorder
) -> None:
    rows = estimate(home, server, _PROMPT)
    assert [row["provider"] for row in rows][-1] == "team"
    assert rows[-1]["cost"] is None
    assert {row["provider"] for row in rows} == {"gemini", "openai", "anthropic", "team"}


def test_offline_asks_nobody_and_says_what_it_takes(home: Path, server: Recorder) -> None:
    done = run(home, "cost", "estimate", _PROMPT, "-t", "openai:gpt-4o", "--offline", **environ(server))
    assert done.returncode == 0
    assert server.seen == []
    # thirty bytes at 4, 6 and 2 to a token
    assert "~8 (5 to 31)" in done.stdout
    assert "4 bytes a token" in done.stderr
    assert "from 2 to 6" in done.stderr


def test_a_vendor_that_does_not_count_is_approximated_and_told(home: Path, server: Recorder) -> None:
    server.answer = Answer({"error": {"message": "no such path"}}, status=404)
    done = run(home, "cost", "estimate", _PROMPT, "-t", "openai:gpt-4o", "--answer-tokens", "9", **environ(server))
    assert done.returncode == 0
    assert "~8" in done.stdout
    assert "openai:gpt-4o was not counted" in done.stderr


def test_an_endpoint_without_a_counting_call_is_not_asked(home: Path, server: Recorder) -> None:
    (row,) = estimate(home, server, _PROMPT, "-t", "team")
    assert server.seen == []
    assert row["input_tokens"] == {"low": 5, "about": 8, "high": 31, "counted": 0, "of": 1, "note": None}


def test_answers_are_as_long_as_they_were_and_a_month_is_so_many(home: Path, server: Recorder) -> None:
    fill(home, *(row(model="gpt-4o", tokens=(10, 100 + n)) for n in range(20)))
    (found,) = estimate(home, server, _PROMPT, "-t", "openai:gpt-4o", "--per-month", "1000")
    assert found["output_tokens"] == {"how": "history", "low": 101, "about": 110, "high": 117, "samples": 20}
    # 11 at 2.5 and 110 at 10
    assert (found["cost"]["about"], found["per_month"]["about"]) == ("0.0011275", "1.1275")
    done = run(home, "cost", "estimate", _PROMPT, "-t", "openai:gpt-4o", "--per-month", "1000", **environ(server))
    assert "1,000 a month" in done.stdout
    assert "$1.1275" in done.stdout


def test_without_history_it_is_at_least_the_input(home: Path, server: Recorder) -> None:
    done = run(home, "cost", "estimate", _PROMPT, "-t", "openai:gpt-4o", **environ(server))
    assert "at least $0.000028" in done.stdout
    assert "--answer-tokens" in done.stderr
    (capped,) = estimate(home, server, _PROMPT, "-t", "openai:gpt-4o", "--max-tokens", "50")
    assert capped["cost"] == {"low": "0.0000275", "about": None, "high": "0.0005275", "currency": "USD"}


_SUITE = """
prompts: ["Say {{word}}", "Write about {{word}} at length"]
providers: [openai:gpt-4o]
tests:
  - vars: {word: one}
  - vars: {word: two}
  - vars: {word: three}
    assert: [{type: python, value: "len(output) > 2"}]
"""


def test_a_suite_is_estimated_whole(home: Path, server: Recorder, tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(_SUITE)
    (found,) = estimate(home, server, str(path), "--answer-tokens", "100")
    # six prompts, each of 11 tokens and 100 back
    assert (found["calls"], found["input_tokens"]["about"], found["input_tokens"]["counted"]) == (6, 66, 6)
    assert found["cost"]["about"] == "0.006165"
    assert len(server.seen) == 6


def test_no_answer_is_longer_than_its_cap(home: Path, server: Recorder) -> None:
    given = ("-t", "openai:gpt-4o", "--answer-tokens", "500", "--max-tokens", "100")
    assert estimate(home, server, _PROMPT, *given)[0]["output_tokens"]["about"] == 100


def test_a_prompt_that_is_called_like_a_suite_is_one_and_a_slip_is_told(home: Path, server: Recorder) -> None:
    slip = run(home, "cost", "estimate", "suiet.yaml", "-t", "openai:gpt-4o", "--offline", **environ(server))
    assert (slip.returncode, "there is no file suiet.yaml" in slip.stderr) == (0, True)
    long = run(home, "cost", "estimate", "x" * 300 + ".json", "-t", "openai:gpt-4o", "--offline", **environ(server))
    assert (long.returncode, "~77" in long.stdout, "warning" in long.stderr) == (0, True, False), long.stderr


def test_a_large_suite_is_counted_in_part(home: Path, server: Recorder, tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    tests = "\n".join(f"  - vars: {{word: w{n:03}}}" for n in range(200))
    path.write_text(f'prompts: ["Say {{{{word}}}}"]\nproviders: [openai:gpt-4o]\ntests:\n{tests}\n')
    (found,) = estimate(home, server, str(path))
    told = found["input_tokens"]
    assert told["of"] == 200
    assert 10 <= told["counted"] == len(server.seen) <= 24
    # every prompt has eight bytes, and those counted 11 tokens
    assert told["about"] == 2200


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((_PROMPT, "--per-month", "0"), "--per-month"),
        ((_PROMPT, "--per-month", "x"), "--per-month"),
        ((_PROMPT, "--answer-tokens", "-1"), "--answer-tokens"),
        ((_PROMPT, "-t", "nobody"), "unknown provider 'nobody'"),
        ((_PROMPT, "-t", "openai", "-t", "openai"), "named twice"),
        ((), "no prompt"),
        (("suite.yaml", "-s", "x"), "--system goes with a prompt"),
    ],
    ids=str,
)
def test_what_cannot_be_is_exit_2(
    home: Path, server: Recorder, tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    (tmp_path / "suite.yaml").write_text(_SUITE)
    done = run(home, "cost", "estimate", *arguments, **environ(server))
    assert done.returncode == 2
    assert complaint in done.stderr
    assert server.seen == []
