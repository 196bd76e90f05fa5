"""What the traffic that was really sent would cost elsewhere: the ledger's rows at another model's rates of today.

Cached reads stay cached reads, batches stay batches, and a call stays in the context step that its input is in; a tier
is kept by the vendor that has it. What another tokenizer makes of the same texts is taken from benches in which both
were asked the same prompts; where there is none, a band is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from llmswitch.database import reading
from llmswitch.evidence import Evidence, read_evidence
from llmswitch.ledger import from_pico
from llmswitch.pricing import PriceKey, Prices
from llmswitch.types import Cost, Usage

__all__ = ["BAND", "Elsewhere", "Ratio", "Traffic", "WhatIf", "what_if"]

#: how far another tokenizer, or another habit of answering, is taken to be off where nobody measured it
BAND = (0.8, 1.3)

_Model = tuple[str, str]


class Traffic(NamedTuple):
    """What was sent to one model: its calls, and what of their cost is known. Money in USD."""

    provider: str
    request_model: str
    calls: int
    cost: Decimal | None
    unknown_price_calls: int


class Ratio(NamedTuple):
    """How many tokens a target counts for one of another's, of input and of output; from so many `prompts`, or a band
    where they are 0."""

    input: float
    output: float
    prompts: int


class Elsewhere(NamedTuple):
    """The same traffic on one target: about `cost`, and between `low` and `high` for what tokenizers are taken to do.

    None where a price is unknown. `exact` tells that no rate stood in for another. `measured` is the share of calls
    whose tokens were compared in a bench, or are this target's own.
    """

    target: str
    provider: str
    request_model: str
    cost: Decimal | None
    low: Decimal | None
    high: Decimal | None
    exact: bool
    source: str | None
    measured: float
    found: Evidence | None


class WhatIf(NamedTuple):
    """`traffic` is what was sent, the most first; `left_out` counts answered calls whose tokens nobody knows.

    `found` is the newest bench of the model that most of it went to.
    """

    since: float | None
    until: float | None
    traffic: tuple[Traffic, ...]
    calls: int
    cost: Decimal | None
    unknown_price_calls: int
    left_out: int
    found: Evidence | None
    targets: tuple[Elsewhere, ...]


class _Group(NamedTuple):
    """Calls to one model that are priced alike."""

    provider: str
    model: str
    batch: bool
    tier: str | None
    step: int
    calls: int
    usage: Usage


def what_if(
    ledger: Path,
    prices: Prices,
    targets: Sequence[tuple[str, PriceKey]],
    *,
    since: float | None,
    until: float | None,
    now: float,
) -> WhatIf:
    """Reprice the answered calls that started within [since, until) at the rates of `now`, all epoch seconds.

    `targets` are names and what their prices are looked up by. Raises StorageError.
    """
    evidence = read_evidence(ledger)
    with reading(ledger) as connection:
        connection.execute("BEGIN")
        where, given = _within(since, until)
        lines = connection.execute(
            "SELECT provider, coalesce(request_model, ''), count(*), sum(cost_pico), sum(cost_pico IS NULL) "  # noqa: S608
            f"FROM calls WHERE {where} GROUP BY 1, 2 ORDER BY 3 DESC",
            given,
        ).fetchall()
        (left_out,) = connection.execute(
            "SELECT count(*) FROM calls WHERE lost IS NULL AND NOT cached AND error_kind IS NULL "  # noqa: S608
            f"AND (input_tokens IS NULL OR output_tokens IS NULL){_bounds(since, until)}",
            given,
        ).fetchone()
        elsewhere = tuple(
            _elsewhere(
                name,
                key,
                [
                    _Group(provider, model, bool(batch), tier, step, calls, Usage(*tokens))
                    for provider, model, batch, tier, step, calls, *tokens in connection.execute(
                        _grouped(prices.steps(key, now), where), given
                    )
                ],
                prices=prices,
                evidence=evidence,
                now=now,
            )
            for name, key in targets
        )
    traffic = tuple(
        Traffic(provider, model, calls, None if pico is None else from_pico(pico), unknown)
        for provider, model, calls, pico, unknown in lines
    )
    known = [one.cost for one in traffic if one.cost is not None]
    return WhatIf(
        since=since,
        until=until,
        traffic=traffic,
        calls=sum(one.calls for one in traffic),
        cost=sum(known, Decimal(0)) if known else None,
        unknown_price_calls=sum(one.unknown_price_calls for one in traffic),
        left_out=left_out,
        found=_newest(evidence, (traffic[0].provider, traffic[0].request_model)) if traffic else None,
        targets=elsewhere,
    )


def _within(since: float | None, until: float | None) -> tuple[str, tuple[float, ...]]:
    """Calls that went out and were answered, and whose tokens are known."""
    known = "input_tokens IS NOT NULL AND output_tokens IS NOT NULL"
    given = tuple(bound for bound in (since, until) if bound is not None)
    return f"lost IS NULL AND NOT cached AND error_kind IS NULL AND {known}{_bounds(since, until)}", given


def _bounds(since: float | None, until: float | None) -> str:
    return (" AND started_at >= ?" if since is not None else "") + (" AND started_at < ?" if until is not None else "")


def _grouped(steps: Sequence[int], where: str) -> str:
    """Sums by whatever decides a rate. Within one context step a price is a sum of products: no call need be priced
    by itself."""
    step = " + ".join(f"(input_tokens > {start})" for start in steps) or "0"
    return (
        f"SELECT provider, coalesce(request_model, ''), batch, service_tier, {step}, count(*), sum(input_tokens), "  # noqa: S608
        "sum(output_tokens), total(cache_read_input_tokens), total(cache_creation_input_tokens), "
        "sum(reasoning_output_tokens), sum(cache_creation_1h_input_tokens), max(usage_estimated) "
        f"FROM calls WHERE {where} GROUP BY 1, 2, 3, 4, 5"
    )


def _elsewhere(
    name: str, key: PriceKey, groups: Sequence[_Group], *, prices: Prices, evidence: Sequence[Evidence], now: float
) -> Elsewhere:
    asked = (key.provider, key.request_model)
    ratios = {(group.provider, group.model): _ratio(evidence, (group.provider, group.model), asked) for group in groups}
    sums: list[Cost | None] = []
    for place in range(3):
        parts = [_priced(group, ratios[group.provider, group.model], place, at=(prices, key, now)) for group in groups]
        sums.append(_total(parts))
    about, low, high = sums
    calls = sum(group.calls for group in groups)
    measured = sum(group.calls for group in groups if ratios[group.provider, group.model].prompts)
    return Elsewhere(
        target=name,
        provider=key.provider,
        request_model=key.request_model,
        cost=about.amount if about else None,
        low=low.amount if low else None,
        high=high.amount if high else None,
        exact=about is not None and about.exact,
        source=about.source if about else None,
        measured=measured / calls if calls else 0.0,
        found=_newest(evidence, asked),
    )


def _priced(group: _Group, ratio: Ratio, place: int, *, at: tuple[Prices, PriceKey, float]) -> Cost | None:
    """What the group costs there: about (place 0), and at the ends of the band (1 and 2)."""
    prices, key, now = at
    factor = 1.0 if place == 0 or ratio.prompts else BAND[place - 1]
    usage = _scaled(group.usage, ratio.input * factor, ratio.output * factor)
    same = group.provider == key.provider
    priced_as = key._replace(batch=group.batch, service_tier=group.tier if same else None)
    return prices.cost_of_many(group.calls, usage, group.step, priced_as, now)


def _scaled(usage: Usage, of_input: float, of_output: float) -> Usage:
    """The same texts, counted otherwise."""

    def times(tokens: float | None, factor: float) -> int:
        return round((tokens or 0) * factor)

    read, written = times(usage.cache_read_input_tokens, of_input), times(usage.cache_creation_input_tokens, of_input)
    hour = usage.cache_creation_1h_input_tokens
    output = times(usage.output_tokens, of_output)
    return Usage(
        # rounded each for itself, the parts could come to more than the whole
        input_tokens=max(times(usage.input_tokens, of_input), read + written),
        output_tokens=output,
        cache_read_input_tokens=read,
        cache_creation_input_tokens=written,
        reasoning_output_tokens=min(output, times(usage.reasoning_output_tokens, of_output)),
        cache_creation_1h_input_tokens=None if hour is None else min(written, times(hour, of_input)),
        estimated=bool(usage.estimated),
    )


def _total(parts: Sequence[Cost | None]) -> Cost | None:
    """None where one of them is unknown, and of nothing."""
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts):
        return None
    sources = " + ".join(dict.fromkeys(part.source for part in known))
    return Cost(sum((part.amount for part in known), Decimal(0)), sources, all(part.exact for part in known))


def _ratio(evidence: Sequence[Evidence], of: _Model, to: _Model) -> Ratio:
    """How many tokens `to` counts for one of `of`'s, over all prompts that benches asked of both."""
    if of == to:
        return Ratio(1.0, 1.0, 1)
    input_tokens, output_tokens, prompts = [0, 0], [0, 0], 0
    for before, after in _asked_of_both(evidence, of, to):
        for place, one in enumerate((before, after)):
            input_tokens[place] += one.input_tokens or 0
            output_tokens[place] += one.output_tokens or 0
        prompts += before.counted
    if not all((*input_tokens, *output_tokens)):
        return Ratio(1.0, 1.0, 0)
    return Ratio(input_tokens[1] / input_tokens[0], output_tokens[1] / output_tokens[0], prompts)


def _asked_of_both(evidence: Sequence[Evidence], of: _Model, to: _Model) -> Iterator[tuple[Evidence, Evidence]]:
    runs: dict[str, dict[_Model, Evidence]] = {}
    for one in evidence:
        if one.counted:
            runs.setdefault(one.run_id, {})[one.provider, one.request_model] = one
    for run in runs.values():
        if of in run and to in run:
            yield run[of], run[to]


def _newest(evidence: Sequence[Evidence], model: _Model) -> Evidence | None:
    return next((one for one in evidence if (one.provider, one.request_model) == model and one.judged), None)
