"""What goes to one target of a batch: dealt into jobs no larger than its vendor takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from llmswitch.batches import BatchJob
from llmswitch.errors import ConfigError
from llmswitch.providers.batching import JobLimits
from llmswitch.runs.ask import Services
from llmswitch.runs.batch.plan import Plan, batching_of
from llmswitch.runs.batch.tally import Tally
from llmswitch.runs.call import Call

__all__ = ["Lane", "TargetSum", "Terms"]

_NO_END = 2**62


class TargetSum(NamedTuple):
    """What goes to one target, by the name that lines give it, and model: a call of it, how it is asked and why so, how
    many of its lines the cache had, and a tally of the others, at the rate of its way."""

    target: str
    call: Call
    way: str
    note: str | None
    cached: int
    tally: Tally


class _Filling(NamedTuple):
    """A job that lines are being put into; `tally` is for its bound."""

    number: int
    tally: Tally
    lines: int = 0
    bytes: int = 0
    tokens: int = 0


class Terms(NamedTuple):
    """What is the same for all lanes of a batch. `at` is epoch seconds, `number` gives the next job's."""

    plan: Plan
    services: Services
    at: float
    number: Callable[[], int]


class Lane:
    """The lines of one target, as typed, and model."""

    def __init__(self, call: Call, target: str, terms: Terms) -> None:
        plan = terms.plan
        self.call, self.target, self._terms = call, target, terms
        self.batching, note = batching_of(call, live=plan.live)
        limits = self.batching.limits if self.batching is not None else JobLimits(_NO_END, _NO_END)
        # what is asked one by one is one job, however long
        self._lines = min(limits.lines, plan.job_lines or _NO_END) if self.batching is not None else _NO_END
        self._tokens = min(limits.tokens or _NO_END, plan.job_tokens or _NO_END)
        self._bytes = limits.bytes
        self._job = _Filling(0, self._tally())
        self._full: list[_Filling] = []
        self.cached = 0
        self.sum = TargetSum(target, call, self.way, note, 0, self._tally())

    def _tally(self) -> Tally:
        key = self.call.price_key._replace(batch=self.batching is not None)
        return Tally(self._terms.services.prices, key, self._terms.at)

    @property
    def way(self) -> str:
        """How its lines are asked."""
        return "live" if self.batching is None else "batch"

    def check(self, size: int) -> None:
        """ConfigError where a line that is sent in `size` bytes is too large for any job."""
        if size > self._bytes:
            raise ConfigError(f"it is {size:,} bytes, and a job of {self.target} holds {self._bytes:,}")

    def put(self, size: int, tokens: int) -> int:
        """The number of the job that takes a line which is sent in `size` bytes and has about so many tokens."""
        job = self._job
        full = job.lines >= self._lines or job.bytes + size > self._bytes or job.tokens + tokens > self._tokens
        if job.number == 0 or (full and job.lines):
            self._end()
            job = _Filling(self._terms.number(), self._tally())
        self._job = job._replace(lines=job.lines + 1, bytes=job.bytes + size, tokens=job.tokens + tokens)
        return job.number

    def add(self, size: int, most_input: int, most_output: int | None) -> None:
        """Sum up the line that was put last: its bytes of text and bounds of its tokens."""
        self._job.tally.add(size, most_input, most_output)
        self.sum.tally.add(size, most_input, most_output)

    def jobs(self, batch_id: str) -> list[BatchJob]:
        """Every job, ready to be sent."""
        self._end()
        return [
            BatchJob(
                batch_id,
                job.number,
                self.target,
                self.call.endpoint.provider,
                self.call.request.model,
                self.call.key,
                "live" if self.batching is None else "batch",
                "prepared",
                job.lines,
                self._terms.at,
                bound=job.tally.bound(),
            )
            for job in self._full
        ]

    def _end(self) -> None:
        if self._job.lines:
            self._full.append(self._job)
            self._job = _Filling(0, self._tally())
