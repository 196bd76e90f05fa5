"""What many questions to one target will cost, from their sizes: summed as they come, and priced once at the end."""

from __future__ import annotations

from bisect import bisect_left
from decimal import Decimal
from typing import NamedTuple

from llmswitch.pricing import PriceKey, Prices
from llmswitch.runs.estimate import BYTES_PER_TOKEN, Answers, Money
from llmswitch.types import Usage

__all__ = ["Tally"]


class _Sums(NamedTuple):
    """Of the questions in one context step: how many, their tokens of input, and those that answers have at most."""

    calls: int = 0
    input: int = 0
    output: int = 0


class Tally:
    """The questions of one target, or of one job. A question's price depends on its size by steps, so that sums are
    kept for each step. `at` is epoch seconds."""

    def __init__(self, prices: Prices, key: PriceKey, at: float) -> None:
        self._prices, self._key, self._at = prices, key, at
        self._steps = prices.steps(key, at)
        self.calls = self.bytes = 0
        self._most: dict[int, _Sums] = {}
        self._by_step: dict[int, tuple[int, int]] = {}
        self._bounded = True

    def add(self, size: int, most_input: int, most_output: int | None) -> None:
        """One question of `size` bytes of text, which has at most so many tokens of input and of output; None is no
        bound."""
        self.calls += 1
        self.bytes += size
        step = self._step(-(-size // BYTES_PER_TOKEN[1]))
        calls, of_them = self._by_step.get(step, (0, 0))
        self._by_step[step] = (calls + 1, of_them + size)
        if most_output is None:
            self._bounded = False
            return
        step = self._step(most_input)
        known = self._most.get(step, _Sums())
        self._most[step] = _Sums(known.calls + 1, known.input + most_input, known.output + most_output)

    def bound(self) -> Decimal | None:
        """What they cost at most in USD, as `worst_case` says; None where a price or an answer has no bound."""
        if not self._bounded:
            return None
        total = Decimal(0)
        for step, sums in self._most.items():
            cold = Usage(sums.input, sums.output, estimated=True)
            written = Usage(sums.input, sums.output, cache_creation_input_tokens=sums.input, estimated=True)
            costs = [self._cost(sums.calls, usage, step) for usage in (cold, written)]
            if costs[0] is None:
                return None
            total += max(cost for cost in costs if cost is not None)
        return total

    def money(self, output: Answers) -> Money:
        """What they will cost in USD where answers are as long as `output` says: least, about, most."""
        few, taken, many = BYTES_PER_TOKEN
        return Money(
            self._sum(many, output.low),
            None if output.about is None else self._sum(taken, output.about),
            None if output.high is None else self._sum(few, output.high),
        )

    def at_rate(self, key: PriceKey) -> Tally:
        """The same questions at another rate of the same model, whose context steps are the same."""
        other = Tally(self._prices, key, self._at)
        other.calls, other.bytes, other._bounded = self.calls, self.bytes, self._bounded
        other._by_step, other._most = self._by_step, self._most
        return other

    def _sum(self, bytes_per_token: int, output: int) -> Decimal | None:
        total = Decimal(0)
        for step, (calls, size) in self._by_step.items():
            cost = self._cost(calls, Usage(-(-size // bytes_per_token), output * calls, 0, 0), step)
            if cost is None:
                return None
            total += cost
        return total

    def _cost(self, calls: int, usage: Usage, step: int) -> Decimal | None:
        cost = self._prices.cost_of_many(calls, usage, step, self._key, self._at)
        return None if cost is None else cost.amount

    def _step(self, tokens: int) -> int:
        return bisect_left(self._steps, tokens)
