from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmswitch.errors import ConfigError
from llmswitch.pricing import PriceKey, Prices, load_prices
from llmswitch.profiles import load_settings
from llmswitch.types import Cost, Usage

_AT = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
_LIST = f"genai-prices {importlib.metadata.version('genai_prices')}"


def _openai(model: str) -> PriceKey:
    return PriceKey("openai", model, model)


def _claude(model: str) -> PriceKey:
    return PriceKey("anthropic", model, model)


def _gemini(model: str) -> PriceKey:
    return PriceKey("gemini", model, model, price_provider="google")


def _cost(usage: Usage, key: PriceKey, at: float = _AT) -> Cost | None:
    return Prices().cost(usage, key, at)


#: Worked out by hand from the vendors' rates, in USD per million tokens, which stand beside each.
_GOLDEN = [
    # gpt-6-luna: input 0.10, cached 0.01, cache write 0.125, output 0.50; above 272,000 tokens 0.20, 0.02, 0.25, 0.75
    ("input and output", Usage(1000, 500), _openai("gpt-6-luna"), "0.00035"),
    ("cached reads are part of input", Usage(1000, 100, 400), _openai("gpt-6-luna"), "0.000114"),
    ("cache writes have a rate", Usage(1000, 100, 400, 200), _openai("gpt-6-luna"), "0.000119"),
    ("reasoning is part of output", Usage(1000, 500, 0, 0, 300), _openai("gpt-6-luna"), "0.00035"),
    ("at the context step the lower rate", Usage(272_000, 1000), _openai("gpt-6-luna"), "0.0277"),
    ("beyond it the higher one for every token", Usage(272_001, 1000), _openai("gpt-6-luna"), "0.0551502"),
    ("cached tokens count towards the step", Usage(300_000, 0, 290_000), _openai("gpt-6-luna"), "0.0078"),
    # gpt-4: input 30, output 60
    ("the seed's gpt-4", Usage(10, 10), _openai("gpt-4"), "0.0009"),
    # gpt-4o: input 2.50, output 10
    ("a snapshot is its model", Usage(100, 10), PriceKey("openai", "gpt-4o", "gpt-4o-2024-08-06"), "0.00035"),
    # claude-sonnet-4-5: input 3, read 0.30, write 3.75 (1 h: 6), output 15; above 200,000 tokens 6 and 22.50
    (
        "an hour's writes are dearer",
        Usage(10_000, 500, 2000, 3000, 0, 1000),
        _claude("claude-sonnet-4-5-20250929"),
        "0.0366",
    ),
    ("five minutes' writes", Usage(10_000, 0, 0, 3000, 0, 0), _claude("claude-sonnet-4-5"), "0.03225"),
    ("Claude's context step", Usage(200_001, 100), _claude("claude-sonnet-4-5"), "1.202256"),
    # claude-3-sonnet: input 3, output 15
    ("the seed's Claude", Usage(1000, 1000), _claude("claude-3-sonnet-20240229"), "0.018"),
    # gemini-2.5-flash: input 0.30, cached 0.03, output 2.50
    ("Gemini's thoughts are output", Usage(100, 70, None, None, 50), _gemini("gemini-2.5-flash"), "0.000205"),
    ("Gemini's cached tokens count once", Usage(1000, 0, 600), _gemini("gemini-2.5-flash"), "0.000138"),
    # gemini-2.5-pro above 200,000 tokens: input 2.50, output 15
    ("Gemini's context step", Usage(200_001, 10), _gemini("gemini-2.5-pro"), "0.5001525"),
    # gemini-pro: input 0.125, output 0.375
    ("the seed's Gemini", Usage(8, 8), _gemini("gemini-pro"), "0.000004"),
    # sonar: input 1, output 1, and 12 a thousand requests
    ("a fee for the request itself", Usage(100, 100), PriceKey("perplexity", "sonar", "sonar"), "0.0122"),
    # o1 on Azure's own list: input 15, output 60
    ("Azure's own list", Usage(10, 10), PriceKey("azure", "my-deployment", "o1-2024-12-17"), "0.00075"),
    # grok-4-1-fast-non-reasoning: input 0.20, output 0.50
    (
        "a compatible vendor by its name in the list",
        Usage(10, 10),
        PriceKey("xai", "grok-4-1-fast-non-reasoning", "grok-4-1-fast-non-reasoning", price_provider="x-ai"),
        "0.000007",
    ),
    ("nothing used", Usage(0, 0), _openai("gpt-6-luna"), "0"),
]


