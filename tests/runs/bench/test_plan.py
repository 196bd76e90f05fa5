"""What is asked in which order, and when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice, pairwise

import pytest

from llmswitch.runs.bench.model import Load
from llmswitch.runs.bench.plan import arrivals, blocks, planned
from llmswitch.suites.model import Case, Suite
from llmswitch.types import Message

LABELS = ("a", "b", "c")


def suite(*for_whom: tuple[str, ...] | None) -> Suite:
    def cases() -> Iterator[Case]:
        for number, targets in enumerate(for_whom, 1):
            yield Case(f"1.{number}", "hi", (Message("user", "hi"),), targets=targets)

    return Suite("s", "s.yaml", "f", (), cases, len(for_whom), asserted=False)


def test_every_case_is_asked_of_every_target_as_often_as_repeats_say() -> None:
    found = Counter(
        (call.case.id, call.target, call.repeat)
        for block in blocks(suite(*[None] * 20), LABELS, repeats=3, seed=1)
        for call in block.calls()
    )
    assert len(found) == 20 * 3 * 3 == planned(suite(*[None] * 20), LABELS, 3)
    assert set(found.values()) == {1}


def test_a_block_is_one_case_and_its_order_is_the_seeds() -> None:
    orders = [block.order for block in blocks(suite(*[None] * 60), LABELS, repeats=1, seed=1)]
    assert orders == [block.order for block in blocks(suite(*[None] * 60), LABELS, repeats=1, seed=1)]
    assert orders != [block.order for block in blocks(suite(*[None] * 60), LABELS, repeats=1, seed=2)]
    assert len(set(orders)) == 6, "of three targets all orders come"
    firsts = Counter(order[0] for order in orders)
    assert min(firsts.values()) >= 10, "nobody is always first"


def test_a_case_for_some_targets_is_asked_of_no_other() -> None:
    plan = blocks(suite(("b",), None), LABELS, repeats=1, seed=1)
    found = {(call.case.id, LABELS[call.target]) for block in plan for call in block.calls()}
    assert found == {("1.1", "b"), ("1.2", "a"), ("1.2", "b"), ("1.2", "c")}
    assert planned(suite(("b",), None), LABELS, 2) == 8


def test_constant_arrivals_are_as_far_apart_as_the_rate_says_and_targets_between_each_other() -> None:
    found = list(islice(arrivals(Load(rate=10, duration_s=1), 2, 1), 6))
    assert [target for _, target in found] == [0, 1, 0, 1, 0, 1]
    assert [at for at, _ in found] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.25])


def test_poisson_arrivals_come_at_the_rate_with_exponential_gaps_and_again_with_the_same_seed() -> None:
    load = Load(rate=20, arrival="poisson", duration_s=1)
    found = [at for at, _ in islice(arrivals(load, 1, 7), 4001)]
    gaps = [after - before for before, after in pairwise(found)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(0.05, rel=0.06)
    assert sum(gap > mean for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.03), "e^-1 of them are longer"
    assert found == [at for at, _ in islice(arrivals(load, 1, 7), 4001)]
