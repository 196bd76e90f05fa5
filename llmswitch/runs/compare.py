"""The same prompt to several targets: whom to ask, the asking, and what came of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from llmswitch.cache import cache_key
from llmswitch.errors import CallInterruptedError, ConfigError
from llmswitch.ledger import call_row
from llmswitch.profiles import Settings
from llmswitch.runs.adapters import Adapters
from llmswitch.runs.ask import Asking, Services, caller
from llmswitch.runs.call import Call, Question, needed
from llmswitch.runs.judge import Asked, Judgement, judge
from llmswitch.runs.rehearsal import rehearse
from llmswitch.runs.route import Route, configured, settle_own
from llmswitch.runs.sampling import Progress, Sample, plan, take
from llmswitch.runs.shared import Shared
from llmswitch.targets import parse_target

__all__ = ["Comparison", "Job", "compare", "compare_with", "connected", "settle_calls"]


class Comparison(NamedTuple):
    """What every target answered. `samples` are in the order of asking, `targets` as they were typed.

    `judgement` is None where nobody was to judge, `interrupted` tells that Ctrl-C ended it.
    """

    prompt: str
    targets: tuple[str, ...]
    samples: tuple[Sample, ...]
    repeats: int = 1
    seed: int = 0
    profile: str | None = None
    judgement: Judgement | None = None
    interrupted: bool = False

    def of(self, target: str) -> tuple[Sample, ...]:
        """The samples of one target, in the order of asking."""
        return tuple(sample for sample in self.samples if sample.target == target)

    @property
    def results(self) -> tuple[Sample, ...]:
        """One sample a target, in the order of the targets: its first that was answered, else its first."""
        return tuple(
            next((sample for sample in self.of(target) if sample.response is not None), self.of(target)[0])
            for target in self.targets
            if self.of(target)
        )


class Job(NamedTuple):
    """What to compare: settled calls, each asked `repeats` times; `judge` is the call of whoever ranks the answers.

    `asked` is what the judge is told of the question; `spares` are asked in the place of a target that fails.
    """

    asked: Asked
    calls: tuple[Call, ...]
    repeats: int
    seed: int
    judge: Call | None = None
    spares: tuple[Call, ...] = ()


def settle_calls(
    settings: Settings, question: Question, named: Sequence[str], warn: Callable[[str], None]
) -> tuple[Call, ...]:
    """The calls to the targets that were named, or else to every configured provider.

    Raises ConfigError where a named one cannot be asked, where two are the same call, and where there is none; one
    that nobody named and that cannot be asked is left out with a warning.
    """
    calls = []
    for target in [parse_target(text, "--target") for text in named] or configured(settings):
        try:
            calls.append(settle_own(settings, target, question)._replace(command="compare"))
        except ConfigError as error:
            if named:
                raise
            warn(f"left out {target.text}: {error.message}")
    if not calls:
        raise ConfigError(f"there is no target to ask: {needed(settings)}, or name targets, as in -t claude -t openai.")
    _check_different(calls)
    return tuple(calls)


def _check_different(calls: Sequence[Call]) -> None:
    for place, call in enumerate(calls):
        for other in calls[:place]:
            if (call.endpoint, call.request) == (other.endpoint, other.request):
                twice = "is named twice" if call.target.text == other.target.text else f"is {other.target.text}"
                raise ConfigError(
                    f"{call.target.text} {twice}: leave one out, or give --repeats 2 to ask each of them twice."
                )


async def compare(job: Job, services: Services, progress: Progress) -> Comparison:
    """`compare_with` what is opened for this one comparison."""
    shared, adapters = Shared(services), Adapters(lasting=True)
    try:
        return await compare_with(job, Asking(services, shared, adapters.get), adapters, progress)
    finally:
        await adapters.aclose()
        await shared.aclose()


async def compare_with(job: Job, asking: Asking, adapters: Adapters, progress: Progress) -> Comparison:
    """Ask every target; raises ConfigError where an SDK or a model is not there, before anything is sent.

    No clock starts before every SDK is imported and the price list is there. With repeats the cache is left alone:
    what it holds was measured once. Cancelling this ends it early, and what was finished is in the result.
    """
    if job.repeats > 1:
        asking = asking._replace(services=asking.services._replace(cache=None))
    blocks = plan(len(job.calls), job.repeats, job.seed)
    cached = await _cached(job.calls, asking, progress)
    asked = tuple(tuple(planned for planned in block if planned.target not in cached) for block in blocks)
    asked_now = [call for index, call in enumerate(job.calls) if index not in cached]
    await connected(asked_now, adapters)
    await rehearse(asked_now)
    routes = [Route((call, *(spare for spare in job.spares if spare.key != call.key))) for call in job.calls]
    samples, interrupted = await take([block for block in asked if block], routes, asking, progress)
    comparison = Comparison(
        prompt=job.asked.prompt,
        targets=tuple(call.target.text for call in job.calls),
        samples=(*cached.values(), *samples),
        repeats=job.repeats,
        seed=job.seed,
        profile=job.calls[0].profile,
        interrupted=interrupted,
    )
    if job.judge is not None and not interrupted:
        comparison = await _judged(comparison, job.asked, job.judge, asking)
    return comparison


async def _cached(calls: Sequence[Call], asking: Asking, progress: Progress) -> dict[int, Sample]:
    """What the cache has, by the number of its target, and put on record. A file that is locked holds up no loop."""
    services, shared = asking.services, asking.shared
    found: dict[int, Sample] = {}
    if services.cache is None or services.refresh or shared.shelf is None:
        return found
    for index, call in enumerate(calls):
        at, key = services.wall(), cache_key(call.endpoint, call.request, services.namespace)
        response = await shared.shelf.find(key, services.clock)
        if response is not None:
            await shared.book.record([call_row(caller(call), response, started_at=at)], (), services.warn)
            found[index] = Sample(call.target.text, call.endpoint.provider, call.request.model, 0, response)
            progress.started(index)
            progress.ended(index, found[index])
    return found


async def connected(calls: Sequence[Call], adapters: Adapters) -> None:
    """Every adapter connected and the price list loaded, in a thread; raises ConfigError where one cannot be."""
    stopped = threading.Event()
    try:
        await asyncio.to_thread(_connect, calls, adapters, stopped)
    finally:
        stopped.set()


def _connect(calls: Sequence[Call], adapters: Adapters, stopped: threading.Event) -> None:
    """Connect each call's adapter, until `stopped`. Slow: imports SDKs and loads the embedded model.

    One after another, in one thread: imports of packages that share others, in several threads at once, take no
    less time and may see each other half done.
    """
    from llmswitch.pricing import load_price_list

    if calls:
        load_price_list()
    for call in calls:
        if stopped.is_set():  # a Ctrl-C, which would otherwise wait for the rest
            return
        adapters.connect(call)


async def _judged(comparison: Comparison, asked: Asked, call: Call, asking: Asking) -> Comparison:
    answers = {s.target: s.response.text for s in comparison.results if s.response is not None and s.response.text}
    judgement = await judge(asked, answers, call, asking)
    stopped = isinstance(judgement.error, CallInterruptedError)
    return comparison._replace(judgement=judgement, interrupted=stopped)
