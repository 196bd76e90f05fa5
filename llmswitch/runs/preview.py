"""`--dry-run`: the request as it would be sent, secrets masked, and what it would cost. Nothing is sent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from llmswitch.pricing import Estimate
from llmswitch.profiles import Settings
from llmswitch.runs.ask import Services
from llmswitch.runs.call import Call
from llmswitch.variables import variable

__all__ = ["Preview", "preview"]

_BASE64 = re.compile(r"(?:data:[\w/+.-]+;base64,)?[A-Za-z0-9+/]{200,}={0,2}")


@dataclass(frozen=True, slots=True)
class Preview:
    """What a call would be. `body` is the vendor's own; `estimate` is None where the price is unknown."""

    provider: str
    request_model: str
    base_url: str
    body: Any
    estimate: Estimate | None


def preview(call: Call, services: Services, settings: Settings) -> Preview:
    """The call as its adapter would send it. Attachments are shortened to their size."""
    endpoint, request = call.endpoint, call.request
    secrets = _secrets(settings)
    return Preview(
        provider=endpoint.provider,
        request_model=request.model,
        base_url=_masked(endpoint.identity()["base_url"], secrets),
        body=_masked(call.vendor.preview(endpoint, request), secrets),
        estimate=services.prices.estimate(
            call.text_bytes, request.parameters.max_tokens, call.price_key, services.wall()
        ),
    )


def _secrets(settings: Settings) -> tuple[str, ...]:
    """Every secret any source holds, the longest first: none may show, wherever it got to."""
    found = {
        entry.value
        for source in settings.sources
        for name, entry in source.entries.items()
        if entry.value and (row := variable(name)) is not None and row.secret
    }
    return tuple(sorted(found, key=len, reverse=True))


def _masked(value: Any, secrets: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {name: _masked(part, secrets) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_masked(part, secrets) for part in value]
    if not isinstance(value, str):
        return value
    for secret in secrets:
        value = value.replace(secret, "***")
    if _BASE64.fullmatch(value):
        return f"{value[:40]}… ({len(value)} characters)"
    return value
