"""A `Comparison` as a page to keep and to pass on: the figures, the answers side by side, what differs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from llmswitch.errors import CallInterruptedError
from llmswitch.reports.answer import summary
from llmswitch.reports.charts import Bar, bars_svg
from llmswitch.reports.compare import comparison_table, finish, footnotes, statements
from llmswitch.reports.diff import Piece
from llmswitch.reports.html import BEST, direction, markdown_html, name_html, page, preformatted, safe, table_html
from llmswitch.reports.measures import MEASURES, Measure, Standing, standings
from llmswitch.reports.sections import Sections, field_table, verdict
from llmswitch.runs.compare import Comparison
from llmswitch.runs.judge import Judgement
from llmswitch.runs.sampling import Sample
from llmswitch.text import one_line
from llmswitch.types import Response

__all__ = ["comparison_page"]

#: the measures that are drawn, and what their bars are called
_DRAWN = {"duration_s": "Latency", "cost": "Cost in USD"}
#: characters of a prompt that is shown unfolded
_SHORT_PROMPT = 600
_FINISHES = {
    "length": "cut at its length limit",
    "content_filter": "stopped by the content filter",
    "tool_call": "ended in a tool call",
    "error": "ended in an error",
}
_DIFFERENCE = {"same": ("", ""), "removed": ("<del>", "</del>"), "added": ("<ins>", "</ins>")}


def comparison_page(comparison: Comparison, parts: Sections, *, made_at: datetime) -> str:
    """The whole document. `made_at` is shown in its own zone; markup in what models and targets say stays text."""
    return page(
        f"Comparison: {one_line(comparison.prompt, 60)}",
        (
            *_head(comparison, made_at),
            *_figures(comparison),
            *_answers(comparison),
            *_fields(comparison, parts),
            *_differences(parts.diffs or {}),
            *_verdict(comparison.judgement),
        ),
    )


def _head(comparison: Comparison, made_at: datetime) -> Iterator[str]:
    asked = len(comparison.targets)
    yield f"<header><h1>One prompt, {asked} {'target' if asked == 1 else 'targets'}</h1>"
    yield _prompt(comparison.prompt)
    facts = [f'<time datetime="{made_at.isoformat(timespec="seconds")}">{safe(_moment(made_at))}</time>']
    if comparison.profile is not None:
        facts.append(f"profile {name_html(comparison.profile)}")
    if comparison.repeats > 1:
        facts.append(f"each asked {comparison.repeats} times, medians shown, seed {comparison.seed}")
    yield f'<p class="facts">{" · ".join(facts)}</p></header>'
    if comparison.interrupted:
        yield '<p class="notice">Interrupted: not every call was made to its end.</p>'


def _moment(made_at: datetime) -> str:
    return f"{made_at.day} {made_at:%B %Y, %H:%M %Z}".strip()


def _prompt(prompt: str) -> str:
    if len(prompt) <= _SHORT_PROMPT:
        return f'<blockquote class="prompt" dir="auto">{safe(prompt)}</blockquote>'
    shown = f'<bdi>{safe(one_line(prompt, 120))}</bdi> <span class="soft">({len(prompt):,} characters)</span>'
    return f'<details class="prompt"><summary>{shown}</summary>{preformatted(prompt)}</details>'


def _figures(comparison: Comparison) -> Iterator[str]:
    yield "<section><h2>Speed and cost</h2>"
    table = comparison_table(comparison)._replace(title="Speed and cost of each target")
    yield table_html(table)
    yield from (f'<p class="note">{safe(note)}</p>' for note in footnotes(comparison, table, mark=BEST))
    told = statements(comparison)
    if told:
        yield f'<ul dir="auto">{"".join(f"<li>{safe(one_line(line, 2000))}</li>" for line in told)}</ul>'
    yield '<div class="charts">'
    yield from (_chart(comparison, measure, _DRAWN[measure.name]) for measure in MEASURES if measure.name in _DRAWN)
    yield "</div></section>"


def _chart(comparison: Comparison, measure: Measure, title: str) -> str:
    """Bars of the targets that have a value to rank, and a word about those that do not."""
    title = f"{title}, median" if comparison.repeats > 1 else title
    bars, missing = [], []
    for standing in standings(comparison, measure):
        value = standing.middle
        if value is None:
            missing.append(f"{one_line(standing.target, 80)} ({_why_missing(comparison, standing)})")
        else:
            bars.append(Bar(standing.target, float(value), measure.shown(value, exact=standing.exact)))
    drawn = bars_svg(title, bars) if bars else ""
    note = f'<p class="note">Left out: {safe(", ".join(missing))}.</p>' if missing else ""
    return f"<figure><figcaption>{safe(title)}</figcaption>{drawn}{note}</figure>"


def _why_missing(comparison: Comparison, standing: Standing) -> str:
    responses = [sample.response for sample in comparison.of(standing.target) if sample.response is not None]
    if not responses:
        return "no answer"
    if standing.measure.timed and all(response.cached for response in responses):
        return "from the cache"
    if all(standing.measure.read(response) is None for response in responses):
        return "unknown"
    return "no whole answer"


def _answers(comparison: Comparison) -> Iterator[str]:
    heading = f"Answers, the first of {comparison.repeats}" if comparison.repeats > 1 else "Answers"
    yield f'<section><h2>{heading}</h2><div class="answers">'
    yield from (_answer(comparison, sample) for sample in comparison.results)
    yield "</div></section>"


def _answer(comparison: Comparison, sample: Sample) -> str:
    head = f"<h3>{name_html(sample.target)}</h3>"
    if comparison.repeats > 1:
        head += f'<p class="soft">{safe(one_line(finish(comparison, sample.target)))}</p>'
    body = _failed(sample) if sample.response is None else _answered(sample.response)
    return f"<article>{head}{body}</article>"


def _answered(response: Response) -> str:
    marks = ["from the cache"] if response.cached else []
    marks += [_FINISHES[response.finish_reason]] if response.finish_reason in _FINISHES else []
    marks += [] if response.text.strip() else ["empty"]
    figures = f'<p class="soft">{name_html(summary(response))}</p>{_marks(marks)}'
    return f"{figures}{_text(response.text)}"


def _failed(sample: Sample) -> str:
    who = f'<p class="soft">{name_html(f"{sample.provider} · {sample.request_model}")}</p>'
    error = sample.error
    if error is None:
        return who
    mark = error.kind if isinstance(error, CallInterruptedError) else f"failed: {error.kind}"
    told = f'{who}{_marks([mark])}<p class="error" dir="auto">{safe(error.message)}</p>'
    return f'{told}<p class="soft">What came before:</p>{_text(error.partial_text)}' if error.partial_text else told


def _marks(marks: Iterable[str]) -> str:
    listed = "".join(f"<li>{safe(mark)}</li>" for mark in marks)
    return f'<ul class="marks">{listed}</ul>' if listed else ""


def _text(text: str) -> str:
    """Read as Markdown, with the text as it came to unfold under it; only the latter where Markdown was not read."""
    if not text.strip():
        return ""
    shown, raw = markdown_html(text), preformatted(text)
    return shown if shown == raw else f"{shown}<details><summary>As it came</summary>{raw}</details>"


def _fields(comparison: Comparison, parts: Sections) -> Iterator[str]:
    if parts.fields is not None:
        yield "<section><h2>Field by field</h2>"
        yield table_html(field_table(comparison, parts.fields)._replace(title="The answers' fields"))
        yield '<p class="note">= where all agree, ≠ where not.</p></section>'


def _differences(diffs: Mapping[tuple[str, str], Sequence[Piece]]) -> Iterator[str]:
    if not diffs:
        return
    yield '<section><h2>Word by word</h2><p class="note">'
    yield "<del>Struck out</del>: only in the first of the two. <ins>Underlined</ins>: only in the second.</p>"
    for (before, after), pieces in diffs.items():
        yield f"<h3>{name_html(before)} → {name_html(after)}</h3>"
        marked = "".join(f"{_DIFFERENCE[p.kind][0]}{safe(p.text)}{_DIFFERENCE[p.kind][1]}" for p in pieces)
        side = direction("".join(piece.text for piece in pieces))
        yield f'<div class="difference" dir="{side}" tabindex="0">{marked}</div>'
    yield "</section>"


def _verdict(judgement: Judgement | None) -> Iterator[str]:
    if judgement is not None:
        first, *rest = (f'<p dir="auto">{safe(line)}</p>' for line in verdict(judgement))
        yield f'<section class="verdict"><h2>Judge</h2>{first}<div class="reasons">{"".join(rest)}</div></section>'
