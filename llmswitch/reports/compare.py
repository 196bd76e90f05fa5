"""A `Comparison` as rows: its table, its ratios, and what several askings of each target showed."""

from __future__ import annotations

import math
from collections import Counter
from statistics import median_low

from llmswitch.reports.measures import (
    MEASURES,
    Difference,
    Measure,
    Standing,
    differences,
    first_call,
    is_whole,
    leader,
    standings,
)
from llmswitch.reports.rows import UNKNOWN, Cell, Column, Table, count
from llmswitch.runs.compare import Comparison
from llmswitch.runs.sampling import Sample

__all__ = ["best_target", "comparison_table", "failures", "finish", "footnotes", "narrowed", "statements"]


def comparison_table(comparison: Comparison) -> Table:
    """One row a target, in their order; medians where each was asked more than once.

    The best of a column is marked, and every other value has its ratio to it: after several askings only where the
    intervals say that they differ. `finish` is the kind of error where a target failed.
    """
    ranked = [_column(comparison, measure) for measure in MEASURES]
    ttft, latency, rate, cost = (dict(zip(comparison.targets, column, strict=True)) for column in ranked)
    rows = tuple(
        (
            sample.target,
            _model(sample),
            ttft[sample.target],
            latency[sample.target],
            rate[sample.target],
            _tokens(comparison, sample.target, "input_tokens"),
            _tokens(comparison, sample.target, "output_tokens"),
            cost[sample.target],
            finish(comparison, sample.target),
        )
        for sample in comparison.results
    )
    titles = ("TTFT", "latency", "tokens/s", "input", "output", "cost")
    columns = (Column("target"), Column("model"), *(Column(title, number=True) for title in titles), Column("finish"))
    return Table(columns, rows)


def narrowed(table: Table) -> Table:
    """The same for 80 cells: the model under its target, output under input, and of a ratio the number alone."""
    target, ttft, latency, rate, cost, end = (table.columns[place] for place in (0, 2, 3, 4, 7, 8))
    columns = (target, ttft, latency, rate, Column("tokens", number=True), cost, end)
    rows = []
    for who, model, *figures, taken, given, price, how in table.rows:
        tokens = Cell(f"{_text(taken)} in", f"{_text(given)} out") if _text(taken) != UNKNOWN else UNKNOWN
        cells = (*(_terse(cell) for cell in figures), tokens, _terse(price))
        rows.append((Cell(_text(who), _text(model)), *cells, how))
    return Table(columns, tuple(rows))


def _terse(cell: str | Cell) -> str | Cell:
    return cell if isinstance(cell, str) else cell._replace(note=_number(cell.note))


def _number(note: str) -> str:
    """`405 ms to 414 ms, 1.5× slower` on three lines, the last one `1.5×`."""
    parts = (part.partition("×")[0] + "×" if "×" in part else part for part in note.split(", "))
    return "\n".join(part.replace(" to ", " to\n") for part in parts)


def _text(cell: str | Cell) -> str:
    return cell if isinstance(cell, str) else cell.text


def _column(comparison: Comparison, measure: Measure) -> list[Cell]:
    ranked = standings(comparison, measure)
    told = differences(ranked)
    notes = {difference.worse: _ratio(difference) for difference in told if difference.shown or comparison.repeats == 1}
    best = _best(comparison, ranked, told)
    cells = []
    for standing in ranked:
        value = standing.middle
        if value is None:
            cells.append(_unranked(comparison, standing))
            continue
        spread = _spread(standing) if comparison.repeats > 1 else ""
        note = ", ".join(part for part in (spread, notes.get(standing.target, "")) if part)
        text = measure.shown(value, exact=standing.exact)
        is_best = best is not None and value == best.middle
        cells.append(Cell(text, note, is_best, float(value)))
    return cells


def _unranked(comparison: Comparison, standing: Standing) -> Cell:
    """The figure of an answer that does not count among the others: from the cache, refused, or empty."""
    response = _result(comparison, standing.target).response
    value = standing.measure.read(response) if response is not None else None
    if value is None or response is None:
        return Cell(UNKNOWN)
    return Cell(standing.measure.shown(value, exact=standing.measure.exact(response)))


def _best(comparison: Comparison, ranked: tuple[Standing, ...], told: tuple[Difference, ...]) -> Standing | None:
    """The one to be marked: the leader of at least two, and after several askings only one that is told from all."""
    best = leader(ranked)
    known = [standing for standing in ranked if standing.values]
    if best is None or len(known) < 2:
        return None
    return best if comparison.repeats == 1 or all(difference.shown for difference in told) else None


