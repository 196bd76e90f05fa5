"""Text cut and wrapped into the cells of a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmswitch.cli.cells import barrier, cells, clip, wrap
from llmswitch.cli.tail import Tail

#: narrow, wide, without width, emoji of several parts, right to left
TEXTS = st.text(st.sampled_from("ab1 .世界\u0301\u200d\ufe0f👩❤שלم"), max_size=60)


@pytest.mark.parametrize(
    ("line", "rows"),
    [
        ("", [""]),
        ("abcde", ["abcde"]),
        ("ab cd ef", ["ab cd", "ef"]),
        ("abcdef", ["abcde", "f"]),
        ("ab cdefgh", ["ab", "cdefg", "h"]),
        ("世界世界", ["世界", "世界"]),
        ("ab世界", ["ab世", "界"]),
        ("é é é é", ["é é é", "é"]),
        ("e\u0301" * 6, ["e\u0301" * 5, "e\u0301"]),
    ],
)
def test_rows_break_at_spaces_and_before_wide_characters(line: str, rows: list[str]) -> None:
    assert wrap(line, 5) == rows


@given(TEXTS, st.integers(2, 12))
def test_a_row_never_takes_more_than_its_cells_and_nothing_but_spaces_is_lost(line: str, width: int) -> None:
    rows = wrap(line, width)
    assert all(cells(row) <= width for row in rows)
    assert "".join(rows).replace(" ", "") == line.replace(" ", "")


@given(TEXTS, TEXTS, st.integers(2, 12))
def test_more_text_changes_no_row_but_the_last(line: str, more: str, width: int) -> None:
    rows = wrap(line, width)
    assert [*rows[:-1], *wrap(rows[-1] + more, width)] == wrap(line + more, width)


@given(TEXTS, st.integers(1, 12))
def test_what_is_clipped_fits(text: str, width: int) -> None:
    clipped = clip(text, width)
    assert cells(clipped) <= width
    assert clipped == text or clipped.endswith("…")


def test_an_emoji_of_several_parts_counts_as_a_terminal_that_joins_none() -> None:
    assert cells("👩\u200d👩\u200d👧") == 6
    assert cells("❤\ufe0f") == 2


def test_right_to_left_text_is_kept_in_its_part() -> None:
    assert barrier(["left to right", "巴黎"]) == ""
    assert barrier(["paris", "שלום"]) == barrier(["مرحبا", ""]) == "\u200e"


@given(st.lists(st.text(st.sampled_from("ab世 \n\t\u0301"), max_size=20), max_size=8), st.integers(2, 12))
def test_the_end_is_the_same_however_it_came(pieces: list[str], width: int) -> None:
    grown, whole = Tail(), Tail()
    for piece in pieces:
        grown.feed(piece)
        grown.rows(width, 5)
    whole.feed("".join(pieces))
    assert grown.rows(width, 5) == whole.rows(width, 5)


def test_another_width_wraps_anew_what_had_come() -> None:
    tail = Tail()
    tail.feed("one two three four")
    assert tail.rows(9, 9) == ["one two", "three", "four"]
    assert tail.rows(40, 9) == ["one two three four"]
    tail.feed(" five")
    assert tail.rows(9, 2) == ["three", "four five"]
    assert tail.rows(9, 0) == []


@pytest.mark.parametrize("text", ["x" * 1_000_000, "世" * 1_000_000, "word " * 200_000, "\u0301" * 1_000_000])
def test_of_a_huge_line_only_the_end_is_looked_at(text: str) -> None:
    tail = Tail()
    tail.feed(text)
    rows = tail.rows(40, 20)
    assert len(rows) == 20
    assert max(len(row) for row in rows) <= 320
    for _ in range(100):
        tail.feed("more ")
        tail.rows(40, 20)
    assert tail.rows(40, 20)[-1].rstrip().endswith("more")
