"""`llmswitch bench` as a user runs it: four vendors on loopback, kills and resumes, every exit code."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from llmswitch.evidence import read_evidence
from tests.e2e.conftest import COMMAND, Command
from tests.servers.recorder import Seen
from tests.servers.vendors import Behaviour, Vendors

TARGETS = ("openai", "claude", "gemini", "team")
SUITE = """\
description: capitals
prompts: ["What is the capital of {{country}}?", "{{country}}: its capital?"]
providers: [openai, claude, gemini, team]
tests:
  - vars: {country: [France, Italy, Spain, Peru, Chad]}
    assert:
      - {type: icontains, value: paris}
      - {type: regex, value: "^[A-Z]"}
  - vars: {country: Mali}
"""


@pytest.fixture
def vendors() -> Iterator[Vendors]:
    with Vendors() as server:
        yield server


@pytest.fixture
def suite(cwd: Path) -> Path:
    path = cwd / "suite.yaml"
    path.write_text(SUITE)
    return path


def folder_of(cwd: Path) -> Path:
    (found,) = (cwd / "runs").iterdir()
    return found


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def lasting(row: dict[str, Any]) -> dict[str, Any]:
    """What of a row does not depend on when it was asked."""
    timed = ("duration_s", "time_to_first_token_s", "itl_s", "output_tokens_per_s", "at_s", "scheduled_latency_s")
    return {name: value for name, value in row.items() if name not in timed}


def by_key(rows: list[dict[str, Any]]) -> dict[tuple[str, str, int], dict[str, Any]]:
    found = {(row["case"], row["target"], row["repeat"]): lasting(row) for row in rows}
    assert len(found) == len(rows), "no sample twice"
    return found


def test_a_run_says_of_every_target_what_the_contract_names(
    command: Command, cwd: Path, suite: Path, vendors: Vendors
) -> None:
    done = command("bench", "suite.yaml", "--repeats", "2", "--warmup", "1", "--json", env=vendors.environ)
    assert done.code == 0, done.err
    run = done.document
    folder = folder_of(cwd)
    assert run["schema"] == "llmswitch/run/1"
    assert (run["id"], run["suite"], run["complete"]) == (folder.name, "capitals", True)
    assert [target["target"] for target in run["targets"]] == list(TARGETS)
    for target in run["targets"]:
        assert (target["samples"], target["requests"], target["errors"], target["retries"]) == (24, 24, {}, 0)
        assert target["pass_rate"]["value"] == 1.0
        assert target["duration_s"]["p50"]["low"] <= target["duration_s"]["p50"]["value"]
        assert target["duration_s"]["p99"] is None, "24 samples cannot tell"
        assert target["usage"]["output_tokens"] == 24 * 4
    assert run["gate"]["verdict"] == "pass"
    assert run["warmup"] == {"samples": 4, "errors": 0}
    assert len(vendors.asked) == 4 * 24 + 4
    written = {"run.json", "samples.jsonl", "samples.csv", "junit.xml", "report.md", "report.html"}
    assert written <= {path.name for path in folder.iterdir()}
    assert json.loads((folder / "run.json").read_text()) == {k: v for k, v in run.items() if k != "blessed"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    row = rows_of(folder)[0]
    assert {
        "case", "target", "repeat", "prompt", "prompt_sha256", "vars", "text", "finish_reason", "usage", "cost",
        "time_to_first_token_s", "itl_s", "duration_s", "scheduled_latency_s", "error", "score", "pass", "assertions",
    } <= set(row)  # fmt: skip


def test_what_a_run_found_is_kept_for_whoever_chooses_later(
    command: Command, cwd: Path, suite: Path, vendors: Vendors
) -> None:
    suite.write_text(
        "prompts: ['Capital of {{c}}?']\nproviders: [openai, claude]\n"
        "defaultTest: {assert: [{type: contains, value: '{{w}}'}], metadata: {task: geography}}\ntests:\n"
        "  - vars: {c: France, w: Paris}\n"
        "  - {vars: {c: Nowhere, w: London}, metadata: {task: [geography, riddle]}}\n"
        "  - {vars: {c: Paris, w: Paris}, metadata: {task: riddle}}\n"
    )
    done = command("bench", "suite.yaml", "--repeats", "3", "--json", env=vendors.environ)
    assert done.code == 3, done.err
    ledger = command.home / "data" / "ledger.db"
    found = {(one.target, one.task): one for one in (*read_evidence(ledger), *read_evidence(ledger, "riddle"))}
    assert set(found) == {("openai", ""), ("claude", ""), ("openai", "riddle"), ("claude", "riddle")}
    whole, riddle = found["openai", ""], found["openai", "riddle"]
    assert (whole.cases, whole.judged, whole.passed, whole.samples, whole.counted) == (3, 9, 6, 9, 9)
    assert (riddle.cases, riddle.judged, riddle.passed) == (2, 6, 3)
    assert whole.low < 6 / 9 < whole.high
    assert (whole.provider, whole.request_model, whole.run_id) == ("openai", "gpt-4o", done.document["id"])
    assert whole.cost == Decimal(done.document["targets"][0]["cost"]["amount"])
    assert whole.output_tokens == 9 * 4
    assert rows_of(folder_of(cwd))[0]["tasks"]
    assert [one.judged for one in read_evidence(ledger, "geography")] == [6, 6]


def test_a_run_killed_three_times_and_resumed_equals_one_that_was_not(
    command: Command, cwd: Path, suite: Path, vendors: Vendors
) -> None:
    whole = command("bench", "suite.yaml", "--seed", "7", "--repeats", "2", "-o", "whole", env=vendors.environ)
    assert whole.code == 0, whole.err
    (unbroken,) = (cwd / "whole").iterdir()
    vendors.behaviours = {model: Behaviour(first_s=0.05) for model in set(vendors.asked)}
    vendors.asked.clear()
    arguments = ["bench", "suite.yaml", "--seed", "7", "--repeats", "2", "--concurrency", "1"]
    for kept in (24, 48, 72):
        process = command.start(arguments, env=vendors.environ)
        wait_for(partial(has_samples, cwd / "runs", kept))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        with open(folder_of(cwd) / "samples.jsonl", "a") as stream:
            stream.write('{"case": "1.1", "targ')  # a row that the power did not last for
        arguments = ["bench", "--resume", "last"]
    resumed = command("bench", "--resume", "last", "--json", env=vendors.environ)
    assert resumed.code == 0, resumed.err
    assert resumed.document["complete"] is True
    assert by_key(rows_of(folder_of(cwd))) == by_key(rows_of(unbroken))
    assert [target["samples"] for target in resumed.document["targets"]] == [24] * 4
    under_way = 3 * 4  # what a kill cuts off is asked again, at most one call a target each time
    assert 96 <= len(vendors.asked) <= 96 + under_way


def samples_in(base: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in base.glob("*/samples.jsonl"))


def has_samples(base: Path, count: int) -> bool:
    return samples_in(base) >= count


def wait_for(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_ctrl_c_keeps_what_was_answered_and_says_how_to_go_on(
    command: Command, cwd: Path, suite: Path, vendors: Vendors
) -> None:
    vendors.behaviours = {"gpt-4o": Behaviour(first_s=0.2)}
    process = command.start(["bench", "suite.yaml", "-t", "openai"], env=vendors.environ)
    wait_for(partial(has_samples, cwd / "runs", 1))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "--resume" in err
    folder = folder_of(cwd)
    run = json.loads((folder / "run.json").read_text())
    assert run["complete"] is False
    assert 1 <= len(rows_of(folder)) < 12
    assert run["targets"][0]["samples"] == len(rows_of(folder))
    assert (folder / "report.html").exists()


def test_two_cannot_write_to_one_run(command: Command, cwd: Path, suite: Path, vendors: Vendors) -> None:
    vendors.behaviours = {"gpt-4o": Behaviour(first_s=0.3)}
    process = command.start(["bench", "suite.yaml", "-t", "openai", "--concurrency", "1"], env=vendors.environ)
    wait_for(partial(has_samples, cwd / "runs", 1))
    second = command("bench", "--resume", "last", env=vendors.environ)
    process.communicate(timeout=60)
    assert second.code == 2
    assert "another llmswitch is writing" in second.err
    assert process.returncode == 0
    by_key(rows_of(folder_of(cwd)))


@pytest.mark.parametrize(
    ("behaviour", "arguments", "code"),
    [
        (Behaviour(text="London"), [], 3),
        (Behaviour(status=500), [], 4),
        (Behaviour(), ["--slo", "e2e=1ms"], 3),
        (Behaviour(), ["--slo", "e2e=60s"], 0),
        (Behaviour(text="London"), ["--fail-if", "score<0.1"], 0),
        (Behaviour(text="London"), ["--fail-if", "case.pass<1/1"], 3),
        (Behaviour(), ["--baseline", "last-green"], 0),
        (Behaviour(), ["--fail-if", "p99.duration>10s"], 0),
        (Behaviour(), ["--fail-if", "p99.duration>10s", "--strict"], 4),
        (Behaviour(), ["--max-cost", "0.0000001"], 5),
        (Behaviour(), ["--baseline", "20200101"], 2),
        (Behaviour(), ["--fail-if", "p95.duration"], 2),
        (Behaviour(), ["--rate", "5"], 2),
        (Behaviour(), ["--alpha", "0"], 2),
    ],
)
def test_every_way_to_end_has_its_exit_code(  # noqa: PLR0917  # fixtures and parameters come by name
    command: Command, suite: Path, vendors: Vendors, behaviour: Behaviour, arguments: list[str], code: int
) -> None:
    vendors.behaviours = {"gpt-4o": behaviour}
    done = command("bench", "suite.yaml", "-t", "openai", *arguments, env=vendors.environ)
    assert done.code == code, done.out + done.err
    if code in (2, 5):
        assert vendors.asked == []


def test_one_dead_target_of_two_leaves_nothing_to_be_judged(command: Command, suite: Path, vendors: Vendors) -> None:
    vendors.behaviours = {"claude-sonnet-4-5": Behaviour(status=500)}
    done = command("bench", "suite.yaml", "-t", "openai", "-t", "claude", "--json", env=vendors.environ)
    assert done.code == 4
    openai, claude = done.document["targets"]
    assert (openai["errors"], claude["errors"]) == ({}, {"server": 12})


def test_a_budget_ends_a_run_that_can_be_gone_on_with(
    command: Command, cwd: Path, suite: Path, vendors: Vendors
) -> None:
    suite.write_text(SUITE.replace('      - {type: regex, value: "^[A-Z]"}\n', ""))
    arguments = ["-t", "openai?max_tokens=20", "--concurrency", "1"]
    first = command("bench", "suite.yaml", *arguments, "--max-cost", "0.0006", env=vendors.environ)
    assert first.code == 5, first.err
    kept = len(rows_of(folder_of(cwd)))
    assert 0 < kept < 12
    done = command("bench", "--resume", "last", "--max-cost", "1", env=vendors.environ)
    assert done.code == 0, done.err
    assert len(by_key(rows_of(folder_of(cwd)))) == 12
    assert len(vendors.asked) == 12


def test_a_suites_own_env_holds_for_all_that_a_run_does(
    command: Command, cwd: Path, suite: Path, vendors: Vendors
) -> None:
    suite.write_text(f"{SUITE}env: {{LLM_BUDGET_DAILY: 0.0000001}}\n")
    done = command("bench", "suite.yaml", "-t", "openai", env=vendors.environ)
    assert done.code == 5, done.err
    assert "LLM_BUDGET_DAILY" in done.err
    suite.write_text(f"{SUITE}env: {{LLM_TIMEOUT: soon}}\n")
    done = command("bench", "check", "suite.yaml", "-t", "openai", env=vendors.environ)
    assert (done.code, "LLM_TIMEOUT in suite.yaml" in done.err) == (2, True)
    assert vendors.asked == []


def test_code_that_returns_what_is_no_score_ends_no_run(
    command: Command, cwd: Path, suite: Path, vendors: Vendors
) -> None:
    suite.write_text(
        "prompts: [hi]\nproviders: [openai]\ntests:\n"
        "  - assert: [{type: python, value: 10 ** 400}]\n  - assert: [{type: python, value: '1e300'}]\n"
    )
    done = command("bench", "suite.yaml", "--allow-code", "--json", env=vendors.environ)
    assert done.code == 3, done.err
    assert done.document["targets"][0]["score"]["value"] == 0.5


@pytest.mark.parametrize("limit", [("--max-cost", "0.004"), ()])
def test_what_calls_under_way_have_set_aside_is_no_reason_to_end_a_run(
    command: Command, suite: Path, vendors: Vendors, limit: tuple[str, ...]
) -> None:
    vendors.behaviours = {"gpt-4o": Behaviour(first_s=0.2)}
    environ = vendors.environ if limit else {**vendors.environ, "LLM_BUDGET_DAILY": "0.004"}
    arguments = ["-t", "openai?max_tokens=20", "--concurrency", "12", *limit]
    done = command("bench", "suite.yaml", *arguments, "--json", env=environ)
    assert done.code == 0, done.err
    assert done.document["targets"][0]["samples"] == 12
    assert len(vendors.asked) == 12


def test_a_budget_that_the_warm_up_takes_ends_the_run_before_a_sample(
    command: Command, cwd: Path, suite: Path, vendors: Vendors
) -> None:
    arguments = ["-t", "openai?max_tokens=20", "--concurrency", "1", "--warmup", "8", "--max-cost", "0.0006"]
    done = command("bench", "suite.yaml", *arguments, env=vendors.environ)
    assert done.code == 5, done.err
    assert not (folder_of(cwd) / "samples.jsonl").exists()
    assert 0 < len(vendors.asked) < 8
    again = command("bench", "--resume", "last", "--json", "--max-cost", "1", env=vendors.environ)
    assert (again.code, again.document["targets"][0]["samples"]) == (0, 12)


def test_what_is_under_way_when_a_budget_is_used_up_is_kept(
    command: Command, cwd: Path, suite: Path, vendors: Vendors
) -> None:
    """It is paid for. Without --max-cost the rest is asked within the same bound as before."""
    vendors.behaviours = {"gpt-4o": Behaviour(first_s=0.2)}
    # a call may cost 0.0823, and costs some 0.0001
    first = command("bench", "suite.yaml", "-t", "openai", "--max-cost", "0.0826", env=vendors.environ)
    assert first.code == 5, first.err
    assert 1 <= len(vendors.asked) < 12
    assert len(rows_of(folder_of(cwd))) == len(vendors.asked)
    done = command("bench", "--resume", "last", env=vendors.environ)
    assert done.code in (0, 3), done.err
    assert len(vendors.asked) == len(by_key(rows_of(folder_of(cwd)))) == 12
    assert len({seen.json["max_completion_tokens"] for seen in vendors.seen}) == 1


def test_a_run_is_not_gone_on_with_by_another_model(command: Command, cwd: Path, suite: Path, vendors: Vendors) -> None:
    """The answers of both would be one target's."""
    arguments = ["bench", "suite.yaml", "-t", "openai", "--max-cost", "0.0000001"]
    assert command(*arguments, env=vendors.environ).code == 5
    for changed, said in (({"OPENAI_MODEL": "gpt-4o-mini"}, "request model"), ({"TEMPERATURE": "1"}, "temperature")):
        done = command("bench", "--resume", "last", env={**vendors.environ, **changed})
        assert done.code == 2
        assert said in done.err
    assert vendors.asked == []


