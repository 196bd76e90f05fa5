"""A run in sentences: the verdict first, who is best at what, what is not so sure, and what was left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from llmswitch.intervals import samples_needed
from llmswitch.reports.bench_figures import Reading, by_batch, counts_from_due, figures, is_told, leaders, percent
from llmswitch.reports.rows import count, seconds
from llmswitch.runs.bench.document import ComparisonDocument, Percentiles, RunDocument, TargetDocument

__all__ = ["NO_LATENCY", "VERDICTS", "Mark", "caveats", "differences", "headline", "load_words", "mark", "verdict"]


#: what every output of a run says that was asked as a batch
NO_LATENCY = "Asked by batch: no latency is known, and cost is at the batch rate."


class Mark(NamedTuple):
    """How a verdict is shown: a sign that is told without its colour, a word, and what style it takes."""

    sign: str
    word: str
    style: str


VERDICTS: Mapping[str, Mark] = {
    "pass": Mark("✓", "pass", "good"),
    "fail": Mark("✗", "fail", "bad"),
    "inconclusive": Mark("?", "inconclusive", "open"),
    "not judged": Mark("–", "not judged", "open"),
}


def mark(verdict: str) -> Mark:
    """The mark of a verdict, of one that is not known here its own word."""
    return VERDICTS.get(verdict, Mark("?", verdict, "open"))


def verdict(document: RunDocument) -> str:
    """`FAIL: 2 of 3 checks.`, or the reason of the one that there is."""
    gate = document["gate"]
    word, reason = mark(gate["verdict"]).word.upper(), gate["reason"].removeprefix(f"{gate['verdict']}: ")
    return f"{word}: {reason}" if reason else word


#: a figure's title -> what is said of who leads it
_LEADS = {"score": "Best score", "E2E p50": "Fastest", "cost": "Cheapest"}


def headline(document: RunDocument) -> tuple[str, ...]:
    """The verdict, then who leads in quality, latency and cost, or that it cannot be told."""
    return (verdict(document), *_leading(document))


def _leading(document: RunDocument) -> Iterator[str]:
    for figure in figures(document):
        found = leaders(document, figure) if figure.title in _LEADS else ()
        if len(found) == 1:
            yield f"{_LEADS[figure.title]}: {found[0].target} ({_shown(found[0])})."
        elif found and any(reading.value != found[0].value for reading in found):
            names = _listed([f"{reading.target} ({_shown(reading)})" for reading in found])
            yield f"{_LEADS[figure.title]}: not told apart are {names}."


def _shown(reading: Reading) -> str:
    """What is ranked: of a cost, that of a thousand calls."""
    return reading.note.partition(", ")[0] + " calls" if reading.low is None and reading.note else reading.text


def _listed(names: list[str], most: int = 4) -> str:
    shown = names if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


class _Metric(NamedTuple):
    """How a difference in it is put into words: 'is 5 % slower than', 'scores 2 pp less than'."""

    name: str
    verb: str
    more: str
    less: str
    points: bool = False


_METRICS: Mapping[str, _Metric] = {
    "duration": _Metric("Latency", "is", "slower than", "faster than"),
    "cost": _Metric("Cost", "costs", "more than", "less than"),
    "score": _Metric("Score", "scores", "more than", "less than", points=True),
}


def differences(document: RunDocument) -> tuple[str, ...]:
    """A sentence a comparison: 'a is 12 % slower than b (5 % to 19 %, p 0.003)', or that more repeats could tell."""
    told = sorted(document["comparisons"], key=lambda found: not is_told(found))
    return tuple(_difference(found) for found in told)


def _difference(found: ComparisonDocument) -> str:
    words, effect = _METRICS[found["metric"]], found["effect"]
    a, b = found["a"], found["b"]
    if effect is None:
        return f"{words.name}: too few to compare {a} and {b}.{_more(found)}"
    if not is_told(found):
        return f"{words.name}: {b} and {a} cannot be told apart{_sureness(found, words, _signed)}.{_more(found)}"
    direction = words.more if effect > 0 else words.less
    sure = _sureness(found, words, lambda end, words: _size(abs(end), words))
    return f"{words.name}: {b} {words.verb} {_size(abs(effect), words)} {direction} {a}{sure}."


def _sureness(found: ComparisonDocument, words: _Metric, show: Callable[[float, _Metric], str]) -> str:
    """` (5 % to 19 %, p 0.003)`, as much of it as is known."""
    ends = [end for end in (found["low"], found["high"]) if end is not None]
    if is_told(found):
        ends.sort(key=abs)
    known = [f"{show(ends[0], words)} to {show(ends[1], words)}"] if len(ends) == 2 else []
    known += [f"p {_p(found['p'])}"] if found["p"] is not None else []
    return f" ({', '.join(known)})" if known else ""


def _more(found: ComparisonDocument) -> str:
    needed = found["repeats_needed"]
    if not needed:
        return ""
    return f" {count(needed)} more {'repeat' if needed == 1 else 'repeats'} would settle this."


def _size(value: float, words: _Metric) -> str:
    shown = f"{value * 100:.1f}".removesuffix(".0") if value < 0.0995 else f"{value * 100:.0f}"
    return f"{shown} {'pp' if words.points else '%'}"


def _signed(value: float, words: _Metric) -> str:
    return f"{'−' if value < 0 else '+'}{_size(abs(value), words)}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def caveats(document: RunDocument) -> tuple[str, ...]:
    """What a reader must know before believing the figures, as sentences."""
    batch = (NO_LATENCY,) if by_batch(document) else ()
    return (*batch, *_unfinished(document), *_client(document), *_left_out(document), *document["warnings"])


def _unfinished(document: RunDocument) -> Iterator[str]:
    done = sum(target["samples"] for target in document["targets"])
    if not document["complete"]:
        of = f" of {count(document['planned'])}" if document["planned"] is not None else ""
        yield f"The run is not complete: {count(done)}{of} samples are there."


def _client(document: RunDocument) -> Iterator[str]:
    client = document["client"]
    told = [f"event loop late by {seconds(client['loop_lag_p99_s'])}"] if client["loop_lag_p99_s"] is not None else []
    told += [f"CPU {percent(client['cpu_fraction'], 0)}"] if client["cpu_fraction"] is not None else []
    why = f" ({', '.join(told)})" if told else ""
    if client["saturated"]:
        yield f"This machine was the bottleneck{why}: times are partly its own, not the vendors'."
    if client["paced"]:
        yield f"Dispatch was slowed down so that this machine is not what is measured: {_offered(document)}."


def _offered(document: RunDocument) -> str:
    client = document["client"]
    offered = "an unknown load" if client["offered_rps"] is None else f"{client['offered_rps']:.3g} requests a second"
    asked = f" of the {client['asked_rps']:.3g} asked for" if client["asked_rps"] is not None else ""
    return f"{offered}{asked} were offered"


def _left_out(document: RunDocument) -> Iterator[str]:
    warmed = document["warmup"].get("samples")
    if warmed:
        yield f"Warm-up: {count(warmed)} {'call' if warmed == 1 else 'calls'}, in no figure."
    if counts_from_due(document):
        yield "E2E counts from when a request was due, not from when it was sent."
    yield from _unsupported(document)
    estimated = [target["target"] for target in document["targets"] if target["usage"].get("estimated")]
    if estimated:
        yield f"Tokens are estimated, not counted by the vendor: {_listed(estimated)}."
    free = [target["target"] for target in document["targets"] if target["cost"] is None and target["samples"]]
    if free:
        yield f"Cost is unknown: {_listed(free)}."


def _unsupported(document: RunDocument) -> Iterator[str]:
    """Percentiles that are shown as a dash, and how many samples they take."""
    if by_batch(document):
        return
    for name, q in (("p95", 0.95), ("p99", 0.99)):
        short = [target for target in document["targets"] if _is_unsupported(target, name)]
        if short:
            least = min(_answered(target) for target in short)
            names = "every target" if len(short) == len(document["targets"]) else _listed([t["target"] for t in short])
            yield f"{name} cannot be told from {count(least)} answers, it takes {samples_needed(q)} or more: {names}."


def _is_unsupported(target: TargetDocument, name: str) -> bool:
    found: Percentiles = target["duration_s"]
    return found.get(name) is None and _answered(target) > 0


def _answered(target: TargetDocument) -> int:
    return target["samples"] - sum(target["errors"].values())


def load_words(document: RunDocument) -> str:
    """How requests were offered: 'closed loop, 4 at once', 'open loop, 20 a second (poisson)', 'by batch'."""
    if by_batch(document):
        return "by batch"
    load: Any = document["options"].get("load")
    load = load if isinstance(load, Mapping) else {}
    if load.get("rate"):
        return f"open loop, {load['rate']:g} requests a second to each target ({load.get('arrival', 'constant')})"
    at_once = load.get("concurrency")
    return f"closed loop, {count(at_once)} at once to each target" if at_once else "closed loop"
