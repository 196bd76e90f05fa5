"""Providers side by side, and how their targets fare, as tables and as the document `llmswitch/providers/1`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from llmswitch.health import Status
from llmswitch.reports.prices import rate
from llmswitch.reports.prices import short as tokens
from llmswitch.reports.rows import UNKNOWN, Cell, Column, Table, count, seconds
from llmswitch.runs.prices import PriceRow
from llmswitch.runs.providers import Compared, ProviderRow, Takes
from llmswitch.runs.seen import DAYS, PassRate, Speed

__all__ = ["health_table", "narrow_table", "providers_document", "providers_table"]

#: what a provider takes -> its word, and its letter where there is no room for words
_TAKES = {
    "images": ("images", "i"),
    "pdf": ("PDF", "p"),
    "schema": ("schema", "s"),
    "batch": ("batch", "b"),
    "caching": ("caching", "c"),
}
#: the state of a circuit, in a word that says what it means
_HEALTH = {"closed": "well", "open": "left alone", "half-open": "being tried"}


def providers_table(found: Sequence[Compared]) -> Table:
    """One row a provider: the model that is asked, what it costs and takes, how it did here, what it needs."""
    columns = (
        Column("provider"),
        Column("model"),
        Column("input $/M", number=True),
        Column("output $/M", number=True),
        Column("window", number=True),
        Column("takes"),
        Column("first token", number=True),
        Column("tokens/s", number=True),
        Column("pass rate", number=True),
        Column("health"),
        Column("at"),
        Column("standing"),
    )
    lines = tuple(
        (
            one.row.name,
            one.row.model or UNKNOWN,
            _price(one.price, "input"),
            _price(one.price, "output"),
            tokens(one.price.context_window if one.price else None),
            _words(one.row.takes),
            *_measured(one),
            _pass_rate(one),
            _health(one.status),
            _place(one.row.base_url),
            one.row.problem or "ready",
        )
        for one in found
    )
    return Table(columns, lines, title=f"prices for a million tokens; medians of the last {DAYS} days on this machine")


def narrow_table(found: Sequence[Compared]) -> Table:
    """The same for 80 columns: a letter for each thing that is taken, and of how it stands a word."""
    columns = (
        Column("provider"),
        Column("model"),
        Column("USD/M", number=True),
        Column("takes"),
        Column("first", number=True),
        Column("tok/s", number=True),
        Column("pass", number=True),
        Column("standing"),
    )
    lines = tuple(
        (
            one.row.name,
            one.row.model or UNKNOWN,
            Cell(_price(one.price, "input"), note=_price(one.price, "output") if one.price and one.price.rates else ""),
            _letters(one.row.takes),
            *_measured(one),
            _pass_rate(one, narrow=True),
            _standing(one),
        )
        for one in found
    )
    legend = ", ".join(f"{letter} {word}" for word, letter in _TAKES.values())
    title = f"USD for a million tokens of input, below it of output. {legend}. -v says what the others need."
    return Table(columns, lines, title=title)


def _price(price: PriceRow | None, field: str) -> str:
    if price is None or price.rates is None or field not in price.rates.base:
        return UNKNOWN
    return f"{'' if price.exact else '~'}{rate(price.rates.base[field])}"


def _words(takes: Takes) -> str:
    """What it takes, then in question marks what nobody can say; what it does not take is left out."""
    known = [_TAKES[name][0] for name, there in takes._asdict().items() if there]
    open_ = [f"{_TAKES[name][0]}?" for name, there in takes._asdict().items() if there is None]
    return ", ".join((*known, *open_)) or "text alone"


def _letters(takes: Takes) -> str:
    return "".join(
        "?" if there is None else _TAKES[name][1] if there else "-" for name, there in takes._asdict().items()
    )


def _measured(one: Compared) -> tuple[str, str]:
    speed = one.seen.speed if one.seen else None
    if speed is None:
        return UNKNOWN, UNKNOWN
    per_s = speed.output_tokens_per_s
    return seconds(speed.time_to_first_token_s), UNKNOWN if per_s is None else f"{per_s:.0f}"


def _pass_rate(one: Compared, *, narrow: bool = False) -> Cell:
    found = one.seen.pass_rate if one.seen else None
    if found is None:
        return Cell(UNKNOWN)
    if narrow:
        return Cell(f"{found.value:.2f}", note=f"{found.low:.2f}–{found.high:.2f}")
    return Cell(f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]")


def _health(status: Status | None) -> str:
    if status is None:
        return UNKNOWN
    pause = _pause(status)
    if pause and status.state == "closed":
        return f"over its limit, {pause}"
    return f"{_HEALTH.get(status.state, status.state)}{f', {pause}' if pause else ''}"


def _standing(one: Compared) -> str:
    """Of one that can be asked, its health where that is not well; of the others, in a word, why they cannot be."""
    if one.row.problem is None:
        health = _health(one.status)
        return "ready" if health in (UNKNOWN, _HEALTH["closed"]) else health
    return "needs more" if one.row.configured else "not set up"


def _pause(status: Status) -> str:
    pause = max(status.retry_after_s or 0.0, status.blocked_s or 0.0)
    return f"{math.ceil(pause)} s" if pause else ""


def health_table(statuses: Sequence[Status]) -> Table:
    """One row a target that was asked of late."""
    columns = (
        Column("target"),
        Column("circuit"),
        Column("failures", number=True),
        Column("asked again in", number=True),
        Column("requests/min", number=True),
        Column("tokens/min", number=True),
    )
    return Table(columns, tuple(_cells(status) for status in statuses))


def _cells(status: Status) -> tuple[str, ...]:
    return (
        status.key,
        status.state,
        count(status.failures),
        _pause(status) or UNKNOWN,
        count(status.requests),
        count(status.tokens),
    )


def _place(base_url: str | None) -> str:
    """The host of an address; of a file, nothing."""
    return (base_url and urlsplit(base_url).netloc) or UNKNOWN


def providers_document(found: Sequence[Compared], statuses: Sequence[Status] | None) -> dict[str, Any]:
    """`providers --json`; `targets` is there with `--health` alone, its times in seconds from now, unknown is null."""
    document: dict[str, Any] = {
        "schema": "llmswitch/providers/1",
        "providers": [
            {
                **_known(one.row),
                "price": _price_document(one.price),
                "context_window": one.price.context_window if one.price else None,
                "max_output_tokens": None,  # no price list tells it
                "takes": one.row.takes._asdict(),
                "health": _health_document(one.status),
                "measured": _speed_document(one.seen.speed if one.seen else None),
                "pass_rate": _pass_rate_document(one.seen.pass_rate if one.seen else None),
            }
            for one in found
        ],
    }
    if statuses is not None:
        document["targets"] = [{"target": status.key, **_status_document(status)} for status in statuses]
    return document


def _known(row: ProviderRow) -> dict[str, Any]:
    return {
        "provider": row.name,
        "title": row.title,
        "configured": row.configured,
        "problem": row.problem,
        "needs": list(row.needs),
        "model": row.model,
        "base_url": row.base_url,
    }


def _price_document(price: PriceRow | None) -> dict[str, Any] | None:
    """USD per million tokens as decimal text; without context steps, batches and tiers, which `cost prices` has."""
    if price is None or price.rates is None:
        return None
    base = {name: rate(amount) for name, amount in price.rates.base.items()}
    return {"currency": "USD", "per_tokens": 1_000_000, **base, "source": price.source, "exact": price.exact}


def _health_document(status: Status | None) -> dict[str, Any] | None:
    return None if status is None else _status_document(status)


def _status_document(status: Status) -> dict[str, Any]:
    return {
        "circuit": status.state,
        "failures": status.failures,
        "retry_after_s": status.retry_after_s,
        "blocked_s": status.blocked_s,
        "limits": {"requests_per_minute": status.requests, "tokens_per_minute": status.tokens},
    }


def _speed_document(speed: Speed | None) -> dict[str, Any] | None:
    return None if speed is None else {"days": DAYS, **speed._asdict()}


def _pass_rate_document(found: PassRate | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "passed": found.passed,
        "judged": found.judged,
        "suite": found.suite,
        "run": found.run_id,
        "finished_at": datetime.fromtimestamp(found.finished_at, tz=UTC).isoformat(),
    }