def test_resuming_with_nothing_left_to_ask_does_not_warm_up(
    command: Command, cwd: Path, suite: Path, vendors: Vendors
) -> None:
    assert command("bench", "suite.yaml", "-t", "openai", "--warmup", "2", env=vendors.environ).code == 0
    document = folder_of(cwd) / "run.json"  # as of a run that was killed before its last word
    document.write_text(document.read_text().replace('"complete": true', '"complete": false'))
    assert command("bench", "--resume", "last", env=vendors.environ).code == 0
    assert len(vendors.asked) == 12 + 2


def test_an_open_loop_asks_when_it_is_due_however_slow_the_answers_are(
    command: Command, cwd: Path, suite: Path, vendors: Vendors
) -> None:
    vendors.behaviours = {"gpt-4o": Behaviour(first_s=0.5)}
    load = ["--rate", "10", "--arrival", "poisson", "--duration", "3s", "--seed", "1"]
    done = command("bench", "suite.yaml", "-t", "openai", *load, "--json", env=vendors.environ)
    assert done.code == 0, done.err
    rows = rows_of(folder_of(cwd))
    by_key(rows)
    assert 15 <= len(rows) <= 45
    assert all(row["scheduled_latency_s"] >= row["duration_s"] - 0.01 for row in rows)
    assert done.document["client"]["in_flight"] > 2, "one did not wait for the other"
    assert done.document["client"]["asked_rps"] == 10


