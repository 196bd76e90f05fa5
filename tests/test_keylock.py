"""Locks by key: one holder among all, and nobody locked out by the dead."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import llmswitch
from llmswitch.keylock import KeyLocks

KEY, OTHER = "ab" * 32, "cd" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "responses"


@pytest.fixture
def one(folder: Path) -> Iterator[KeyLocks]:
    with closing(KeyLocks(folder)) as locks:
        yield locks


@pytest.fixture
def two(folder: Path) -> Iterator[KeyLocks]:
    with closing(KeyLocks(folder)) as locks:
        yield locks


def test_a_key_has_one_holder(one: KeyLocks, two: KeyLocks) -> None:
    lock = one.take(KEY)
    assert lock is not None
    assert one.take(KEY) is None, "nor twice by the same"
    assert two.take(KEY) is None
    lock.release()
    taken = two.take(KEY)
    assert taken is not None
    lock.release()
    assert one.take(KEY) is None, "what was given back is not given back again"
    taken.release()


def test_keys_do_not_wait_for_each_other(one: KeyLocks, two: KeyLocks) -> None:
    keys = [hashlib.sha256(bytes([number])).hexdigest() for number in range(200)]
    assert None not in [locks.take(key) for locks, key in zip((one, two) * 100, keys, strict=True)]


def test_closing_gives_everything_back(one: KeyLocks, two: KeyLocks) -> None:
    lock = one.take(KEY)
    assert lock is not None
    if sys.platform != "linux":
        lock.release()
    one.close()
    taken = two.take(KEY)
    assert taken is not None
    lock.release()
    assert one.take(KEY) is None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a file in use cannot be removed")
def test_a_folder_that_was_removed_locks_again(one: KeyLocks, two: KeyLocks, folder: Path) -> None:
    lock = one.take(KEY)
    assert lock is not None
    lock.release()
    shutil.rmtree(folder)
    lock = one.take(KEY)
    assert lock is not None
    assert two.take(KEY) is None


@pytest.mark.skipif(os.name != "posix", reason="no permission bits, no links")
def test_a_link_in_its_place_is_not_followed(one: KeyLocks, folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    name = folder / ("asking.lock" if sys.platform == "linux" else f"locks/{KEY}.lock")
    name.parent.mkdir(exist_ok=True)
    name.symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError, match="symbolic links"):
        one.take(KEY)
    assert not (tmp_path / "theirs").exists()


_HOLDER = """
import sys
from pathlib import Path
from llmswitch.keylock import KeyLocks
locks = KeyLocks(Path(sys.argv[1]))
assert locks.take(sys.argv[2]) is not None
print("held", flush=True)
sys.stdin.read()
"""


def test_a_killed_holder_locks_nobody_out(one: KeyLocks, folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(folder), KEY],
        env={**os.environ, "PYTHONPATH": str(Path(llmswitch.__file__).parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert one.take(KEY) is None
        assert one.take(OTHER) is not None
        holder.kill()
        holder.wait(20)
        assert one.take(KEY) is not None
