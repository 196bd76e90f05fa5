"""The breaker's rules and the quota of retries, on a clock of the test's own."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llmswitch.circuit import Admission, Circuit

START = 1_800_000_000.0


def fail(circuit: Circuit, times: int, now: float = START) -> Circuit:
    for _ in range(times):
        circuit = circuit.failed(now)
    return circuit


def test_five_failures_in_a_row_open_it_for_30_s() -> None:
    circuit = fail(Circuit(), 4)
    assert circuit.admission(START) == Admission(True)
    circuit = fail(circuit, 1)
    assert circuit.state(START) == "open"
    assert circuit.admission(START + 10) == Admission(False, retry_after_s=20.0, failures=5)
    assert circuit.state(START + 30) == "half-open"


def test_an_answer_in_between_begins_the_row_anew() -> None:
    circuit = fail(fail(Circuit(), 4).succeeded(START), 4)
    assert circuit.state(START) == "closed"
    assert fail(circuit, 1).state(START) == "open"


def test_half_of_twenty_outcomes_within_a_minute_open_it() -> None:
    circuit = Circuit()
    for number in range(9):
        circuit = circuit.succeeded(START + number).failed(START + number)
    circuit = circuit.succeeded(START + 10)
    assert circuit.state(START + 10) == "closed"
    circuit = circuit.failed(START + 10)
    assert circuit.state(START + 10) == "open"
    assert circuit.admission(START + 10).failures == 10


def test_less_than_half_do_not() -> None:
    circuit = Circuit().succeeded(START, times=30)
    for _ in range(29):
        circuit = circuit.failed(START).succeeded(START, times=1)
        assert circuit.state(START) == "closed"


def test_outcomes_of_another_minute_are_forgotten() -> None:
    circuit = Circuit().succeeded(START, times=1000)
    for number in range(10):
        circuit = circuit.failed(START + 66 + number).succeeded(START + 66 + number)
        assert circuit.state(START + 66 + number) == "closed"
    assert circuit.failed(START + 76).state(START + 76) == "open"


def test_one_probe_at_a_time_and_another_when_it_says_nothing() -> None:
    now = START + 30
    circuit = fail(Circuit(), 5)
    assert circuit.admission(now) == Admission(True, probe=True, failures=5)
    circuit = circuit.probing(now)
    assert circuit.admission(now + 10) == Admission(False, retry_after_s=20.0, failures=5)
    assert circuit.admission(now + 30) == Admission(True, probe=True, failures=5)
    assert circuit.abandoned().admission(now) == Admission(True, probe=True, failures=5)


def test_a_probe_that_is_answered_closes_it_and_forgets_the_failures() -> None:
    circuit = fail(Circuit(), 5).probing(START + 30).succeeded(START + 31, probe=True)
    assert circuit.state(START + 31) == "closed"
    assert fail(circuit, 4, START + 31).state(START + 31) == "closed"


def test_each_probe_that_fails_opens_it_for_twice_as_long_up_to_300_s() -> None:
    circuit, now, waits = fail(Circuit(), 5), START, []
    for _ in range(6):
        waits.append(circuit.admission(now).retry_after_s)
        now += waits[-1]
        circuit = circuit.probing(now).failed(now, probe=True)
    assert waits == [30, 60, 120, 240, 300, 300]
    assert circuit.failures == 11


def test_after_it_was_closed_it_opens_for_30_s_again() -> None:
    circuit = fail(Circuit(), 5).probing(START + 30).failed(START + 30, probe=True)
    circuit = circuit.probing(START + 90).succeeded(START + 90, probe=True)
    assert fail(circuit, 5, START + 90).admission(START + 90).retry_after_s == 30


def test_calls_from_before_it_opened_change_nothing() -> None:
    circuit = fail(Circuit(), 5)
    later = circuit.probing(START + 30)
    for now, before in ((START + 1, circuit), (START + 31, later)):
        assert before.failed(now) == before
        after = before.succeeded(now)
        assert after._replace(retries=before.retries, retries_at=before.retries_at) == before


def test_a_probe_that_lost_its_place_does_not_lengthen_the_next_ones_pause() -> None:
    circuit = fail(Circuit(), 5).probing(START + 30).probing(START + 60).failed(START + 61, probe=True)
    assert circuit.failed(START + 62, probe=True) == circuit


def test_ten_retries_at_once_then_one_for_two_answers_or_half_a_minute() -> None:
    circuit, taken = Circuit(), 0
    while True:
        circuit, granted = circuit.retried(START)
        if not granted:
            break
        taken += 1
    assert taken == 10
    assert not circuit.succeeded(START).retried(START)[1]
    circuit, granted = circuit.succeeded(START, times=2).retried(START)
    assert granted
    assert not circuit.retried(START + 29)[1]
    assert circuit.retried(START + 30.1)[1]


@given(
    st.lists(
        st.tuples(st.sampled_from(["retry", "answer", "failure"]), st.floats(0, 100, allow_subnormal=False)),
        max_size=80,
    )
)
def test_never_more_retries_than_the_quota_gives(events: list[tuple[str, float]]) -> None:
    circuit, now, taken, answers = Circuit(), START, 0, 0
    for event, pause in events:
        now += pause
        if event == "retry":
            circuit, granted = circuit.retried(now)
            taken += granted
        elif event == "answer":
            circuit = circuit.succeeded(now)
            answers += 1
        else:
            circuit = circuit.failed(now)
        assert taken <= 10 + answers / 2 + (now - START) / 30 + 1e-6


class Breaker(RuleBasedStateMachine):
    """Any mixture of calls, and what must hold of it. The model keeps every outcome; the circuit goes through JSON
    after each step, as it does between processes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.circuit = Circuit()
        self.row = 0
        #: (when, whether it failed), since the circuit was last closed
        self.outcomes: list[tuple[float, bool]] = []
        self.opened_at: float | None = None
        self.pause = 0.0
        self.probe_at: float | None = None

    def keep(self, circuit: Circuit) -> None:
        self.circuit = Circuit.of(json.loads(json.dumps(circuit.document())), self.now)
        assert self.circuit == circuit

    def open(self, pause: float) -> None:
        self.opened_at, self.pause, self.probe_at = self.now, pause, None

    @rule(seconds=st.integers(0, 400).map(lambda eighths: eighths / 8))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(times=st.integers(1, 12))
    @precondition(lambda self: self.opened_at is None)
    def answers(self, times: int) -> None:
        self.keep(self.circuit.succeeded(self.now, times=times))
        self.row = 0
        self.outcomes += [(self.now, False)] * times

    @rule()
    @precondition(lambda self: self.opened_at is None)
    def failure(self) -> None:
        self.keep(self.circuit.failed(self.now))
        self.row += 1
        self.outcomes.append((self.now, True))
        # in steps of 5 s, as the circuit says
        recent = [failed for at, failed in self.outcomes if self.now - (at - at % 5) < 65]
        if self.row >= 5 or (len(recent) >= 20 and sum(recent) * 2 >= len(recent)):
            self.open(30.0)

    @rule(ok=st.booleans())
    @precondition(lambda self: self.opened_at is not None)
    def late_outcome(self, ok: bool) -> None:
        self.keep(self.circuit.succeeded(self.now) if ok else self.circuit.failed(self.now))

    @rule(ends=st.sampled_from(["answered", "failed", "abandoned", "killed"]), after=st.integers(0, 20))
    @precondition(lambda self: self.circuit.admission(self.now).probe)
    def probe(self, ends: str, after: int) -> None:
        self.keep(self.circuit.probing(self.now))
        assert not self.circuit.admission(self.now).allowed
        if ends == "killed":
            self.probe_at = self.now
            return
        self.now += after
        if ends == "answered":
            self.keep(self.circuit.succeeded(self.now, probe=True))
            self.opened_at, self.row, self.outcomes = None, 0, []
        elif ends == "failed":
            self.keep(self.circuit.failed(self.now, probe=True))
            self.open(min(2 * self.pause, 300.0))
        else:
            self.keep(self.circuit.abandoned())
            self.probe_at = None

    @invariant()
    def lets_through_what_it_should(self) -> None:
        told = self.circuit.admission(self.now)
        if self.opened_at is None:
            assert told == Admission(True)
            assert self.circuit.state(self.now) == "closed"
            return
        free_at = max(self.opened_at + self.pause, -math.inf if self.probe_at is None else self.probe_at + 30)
        assert told.allowed == told.probe == (self.now >= free_at)
        assert told.retry_after_s == pytest.approx(max(0.0, free_at - self.now))
        assert told.failures >= 5
        assert self.circuit.state(self.now) == ("open" if self.now < self.opened_at + self.pause else "half-open")

    @invariant()
    def stays_small(self) -> None:
        assert len(json.dumps(self.circuit.document())) < 1000


