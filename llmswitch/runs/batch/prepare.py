"""From a file of questions to jobs that can be sent: each line settled, written as its vendor wants it, and dealt out.

Nothing is sent here. What was prepared is on disk before the ledger knows of the batch, so that a killed preparation
leaves nothing but a folder that the next one clears away.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from llmswitch.answers import encode
from llmswitch.batches import BatchJob
from llmswitch.batchlines import Line, Lines
from llmswitch.budget import most_input_tokens
from llmswitch.cache import cache_key
from llmswitch.errors import ConfigError, LLMSwitchError, StorageError
from llmswitch.profiles import Settings
from llmswitch.runs.ask import Services
from llmswitch.runs.batch.inputs import Bad, Row
from llmswitch.runs.batch.lanes import Lane, TargetSum, Terms
from llmswitch.runs.batch.plan import BadLinesError, Plan, asked_of, target_of
from llmswitch.runs.call import Call, Question, settle
from llmswitch.types import Parameters, Target

__all__ = ["Order", "Prepared", "prepare"]

#: faults that are told; the others are counted
_MOST_FAULTS = 20
_TOLD_EVERY = 1000


class Prepared(NamedTuple):
    """A batch that is ready to be noted: its jobs, what goes to each target, how many lines are left out as bad, which
    of them by number (the first of them), and which names rows hold that nobody reads."""

    fingerprint: str
    jobs: tuple[BatchJob, ...]
    sums: tuple[TargetSum, ...]
    lines: int
    skipped: int
    bad: tuple[Bad, ...]
    ignored: tuple[str, ...]


class Order(NamedTuple):
    """What is to be prepared: the batch's id, what is asked of whom, under which settings. `calls` are of those
    targets that are settled already."""

    batch_id: str
    plan: Plan
    settings: Settings
    services: Services
    calls: Mapping[str, Call] = {}


def prepare(
    order: Order, rows: Iterable[Row | Bad], lines: Lines, counted: Callable[[int], None] = lambda read: None
) -> Prepared:
    """Put every question of `rows` into `lines`. `counted` is told now and then how many were read.

    Raises BadLinesError where some are none and the plan does not skip those; ConfigError where there is none at all,
    or a target cannot be asked.
    """
    preparing = _Preparing(order, lines)
    with lines.transaction():
        for read, row in enumerate(rows, start=1):
            preparing.take(row)
            if read % _TOLD_EVERY == 0:
                counted(read)
        return preparing.prepared()


class _Ready(NamedTuple):
    """A line that can be kept: what `body` is sent as, or the answer that the cache `found`."""

    target: Target
    call: Call
    lane: Lane
    key: str
    body: str
    size: int
    found: str | None


class _Preparing:
    def __init__(self, order: Order, lines: Lines) -> None:
        self.batch_id, self.plan, self.settings, self.services, self.calls = order
        self.lines = lines
        self.terms = Terms(self.plan, self.services, self.services.wall(), self._next_job)
        self.targets = tuple(target_of(text, self.calls, "--target") for text in self.plan.targets)
        for target in self.targets:  # what is wrong with a target is no fault of a line
            self._settle(target, Row(0, "-"))
        self.lanes: dict[tuple[str, str], Lane] = {}
        self.digest = hashlib.sha256()
        self.number = self.jobs = self.turn = self.skipped = 0
        self.bad: list[Bad] = []
        self.ignored: dict[str, None] = {}

    def take(self, row: Row | Bad) -> None:
        """One line of the input: to one target in its turn, to the one it names, or to each."""
        if isinstance(row, Bad):
            self._refuse(row)
            return
        self.ignored.update(dict.fromkeys(row.ignored))
        try:
            if row.target is not None:
                targets: tuple[Target, ...] = (target_of(row.target, self.calls, "its target"),)
            elif self.plan.each:
                targets = self.targets
            else:
                targets = (self.targets[self.turn % len(self.targets)],)
                self.turn += 1
            ready = [self._ready(row, target, self.number + place) for place, target in enumerate(targets, start=1)]
            for one in ready:
                self._keep(row, one)
        except StorageError:
            raise
        except LLMSwitchError as error:
            self._refuse(Bad(row.line, error.message.rstrip(".")))

    def prepared(self) -> Prepared:
        """What came of it all."""
        if self.skipped and not self.plan.skip_bad:
            more = (f"and {self.skipped - len(self.bad):,} more",) if self.skipped > len(self.bad) else ()
            raise BadLinesError(
                f"{self.skipped:,} line{'s are' if self.skipped > 1 else ' is'} no question, and nothing was sent: "
                "mend them, or give --skip-bad to leave them out.",
                (*(f"line {bad.line}: {bad.why}" for bad in self.bad), *more),
            )
        if not self.number:
            left_out = f": all {self.skipped:,} lines of it are bad" if self.skipped else ""
            raise ConfigError(f"there is no question in the input{left_out}.")
        lanes = tuple(self.lanes.values())
        cached = [_cached_job(self.batch_id, lane, self.terms.at) for lane in lanes if lane.cached]
        first = [cached[0]._replace(lines=sum(job.lines for job in cached))] if cached else []
        sent = sorted((job for lane in lanes for job in lane.jobs(self.batch_id)), key=lambda job: job.number)
        return Prepared(
            fingerprint=self.digest.hexdigest(),
            jobs=(*first, *sent),
            sums=tuple(lane.sum._replace(cached=lane.cached) for lane in lanes),
            lines=self.number,
            skipped=self.skipped,
            bad=tuple(self.bad),
            ignored=tuple(self.ignored),
        )

    def _refuse(self, bad: Bad) -> None:
        self.skipped += 1
        if len(self.bad) < _MOST_FAULTS:
            self.bad.append(bad)

    def _settle(self, target: Target, row: Row) -> tuple[Call, Question]:
        """The row's own parameters go first, then the target's, then those for all."""
        known = self.calls.get(target.text)
        if known is not None:
            call = asked_of(known, row.asked, row.system, stream=False)
            request = call.request
            return call, Question(request.messages, system=request.system, parameters=request.parameters)
        parameters = _over(row.parameters, target.parameters, self.plan.parameters)
        question = Question(
            row.asked,
            system=row.system or self.plan.system,
            parameters=parameters,
            stream=False,
            bounded=self.plan.bounded,
        )
        return settle(self.settings, target, question), question

    def _ready(self, row: Row, target: Target, number: int) -> _Ready:
        """Whatever is wrong with a line is found here, before anything of it is kept."""
        call, question = self._settle(target, row)
        earlier = None if row.id is None else self.lines.line_of(row.id, target.text)
        if earlier is not None:
            raise ConfigError(f"its id {row.id!r} was used on line {earlier}")
        lane = self._lane(call, target)
        key = cache_key(call.endpoint, call.request, self.services.namespace)
        found = self._cached(key)
        body = "" if found is not None else self._body(lane, call, question, number)
        size = 1 + (len(body) if body.isascii() else len(body.encode()))
        lane.check(size)
        return _Ready(target, call, lane, key, body, size, found)

    def _keep(self, row: Row, ready: _Ready) -> None:
        target, call, lane, key, body, size, found = ready
        self.number += 1
        self.digest.update(f"{target.text}\n{row.id}\n{key}\n".encode())
        if found is not None:
            lane.cached += 1
            self.lines.add(Line(self.number, row.line, row.id, target.text, 0, key, body, None, True, found))
            return
        text_bytes = call.text_bytes
        job = lane.put(size, -(-text_bytes // 4))
        most_input = most_input_tokens(call.request, self.services.prices, call.price_key)
        most_output = call.request.parameters.max_tokens
        lane.add(text_bytes, most_input, most_output)
        self.lines.add(Line(self.number, row.line, row.id, target.text, job, key, body, most_output))

    def _lane(self, call: Call, target: Target) -> Lane:
        name = (target.text, call.request.model)
        lane = self.lanes.get(name)
        if lane is None:
            lane = Lane(call, target.text, self.terms)
            self.lanes[name] = lane
        return lane

    def _next_job(self) -> int:
        self.jobs += 1
        return self.jobs

    def _cached(self, key: str) -> str | None:
        """A stored answer as it is kept with the lines."""
        cache = self.services.cache
        if cache is None or self.services.refresh:
            return None
        found = cache.get(key)
        return None if found is None else encode(found)

    def _body(self, lane: Lane, call: Call, question: Question, number: int) -> str:
        if lane.batching is not None:
            told = lane.batching.encode(call.endpoint, f"{self.batch_id}-{number}", call.request)
        else:
            told = {
                "messages": [(message.role, message.text) for message in question.messages],
                "system": question.system,
                "parameters": question.parameters.as_dict(),
            }
        return json.dumps(told, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _over(*layers: Parameters) -> Parameters:
    """The first of them that sets a parameter decides it."""
    merged = layers[-1]
    for layer in reversed(layers[:-1]):
        values = layer.as_dict()
        if values:
            merged = replace(merged, **{name: getattr(layer, name) for name in values})
    return merged


def _cached_job(batch_id: str, lane: Lane, at: float) -> BatchJob:
    """The job that stands for what the cache had: all there is left to do is to put it on record."""
    return BatchJob(
        batch_id,
        0,
        lane.target,
        lane.call.endpoint.provider,
        lane.call.request.model,
        lane.call.key,
        "cache",
        "stored",
        lane.cached,
        at,
    )
