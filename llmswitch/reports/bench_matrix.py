"""Cases by targets, repeats folded: what passed and what did not, each case to unfold into the answers behind it.

A page has no room for every answer of a large run: what did not pass comes first, one of each cell, then one of each
cell that passed, then further ones, up to a number of bytes; and it says what it leaves out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple

from llmswitch.reports.bench_charts import key_svg
from llmswitch.reports.bench_fold import Fold, Tally
from llmswitch.reports.bench_plot import letter, tint
from llmswitch.reports.bench_samples import Ending, cut, ending
from llmswitch.reports.html import name_html, preformatted, safe
from llmswitch.reports.rows import count, money, seconds
from llmswitch.runs.bench.model import Rows, SampleRow
from llmswitch.text import one_line

__all__ = ["matrix_html"]

#: cells of the matrix, and bytes of answers and of prompts in it
_MOST_CELLS, _MOST_ANSWERS, _MOST_PROMPTS = 4000, 3_000_000, 1_000_000
#: characters of one answer and of one prompt, and answers of one cell
_LONGEST_ANSWER, _LONGEST_PROMPT, _MOST_REPEATS = 6000, 3000, 5
#: assertions that are told one by one
_MOST_REASONS = 10
#: so many cases, and those out of sight are not laid out: nor are they in a picture of the whole page
_MANY = 300


class _Kept(NamedTuple):
    """A sample as HTML, and where it belongs."""

    case: str
    place: int
    head: str
    body: str
    passed: bool

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.head.encode()) + len(self.body.encode())


class _Case(NamedTuple):
    """A case's name and prompt as HTML."""

    title: str
    prompt: str


