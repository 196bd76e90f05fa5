from __future__ import annotations

import random
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from llmswitch.rates import amount
from llmswitch.types import Usage

_AT = datetime(2026, 11, 22, 12, tzinfo=UTC)


def _theirs(prices: Any, usage: Usage) -> Decimal:
    import genai_prices

    told = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_input_tokens,
        cache_write_tokens=usage.cache_creation_input_tokens,
        cache_write_1h_tokens=usage.cache_creation_1h_input_tokens,
        output_reasoning_tokens=usage.reasoning_output_tokens,
    )
    total: Decimal = prices.calc_price(told)["total_price"]
    return total


def _usages(rng: random.Random, starts: list[int]) -> list[Usage]:
    """Sound counts of every size, at each tier's edges too, with parts unknown here and there."""
    edges = [start + step for start in starts for step in (-1, 0, 1, 2)]
    found = [Usage(0, 0), Usage(1, 0), Usage(0, 1)]
    for size in (*edges, *(rng.randrange(10 ** rng.randrange(1, 8)) for _ in range(3))):
        read = rng.randint(0, size)
        written = rng.randint(0, size - read)
        output = rng.randrange(100_000)
        parts = (read, written, rng.randint(0, output), rng.randint(0, written))
        read_, written_, reasoning_, hour_ = (part if rng.random() < 0.8 else None for part in parts)
        found.append(Usage(size, output, read_, written_, reasoning_, hour_ if written_ is not None else None))
    return found


def test_every_model_of_the_list_costs_what_the_list_says() -> None:
    from genai_prices.data_snapshot import get_snapshot

    rng, compared, tiered = random.Random(7), 0, 0  # noqa: S311 - repeatable, no secret
    for provider in get_snapshot().providers:
        for model in provider.models:
            prices = model.get_prices(_AT)
            starts = sorted({tier.start for price in vars(prices).values() for tier in getattr(price, "tiers", ())})
            for usage in _usages(rng, starts):
                assert amount(prices, usage) == _theirs(prices, usage), f"{provider.id}:{model.id} {usage}"
                compared += 1
            tiered += bool(starts)
    assert compared > 10_000
    assert tiered > 100


@pytest.mark.parametrize(
    "usage", [Usage(5, 2, 6), Usage(5, 2, 3, 3), Usage(5, 2, 0, 1, 0, 2), Usage(-1, 2), Usage(5, 2, -1)], ids=str
)
def test_counts_that_contradict_each_other_are_an_error_where_their_prices_differ(usage: Usage) -> None:
    from genai_prices.types import ModelPrice

    prices = ModelPrice(
        input_mtok=Decimal(1),
        output_mtok=Decimal(2),
        cache_read_mtok=Decimal("0.1"),
        cache_write_mtok=Decimal("1.25"),
        cache_write_1h_mtok=Decimal(2),
    )
    with pytest.raises(ValueError, match="usage"):
        amount(prices, usage)


def test_prices_of_two_models_are_never_mixed_up() -> None:
    from genai_prices.types import ModelPrice

    for number in range(2000):  # more than are kept
        prices = ModelPrice(input_mtok=Decimal(number), output_mtok=Decimal(0))
        assert amount(prices, Usage(10**6, 0)) == number