JUDGED = """\
description: judged
prompts: ["{{q}}"]
tests:
  - vars: {q: one}
    assert:
      - {type: llm-rubric, value: is short}
      - {type: select-best, value: the shorter one}
"""


def verdict(seen: Seen) -> Behaviour:
    """A judge that likes everything, and best what comes first."""
    asked = json.dumps(seen.json)
    if "is short" in asked:
        return Behaviour(text='{"pass": true, "score": 0.75, "reason": "it is"}')
    return Behaviour(text="0")


def test_a_model_grades_each_answer_and_chooses_the_best_of_them(command: Command, cwd: Path, vendors: Vendors) -> None:
    (cwd / "suite.yaml").write_text(JUDGED)
    vendors.behaviours = {"judge": verdict, "gpt-4o": Behaviour(text="A"), "some-model": Behaviour(text="B")}
    arguments = ["bench", "suite.yaml", "-t", "openai", "-t", "team", "--json"]
    refused = command(*arguments, env=vendors.environ)
    assert refused.code == 2
    assert "--judge" in refused.err
    done = command(*arguments, "--judge", "openai:judge", env=vendors.environ)
    rows = rows_of(folder_of(cwd))
    assert [len(row["assertions"]) for row in rows] == [2, 2], done.err
    assert [row["assertions"][0]["score"] for row in rows] == [0.75, 0.75]
    assert sorted(row["assertions"][1]["pass"] for row in rows) == [False, True]
    assert vendors.asked.count("judge") == 3, "two rubrics, one comparison"


