"""Whom a question may go to: the target that was named, or those to choose among, and the fallbacks behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from llmswitch.providers import find_vendor, vendor_names
from llmswitch.runs.call import Call, Question, choose_target, settle
from llmswitch.targets import parse_target
from llmswitch.types import Response, Target

if TYPE_CHECKING:
    from llmswitch.profiles import Settings
    from llmswitch.runs.policy import Policy

__all__ = ["Route", "configured", "pick_target", "route_of", "settle_own", "spares"]


class Route(NamedTuple):
    """Settled calls: one of the first `pool` is chosen, by `weights`; the others are fallbacks in their order."""

    calls: tuple[Call, ...]
    pool: int = 1
    weights: tuple[float, ...] = (1.0,)
    conversation: str | None = None

    @property
    def first(self) -> Call:
        """The call that was named, or the first of those to choose among."""
        return self.calls[0]

    def chosen(self, response: Response) -> Call:
        """Of those to choose among, the one that answered; the first where a fallback did."""
        who = (response.provider, response.request_model)
        pool = self.calls[: self.pool]
        return next((call for call in pool if (call.endpoint.provider, call.request.model) == who), self.first)


def pick_target(
    settings: Settings, policy: Policy, *, named: str | None, model: str | None, before: str | None = None
) -> tuple[Target | None, str | None]:
    """`choose_target`, or None where the balance chooses: who is named, and a conversation's own target, go first."""
    if policy.balance is not None and named is None and model is None and before is None:
        return None, None
    return choose_target(settings, named=named, model=model, before=before)


def route_of(
    settings: Settings, policy: Policy, question: Question, target: Target | None, *, conversation: str | None = None
) -> Route:
    """The route of a question to `target`, or without one to whom the policy's balance chooses.

    Each target keeps its own model and parameters; what a flag says is for all, the model for the first alone. Raises
    ConfigError for what cannot be asked; a fallback that cannot take an attachment is left out with a warning.
    """
    if target is not None:
        pool: list[tuple[Target, float]] = []
        calls = [settle(settings, target, question)]
    else:
        assert policy.balance is not None  # noqa: S101  # without one there is a target
        pool = list(policy.balance.targets) or [(found, 1.0) for found in _candidates(settings, policy)]
        calls = [settle_own(settings, member, question) for member, _ in pool]
    calls += spares(settings, policy, question, besides=calls)
    return Route(
        tuple(calls),
        pool=max(1, len(pool)),
        weights=tuple(weight for _, weight in pool) or (1.0,),
        conversation=conversation,
    )


def spares(settings: Settings, policy: Policy, question: Question, *, besides: Sequence[Call] = ()) -> list[Call]:
    """The calls to the policy's fallbacks, in their order; none is the same as another, or as one of `besides`."""
    found: list[Call] = []
    for target in policy.fallback:
        call = _spare(settings, target, question)
        if call is not None and not any(_same(call, other) for other in (*besides, *found)):
            found.append(call)
    return found


def settle_own(settings: Settings, target: Target, question: Question) -> Call:
    """`settle`, with the target's own parameters before those for all: two targets may differ in nothing else."""
    own = target.parameters.as_dict()
    common = replace(question.parameters, **dict.fromkeys(own)) if own else question.parameters
    return settle(settings, target, question._replace(parameters=common))


def configured(settings: Settings) -> list[Target]:
    """LLM_PROVIDER's target first, then every other provider that is configured."""
    chosen = settings.get("LLM_PROVIDER")
    targets = [parse_target(chosen, settings.where("LLM_PROVIDER"))] if chosen is not None else []
    first = find_vendor(targets[0].provider, settings).key if targets else None
    names = (find_vendor(name, settings) for name in vendor_names(settings))
    return targets + [
        Target(vendor.key, text=vendor.key) for vendor in names if vendor.key != first and vendor.configured(settings)
    ]


def _candidates(settings: Settings, policy: Policy) -> Sequence[Target]:
    """Whom to choose among where the balance names nobody: LLM_PROVIDER and the fallbacks, or all there are."""
    if not policy.fallback:
        return configured(settings)
    chosen = settings.get("LLM_PROVIDER")
    first = (parse_target(chosen, settings.where("LLM_PROVIDER")),) if chosen is not None else ()
    return (*first, *policy.fallback)


def _spare(settings: Settings, target: Target, question: Question) -> Call | None:
    """A fallback's call; None where it cannot take what is attached."""
    for message in question.messages:
        for attachment in message.attachments:
            if attachment.media_type not in find_vendor(target.provider, settings).accepts:
                settings.warn(f"{target.text} is no fallback here: it cannot take {attachment.media_type}.")
                return None
    return settle_own(settings, target, question._replace(model=None))


def _same(call: Call, other: Call) -> bool:
    return (call.endpoint, call.request) == (other.endpoint, other.request)
