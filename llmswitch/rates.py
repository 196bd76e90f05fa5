"""A model's price as a few multiplications: what genai-prices makes of its rules, asked of it once and kept.

genai-prices walks through all its units for each call, which takes ten times as long as this. Within one tier, which
the input's size decides, what it answers is affine: so much a request, and so much more for each token of a kind. Those
numbers are read off its own answers.
"""

from __future__ import annotations

from bisect import bisect_left
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from llmswitch.types import Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice

__all__ = ["amount", "amount_of_many", "steps"]


class _Counts(NamedTuple):
    """Tokens as they are billed; the later ones are parts of `input`, of `output` and of `written`."""

    input: int
    output: int
    read: int = 0
    written: int = 0
    written_1h: int = 0
    reasoning: int = 0

    @property
    def sound(self) -> bool:
        """Whether no part is larger than its whole."""
        return (
            min(self) >= 0
            and self.read + self.written <= self.input
            and self.written_1h <= self.written
            and self.reasoning <= self.output
        )


class _Rates(NamedTuple):
    """USD of a request, and of one more token of each kind of `_Counts`."""

    request: Decimal
    tokens: tuple[Decimal, ...]


class _Same:
    """`prices` by identity: they compare by value and have no hash."""

    __slots__ = ("prices",)

    def __init__(self, prices: ModelPrice) -> None:
        self.prices = prices

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.prices is self.prices

    def __hash__(self) -> int:
        return id(self.prices)


def amount(prices: ModelPrice, usage: Usage) -> Decimal:
    """What `usage`, whose input and output are known, costs in USD.

    Raises ValueError where its counts contradict each other, or where the prices do.
    """
    counts = _counts(usage)
    if not counts.sound:
        return _asked(prices, counts)
    return _affine(prices, bisect_left(steps(prices), counts.input), 1, counts)


def steps(prices: ModelPrice) -> tuple[int, ...]:
    """Beyond how many tokens of input each further context step of a call begins."""
    return _starts(_Same(prices))


def amount_of_many(prices: ModelPrice, step: int, calls: int, sums: Usage) -> Decimal:
    """What `calls` cost in USD whose tokens are `sums` together, each of them in context step `step`, from 0.

    Raises ValueError where the sums contradict each other.
    """
    counts = _counts(sums)
    if not counts.sound:
        raise ValueError(f"these sums contradict each other: {sums}")
    return _affine(prices, step, calls, counts)


def _counts(usage: Usage) -> _Counts:
    return _Counts(
        usage.input_tokens or 0,
        usage.output_tokens or 0,
        usage.cache_read_input_tokens or 0,
        usage.cache_creation_input_tokens or 0,
        usage.cache_creation_1h_input_tokens or 0,
        usage.reasoning_output_tokens or 0,
    )


def _affine(prices: ModelPrice, step: int, calls: int, counts: _Counts) -> Decimal:
    rates = _rates(_Same(prices), step)
    parts = (rate * count for rate, count in zip(rates.tokens, counts, strict=True) if count)
    return sum(parts, rates.request * calls)


def _asked(prices: ModelPrice, counts: _Counts) -> Decimal:
    """genai-prices' own answer."""
    import genai_prices

    told = genai_prices.Usage(
        input_tokens=counts.input,
        output_tokens=counts.output,
        cache_read_tokens=counts.read,
        cache_write_tokens=counts.written,
        cache_write_1h_tokens=counts.written_1h,
        output_reasoning_tokens=counts.reasoning,
    )
    total: Decimal = prices.calc_price(told)["total_price"]
    return total


@lru_cache(maxsize=512)
def _starts(same: _Same) -> tuple[int, ...]:
    """Beyond how many tokens of input each tier begins."""
    tiers = (tier for price in vars(same.prices).values() for tier in getattr(price, "tiers", ()))
    return tuple(sorted({tier.start for tier in tiers}))


@lru_cache(maxsize=512)
def _rates(same: _Same, tier: int) -> _Rates:
    """The differences that one more token makes, from the tier's first token of input on."""
    first = _starts(same)[tier - 1] + 1 if tier else 1
    base = _Counts(first, 1)
    steps = (
        base._replace(input=first + 1),
        base._replace(output=2),
        base._replace(read=1),
        base._replace(written=1),
        base._replace(written=1, written_1h=1),
        base._replace(reasoning=1),
    )
    least = _asked(same.prices, base)
    into, out, read, written, hour, reasoning = (_asked(same.prices, step) - least for step in steps)
    return _Rates(least - into * first - out, (into, out, read, written, hour - written, reasoning))
