"""When a target is left alone: a circuit breaker and a quota of retries, as pure functions of what happened and when.

A circuit is *closed* (calls go through), *open* (none does), or *half-open*: its pause is over, and a single call, the
probe, finds out whether the target is back. Two rules open it: failures in a row, and the share of failures within a
minute. All times are epoch seconds, since processes and machines share a circuit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

__all__ = ["Admission", "Circuit", "CircuitState"]

CircuitState = Literal["closed", "open", "half-open"]

#: failures in a row that open a circuit
_IN_A_ROW = 5
#: ... and the share of failures that does, among so many outcomes within so many seconds
_SHARE = 0.5
_ENOUGH = 20
_WINDOW_S = 60.0
#: outcomes are counted in steps, so that a circuit stays small: the window is up to a step longer
_STEP_S = 5.0
#: more steps than a circuit ever has
_MOST_STEPS = 64
#: how long an open circuit stays so at first, and at most after probes that failed, in seconds
_OPEN_S = 30.0
_LONGEST_S = 300.0
#: how long a probe keeps others out that says nothing: its process may have been killed, in seconds
_PROBE_S = 30.0
#: retries that a target may be asked for at once; what a success gives back, and each second
_RETRIES = 10.0
_BACK = 0.5
_BACK_PER_S = 1 / 30
#: by how much the clocks of two machines may differ, in seconds
_SKEW_S = 5.0


class Admission(NamedTuple):
    """Whether a call may go out now, as the probe or as any; if not, in how many seconds one may.

    `failures` is how many calls failed of late.
    """

    allowed: bool
    probe: bool = False
    retry_after_s: float = 0.0
    failures: int = 0


class Circuit(NamedTuple):
    """What is known of one target. Every method that changes something returns a new circuit.

    `failures` are those in a row, or those of the minute that opened it. `open_s` is how long it was last opened for, 0
    where it is closed; `steps` are outcomes as (when the step began, successes, failures); `retries` is what was left
    of the quota at `retries_at`.
    """

    failures: int = 0
    open_s: float = 0.0
    open_until: float = 0.0
    probe_until: float = 0.0
    steps: tuple[tuple[float, int, int], ...] = ()
    retries: float = _RETRIES
    retries_at: float = 0.0

    @property
    def troubled(self) -> bool:
        """Whether the next answer changes more than a count."""
        return bool(self.open_s or self.failures or self.retries < _RETRIES)

    def state(self, now: float) -> CircuitState:
        """Which of the three it is."""
        if not self.open_s:
            return "closed"
        return "open" if now < self.open_until else "half-open"

    def admission(self, now: float) -> Admission:
        """What a call that comes now is told; a probe must be noted by `probing`."""
        if not self.open_s:
            return Admission(True)
        wait = max(self.open_until, self.probe_until) - now
        if wait > 0:
            return Admission(False, retry_after_s=wait, failures=self.failures)
        return Admission(True, probe=True, failures=self.failures)

    def probing(self, now: float) -> Circuit:
        """A probe is on its way; if nothing is heard of it, another one may go after a while."""
        return self._replace(probe_until=now + _PROBE_S)

    def abandoned(self) -> Circuit:
        """The probe ended before it knew anything: another one may go at once."""
        return self._replace(probe_until=0.0)

    def succeeded(self, now: float, *, times: int = 1, probe: bool = False) -> Circuit:
        """Calls were answered. A probe's answer closes the circuit; answers to calls from before it opened do not."""
        quota = self._quota(now, _BACK * times)
        if probe:
            return Circuit(retries=quota, retries_at=now)
        if self.open_s:
            return self._replace(retries=quota, retries_at=now)
        return self._replace(failures=0, steps=self._counted(now, times, 0), retries=quota, retries_at=now)

    def failed(self, now: float, *, probe: bool = False) -> Circuit:
        """A call failed. A probe's failure opens it for twice as long; failures of calls from before are known."""
        if self.open_s:
            return self._opened(now, min(2 * self.open_s, _LONGEST_S)) if probe and now >= self.open_until else self
        after = self._replace(failures=self.failures + 1, steps=self._counted(now, 0, 1))
        failed = sum(count for _, _, count in after.steps)
        total = failed + sum(count for _, count, _ in after.steps)
        if total >= _ENOUGH and failed >= _SHARE * total:
            after = after._replace(failures=max(failed, _IN_A_ROW))
        return after._opened(now, _OPEN_S) if after.failures >= _IN_A_ROW else after

    def retried(self, now: float) -> tuple[Circuit, bool]:
        """Take a retry from the quota, and whether there was one."""
        quota = self._quota(now, 0.0)
        if quota < 1:
            return self, False
        return self._replace(retries=quota - 1, retries_at=now), True

    def document(self) -> dict[str, Any]:
        """As plain JSON."""
        return self._asdict()

    @classmethod
    def of(cls, document: Mapping[str, Any] | None, now: float) -> Circuit:
        """The circuit of a document. What is damaged in one is as if it never happened, and no clock that went wrong
        leaves a target alone for longer than an open circuit may."""
        if document is None:
            return cls()
        open_s = _number(document.get("open_s"), _LONGEST_S)
        return cls(
            failures=int(_number(document.get("failures"), 1e9)),
            open_s=open_s,
            open_until=_moment(document.get("open_until"), now + open_s),
            probe_until=_moment(document.get("probe_until"), now + _PROBE_S),
            steps=tuple(step for step in map(_step, _list(document.get("steps"))[-_MOST_STEPS:]) if step is not None),
            retries=_number(document.get("retries", _RETRIES), _RETRIES),
            retries_at=_number(document.get("retries_at"), now),
        )

    def _opened(self, now: float, open_s: float) -> Circuit:
        failures = self.failures + 1 if self.open_s else self.failures
        return self._replace(failures=failures, open_s=open_s, open_until=now + open_s, steps=())

    def _counted(self, now: float, succeeded: int, failed: int) -> tuple[tuple[float, int, int], ...]:
        """The steps of the last minute with these outcomes in the newest one."""
        begun = now - now % _STEP_S
        kept = {step[0]: step for step in self.steps if abs(now - step[0]) < _WINDOW_S + _STEP_S}
        _, before, failures = kept.get(begun, (begun, 0, 0))
        kept[begun] = (begun, before + succeeded, failures + failed)
        return tuple(kept.values())

    def _quota(self, now: float, back: float) -> float:
        return min(_RETRIES, self.retries + back + (now - self.retries_at) * _BACK_PER_S)


def _number(value: Any, most: float) -> float:
    """A number within [0, most]; 0 for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        return 0.0
    return float(min(value, most))


def _moment(value: Any, latest: float) -> float:
    """A time that is not after `latest`; one that is by more than clocks differ has been over for long."""
    moment = _number(value, 1e12)
    return moment if moment <= latest + _SKEW_S else 0.0


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _step(value: Any) -> tuple[float, int, int] | None:
    if not isinstance(value, list) or len(value) != 3:
        return None
    begun, succeeded, failed = (_number(part, 1e12) for part in value)
    return begun, int(succeeded), int(failed)
