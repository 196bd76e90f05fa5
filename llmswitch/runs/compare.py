"""The same prompt to several targets: whom to ask, the asking, and what came of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from llmswitch.errors import CallInterruptedError, ConfigError
from llmswitch.profiles import Settings
from llmswitch.providers import find_vendor, vendor_names
from llmswitch.providers.base import Provider
from llmswitch.runs.ask import Services, find_cached
from llmswitch.runs.call import Call, Question, needed, settle
from llmswitch.runs.judge import Asked, Judgement, judge
from llmswitch.runs.rehearsal import rehearse
from llmswitch.runs.sampling import Progress, Sample, plan, take
from llmswitch.targets import parse_target
from llmswitch.types import Target

__all__ = ["Comparison", "Job", "compare", "settle_calls"]


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

    `asked` is what the judge is told of the question.
    """

    asked: Asked
    calls: tuple[Call, ...]
    repeats: int
    seed: int
    judge: Call | None = None


def settle_calls(
    settings: Settings, question: Question, named: Sequence[str], warn: Callable[[str], None]
) -> tuple[Call, ...]:
    """The calls to the targets that were named, or else to every configured provider.

    Raises ConfigError where a named one cannot be asked, where two are the same call, and where there is none; one
    that nobody named and that cannot be asked is left out with a warning.
    """
    calls = []
    for target in [parse_target(text, "--target") for text in named] or _configured(settings):
        try:
            calls.append(_settle(settings, target, question))
        except ConfigError as error:
            if named:
                raise
            warn(f"left out {target.text}: {error.message}")
    if not calls:
        raise ConfigError(f"there is no target to ask: {needed(settings)}, or name targets, as in -t claude -t openai.")
    _check_different(calls)
    return tuple(calls)


def _configured(settings: Settings) -> list[Target]:
    """LLM_PROVIDER's target first, then every other provider that is configured."""
    chosen = settings.get("LLM_PROVIDER")
    targets = [parse_target(chosen, settings.where("LLM_PROVIDER"))] if chosen is not None else []
    first = find_vendor(targets[0].provider, settings).key if targets else None
    names = (find_vendor(name, settings) for name in vendor_names(settings))
    return targets + [
        Target(vendor.key, text=vendor.key) for vendor in names if vendor.key != first and vendor.configured(settings)
    ]


def _settle(settings: Settings, target: Target, question: Question) -> Call:
    """A target's own parameters go before the flags', which are for all: two targets may differ in nothing else."""
    common = replace(question.parameters, **dict.fromkeys(target.parameters.as_dict()))
    return settle(settings, target, question._replace(parameters=common))._replace(command="compare")


def _check_different(calls: Sequence[Call]) -> None:
    for place, call in enumerate(calls):
        for other in calls[:place]:
            if (call.endpoint, call.request) == (other.endpoint, other.request):
                twice = "is named twice" if call.target.text == other.target.text else f"is {other.target.text}"
                raise ConfigError(
                    f"{call.target.text} {twice}: leave one out, or give --repeats 2 to ask each of them twice."
                )


async def compare(job: Job, services: Services, progress: Progress) -> Comparison:
    """Ask every target; raises ConfigError where an SDK or a model is not there, before anything is sent.

    No clock starts before every SDK is imported and the price list is there. With repeats the cache is left alone:
    what it holds was measured once. Cancelling this ends it early, and what was finished is in the result.
    """
    if job.repeats > 1:
        services = services._replace(cache=None)
    blocks = plan(len(job.calls), job.repeats, job.seed)
    cached = _cached(job.calls, services, progress)
    asked = tuple(tuple(planned for planned in block if planned.target not in cached) for block in blocks)
    adapters: dict[int, Provider] = {}
    try:
        asked_now = {index: call for index, call in enumerate(job.calls) if index not in cached}
        await _connected(asked_now, adapters)
        await rehearse(asked_now.values())
        samples, interrupted = await take([block for block in asked if block], job.calls, adapters, services, progress)
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
            comparison = await _judged(comparison, job.asked, job.judge, services)
        return comparison
    finally:
        for adapter in adapters.values():
            await adapter.aclose()


def _cached(calls: Sequence[Call], services: Services, progress: Progress) -> dict[int, Sample]:
    found = {}
    for index, call in enumerate(calls):
        response = find_cached(call, services)
        if response is not None:
            found[index] = Sample(call.target.text, call.endpoint.provider, call.request.model, 0, response)
            progress.started(index)
            progress.ended(index, found[index])
    return found


async def _connected(calls: Mapping[int, Call], adapters: dict[int, Provider]) -> None:
    stopped = threading.Event()
    try:
        await asyncio.to_thread(_connect, calls, adapters, stopped)
    finally:
        stopped.set()


def _connect(calls: Mapping[int, Call], adapters: dict[int, Provider], stopped: threading.Event) -> None:
    """Put each call's adapter into `adapters`, until `stopped`. Slow: imports SDKs and loads the embedded model.

    One after another, in one thread: imports of packages that share others, in several threads at once, take no
    less time and may see each other half done.
    """
    from llmswitch.pricing import load_price_list

    if calls:
        load_price_list()
    for index, call in calls.items():
        if stopped.is_set():  # a Ctrl-C, which would otherwise wait for the rest
            return
        adapters[index] = call.vendor.connect(call.endpoint)


async def _judged(comparison: Comparison, asked: Asked, call: Call, services: Services) -> Comparison:
    answers = {s.target: s.response.text for s in comparison.results if s.response is not None and s.response.text}
    judgement = await judge(asked, answers, call, services)
    stopped = isinstance(judgement.error, CallInterruptedError)
    return comparison._replace(judgement=judgement, interrupted=stopped)
