"""A run as one page that needs nothing but itself: verdict, figures, drawings, history, and every case's answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from llmswitch.reports.bench_charts import Distribution, Spot, distribution_svg, key_svg, scatter_svg
from llmswitch.reports.bench_figures import (
    Figure,
    by_batch,
    counts_from_due,
    dollars,
    figures,
    figures_table,
    per_thousand,
    percent,
)
from llmswitch.reports.bench_fold import Fold
from llmswitch.reports.bench_headline import caveats, differences, headline, load_words, mark
from llmswitch.reports.bench_history import drawings, history_table, in_order, moment
from llmswitch.reports.bench_matrix import matrix_html
from llmswitch.reports.bench_percentiles import percentiles_table, repeats_table
from llmswitch.reports.bench_table import checks_table
from llmswitch.reports.html import BEST, name_html, page, safe, table_html
from llmswitch.reports.rows import UNKNOWN, Column, Table, count, seconds
from llmswitch.runs.bench.document import RunDocument, TargetDocument
from llmswitch.runs.bench.model import Rows
from llmswitch.text import one_line

__all__ = ["bench_page"]

#: warnings and differences that are shown
_MOST_LINES = 50


def bench_page(document: RunDocument, rows: Rows, history: Sequence[RunDocument] = ()) -> str:
    """The whole document. Rows are read twice, and little is kept of them; what models wrote stays text."""
    fold = Fold.of(document, rows)
    return page(
        f"Bench: {one_line(document['suite'], 60)}",
        (
            *_head(document),
            *_gate(document),
            *_figures(document),
            *_drawn(document, fold),
            *_history(document, history),
            *matrix_html(fold, rows),
            *_method(document),
        ),
        kind="bench",
    )


def _head(document: RunDocument) -> Iterator[str]:
    first, *rest = headline(document)
    found = mark(document["gate"]["verdict"])
    word, _, reason = first.partition(": ")
    yield f"<header><h1>{name_html(document['suite'])}</h1>"
    yield f'<div class="verdict-line {found.style}"><span class="sign" aria-hidden="true">{found.sign}</span>'
    yield f'<p dir="auto"><strong>{safe(word)}</strong> {safe(one_line(reason, 2000))}</p></div>'
    yield _list(rest, "leads")
    facts = [
        f'<time datetime="{safe(document["started_at"])}">{safe(moment(document["started_at"]))}</time>',
        f"run {name_html(document['id'])}",
        f"profile {name_html(document['profile'])}" if document["profile"] is not None else "",
        safe(f"{count(document['cases'])} {'case' if document['cases'] == 1 else 'cases'}"),
        safe(f"{count(sum(target['samples'] for target in document['targets']))} samples"),
        safe(load_words(document)),
    ]
    yield f'<p class="facts">{" · ".join(fact for fact in facts if fact)}</p></header>'
    told = caveats(document)
    if told:
        yield f'<aside class="notice-box"><h2>To know</h2>{_list(told)}</aside>'


def _list(lines: Iterable[str], kind: str = "") -> str:
    shown = list(lines)
    more = [f"{count(len(shown) - _MOST_LINES)} more are in run.json."] if len(shown) > _MOST_LINES else []
    items = "".join(f"<li>{safe(one_line(line, 2000))}</li>" for line in (*shown[:_MOST_LINES], *more))
    return f'<ul dir="auto"{f""" class="{kind}" """.rstrip() if kind else ""}>{items}</ul>' if items else ""


def _gate(document: RunDocument) -> Iterator[str]:
    gate = document["gate"]
    if gate["checks"]:
        against = f" Measured against {gate['baseline']}." if gate["baseline"] else ""
        yield f'<section class="gate"><h2>Gate</h2>{table_html(checks_table(gate["checks"]))}'
        note = one_line(f"Level {gate['alpha']:g}, over all checks.{against}")
        yield f'<p class="note">{safe(note)}</p></section>'


def _figures(document: RunDocument) -> Iterator[str]:
    yield f'<section class="figures"><h2>Figures</h2>{table_html(figures_table(document))}'
    yield f'<p class="note">{BEST}: the best of its column, told apart from all others. Intervals hold 95 %.</p>'
    yield _list(differences(document))
    tables = (percentiles_table(document), repeats_table(document))
    shown = "".join(f"<h3>{safe(table.title)}</h3>{table_html(table)}" for table in tables if table.rows)
    asked = "Asked again and again" if by_batch(document) else "All percentiles"
    more = f'<details class="more"><summary>{asked}</summary>{shown}</details>' if shown else ""
    yield f"{more}</section>"


def _drawn(document: RunDocument, fold: Fold) -> Iterator[str]:
    from_due = ", from when a request was due" if counts_from_due(document) else ""
    drawn = [
        *_distribution(fold, f"E2E latency{from_due}", fold.durations),
        *_distribution(fold, "Time to first token", fold.first_tokens),
        *_scatter(document),
    ]
    if drawn:
        names = "".join(f"<li>{key_svg(place)}{name_html(name)}</li>" for place, name in enumerate(fold.targets))
        title = "Cost against quality" if by_batch(document) else "Latency, and cost against quality"
        yield f'<section><h2>{title}</h2><ul class="key">{names}</ul>'
        yield f'<div class="charts">{"".join(drawn)}</div></section>'


def _distribution(fold: Fold, title: str, times: Sequence[Sequence[float]]) -> Iterator[str]:
    found = [
        Distribution(place, name, times[place], fold.samples(place))
        for place, name in enumerate(fold.targets)
        if times[place]
    ]
    if found:
        note = "Share answered within a time; a curve that ends below 100 % had failures, or no such time. Boxes: "
        note += "median, quartiles, 5th to 95th percentile."
        yield _figure(title, distribution_svg(title, found), note)


def _scatter(document: RunDocument) -> Iterator[str]:
    known = [figure for figure in figures(document) if figure.title in ("score", "pass")]
    quality = next((figure for figure in known[::-1] if any(figure.read(t) for t in document["targets"])), None)
    if quality is None:
        return
    spots = [spot for place, target in enumerate(document["targets"]) if (spot := _spot(place, target, quality))]
    if spots:
        title = f"Cost of 1,000 calls against {'score' if quality.title == 'score' else 'pass rate'}"
        show = percent if quality.title == "pass" else "{:.2f}".format
        missing = [
            target["target"] for target in document["targets"] if not any(s.name == target["target"] for s in spots)
        ]
        left = f" Left out, unknown: {', '.join(one_line(name, 80) for name in missing)}." if missing else ""
        note = f"Up and to the left is better. The line joins those that no other beats in both.{left}"
        yield _figure(title, scatter_svg(title, spots, dollars, show), note)


def _spot(place: int, target: TargetDocument, quality: Figure) -> Spot | None:
    found, cost = quality.read(target), per_thousand(target)
    if found is None or cost is None:
        return None
    return Spot(place, target["target"], float(cost), found.value, found.low, found.high)


def _figure(title: str, svg: str, note: str) -> str:
    return f'<figure><figcaption>{safe(title)}</figcaption>{svg}<p class="note">{safe(note)}</p></figure>'


def _history(document: RunDocument, history: Sequence[RunDocument]) -> Iterator[str]:
    drawn = drawings(document, history)
    if drawn:
        runs = in_order(document, history)
        yield '<section><h2>Night after night</h2><div class="charts pairs">'
        yield from (f"<figure><figcaption>{safe(one.title)}</figcaption>{one.svg}</figure>" for one in drawn)
        yield f'</div><details class="more"><summary>{count(len(runs))} runs as a table</summary>'
        yield f"{table_html(history_table(runs[::-1]))}</details></section>"


def _method(document: RunDocument) -> Iterator[str]:
    options, client = document["options"], document["client"]
    measured = {
        "Warm-up, left out": count(document["warmup"].get("samples", 0)),
        "Measured for": seconds(document["measured_s"]),
        "Requests a second": UNKNOWN if client["offered_rps"] is None else f"{client['offered_rps']:.3g}",
        "Event loop late by (p99)": seconds(client["loop_lag_p99_s"]),
        "This machine's CPU": UNKNOWN if client["cpu_fraction"] is None else percent(client["cpu_fraction"], 0),
        "This machine the bottleneck": "yes" if client["saturated"] else "no",
    }
    facts = {
        "Load": load_words(document),
        "Repeats": count(options.get("repeats", 1)),
        "Seed": str(document["seed"]),
        **({"Latency": "not known of a batch"} if by_batch(document) else measured),
        "Suite": document["suite_path"],
        "Fingerprint": document["fingerprint"][:16],
    }
    listed = "".join(
        f"<div><dt>{safe(name)}</dt><dd>{name_html(str(value))}</dd></div>" for name, value in facts.items()
    )
    yield f'<section><h2>How it was measured</h2><dl class="method">{listed}</dl>'
    yield f"{table_html(_asked(document))}</section>"


def _asked(document: RunDocument) -> Table:
    """Who was asked, and how."""
    columns = (
        Column("target"),
        Column("model"),
        Column("at"),
        Column("parameters"),
        Column("requests", number=True),
        Column("ended"),
        Column("input", number=True),
        Column("output", number=True),
    )
    return Table(columns, tuple(_asked_row(target) for target in document["targets"]), title="Who was asked, and how")


def _asked_row(target: TargetDocument) -> tuple[str, ...]:
    usage = target["usage"]
    about = "~" if usage.get("estimated") else ""
    tokens = (usage.get("input_tokens"), usage.get("output_tokens"))
    return (
        target["target"],
        target["request_model"] or UNKNOWN,
        target["base_url"] or UNKNOWN,
        ", ".join(f"{name} {value}" for name, value in target["parameters"].items()) or UNKNOWN,
        count(target["requests"]),
        ", ".join(f"{name} {count(times)}" for name, times in target["finish_reasons"].items()) or UNKNOWN,
        *(UNKNOWN if found is None else f"{about}{count(found)}" for found in tokens),
    )
