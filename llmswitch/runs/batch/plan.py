"""What is asked of whom in a batch, and how each target is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from llmswitch.batches import BatchJob
from llmswitch.errors import ConfigError
from llmswitch.profiles import Settings
from llmswitch.providers.batching import Batching
from llmswitch.runs.call import Call, Question, settle
from llmswitch.targets import parse_target
from llmswitch.types import Message, Parameters, Target, Trace

__all__ = ["BadLinesError", "Calls", "Plan", "asked_of", "batching_of", "settled_again", "target_of"]

#: calls with no question in them, by the name that lines give the target: whoever hands a batch in may have settled
#: whom to ask already, by more than a target's text says
Calls = Mapping[str, Call]

_NOTHING_SET = Parameters()


class Plan(NamedTuple):
    """`targets` as typed get the lines in turn or, with `each`, every one of them all lines.

    `live` asks one by one where a batch could be had, too. `job_lines` and `job_tokens` make jobs smaller than the
    vendor would take. `bounded` caps every answer, because a budget has to hold it.
    """

    targets: tuple[str, ...]
    format: str
    system: str | None = None
    parameters: Parameters = _NOTHING_SET
    each: bool = False
    live: bool = False
    skip_bad: bool = False
    job_lines: int | None = None
    job_tokens: int | None = None
    bounded: bool = False


class BadLinesError(ConfigError):
    """Lines of the input that are no questions; nothing was sent."""

    def __init__(self, message: str, faults: tuple[str, ...]) -> None:
        super().__init__(message)
        self.faults = faults

    @property
    def lines(self) -> tuple[str, ...]:
        """The first of them, a line each."""
        return (self.message, *(f"  {fault}" for fault in self.faults))


def batching_of(call: Call, *, live: bool) -> tuple[Batching | None, str | None]:
    """The batch interface to ask `call` through, and, where it has none that can be used, why it is asked live."""
    batching = call.vendor.batch
    if live:
        return None, None
    if batching is None:
        return None, f"{call.vendor.key} has no batch interface: its lines are asked one by one, at the usual price"
    reason = batching.unfit(call.endpoint)
    return (batching, None) if reason is None else (None, f"{reason}: its lines are asked one by one")


def target_of(name: str, calls: Calls, where: str) -> Target:
    """Whom a line goes to that names `name`; ConfigError where that is no target."""
    return calls[name].target._replace(text=name) if name in calls else parse_target(name, where)


def asked_of(call: Call, messages: tuple[Message, ...], system: str | None, *, stream: bool) -> Call:
    """A call that was settled before, with a question in it. ConfigError where that cannot be sent."""
    try:
        for text in (system or "", *(message.text for message in messages)):
            text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError("its prompt holds bytes that are not UTF-8 text.") from error
    request = replace(
        call.request,
        messages=messages,
        system=call.request.system if system is None else system,
        stream=stream,
        restarts=stream,
        trace=Trace(),
    )
    return call._replace(request=request)


def settled_again(settings: Settings, job: BatchJob, calls: Calls) -> Call:
    """A call of the job's target as the settings are now. ConfigError where that is another account or address."""
    call = calls.get(job.target)
    if call is None:
        question = Question((Message("user", "-"),), model=job.request_model, stream=False)
        call = settle(settings, parse_target(job.target), question)
    if call.key != job.account:
        raise ConfigError(
            f"job {job.id} was made for {job.account}, and {job.target} is {call.key} now: give the environment that "
            "it was submitted with."
        )
    return call
