"""`llmswitch bench --batch` as a user runs it: three vendors' batch calls on loopback, kills, failures, refusals."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import xmlschema

from llmswitch.evidence import read_evidence
from tests.e2e.conftest import Command
from tests.servers.batch_vendors import KEY, BatchBehaviour, BatchVendors, answer_to

TARGETS = ("openai", "claude", "gemini")
SUITE = """\
description: capitals
prompts:
  - "What is the capital of {{country}}?"
  - '[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
      {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "{{country}}?"}]'
providers: [openai, claude, gemini]
tests:
  - vars: {country: [France, Italy]}
    assert: [{type: icontains, value: "{{country}}"}, {type: regex, value: "^answer"}]
"""
#: two prompts and two countries
CASES = 4
TIMES = ("time_to_first_token_s", "itl_s", "output_tokens_per_s", "duration_s", "scheduled_latency_s")
#: what of a row is not the same when it is asked live
UNLIKE = (*TIMES, "at_s", "cost", "batch")


@pytest.fixture
def vendors() -> Iterator[BatchVendors]:
    with BatchVendors() as server:
        yield server


@pytest.fixture(autouse=True)
def suite(cwd: Path) -> Path:
    path = cwd / "suite.yaml"
    path.write_text(SUITE)
    return path


def folder_of(cwd: Path, base: str = "runs") -> Path:
    (found,) = (cwd / base).iterdir()
    return found


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def by_key(rows: list[dict[str, Any]]) -> dict[tuple[str, str, int], dict[str, Any]]:
    found = {(row["case"], row["target"], row["repeat"]): row for row in rows}
    assert len(found) == len(rows), "no sample twice"
    return found


def without(row: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def sent(vendors: BatchVendors) -> list[tuple[str, int]]:
    """The jobs that were ever made, with how many questions each."""
    return sorted((job.vendor, job.lines) for job in vendors.jobs)


ONCE = [("anthropic", CASES), ("gemini", CASES), ("openai", CASES)]


def wait_for(ready: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 30
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def has_jobs(vendors: BatchVendors, number: int) -> bool:
    return len(vendors.jobs) >= number and all(job.looks for job in vendors.jobs)


def test_each_sample_is_as_a_live_one_at_half_the_price_and_without_any_time(
    command: Command, cwd: Path, vendors: BatchVendors
) -> None:
    told = ("--repeats", "2", "--seed", "5", "--json")
    done = command("bench", "suite.yaml", "--batch", *told, env=vendors.environ)
    assert done.code == 0, done.err
    assert sent(vendors) == [(vendor, 2 * CASES) for vendor, _ in ONCE]
    assert not vendors.live, "nobody was asked one by one"
    live = command("bench", "suite.yaml", *told, "-o", "live", env=vendors.environ)
    assert live.code == 0, live.err
    assert len(vendors.live) == 3 * 2 * CASES, "answers of the batch are no cached ones of a live run"
    batched, usual = by_key(rows_of(folder_of(cwd))), by_key(rows_of(folder_of(cwd, "live")))
    assert {key: without(row, UNLIKE) for key, row in batched.items()} == {
        key: without(row, UNLIKE) for key, row in usual.items()
    }
    for key, row in batched.items():
        assert {row[name] for name in (*TIMES, "at_s")} == {None}
        assert Decimal(row["cost"]["amount"]) * 2 == Decimal(usual[key]["cost"]["amount"])
    chat = next(row for row in batched.values() if row["prompt"].startswith("["))
    assert chat["text"] == answer_to(f"{chat['vars']['country']}?"), "the last of a conversation"
    run = done.document
    assert (run["batch"], run["options"]["batch"], run["complete"], run["planned"]) == (True, True, True, 24)
    for target in run["targets"]:
        assert {value for name in (*TIMES, "adjusted_duration_s") for value in target[name].values()} == {None}
        assert (target["samples"], target["requests"], target["retries"]) == (8, 8, 0)
        assert target["pass_rate"]["value"] == 1.0
    assert {one["metric"] for one in run["comparisons"]} == {"score", "cost"}
    assert live.document["batch"] is False
    assert run["client"]["saturated"] is False
    assert run["client"]["offered_rps"] is None


def test_every_output_says_that_no_latency_is_known(command: Command, cwd: Path, vendors: BatchVendors) -> None:
    done = command("bench", "suite.yaml", "--batch", env=vendors.environ)
    assert done.code == 0, done.err
    folder, said = folder_of(cwd), "Asked by batch: no latency is known, and cost is at the batch rate."
    assert said in done.out
    for name in ("report.md", "report.html", "junit.xml"):
        assert said in (folder / name).read_text(), name
    for name in ("report.md", "report.html"):
        shown = (folder / name).read_text()
        assert "E2E" not in shown, f"no column, no curve and no night of it in {name}"
        assert "Latency:" not in shown
        assert "p95 cannot be told" not in shown
    assert "E2E" not in done.out
    junit = folder / "junit.xml"
    schema = xmlschema.XMLSchema(str(Path(__file__).parents[1] / "reports" / "junit-10.xsd"))
    schema.validate(str(junit))
    cases = [line for line in junit.read_text().splitlines() if line.startswith("<testcase") and "gate" not in line]
    assert len(cases) == 3 * CASES
    assert not any("time=" in line for line in cases), "0 s would be a latency"
    with open(folder / "samples.csv", newline="") as stream:
        for row in csv.DictReader(stream):
            assert {row[name] for name in TIMES} == {""}
    (listed,) = command("bench", "list", "--json").document["runs"]
    assert listed["batch"] is True
    assert "by batch" in command("bench", "list").out
    assert said in command("bench", "diff", "last", "last").err
    (found,) = (one for one in read_evidence(command.home / "data" / "ledger.db") if one.target == "openai")
    assert (found.judged, found.passed, found.duration_p50_s, found.cost) == (CASES, CASES, None, None)


def test_a_run_killed_while_it_waits_goes_on_and_sends_nothing_twice(
    command: Command, cwd: Path, vendors: BatchVendors
) -> None:
    vendors.behaviour = BatchBehaviour(never_ends=True)
    process = command.start(["bench", "suite.yaml", "--batch"], env=vendors.environ)
    wait_for(partial(has_jobs, vendors, 3), process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    folder = folder_of(cwd)
    (batch,) = command("batch", "status", "--json").document["batches"]
    assert (batch["source"], batch["state"], batch["lines"]) == (folder.name, "running", 3 * CASES)
    assert not (folder / "samples.jsonl").exists()
    shown = command("bench", "show")
    assert "The run is not complete: 0 of 12 samples" in shown.out
    vendors.behaviour = BatchBehaviour()
    done = command("bench", "--resume", "last", "--json", env=vendors.environ)
    assert done.code == 0, done.err
    assert sent(vendors) == ONCE
    assert not vendors.live
    assert len(by_key(rows_of(folder))) == 3 * CASES
    assert done.document["complete"]
    assert done.document["batch"]


def test_ctrl_c_leaves_the_samples_to_the_vendors_and_says_how_to_go_on(
    command: Command, cwd: Path, vendors: BatchVendors
) -> None:
    vendors.behaviour = BatchBehaviour(never_ends=True)
    process = command.start(["bench", "suite.yaml", "--batch"], env=vendors.environ)
    wait_for(partial(has_jobs, vendors, 3), process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    folder = folder_of(cwd)
    assert process.returncode == 130, err
    assert f"interrupted: go on: llmswitch bench --resume {folder.name} -o runs" in err
    assert "Traceback" not in err
    vendors.behaviour = BatchBehaviour()
    assert command("bench", "--resume", folder.name[:12], env=vendors.environ).code == 0
    assert sent(vendors) == ONCE


def test_a_run_killed_while_it_grades_asks_no_judge_twice(
    command: Command, cwd: Path, suite: Path, vendors: BatchVendors
) -> None:
    suite.write_text(SUITE.replace('{type: regex, value: "^answer"}', "{type: llm-rubric, value: it is a city}"))
    arguments = ("--batch", "--judge", "openai:gpt-4o-mini", "--no-cache")
    whole = command("bench", "suite.yaml", *arguments, "--json", env=vendors.environ)
    assert whole.code == 4, whole.err  # this judge answers nonsense
    assert vendors.live == ["gpt-4o-mini"] * 3 * CASES
    folder = folder_of(cwd)
    rows = rows_of(folder)
    # as a kill leaves it: five samples on disk, half a sixth, two answers that a judge was being asked about
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:5]) + '{"case": "1')
    waiting = [{**row, "assertions": [], "score": None, "pass": None} for row in rows[5:7]]
    (folder / "pending.jsonl").write_text("".join(json.dumps(row) + "\n" for row in waiting))
    document = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**document, "complete": False}))
    vendors.live.clear()
    again = command("bench", "--resume", "last", "--no-cache", "--json", env=vendors.environ)
    assert again.code == 4, again.err
    assert vendors.live == ["gpt-4o-mini"] * (3 * CASES - 5)
    assert by_key(rows_of(folder)) == by_key(rows)
    assert sent(vendors) == ONCE
    assert again.document["targets"] == whole.document["targets"]
    assert not (folder / "pending.jsonl").exists()


def test_what_a_vendor_fails_is_an_error_of_the_sample(command: Command, cwd: Path, vendors: BatchVendors) -> None:
    vendors.behaviours["claude-sonnet-4-5"] = BatchBehaviour(fails_each=2)
    vendors.behaviours["gemini-2.5-flash"] = BatchBehaviour(expires=True)
    done = command("bench", "suite.yaml", "--batch", "--json", env=vendors.environ)
    assert done.code == 4, done.err  # half of the calls failed
    errors = {target["target"]: target["errors"] for target in done.document["targets"]}
    assert errors == {"openai": {}, "claude": {"bad_request": 2}, "gemini": {"timeout": CASES}}
    for row in rows_of(folder_of(cwd)):
        assert (row["error"] is None) == (row["pass"] is True)
        assert row["duration_s"] is None
    expired = next(row for row in rows_of(folder_of(cwd)) if row["error"] and row["target"] == "gemini")
    assert "expired" in expired["error"]["message"]
    assert expired["requests"] == 0, "nobody came to it"
    assert done.document["client"]["cpu_fraction"] is None


def test_a_target_without_a_batch_interface_is_asked_one_by_one(
    command: Command, cwd: Path, vendors: BatchVendors
) -> None:
    team = {
        "LLM_ENDPOINTS": "team",
        "TEAM_BASE_URL": f"{vendors.url}/v1",
        "TEAM_API_KEY": KEY,
        "TEAM_MODEL": "gpt-4o-mini",
    }
    arguments = ("bench", "suite.yaml", "--batch", "-t", "openai", "-t", "team", "--json")
    done = command(*arguments, env={**vendors.environ, **team})
    assert done.code == 0, done.err
    assert sent(vendors) == [("openai", CASES)]
    assert vendors.live == ["gpt-4o-mini"] * CASES
    rows = rows_of(folder_of(cwd))
    assert {row["text"] for row in rows if row["target"] == "team"} == {
        row["text"] for row in rows if row["target"] == "openai"
    }
    assert {row[name] for row in rows for name in TIMES} == {None}
    assert any("team has no batch interface" in warning for warning in done.document["warnings"])
    assert "one by one" in (folder_of(cwd) / "report.md").read_text()


def test_what_the_suite_says_of_a_target_holds_for_its_batch_and_when_it_is_resumed(
    command: Command, cwd: Path, suite: Path, vendors: BatchVendors
) -> None:
    config = f"{{max_tokens: 7, apiBaseUrl: '{vendors.url}/v1', headers: {{X-Team: us}}}}"
    provider = f"{{id: 'openai:chat:gpt-4o', label: short ones, config: {config}}}"
    suite.write_text(SUITE.replace("[openai, claude, gemini]", f"[{provider}]"))
    nowhere = {**vendors.environ, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    vendors.behaviour = BatchBehaviour(never_ends=True)
    process = command.start(["bench", "suite.yaml", "--batch", "--trust-profile"], env=nowhere)
    wait_for(partial(has_jobs, vendors, 1), process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    vendors.behaviour = BatchBehaviour()
    done = command("bench", "--resume", "last", "--trust-profile", "--json", env=nowhere)
    assert done.code == 0, done.err
    assert [target["target"] for target in done.document["targets"]] == ["short ones"]
    assert [(job.lines, job.headers["x-team"]) for job in vendors.jobs] == [(CASES, "us")]
    (upload,) = vendors.uploads.values()
    bodies = [json.loads(line)["body"] for line in upload.splitlines()]
    assert [body["max_completion_tokens"] for body in bodies] == [7] * CASES
    assert {body["messages"][0]["role"] for body in bodies} == {"system", "user"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--rate", "5", "--duration", "3s"), "--rate, --duration"),
        (("--arrival", "poisson"), "--arrival"),
        (("--warmup", "1"), "--warmup"),
        (("--slo", "ttft=800ms"), "--slo"),
        (("--fail-if", "score<0.5", "--fail-if", "p95.duration>5s"), "--fail-if 'p95.duration>5s'"),
        (("--fail-if", "p50.tokens_per_s:-10%"), "--fail-if 'p50.tokens_per_s:-10%'"),
    ],
)
def test_what_needs_a_time_is_refused_before_anything_is_sent(
    command: Command, cwd: Path, vendors: BatchVendors, arguments: tuple[str, ...], named: str
) -> None:
    done = command("bench", "suite.yaml", "--batch", *arguments, env=vendors.environ)
    assert done.code == 2
    assert f"--batch tells no time and offers no load: leave out {named}, or --batch." in done.err
    assert not vendors.seen
    assert not (cwd / "runs").exists()


def test_an_assertion_on_latency_is_refused_by_its_line(
    command: Command, cwd: Path, suite: Path, vendors: BatchVendors
) -> None:
    suite.write_text(SUITE.replace('{type: regex, value: "^answer"}', "{type: latency, threshold: 500}"))
    done = command("bench", "suite.yaml", "--batch", env=vendors.environ)
    assert done.code == 2
    assert "the suite asserts one: latency (suite.yaml:9:" in done.err
    assert not vendors.seen
    assert command("bench", "suite.yaml", env=vendors.environ).code in (0, 3), "live it is asked"


def test_what_costs_more_than_was_allowed_is_not_sent(command: Command, cwd: Path, vendors: BatchVendors) -> None:
    dear = command("bench", "suite.yaml", "--batch", "--confirm-above", "0.0001", env=vendors.environ)
    assert dear.code == 2
    assert "give --yes to send it" in dear.err
    bound = command("bench", "suite.yaml", "--batch", "--max-cost", "0.001", env=vendors.environ)
    assert bound.code == 5, bound.err
    unknown = {**vendors.environ, "OPENAI_MODEL": "nobody-knows-it"}
    blind = command("bench", "suite.yaml", "--batch", "--max-cost", "5", "-t", "openai", env=unknown)
    assert blind.code == 5, blind.err
    assert not vendors.seen
    assert not list((cwd / "runs").iterdir()), "no run that was never begun"
    assert not command("batch", "status", "--json").document["batches"]
    said = command("bench", "suite.yaml", "--batch", "--confirm-above", "0.0001", "--yes", env=vendors.environ)
    assert said.code == 0, said.err


def test_a_rejected_key_leaves_a_run_that_goes_on_with_the_right_one(
    command: Command, cwd: Path, vendors: BatchVendors
) -> None:
    done = command("bench", "suite.yaml", "--batch", env={**vendors.environ, "OPENAI_API_KEY": "sk-wrong"})
    assert done.code == 1, done.err
    assert f"go on: llmswitch bench --resume {folder_of(cwd).name}" in done.err
    assert sent(vendors) == ONCE[:2]
    again = command("bench", "--resume", "last", env=vendors.environ)
    assert again.code == 0, again.err
    assert sent(vendors) == ONCE


def test_a_batch_and_a_live_run_tell_nothing_of_each_others_times_and_cost(
    command: Command, cwd: Path, vendors: BatchVendors
) -> None:
    suite = ("bench", "suite.yaml", "-t", "openai", "--json")
    live = command(*suite, env=vendors.environ).document
    first = command(*suite, "--batch", "--baseline", "last-green", env=vendors.environ)
    assert first.code == 0, first.err
    assert first.document["gate"]["baseline"] is None
    assert f"run {live['id']} is no baseline any more: it was not asked by batch." in first.err
    named = command(*suite, "--batch", "--baseline", live["id"], env=vendors.environ).document["gate"]
    assert {check["rule"]: (check["verdict"], check["reason"]) for check in named["checks"] if check["p"] is None} == {
        "p95.duration:+10%": ("not judged", "p95.duration:+10% is not judged: a batch tells no time."),
        "cost:+5%": ("not judged", "cost:+5% is not judged: the run alone was paid at the batch rate."),
    }
    assert [check["verdict"] for check in named["checks"] if check["rule"] == "score:-2pp"] == ["pass"]
    both = command(*suite, "--batch", "--baseline", "last-green", env=vendors.environ).document["gate"]
    assert {check["rule"]: check["verdict"] for check in both["checks"]} == {
        "score:-2pp": "pass",
        "p95.duration:+10%": "not judged",
        "cost:+5%": "pass",
    }
    back = command(*suite, "--baseline", first.document["id"], env=vendors.environ).document["gate"]
    assert {check["rule"]: check["verdict"] for check in back["checks"]} == {
        "score:-2pp": "pass",
        "p95.duration:+10%": "not judged",
        "cost:+5%": "not judged",
    }
    differ = command("bench", "diff", live["id"], first.document["id"])
    assert "tells nothing of times and cost" in differ.err


def test_a_dry_run_counts_on_the_batch_rate(command: Command, vendors: BatchVendors) -> None:
    told = [
        command("bench", "suite.yaml", "--dry-run", "--json", *more, env=vendors.environ).document["estimated_cost"]
        for more in ((), ("--batch",))
    ]
    assert Decimal(told[0]["amount"]) == 2 * Decimal(told[1]["amount"])
    assert (
        "Asked by batch: no latency is known"
        in command("bench", "suite.yaml", "--dry-run", "--batch", env=vendors.environ).err
    )
    assert not vendors.seen
