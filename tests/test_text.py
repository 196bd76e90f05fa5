"""Nothing a model writes reaches a terminal as a command."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmswitch.text import Sanitizer, encodable, estimate_tokens, one_line, sanitize

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
        ("rm \u202e\u2066a\u2069\u202c\u202a\u202b\u202d\u2067\u2068", "rm a"),
        ("e\u200d\u200c\u200b\u200e\u200f\u061c\u2028\u2029", "e\u200d\u200c\u200b\u200e\u200f\u061c\u2028\u2029"),
        ("\x9dlost\x90gone\x9cx", "lostx"),
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


_DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@given(
    st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters=_DIRECTIONS), max_size=80),
    st.integers(1, 10),
)
def test_chunking_does_not_change_plain_text(text: str, size: int) -> None:
    sanitizer = Sanitizer()
    pieces = [sanitizer.feed(text[i : i + size]) for i in range(0, len(text), size)]
    assert "".join([*pieces, sanitizer.close()]) == text


@pytest.mark.parametrize(
    "piece",
    [
        *(
            "\x9d",
            "\x90",
            "\x9b",
            "\x1b",
            "\x1b]",
            "\x1b[",
            "\x1bP",
            "\x9d\x90\x98\x9e\x9f",
            "\x9b0 ",
            "\x1b(",
            "\x9da\x1b",
        ),
        *("\x1b]" + "x" * 5000, "\x9b" + "0" * 5000, "\x9b" + " " * 5000),
    ],
    ids=ascii,
)
def test_a_megabyte_made_to_be_slow_takes_no_longer_than_another(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    sanitizer, started = Sanitizer(), time.process_time()
    assert sanitize(text).isprintable()
    assert (sanitizer.feed(text) + sanitizer.close()).isprintable()
    assert time.process_time() - started < 10


@pytest.mark.parametrize(("text", "kept"), [("a", "a"), ("é\ud800\udfff", "é\ufffd\ufffd"), ("🙂", "🙂")])
def test_what_utf8_cannot_hold_is_replaced(text: str, kept: str) -> None:
    assert encodable(text) == kept


def test_one_line_is_one_line() -> None:
    assert one_line("a\n b\x1b[2J\r\nc") == "a b c"
    assert len(one_line("x" * 900)) == 500


def test_tokens_are_estimated_from_bytes() -> None:
    assert [estimate_tokens(t) for t in ("", "abc", "abcde", "你好")] == [0, 1, 2, 2]
