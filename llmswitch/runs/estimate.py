"""What asking would cost, before anything is asked.

Input is counted by the vendor's own counting call, which is free and answers nothing, where its adapter has one and
nobody said to stay offline; else it is approximated from the texts' bytes, with a band. Output is a range: from how
long the answers of that very model were in the ledger, else up to the cap, else unknown.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from llmswitch.database import reading
from llmswitch.errors import LLMSwitchError
from llmswitch.providers.base import Counter
from llmswitch.runs.adapters import Adapters
from llmswitch.types import Cost, Usage

if TYPE_CHECKING:
    from llmswitch.pricing import Prices
    from llmswitch.runs.call import Call

__all__ = [
    "BYTES_PER_TOKEN",
    "FEWEST",
    "Answers",
    "Input",
    "Job",
    "Money",
    "TargetEstimate",
    "answers_given",
    "answers_of",
    "approximated",
    "count_inputs",
    "estimate",
    "job_of",
    "ordered",
]

#: Bytes of UTF-8 to a token: few, as taken, many. Measured with OpenAI's cl100k and o200k: documentation 3.7, Python
#: 4.0, JSON 2.9, licence text 4.8; German, Russian, Chinese, Japanese and Arabic 2.4 to 5.6. Random letters (base64,
#: 1.4) and Hindi under o200k (8.1) lie outside.
BYTES_PER_TOKEN = (2, 4, 6)
#: tokens that a vendor wraps a message in, at most
_PER_MESSAGE = 16
#: answers it takes before the ledger's say how long those of a model are: fewer have no 10th percentile to speak of
FEWEST = 10
#: the latest answers that are looked at
_LATEST = 5000
#: prompts of a suite that are counted for each target; the others are taken to have as many tokens to a byte
_PROBES = 12
_PATIENCE_S = 30.0
#: an answer's tokens where nobody knows better, to put targets in order by
_TYPICAL = 500


class Job(NamedTuple):
    """What one target is to be asked: the bytes of each prompt, those of them that are counted, and how often all."""

    target: str
    call: Call
    sizes: tuple[int, ...]
    probes: tuple[tuple[int, Call], ...]
    repeats: int = 1


class Input(NamedTuple):
    """Tokens of each prompt: fewest, as taken, most. `counted` tells how many of them the vendor counted, `note` why it
    did not count those it could have."""

    low: tuple[int, ...]
    about: tuple[int, ...]
    high: tuple[int, ...]
    counted: int = 0
    note: str | None = None

    @property
    def exact(self) -> bool:
        """Whether every prompt was counted."""
        return self.counted == len(self.about)


class Answers(NamedTuple):
    """Tokens of an answer: the 10th percentile, the mean, the 90th. `how` is history, given, cap or unknown.

    Up to a cap, nothing is known but the `high`; None is unknown. `samples` are the ledger's answers behind it.
    """

    how: str
    low: int = 0
    about: int | None = None
    high: int | None = None
    samples: int = 0


class Money(NamedTuple):
    """USD: least, about, and most; None is unknown."""

    low: Decimal | None = None
    about: Decimal | None = None
    high: Decimal | None = None

    def times(self, calls: int) -> Money:
        """So often."""
        return Money(*(None if amount is None else amount * calls for amount in self))


class TargetEstimate(NamedTuple):
    """One target: what goes in, what may come out, and what that costs, all `calls` of it. `source` is None where no
    price is known. `rank` puts targets in order: the cost, with answers of a typical length where nobody knows the
    target's own."""

    target: str
    provider: str
    request_model: str
    calls: int
    input: Input
    output: Answers
    cost: Money
    rank: Decimal | None
    source: str | None
    context_window: int | None

    @property
    def over_window(self) -> bool:
        """Whether a prompt is larger than what the model takes."""
        return self.context_window is not None and max(self.input.about, default=0) > self.context_window


def job_of(target: str, calls: Iterable[Call], repeats: int = 1) -> Job | None:
    """The job of asking `calls`, all of one target; None where there are none. Few of them are kept."""
    sizes: list[int] = []
    kept: list[tuple[int, Call]] = []
    step = 1
    for place, call in enumerate(calls):
        sizes.append(call.text_bytes)
        if place % step == 0:
            kept.append((place, call))
        if len(kept) > 2 * _PROBES:  # every other one: those left lie evenly, however many there are
            kept, step = kept[::2], step * 2
    return Job(target, kept[0][1], tuple(sizes), tuple(kept[: 2 * _PROBES]), repeats) if kept else None


