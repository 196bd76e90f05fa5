"""Settling a call: who is asked, with which model and parameters. Nothing is sent, and no SDK is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from llmswitch.errors import ConfigError
from llmswitch.profiles import Settings
from llmswitch.providers import find_vendor, vendor_names
from llmswitch.providers.base import Endpoint, Vendor
from llmswitch.targets import integer, number, parse_target
from llmswitch.types import PARAMETERS, Message, Parameters, Request, Target

__all__ = ["Call", "Question", "choose_target", "settle"]


_NOTHING_SET = Parameters()


class Question(NamedTuple):
    """What is asked, before it is known of whom. `parameters` are those given by flag; `model` likewise."""

    messages: tuple[Message, ...]
    system: str | None = None
    model: str | None = None
    parameters: Parameters = _NOTHING_SET
    schema: Mapping[str, Any] | None = None
    stream: bool = True


class Call(NamedTuple):
    """One question to one target, settled: everything that decides the answer is in `endpoint` and `request`."""

    vendor: Vendor
    endpoint: Endpoint
    request: Request
    target: Target
    command: str = "ask"
    profile: str | None = None
    conversation_id: str | None = None


def choose_target(
    settings: Settings, *, named: str | None, model: str | None, before: str | None = None
) -> tuple[Target, str | None]:
    """The target to ask, and a line that says so where nobody named it.

    A flag goes first, then `before` (the conversation's own), the settings' LLM_PROVIDER, the first configured.
    `local` is chosen only where nothing is configured and nothing was named: a job that lost its key must fail
    rather than get a small model's text. Raises ConfigError.
    """
    if named is not None:
        return parse_target(named, "--provider or --target"), None
    if before is not None:
        return parse_target(before), None
    chosen = settings.get("LLM_PROVIDER")
    if chosen is not None:
        return parse_target(chosen, settings.where("LLM_PROVIDER")), None
    vendors = []
    for name in vendor_names(settings):
        vendor = find_vendor(name, settings)
        if vendor.configured(settings):
            told = f"asking {vendor.key}, the first that is configured; --provider chooses another."
            return Target(vendor.key, text=vendor.key), told
        vendors.append(vendor)
    if settings.profile is None and model is None:
        return Target("local", text="local"), "no provider is configured: asking the small embedded model (local)."
    needs = ", ".join(vendor.needs[0] for vendor in vendors[:4])
    place = f"profile {settings.profile!r}" if settings.profile else "the environment"
    raise ConfigError(f"no provider is configured in {place}: set one of {needs}, or name one with --provider.")


def settle(settings: Settings, target: Target, question: Question) -> Call:
    """Join target, question and settings; a flag goes before a target's parameter, that before the profile's.

    Raises ConfigError for what cannot be: an unknown provider, no key, no model, an attachment it does not take.
    """
    vendor = find_vendor(target.provider, settings)
    endpoint = vendor.configure(settings)
    model = question.model or target.model or endpoint.model or vendor.default_model
    if not model:
        raise ConfigError(
            f"{vendor.key} needs a model: give --model, or set {vendor.model_variable}.", provider=vendor.key
        )
    endpoint = vendor.locate(endpoint, model) if vendor.locate else replace(endpoint, model=model)
    parameters, optional = _parameters(settings, vendor, target, question)
    request = Request(
        model=endpoint.model or model,
        messages=question.messages,
        system=question.system or settings.get("LLM_SYSTEM") or endpoint.system,
        parameters=parameters,
        schema=question.schema,
        stream=question.stream,
        optional=optional,
    )
    _check_attachments(vendor, request)
    return Call(vendor, endpoint, request, target, profile=settings.profile)


def _parameters(
    settings: Settings, vendor: Vendor, target: Target, question: Question
) -> tuple[Parameters, frozenset[str]]:
    asked = {**target.parameters.as_dict(), **question.parameters.as_dict()}
    known: dict[str, Any] = {}
    temperature, max_tokens = settings.get("TEMPERATURE"), settings.get("MAX_TOKENS")
    if temperature is not None:
        known["temperature"] = number(temperature, settings.where("TEMPERATURE"), 0, 2)
    if max_tokens is not None:
        known["max_tokens"] = integer(max_tokens, settings.where("MAX_TOKENS"), 1)
    elif vendor.default_max_tokens is not None:
        known["max_tokens"] = vendor.default_max_tokens
    values = {**known, **asked}
    if "stop" in values:
        values["stop"] = tuple(values["stop"])
    optional = frozenset(known) - frozenset(asked)
    return Parameters(**{name: values[name] for name in PARAMETERS if name in values}), optional


def _check_attachments(vendor: Vendor, request: Request) -> None:
    for message in request.messages:
        for attachment in message.attachments:
            if attachment.media_type not in vendor.accepts:
                takes = ", ".join(sorted(vendor.accepts)) or "no attachments"
                raise ConfigError(
                    f"{vendor.key} cannot take {attachment.name or 'the attachment'} ({attachment.media_type}): "
                    f"it takes {takes}.",
                    provider=vendor.key,
                    request_model=request.model,
                )