def matrix_html(fold: Fold, rows: Rows) -> Iterator[str]:
    """The section, piece by piece. Reads the rows once more."""
    shown = fold.first(max(1, _MOST_CELLS // max(1, len(fold.targets))))
    cases, answers, left_out = _read(fold, rows, shown)
    yield "<section><h2>Cases</h2>"
    yield f'<p class="note">{safe(_told(fold, shown, left_out))}</p>'
    many = " many" if len(shown) > _MANY else ""
    yield f'<div class="matrix{many}" role="region" aria-label="Cases by targets" tabindex="0">{_heading(fold)}'
    for case in shown:
        yield _line(fold, case, cases[case], answers)
    yield "</div></section>"


def _told(fold: Fold, shown: Sequence[str], left_out: int) -> str:
    not_passed = fold.not_passed()
    text = f"{count(not_passed)} of {count(len(fold))} {'case' if len(fold) == 1 else 'cases'} did not pass everywhere"
    text += ", and come first." if not_passed else "."
    if len(shown) < len(fold):
        text += f" {count(len(shown))} are shown here; all are in samples.csv."
    if left_out:
        limit = f"{_MOST_ANSWERS // 1_000_000} MB"
        text += f" {count(left_out)} answers of them are left out to keep the page small ({limit} of answers, "
        text += "what did not pass first); all are in samples.jsonl."
    return text


def _heading(fold: Fold) -> str:
    cells = "".join(f"<span>{key_svg(place)}{name_html(name)}</span>" for place, name in enumerate(fold.targets))
    return f'<div class="cells head" aria-hidden="true"><span>case</span>{cells}</div>'


def _line(fold: Fold, case: str, told: _Case, answers: dict[tuple[str, int], list[_Kept]]) -> str:
    tallies = fold.tallies(case)
    differ = len({tally.passed * 1000 // tally.asked for tally in tallies if tally.asked}) > 1
    cells = "".join(_cell(fold, place, tally) for place, tally in enumerate(tallies))
    shown = "".join(
        _article(name, place, tallies[place], answers.get((case, place), []))
        for place, name in enumerate(fold.targets)
        if tallies[place].asked
    )
    flags = f' data-passed="{str(fold.all_passed(case)).lower()}" data-differ="{str(differ).lower()}"'
    return (
        f'<details class="case"{flags}><summary class="cells"><span>{told.title}</span>{cells}</summary>'
        f'<div class="opened">{told.prompt}<div class="answers">{shown}</div></div></details>\n'
    )


#: how a cell's askings ended -> its class, its sign, and what is read out
_SIGNS = {
    "all": ("good", "✓", "passed"),
    "some": ("open", "◐", "passed in part"),
    "none": ("bad", "✗", "did not pass"),
    "error": ("bad", "!", "failed"),
    "unasked": ("soft", "–", "not asked"),
}


def _cell(fold: Fold, place: int, tally: Tally) -> str:
    style, sign, word = _SIGNS[_kind(tally)]
    number = f" {tally.passed}/{tally.asked}" if tally.asked > 1 else ""
    name = safe(one_line(fold.targets[place], 200))
    told = f'<span class="unseen">{name} {word}</span>'
    return f'<span class="cell {style}" data-place="{place}" title="{name} {word}">{told}<b>{sign}</b>{number}</span>'


def _kind(tally: Tally) -> str:
    if not tally.asked:
        return "unasked"
    if tally.passed == tally.asked:
        return "all"
    if tally.passed:
        return "some"
    return "none" if tally.failed else "error"


def _article(name: str, place: int, tally: Tally, kept: Sequence[_Kept]) -> str:
    ended = f'<p class="soft">{count(tally.passed)} of {count(tally.asked)} passed</p>' if tally.asked > 1 else ""
    first = "".join(f'<p class="soft">{one.head}</p>{one.body}' for one in kept[:1])
    more = "".join(f"<details><summary>{one.head}</summary>{one.body}</details>" for one in kept[1:])
    missing = tally.asked - len(kept)
    tag = f'<span class="tag {tint(place)}">{letter(place)}</span>'
    note = f'<p class="note">{count(missing)} more in samples.jsonl.</p>' if missing else ""
    return f'<article data-place="{place}"><h3>{tag}{name_html(name)}</h3>{ended}{first}{more}{note}</article>'


def _read(
    fold: Fold, rows: Rows, shown: Sequence[str]
) -> tuple[dict[str, _Case], dict[tuple[str, int], list[_Kept]], int]:
    """What is told of the cases that are shown, the answers that there is room for, and how many more there are."""
    wanted, cases = set(shown), {}
    picked = _Picked(fold)
    prompts = 0
    for row in rows():
        if row.case not in wanted or row.target not in fold.places:
            continue
        if row.case not in cases:
            cases[row.case] = _case(row, prompts < _MOST_PROMPTS)
            prompts += len(cases[row.case].prompt.encode())
        picked.add(row)
    answers: dict[tuple[str, int], list[_Kept]] = defaultdict(list)
    for one in picked.fitting():
        answers[one.case, one.place].append(one)
    return cases, answers, picked.seen - sum(len(found) for found in answers.values())


def _case(row: SampleRow, with_prompt: bool) -> _Case:
    first = row.description or one_line(row.prompt, 120)
    title = f"<b>{safe(one_line(row.case, 60))}</b> <bdi>{safe(one_line(first, 120))}</bdi>"
    if not with_prompt:
        return _Case(title, '<p class="note">The prompt is in samples.jsonl.</p>')
    return _Case(title, f'<div class="prompt">{preformatted(cut(row.prompt, _LONGEST_PROMPT))}</div>')


class _Picked:
    """Samples as HTML in three ranks, each of no more bytes than there is room for in all."""

    def __init__(self, fold: Fold) -> None:
        self._fold = fold
        self._ranks: tuple[list[_Kept], ...] = ([], [], [])
        self._sizes = [0, 0, 0]
        self._of_cell: Counter[tuple[str, int]] = Counter()
        self._lead: set[tuple[str, int]] = set()
        self.seen = 0

    def add(self, row: SampleRow) -> None:
        """The first of a cell that did not pass is of rank 0, the first of a cell that all passed of rank 1."""
        self.seen += 1
        found, cell = ending(row), (row.case, self._fold.places[row.target])
        tally = self._fold.tally(*cell)
        passed = found.kind == "pass"
        leads = cell not in self._lead and (not passed or tally.passed == tally.asked)
        rank = int(passed) if leads else 2
        if leads:
            self._lead.add(cell)
        if self._sizes[rank] >= _MOST_ANSWERS or (not leads and self._of_cell[cell] >= _MOST_REPEATS - 1):
            return
        self._of_cell[cell] += not leads
        kept = _Kept(*cell, *_sample(row, found), passed)
        self._sizes[rank] += kept.size
        self._ranks[rank].append(kept)

    def fitting(self) -> Iterator[_Kept]:
        """What there is room for, rank after rank."""
        room = _MOST_ANSWERS
        for rank in self._ranks:
            for one in sorted(rank, key=lambda one: one.passed):
                room -= one.size
                if room < 0:
                    return
                yield one


def _sample(row: SampleRow, found: Ending) -> tuple[str, str]:
    """A line on how it ended, and why with the answer."""
    signs = {"pass": ("good", "✓ passed"), "fail": ("bad", "✗ did not pass"), "error": ("bad", "! failed")}
    style, word = signs[found.kind]
    cost = Decimal(row.cost["amount"]) if row.cost else None
    tokens = (row.usage or {}).get("output_tokens")
    facts = [
        f"repeat {row.repeat + 1}",
        f"score {row.score:.3g}" if row.score is not None else "",
        seconds(row.duration_s) if row.duration_s is not None else "",
        f"{count(tokens)} tokens" if tokens is not None else "",
        money(cost) if cost is not None else "",
        row.finish_reason if row.finish_reason not in (None, "stop") else "",
    ]
    told = " · ".join(one_line(str(fact), 60) for fact in facts if fact)
    reasons = "".join(f"<li>{safe(one_line(reason, 1000))}</li>" for reason in found.reasons[:_MOST_REASONS])
    listed = f'<ul class="reasons" dir="auto">{reasons}</ul>' if reasons else ""
    answer = preformatted(cut(row.text, _LONGEST_ANSWER)) if row.text else ""
    empty = '<p class="soft">The answer is empty.</p>' if row.text == "" else ""
    return f'<strong class="{style}">{word}</strong> {safe(told)}', f"{listed}{answer}{empty}"