def test_an_open_loop_compares_what_came_of_a_case_when_it_ends(command: Command, cwd: Path, vendors: Vendors) -> None:
    (cwd / "suite.yaml").write_text(JUDGED)
    vendors.behaviours = {"judge": verdict, "gpt-4o": Behaviour(text="A"), "some-model": Behaviour(text="B")}
    load = ["--rate", "3", "--duration", "1.5s", "--judge", "openai:judge", "--arrival", "poisson", "--seed", "4"]
    done = command("bench", "suite.yaml", "-t", "openai", "-t", "team", *load, env=vendors.environ)
    rows = rows_of(folder_of(cwd))
    assert rows, done.err
    assert len({row["target"] for row in rows}) == 2
    assert all(len(row["assertions"]) == 2 for row in rows if row["error"] is None)


def test_a_judge_that_answers_nonsense_is_an_error_and_no_score(command: Command, cwd: Path, vendors: Vendors) -> None:
    (cwd / "suite.yaml").write_text(JUDGED.replace("      - {type: select-best, value: the shorter one}\n", ""))
    vendors.behaviours = {"judge": Behaviour(text="I like cheese.")}
    done = command("bench", "suite.yaml", "-t", "openai", "--judge", "openai:judge", "--json", env=vendors.environ)
    (row,) = rows_of(folder_of(cwd))
    assert (row["pass"], row["score"]) == (None, None)
    assert row["text"] == "Paris is the capital."
    assert done.document["gate"]["verdict"] == "inconclusive"
    assert done.document["targets"][0]["score"] is None
    assert done.code == 4, "of nothing that was answered could anything be said"