TestBreaker = Breaker.TestCase

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*Circuit._fields, "other"]), _JSON), st.floats(0, 4e9))
def test_a_damaged_document_is_a_circuit_all_the_same(document: dict[str, Any], now: float) -> None:
    circuit = Circuit.of(document, now)
    told = circuit.admission(now)
    assert told.allowed or 0 < told.retry_after_s <= 305
    circuit = circuit.succeeded(now).failed(now).retried(now)[0].abandoned().probing(now).failed(now, probe=True)
    assert Circuit.of(json.loads(json.dumps(circuit.document())), now).admission(now).retry_after_s <= 305


@pytest.mark.parametrize("value", [math.inf, math.nan, -math.inf, -1, 10**400, True, "7", None, [1], {}])
def test_a_number_that_is_none_opens_nothing_for_long(value: object) -> None:
    for name in Circuit._fields:
        circuit = Circuit.of({**fail(Circuit(), 5).document(), name: value}, START)
        assert circuit.admission(START).retry_after_s <= 35
        assert 0 <= circuit.failures <= 1e9
        assert circuit.retried(START)[0].retries <= 10


@pytest.mark.parametrize("back_s", [3600.0, 1e8])
def test_a_clock_that_is_set_back_does_not_leave_a_target_alone_for_longer(back_s: float) -> None:
    document = fail(Circuit(), 5).document()
    now = START - back_s
    assert Circuit.of(document, now).admission(now).probe


def test_a_machine_whose_clock_is_3_s_behind_sees_the_same_pause() -> None:
    circuit = Circuit.of(fail(Circuit(), 5).document(), START - 3)
    assert circuit.admission(START - 3).retry_after_s == 33