@pytest.mark.parametrize(("why", "usage", "key", "amount"), _GOLDEN, ids=[case[0] for case in _GOLDEN])
def test_a_known_rate_gives_the_exact_cost(why: str, usage: Usage, key: PriceKey, amount: str) -> None:
    assert _cost(usage, key) == Cost(Decimal(amount), _LIST, exact=True), why


_ASSUMED = [
    ("tokens were estimated", Usage(10, 10, estimated=True), _openai("gpt-4"), "0.0009"),
    ("cached tokens without a rate are priced as input", Usage(10, 10, 5), _openai("gpt-4"), "0.0009"),
    ("how long writes are kept is unknown", Usage(10_000, 0, 0, 3000), _claude("claude-sonnet-4-5"), "0.03225"),
    ("nobody said which model answered", Usage(10, 10), PriceKey("openai", "gpt-4"), "0.0009"),
    ("the list lacks what answered", Usage(10, 10), PriceKey("openai", "gpt-4", "gpt-9-new"), "0.0009"),
    ("only the family is listed", Usage(10, 10), _claude("claude-sonnet-4-5-turbo"), "0.00018"),
    ("a preview of the family", Usage(8, 8), _gemini("gemini-2.5-pro-preview-05-06"), "0.00009"),
    # gpt-4o on OpenAI's list: input 2.50, output 10
    ("Azure's map, OpenAI's list", Usage(10, 10), PriceKey("azure", "d", None, None, "gpt-4o"), "0.000125"),
    ("Azure's answer, OpenAI's list", Usage(10, 10), PriceKey("azure", "d", "gpt-4o-2024-08-06"), "0.000125"),
    ("a deployment's name", Usage(10, 10), PriceKey("azure", "gpt-4o"), "0.000125"),
]


@pytest.mark.parametrize(("why", "usage", "key", "amount"), _ASSUMED, ids=[case[0] for case in _ASSUMED])
def test_an_assumed_rate_or_count_is_said_not_to_be_exact(why: str, usage: Usage, key: PriceKey, amount: str) -> None:
    assert _cost(usage, key) == Cost(Decimal(amount), _LIST, exact=False), why


_UNKNOWN = [
    ("the embedded model", Usage(10, 10), PriceKey("local", "SmolLM2-135M-Instruct", "SmolLM2")),
    ("a model nobody lists", Usage(10, 10), _openai("gpt-9-new")),
    ("an endpoint whose name only sounds like a vendor", Usage(10, 10), PriceKey("my-openai-proxy", "gpt-4", "gpt-4")),
    ("an endpoint with no list", Usage(10, 10), PriceKey("openai", "gpt-4", "gpt-4", price_provider="")),
    ("a listed model without a rate", Usage(10, 10), _gemini("gemma-3-27b-it")),
    ("a listed model without a rate, nothing used", Usage(0, 0), _gemini("gemma-3-27b-it")),
    ("output without an output rate", Usage(10, 10), _openai("text-embedding-3-small")),
    ("input not counted", Usage(None, 10), _openai("gpt-4")),
    ("output not counted", Usage(10, None), _openai("gpt-4")),
    ("more cached tokens than tokens", Usage(10, 10, 11), _openai("gpt-6-luna")),
    ("more money than there is", Usage(10**40, 10), _openai("gpt-6-luna")),
]


@pytest.mark.parametrize(("why", "usage", "key"), _UNKNOWN, ids=[case[0] for case in _UNKNOWN])
def test_what_is_unknown_is_none_and_never_0(why: str, usage: Usage, key: PriceKey) -> None:
    assert _cost(usage, key) is None, why


def test_a_price_is_that_of_the_day_of_the_call() -> None:
    # claude-sonnet-4-6 had a context step (input 6 above 200,000 tokens) until 2026-03-13, and none (input 3) since
    before = datetime(2026, 3, 12, 23, 59, tzinfo=UTC).timestamp()
    after = datetime(2026, 3, 13, 0, 1, tzinfo=UTC).timestamp()
    costs = [_cost(Usage(300_000, 0), _claude("claude-sonnet-4-6"), at) for at in (before, after)]
    assert [cost and cost.amount for cost in costs] == [Decimal("1.8"), Decimal("0.9")]


_COUNTS = st.integers(0, 2_000_000)
_MODELS = st.sampled_from(
    [_openai("gpt-6-luna"), _openai("gpt-4o"), _claude("claude-haiku-5-5"), _gemini("gemini-2.5-pro")]
)


def _amount(usage: Usage, key: PriceKey) -> Decimal:
    cost = _cost(usage, key)
    assert cost is not None
    return cost.amount


