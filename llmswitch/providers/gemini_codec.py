"""Gemini's words for what we ask and what it answers, as `generateContent` takes and gives them over REST.

Pure, and imports no SDK. Facts are those of google-genai 3.4: its types, and the notes in them.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llmswitch.errors import ConfigError, MalformedError
from llmswitch.providers.base import Endpoint
from llmswitch.providers.values import token_count, whole
from llmswitch.types import Attachment, Chunk, FinishReason, Message, Request, Response, Usage

if TYPE_CHECKING:
    from google.genai.types import GenerateContentResponse, GenerateContentResponseUsageMetadata

__all__ = ["BLOCK_REASONS", "FINISH_REASONS", "decode", "decode_chunk", "encode", "is_answer", "model_name", "preview"]

FINISH_REASONS: Mapping[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    # a further request, billed like the first, could go on from here: to us it is a cap
    "CONTINUATION": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "ESCALATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "FINISH_REASON_UNSPECIFIED": "error",
    "LANGUAGE": "error",
    "OTHER": "error",
    "IMAGE_OTHER": "error",
    "NO_IMAGE": "error",
    "MALFORMED_FUNCTION_CALL": "error",
    "UNEXPECTED_TOOL_CALL": "error",
    "TOO_MANY_TOOL_CALLS": "error",
    "MISSING_THOUGHT_SIGNATURE": "error",
    "MALFORMED_RESPONSE": "error",
    "PUP_LIMITED_DISABLED": "error",
}

#: why a prompt got no candidate at all
BLOCK_REASONS: Mapping[str, FinishReason] = {
    "BLOCKED_REASON_UNSPECIFIED": "content_filter",
    "SAFETY": "content_filter",
    "OTHER": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "JAILBREAK": "content_filter",
}


def model_name(model: str) -> str:
    """`model`, which becomes a part of the address; ConfigError where it cannot be one."""
    if not re.fullmatch(r"[A-Za-z0-9._/@:-]+", model) or ".." in model:
        raise ConfigError(f"{model!r} is not the name of a model of gemini.", provider="gemini")
    return model


def encode(endpoint: Endpoint, request: Request) -> dict[str, Any]:
    """The body of the call as REST names it, the bytes of attachments still bytes: the SDK encodes them."""
    body: dict[str, Any] = {"contents": [_encode_message(message) for message in request.messages]}
    if request.system:
        body["systemInstruction"] = {"parts": [{"text": request.system}]}
    body["generationConfig"] = _generation_config(request)
    return body


def preview(endpoint: Endpoint, request: Request) -> dict[str, Any]:
    """The body of the call as it goes over the wire."""
    body: dict[str, Any] = json.loads(json.dumps(encode(endpoint, request), default=_base64))
    return body


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii")  # as the SDK does


def _generation_config(request: Request) -> dict[str, Any]:
    parameters = request.parameters
    effort = parameters.reasoning_effort
    config = {
        "temperature": parameters.temperature,
        "topP": parameters.top_p,
        "seed": parameters.seed,
        "maxOutputTokens": parameters.max_tokens,
        "stopSequences": list(parameters.stop) if parameters.stop else None,
        "thinkingConfig": None if effort is None else {"thinkingLevel": effort.upper()},
        "responseMimeType": None if request.schema is None else "application/json",
        "responseJsonSchema": None if request.schema is None else dict(request.schema),
    }
    return {name: value for name, value in config.items() if value is not None}


def _encode_message(message: Message) -> dict[str, Any]:
    parts = [_encode_attachment(attachment) for attachment in message.attachments]
    if message.text or not parts:
        parts.append({"text": message.text})
    return {"role": "user" if message.role == "user" else "model", "parts": parts}


def _encode_attachment(attachment: Attachment) -> dict[str, Any]:
    # the SDK takes either spelling and sends this one, as Google reads either
    return {"inlineData": {"mime_type": attachment.media_type, "data": attachment.data}}


def decode(endpoint: Endpoint, request: Request, answer: GenerateContentResponse) -> Response:
    """A whole answer. Thoughts are counted and not shown. Raises MalformedError where there is none."""
    chunk = decode_chunk(answer)
    if not answer.candidates and chunk.finish_reason is None:
        raise MalformedError(
            "gemini sent an answer without a candidate, and did not say why.",
            provider=endpoint.provider,
            request_model=request.model,
        )
    return Response(
        provider=endpoint.provider,
        request_model=request.model,
        text=whole(chunk.text),
        finish_reason=chunk.finish_reason or "error",
        usage=chunk.usage or Usage(),
        response_model=chunk.response_model and whole(chunk.response_model),
        response_id=chunk.response_id and whole(chunk.response_id),
    )


def is_answer(piece: GenerateContentResponse) -> bool:
    """Whether `piece` holds anything of the vendor's: the SDK makes an empty one of any object."""
    return bool(piece.candidates or piece.prompt_feedback or piece.usage_metadata)


def decode_chunk(piece: GenerateContentResponse) -> Chunk:
    """One piece of a stream, or the whole of what is not streamed: they have the same form."""
    content = piece.candidates[0].content if piece.candidates else None
    parts = (content.parts if content else None) or []
    return Chunk(
        text="".join(part.text for part in parts if part.text and not part.thought),
        reasoning="".join(part.text for part in parts if part.text and part.thought),
        finish_reason=_finish(piece),
        usage=_usage(piece.usage_metadata),
        response_model=piece.model_version,
        response_id=piece.response_id,
    )


def _finish(piece: GenerateContentResponse) -> FinishReason | None:
    """Why it ended, or None where it goes on. A blocked prompt has no candidate, and is told of once."""
    if piece.candidates:
        reason = piece.candidates[0].finish_reason
        return None if reason is None else FINISH_REASONS.get(reason.value, "error")
    blocked = piece.prompt_feedback.block_reason if piece.prompt_feedback else None
    return None if blocked is None else BLOCK_REASONS.get(blocked.value, "content_filter")


def _usage(native: GenerateContentResponseUsageMetadata | None) -> Usage | None:
    """Tokens of the call so far; None where the piece counts none (Vertex sends `trafficType` alone at first).

    Google's JSON leaves out a number that is 0. Its prompt includes what was cached, its candidates exclude thoughts,
    and results of tools are input that is counted beside the prompt.
    """
    if native is None or native.prompt_token_count is None:
        return None
    return Usage(
        input_tokens=_sum(native.prompt_token_count, native.tool_use_prompt_token_count),
        output_tokens=_sum(native.candidates_token_count, native.thoughts_token_count),
        cache_read_input_tokens=_sum(native.cached_content_token_count),
        reasoning_output_tokens=_sum(native.thoughts_token_count),
    )


def _sum(*parts: int | None) -> int | None:
    """Of counts where None is 0; None where one of them can be no count."""
    counts = [token_count(part or 0) for part in parts]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
