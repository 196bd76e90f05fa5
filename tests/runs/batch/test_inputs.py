"""Questions from files that are not what they should be."""

from __future__ import annotations

import io

import pytest

from llmswitch.errors import ConfigError
from llmswitch.runs.batch import inputs
from llmswitch.runs.batch.inputs import Bad, Row, read_rows, which_format


def csv_rows(content: bytes) -> list[Row | Bad]:
    return list(read_rows(io.BytesIO(content), "csv"))


def test_a_row_that_is_no_csv_is_one_bad_line_among_good_ones() -> None:
    first, bad, last = csv_rows(b'prompt\none\n"a"b\nthree\n')
    assert isinstance(first, Row)
    assert isinstance(bad, Bad)
    assert bad.line == 3
    assert "not CSV" in bad.why
    assert isinstance(last, Row)
    assert (last.line, last.prompt) == (4, "three")


def test_a_cell_that_is_too_large_is_one_bad_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "LARGEST_LINE", 10)
    assert [type(row) for row in csv_rows(b"prompt\n" + b"x" * 11 + b"\nfine\n")] == [Bad, Row]


@pytest.mark.parametrize("content", [b'prompt\n"never ends\nand on\n', b'prompt\n"two\nlines"x\nfine\n'])
def test_a_broken_row_of_several_lines_ends_it_all(content: bytes) -> None:
    with pytest.raises(ConfigError, match="not CSV"):
        csv_rows(content)


def test_a_column_that_comes_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="'prompt' twice"):
        csv_rows(b"prompt,Prompt\na,b\n")


def test_a_json_array_is_no_file_of_lines() -> None:
    with pytest.raises(ConfigError, match="jq"):
        which_format("prompts.json", b'\xef\xbb\xbf [\n {"prompt": "a"}\n]')
    assert which_format("prompts.json", b'{"prompt": "a"}') == "jsonl"
    assert which_format("prompts", b"[1] is what?") == "text"