def approximated(job: Job, note: str | None = None) -> Input:
    """From bytes alone: see `BYTES_PER_TOKEN`."""
    few, taken, many = BYTES_PER_TOKEN
    messages = len(job.call.request.messages) + (job.call.request.system is not None)
    return Input(
        low=tuple(-(-size // many) for size in job.sizes),
        about=tuple(-(-size // taken) for size in job.sizes),
        high=tuple(-(-size // few) + _PER_MESSAGE * messages for size in job.sizes),
        note=note,
    )


async def count_inputs(jobs: Sequence[Job]) -> list[Input]:
    """Every job's prompts, counted by its vendor as far as that can be; one that cannot is approximated."""
    adapters = Adapters()
    try:
        return await asyncio.gather(*(_counted(job, adapters) for job in jobs))
    finally:
        await adapters.aclose()


async def _counted(job: Job, adapters: Adapters) -> Input:
    if not job.call.vendor.counts:
        return approximated(job)
    counts: dict[int, int] = {}
    try:
        adapter = await adapters.get(job.call)
        assert isinstance(adapter, Counter)  # noqa: S101  # the vendor's row says so
        async with asyncio.timeout(_PATIENCE_S):
            for place, call in job.probes:
                tokens = await adapter.count(call.request)
                if tokens is not None:
                    counts[place] = tokens
    except TimeoutError:
        return approximated(job, f"it did not count within {_PATIENCE_S:.0f} s")
    except LLMSwitchError as error:
        return approximated(job, error.message)
    if not counts:
        return approximated(job, "it sent no count")
    return _spread(job, counts)


def _spread(job: Job, counts: dict[int, int]) -> Input:
    """The counts, and for prompts that were not counted as many tokens to a byte as those had."""
    ratios = [tokens / max(1, job.sizes[place]) for place, tokens in counts.items()]
    mean = sum(counts.values()) / max(1, sum(job.sizes[place] for place in counts))

    def all_at(ratio: float) -> tuple[int, ...]:
        return tuple(counts.get(place, round(size * ratio)) for place, size in enumerate(job.sizes))

    return Input(all_at(min(ratios)), all_at(mean), all_at(max(ratios)), counted=len(counts))


def answers_of(ledger: Path, call: Call) -> Answers:
    """How long the answers of the call's model were; without enough of them, up to the cap. Raises StorageError."""
    endpoint, request = call.endpoint, call.request
    with reading(ledger) as connection:
        lengths = sorted(_lengths(connection, endpoint.provider, request.model))
    cap = request.parameters.max_tokens
    if len(lengths) < FEWEST:
        return Answers("unknown" if cap is None else "cap", high=cap, samples=len(lengths))
    if cap is not None:
        lengths = [min(length, cap) for length in lengths]
    return Answers(
        "history",
        low=_percentile(lengths, 10),
        about=round(sum(lengths) / len(lengths)),
        high=_percentile(lengths, 90),
        samples=len(lengths),
    )


def answers_given(tokens: int) -> Answers:
    """Whoever asks knows how long they are."""
    return Answers("given", tokens, tokens, tokens)


def _lengths(connection: sqlite3.Connection, provider: str, model: str) -> list[int]:
    found = connection.execute(
        """SELECT output_tokens FROM calls WHERE provider = ? AND request_model = ? AND lost IS NULL AND NOT cached
            AND error_kind IS NULL AND NOT usage_estimated AND output_tokens IS NOT NULL
            AND finish_reason IN ('stop', 'length') ORDER BY started_at DESC LIMIT ?""",
        (provider, model, _LATEST),
    )
    return [int(tokens) for (tokens,) in found]


def _percentile(ordered: Sequence[int], percent: int) -> int:
    """The smallest of them that at least so many percent do not exceed (nearest rank)."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def estimate(job: Job, input_: Input, output: Answers, prices: Prices, at: float) -> TargetEstimate:
    """What the job costs at `at` (epoch seconds)."""
    call = job.call

    def cost(inputs: tuple[int, ...], tokens: int | None) -> Cost | None:
        if tokens is None:
            return None
        total, source = Decimal(0), ""
        for size in inputs:
            one = prices.cost(Usage(size, tokens, 0, 0), call.price_key, at)
            if one is None:
                return None
            total, source = total + one.amount, one.source
        return Cost(total * job.repeats, source, exact=False)

    least = cost(input_.low, output.low)
    about, most = cost(input_.about, output.about), cost(input_.high, output.high)
    typical = output.about if output.about is not None else min(output.high or _TYPICAL, _TYPICAL)
    rank = cost(input_.about, typical)
    return TargetEstimate(
        target=job.target,
        provider=call.endpoint.provider,
        request_model=call.request.model,
        calls=len(job.sizes) * job.repeats,
        input=input_,
        output=output,
        cost=Money(*(None if one is None else one.amount for one in (least, about, most))),
        rank=None if rank is None else rank.amount,
        source=None if rank is None else rank.source,
        context_window=prices.context_window(call.price_key),
    )


def ordered(found: Iterable[TargetEstimate]) -> list[TargetEstimate]:
    """Cheapest first; those whose price is unknown last."""
    return sorted(found, key=lambda one: (one.rank is None, one.rank or Decimal(0)))
