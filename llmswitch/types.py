"""The words of the project as frozen values. Imports nothing of ours.

Token counts follow OpenTelemetry's GenAI conventions: `input_tokens` includes cached ones, `output_tokens`
includes reasoning. Times are seconds on a monotonic clock. Unknown is `None`, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, NamedTuple

__all__ = [
    "PARAMETERS",
    "Attachment",
    "Attempt",
    "Chunk",
    "Cost",
    "FinishReason",
    "Message",
    "Parameters",
    "Request",
    "Response",
    "Secret",
    "Spend",
    "Target",
    "Timing",
    "Trace",
    "Usage",
]

FinishReason = Literal["stop", "length", "content_filter", "tool_call", "error"]


class Attachment(NamedTuple):
    """A file that goes with a message: `media_type` such as `image/png`, and its bytes."""

    media_type: str
    data: bytes
    name: str = ""

    def __repr__(self) -> str:
        """Without the bytes, which are many."""
        return f"Attachment({self.media_type!r}, {len(self.data)} bytes, {self.name!r})"


class Message(NamedTuple):
    """One turn of a conversation. The system prompt is not a message: see `Request.system`."""

    role: Literal["user", "assistant"]
    text: str
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class Parameters:
    """What may follow a target's `?`. `None` leaves the vendor's own default."""

    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    reasoning_effort: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Only what is set, in a fixed order."""
        values = ((name, getattr(self, name)) for name in PARAMETERS)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values if v is not None}


PARAMETERS = ("temperature", "max_tokens", "top_p", "seed", "stop", "reasoning_effort")


class Target(NamedTuple):
    """`provider[:model][?key=value&…]`; `text` is the target as it was typed."""

    provider: str
    model: str | None = None
    parameters: Parameters = Parameters()
    text: str = ""


class Attempt(NamedTuple):
    """One HTTP request and how it ended: `outcome` is `ok`, `interrupted` or an error kind."""

    provider: str
    model: str
    outcome: str
    status: int | None = None
    duration_s: float = 0.0
    retry_after_s: float | None = None


class Spend(NamedTuple):
    """What one attempt took whose answer nobody got: `why` it was lost is `hedged` or the attempt's outcome."""

    provider: str
    model: str
    why: str
    usage: Usage
    cost: Cost | None


@dataclass(slots=True)
class Trace:
    """What happens during one call. Written as it happens, so that it outlives a call that is cancelled.

    `ends` is when the call's deadline passes, on the monotonic clock; `notify` is told in a line what a call that
    shows nothing is doing. `lost` are attempts that may be paid for and gave no answer, `reserved` the numbers of the
    budget's reservations that the call's row in the ledger settles. `started` is when the call began, on the monotonic
    clock, and `started_at` the same in epoch seconds: the day that its cost counts for. None where nobody wrote it.
    `own_s` are the seconds since then that went into building requests and taking answers apart: ours, and no part of
    a latency.
    """

    attempts: list[Attempt] = field(default_factory=list)
    started: float | None = None
    started_at: float | None = None
    own_s: float = 0.0
    ends: float = math.inf
    notify: Callable[[str], None] = lambda told: None
    lost: list[Spend] = field(default_factory=list)
    reserved: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Request:
    """One question, independent of the vendor that answers it.

    `stream` tells how it is asked, `optional` names the parameters that came from a profile: a model that refuses
    one of those is asked again without it. `restarts` tells that pieces already sent may be taken back: whoever reads
    the stream knows what a chunk with `restart` means. `alternative` tells that another healthy target stands ready,
    so that this one is not waited for. `trace` is where the layers write what happens during one call. None of
    `stream`, `restarts`, `alternative` and `trace` can change the answer: they are not in the cache key.
    """

    model: str
    messages: tuple[Message, ...]
    system: str | None = None
    parameters: Parameters = Parameters()
    schema: Mapping[str, Any] | None = None
    stream: bool = True
    optional: frozenset[str] = frozenset()
    restarts: bool = False
    alternative: bool = False
    trace: Trace = field(default_factory=Trace, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. `estimated` is true where the vendor sent no count.

    `cache_creation_1h_input_tokens` is the part of `cache_creation_input_tokens` written for an hour (dearer).
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    reasoning_output_tokens: int | None = None
    cache_creation_1h_input_tokens: int | None = None
    estimated: bool = False

    @property
    def visible_output_tokens(self) -> int | None:
        """Output minus reasoning; unknown where the vendor does not separate them."""
        if self.output_tokens is None or self.reasoning_output_tokens is None:
            return None
        return self.output_tokens - self.reasoning_output_tokens


class Cost(NamedTuple):
    """Money, in USD. `exact` is false where a rate or a token count was assumed."""

    amount: Decimal
    source: str
    exact: bool = True
    currency: str = "USD"


class Timing(NamedTuple):
    """Of the attempt that answered: start to first content token, and first to last content token."""

    time_to_first_token_s: float | None = None
    content_span_s: float | None = None


_NO_TIMING = Timing()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a stream; every field is optional and later values of a field replace earlier ones.

    `text` is visible answer, `reasoning` is thinking that is counted and not shown. Adapters fill everything but
    `response` and `restart`; above the attempt layer a stream is pieces of text, then one last chunk that holds
    `response`. A chunk with `restart`, which only a request that `restarts` gets, makes all pieces before it void.
    """

    text: str = ""
    reasoning: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    response_model: str | None = None
    response_id: str | None = None
    request_id: str | None = None
    service_tier: str | None = None
    response: Response | None = None
    restart: bool = False

    def over(self, earlier: Chunk) -> Chunk:
        """The latest word on everything but text: this chunk's, where it has one, else that of `earlier`."""
        return Chunk(
            finish_reason=self.finish_reason or earlier.finish_reason,
            usage=self.usage or earlier.usage,
            response_model=self.response_model or earlier.response_model,
            response_id=self.response_id or earlier.response_id,
            request_id=self.request_id or earlier.request_id,
            service_tier=self.service_tier or earlier.service_tier,
        )


@dataclass(frozen=True, slots=True)
class Response:
    """One whole answer. `original` holds the first call's figures when `cached`.

    `service_tier` is the vendor's word for the tier that it served the call in, which decides its price.
    """

    provider: str
    request_model: str
    text: str
    finish_reason: FinishReason
    usage: Usage = Usage()
    response_model: str | None = None
    response_id: str | None = None
    request_id: str | None = None
    timing: Timing = _NO_TIMING
    duration_s: float = 0.0
    cost: Cost | None = None
    attempts: tuple[Attempt, ...] = ()
    cached: bool = False
    original: Response | None = None
    service_tier: str | None = None

    @property
    def failed(self) -> bool:
        """Whether it is an answer that no script should take for one."""
        return self.finish_reason in ("error", "tool_call")

    @property
    def itl_s(self) -> float | None:
        """Inter-token latency: (last - first content token) / (visible tokens - 1); null below 2 visible tokens."""
        visible = self.usage.visible_output_tokens
        if self.timing.content_span_s is None or visible is None or visible < 2 or self.usage.estimated:
            return None
        return self.timing.content_span_s / (visible - 1)

    @property
    def output_tokens_per_s(self) -> float | None:
        """1 / ITL; null where that is."""
        itl = self.itl_s
        return 1 / itl if itl else None


class Secret:
    """A key or token that shows itself to nobody: `str`, `repr`, format and pickle all refuse or print `***`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself, for the one place that sends it."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> str:
        raise TypeError("a Secret cannot be pickled")
