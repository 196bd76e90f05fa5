"""Night after night, as the examples do it: the script, the workflow that calls it, and the runs that they leave."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from llmswitch.variables import VARIABLES
from tests.e2e.conftest import COMMAND, Command
from tests.servers.recorder import Seen
from tests.servers.vendors import Behaviour, Vendors

EXAMPLES = Path(__file__).parents[2] / "examples"
SLOWER, WORSE = "gpt-4o", "gpt-4o-mini"


def read_yaml(name: str) -> Any:
    return YAML(typ="safe", pure=True).load(EXAMPLES / name)


def sorting(*, first_s: float = 0.25, wrong: bool = False) -> Callable[[Seen], Behaviour]:
    """A model that sorts the example's messages to their teams, or all of them to one that there is not."""
    teams = {test["vars"]["message"]: test["vars"]["team"] for test in read_yaml("nightly-suite.yaml")["tests"]}

    def answer(seen: Seen) -> Behaviour:
        asked = seen.body.decode()
        (team,) = (team for message, team in teams.items() if message in asked)
        return Behaviour(text="marketing" if wrong else team, first_s=first_s)

    return answer


@pytest.fixture
def vendors() -> Iterator[Vendors]:
    with Vendors({SLOWER: sorting(), WORSE: sorting()}) as server:
        yield server


class Repository:
    """A team's own, with the examples copied into it and the installed command in PATH."""

    def __init__(self, command: Command, vendors: Vendors) -> None:
        self.path = command.cwd
        shutil.copytree(EXAMPLES, self.path / "examples")
        suite = self.path / "examples" / "nightly-suite.yaml"
        suite.write_text(suite.read_text().replace("[openai, claude]", f"['openai:{SLOWER}', 'openai:{WORSE}']"))
        (self.path / "profiles").mkdir()
        shutil.copy(EXAMPLES / "nightly.env", self.path / "profiles")
        self.runs = self.path / "runs"
        self.summary = self.path / "step-summary.md"
        path = f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}"
        own = {"PATH": path, "GITHUB_STEP_SUMMARY": str(self.summary)}
        self.environ = {**command.environment(vendors.environ), **own}

    def start(self, environ: Mapping[str, str]) -> subprocess.Popen[str]:
        """One night, as the workflow's step has it, in a process group of its own."""
        (step,) = (step for step in read_yaml("github-actions-bench.yml")["jobs"]["bench"]["steps"] if "env" in step)
        return subprocess.Popen(
            ["bash", "-e", "-c", step["run"]],
            cwd=self.path,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def night(self, **environ: str) -> tuple[int, str]:
        """Its exit code, and what it said on stderr."""
        with self.start(environ) as process:
            _, err = process.communicate(timeout=120)
        return process.returncode, err

    def killed_night(self, *, after: int) -> None:
        """One that nothing is left of once so many samples of it are on disk."""
        before = self.samples()
        with self.start({}) as process:
            deadline = time.monotonic() + 60
            while self.samples() < before + after:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.02)
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def samples(self) -> int:
        return sum(len(path.read_bytes().splitlines()) for path in self.runs.glob("*/samples.jsonl"))


def test_the_nightly_script_from_its_first_night_to_the_worst(command: Command, vendors: Vendors) -> None:
    repository = Repository(command, vendors)

    repository.killed_night(after=20)
    rows = command("bench", "export", "last", "--format", "jsonl").out.splitlines()
    shown = command("bench", "show")
    assert 20 <= len(rows) < 2 * 15 * 5
    assert all(json.loads(row)["pass"] for row in rows)
    assert f"The run is not complete: {len(rows)} of 150 samples are there." in shown.out, "worked out from its rows"

    code, err = repository.night()
    assert code == 0, err
    assert "going on with runs/" in err
    (first,) = told(command)
    assert (first["complete"], first["verdict"]) == (True, "not judged"), "there was nothing yet to hold it against"
    under_way, warmup = 2 * 8, 2 * 2 * 2
    assert 150 <= len(vendors.asked) <= 150 + under_way + warmup, "nothing that was answered was asked again"

    code, err = repository.night()
    assert code == 0, err
    assert "nothing got worse" in err

    vendors.behaviours = {SLOWER: sorting(first_s=0.5), WORSE: sorting(wrong=True)}
    code, err = repository.night()
    assert code == 3, err
    assert "SOMETHING GOT WORSE" in err
    run = command("bench", "show", "--json").document
    failed = {(check["rule"], check["target"]) for check in run["gate"]["checks"] if check["verdict"] == "fail"}
    assert failed == {("p50.duration:+20%", f"openai:{SLOWER}"), ("score:-2pp", f"openai:{WORSE}")}
    summary = repository.summary.read_text()
    assert "**FAIL: 2 of 6 checks, first of " in summary
    assert summary.endswith((repository.runs / "latest-report.md").read_text())

    vendors.behaviours = {SLOWER: Behaviour(status=500), WORSE: Behaviour(status=500)}
    code, err = repository.night()
    assert code == 4, err
    assert "too little was answered" in err
    assert [run["verdict"] for run in told(command)][::2] == ["not judged", "fail"]
    assert (repository.runs / "latest-report.html").stat().st_mode & 0o077 == 0


def test_a_night_killed_twice_leaves_a_report_and_another_suite_is_not_kept_from_its_own(
    command: Command, vendors: Vendors
) -> None:
    repository = Repository(command, vendors)
    with repository.start({}) as script:
        for kept in (10, 60):
            deadline = time.monotonic() + 60
            while repository.samples() < kept:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            os.kill(child_of(script.pid), signal.SIGKILL)
        _, err = script.communicate(timeout=60)
    assert script.returncode == 137, err
    assert "exit code 137" in err
    assert "The run is not complete" in (repository.runs / "latest-report.md").read_text()
    assert repository.summary.read_text() == (repository.runs / "latest-report.md").read_text()

    (repository.path / "other.yaml").write_text("prompts: [hi]\nproviders: [claude]\n")
    other = subprocess.run(
        ["bash", "examples/nightly-bench.sh", "./other.yaml"],
        cwd=repository.path,
        env=repository.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert other.returncode == 0, other.stderr
    assert "going on with" not in other.stderr
    assert [(run["suite"], run["complete"]) for run in told(command)] == [("tickets", False), ("other", True)]


def child_of(pid: int) -> int:
    """The llmswitch that a script waits for."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    (found,) = (int(child) for child in children if b"llmswitch" in Path(f"/proc/{child}/cmdline").read_bytes())
    return found


def told(command: Command) -> list[dict[str, Any]]:
    """The runs, as `bench list` has them."""
    runs: list[dict[str, Any]] = command("bench", "list", "--json").document["runs"]
    return runs


def test_the_workflow_is_whole_and_uses_what_is_there() -> None:
    workflow = read_yaml("github-actions-bench.yml")
    assert set(workflow) == {"name", "on", "permissions", "concurrency", "jobs"}
    assert workflow["permissions"] == {"contents": "read"}
    steps = workflow["jobs"]["bench"]["steps"]
    assert all(("uses" in step) != ("run" in step) for step in steps)
    (bench,) = (step for step in steps if "env" in step)
    script, suite = bench["run"].split()
    assert os.access(EXAMPLES.parent / script, os.X_OK)
    assert (EXAMPLES.parent / suite).is_file()
    assert {name for name in bench["env"] if not name.startswith("BENCH_")} <= set(VARIABLES)
    kept = [step["with"]["path"] for step in steps if "cache" in step.get("uses", "")]
    assert kept == ["runs", "runs"], "what was kept is found again, under the name that the script gives it"