def best_target(comparison: Comparison, measure: Measure) -> str | None:
    """The target to name as best by `measure`, the first of equals; None where that cannot be said.

    One with the only figure is named where no other has a whole answer: beside answers from the cache, or of unknown
    price, it is best of nothing.
    """
    ranked = standings(comparison, measure)
    known = [standing for standing in ranked if standing.values]
    if len(known) == 1:
        whole = {s.target for s in comparison.samples if s.response is not None and is_whole(s.response)}
        return known[0].target if len(whole) == 1 else None
    best = _best(comparison, ranked, differences(ranked))
    return best.target if best else None


def _ratio(difference: Difference) -> str:
    """`2.3× slower`; nothing where the two are the same to three digits, or one of them is free."""
    times = difference.ratio
    if times is None or times < 1.005 or math.isinf(times):
        return ""
    shown = f"{times:.2f}" if times < 1.095 else f"{times:.1f}" if times < 9.95 else f"{times:.0f}"
    return f"{shown if times < 1000 else 'over 1,000'}× {difference.measure.worse}"


def _spread(standing: Standing) -> str:
    low, high = min(standing.values.values()), max(standing.values.values())
    return _reach(standing.measure.show(low), standing.measure.show(high))


def _reach(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _result(comparison: Comparison, target: str) -> Sample:
    return next(sample for sample in comparison.results if sample.target == target)


def _model(sample: Sample) -> str:
    response = sample.response
    return (response.response_model if response else None) or sample.request_model


def _tokens(comparison: Comparison, target: str, name: str) -> Cell:
    usages = [first_call(sample.response).usage for sample in comparison.of(target) if sample.response is not None]
    counts = [found for usage in usages if (found := getattr(usage, name)) is not None]
    if not counts:
        return Cell(UNKNOWN)
    about = "~" if any(usage.estimated for usage in usages) else ""
    value = median_low(counts)
    return Cell(f"{about}{count(value)}", value=float(value))


def finish(comparison: Comparison, target: str) -> str:
    """How the target's askings ended: `stop`, `stop, cached`, `timeout`, `4 of 5 stop, 1 timeout`."""
    ends = Counter(_end(sample) for sample in comparison.of(target))
    if len(ends) == 1:
        return next(iter(ends))
    return ", ".join(f"{times} {end}" for end, times in ends.most_common())


def _end(sample: Sample) -> str:
    if sample.response is None:
        return sample.error.kind if sample.error else UNKNOWN
    marks = ["cached"] if sample.response.cached else []
    marks += [] if sample.response.text.strip() else ["empty"]
    return ", ".join([sample.response.finish_reason, *marks])


def footnotes(comparison: Comparison, table: Table, *, mark: str = "*") -> tuple[str, ...]:
    """What a reader of its `table` must know, as sentences; `mark` is how the best is marked."""
    responses = [sample.response for sample in comparison.results if sample.response is not None]
    notes = []
    if any(response.cached for response in responses):
        notes.append("cached: free now; tokens and cost are the first call's, and its times are not ranked.")
    if any(cell.best for row in table.rows for cell in row if isinstance(cell, Cell)):
        notes.append(f"{mark}: the best of its column.")
    return tuple(notes)


def failures(comparison: Comparison) -> tuple[str, ...]:
    """Why a target of the table has no figures, as sentences."""
    errors = ((sample.target, sample.error) for sample in comparison.results)
    return tuple(f"{target}: {error.message}" for target, error in errors if error is not None)


def statements(comparison: Comparison) -> tuple[str, ...]:
    """What more than one asking showed, as sentences: which targets differ, by how much, and which cannot be told."""
    if comparison.repeats == 1:
        return ()
    told = [difference for m in MEASURES for difference in differences(standings(comparison, m))]
    sentences = [_sentence(d, d.low, d.high) for d in told if d.low is not None and d.high is not None]
    few = [difference for difference in told if difference.low is None]
    if few:
        rounds, needed = min(d.rounds for d in few), max(d.needed for d in few)
        names = [target for target in comparison.targets if any(target in (d.better, d.worse) for d in few)]
        sentences.append(
            f"{rounds} {'round' if rounds == 1 else 'rounds'} that all of them answered are too few "
            f"to tell {', '.join(names)} apart; {needed} can."
        )
    return tuple(sentences)


def _sentence(difference: Difference, low: float, high: float) -> str:
    title, better, worse = difference.measure.title, difference.better, difference.worse
    reach = _reach(_times(low), _times(high))
    if not difference.shown:
        return f"{title}: {worse} and {better} cannot be told apart ({reach})."
    if math.isinf(low):
        return f"{title}: {better} is free, {worse} is not."
    ratio = _ratio(difference)
    if not ratio:
        return f"{title}: {worse} and {better} differ by less than 1 % ({reach})."
    return f"{title}: {worse} is {ratio} {difference.measure.than} {better} ({reach})."


def _times(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:.2f}×" if value < 1000 else "over 1,000×"
