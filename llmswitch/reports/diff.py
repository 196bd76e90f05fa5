"""What two texts share and where they part, by words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import Match, SequenceMatcher
from itertools import accumulate, groupby, islice, pairwise
from typing import Literal, NamedTuple

__all__ = ["Piece", "marked", "word_diff"]

Span = tuple[int, int]

#: Chinese and Japanese are written without spaces: each of their characters is a word of its own
_EAST_ASIAN = r"\u3001-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff01-\uff9f\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_EAST_ASIAN}]|[^\W{_EAST_ASIAN}]+|[^\w\s]")
_LINE = re.compile(r"\S.*")
#: a character that no word goes on after, nor begins before
_BREAK = re.compile(rf"[\W{_EAST_ASIAN}]")

#: words or lines of a text
_MOST_UNITS = 20_000
#: comparisons of one with another, of which CPython 3.11 makes some ten million a second
_MOST_STEPS = 3_000_000


class Piece(NamedTuple):
    """A stretch of text; of a change, what was removed comes before what was added."""

    kind: Literal["same", "removed", "added"]
    text: str


def word_diff(before: str, after: str) -> tuple[Piece, ...]:
    """From `before` to `after`: 'same' and 'removed' joined are `before`, 'same' and 'added' are `after`.

    A mark of punctuation is a word of its own, so that of JSON and code, too, only what changed is shown as changed.
    How they begin and end alike is never too long. What is between is compared by lines where it holds too many
    words, some 12,000 of prose, and is one change where that is too much as well. Two texts of 1 MB take about
    2 s at most, whatever is in them.
    """
    head = _alike(before, after)
    rest, other_rest = before[head:], after[head:]
    tail = _alike(rest[::-1], other_rest[::-1])
    middle = _middle(rest[: len(rest) - tail], other_rest[: len(other_rest) - tail])
    return tuple(_joined([Piece("same", before[:head]), *middle, Piece("same", rest[len(rest) - tail :])]))


def marked(pieces: Iterable[Piece]) -> str:
    """Plain text as git's word diff has it: `the [-old-]{+new+} word`."""
    around = {"same": "{}", "removed": "[-{}-]", "added": "{{+{}+}}"}
    return "".join(around[piece.kind].format(piece.text) for piece in pieces)


def _alike(text: str, other: str) -> int:
    """How many characters both begin with, up to the end of a word."""
    shared = _shared(text, other)
    found = _BREAK.search(text[:shared][::-1])
    return shared - found.start() if found else 0


def _shared(text: str, other: str) -> int:
    return next(
        (n for n, (one, two) in enumerate(zip(text, other, strict=False)) if one != two), min(len(text), len(other))
    )


def _middle(before: str, after: str) -> Iterable[Piece]:
    for unit in (_WORD, _LINE):
        here, there = _spans(before, unit), _spans(after, unit)
        if max(len(here), len(there)) <= _MOST_UNITS:
            matcher = _Bounded([before[slice(*span)] for span in here], [after[slice(*span)] for span in there])
            runs = [run for run in matcher.get_matching_blocks() if run.size]
            if matcher.left >= 0:
                return _pieces(before, after, here, there, _legible(runs, here, there))
    return _change(before, after)


def _spans(text: str, unit: re.Pattern[str]) -> list[Span]:
    """Where the units begin and end, and last an empty one at the text's end, so that all texts end alike.

    More than `_MOST_UNITS` are not looked for.
    """
    return [*(found.span() for found in islice(unit.finditer(text), _MOST_UNITS)), (len(text), len(text))]


class _Bounded(SequenceMatcher[str]):
    """difflib's matching, whose time can grow with the cube of the length, within `_MOST_STEPS`.

    Looking for the longest match of a stretch of `a` takes a step for every place of every word of it in `b`, and
    about two for the word itself. Words that make up more than 1 % of `b` match beside others only, which is
    difflib's own way to save time.
    """

    def __init__(self, a: Sequence[str], b: Sequence[str]) -> None:
        super().__init__(None, a, b)
        places = self.b2j  # type: ignore[attr-defined]  # documented, and missing in typeshed
        self._steps = list(accumulate((2 + len(places.get(word, ())) for word in a), initial=0))
        self.left = _MOST_STEPS

    def find_longest_match(self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None) -> Match:
        """See difflib. Once `left` is negative nothing is compared, and the matches found are not all."""
        self.left -= self._steps[-1 if ahi is None else ahi] - self._steps[alo]
        return Match(alo, blo, 0) if self.left < 0 else super().find_longest_match(alo, ahi, blo, bhi)


def _legible(runs: Sequence[Match], here: Sequence[Span], there: Sequence[Span]) -> Iterator[Match]:
    """`runs` without those that are short between long changes: a lone 'the' says nothing, and tears both apart.

    Short is below 20 characters, and below a quarter of the shorter change.
    """
    at, at_there = 0, 0
    for run, following in pairwise(runs):
        (start, end), (start_there, end_there) = _extent(run, here, there)
        earlier = max(start - at, start_there - at_there)
        later = max(here[following.a][0] - end, there[following.b][0] - end_there)
        if 4 * (end - start) >= min(80, earlier, later):
            yield run
            at, at_there = end, end_there
    yield runs[-1]


def _pieces(
    before: str, after: str, here: Sequence[Span], there: Sequence[Span], runs: Iterable[Match]
) -> Iterator[Piece]:
    """Runs, and what lies between them. Where a run's words stand apart differently, each is a run of its own."""
    at, at_there = 0, 0
    for whole in runs:
        extent = _extent(whole, here, there)
        alike = before[slice(*extent[0])] == after[slice(*extent[1])]
        for run in [whole] if alike else [Match(whole.a + n, whole.b + n, 1) for n in range(whole.size)]:
            (start, end), (start_there, end_there) = _extent(run, here, there)
            yield from _change(before[at:start], after[at_there:start_there])
            yield Piece("same", before[start:end])
            at, at_there = end, end_there


def _extent(run: Match, here: Sequence[Span], there: Sequence[Span]) -> tuple[Span, Span]:
    last = run.size - 1
    return (here[run.a][0], here[run.a + last][1]), (there[run.b][0], there[run.b + last][1])


def _change(removed: str, added: str) -> Iterator[Piece]:
    """What changed, without the blanks that both begin or end with."""
    head = _shared(_blanks(removed), _blanks(added))
    rest, other_rest = removed[head:], added[head:]
    tail = _shared(_blanks(rest[::-1]), _blanks(other_rest[::-1]))
    yield Piece("same", removed[:head])
    yield Piece("removed", rest[: len(rest) - tail])
    yield Piece("added", other_rest[: len(other_rest) - tail])
    yield Piece("same", rest[len(rest) - tail :])


def _blanks(text: str) -> str:
    """Those that it begins with."""
    return text[: len(text) - len(text.lstrip())]


def _joined(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Neighbours of one kind as one, without empty ones."""
    for kind, neighbours in groupby((piece for piece in pieces if piece.text), lambda piece: piece.kind):
        yield Piece(kind, "".join(piece.text for piece in neighbours))
