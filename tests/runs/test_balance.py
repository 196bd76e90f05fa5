"""Choosing among targets: by weight, speed, price and load; the healthy ones first, and the same for a conversation."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from llmswitch.errors import ConfigError
from llmswitch.ledger import Caller, CallRow, Ledger
from llmswitch.profiles import Settings, load_settings
from llmswitch.runs.ask import Services
from llmswitch.runs.balance import Speeds, ordered
from llmswitch.runs.call import Question
from llmswitch.runs.route import Route, route_of
from llmswitch.types import Message, Parameters, Usage

KEYS = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k", "GOOGLE_API_KEY": "k"}


class Known:
    """What is known of targets, by the provider at the head of their key."""

    def __init__(self, *, ill: str = "", busy: dict[str, int] | None = None, stuck: str | None = None) -> None:
        self.ill = ill
        self.busy = busy or {}
        self.stuck = stuck

    async def healthy(self, keys: Sequence[str]) -> frozenset[str]:
        return frozenset(key for key in keys if not self.ill or not key.startswith(self.ill))

    async def in_flight(self, keys: Sequence[str]) -> dict[str, int]:
        return {key: self.busy.get(key.partition(":")[0], 0) for key in keys}

    async def stuck_to(self, conversation: str) -> str | None:
        return self.stuck


class Bench:
    def __init__(self, home: Path, balance: str, **environ: str) -> None:
        self.settings: Settings = load_settings(
            cwd=home.parent, environ={"LLMSWITCH_HOME": str(home), **KEYS, "LLM_BALANCE": balance, **environ}
        )
        self.services = Services.from_settings(self.settings, warn=print, clock=time.monotonic, wall=time.time)
        self.speeds = Speeds(self.settings.paths.ledger)

    def route(self, question: Question | None = None) -> Route:
        asked = question or Question((Message("user", "hi"),))
        return route_of(self.settings, self.services.policy, asked, None, conversation=asked.conversation)

    def order(self, known: Known | None = None, *, seed: int = 1, question: Question | None = None) -> list[str]:
        balance = self.services.policy.balance
        assert balance is not None
        calls = asyncio.run(
            ordered(
                self.route(question),
                balance,
                self.services,
                load=known or Known(),
                speeds=self.speeds,
                random=random.Random(seed),  # noqa: S311  # an order to be had again
            )
        )
        return [call.endpoint.provider for call in calls]

    def answered(self, provider: str, model: str, first_s: float, itl_s: float, times: int = 3) -> None:
        ledger = Ledger(self.settings.paths.ledger)
        for _ in range(times):
            ledger.record(
                CallRow(
                    Caller("ask", provider),
                    time.time(),
                    provider,
                    model,
                    Usage(1, 1),
                    "stop",
                    1.0,
                    time_to_first_token_s=first_s,
                    itl_s=itl_s,
                )
            )


def test_weights_are_chances_and_the_rest_follows(home: Path) -> None:
    bench = Bench(home, "weighted:openai=3,anthropic=1")
    first = Counter(bench.order(seed=seed)[0] for seed in range(400))
    assert 250 < first["openai"] < 350
    assert set(bench.order()) == {"openai", "anthropic"}


def test_a_weight_of_nothing_is_only_a_last_resort(home: Path) -> None:
    bench = Bench(home, "weighted:openai=0,anthropic=1")
    assert {tuple(bench.order(seed=seed)) for seed in range(30)} == {("anthropic", "openai")}
    with pytest.raises(ConfigError, match="weight 0"):
        Bench(home, "weighted:openai=0").order()


def test_the_fastest_is_asked_most_of_the_time_and_the_others_now_and_then(home: Path) -> None:
    bench = Bench(home, "fastest:openai,anthropic")
    bench.answered("openai", bench.route().calls[0].request.model, 0.5, 0.02)
    bench.answered("anthropic", bench.route().calls[1].request.model, 0.2, 0.02)
    first = Counter(bench.order(seed=seed)[0] for seed in range(300))
    assert first["anthropic"] > 240
    assert first["openai"] > 3


def test_who_is_unknown_is_tried_before_the_fastest(home: Path) -> None:
    bench = Bench(home, "fastest:openai,anthropic")
    bench.answered("openai", bench.route().calls[0].request.model, 0.001, 0.0)
    first = Counter(bench.order(seed=seed)[0] for seed in range(100))
    assert first["anthropic"] > 80


def test_the_cheapest_for_this_very_request(home: Path) -> None:
    prices = home.parent / "prices.json"
    prices.write_text('{"openai:a": {"input": 10, "output": 1}, "anthropic:b": {"input": 1, "output": 100}}')
    bench = Bench(home, "cheapest:openai:a,anthropic:b", LLM_PRICES=str(prices))
    short = Question((Message("user", "hi"),), parameters=Parameters(max_tokens=400))
    long = Question((Message("user", "x" * 400_000),), parameters=Parameters(max_tokens=1))
    assert bench.order(question=short)[0] == "openai"
    assert bench.order(question=long)[0] == "anthropic"


def test_an_unknown_price_is_the_dearest(home: Path) -> None:
    bench = Bench(home, "cheapest:openai:nobody-knows-it,anthropic:claude-sonnet-4-5")
    assert bench.order() == ["anthropic", "openai"]


def test_the_one_with_the_fewest_calls_under_way(home: Path) -> None:
    bench = Bench(home, "least-busy:openai,anthropic,gemini")
    known = Known(busy={"openai": 3, "anthropic": 1, "gemini": 2})
    assert bench.order(known) == ["anthropic", "gemini", "openai"]


def test_what_is_ill_comes_last(home: Path) -> None:
    bench = Bench(home, "least-busy:openai,anthropic")
    assert bench.order(Known(ill="anthropic", busy={"openai": 9})) == ["openai", "anthropic"]


def test_a_conversation_stays_with_its_target_while_that_is_well(home: Path) -> None:
    bench = Bench(home, "least-busy:openai,anthropic")
    question = Question((Message("user", "hi"),), conversation="c1")
    key = bench.route().calls[0].key
    busy = {"openai": 9}
    assert bench.order(Known(busy=busy, stuck=key), question=question)[0] == "openai"
    assert bench.order(Known(busy=busy, stuck=key, ill="openai"), question=question)[0] == "anthropic"


def test_fallbacks_stand_behind_the_pool(home: Path) -> None:
    bench = Bench(home, "weighted:openai=1,anthropic=1", LLM_FALLBACK="gemini,openai")
    assert bench.order()[-1] == "gemini"
    assert len(bench.order()) == 3


def test_without_names_all_that_are_configured_are_the_pool(home: Path) -> None:
    assert {call.endpoint.provider for call in Bench(home, "fastest").route().calls} == {
        "openai",
        "anthropic",
        "gemini",
    }
    some = Bench(home, "fastest", LLM_PROVIDER="openai", LLM_FALLBACK="gemini").route()
    assert [call.endpoint.provider for call in some.calls] == ["openai", "gemini"]
    assert some.pool == 2


def test_each_target_keeps_its_own_model_and_parameters(home: Path) -> None:
    bench = Bench(home, "none", LLM_FALLBACK="anthropic:claude-x?max_tokens=7,gemini")
    question = Question((Message("user", "hi"),), model="gpt-z", parameters=Parameters(max_tokens=100))
    from llmswitch.targets import parse_target

    calls = route_of(bench.settings, bench.services.policy, question, parse_target("openai")).calls
    assert [(call.request.model, call.request.parameters.max_tokens) for call in calls[:2]] == [
        ("gpt-z", 100),
        ("claude-x", 7),
    ]
    assert calls[2].request.model != "gpt-z"
    assert calls[2].request.parameters.max_tokens == 100


def test_a_budget_bounds_every_answer(home: Path) -> None:
    bench = Bench(home, "fastest:openai", LLM_BUDGET_DAILY="1")
    (call,) = bench.route().calls
    assert call.request.parameters.max_tokens == 8192
    assert "max_tokens" not in call.request.optional
    assert bench.services.policy.daily == Decimal(1)
