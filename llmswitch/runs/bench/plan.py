"""What is asked, in which order. Made as it goes, from suite and seed: two plans of the same seed are the same."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from llmswitch.runs.bench.model import Key, Load
from llmswitch.suites.model import Case, Suite

__all__ = ["Block", "Planned", "arrivals", "blocks", "key_of", "planned"]


class Planned(NamedTuple):
    """One call to make: of which `case`, to the target with which number, and which asking of it, from 0."""

    case: Case
    target: int
    repeat: int


class Block(NamedTuple):
    """One case asked once of each target that it is for, in a random order, so that what drifts hits all alike."""

    case: Case
    repeat: int
    order: tuple[int, ...]

    def calls(self) -> Iterator[Planned]:
        """The block's calls in their order."""
        return (Planned(self.case, target, self.repeat) for target in self.order)


def blocks(suite: Suite, labels: Sequence[str], *, repeats: int | None, seed: int) -> Iterator[Block]:
    """All cases once, then all of them again, and so on; without `repeats` without an end.

    A case's repeats lie as far apart as the run allows, so that a bad minute is no bad case; and a run that ends early
    has asked everything as often as it could.
    """
    for repeat in itertools.count() if repeats is None else range(repeats):
        for case in suite.cases():
            order = [place for place, label in enumerate(labels) if case.targets is None or label in case.targets]
            # a generator of its own for each block: a resumed run goes on as the whole one would have
            random.Random(f"{seed}/{case.id}/{repeat}").shuffle(order)  # noqa: S311  # an order to be had again
            yield Block(case, repeat, tuple(order))


def planned(suite: Suite, labels: Sequence[str], repeats: int) -> int:
    """How many samples a closed loop takes."""
    return repeats * sum(
        len(labels) if case.targets is None else sum(label in case.targets for label in labels)
        for case in suite.cases()
    )


def arrivals(load: Load, targets: int, seed: int) -> Iterator[tuple[float, int]]:
    """When a request of which target is due, in seconds from the start, in order; without an end.

    `constant` spaces a target's requests evenly, the targets' apart from each other; `poisson` draws the gaps from an
    exponential distribution, as independent users would arrive.
    """
    assert load.rate is not None  # noqa: S101  # who calls this has an open loop
    gap_s = 1 / load.rate
    drawn = random.Random(f"{seed}/arrivals")  # noqa: S311  # arrivals to be had again
    due = [place * gap_s / targets for place in range(targets)]
    while True:
        target = min(range(targets), key=due.__getitem__)
        yield due[target], target
        due[target] += gap_s if load.arrival == "constant" else drawn.expovariate(load.rate)


def key_of(call: Planned, labels: Sequence[str]) -> Key:
    """What the sample of a planned call is known by."""
    return call.case.id, labels[call.target], call.repeat
