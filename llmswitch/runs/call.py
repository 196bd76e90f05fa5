"""Settling a call: who is asked, with which model and parameters. Nothing is sent, and no SDK is imported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from llmswitch.errors import ConfigError
from llmswitch.pricing import PriceKey
from llmswitch.profiles import Settings
from llmswitch.providers import find_vendor, vendor_names
from llmswitch.providers.base import Endpoint, Vendor
from llmswitch.targets import parse_parameter, parse_target
from llmswitch.types import PARAMETERS, Attachment, Message, Parameters, Request, Target

__all__ = ["BOUND", "Call", "Question", "choose_target", "needed", "settle", "standing_parameters"]


_NOTHING_SET = Parameters()
#: the longest answer under a budget where nobody said, in tokens
BOUND = 8192

#: what a caller may give for a parameter, and what to call it; `stop` is checked text by text
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "temperature": ((int, float), "a number"),
    "max_tokens": ((int,), "a whole number"),
    "top_p": ((int, float), "a number"),
    "seed": ((int,), "a whole number"),
    "reasoning_effort": ((str,), "text"),
}


class Question(NamedTuple):
    """What is asked, before it is known of whom. `parameters` are those given by flag; `model` likewise."""

    messages: tuple[Message, ...]
    system: str | None = None
    model: str | None = None
    parameters: Parameters = _NOTHING_SET
    schema: Mapping[str, Any] | None = None
    stream: bool = True
    #: whether pieces that were sent may be taken back: see `Chunk.restart`
    restarts: bool = False
    #: calls of one conversation stay with one target, where a balance chooses
    conversation: str | None = None
    #: whether an answer must be bounded, because a budget has to hold it
    bounded: bool = False


class Call(NamedTuple):
    """One question to one target, settled: everything that decides the answer is in `endpoint` and `request`."""

    vendor: Vendor
    endpoint: Endpoint
    request: Request
    target: Target
    command: str = "ask"
    profile: str | None = None
    conversation_id: str | None = None
    #: requests and tokens a minute that the settings allow this provider
    per_minute: tuple[int | None, int | None] = (None, None)
    #: what kind of task whoever asks says it is
    task: str | None = None

    @property
    def key(self) -> str:
        """What calls to the same target share: its health and its limits are known by this name. No secret in it."""
        at = self.endpoint
        return _key(at.provider, self.request.model, at.base_url, (at.organization, at.project, at.location))

    @property
    def price_key(self) -> PriceKey:
        """What its price is looked up by, before anybody answered."""
        endpoint = self.endpoint
        return PriceKey(
            endpoint.provider,
            self.request.model,
            price_provider=endpoint.price_provider,
            price_model=endpoint.price_model,
        )

    @property
    def text_bytes(self) -> int:
        """The UTF-8 bytes of its texts; attachments are not counted."""
        texts = [self.request.system or "", *(message.text for message in self.request.messages)]
        return sum(len(text.encode("utf-8", "replace")) for text in texts)


def choose_target(
    settings: Settings, *, named: str | None, model: str | None, before: str | None = None
) -> tuple[Target, str | None]:
    """The target to ask, and a line that says so where nobody named it.

    A flag goes first, then `before` (the conversation's own), the settings' LLM_PROVIDER, the first configured.
    `local` is chosen only where nothing is configured and nothing was named: a job that lost its key must fail
    rather than get a small model's text. Raises ConfigError.
    """
    if named is not None:
        _check_text(named, "the target")
        return parse_target(named, "--provider or --target"), None
    if before is not None:
        return parse_target(before), None
    chosen = settings.get("LLM_PROVIDER")
    if chosen is not None:
        return parse_target(chosen, settings.where("LLM_PROVIDER")), None
    for name in vendor_names(settings):
        vendor = find_vendor(name, settings)
        if vendor.configured(settings):
            told = f"asking {vendor.key}, the first that is configured; --provider chooses another."
            return Target(vendor.key, text=vendor.key), told
    if settings.profile is None and model is None:
        return Target("local", text="local"), "no provider is configured: asking the small embedded model (local)."
    raise ConfigError(f"{needed(settings)}, or name one with --provider.")


def needed(settings: Settings) -> str:
    """What to set where no provider is configured, as the beginning of a sentence."""
    needs = ", ".join(find_vendor(name, settings).needs[0] for name in vendor_names(settings)[:4])
    place = f"profile {settings.profile!r}" if settings.profile else "the environment"
    return f"no provider is configured in {place}: set one of {needs}"


def settle(settings: Settings, target: Target, question: Question) -> Call:
    """Join target, question and settings; a flag goes before a target's parameter, that before the profile's.

    Raises ConfigError for what cannot be: a question that is none, an unknown provider, no key, no model, an
    attachment it does not take.
    """
    _check_question(question)
    # others are not kept: there is no end to them
    if question.model is None and question.parameters == target.parameters == _NOTHING_SET:
        terms = settings.once(("terms", target, question.bounded), lambda: _terms(settings, target, question))
    else:
        terms = _terms(settings, target, question)
    vendor, endpoint = terms.vendor, terms.endpoint
    request = Request(
        model=terms.model,
        messages=question.messages,
        system=question.system or settings.get("LLM_SYSTEM") or endpoint.system,
        parameters=terms.parameters,
        schema=question.schema,
        stream=question.stream,
        optional=terms.optional,
        restarts=question.restarts,
    )
    _check_text(request.system or "", "the system prompt")
    _check_attachments(vendor, request)
    return Call(vendor, endpoint, request, target, profile=settings.profile, per_minute=terms.per_minute)


class _Terms(NamedTuple):
    """What target and settings say of a call, whatever is asked."""

    vendor: Vendor
    endpoint: Endpoint
    model: str
    parameters: Parameters
    optional: frozenset[str]
    per_minute: tuple[int | None, int | None]


def _terms(settings: Settings, target: Target, question: Question) -> _Terms:
    vendor, endpoint = settings.once(("vendor", target.provider), lambda: _vendor(settings, target.provider))
    model = question.model or target.model or endpoint.model or vendor.default_model
    if not model:
        raise ConfigError(
            f"{vendor.key} needs a model: give --model, or set {vendor.model_variable}.", provider=vendor.key
        )
    _check_text(model, "the model")
    endpoint = vendor.locate(endpoint, model) if vendor.locate else replace(endpoint, model=model)
    per_minute = settings.once(("per minute", vendor.key), lambda: _per_minute(settings, vendor))
    parameters, optional = _parameters(settings, vendor, target, question)
    return _Terms(vendor, endpoint, endpoint.model or model, parameters, optional, per_minute)


def _vendor(settings: Settings, name: str) -> tuple[Vendor, Endpoint]:
    vendor = find_vendor(name, settings)
    return vendor, vendor.configure(settings)


@lru_cache(maxsize=256)
def _key(provider: str, model: str, base_url: str, of: tuple[str | None, ...]) -> str:
    account = "/".join(part for part in of if part)
    host = urlsplit(base_url).netloc.rpartition("@")[2]
    return f"{provider}:{model}@{host}" + (f"/{account}" if account else "")


def _per_minute(settings: Settings, vendor: Vendor) -> tuple[int | None, int | None]:
    prefix = vendor.key.upper().replace("-", "_")
    return settings.integer(f"{prefix}_RPM", 1), settings.integer(f"{prefix}_TPM", 1)


def standing_parameters(settings: Settings) -> dict[str, Any]:
    """The parameters that a profile or the environment sets for every call; raises ConfigError."""
    known: dict[str, Any] = {"temperature": settings.number("TEMPERATURE", 0, 2)}
    known["max_tokens"] = settings.integer("MAX_TOKENS", 1)
    return {name: value for name, value in known.items() if value is not None}


def _parameters(
    settings: Settings, vendor: Vendor, target: Target, question: Question
) -> tuple[Parameters, frozenset[str]]:
    asked = {**target.parameters.as_dict(), **question.parameters.as_dict()}
    known = dict(settings.once("standing parameters", lambda: standing_parameters(settings)))
    if "max_tokens" not in known and vendor.default_max_tokens is not None:
        known["max_tokens"] = vendor.default_max_tokens
    bounded = question.bounded or any(settings.find(name) for name in ("LLM_BUDGET_DAILY", "LLM_BUDGET_MONTHLY"))
    values = ({"max_tokens": BOUND} if bounded else {}) | known | asked
    if "stop" in values:
        values["stop"] = tuple(values["stop"])
    optional = frozenset(known) - frozenset(asked) - ({"max_tokens"} if bounded else frozenset())
    return Parameters(**{name: values[name] for name in PARAMETERS if name in values}), optional


def _check_question(question: Question) -> None:
    """ConfigError for what no vendor could be sent. Cheap, as an answer from the cache pays for it, too."""
    _check_type(question.messages, (tuple, list), "messages", "a tuple of Message")
    if not question.messages:
        raise ConfigError("the question holds no message.")
    for message in question.messages:
        _check_type(message, (Message,), "a message", "a Message")
        _check_text(message.text, "the prompt")
        if message.role not in ("user", "assistant"):
            raise ConfigError(f"a message's role must be user or assistant, not {message.role!r}.")
        _check_type(message.attachments, (tuple, list), "attachments", "a tuple of Attachment")
        for attachment in message.attachments:
            _check_type(attachment, (Attachment,), "an attachment", "an Attachment")
            _check_type(attachment.data, (bytes,), "an attachment's data", "bytes")
            _check_text(attachment.media_type, "an attachment's media type")
            _check_text(attachment.name, "an attachment's name")
    if question.system is not None:
        _check_text(question.system, "the system prompt")
    if question.model is not None:
        _check_text(question.model, "the model")
    _check_type(question.parameters, (Parameters,), "parameters", "Parameters")
    for name, value in question.parameters.as_dict().items():
        _check_parameter(name, value)
    if question.schema is not None:
        _check_json(question.schema)


def _check_parameter(name: str, value: Any) -> None:
    if name == "stop":
        _check_type(value, (list,), name, "a tuple of texts")
        for text in value:
            _check_text(text, name)
            parse_parameter(name, text, name)
        return
    kinds, wanted = _KINDS[name]
    _check_type(value, kinds, name, wanted)
    parse_parameter(name, str(value), name)


def _check_json(schema: Any) -> None:
    _check_type(schema, (dict,), "the schema", "a dict")
    try:
        json.dumps(schema, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise ConfigError("the schema holds bytes that are not UTF-8 text.") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"the schema cannot be written as JSON: {error}.") from error


def _check_text(value: Any, where: str) -> None:
    """A text of whole characters: a byte that is not UTF-8 comes in as half a one, which nothing can send or store."""
    _check_type(value, (str,), where, "text")
    try:
        value.isascii() or value.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{where} holds bytes that are not UTF-8 text.") from error


def _check_type(value: Any, kinds: tuple[type, ...], where: str, wanted: str) -> None:
    """`bool` is an `int` to Python, and here never meant as one."""
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise ConfigError(f"{where} must be {wanted}, not {type(value).__name__}.")


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
