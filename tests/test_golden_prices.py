"""What calls cost by the vendors' published rules, worked out by hand: the rates stand in the table as data.

A case says how many tokens are billed at which rate (USD per million). Nothing of ours, and nothing of genai-prices,
is asked for that: the sum below is all the arithmetic there is.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from llmswitch.pricing import PriceKey, Prices, load_prices
from llmswitch.profiles import load_settings
from llmswitch.types import Usage

#: batch rates of most vendors are in the list since 2026-10-14, OpenAI's tiers since 2026-10-12
_AT = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
_BEFORE_BATCH = datetime(2026, 10, 13, 12, tzinfo=UTC).timestamp()
_BEFORE_TIERS = datetime(2026, 10, 11, 12, tzinfo=UTC).timestamp()
#: a rate that the list knows of already
_NEXT_YEAR = datetime(2027, 1, 2, 12, tzinfo=UTC).timestamp()


class Case(NamedTuple):
    """`billed` are tokens and the rate of each kind; None where nobody knows. `exact` is what `Cost.exact` says."""

    why: str
    usage: Usage
    key: PriceKey
    billed: tuple[tuple[int, str], ...] | None
    exact: bool = True
    at: float = _AT


def _of(provider: str, model: str, **more: Any) -> PriceKey:
    listed = {"gemini": "google", "xai": "x-ai"}.get(provider)
    return PriceKey(provider, model, model, listed)._replace(**more)


def _openai(model: str, **more: Any) -> PriceKey:
    return _of("openai", model, **more)


def _claude(model: str, **more: Any) -> PriceKey:
    return _of("anthropic", model, **more)


def _gemini(model: str, **more: Any) -> PriceKey:
    return _of("gemini", model, **more)


#: a deployment whose answers, or settings, say which model it serves
_AZURE = PriceKey("azure", "prod", "gpt-4o-2024-08-06")

#: the file that the cases under 'own' look prices up in
_FILE = """
["openai:gpt-6-luna"]
input = "0.08"
output = "0.40"
cache_read = "0.008"
batch = { input = "0.03", output = "0.15" }
tiers = { priority = { input = "0.16", output = "0.80", cache_read = "0.016" } }

["team:llama"]
input = 1
output = 3

["team:written"]
input = 2
output = 8
cache_creation = "2.5"
cache_creation_1h = 4
cache_read = "0.2"

["local:m"]
input = 0
output = 0

["azure:mapped"]
model = "openai:gpt-4o"
uplift = "1.1"

["azure:plain"]
model = "gpt-4o"

["azure:tiered"]
model = "openai:gpt-6-luna"
uplift = "1.2"

["azure:listed"]
model = "o1"
uplift = "1.05"

["azure:typo"]
model = "openai:gpt-4oo"
uplift = "1.1"

