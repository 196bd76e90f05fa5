"""An answer on its way to stdout or a file."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmswitch.cli.output import Blocks, MarkdownPrinter, OutputFile, RawPrinter
from llmswitch.errors import StorageError

#: what came, and which part of it is finished
BLOCKS = [
    ("one\n\ntwo\n", "one\n"),
    ("one\n\ntwo\n\nthree\n", "one\n\ntwo\n"),
    ("one\n\ntw", ""),
    ("\n\none\n", ""),
    ("one\ntwo\n", ""),
    ("- a\n\n- b\n", ""),
    ("1. a\n\n2. b\n\nafter\n", "1. a\n\n2. b\n"),
    ("- a\n\n  more of a\n", ""),
    ("```\ncode\n\nmore code\n", ""),
    ("```\ncode\n\n```\n\nafter\n", "```\ncode\n\n```\n"),
    ("~~~\n```\n\nstill code\n", ""),
    ("````\n```\n\nstill code\n", ""),
    ("```\n``` not an end\n\nstill code\n", ""),
]


@pytest.mark.parametrize(("text", "finished"), BLOCKS)
def test_a_block_is_finished_when_nothing_can_change_it(text: str, finished: str) -> None:
    blocks = Blocks()
    assert blocks.feed(text) == finished
    assert finished + ("\n" if finished else "") + blocks.rest() == text


@given(st.text(st.sampled_from("a`~-1. \n"), max_size=80), st.integers(1, 9))
def test_nothing_is_lost_and_the_chunks_do_not_matter(text: str, size: int) -> None:
    outcomes = []
    for step in (size, len(text) or 1):
        blocks, shown = Blocks(), ""
        for start in range(0, len(text), step):
            finished = blocks.feed(text[start : start + step])
            shown += finished + "\n" if finished else ""
        outcomes.append(shown + blocks.rest())
    assert outcomes == [text, text]


def test_the_end_of_a_long_code_block_is_shown_as_code() -> None:
    blocks = Blocks()
    blocks.feed("```python\n" + "".join(f"x{i} = {i}\n" for i in range(20_000)))
    lines = blocks.tail(80, 20).splitlines()
    assert lines[0] == "```python"
    assert lines[-1] == "x19999 = 19999"
    assert len(lines) <= 21


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
    full = OutputFile(Path("/dev/full"))
    with pytest.raises(StorageError, match="No space left"):
        full.write("x" * 100_000)
    full.discard()


def test_odd_names_are_names(tmp_path: Path) -> None:
    long = tmp_path / ("n" * 250)
    output = OutputFile(long)
    output.write("x")
    assert long.read_text() == "x"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(StorageError, match="cannot write"):
        OutputFile(tmp_path / "loop")


def test_a_pipe_is_written_to_directly(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(StorageError, match="cannot write"):
        OutputFile(fifo)  # nobody reads it
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    output = OutputFile(fifo)
    output.write("through")
    output.discard()
    assert os.read(reader, 100) == b"through"
    os.close(reader)
