from __future__ import annotations

import itertools
import random
from decimal import Decimal
from pathlib import Path

import pytest

from llmswitch.ledger import Ledger
from llmswitch.pricing import Prices
from llmswitch.profiles import load_settings
from llmswitch.runs.call import Call, Question, settle
from llmswitch.runs.estimate import (
    FEWEST,
    Answers,
    Input,
    Job,
    Money,
    answers_given,
    answers_of,
    approximated,
    estimate,
    job_of,
    ordered,
)
from llmswitch.targets import parse_target
from llmswitch.types import Message, Parameters, Usage
from tests.cli.command import row

_AT = 1_795_000_000.0
#: a dollar a token in, two a token out
_PRICES = Prices({"m": {"input_mtok": Decimal(10**6), "output_mtok": Decimal(2 * 10**6)}})


def _call(text: str = "hello", *, max_tokens: int | None = None, model: str = "m", system: str | None = None) -> Call:
    settings = load_settings(
        cwd=Path("/nonexistent"), environ={"LLMSWITCH_HOME": "/nonexistent", "OPENAI_API_KEY": "k"}
    )
    question = Question((Message("user", text),), system=system, parameters=Parameters(max_tokens=max_tokens))
    return settle(settings, parse_target(f"openai:{model}"), question)


def _job(*texts: str, repeats: int = 1, max_tokens: int | None = None, model: str = "m") -> Job:
    job = job_of("openai", [_call(text, max_tokens=max_tokens, model=model) for text in texts], repeats)
    assert job is not None
    return job


def _ledger(path: Path, *lengths: int, **more: object) -> Path:
    ledger = Ledger(path / "ledger.db")
    for length in lengths:
        ledger.record(row(model="m", tokens=(10, length))._replace(**more))  # type: ignore[arg-type]  # a test's shorthand
    return ledger.path


def test_input_that_nobody_counted_lies_in_a_band() -> None:
    told = approximated(_job("x" * 120))
    # 120 bytes at 6, 4 and 2 to a token, and up to 16 that a message is wrapped in
    assert (told.low, told.about, told.high) == ((20,), (30,), (76,))
    assert not told.exact


def test_answers_are_as_long_as_the_ledgers_were(tmp_path: Path) -> None:
    lengths = list(range(1, 101))
    random.Random(1).shuffle(lengths)  # noqa: S311  # repeatable
    assert answers_of(_ledger(tmp_path, *lengths), _job("x").call) == Answers("history", 10, 50, 90, 100)


def test_a_cap_ends_the_answers_of_the_past(tmp_path: Path) -> None:
    told = answers_of(_ledger(tmp_path, *range(1, 101)), _job("x", max_tokens=40).call)
    # the mean of 1 to 40, and sixty times 40
    assert told == Answers("history", 10, 32, 40, 100)


def test_few_answers_are_no_history(tmp_path: Path) -> None:
    ledger = _ledger(tmp_path, *[50] * (FEWEST - 1))
    assert answers_of(ledger, _job("x", max_tokens=300).call) == Answers("cap", 0, None, 300, FEWEST - 1)
    assert answers_of(ledger, _job("x").call) == Answers("unknown", 0, None, None, FEWEST - 1)
    _ledger(tmp_path, 50)
    assert answers_of(ledger, _job("x").call) == Answers("history", 50, 50, 50, FEWEST)


@pytest.mark.parametrize(
    "odd",
    [
        {"cached": True},
        {"lost": "hedged"},
        {"error_kind": "timeout"},
        {"usage": Usage(10, 9000, estimated=True)},
        {"usage": Usage(10, None)},
        {"finish_reason": "interrupted"},
        {"finish_reason": "content_filter"},
        {"provider": "azure"},
        {"request_model": "other"},
    ],
    ids=str,
)
def test_only_whole_answers_of_that_very_model_count(tmp_path: Path, odd: dict[str, object]) -> None:
    ledger = _ledger(tmp_path, *[50] * FEWEST)
    _ledger(tmp_path, *[9000] * 5, **odd)
    assert answers_of(ledger, _job("x").call) == Answers("history", 50, 50, 50, FEWEST)


def test_an_empty_ledger_is_no_history_and_is_not_made(tmp_path: Path) -> None:
    assert answers_of(tmp_path / "none.db", _job("x").call).how == "unknown"
    assert list(tmp_path.iterdir()) == []


def test_a_cost_ranges_over_input_and_output() -> None:
    found = estimate(_job("x"), Input((10,), (20,), (30,)), Answers("history", 1, 5, 9, 50), _PRICES, _AT)
    # a dollar for each token in, two for each out
    assert found.cost == Money(Decimal(12), Decimal(30), Decimal(48))
    assert found.cost.times(100) == Money(Decimal(1200), Decimal(3000), Decimal(4800))
    assert found.rank == 30


def test_without_a_known_length_there_is_no_figure_in_the_middle() -> None:
    told = Input((10,), (20,), (30,), counted=1)
    capped = estimate(_job("x"), told, Answers("cap", high=100), _PRICES, _AT)
    assert capped.cost == Money(Decimal(10), None, Decimal(230))
    unknown = estimate(_job("x"), told, Answers("unknown"), _PRICES, _AT)
    assert unknown.cost == Money(Decimal(10))
    # as if answers had 500 tokens, or the cap where that is less
    assert (capped.rank, unknown.rank) == (Decimal(220), Decimal(1020))


def test_a_suite_is_the_sum_of_its_prompts_and_repeats() -> None:
    job = _job("a" * 40, "b" * 400, "c" * 4000, repeats=3)
    found = estimate(job, approximated(job), answers_given(7), _PRICES, _AT)
    assert found.calls == 9
    assert found.cost.about == 3 * (10 + 100 + 1000 + 3 * 14)


def test_each_prompt_of_a_suite_is_priced_in_its_own_step() -> None:
    job = _job("x", "y", model="gpt-6-luna")
    told = Input(*((272_000, 272_001),) * 3, counted=2)
    found = estimate(job, told, answers_given(0), Prices(), _AT)
    # 272,000 at 0.1 and 272,001 at 0.2
    assert found.cost.about == Decimal("0.0272") + Decimal("0.0544002")


def test_an_unknown_price_is_unknown_and_comes_last() -> None:
    told = Input((10,), (20,), (30,))
    dear = estimate(_job("x"), told, answers_given(1000), _PRICES, _AT)
    cheap = estimate(_job("x"), told, answers_given(1), _PRICES, _AT)
    unknown = estimate(_job("x", model="nobody-lists-it"), told, answers_given(1), _PRICES, _AT)
    assert (unknown.cost, unknown.rank, unknown.source) == (Money(), None, None)
    assert ordered([unknown, dear, cheap]) == [cheap, dear, unknown]


def test_a_prompt_larger_than_the_window_is_told() -> None:
    job = _job("x", model="gpt-4o")
    sizes = (128_000, 128_001)
    found = [estimate(job, Input(*((n,),) * 3), answers_given(1), Prices(), _AT).over_window for n in sizes]
    assert found == [False, True]


def test_of_a_large_suite_few_prompts_are_kept_to_be_counted_and_lie_evenly() -> None:
    job = _job(*(f"{n:04}" for n in range(1000)))
    assert len(job.sizes) == 1000
    places = [place for place, _ in job.probes]
    assert 10 <= len(places) <= 24
    assert len({b - a for a, b in itertools.pairwise(places)}) == 1
    assert places[-1] > 900
    assert all(call.request.messages[0].text == f"{place:04}" for place, call in job.probes)


def test_there_is_no_job_without_a_prompt() -> None:
    assert job_of("openai", []) is None
