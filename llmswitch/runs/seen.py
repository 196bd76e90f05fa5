"""What this machine itself has seen of models: how fast they answered, by its ledger, and how well, by its benches.

Read alone: a ledger that does not exist is not made.
"""

from __future__ import annotations

import sqlite3
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from llmswitch.database import reading

__all__ = ["DAYS", "PassRate", "Seen", "Speed", "seen_models"]

#: how far back calls tell how fast a model is
DAYS = 30

Model = tuple[str, str]


class Speed(NamedTuple):
    """Medians, each over the calls that have the figure; None where none has. `calls` were answered, not by the cache.

    The first in seconds, the second 1 / inter-token latency. The median of an even number is the mean of the middle
    two.
    """

    calls: int
    time_to_first_token_s: float | None
    output_tokens_per_s: float | None


class PassRate(NamedTuple):
    """Of the newest bench that judged the model, all its tasks: `passed` of `judged` samples, and the interval of that
    share. `finished_at` is in epoch seconds."""

    passed: int
    judged: int
    low: float
    high: float
    suite: str
    run_id: str
    finished_at: float

    @property
    def value(self) -> float:
        """The share that passed."""
        return self.passed / self.judged


class Seen(NamedTuple):
    """What is known of one model; None is nothing."""

    speed: Speed | None = None
    pass_rate: PassRate | None = None


def seen_models(ledger: Path, models: Sequence[Model], now: float) -> Mapping[Model, Seen]:
    """What is known of each of `models`, which are (provider, request_model); `now` is epoch seconds.

    Raises StorageError where the ledger cannot be read.
    """
    if not models:
        return {}
    with reading(ledger) as connection:
        speeds = _speeds(connection, models, now - DAYS * 86_400)
        rates = {model: _pass_rate(connection, model) for model in models}
    return {model: Seen(speeds.get(model), rates[model]) for model in models}


def _speeds(connection: sqlite3.Connection, models: Sequence[Model], since: float) -> Mapping[Model, Speed]:
    """One pass over the rows, whatever many models. SQLite has no median, and its window functions take three times as
    long as this does: 3 s for a million calls."""
    places = " ".join(f"WHEN provider = ? AND request_model = ? THEN {place}" for place, _ in enumerate(models))
    rows = connection.execute(
        f"""SELECT CASE {places} END, time_to_first_token_s, itl_s FROM calls
            WHERE started_at >= ? AND lost IS NULL AND error_kind IS NULL AND finish_reason <> 'interrupted'
                AND NOT cached""",  # noqa: S608  # question marks and numbers
        (*(name for model in models for name in model), since),
    )
    first: list[list[float]] = [[] for _ in models]
    between: list[list[float]] = [[] for _ in models]
    calls = [0] * len(models)
    for place, first_s, itl_s in rows:
        if place is None:
            continue
        calls[place] += 1
        if first_s is not None:
            first[place].append(first_s)
        if itl_s:
            between[place].append(itl_s)
    return {
        model: Speed(calls[place], _median(first[place]), _median(1 / itl_s for itl_s in between[place]))
        for place, model in enumerate(models)
        if calls[place]
    }


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.median(found) if found else None


def _pass_rate(connection: sqlite3.Connection, model: Model) -> PassRate | None:
    # of a model that one run asked in several ways, the way without parameters: so it is asked where nobody says more
    row = connection.execute(
        """SELECT passed, judged, low, high, suite, run_id, finished_at FROM evidence
            WHERE task = '' AND judged > 0 AND provider = ? AND request_model = ?
            ORDER BY finished_at DESC, run_id DESC, instr(target, '?'), target LIMIT 1""",
        model,
    ).fetchone()
    return None if row is None else PassRate(*row)
