"""How the targets fare, as all processes that share a state know it: which are left alone, how busy each is.

Everything is in documents by target: `circuit:<key>` (circuit.py), `flight:<key>`, and of a conversation
`sticky:<id>`; `limit:<key>` is the rate limiter's (turnstile.py) and only read here. What is only noted is not waited
for.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from llmswitch.circuit import Admission, Circuit, CircuitState
from llmswitch.state import Document, State
from llmswitch.turnstile import Known
from llmswitch.worker import Worker

__all__ = ["Health", "Status"]

T = TypeVar("T")

_CIRCUIT = "circuit:"
_FLIGHT = "flight:"
_LIMIT = "limit:"
_STICKY = "sticky:"
#: how long a target's failures are remembered after the last call, and a conversation's target, in seconds
_KEEP_S = 3600.0
#: how long a circuit that was closed is taken to be so without another look, in seconds
_FRESH_S = 0.2


class Status(NamedTuple):
    """One target: `failures` of late, times in seconds from now, and the vendor's limits a minute where it told any."""

    key: str
    state: CircuitState
    failures: int
    retry_after_s: float | None
    blocked_s: float | None
    requests: int | None
    tokens: int | None


class Health:
    """Safe to use from many tasks. `wall` gives epoch seconds; the worker's state is one that fails no call."""

    def __init__(self, worker: Worker[State], wall: Callable[[], float]) -> None:
        self._worker = worker
        self._wall = wall
        self._process = secrets.token_hex(8)
        #: when this process last looked at a circuit, and what it was then
        self._seen: dict[str, tuple[float, Circuit]] = {}
        #: reports that the worker was given, and those that it has written: in between, nothing seen is fresh
        self._given: dict[str, int] = {}
        self._written: dict[str, int] = {}
        #: answers that the worker was not given yet, and when the last of them came
        self._answers: dict[str, tuple[int, float]] = {}

    async def admit(self, key: str) -> Admission:
        """Whether a call may go out; a probe must end in `report` or `abandon`."""
        circuit = self._fresh(key)
        if circuit is not None and not circuit.open_s:
            return Admission(True)
        return await self._worker.do(
            lambda state: self._admitted(state, key),
            undo=lambda state, told: self._abandoned(state, key) if told.probe else None,
        )

    async def report(self, key: str, ok: bool, *, probe: bool = False) -> None:
        """How a call ended: answered, or failed in a way that speaks against the target. Waits for nothing."""
        answers, last = self._answers.pop(key, (0, 0.0))
        if self._wall() - last >= _FRESH_S:
            answers = 0  # from long ago: what others know since then counts
        if ok and not probe:
            answers += 1
            circuit = self._fresh(key)
            if circuit is not None and not circuit.troubled:
                # while all goes well answers are only counted, and written now and then
                self._answers[key] = (answers, self._wall())
                return
        self._given[key] = self._given.get(key, 0) + 1

        def ended(circuit: Circuit, now: float) -> tuple[Circuit, None]:
            circuit = circuit.succeeded(now, times=answers) if answers else circuit
            if not ok:
                return circuit.failed(now, probe=probe), None
            return circuit.succeeded(now, probe=True) if probe else circuit, None

        def write(state: State) -> None:
            try:
                self._changed(state, key, ended)
            finally:
                self._written[key] = self._written.get(key, 0) + 1

        self._worker.post(write)

    async def abandon(self, key: str) -> None:
        """A probe ended before it knew anything. Waits for nothing."""
        self._worker.post(lambda state: self._abandoned(state, key))

    async def may_retry(self, key: str) -> bool:
        """Take a retry from the target's quota; False where none is left."""
        return await self._worker.do(lambda state: self._changed(state, key, Circuit.retried))

    async def healthy(self, keys: Sequence[str]) -> frozenset[str]:
        """Those of `keys` that would be asked now: neither left alone nor over a limit that their vendor named."""

        def fit(state: State) -> frozenset[str]:
            now = self._wall()
            return frozenset(
                key
                for key in keys
                if _circuit(state, key, now).admission(now).allowed and _known(state, key, now).blocked_until <= now
            )

        return await self._worker.do(fit)

    async def entered(self, key: str, lease_s: float) -> None:
        """A call to `key` began; were its process killed, it would be forgotten after `lease_s`."""
        self._worker.post(lambda state: self._flight(state, key, 1, lease_s))

    async def left(self, key: str) -> None:
        """It ended."""
        self._worker.post(lambda state: self._flight(state, key, -1, 0.0))

    async def in_flight(self, keys: Sequence[str]) -> dict[str, int]:
        """How many calls to each of `keys` are under way, in all processes."""

        def counted(state: State) -> dict[str, int]:
            now = self._wall()
            return {key: sum(count for count, _ in _leases(state.read(_FLIGHT + key), now).values()) for key in keys}

        return await self._worker.do(counted)

    async def stuck_to(self, conversation: str) -> str | None:
        """The target that the conversation's last call went to, within the last hour."""
        document = await self._worker.do(lambda state: state.read(_STICKY + conversation)) or {}
        target = document.get("target")
        return target if isinstance(target, str) else None

    async def stick(self, conversation: str, target: str) -> None:
        """The conversation's call went to `target`."""
        self._worker.post(
            lambda state: state.update(
                _STICKY + conversation, lambda before: ({"target": target}, None), keep_s=_KEEP_S
            )
        )

    async def statuses(self) -> list[Status]:
        """Every target that anything is known of, by key."""

        def found(state: State) -> list[Status]:
            named = {key.removeprefix(prefix) for prefix in (_CIRCUIT, _LIMIT) for key in state.keys(prefix)}
            return [_status(state, key, self._wall()) for key in sorted(named)]

        return await self._worker.do(found)

    async def reset(self, key: str) -> None:
        """Forget that the target failed and that its vendor named a limit: it is asked again at once."""

        def forgotten(state: State) -> None:
            state.update(_CIRCUIT + key, lambda before: (None, None), keep_s=0.0)
            state.update(_LIMIT + key, _unblocked, keep_s=_KEEP_S)

        await self._worker.do(forgotten)

    def _fresh(self, key: str) -> Circuit | None:
        """The circuit as this process just saw it; None where it must be looked at."""
        seen = self._seen.get(key)
        if seen is None or self._given.get(key) != self._written.get(key):
            return None
        return seen[1] if 0 <= self._wall() - seen[0] < _FRESH_S else None

    def _admitted(self, state: State, key: str) -> Admission:
        now = self._wall()
        circuit = _circuit(state, key, now)
        self._seen[key] = (now, circuit)
        admission = circuit.admission(now)
        return self._changed(state, key, _probe) if admission.probe else admission

    def _abandoned(self, state: State, key: str) -> None:
        self._changed(state, key, lambda circuit, now: (circuit.abandoned(), None))

    def _changed(self, state: State, key: str, change: Callable[[Circuit, float], tuple[Circuit, T]]) -> T:
        def changed(document: Document | None) -> tuple[Document | None, tuple[Circuit, T]]:
            now = self._wall()
            circuit, result = change(Circuit.of(document, now), now)
            return circuit.document(), (circuit, result)

        circuit, result = state.update(_CIRCUIT + key, changed, keep_s=_KEEP_S)
        self._seen[key] = (self._wall(), circuit)
        return result

    def _flight(self, state: State, key: str, more: int, lease_s: float) -> None:
        def changed(document: Document | None) -> tuple[Document | None, None]:
            now = self._wall()
            leases = _leases(document, now)
            count, until = leases.pop(self._process, (0, 0.0))
            if count + more > 0:
                leases[self._process] = (count + more, max(until, now + lease_s))
            return dict(leases) or None, None

        state.update(_FLIGHT + key, changed, keep_s=max(lease_s, _KEEP_S))


