"""An answer on its way to stdout or a file."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmswitch.cli.output import MarkdownPrinter, OutputFile, RawPrinter, finished_blocks
from llmswitch.errors import StorageError

BLOCKS = [
    ("one\n\ntwo", 5),
    ("one\n\ntwo\n\nthree", 10),
    ("one\n\n", 0),
    ("one\ntwo", 0),
    ("- a\n\n- b", 0),
    ("1. a\n\n2. b\n\nafter", 12),
    ("- a\n\n  more of a", 0),
    ("```\ncode\n\nmore code", 0),
    ("```\ncode\n\n```\n\nafter", 15),
    ("~~~\n```\n\nstill code", 0),
]


@pytest.mark.parametrize(("text", "done"), BLOCKS)
def test_a_block_is_done_when_nothing_can_change_it(text: str, done: int) -> None:
    assert finished_blocks(text) == done


@given(st.text(st.sampled_from("a`~-1. \n"), max_size=60), st.text(st.sampled_from("a`~-1. \n"), max_size=20))
def test_what_follows_never_takes_back_a_done_block(text: str, more: str) -> None:
    assert finished_blocks(text + more) >= finished_blocks(text) or not text.endswith(("`", "~"))


def test_markdown_is_drawn_whole_whatever_the_chunks() -> None:
    text = "# Title\n\nSome **bold** text.\n\n```\ncode\n\nmore\n```\n\n- a\n- b\n\nThe [end](https://example.invalid)."
    drawn = []
    for size in (1, 7, len(text)):
        stream = io.StringIO()
        printer = MarkdownPrinter(stream)
        for start in range(0, len(text), size):
            printer.write(text[start : start + size])
        printer.close()
        drawn.append([line.rstrip() for line in stream.getvalue().splitlines() if line.strip()])
    for lines in drawn:
        assert [
            word for word in ("Title", "Some bold text.", "code", "more", "The end") if word in " ".join(lines)
        ] == [
            "Title",
            "Some bold text.",
            "code",
            "more",
            "The end",
        ]
    assert drawn[0] == drawn[1] == drawn[2]


def test_raw_text_ends_with_one_newline() -> None:
    for pieces, shown in ((["a", "b"], "ab\n"), (["a\n"], "a\n"), ([], ""), (["\x1b[3", "1mx"], "x\n")):
        stream = io.StringIO()
        printer = RawPrinter(stream)
        for piece in pieces:
            printer.write(piece)
        printer.close()
        assert stream.getvalue() == shown


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("before")
    path.chmod(0o640)
    output = OutputFile(path)
    assert path.read_text() == "before"
    output.discard()
    assert [p.name for p in tmp_path.iterdir()] == ["out.txt"]
    output = OutputFile(path)
    output.write("after\n")
    output.discard()
    assert path.read_text() == "after\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [p.name for p in tmp_path.iterdir()] == ["out.txt"]


def test_a_link_stays_a_link_and_a_new_file_is_private(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("before")
    (tmp_path / "link.txt").symlink_to("real.txt")
    output = OutputFile(tmp_path / "link.txt")
    output.write("after")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "after"
    output = OutputFile(tmp_path / "new.txt")
    output.write("new")
    assert stat.S_IMODE((tmp_path / "new.txt").stat().st_mode) == 0o600


def test_a_place_that_takes_no_file_is_told_at_once(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing" / "out.txt"):
        with pytest.raises(StorageError, match="cannot write"):
            OutputFile(path)
    with pytest.raises(StorageError, match="No space left"):
        OutputFile(Path("/dev/full")).write("x" * 100_000)


def test_a_pipe_is_written_to_directly(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    output = OutputFile(fifo)
    output.write("through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
