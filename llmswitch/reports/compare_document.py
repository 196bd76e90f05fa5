"""A `Comparison` as the contract's document `llmswitch/comparison/1`, and as rows for CSV."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from llmswitch.documents import cost_document
from llmswitch.reports.answer import response_document
from llmswitch.reports.compare import best_target
from llmswitch.reports.measures import COST, LATENCY, MEASURES, Difference, Standing, differences, first_call, standings
from llmswitch.reports.sections import Sections
from llmswitch.runs.compare import Comparison
from llmswitch.runs.judge import Judgement, letters
from llmswitch.runs.sampling import Sample

__all__ = ["CSV_COLUMNS", "comparison_document", "csv_rows"]


def comparison_document(comparison: Comparison, parts: Sections) -> dict[str, Any]:
    """Contract fields first; what was asked for besides follows under its own name, and is left out otherwise.

    `fastest` and `cheapest` are targets as typed, or None where none can be called so. An error of a call that
    Ctrl-C ended has the kind `interrupted`. Times are seconds, amounts plain decimal text.
    """
    document: dict[str, Any] = {
        "schema": "llmswitch/comparison/1",
        "prompt": comparison.prompt,
        "results": [_sample(sample, comparison.profile) for sample in comparison.results],
        "fastest": best_target(comparison, LATENCY),
        "cheapest": best_target(comparison, COST),
        "profile": comparison.profile,
        "interrupted": comparison.interrupted,
    }
    if comparison.repeats > 1:
        document |= _repeated(comparison)
    if comparison.judgement is not None:
        document["judge"] = _judgement(comparison.judgement)
    if parts.fields is not None:
        document["fields"] = [field._asdict() for field in parts.fields]
    if parts.diffs is not None:
        document["diffs"] = [
            {"before": before, "after": after, "pieces": [piece._asdict() for piece in pieces]}
            for (before, after), pieces in parts.diffs.items()
        ]
    return document


def _sample(sample: Sample, profile: str | None) -> dict[str, Any]:
    if sample.response is not None:
        return {"target": sample.target, **response_document(sample.response, profile)}
    failed = {"target": sample.target, "provider": sample.provider, "request_model": sample.request_model}
    if sample.error is None:
        return failed
    attempts = [attempt._asdict() for attempt in sample.error.attempts]
    return {**failed, **sample.error.as_dict(), "partial_text": sample.error.partial_text, "attempts": attempts}


def _repeated(comparison: Comparison) -> dict[str, Any]:
    ranked = {measure.name: standings(comparison, measure) for measure in MEASURES}
    return {
        "repeats": comparison.repeats,
        "seed": comparison.seed,
        "samples": [{"repeat": s.repeat, **_sample(s, comparison.profile)} for s in comparison.samples],
        "statistics": [
            {
                "target": target,
                "errors": Counter(s.error.kind for s in comparison.of(target) if s.error is not None),
                **{name: _spread(column[place]) for name, column in ranked.items()},
            }
            for place, target in enumerate(comparison.targets)
        ],
        "differences": [_difference(found) for column in ranked.values() for found in differences(column)],
    }


def _spread(standing: Standing) -> dict[str, Any]:
    """Over the whole answers; `low` and `high` bound the median with a confidence of 95 %."""
    values = [float(value) for value in standing.values.values()]
    low, high = standing.interval or (None, None)
    return {
        "answers": len(values),
        "median": float(standing.middle) if standing.middle is not None else None,
        "low": low,
        "high": high,
        "min": min(values, default=None),
        "max": max(values, default=None),
    }


def _difference(found: Difference) -> dict[str, Any]:
    return {
        "measure": found.measure.name,
        "better": found.better,
        "worse": found.worse,
        "rounds": found.rounds,
        "ratio": _finite(found.ratio),
        "low": _finite(found.low),
        "high": _finite(found.high),
        "different": found.shown,
    }


def _finite(value: float | None) -> float | None:
    """JSON has no infinity: beside what is free, there is no ratio."""
    return None if value is None or math.isinf(value) else value


def _judgement(judgement: Judgement) -> dict[str, Any]:
    return {
        "judge": judgement.judge,
        "request_model": judgement.request_model,
        "winner": judgement.winner,
        "ranking": list(judgement.ranking),
        "verdicts": [{**said._asdict(), "letters": letters(said.order)} for said in judgement.verdicts],
        "cost": cost_document(judgement.cost),
        **(judgement.error.as_dict() if judgement.error is not None else {}),
    }


CSV_COLUMNS = (
    "target",
    "repeat",
    "provider",
    "request_model",
    "response_model",
    "time_to_first_token_s",
    "duration_s",
    "output_tokens_per_s",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "cost_exact",
    "cached",
    "finish_reason",
    "error_kind",
    "error_message",
    "text",
)


def csv_rows(comparison: Comparison) -> list[tuple[Any, ...]]:
    """One row a sample; unknown is None. Tokens and cost of a cached answer are its first call's."""
    return [_csv_row(sample) for target in comparison.targets for sample in comparison.of(target)]


def _csv_row(sample: Sample) -> tuple[Any, ...]:
    who = (sample.target, sample.repeat, sample.provider, sample.request_model)
    response, error = sample.response, sample.error
    if response is None:
        told = (error.kind, error.message, error.partial_text) if error is not None else (None, None, None)
        return (*who, *(None for _ in CSV_COLUMNS[4:14]), *told)
    cost, usage = first_call(response).cost, first_call(response).usage
    return (
        *who,
        response.response_model,
        response.timing.time_to_first_token_s,
        response.duration_s,
        response.output_tokens_per_s,
        usage.input_tokens,
        usage.output_tokens,
        format(cost.amount, "f") if cost else None,
        cost.exact if cost else None,
        response.cached,
        response.finish_reason,
        None,
        None,
        response.text,
    )
