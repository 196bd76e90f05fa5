"""What a run would take, before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from llmswitch.pricing import PriceKey, Prices
from llmswitch.runs.batch.plan import batching_of
from llmswitch.runs.bench.model import Options
from llmswitch.runs.bench.targets import BenchTarget, asked
from llmswitch.suites.model import Suite
from llmswitch.types import Cost

__all__ = ["ANSWER_TOKENS", "Estimate", "estimates"]

#: how long an answer is taken to be where nothing caps it, in tokens
ANSWER_TOKENS = 500


class Estimate(NamedTuple):
    """One target's part. `cost` counts on answers of `ANSWER_TOKENS`, or of as much as the target's cap lets come; it
    is None where no price is known, and never exact."""

    target: str
    request_model: str
    calls: int
    cost: Cost | None


def estimates(
    suite: Suite, targets: Sequence[BenchTarget], options: Options, prices: Prices, at: float
) -> tuple[Estimate, ...]:
    """Every target's part of a closed loop, or of a batch, from the mean size of its prompts."""
    calls, sizes = [0] * len(targets), [0] * len(targets)
    for case in suite.cases():
        for place, target in enumerate(targets):
            if case.targets is None or target.label in case.targets:
                calls[place] += 1
                sizes[place] += asked(target.call, case).text_bytes
    return tuple(
        _estimate(_rated(target, options), count * options.repeats, -(-size // max(1, count)), prices, at)
        for target, count, size in zip(targets, calls, sizes, strict=True)
    )


class _Rated(NamedTuple):
    target: BenchTarget
    price_key: PriceKey


def _rated(target: BenchTarget, options: Options) -> _Rated:
    """What its answers are priced by: at the batch rate, where it has a batch interface to ask it through."""
    batch = options.batch and batching_of(target.call, live=False)[0] is not None
    return _Rated(target, target.call.price_key._replace(batch=batch))


def _estimate(rated: _Rated, calls: int, prompt_bytes: int, prices: Prices, at: float) -> Estimate:
    target = rated.target
    request = target.call.request
    answer = min(ANSWER_TOKENS, request.parameters.max_tokens or ANSWER_TOKENS)
    found = prices.estimate(prompt_bytes, answer, rated.price_key, at)
    cost = None
    if found is not None and found.high is not None:
        cost = found.high._replace(amount=found.high.amount * calls, exact=False)
    return Estimate(target.label, request.model, calls, cost)
