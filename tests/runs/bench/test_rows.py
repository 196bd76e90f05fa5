"""Rows on disk: whole or not there, whatever the disk or a kill does."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import signal
import stat
from pathlib import Path

import pytest

from llmswitch.errors import StorageError
from llmswitch.runs.bench.model import SampleRow
from llmswitch.runs.bench.rows import RowLog, mend, read_rows


def write(path: Path, *rows: SampleRow) -> None:
    async def written() -> None:
        log = RowLog(path)
        await asyncio.gather(*(log.append(row.as_dict()) for row in rows))
        await log.aclose()

    asyncio.run(written())


def row(number: int, **more: object) -> SampleRow:
    return SampleRow.from_dict({"case": f"1.{number}", "target": "t", "repeat": 0, **more})


def test_what_is_written_is_read_again_field_by_field_and_for_this_user_alone(tmp_path: Path) -> None:
    kept = row(1, text="\u2028 line\nbreaks \ud800", score=0.5, vars={"a": [1, None]}, **{"pass": True})
    write(tmp_path / "rows", kept, row(2))
    first, second = read_rows(tmp_path / "rows")
    assert first.text is not None
    assert first.text.startswith("\u2028 line\nbreaks ")
    assert (first.passed, first.score, first.vars) == (True, 0.5, {"a": [1, None]})
    assert second.key == ("1.2", "t", 0)
    assert stat.S_IMODE((tmp_path / "rows").stat().st_mode) == 0o600


@pytest.mark.parametrize("torn", ['{"case": "1.3", "tar', "x" * 200_000, '{"case": "é'])
def test_half_a_last_line_is_no_row_and_is_cut_off_before_more_is_written(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "rows"
    write(path, row(1), row(2))
    with open(path, "ab") as stream:
        stream.write(torn.encode()[:-1])
    assert [one.case for one in read_rows(path)] == ["1.1", "1.2"]
    mend(path)
    write(path, row(3))
    assert [one.case for one in read_rows(path)] == ["1.1", "1.2", "1.3"]


def test_a_file_that_is_one_torn_line_or_is_not_there_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    mend(path)
    assert list(read_rows(path)) == []
    path.write_text('{"case"')
    mend(path)
    assert path.read_text() == ""


def test_a_damaged_line_in_the_middle_is_said_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_text(f"{json.dumps(row(1).as_dict())}\n[1]\n{json.dumps(row(2).as_dict())}\n")
    with pytest.raises(StorageError, match="line 2 of"):
        list(read_rows(path))


def test_a_full_disk_takes_no_half_row_and_is_told_to_each_who_wrote(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    write(path, row(1))
    size = path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, before[1]))
    try:
        with pytest.raises(StorageError, match="cannot write"):
            write(path, row(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.stat().st_size == size
    write(path, row(2))
    assert [one.case for one in read_rows(path)] == ["1.1", "1.2"]


def test_a_cancelled_writer_has_written_all_the_same(tmp_path: Path) -> None:
    async def cancelled() -> None:
        log = RowLog(tmp_path / "rows")
        task = asyncio.create_task(log.append(row(1).as_dict()))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await log.aclose()

    asyncio.run(cancelled())
    assert [one.case for one in read_rows(tmp_path / "rows")] == ["1.1"]


def test_a_row_is_there_for_whoever_looks_after_a_kill_before_it_is_synced(tmp_path: Path) -> None:
    async def seen() -> list[str]:
        log = RowLog(tmp_path / "rows")
        task = asyncio.create_task(log.append(row(1).as_dict()))
        await asyncio.sleep(0)
        found = [one.case for one in read_rows(tmp_path / "rows")]
        assert not task.done(), "it counts once it is synced"
        await task
        await log.aclose()
        return found

    assert asyncio.run(seen()) == ["1.1"]


def test_a_sync_that_fails_takes_back_what_it_was_for_and_what_came_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows"
    write(path, row(1))

    async def failing() -> tuple[BaseException | None, BaseException | None]:
        log = RowLog(path)
        first = asyncio.create_task(log.append(row(2).as_dict()))
        await asyncio.sleep(0)
        monkeypatch.setattr(os, "fsync", broken)
        ends = await asyncio.gather(first, log.append(row(3).as_dict()), return_exceptions=True)
        monkeypatch.undo()
        await log.append(row(4).as_dict())
        await log.aclose()
        return ends

    def broken(file: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    ends = asyncio.run(failing())
    assert [str(end) for end in ends] == [f"cannot write {path}: Input/output error."] * 2
    assert [one.case for one in read_rows(path)] == ["1.1", "1.4"]
