"""`llmswitch bench list | show | diff | export | prune | bless`, on runs built by hand."""

from __future__ import annotations

import io
import json
import re
import stat
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from llmswitch.cli.app import main
from llmswitch.cli.shell import Shell
from llmswitch.errors import ConfigError, StorageError
from llmswitch.reports.bench_history import history_table, narrowed
from llmswitch.reports.bench_outputs import bring_up_to_date
from llmswitch.reports.table import print_table
from llmswitch.runs.bench.baseline import BLESSED, LAST_GREEN, find_baseline
from llmswitch.runs.bench.document import RunDocument
from llmswitch.runs.bench.folder import RunFolder
from llmswitch.runs.bench.model import Load, Options, SampleRow
from llmswitch.runs.bench.summary import Ended
from tests.reports.runs import failed, row, run, target

NOW = datetime(2031, 11, 23, 2, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _alone(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMSWITCH_HOME", str(home))
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.chdir(tmp_path)
    current = Shell.current
    monkeypatch.setattr(Shell, "current", lambda **told: replace(current(**told), wall=NOW.timestamp))


def bench(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["bench", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def night(days_ago: int, rows: Sequence[SampleRow] = (), *, name: str = "claude", **changed: Any) -> RunFolder:
    """A run below ./runs that began so many days ago."""
    began = NOW - timedelta(days=days_ago)
    folder = RunFolder(Path("runs") / f"{began:%Y%m%d-%H%M%S}-{days_ago:04x}")
    folder.path.mkdir(parents=True)
    options = {**Options(repeats=2).as_dict(), **changed.pop("options", {})}
    document = run(target(name), id=folder.id, started_at=began.isoformat(), options=options)
    folder.write({**document, **changed})  # type: ignore[typeddict-item]  # a test names the fields that it needs
    lines = "".join(json.dumps(one.as_dict()) + "\n" for one in rows)
    folder.samples.write_text(lines)
    return folder


def gate(verdict: str, baseline: RunFolder | None = None) -> dict[str, Any]:
    path = None if baseline is None else str(baseline.path.resolve())
    return {"gate": {"verdict": verdict, "checks": [], "baseline": path, "alpha": 0.05, "reason": ""}}


def left() -> list[int]:
    """The nights that are still there, by how many days ago they were."""
    return sorted(int(path.name[-4:], 16) for path in Path("runs").iterdir())


def test_the_list_has_the_newest_last_and_says_how_each_ended(capsys: pytest.CaptureFixture[str]) -> None:
    night(1, complete=False)
    night(3, **gate("fail")).bless()
    (Path("runs") / "20311101-000000-dead").mkdir()  # a run that never began
    code, out, _ = bench(capsys, "list")
    lines = [re.split(r" {2,}", line) for line in out.splitlines()]
    assert code == 0
    assert lines[0] == [
        *("run", "suite", "started", "verdict", "targets", "samples", "pass", "E2E p50", "E2E p95", "cost")
    ]
    assert lines[1][0] == "20311120-020000-0003 (blessed)"
    assert lines[1][3:] == ["✗ fail", "1", "100", "95 %", "1.20 s", "2.64 s", "$0.120000"]
    assert lines[2][0] == "20311122-020000-0001 (not complete)"
    _, out, _ = bench(capsys, "list", "--json")
    told = json.loads(out)
    assert told["schema"] == "llmswitch/runs/1"
    assert [(one["id"], one["verdict"], one["blessed"], one["complete"]) for one in told["runs"]] == [
        ("20311120-020000-0003", "fail", True, True),
        ("20311122-020000-0001", "pass", False, False),
    ]


def test_in_80_cells_the_list_keeps_ids_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    folders = [night(days, suite="answers to customers") for days in (1, 2)]
    out, table = io.StringIO(), history_table([folder.read() for folder in folders])
    print_table(table, out, decorated=True, narrow=narrowed(table))
    assert max(map(len, out.getvalue().splitlines())) <= 80
    assert all(folder.id in out.getvalue() for folder in folders)


def test_without_a_run_the_list_says_how_to_make_one(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = bench(capsys, "list", "-o", "nowhere")
    assert (code, out) == (0, "")
    assert "llmswitch bench suite.yaml -o nowhere" in err
    assert json.loads(bench(capsys, "list", "--json")[1]) == {"schema": "llmswitch/runs/1", "runs": []}


def test_a_run_of_another_version_is_warned_of_and_hides_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    good, other = night(1), night(2)
    (other.path / "run.json").write_text('{"schema": "llmswitch/run/1", "id": "x"}')
    for command in (("list",), ("prune", "--keep", "5")):
        code, _, err = bench(capsys, *command)
        assert code == 0
        assert "it lacks asked, asserted" in err
    code, _, err = bench(capsys, "show", other.id)
    assert (code, "it lacks" in err) == (2, True)
    assert find_baseline(LAST_GREEN, Path("runs"), {**good.read(), "id": "30"}, lambda told: None) == good


def test_a_damaged_run_is_warned_of_and_hides_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    night(1)
    (night(2).path / "run.json").write_text("{")
    code, out, err = bench(capsys, "list", "--json")
    assert code == 0
    assert len(json.loads(out)["runs"]) == 1
    assert "is damaged" in err


@pytest.mark.parametrize("command", ["show", "diff", "bless", "export"])
def test_an_unknown_run_is_exit_2_with_what_to_type(capsys: pytest.CaptureFixture[str], command: str) -> None:
    night(1)
    code, out, err = bench(capsys, command, "2020", *(["--format", "csv"] if command == "export" else []))
    assert (code, out) == (2, "")
    assert "llmswitch bench list -o runs" in err
    code, _, err = bench(capsys, command, "2", *(["--format", "nonsense"] if command == "export" else []))
    assert code == (2 if command == "export" else 0), "what begins an id is enough"


@pytest.mark.parametrize("named", ["last", "20311122", "20311122-020000-0001", "{}/runs/20311122-020000-0001"])
def test_a_run_is_shown_by_its_id_a_beginning_of_it_a_path_or_as_the_last(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, named: str
) -> None:
    night(2)
    night(1, **gate("inconclusive"))
    code, out, _ = bench(capsys, "show", named.format(tmp_path))
    assert code == 0
    assert out.startswith("INCONCLUSIVE")
    assert re.search(r"claude \(claude-1\) +95 % \(90 % to 98 %\)", out)
    assert out.rstrip().endswith("20311122-020000-0001/report.html")
    assert json.loads(bench(capsys, "show", named.format(tmp_path), "--json")[1])["id"] == "20311122-020000-0001"


def test_what_was_the_bottleneck_is_said_on_the_terminal_too(capsys: pytest.CaptureFixture[str]) -> None:
    folder = night(1)
    document = folder.read()
    document["client"]["saturated"] = True
    folder.write(document)
    assert "This machine was the bottleneck" in bench(capsys, "show")[1]


def test_a_killed_run_is_worked_out_from_its_rows_when_it_is_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row("1.1"), row("1.2", passed=False), failed("1.3", "claude")]
    folder = night(1, rows, complete=False, targets=[target(samples=1)])
    with open(folder.samples, "a") as stream:
        stream.write('{"case": "1.4", ')  # the power went
    code, out, _ = bench(capsys, "show", "--json")
    assert code == 0
    (found,) = json.loads(out)["targets"]
    assert (found["samples"], found["errors"], found["pass_rate"]["value"]) == (3, {"timeout": 1}, 0.5)
    assert folder.read()["targets"][0]["samples"] == 3
    written = {"samples.csv", "junit.xml", "report.md", "report.html"}
    assert written <= {path.name for path in folder.path.iterdir()}
    before = (folder.path / "report.html").stat().st_mtime_ns
    bench(capsys, "show")
    assert (folder.path / "report.html").stat().st_mtime_ns == before, "what is right is not made again"


def test_a_run_that_is_being_made_is_shown_as_its_files_say_and_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    folder = night(1, [row("1.1"), row("1.2")], complete=False, targets=[target(samples=1)])
    with folder.locked():
        code, out, err = bench(capsys, "show", "--json")
    assert (code, json.loads(out)["targets"][0]["samples"]) == (0, 1)
    assert "is still being made" in err
    assert not (folder.path / "report.html").exists()


def test_a_diff_names_what_changed_and_warns_where_something_else_was_asked(capsys: pytest.CaptureFixture[str]) -> None:
    night(2, [row("1.1", text="30 days"), row("1.2")])
    night(1, [row("1.1", passed=False, text="never"), row("1.2")], fingerprint="1" * 64)
    code, out, err = bench(capsys, "diff", "20311121", "last")
    assert code == 0
    assert re.search(r"1\.1 +claude +1/1 → 0/1 +30 days +never", out)
    assert "1 case changed" in out
    assert "asked something else: its cases, prompts or assertions are others" in err
    told = json.loads(bench(capsys, "diff", "20311121", "--json")[1])
    assert (told["schema"], told["a"], told["b"]) == (
        "llmswitch/runs-diff/1",
        "20311121-020000-0002",
        "20311122-020000-0001",
    )
    assert told["cases"] == [
        {
            "case": "1.1",
            "target": "claude",
            "a": {"passed": 1, "judged": 1, "errors": 0, "answer": "30 days"},
            "b": {"passed": 0, "judged": 1, "errors": 0, "answer": "never"},
        }
    ]
    assert {"target": "claude", "figure": "E2E p50", "a": 1.2, "b": 1.2, "change": 0.0} in told["figures"]


def test_a_diff_names_a_case_that_is_answered_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    night(2, [row("1.1"), row("1.2"), failed("1.3", "claude")])
    night(1, [failed("1.1", "claude"), row("1.2"), row("1.2", repeat=1, passed=None), failed("1.3", "claude")])
    code, out, _ = bench(capsys, "diff", "20311121", "last")
    assert code == 0
    assert re.search(r"1\.1 +claude +1/1 → 1 error +You may return", out)
    assert "1 case changed" in out


def test_a_baseline_that_was_moved_away_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    before = night(2, [row("1.1")])
    night(1, [row("1.1")], complete=False, targets=[target(samples=0)], **gate("pass", before))
    before.path.rename("elsewhere")
    told = json.loads(bench(capsys, "show", "--json")[1])
    assert (told["gate"]["verdict"], told["warnings"]) == (
        "inconclusive",
        [
            f"the baseline is not in {before.path.resolve()} any more: nothing can be held against it. "
            "Put it back, or begin anew."
        ],
    )


@pytest.mark.parametrize("asked", [{"targets": "claude"}, {"targets": [1]}, {"timeout": 5}])
def test_a_damaged_run_is_not_gone_on_with(capsys: pytest.CaptureFixture[str], asked: dict[str, Any]) -> None:
    night(1, [row("1.1")], complete=False, asked=asked)
    code, _, err = bench(capsys, "--resume", "last")
    assert code == 2
    assert "under 'asked' is damaged" in err


def test_every_format_is_made_from_what_is_on_disk_to_stdout_or_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    night(1, [row("1.1"), row("1.2", passed=False, text="\x1b]0;gotcha\x07")])
    begins = {
        "csv": "case,description,target",
        "junit": "<?xml",
        "markdown": "# ",
        "html": "<!doctype html>",
        "json": "{",
        "jsonl": '{"case": "1.1"',
    }
    for form, begin in begins.items():
        code, out, _ = bench(capsys, "export", "last", "--format", form)
        assert code == 0
        assert out.lower().startswith(begin)
        assert "\x1b" not in out
        code, nothing, _ = bench(capsys, "export", "last", "--format", form, "--to", f"page.{form}")
        assert (code, nothing) == (0, "")
        assert re.sub(r"made \S+", "", Path(f"page.{form}").read_text()) == re.sub(r"made \S+", "", out)
        assert stat.S_IMODE(Path(f"page.{form}").stat().st_mode) == 0o600
    assert bench(capsys, "export", "last", "--format", "csv", "--to", "no/such/folder.csv")[0] == 2
    code, _, err = bench(capsys, "export", "last", "--format", "pdf")
    assert (code, "csv, junit, markdown, html, json, jsonl" in err) == (2, True)


def test_pruning_by_age_spares_the_blessed_and_the_newest_green(capsys: pytest.CaptureFixture[str]) -> None:
    night(400).bless()
    night(300)
    night(200)
    night(150, **gate("fail"))
    night(10, **gate("fail"))
    code, out, _ = bench(capsys, "prune", "--older-than", "90d", "--dry-run")
    assert (code, len(out.splitlines()), left()) == (0, 2, [10, 150, 200, 300, 400])
    code, out, err = bench(capsys, "prune", "--older-than", "90d")
    assert (code, left()) == (0, [10, 200, 400])
    assert out.splitlines() == ["20310127-020000-012c", "20310626-020000-0096"]
    assert "2 runs removed, 3 kept" in err
    found = find_baseline(LAST_GREEN, Path("runs"), RunFolder(night(0).path).read(), pytest.fail)
    assert found is not None
    assert found.id.endswith("00c8")


def test_keep_counts_each_suite_with_its_targets_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for days in range(1, 6):
        night(days)
    night(6, suite="another")
    night(7, name="gemini")
    bench(capsys, "prune", "--keep", "2")
    assert left() == [1, 2, 6, 7]
    bench(capsys, "prune", "--keep", "1", "--older-than", "2d")
    assert left() == [1, 2, 6, 7], "young enough is reason enough to stay"


def test_what_an_unfinished_run_is_measured_against_and_what_is_being_written_stay(
    capsys: pytest.CaptureFixture[str],
) -> None:
    baseline = night(9)
    night(8)
    night(2, complete=False, **gate("not judged", baseline))
    writing = night(7, **gate("fail"))
    with writing.locked():
        code, _, err = bench(capsys, "prune", "--keep", "1", "--older-than", "5d")
    assert (code, left()) == (0, [2, 7, 8, 9])
    assert "stays: another llmswitch is writing" in err
    bench(capsys, "prune", "--keep", "0")
    assert left() == [8], "the unfinished run went, and with it what its baseline was kept for"


def test_prune_takes_no_guess_at_what_may_go(capsys: pytest.CaptureFixture[str]) -> None:
    night(1)
    code, _, err = bench(capsys, "prune")
    assert (code, "--older-than 90d" in err, left()) == (2, True, [1])
    assert bench(capsys, "prune", "--older-than", "soon")[0] == 2


def baseline_of(document: RunDocument) -> str | None:
    found = find_baseline(BLESSED, Path("runs"), document, pytest.fail)
    return None if found is None else found.id


def test_blessing_a_run_makes_it_the_baseline_in_the_place_of_the_one_before(
    capsys: pytest.CaptureFixture[str],
) -> None:
    older, newer, other = night(3), night(2, **gate("fail")), night(4, suite="another", fingerprint="2" * 64)
    tonight = night(0).read()
    other.bless()
    assert baseline_of(tonight) is None
    assert bench(capsys, "bless", newer.id)[0] == 0
    assert baseline_of(tonight) == newer.id
    code, out, _ = bench(capsys, "bless", older.id)
    assert (code, baseline_of(tonight)) == (0, older.id)
    assert re.search(rf"run {older.id} is the baseline from now on, 20\d\d-\d\d-\d\d \d\d:\d\d\.", out)
    assert f"run {newer.id} is the baseline no longer" in out
    assert other.blessed, "of other cases, it is no rival"
    assert "is the baseline since" in bench(capsys, "bless", older.id)[1]
    code, out, _ = bench(capsys, "bless", older.id, "--undo")
    assert (code, baseline_of(tonight)) == (0, None)
    assert "no longer" in out
    assert "was not blessed" in bench(capsys, "bless", older.id, "--undo")[1]


def test_what_did_not_end_or_was_not_answered_cannot_be_blessed(capsys: pytest.CaptureFixture[str]) -> None:
    night(2, complete=False)
    night(1, targets=[target(errors={"server": 100})])
    code, _, err = bench(capsys, "bless", "20311121")
    assert (code, "--resume 20311121-020000-0002" in err) == (2, True)
    code, _, err = bench(capsys, "bless", "last")
    assert (code, "too many of its calls failed" in err) == (2, True)


def test_a_night_on_which_too_little_was_answered_is_no_green_one(capsys: pytest.CaptureFixture[str]) -> None:
    """A first night on which every vendor was down is 'not judged', and would leave every later one inconclusive."""
    green = night(3)
    night(2, targets=[target(errors={"server": 100})], **gate("not judged"))
    found = find_baseline(LAST_GREEN, Path("runs"), night(0).read(), pytest.fail)
    assert found is not None
    assert found.id == green.id


def test_a_run_under_another_load_is_no_baseline() -> None:
    """Fifty calls at a time are slower than one, whatever the vendor did in the meantime."""
    green, tonight = night(2), night(1, options=Options(repeats=2, load=Load(concurrency=50)).as_dict())
    said: list[str] = []
    assert find_baseline(LAST_GREEN, Path("runs"), tonight.read(), said.append) is None
    assert said == [
        f"run {green.id} is no baseline any more: "
        "it offered another load (--concurrency, --rate, --arrival, --no-pace)."
    ]
    with pytest.raises(ConfigError, match="another load"):
        find_baseline(green.id, Path("runs"), tonight.read(), said.append)


def test_a_run_that_another_model_graded_is_no_baseline() -> None:
    """Its scores would be another's taste."""
    judge = {"provider": "openai", "request_model": "gpt-4o", "parameters": {"temperature": 0.0}}
    green, other, tonight = night(3, judges={"openai": judge}), night(2, judges={"claude": judge}), night(1)
    upgraded = night(0, judges={"openai": {**judge, "request_model": "gpt-5"}})
    for run_, baseline, why in (
        (tonight, green, "it was graded by openai"),
        (green, tonight, "it was graded by no model"),
        (green, other, "it was graded by claude"),
        (upgraded, green, "its judge openai had another request model, gpt-4o"),
    ):
        with pytest.raises(ConfigError, match=why):
            find_baseline(baseline.id, Path("runs"), run_.read(), pytest.fail)
    assert find_baseline(green.id, Path("runs"), green.read(), pytest.fail) is not None


def test_a_run_whose_reports_cannot_be_written_is_not_complete() -> None:
    """It would be shown with reports that are not there, and not be gone on with."""
    folder = night(1, [row("1.1", passed=True)], complete=False)
    (folder.path / "report.html" / "in the way").mkdir(parents=True)
    ended = Ended(complete=True, client=folder.read()["client"], measured_s=1.0, warmup={}, at=0.0)
    with pytest.raises(StorageError, match=r"report\.html"):
        bring_up_to_date(folder, ended)
    assert folder.read()["complete"] is False


def test_resuming_a_complete_run_asks_nothing_and_ends_as_that_did(capsys: pytest.CaptureFixture[str]) -> None:
    folder = night(1, [row("1.1", passed=False)], **gate("fail"))
    before = folder.read()
    code, out, err = bench(capsys, "--resume", "last")
    assert (code, out.partition("\n")[0]) == (3, "FAIL")
    assert "nothing is left to ask" in err
    assert folder.read() == before


def test_runs_by_batch_and_live_ones_take_nothing_from_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    live, batch = night(5), night(4, batch=True)
    for folder in (live, batch):
        assert bench(capsys, "bless", folder.id)[0] == 0
    assert live.blessed, "the blessing of a run that measured stays"
    tonight: RunDocument = {**live.read(), "id": "30"}
    by_batch: RunDocument = {**tonight, "batch": True}
    for named in (LAST_GREEN, BLESSED):
        assert find_baseline(named, Path("runs"), tonight, lambda told: None) == live
        assert find_baseline(named, Path("runs"), by_batch, lambda told: None) == batch
    assert find_baseline(batch.id, Path("runs"), tonight, lambda told: None) == batch, "by name, for its score"
    live.bless(False)
    batch.bless(False)
    bench(capsys, "prune", "--older-than", "1d")
    assert left() == [4, 5], "each is the newest green one of its kind"