def test_how_long_judges_take_is_no_part_of_the_load(command: Command, cwd: Path, vendors: Vendors) -> None:
    (cwd / "suite.yaml").write_text(JUDGED.replace("      - {type: select-best, value: the shorter one}\n", ""))
    slow = Behaviour(text='{"pass": true, "score": 1, "reason": "it is"}', first_s=3)
    vendors.behaviours = {"judge": slow, "gpt-4o": Behaviour(first_s=0.1)}
    arguments = ["-t", "openai", "--judge", "openai:judge", "--slo", "e2e=60s", "--json"]
    done = command("bench", "suite.yaml", *arguments, env=vendors.environ)
    assert done.code == 0, done.err
    assert 0.1 < done.document["measured_s"] < 2
    assert done.document["targets"][0]["goodput_rps"] == pytest.approx(1 / done.document["measured_s"])


def test_a_bad_suite_is_refused_whole_with_every_place_before_anything_is_sent(
    command: Command, cwd: Path, vendors: Vendors
) -> None:
    (cwd / "suite.yaml").write_text(
        "prompts: [hi]\nproviders: [openai]\ntests:\n"
        "  - assert: [{type: equals}]\n  - assert:\n      - {type: no-such-thing, value: 1}\n  - vars: file://gone.yaml\n"
    )
    done = command("bench", "suite.yaml", env=vendors.environ)
    assert done.code == 2
    assert vendors.asked == []
    for place in ("suite.yaml:4:", "suite.yaml:6:", "suite.yaml:7:"):
        assert place in done.err
    assert not (cwd / "runs").exists()