["team:served"]
model = "claude:claude-haiku-4-5"
uplift = "0.9"
"""

_PACKAGED = [
    # -- OpenAI. Input includes what was cached; reasoning is output
    Case("input and output", Usage(1000, 500), _openai("gpt-5"), ((1000, "1.25"), (500, "10"))),
    Case("cached input", Usage(1000, 500, 600), _openai("gpt-5"), ((400, "1.25"), (600, "0.125"), (500, "10"))),
    Case("all input cached", Usage(1024, 1, 1024), _openai("gpt-5-mini"), ((1024, "0.025"), (1, "2"))),
    Case("reasoning is output", Usage(10, 900, 0, 0, 800), _openai("o3"), ((10, "2"), (900, "8"))),
    Case("nothing but reasoning", Usage(10, 900, 0, 0, 900), _openai("o4-mini"), ((10, "1.1"), (900, "4.4"))),
    Case(
        "a cache that gives half", Usage(2048, 16, 1024), _openai("gpt-4o"), ((1024, "2.5"), (1024, "1.25"), (16, "10"))
    ),
    Case(
        "a cache that gives a quarter", Usage(300, 20, 200), _openai("gpt-4.1"), ((100, "2"), (200, "0.5"), (20, "8"))
    ),
    Case("a snapshot", Usage(7, 7), _openai("gpt-4o-2024-08-06"), ((7, "2.5"), (7, "10"))),
    Case("an old model", Usage(100, 100), _openai("gpt-3.5-turbo"), ((100, "0.5"), (100, "1.5"))),
    Case(
        "cache writes cost 1.25 times input",
        Usage(1000, 100, 300, 400),
        _openai("gpt-6-luna"),
        ((300, "0.1"), (300, "0.01"), (400, "0.125"), (100, "0.5")),
    ),
    Case("at the step", Usage(272_000, 1), _openai("gpt-6-luna"), ((272_000, "0.1"), (1, "0.5"))),
    Case(
        "over the step all tokens are dearer", Usage(272_001, 1), _openai("gpt-6-luna"), ((272_001, "0.2"), (1, "0.75"))
    ),
    Case(
        "over the step, cached and written",
        Usage(300_000, 10, 200_000, 50_000),
        _openai("gpt-6-luna"),
        ((50_000, "0.2"), (200_000, "0.02"), (50_000, "0.25"), (10, "0.75")),
    ),
    # -- OpenAI's batch: half price, and half for what is cached where its table has that
    Case("batch is half", Usage(1000, 500), _openai("gpt-5", batch=True), ((1000, "0.625"), (500, "5"))),
    Case(
        "a batch's cached input is half, too",
        Usage(1000, 500, 400),
        _openai("gpt-5", batch=True),
        ((600, "0.625"), (400, "0.0625"), (500, "5")),
    ),
    Case(
        "a batch whose table has no cached rate",
        Usage(1000, 500, 400),
        _openai("gpt-4o", batch=True),
        ((600, "1.25"), (400, "1.25"), (500, "5")),
    ),
    Case(
        "a batch over the step", Usage(272_001, 9), _openai("gpt-6-luna", batch=True), ((272_001, "0.1"), (9, "0.375"))
    ),
    Case(
        "a batch that writes",
        Usage(1000, 0, 0, 1000),
        _openai("gpt-6-luna", batch=True),
        ((1000, "0.0625"),),
    ),
    Case("a batch of an old model", Usage(80, 8), _openai("gpt-3.5-turbo", batch=True), ((80, "0.25"), (8, "0.75"))),
    Case(
        "a batch before the list knew of it is no dearer than the standard rate",
        Usage(1000, 500),
        _openai("gpt-5", batch=True),
        ((1000, "1.25"), (500, "10")),
        exact=False,
        at=_BEFORE_BATCH,
    ),
    # -- OpenAI's tiers
    Case("default is the usual tier", Usage(9, 9), _openai("gpt-5", service_tier="default"), ((9, "1.25"), (9, "10"))),
    Case("flex", Usage(900, 90), _openai("gpt-5", service_tier="flex"), ((900, "0.625"), (90, "5"))),
    Case("flex, cached", Usage(900, 90, 900), _openai("o4-mini", service_tier="flex"), ((900, "0.138"), (90, "2.2"))),
    Case("priority", Usage(900, 90), _openai("gpt-4o", service_tier="priority"), ((900, "4.25"), (90, "17"))),
    Case(
        "priority, cached",
        Usage(900, 90, 100),
        _openai("gpt-4o", service_tier="priority"),
        ((800, "4.25"), (100, "2.125"), (90, "17")),
    ),
    Case(
        "priority over the step",
        Usage(272_001, 90),
        _openai("gpt-6-luna", service_tier="priority"),
        ((272_001, "0.4"), (90, "1.5")),
    ),
    Case("a tier in capitals", Usage(9, 9), _openai("gpt-5", service_tier="Priority"), ((9, "2.5"), (9, "20"))),
    Case(
        "flex without a rate of its own is no dearer than standard",
        Usage(9, 9),
        _openai("gpt-4o", service_tier="flex"),
        ((9, "2.5"), (9, "10")),
        exact=False,
    ),
    Case("priority without a rate is unknown", Usage(9, 9), _openai("gpt-3.5-turbo", service_tier="priority"), None),
    Case("a tier that nobody knows is unknown", Usage(9, 9), _openai("gpt-5", service_tier="scale"), None),
    Case(
        "priority before the list knew of it is unknown",
        Usage(9, 9),
        _openai("gpt-5", service_tier="priority"),
        None,
        at=_BEFORE_TIERS,
    ),
    Case(
        "a batch of a tier costs that tier at most",
        Usage(9, 9),
        _openai("gpt-5", batch=True, service_tier="flex"),
        ((9, "0.625"), (9, "5")),
        exact=False,
    ),
    # -- Anthropic. Ours counts reads and writes as input
    Case("Claude", Usage(1000, 1000), _claude("claude-opus-5-5"), ((1000, "4"), (1000, "20"))),
    Case("a read", Usage(1000, 10, 900), _claude("claude-opus-5-5"), ((100, "4"), (900, "0.2"), (10, "20"))),
    Case(
        "five minutes' writes",
        Usage(1000, 10, 0, 900, 0, 0),
        _claude("claude-sonnet-4-6"),
        ((100, "3"), (900, "3.75"), (10, "15")),
    ),
    Case(
        "an hour's writes",
        Usage(1000, 10, 0, 900, 0, 900),
        _claude("claude-sonnet-4-6"),
        ((100, "3"), (900, "6"), (10, "15")),
    ),
    Case(
        "reads and both kinds of writes",
        Usage(10_000, 500, 2000, 3000, 0, 1000),
        _claude("claude-haiku-4-5"),
        ((5000, "1"), (2000, "0.1"), (2000, "1.25"), (1000, "2"), (500, "5")),
    ),
    Case(
        "writes of unknown length are priced as five minutes'",
        Usage(1000, 0, 0, 1000),
        _claude("claude-haiku-4-5"),
        ((1000, "1.25"),),
        exact=False,
    ),
    Case("thinking is output", Usage(10, 2000, 0, 0, 1900), _claude("claude-opus-5-5"), ((10, "4"), (2000, "20"))),
    Case(
        "over 100,000 Haiku is five times as dear",
        Usage(100_001, 2),
        _claude("claude-haiku-5-5"),
        ((100_001, "0.5"), (2, "2.5")),
    ),
    Case("at 100,000 it is not", Usage(100_000, 2), _claude("claude-haiku-5-5"), ((100_000, "0.1"), (2, "0.5"))),
    Case(
        "what is cached counts towards the step",
        Usage(150_000, 2, 149_000, 500, 0, 500),
        _claude("claude-haiku-5-5"),
        ((500, "0.5"), (149_000, "0.05"), (500, "1"), (2, "2.5")),
    ),
    Case("over 200,000", Usage(200_001, 100), _claude("claude-sonnet-4-5"), ((200_001, "6"), (100, "22.5"))),
    Case(
        "an hour's writes over 200,000",
        Usage(250_000, 0, 0, 250_000, 0, 250_000),
        _claude("claude-sonnet-4-5"),
        ((250_000, "12"),),
    ),
    Case("Claude's batch", Usage(1000, 1000), _claude("claude-opus-5-5", batch=True), ((1000, "2"), (1000, "10"))),
    Case(
        "a batch halves reads and writes of both kinds",
        Usage(10_000, 500, 2000, 3000, 0, 1000),
        _claude("claude-haiku-4-5", batch=True),
        ((5000, "0.5"), (2000, "0.05"), (2000, "0.625"), (1000, "1"), (500, "2.5")),
    ),
    Case(
        "a batch over 100,000",
        Usage(100_001, 2),
        _claude("claude-haiku-5-5", batch=True),
        ((100_001, "0.25"), (2, "1.25")),
    ),
    Case(
        "Anthropic calls a batch a tier",
        Usage(5, 5),
        _claude("claude-opus-5-5", service_tier="batch"),
        ((5, "2"), (5, "10")),
    ),
    Case("its standard tier", Usage(5, 5), _claude("claude-opus-5-5", service_tier="standard"), ((5, "4"), (5, "20"))),
    Case("its fast tier", Usage(5, 5), _claude("claude-opus-5-5", service_tier="fast"), ((5, "8"), (5, "40"))),
    Case(
        "its priority tier is sold by contract", Usage(5, 5), _claude("claude-opus-5-5", service_tier="priority"), None
    ),
    Case(
        "a model that is in no batch table",
        Usage(1000, 1000),
        _claude("claude-opus-4-1", batch=True),
        ((1000, "15"), (1000, "75")),
        exact=False,
    ),
    # -- Gemini. Input includes what was cached; our output has the thoughts in it
    Case("Gemini", Usage(1000, 300), _gemini("gemini-2.5-flash"), ((1000, "0.3"), (300, "2.5"))),
    Case("thoughts", Usage(1000, 800, None, None, 500), _gemini("gemini-2.5-flash"), ((1000, "0.3"), (800, "2.5"))),
    Case("cached", Usage(1000, 0, 750), _gemini("gemini-2.5-flash-lite"), ((250, "0.1"), (750, "0.01"))),
    Case("at 200,000", Usage(200_000, 7), _gemini("gemini-2.5-pro"), ((200_000, "1.25"), (7, "10"))),
    Case("over 200,000 input", Usage(200_001, 7), _gemini("gemini-2.5-pro"), ((200_001, "2.5"), (7, "15"))),
    Case(
        "over 200,000, cached and thinking",
        Usage(300_000, 900, 100_000, None, 800),
        _gemini("gemini-3-pro-preview"),
        ((200_000, "4"), (100_000, "0.4"), (900, "18")),
    ),
    Case("output does not make a step", Usage(10, 250_000), _gemini("gemini-2.5-pro"), ((10, "1.25"), (250_000, "10"))),
    Case("Gemini's batch", Usage(1000, 300), _gemini("gemini-2.5-flash", batch=True), ((1000, "0.15"), (300, "1.25"))),
    Case(
        "a batch does not halve what was cached",
        Usage(1000, 0, 600),
        _gemini("gemini-2.5-flash", batch=True),
        ((400, "0.15"), (600, "0.03")),
    ),
    Case(
        "a batch over 200,000",
        Usage(200_001, 7),
        _gemini("gemini-2.5-pro", batch=True),
        ((200_001, "1.25"), (7, "7.5")),
    ),
    Case(
        "of two batch rates that of today",
        Usage(8, 8),
        _gemini("gemini-3.8-flash", batch=True),
        ((8, "0.375"), (8, "1.875")),
    ),
    Case(
        "and that of next year",
        Usage(8, 8),
        _gemini("gemini-3.8-flash", batch=True),
        ((8, "0.75"), (8, "3.75")),
        at=_NEXT_YEAR,
    ),
    # -- compatible vendors
    Case(
        "xAI", Usage(100, 50, 40), _of("xai", "grok-4-1-fast-non-reasoning"), ((60, "0.2"), (40, "0.05"), (50, "0.5"))
    ),
    Case("Groq", Usage(100, 50, 40), _of("groq", "openai/gpt-oss-20b"), ((60, "0.075"), (40, "0.0375"), (50, "0.3"))),
    Case(
        "Groq's batch",
        Usage(100, 50, 40),
        _of("groq", "openai/gpt-oss-20b", batch=True),
        ((100, "0.0375"), (50, "0.15")),
    ),
    Case(
        "Groq's usual tier",
        Usage(9, 9),
        _of("groq", "openai/gpt-oss-20b", service_tier="on_demand"),
        ((9, "0.075"), (9, "0.3")),
    ),
    Case(
        "Mistral's batch",
        Usage(9, 9, 4),
        _of("mistral", "mistral-small-latest", batch=True),
        ((5, "0.075"), (4, "0.0075"), (9, "0.3")),
    ),
    Case(
        "DeepSeek", Usage(100, 50, 90), _of("deepseek", "deepseek-v4-flash"), ((10, "0.15"), (90, "0.003"), (50, "0.6"))
    ),
    # -- Azure: most of its models are in OpenAI's list alone, whose batches and tiers are not Azure's
    Case("Azure's own list", Usage(100, 10, 50), PriceKey("azure", "d", "o1"), ((50, "15"), (50, "7.5"), (10, "60"))),
    Case("OpenAI's list stands in", Usage(100, 10), _AZURE, ((100, "2.5"), (10, "10")), exact=False),
    Case("an Azure batch", Usage(100, 10), _AZURE._replace(batch=True), ((100, "2.5"), (10, "10")), exact=False),
    Case("Azure's flex", Usage(9, 9), _AZURE._replace(service_tier="flex"), ((9, "2.5"), (9, "10")), exact=False),
    Case("Azure's priority", Usage(9, 9), _AZURE._replace(service_tier="priority"), None),
    # -- nobody knows
    Case("an unknown model", Usage(9, 9), _openai("gpt-99"), None),
    Case("a batch of an unknown model", Usage(9, 9), _openai("gpt-99", batch=True), None),
    Case("an unknown vendor", Usage(9, 9), _of("team", "gpt-5"), None),
    Case("the embedded model", Usage(9, 9), _of("local", "SmolLM2"), None),
    Case("no count of input", Usage(None, 9), _openai("gpt-5", batch=True), None),
]

_OWN = [
    Case("the file goes before the list", Usage(1000, 100), _openai("gpt-6-luna"), ((1000, "0.08"), (100, "0.4"))),
    Case("its cached rate", Usage(1000, 0, 1000), _openai("gpt-6-luna"), ((1000, "0.008"),)),
    Case("its batch rates", Usage(1000, 100), _openai("gpt-6-luna", batch=True), ((1000, "0.03"), (100, "0.15"))),
    Case(
        "what its batch leaves out is its standard rate",
        Usage(1000, 100, 500),
        _openai("gpt-6-luna", batch=True),
        ((500, "0.03"), (500, "0.008"), (100, "0.15")),
    ),
    Case(
        "its tier",
        Usage(10, 10, 5),
        _openai("gpt-6-luna", service_tier="priority"),
        ((5, "0.16"), (5, "0.016"), (10, "0.8")),
    ),
    Case(
        "a tier it lacks, cheaper",
        Usage(9, 9),
        _openai("gpt-6-luna", service_tier="flex"),
        ((9, "0.08"), (9, "0.4")),
        exact=False,
    ),
    Case("a tier it lacks, dearer", Usage(9, 9), _openai("gpt-6-luna", service_tier="fast"), None),
    Case(
        "a batch of its tier costs that tier at most",
        Usage(9, 9),
        _openai("gpt-6-luna", batch=True, service_tier="priority"),
        ((9, "0.16"), (9, "0.8")),
        exact=False,
    ),
    Case("no context step is made up", Usage(300_000, 0), _openai("gpt-6-luna"), ((300_000, "0.08"),)),
    Case("a model of one's own", Usage(10, 10), _of("team", "llama"), ((10, "1"), (10, "3"))),
    Case(
        "its batch is no dearer", Usage(10, 10), _of("team", "llama", batch=True), ((10, "1"), (10, "3")), exact=False
    ),
    Case(
        "writes of both kinds",
        Usage(1000, 10, 100, 500, 0, 200),
        _of("team", "written"),
        ((400, "2"), (100, "0.2"), (300, "2.5"), (200, "4"), (10, "8")),
    ),
    Case("free is a price", Usage(10**6, 10**6), _of("local", "m"), ((10**6, "0"),)),
    # 2.5 and 10 times 1.1
    Case(
        "a deployment in a dearer region", Usage(1000, 100), PriceKey("azure", "mapped"), ((1000, "2.75"), (100, "11"))
    ),
    Case(
        "its cached input", Usage(1000, 0, 1000), PriceKey("azure", "mapped", "gpt-4o-2024-08-06"), ((1000, "1.375"),)
    ),
    Case("its batch", Usage(1000, 100), PriceKey("azure", "mapped", batch=True), ((1000, "1.375"), (100, "5.5"))),
    # 4.25 and 17 times 1.1
    Case(
        "its priority tier",
        Usage(100, 100),
        PriceKey("azure", "mapped", service_tier="priority"),
        ((100, "4.675"), (100, "18.7")),
    ),
    Case("a map without an uplift", Usage(9, 9), PriceKey("azure", "plain"), ((9, "2.5"), (9, "10")), exact=False),
    Case("and its batch", Usage(9, 9), PriceKey("azure", "plain", batch=True), ((9, "2.5"), (9, "10")), exact=False),
    # 0.2 and 0.75 times 1.2
    Case(
        "an uplift holds over the step",
        Usage(272_001, 10),
        PriceKey("azure", "tiered"),
        ((272_001, "0.24"), (10, "0.9")),
    ),
    # 15 and 60 times 1.05
    Case("an uplift on Azure's own list", Usage(100, 10), PriceKey("azure", "listed"), ((100, "15.75"), (10, "63"))),
    Case("a map to what nobody lists", Usage(9, 9), PriceKey("azure", "typo"), None),
    # 1 and 5 times 0.9
    Case("a discount on a vendor's list", Usage(1000, 100), PriceKey("team", "served"), ((1000, "0.9"), (100, "4.5"))),
    Case("what is not in the file is in the list", Usage(9, 9), _openai("gpt-5"), ((9, "1.25"), (9, "10"))),
]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Prices:
    folder = tmp_path_factory.mktemp("prices")
    path = folder / "p.toml"
    path.write_text(_FILE, encoding="utf-8")
    return load_prices(load_settings(cwd=folder, environ={"LLM_PRICES": str(path), "LLMSWITCH_HOME": str(folder)}))


def _check(prices: Prices, case: Case) -> None:
    cost = prices.cost(case.usage, case.key, case.at)
    if case.billed is None:
        assert cost is None
        return
    expected = sum((count * Decimal(rate) for count, rate in case.billed), Decimal(0)) / 1_000_000
    assert cost is not None
    assert (cost.amount, cost.exact) == (expected, case.exact)


@pytest.mark.parametrize("case", _PACKAGED, ids=[case.why for case in _PACKAGED])
def test_a_call_costs_what_its_vendor_says(case: Case) -> None:
    _check(Prices(), case)


@pytest.mark.parametrize("case", _OWN, ids=[case.why for case in _OWN])
def test_a_call_costs_what_the_users_own_file_says(own: Prices, case: Case) -> None:
    _check(own, case)


def test_the_table_is_not_cut_short() -> None:
    assert len(_PACKAGED) + len(_OWN) >= 60


def test_the_source_names_the_file_and_the_list_behind_it(own: Prices) -> None:
    sources = [
        cost.source
        for key in (_openai("gpt-6-luna"), PriceKey("azure", "mapped"), _openai("gpt-5"))
        if (cost := own.cost(Usage(1, 1), key, _AT))
    ]
    assert sources[0] == "LLM_PRICES"
    assert sources[1] == f"LLM_PRICES with {sources[2]}"
    assert sources[2].startswith("genai-prices ")


# -- properties, over every way to buy


_KEYS = [
    _openai("gpt-6-luna"),
    _openai("gpt-4o"),
    _claude("claude-haiku-5-5"),
    _claude("claude-sonnet-4-5"),
    _gemini("gemini-2.5-pro"),
    _gemini("gemini-2.5-flash"),
    PriceKey("azure", "tiered"),
    _of("team", "written"),
]
_WAYS: list[dict[str, Any]] = [{}, {"batch": True}, {"service_tier": "flex"}, {"service_tier": "priority"}]


def _amount(prices: Prices, usage: Usage, key: PriceKey) -> Decimal | None:
    cost = prices.cost(usage, key, _AT)
    return None if cost is None else cost.amount


def _parts(rng: random.Random, most: int) -> tuple[int, int, int, int]:
    """Fresh, read, written for five minutes, and for an hour."""
    return (rng.randint(0, most), rng.randint(0, most), rng.randint(0, most), rng.randint(0, most))


def _usage(fresh: int, read: int, written: int, hour: int, output: int, *, reasoning: int = 0) -> Usage:
    return Usage(fresh + read + written + hour, output, read, written + hour, reasoning, hour)


@pytest.mark.parametrize("way", _WAYS, ids=str)
@pytest.mark.parametrize("key", _KEYS, ids=str)
def test_parts_sum_to_the_whole_and_no_bucket_counts_twice(own: Prices, key: PriceKey, way: dict[str, Any]) -> None:
    """Below every step each kind of token has one rate, whatever it comes with."""
    rng, bought = random.Random(6), key._replace(**way)  # noqa: S311  # repeatable, no secret
    if _amount(own, Usage(1, 1), bought) is None:
        assert way == {"service_tier": "priority"}
        return
    for _ in range(40):
        fresh, read, written, hour = _parts(rng, 20_000)
        output = rng.randint(0, 50_000)
        whole = _amount(own, _usage(fresh, read, written, hour, output, reasoning=rng.randint(0, output)), bought)
        parts = [
            _amount(own, usage, bought)
            for usage in (
                _usage(fresh, 0, 0, 0, 0),
                _usage(0, read, 0, 0, 0),
                _usage(0, 0, written, 0, 0),
                _usage(0, 0, 0, hour, 0),
                _usage(0, 0, 0, 0, output),
            )
        ]
        assert None not in parts
        assert whole == sum(part for part in parts if part is not None)


@pytest.mark.parametrize("way", _WAYS, ids=str)
@pytest.mark.parametrize("key", _KEYS, ids=str)
def test_cost_never_falls_as_tokens_rise(own: Prices, key: PriceKey, way: dict[str, Any]) -> None:
    rng, bought = random.Random(7), key._replace(**way)  # noqa: S311  # repeatable, no secret
    for _ in range(60):
        before = [*_parts(rng, 10 ** rng.randint(1, 6)), rng.randint(0, 100_000)]
        after = list(before)
        after[rng.randrange(5)] += rng.randint(1, 10 ** rng.randint(1, 6))
        costs = (_amount(own, _usage(*before), bought), _amount(own, _usage(*after), bought))
        assert costs == (None, None) or (costs[0] or 0) <= (costs[1] or 0)


@pytest.mark.parametrize("key", _KEYS, ids=str)
def test_a_batch_is_never_dearer_and_a_bound_never_too_low(own: Prices, key: PriceKey) -> None:
    rng = random.Random(8)  # noqa: S311  # repeatable, no secret
    for _ in range(60):
        usage = _usage(*_parts(rng, 10 ** rng.randint(1, 6)), rng.randint(0, 100_000))
        standard, batch = _amount(own, usage, key), _amount(own, usage, key._replace(batch=True))
        assert standard is not None
        assert batch is not None
        assert batch <= standard


def test_no_batch_of_the_list_is_dearer_than_its_standard_rate() -> None:
    """What the upper bound of a batch without a rate stands on: no vendor sells them dearer."""
    from genai_prices.data_snapshot import get_snapshot

    compared = 0
    for provider in get_snapshot().providers:
        for model in provider.models:
            key = PriceKey(provider.id, model.id, model.id)
            for usage in (Usage(1000, 0), Usage(1000, 1000), Usage(300_000, 10, 200_000)):
                standard, batch = _amount(Prices(), usage, key), _amount(Prices(), usage, key._replace(batch=True))
                assert (standard is None) == (batch is None), key
                if standard is not None and batch is not None:
                    assert batch <= standard, key
                    compared += batch < standard
    assert compared > 200


def test_flex_is_never_dearer_and_priority_always_is() -> None:
    """What the bound of a flex tier without a rate, and the unknown of all others, stand on."""
    from genai_prices.data_snapshot import get_snapshot

    found = {"flex": 0, "priority": 0, "fast": 0}
    for provider in get_snapshot().providers:
        for model in provider.models:
            key = PriceKey(provider.id, model.id, model.id)
            standard = _amount(Prices(), Usage(1000, 1000), key)
            for tier in found:
                cost = Prices().cost(Usage(1000, 1000), key._replace(service_tier=tier), _AT)
                if cost is None or not cost.exact or standard is None:
                    continue
                assert (cost.amount <= standard) == (tier == "flex"), (key, tier)
                found[tier] += 1
    assert min(found.values()) > 3
