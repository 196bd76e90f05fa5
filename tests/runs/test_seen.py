"""What the ledger has seen of models."""

from __future__ import annotations

import itertools
import statistics
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmswitch.database import opened
from llmswitch.evidence import Evidence, keep_evidence
from llmswitch.runs.seen import DAYS, Seen, Speed, seen_models

NOW = 1_800_000_000.0
_WHY = {"lost": "hedged", "cached": 1, "error_kind": "server", "finish_reason": "interrupted", "old": True}


def call(path: Path, *figures: tuple[float | None, float | None], **odd: object) -> None:
    """Calls to openai's m, each with its time to first token and inter-token latency."""
    at = NOW - DAYS * 86_400 - 1 if odd.pop("old", False) else NOW - 1
    values = {"lost": None, "cached": 0, "error_kind": None, "finish_reason": "stop", **odd}
    with opened(path) as connection:
        connection.executemany(
            """INSERT INTO calls (started_at, command, target, provider, request_model, usage_estimated, duration_s,
                attempts, time_to_first_token_s, itl_s, lost, cached, error_kind, finish_reason)
                VALUES (?, 'ask', 't', 'openai', 'm', 0, 1, '[]', ?, ?, ?, ?, ?, ?)""",
            [(at, first, itl, *values.values()) for first, itl in figures],
        )


@pytest.mark.parametrize("why", _WHY)
def test_only_answers_of_the_last_month_that_were_asked_for_count(tmp_path: Path, why: str) -> None:
    ledger = tmp_path / "ledger.db"
    call(ledger, (0.5, 0.02))
    call(ledger, *[(9.0, 9.0)] * 5, **{why: _WHY[why]})
    assert seen_models(ledger, [("openai", "m")], NOW) == {("openai", "m"): Seen(Speed(1, 0.5, 50.0))}


_names = itertools.count()
times = st.one_of(st.none(), st.floats(0.001, 100))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(times, times), min_size=1, max_size=40))
def test_medians_are_exact(tmp_path: Path, figures: list[tuple[float | None, float | None]]) -> None:
    ledger = tmp_path / f"{next(_names)}.db"
    call(ledger, *figures)
    first = [f for f, _ in figures if f is not None]
    speeds = [1 / itl for _, itl in figures if itl is not None]
    speed = seen_models(ledger, [("openai", "m")], NOW)["openai", "m"].speed
    assert speed == Speed(
        len(figures),
        statistics.median(first) if first else None,
        statistics.median(speeds) if speeds else None,
    )


def test_models_are_told_apart_by_both_their_names_and_a_missing_ledger_is_not_made(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    models = [("openai", "m"), ("azure", "m"), ("openai", "x'; DROP TABLE calls; --")]
    assert seen_models(ledger, models, NOW) == dict.fromkeys(models, Seen())
    assert not ledger.exists()
    call(ledger, (0.5, None))
    assert seen_models(ledger, models, NOW) == {
        models[0]: Seen(Speed(1, 0.5, None)),
        models[1]: Seen(),
        models[2]: Seen(),
    }
    assert seen_models(ledger, [], NOW) == {}


def test_of_a_model_that_a_bench_asked_in_two_ways_the_plain_one_counts(tmp_path: Path) -> None:
    for target, passed in (("openai:m?temperature=1", 1), ("openai:m", 9), ("openai:m?seed=1", 5)):
        figures = ("r", "runs/r", "suite", 1.0, target, "openai", "m", "", 10, 10, passed)
        keep_evidence(tmp_path / "ledger.db", [Evidence(*figures, 0.0, 1.0, None, None, None, None, 10, None, None, 0)])
    found = seen_models(tmp_path / "ledger.db", [("openai", "m")], 2.0)["openai", "m"].pass_rate
    assert found is not None
    assert found.passed == 9
