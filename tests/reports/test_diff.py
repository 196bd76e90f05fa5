"""Word diffs: what they keep, what they join, and how long they may take."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmswitch.reports.diff import Piece, marked, word_diff

#: few words, so that two texts share some; blanks of every kind between and around them; and any text at all
WORDS = st.sampled_from(["a", "b", "the", "Paris", "capital,", "红", "色", "ガ", "é", "e\u0301", "\u200f", "[-", "+}"])
BLANKS = st.sampled_from(["", " ", "  ", "\n", "\r\n", "\t", "\u3000", "\u00a0", "\x1c", "\n\n"])
TEXTS = st.one_of(
    st.lists(st.one_of(WORDS, BLANKS), max_size=40).map("".join),
    st.lists(WORDS, max_size=20).map(" ".join),
    st.text(max_size=30),
)


def joined(pieces: Sequence[Piece], kind: str) -> str:
    return "".join(piece.text for piece in pieces if piece.kind in ("same", kind))


@given(TEXTS, TEXTS)
@example("", "")
@example("a b", "a  b")
@example("x", " x ")
@example("a\n", "a")
def test_both_texts_can_be_had_back(before: str, after: str) -> None:
    pieces = word_diff(before, after)
    assert joined(pieces, "removed") == before
    assert joined(pieces, "added") == after


@given(TEXTS, TEXTS)
def test_pieces_are_not_empty_and_no_two_of_a_kind_are_neighbours(before: str, after: str) -> None:
    pieces = word_diff(before, after)
    assert all(piece.text for piece in pieces)
    for one, two in pairwise(pieces):
        assert one.kind != two.kind
        assert (one.kind, two.kind) != ("added", "removed")


@given(TEXTS)
def test_a_text_does_not_differ_from_itself(text: str) -> None:
    assert word_diff(text, text) == ((Piece("same", text),) if text else ())


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ("the old word", "the new word", "the [-old-]{+new+} word"),
        ("one two", "one big two", "one {+big +}two"),
        ("one big two", "one two", "one [-big -]two"),
        ("first words differ", "last words differ", "[-first-]{+last+} words differ"),
        ("it is Paris", "it is Lyon", "it is [-Paris-]{+Lyon+}"),
        ("a b c", "x y z", "[-a b c-]{+x y z+}"),
        ("Paris.", "Paris", "Paris[-.-]"),
        ('It is Paris, "yes".', "It is Paris. yes", 'It is Paris[-, "-]{+. +}yes[-".-]'),
        ('{"city":"Paris","n":3}', '{"city":"Lyon","n":3}', '{"city":"[-Paris-]{+Lyon+}","n":3}'),
        ("one two", "one  two", "one {+ +}two"),
        ("one\ntwo", "one two", "one[-\n-]{+ +}two"),
        ("我喜欢红色的猫。", "我喜欢蓝色的狗。", "我喜欢[-红-]{+蓝+}色的[-猫-]{+狗+}。"),
        ("アGPT-4イ", "アGPT-5イ", "アGPT-[-4-]{+5+}イ"),
        ("", "new", "{+new+}"),
        ("gone", "", "[-gone-]"),
    ],
)
def test_it_reads_like_gits(before: str, after: str, shown: str) -> None:
    assert marked(word_diff(before, after)) == shown


def test_neighbouring_changes_are_one() -> None:
    assert marked(word_diff("we saw two old cats there", "we saw ten new dogs there")) == (
        "we saw [-two old cats-]{+ten new dogs+} there"
    )


def test_a_lone_word_between_long_changes_does_not_tear_them_apart() -> None:
    before = "a tall stranger walked into the dimly lighted station last night"
    after = "some small children played near the freshly painted fountain today"
    assert marked(word_diff(before, after)) == f"[-{before}-]{{+{after}+}}"


def test_a_sentence_that_both_have_stays_whole_between_long_changes() -> None:
    before = "one " * 50 + "the committee adjourned without a vote " + "two " * 50
    after = "six " * 50 + "the committee adjourned without a vote " + "ten " * 50
    assert Piece("same", " the committee adjourned without a vote ") in word_diff(before, after)


def words(seed: int, count: int, vocabulary: int = 20_000) -> list[str]:
    """Prose by its statistics: the n-th commonest word is n times as rare as the commonest."""
    ranks, drawn = range(1, vocabulary + 1), random.Random(seed)  # noqa: S311  # the same texts in every run
    return drawn.choices([f"w{n}" for n in ranks], [1 / n for n in ranks], k=count)


def edited(original: list[str], every: int) -> list[str]:
    return [f"new{place}" if place % every == 0 else word for place, word in enumerate(original)]


def lines(text: list[str]) -> str:
    return "".join(f"{word}\n" if place % 50 == 49 else f"{word} " for place, word in enumerate(text))


@pytest.mark.parametrize("count", [300, 10_000])
def test_scattered_edits_are_found_one_by_one(count: int) -> None:
    original = words(1, count)
    pieces = word_diff(lines(original), lines(edited(original, 20)))
    assert sum(piece.kind == "added" for piece in pieces) == count // 20
    assert all(piece.text.split() == [piece.text] for piece in pieces if piece.kind == "added")


def test_what_is_too_long_for_words_is_compared_by_lines() -> None:
    original = words(2, 40_000)
    pieces = word_diff(lines(original), lines(edited(original, 10_007)))
    changed = [piece.text for piece in pieces if piece.kind == "removed"]
    assert len(changed) == 4
    # the first and last lines are cut short where both texts still begin and end alike
    assert [len(text.split()) for text in changed[1:3]] == [50, 50]


def test_what_is_too_long_even_for_lines_is_one_change_between_its_ends() -> None:
    ours = "begin " + "".join(f"{n}\n" for n in range(30_000)) + "the end"
    theirs = "begin " + "".join(f"{-n}\n" for n in range(1, 30_000)) + "the end"
    pieces = word_diff(ours, theirs)
    assert [piece.kind for piece in pieces] == ["same", "removed", "added", "same"]
    assert (pieces[0].text, pieces[-1].text) == ("begin ", "\nthe end")


MB = 1_000_000


def numbers(seed: int, count: int, below: int) -> str:
    drawn = random.Random(seed)  # noqa: S311  # the same texts in every run
    return " ".join(str(drawn.randrange(below)) for _ in range(count))


HOSTILE: dict[str, Callable[[], tuple[str, str]]] = {
    "the same word": lambda: ("a " * (MB // 2), "b " + "a " * (MB // 2) + "c"),
    "alternating": lambda: ("a b " * (MB // 4), "b a " * (MB // 4)),
    "nothing in common": lambda: (numbers(1, 150_000, MB), numbers(2, 150_000, MB)),
    "as many common words as are compared at all": lambda: (numbers(3, 19_900, 101), numbers(4, 19_900, 101)),
    "every second word": lambda: (
        " ".join(str(n) for n in range(19_900)),
        " ".join(str(n if n % 2 else -n) for n in range(19_900)),
    ),
    "only blanks differ": lambda: ("a " * 19_900, "a\n" * 19_900),
    "only the blanks between many words differ": lambda: (
        " ".join(str(n) for n in range(19_900)),
        "\n".join(str(n) for n in range(19_900)),
    ),
    "blanks alone": lambda: (" " * MB, "\n" * MB),
    "one character": lambda: ("的" * MB, "的" * (MB // 2) + "a" + "的" * (MB // 2)),
    "one long word": lambda: ("x" * MB, "x" * (MB - 1) + "y"),
    "lines": lambda: ("a\nb\n" * (MB // 4), "b\na\n" * (MB // 4)),
    "prose": lambda: (lines(words(5, 200_000)), lines(words(6, 200_000))),
}


@pytest.mark.parametrize("texts", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_text_takes_long(texts: Callable[[], tuple[str, str]]) -> None:
    """Far more than the 2 s it is made for, in this process's own time: without its bounds it is minutes to hours."""
    before, after = texts()
    started = time.process_time()
    pieces = word_diff(before, after)
    assert time.process_time() - started < 10
    assert joined(pieces, "removed") == before
    assert joined(pieces, "added") == after