@given(_MODELS, _COUNTS, _COUNTS, _COUNTS, _COUNTS)
def test_cost_never_falls_as_tokens_rise(key: PriceKey, tokens: int, output: int, more: int, more_output: int) -> None:
    assert _amount(Usage(tokens, output), key) <= _amount(Usage(tokens + more, output + more_output), key)


@given(st.integers(0, 90_000), st.integers(0, 90_000), st.integers(0, 90_000), st.integers(0, 90_000), _COUNTS)
def test_the_parts_sum_to_the_whole_and_no_token_counts_twice(
    plain: int, read: int, written: int, hour: int, output: int
) -> None:
    # claude-opus-5-5: input 4, read 0.20, write 5 (1 h: 8), output 20, without a context step
    key = _claude("claude-opus-5-5")
    whole = _amount(Usage(plain + read + written + hour, output, read, written + hour, 0, hour), key)
    rates = zip((plain, read, written, hour, output), ("4", "0.2", "5", "8", "20"), strict=True)
    assert whole == sum((count * Decimal(rate) / 1_000_000 for count, rate in rates), Decimal(0))


@given(_MODELS, _COUNTS, st.data())
def test_a_cached_token_is_never_dearer_than_a_fresh_one(key: PriceKey, tokens: int, data: st.DataObject) -> None:
    read = data.draw(st.integers(0, tokens))
    assert _amount(Usage(tokens, 0, read), key) <= _amount(Usage(tokens, 0, 0), key)


# -- LLM_PRICES


def _prices(path: Path, content: str) -> Prices:
    path.write_text(content, encoding="utf-8")
    return load_prices(
        load_settings(cwd=path.parent, environ={"LLM_PRICES": str(path), "LLMSWITCH_HOME": str(path.parent)})
    )


def test_the_users_own_prices_go_before_the_packaged_ones(tmp_path: Path) -> None:
    prices = _prices(tmp_path / "p.json", '{"openai:gpt-4": {"input": 0.1, "output": "0.20", "cache_read": 0.03}}')
    # 8 at 0.1, 2 at 0.03, 10 at 0.20
    assert prices.cost(Usage(10, 10, 2), _openai("gpt-4"), _AT) == Cost(Decimal("0.00000286"), "LLM_PRICES", exact=True)
    assert prices.cost(Usage(10, 10), _openai("gpt-4o"), _AT) == _cost(Usage(10, 10), _openai("gpt-4o"))


def test_a_price_file_is_read_as_toml_too_and_to_the_last_digit(tmp_path: Path) -> None:
    content = '["local:m"]\ninput = 0.1234567\noutput = 1\ncache_creation = 2\ncache_creation_1h = 3\n'
    cost = _prices(tmp_path / "p.toml", content).cost(Usage(6, 1, 0, 3, 0, 1), PriceKey("local", "m"), _AT)
    # 3 at 0.1234567, 2 at 2, 1 at 3, 1 at 1, over a million: rounded to 1e-12
    assert cost == Cost(Decimal("0.000008370370"), "LLM_PRICES", exact=True)


def test_a_0_in_the_users_own_file_is_free_and_not_unknown(tmp_path: Path) -> None:
    prices = _prices(tmp_path / "p.json", '{"local:m": {"input": 0, "output": 0}}')
    assert prices.cost(Usage(10, 10), PriceKey("local", "m"), _AT) == Cost(Decimal(0), "LLM_PRICES", exact=True)


@pytest.mark.parametrize(
    "key",
    [
        PriceKey("azure", "my-deployment", "gpt-4"),
        PriceKey("azure", "d", "served"),
        PriceKey("azure", "d", None, None, "mapped"),
        PriceKey("anthropic", "claude-x"),
        PriceKey("ollama", "llama3:8b"),
    ],
)
def test_a_price_is_found_by_any_name_of_the_model(tmp_path: Path, key: PriceKey) -> None:
    names = ("azure:my-deployment", "served", "azure:mapped", "claude:claude-x", "llama3:8b")
    table = ", ".join(f'"{name}": {{"input": 1, "output": 1}}' for name in names)
    cost = _prices(tmp_path / "p.json", f"{{{table}}}").cost(Usage(1, 1), key, _AT)
    assert cost == Cost(Decimal("0.000002"), "LLM_PRICES", exact=True)


def test_a_key_with_its_provider_goes_before_one_without(tmp_path: Path) -> None:
    prices = _prices(tmp_path / "p.json", '{"m": {"input": 9, "output": 9}, "a:m": {"input": 1, "output": 1}}')
    costs = [prices.cost(Usage(1, 0), PriceKey(provider, "m"), _AT) for provider in ("a", "b")]
    assert [cost and cost.amount for cost in costs] == [Decimal("0.000001"), Decimal("0.000009")]


