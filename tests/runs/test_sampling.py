"""Which call is made when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmswitch.runs.sampling import Planned, plan


def test_asked_once_all_targets_start_together() -> None:
    assert plan(3, 1, seed=7) == ((Planned(0, 0), Planned(1, 0), Planned(2, 0)),)


@given(targets=st.integers(1, 6), repeats=st.integers(2, 9), seed=st.integers(0, 2**32))
def test_asked_more_than_once_every_round_asks_each_target_once_and_alone(
    targets: int, repeats: int, seed: int
) -> None:
    blocks = plan(targets, repeats, seed)
    assert all(len(block) == 1 for block in blocks)
    calls = [block[0] for block in blocks]
    for repeat in range(repeats):
        round_ = calls[repeat * targets : (repeat + 1) * targets]
        assert {call.target for call in round_} == set(range(targets))
        assert {call.repeat for call in round_} == {repeat}


def test_the_order_is_the_seeds_and_differs_from_round_to_round() -> None:
    assert plan(4, 10, seed=1) == plan(4, 10, seed=1)
    assert plan(4, 10, seed=1) != plan(4, 10, seed=2)
    calls = [block[0].target for block in plan(4, 10, seed=1)]
    assert len({tuple(calls[i : i + 4]) for i in range(0, 40, 4)}) > 3
