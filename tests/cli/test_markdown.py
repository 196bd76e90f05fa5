"""Markdown on a terminal, whole."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from llmswitch.cli.markdown import markdown


def drawn(text: str, width: int = 40) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(markdown(text))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("**bold** and `code`", "bold and code"),
        ("List<int> and <b>tags</b>", "List<int> and <b>tags</b>"),
        ("<div>\nblock\n</div>", "<div> block </div>"),
        ("x <!-- why --> y", "x <!-- why --> y"),
        ("a stray </kbd> </kbd>", "a stray </kbd> </kbd>"),
        ("[safe.invalid](https://evil.invalid)", "safe.invalid (https://evil.invalid)"),
        ("![cat](https://cat.invalid)", "!cat (https://cat.invalid)"),
        ("so [1]\n\n[1]: https://source.invalid", "[1]: https://source.invalid"),
    ],
)
def test_what_rich_would_hide_is_shown(text: str, shown: str) -> None:
    assert shown in " ".join(drawn(text, 80).split())


def test_long_cells_of_a_table_are_folded() -> None:
    text = drawn("| a | b |\n|---|---|\n| " + "abcdefghij" * 5 + " | " + "klmnopqrst" * 5 + " |\n")
    for letter in "abcdefghijklmnopqrst":
        assert text.count(letter) >= 5
    assert "…" not in text
    assert "──" in text


def test_a_table_with_more_columns_than_fit_is_lines() -> None:
    head, row = [f"h{n}" for n in range(12)], [f"v{n}" for n in range(12)]
    text = drawn(f"|{'|'.join(head)}|\n|{'---|' * 12}\n|{'|'.join(row)}|\n", 36)
    assert all(name in text for name in (*head, *row))
    assert "h0 | h1" in text


@pytest.mark.parametrize("depth", range(1, 30))
def test_what_is_nested_deeply_is_not_left_out(depth: int) -> None:
    letters = "".join(drawn("> " * depth + "hello", 36).split()).replace("▌", "").replace(">", "")
    assert letters == "hello"
    text = "".join(drawn("\n".join(f"{'  ' * n}- item{n}" for n in range(depth)), 36).split())
    assert all(f"item{n}" in text for n in range(depth))


PIECES = (
    "# ",
    "- ",
    "1. ",
    "> ",
    "|",
    "|-|-|\n",
    "\n",
    "\n\n",
    "    ",
    "**",
    "_",
    "`",
    "\n```\n",
    "[",
    "](",
    ")",
    "!",
    "<b>",
)
WORDS = ("w1", "w2", "巴", "</kbd>", "<kbd>", "<!--", "\\", "~~", "\u0301", "[1]: x\n", "===\n")


@given(st.lists(st.sampled_from(PIECES + WORDS), max_size=30), st.sampled_from([1, 20, 36, 80]))
def test_no_text_breaks_it_and_no_word_is_lost(pieces: list[str], width: int) -> None:
    text = "".join(pieces)
    shown = "".join(drawn(text, width).split())
    if width >= 20:
        for word in ("w1", "w2", "巴"):
            assert shown.count(word) >= text.count(word)