@pytest.mark.parametrize("blocks", [96, 32])
def test_a_full_disk_ends_the_run_and_resuming_asks_nothing_twice_that_was_kept(
    command: Command, cwd: Path, suite: Path, vendors: Vendors, blocks: int
) -> None:
    """With so few blocks no report fits, either."""
    arguments = ["bench", "suite.yaml", "-t", "openai", "--repeats", "20"]
    limited = f"ulimit -f {blocks}; exec {' '.join([str(COMMAND), *arguments])}"
    done = subprocess.run(
        ["bash", "-c", f"trap '' XFSZ; {limited}"],
        cwd=cwd,
        env=command.environment(vendors.environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "cannot write" in done.stderr
    assert "--resume" in done.stderr
    assert "Traceback" not in done.stderr
    kept = by_key(rows_of(folder_of(cwd)))
    again = command("bench", "--resume", "last", env=vendors.environ)
    assert again.code == 0, again.err
    assert len(by_key(rows_of(folder_of(cwd)))) == 240
    assert len(kept) > blocks / 4
    assert len(vendors.asked) <= 240 + 8, f"{len(kept)} were kept"


def test_a_real_run_on_the_embedded_model(command: Command, cwd: Path, home_with_model: Path) -> None:
    (cwd / "suite.yaml").write_text(
        "prompts: ['What is the capital of {{c}}?']\nproviders: [local]\n"
        "tests: [{vars: {c: France}, assert: [{type: icontains, value: paris}]}]\n"
    )
    done = command("bench", "suite.yaml", "--json", timeout=120)
    assert done.code == 0, done.err
    (target,) = done.document["targets"]
    assert (target["target"], target["samples"], target["pass_rate"]["value"]) == ("local", 1, 1.0)
