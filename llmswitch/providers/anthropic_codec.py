"""Anthropic's words for what we ask and what it answers, as its Messages API takes and gives them.

Pure, and imports no SDK. Facts are those of anthropic 2.12: its types, and the notes in them.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmswitch.errors import BadRequestError
from llmswitch.providers.base import PDF, Endpoint
from llmswitch.providers.values import token_count, whole
from llmswitch.types import Chunk, FinishReason, Message, Parameters, Request, Response, Usage

if TYPE_CHECKING:
    from anthropic.types import Message as Answer
    from anthropic.types import MessageDeltaUsage, RawContentBlockDelta, RawMessageStreamEvent
    from anthropic.types import Usage as AnswerUsage
    from anthropic.types.raw_content_block_start_event import ContentBlock

__all__ = ["FINISH_REASONS", "MAX_TOKENS", "decode", "decode_event", "encode", "sampling"]

#: what a call may use where nobody said: the vendor wants a number
MAX_TOKENS = 8192

FINISH_REASONS: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    # the vendor paused a turn that its own tools made long: like a cap, it leaves the beginning of an answer
    "pause_turn": "length",
    "tool_use": "tool_call",
    "refusal": "content_filter",
}

_THINKING = frozenset({"thinking", "redacted_thinking"})


def encode(endpoint: Endpoint, request: Request) -> dict[str, Any]:
    """The body of the call; raises BadRequestError for a seed, which Anthropic does not take."""
    parameters = request.parameters
    if parameters.seed is not None:
        raise BadRequestError(
            "Anthropic takes no seed: leave it out.",
            provider=endpoint.provider,
            request_model=request.model,
            parameter="seed",
        )
    optional = {
        "system": request.system or None,
        "stop_sequences": list(parameters.stop) if parameters.stop else None,
        "output_config": _output_config(request) or None,
        **sampling(parameters),
    }
    return {
        "model": request.model,
        "max_tokens": MAX_TOKENS if parameters.max_tokens is None else parameters.max_tokens,
        "messages": [_encode_message(message) for message in request.messages],
        "stream": request.stream,
        **{name: value for name, value in optional.items() if value is not None},
    }


def sampling(parameters: Parameters) -> dict[str, float | None]:
    return {"temperature": parameters.temperature, "top_p": parameters.top_p}


def _output_config(request: Request) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if request.parameters.reasoning_effort is not None:
        config["effort"] = request.parameters.reasoning_effort
    if request.schema is not None:
        config["format"] = {"type": "json_schema", "schema": _closed(request.schema)}
    return config


def _closed(schema: Any) -> Any:
    """`schema` with every object closed that does not say otherwise: the vendor refuses open ones.

    The answer is checked against the schema as it was given, so this can only make the answer narrower.
    """
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    closed = {name: _closed(value) for name, value in schema.items()}
    return {"additionalProperties": False, **closed} if schema.get("type") == "object" else closed


def _encode_message(message: Message) -> dict[str, Any]:
    if not message.attachments:
        return {"role": message.role, "content": message.text}
    blocks: list[dict[str, Any]] = [
        {
            "type": "document" if attachment.media_type in PDF else "image",
            "source": {
                "type": "base64",
                "media_type": attachment.media_type,
                "data": base64.b64encode(attachment.data).decode("ascii"),
            },
        }
        for attachment in message.attachments
    ]
    if message.text:
        blocks.append({"type": "text", "text": message.text})
    return {"role": message.role, "content": blocks}


def decode(endpoint: Endpoint, request: Request, answer: Answer) -> Response:
    """A whole answer. Thinking is counted and not shown."""
    thought = any(block.type in _THINKING for block in answer.content)
    return Response(
        provider=endpoint.provider,
        request_model=request.model,
        text=whole("".join(block.text for block in answer.content if block.type == "text")),
        finish_reason=_finish(answer.stop_reason) or "error",
        usage=_usage(answer.usage, Usage(reasoning_output_tokens=None if thought else 0)),
        response_model=_text(answer.model),
        response_id=_text(answer.id),
        service_tier=_tier(answer.usage),
    )


def decode_event(event: RawMessageStreamEvent, before: Usage) -> Chunk | None:
    """One event of a stream, None where it says nothing of ours. `before` is the usage that came so far."""
    if event.type == "message_start":
        start = event.message
        usage = _usage(start.usage, replace(before, reasoning_output_tokens=0))
        return Chunk(
            usage=usage, response_model=_text(start.model), response_id=_text(start.id), service_tier=_tier(start.usage)
        )
    if event.type == "content_block_start":
        return _decode_block(event.content_block, before)
    if event.type == "content_block_delta":
        return _decode_delta(event.delta)
    if event.type == "message_delta":
        return Chunk(finish_reason=_finish(event.delta.stop_reason), usage=_usage(event.usage, before))
    return None


def _decode_block(block: ContentBlock, before: Usage) -> Chunk | None:
    if block.type == "text":
        return Chunk(text=block.text)
    if block.type in _THINKING:  # tokens were spent: how many is unknown until the vendor separates them
        return Chunk(usage=replace(before, reasoning_output_tokens=None))
    return None


def _decode_delta(delta: RawContentBlockDelta) -> Chunk | None:
    if delta.type == "text_delta":
        return Chunk(text=delta.text)
    return Chunk(reasoning=delta.thinking) if delta.type == "thinking_delta" else None


def _tier(usage: object) -> str | None:
    """The tier that served the call; a gateway may send anything in its place, or no usage."""
    return _text(getattr(usage, "service_tier", None))


def _text(native: object) -> str | None:
    """A text where it is one: nothing validates what the SDK builds."""
    return whole(native) if isinstance(native, str) else None


def _finish(stop_reason: str | None) -> FinishReason | None:
    return None if stop_reason is None else FINISH_REASONS.get(stop_reason, "error")


def _usage(native: AnswerUsage | MessageDeltaUsage | None, before: Usage) -> Usage:
    """`native` laid over `before`: counts in a stream are cumulative, and a later one replaces the earlier.

    `input_tokens` excludes cache reads and writes in Anthropic's words and includes them in ours. Reasoning is what
    the vendor separates; else what `before` says: 0 where no thinking came, unknown where some did.
    """
    if native is None:
        return before
    read = _later(native.cache_read_input_tokens, before.cache_read_input_tokens)
    written = _later(native.cache_creation_input_tokens, before.cache_creation_input_tokens)
    parts = (native.cache_read_input_tokens, native.cache_creation_input_tokens)
    sent = [token_count(part) for part in parts if part is not None]
    cached = (before.cache_read_input_tokens or 0) + (before.cache_creation_input_tokens or 0)
    uncached = _later(native.input_tokens, None if before.input_tokens is None else before.input_tokens - cached)
    by_age = getattr(native, "cache_creation", None)  # only the first event of a stream has it
    details = native.output_tokens_details
    return Usage(
        input_tokens=None if uncached is None or None in sent else uncached + (read or 0) + (written or 0),
        output_tokens=_later(native.output_tokens, before.output_tokens),
        cache_read_input_tokens=read,
        cache_creation_input_tokens=written,
        reasoning_output_tokens=_later(details.thinking_tokens if details else None, before.reasoning_output_tokens),
        cache_creation_1h_input_tokens=_later(
            by_age.ephemeral_1h_input_tokens if by_age else None, before.cache_creation_1h_input_tokens
        ),
    )


def _later(now: object, before: int | None) -> int | None:
    return before if now is None else token_count(now)