def test_cached_tokens_the_own_file_gives_no_rate_for_make_it_inexact(tmp_path: Path) -> None:
    prices = _prices(tmp_path / "p.json", '{"m": {"input": 1, "output": 1}}')
    cost = prices.cost(Usage(2, 0, 1), PriceKey("local", "m"), _AT)
    assert cost == Cost(Decimal("0.000002"), "LLM_PRICES", exact=False)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"openai:m": {"inptu": 1, "output": 2}}', r"'openai:m': unknown field 'inptu'\. Did you mean 'input'\?"),
        ('{"openai:m": {"input": 1, "ouput": 2}}', r"unknown field 'ouput'\. Did you mean 'output'\?"),
        ('{"openai:m": {"input": 1, "output": 2, "bacth": {}}}', r"unknown field 'bacth'\. Did you mean 'batch'\?"),
        (
            '{"openai:m": {"input": 1, "output": 2, "xyz": 1}}',
            r"unknown field 'xyz'\. A price has input, output, .*batch",
        ),
        ('{"openai:m": {"input": 1, "output": 2, "batch": 0.5}}', r"'openai:m': batch must hold prices"),
        ('{"openai:m": {"input": 1, "output": 2, "batch": {"input": 1}}}', r"'openai:m': batch has no 'output'"),
        (
            '{"openai:m": {"input": 1, "output": 2, "batch": {"input": -1, "output": 1}}}',
            r"'openai:m': batch: input must be a number of USD from 0 up, not -1",
        ),
        (
            '{"openai:m": {"input": 1, "output": 2, "batch": {"input": 1, "output": 1, "tiers": {}}}}',
            r"'openai:m': batch: unknown field 'tiers'",
        ),
        ('{"openai:m": {"input": 1, "output": 2, "tiers": []}}', r"'openai:m': tiers must hold prices by tier"),
        ('{"openai:m": {"input": 1, "output": 2, "tiers": {"batch": {}}}}', r"'batch' is no tier of its own"),
        (
            '{"openai:m": {"input": 1, "output": 2, "tiers": {"flex": {"input": "x", "output": 1}}}}',
            r"'openai:m': tiers: flex: input must be a number of USD",
        ),
        ('{"azure:d": {"model": 4}}', r"'azure:d': model must name what it serves"),
        ('{"azure:d": {"model": ""}}', r"'azure:d': model must name what it serves"),
        ('{"azure:d": {"uplift": 1.1}}', r"'azure:d': model must name what it serves"),
        ('{"azure:d": {"model": "gpt-4o", "uplift": 0}}', r"'azure:d': uplift must be a factor above 0.*not 0"),
        ('{"azure:d": {"model": "gpt-4o", "uplift": -1.1}}', r"uplift must be a factor above 0"),
        ('{"azure:d": {"model": "gpt-4o", "uplift": 110}}', r"uplift must be a factor above 0, such as 1\.1 for 10 %"),
        ('{"azure:d": {"model": "gpt-4o", "uplfit": 1.1}}', r"unknown field 'uplfit'\. Did you mean 'uplift'\?"),
        ('{"azure:d": {"model": "gpt-4o", "input": 1}}', r"'input' and 'model' exclude each other"),
        ('{"openai:m": {"input": 1}}', r"'openai:m' has no 'output'"),
        ('{"openai:m": {"input": 1, "output": 2, "cache_creation_1h": 2}}', r"'openai:m' has no 'cache_creation'"),
        ('{"openai:m": {"input": -1, "output": 2}}', r"'openai:m': input must be a number of USD from 0 up, not"),
        ('{"openai:m": {"input": 1, "output": "two"}}', r"'openai:m': output must be a number .* not 'two'"),
        ('{"openai:m": {"input": 1, "output": true}}', r"'openai:m': output must be a number"),
        ('{"openai:m": {"input": 1, "output": null}}', r"'openai:m': output must be a number"),
        ('{"openai:m": {"input": 1, "output": NaN}}', r"'openai:m': output must be a number"),
        ('{"openai:m": {"input": 1, "output": "Infinity"}}', r"'openai:m': output must be a number"),
        ('{"openai:m": {"input": -0.5, "output": 2}}', r"'openai:m': input must be .* from 0 up, not -0\.5\."),
        ('{"openai:m": {"input": 1e999, "output": 2}}', r"'openai:m': input is 1E\+999: nobody sells"),
        ('{"openai:m": {"input": 1, "output": 1000001}}', r"'openai:m': output is 1000001: nobody sells"),
        (
            '{"m": {"input": 1, "output": 2}, "m": {"input": 3, "output": 4}}',
            r"neither JSON .*: 'm' stands there twice",
        ),
        (
            '{"claude:m": {"input": 1, "output": 2}, "anthropic:m": {"input": 3, "output": 4}}',
            r"'anthropic:m' stands there twice, once by another name",
        ),
        ('{"openai:m": 3}', r"'openai:m' must hold prices"),
        ("[1]", r"must hold an object"),
        ("{", r"is neither JSON nor, with a name in \.toml, TOML"),
    ],
)
def test_a_mistake_in_the_price_file_names_variable_file_key_and_field(
    tmp_path: Path, content: str, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^LLM_PRICES: {tmp_path}/p\.json.*{complaint}"):
        _prices(tmp_path / "p.json", content)


def test_a_missing_price_file_is_named(tmp_path: Path) -> None:
    environ = {"LLM_PRICES": str(tmp_path / "none.json"), "LLMSWITCH_HOME": str(tmp_path)}
    with pytest.raises(ConfigError, match=r"^LLM_PRICES: .*none\.json cannot be read: No such file"):
        load_prices(load_settings(cwd=tmp_path, environ=environ))


@pytest.mark.skipif(os.name != "posix", reason="no pipes with a name")
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_price_file_without_an_end_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "p.json"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    environ = {"LLM_PRICES": str(path), "LLMSWITCH_HOME": str(tmp_path)}
    with pytest.raises(ConfigError, match=r"^LLM_PRICES: .*p\.json cannot be read: it is no file"):
        load_prices(load_settings(cwd=tmp_path, environ=environ))


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("p.json", "[" * 100_000, "neither JSON"),
        ("p.toml", "a = " + "[" * 100_000, "neither JSON"),
        ("p.json", '{"m": {"input": 1e9999999999999999999999, "output": 1}}', "neither JSON"),
        ("p.json", " " * 10_000_001, "over 10 MB"),
    ],
    ids=["json", "toml", "number", "size"],
)
def test_a_price_file_made_to_break_its_reader_is_named(
    tmp_path: Path, name: str, content: str, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^LLM_PRICES: .*{complaint}"):
        _prices(tmp_path / name, content)


def test_an_untrusted_trees_price_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LLM_PRICES=p.json\n")
    with pytest.raises(ConfigError, match="decides what calls are said to cost"):
        load_prices(load_settings(cwd=tmp_path, environ={"LLMSWITCH_HOME": str(tmp_path / "home")}))


def test_without_a_price_file_there_are_no_own_prices(tmp_path: Path) -> None:
    assert load_prices(load_settings(cwd=tmp_path, environ={"LLMSWITCH_HOME": str(tmp_path)})) == Prices()


# -- before sending


def test_an_estimate_ranges_from_no_answer_to_the_longest_and_is_never_exact() -> None:
    # gpt-4: input 30, output 60; 4,001 bytes are 1,001 tokens at four to one
    estimate = Prices().estimate(4001, 500, _openai("gpt-4"), _AT)
    assert estimate is not None
    assert estimate.input_tokens == 1001
    assert estimate.low == Cost(Decimal("0.03003"), _LIST, exact=False)
    assert estimate.high == Cost(Decimal("0.06003"), _LIST, exact=False)


def test_an_estimate_has_no_upper_end_without_a_cap_and_is_none_without_a_price() -> None:
    estimate = Prices().estimate(4, None, _openai("gpt-4"), _AT)
    assert estimate is not None
    assert estimate.high is None
    assert Prices().estimate(4, 10, PriceKey("local", "m"), _AT) is None


def test_importing_pricing_imports_no_price_list() -> None:
    check = "import sys, llmswitch.pricing; sys.exit(any(m in sys.modules for m in ('genai_prices', 'pydantic')))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_every_listed_model_of_the_main_vendors_is_exact_under_its_own_name() -> None:
    from genai_prices.data_snapshot import get_snapshot

    assumed = []
    for provider in get_snapshot().providers:
        for model in provider.models if provider.id in ("openai", "anthropic", "google") else ():
            cost = _cost(Usage(10, 10), PriceKey(provider.id, model.id, model.id))
            if cost is not None and not cost.exact:
                assumed.append(model.id)
    assert assumed == []


def test_a_price_key_does_not_mix_vendors() -> None:
    assert _cost(Usage(10, 10), _openai("gpt-4")._replace(provider="anthropic")) is None