def _circuit(state: State, key: str, now: float) -> Circuit:
    return Circuit.of(state.read(_CIRCUIT + key), now)


def _probe(circuit: Circuit, now: float) -> tuple[Circuit, Admission]:
    """Somebody else may have been quicker."""
    admission = circuit.admission(now)
    return circuit.probing(now) if admission.probe else circuit, admission


def _leases(document: Document | None, now: float) -> dict[str, tuple[int, float]]:
    """Calls under way by process, with the end of each one's lease; those that lapsed or are damaged left out."""
    leases = {}
    for process, lease in (document or {}).items():
        match lease:
            case [int(count), int() | float() as until] if until > now:
                leases[process] = (count, float(until))
    return leases


def _known(state: State, key: str, now: float) -> Known:
    return Known.of(state.read(_LIMIT + key), now)


def _unblocked(limit: Document | None) -> tuple[Document | None, None]:
    left = {name: value for name, value in (limit or {}).items() if name != "blocked_until"}
    return left or None, None


def _status(state: State, key: str, now: float) -> Status:
    circuit, known = _circuit(state, key, now), _known(state, key, now)
    admission = circuit.admission(now)
    return Status(
        key=key,
        state=circuit.state(now),
        failures=circuit.failures,
        retry_after_s=None if admission.allowed else admission.retry_after_s,
        blocked_s=known.blocked_until - now if known.blocked_until > now else None,
        requests=known.limits.requests,
        tokens=known.limits.tokens,
    )
