"""Nothing a model writes reaches a terminal as a command."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmswitch.text import Sanitizer, estimate_tokens, one_line, sanitize

HOSTILE = st.text(st.sampled_from("ab \n\t\r\x00\x07\x1b[]0;31mPX^_\\\x7f\x80\x90\x9b\x9c\x9d🙂\ud800"), max_size=40)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain\n\ttext", "plain\n\ttext"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;https://evil.invalid\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;aGk=\x07x", "x"),
        ("\x9b2Jx", "x"),
        ("\x1bPpayload\x1b\\x", "x"),
        ("\x1bc reset", " reset"),
        ("one\r\ntwo", "one\ntwo"),
        ("over\rwrite", "overwrite"),
        ("back\x08\x7f", "back"),
        ("\ud800 lone", " lone"),
        ("héllo 你好 שלום", "héllo 你好 שלום"),
    ],
)
def test_sequences_and_controls_are_gone_and_text_stays(text: str, clean: str) -> None:
    assert sanitize(text) == clean


@given(HOSTILE)
def test_no_control_character_survives(text: str) -> None:
    assert not any((c < " " and c not in "\n\t") or "\x7f" <= c <= "\x9f" for c in sanitize(text))


@given(st.lists(HOSTILE, max_size=6))
def test_a_stream_is_as_safe_as_its_whole(pieces: list[str]) -> None:
    sanitizer = Sanitizer()
    shown = "".join([*(sanitizer.feed(piece) for piece in pieces), sanitizer.close()])
    assert not any((c < " " and c not in "\n\t") or "\x7f" <= c <= "\x9f" for c in shown)


def test_a_sequence_cut_by_chunks_leaves_nothing_behind() -> None:
    sanitizer = Sanitizer()
    shown = [sanitizer.feed(piece) for piece in ("red: \x1b", "[3", "1mR\x1b]0;t", "itle\x07 end\r", "\n")]
    assert "".join([*shown, sanitizer.close()]) == "red: R end\n"


def test_an_unfinished_sequence_cannot_swallow_the_answer() -> None:
    sanitizer = Sanitizer()
    shown = sanitizer.feed("\x1b]0;" + "x" * 2000)
    assert "x" * 1000 in shown + sanitizer.close()


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=80), st.integers(1, 10))
def test_chunking_does_not_change_plain_text(text: str, size: int) -> None:
    sanitizer = Sanitizer()
    pieces = [sanitizer.feed(text[i : i + size]) for i in range(0, len(text), size)]
    assert "".join([*pieces, sanitizer.close()]) == text


def test_one_line_is_one_line() -> None:
    assert one_line("a\n b\x1b[2J\r\nc") == "a b c"
    assert len(one_line("x" * 900)) == 500


def test_tokens_are_estimated_from_bytes() -> None:
    assert [estimate_tokens(t) for t in ("", "abc", "abcde", "你好")] == [0, 1, 2, 2]
