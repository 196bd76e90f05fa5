"""The chat-completions format, which OpenAI, Azure and every compatible server speak: `Request` to JSON and back.

What differs between them is a `Dialect`. The SDK sends and cuts the stream into events; their JSON is read here,
not through the SDK's models: those are built without validation, so a server that leaves a field out would end in
an AttributeError somewhere instead of in a MalformedError.

Shapes as of openai 3.54: `openai/types/chat/chat_completion.py` and `chat_completion_chunk.py`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

from llmswitch.providers.base import PDF, Endpoint, Variables
from llmswitch.providers.failures import UndecodableError
from llmswitch.providers.values import token_count, whole
from llmswitch.types import Attachment, Chunk, FinishReason, Message, Request, Response, Usage

__all__ = ["REHEARSAL", "Dialect", "decode", "decode_chunk", "encode", "sent_request_id"]

#: see `Vendor.rehearsal`
REHEARSAL = (
    'data: {"id": "r", "model": "m", "choices": [{"index": 0, "delta": {"content": "-"}, "finish_reason": "stop"}]}\n\n'
    "data: [DONE]\n\n"
)

#: the SDK's Literal (openai/types/chat/chat_completion.py), then what compatible servers add to it
_FINISH_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_call",
    "function_call": "tool_call",
    "eos": "stop",
    "model_length": "length",
    "insufficient_system_resource": "error",
    "abort": "error",
    "error": "error",
}

#: OpenAI's strict mode refuses a schema that holds one of these
_NOT_STRICT = frozenset({"allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas"})


class Dialect(NamedTuple):
    """What differs between servers of this one format.

    `names` maps a parameter of ours to theirs, where that is another word. `stream_usage` is false where
    `stream_options` is refused: the server then sends usage unasked, or none at all.
    """

    variables: Variables
    names: Mapping[str, str] = MappingProxyType({})
    stream_usage: bool = True


def sent_request_id(headers: Mapping[str, str]) -> str | None:
    """What the vendor calls this call: OpenAI's header, or Azure's."""
    return headers.get("x-request-id") or headers.get("apim-request-id")


def encode(dialect: Dialect, endpoint: Endpoint, request: Request) -> dict[str, Any]:
    """The body of the call.

    The system prompt goes as role `system`: OpenAI reads it as `developer` where the model wants that, while
    older Azure versions and most compatible servers know no role `developer`.
    """
    system = request.system if request.system is not None else endpoint.system
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    messages += [_encode_message(message) for message in request.messages]
    body: dict[str, Any] = {"model": request.model, "messages": messages}
    for name, value in request.parameters.as_dict().items():
        body[dialect.names.get(name, name)] = value
    if request.schema is not None:
        schema = dict(request.schema)
        strict = schema.get("type") == "object" and _qualifies(schema)
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": strict},
        }
    body["stream"] = request.stream
    if request.stream and dialect.stream_usage:
        body["stream_options"] = {"include_usage": True}
    return body


def _encode_message(message: Message) -> dict[str, Any]:
    if not message.attachments:
        return {"role": message.role, "content": message.text}
    parts = [_encode_attachment(attachment) for attachment in message.attachments]
    if message.text:
        parts.append({"type": "text", "text": message.text})
    return {"role": message.role, "content": parts}


def _encode_attachment(attachment: Attachment) -> dict[str, Any]:
    uri = f"data:{attachment.media_type};base64,{b64encode(attachment.data).decode()}"
    if attachment.media_type in PDF:
        return {"type": "file", "file": {"filename": attachment.name or "document.pdf", "file_data": uri}}
    return {"type": "image_url", "image_url": {"url": uri}}


def _qualifies(schema: object) -> bool:
    """Whether strict mode takes `schema`: every object closed, every property required, no refused keyword.

    Source: OpenAI's guide to structured outputs, 'Supported schemas'.
    """
    if not isinstance(schema, Mapping):
        return False
    if _NOT_STRICT & schema.keys():
        return False
    properties = schema.get("properties", {})
    if schema.get("type") == "object" or properties:
        closed = schema.get("additionalProperties") is False
        if not closed or set(schema.get("required", ())) != set(properties):
            return False
    inner = [*properties.values(), *schema.get("anyOf", ()), *schema.get("prefixItems", ())]
    inner += [*schema.get("$defs", {}).values(), *schema.get("definitions", {}).values()]
    if "items" in schema:
        inner.append(schema["items"])
    return all(_qualifies(part) for part in inner)


def decode(raw: object, *, provider: str, request_model: str, request_id: str | None = None) -> Response:
    """A whole answer; raises UndecodableError."""
    choice = _choice(raw)
    if choice is None:
        raise UndecodableError("it holds no choice")
    content = _content(choice.get("message"))
    finish = content.finish_reason or _finish(choice)
    if finish is None:
        raise UndecodableError("it names no finish_reason")
    ends = _ends(raw)
    return Response(
        provider=provider,
        request_model=request_model,
        text=whole(content.text),
        finish_reason=finish,
        usage=ends.usage or Usage(),
        response_model=ends.response_model and whole(ends.response_model),
        response_id=ends.response_id and whole(ends.response_id),
        request_id=request_id,
        service_tier=ends.service_tier and whole(ends.service_tier),
    )


def decode_chunk(raw: object, *, request_id: str | None = None) -> Chunk:
    """One event of a stream; raises UndecodableError. The usage event, and some of Azure's, hold no choice."""
    choice = _choice(raw)
    ends = _ends(raw)
    if choice is None:
        return replace(ends, request_id=request_id)
    content = _content(choice.get("delta"))
    return replace(
        ends,
        text=content.text,
        reasoning=content.reasoning,
        finish_reason=content.finish_reason or _finish(choice),
        request_id=request_id,
    )


def _choice(raw: object) -> Mapping[str, Any] | None:
    """The first choice, of which there is never a second: `n` is not sent. None where the list is empty."""
    if not isinstance(raw, dict):
        raise UndecodableError(f"it is {type(raw).__name__}, not an object")
    choices = raw.get("choices")
    if choices is None and "usage" in raw:
        return None
    if not isinstance(choices, list):
        raise UndecodableError("it has no list of choices")
    if not choices:
        return None
    if not isinstance(choices[0], dict):
        raise UndecodableError("its choice is not an object")
    return choices[0]


def _ends(raw: object) -> Chunk:
    """What stands beside the choices."""
    assert isinstance(raw, dict)  # noqa: S101  # _choice has looked
    model, identifier = _word(raw.get("model")), _word(raw.get("id"))
    tier = _word(raw.get("service_tier"))
    return Chunk(usage=_usage(raw.get("usage")), response_model=model, response_id=identifier, service_tier=tier)


def _content(message: object) -> Chunk:
    """Text and reasoning of a message or a delta; Azure's content filter sends choices that have neither.

    A refusal is what the reader sees, as a text that the content filter ended.
    """
    if message is None:
        return Chunk()
    if not isinstance(message, dict):
        raise UndecodableError("its message is not an object")
    text, thought = _parts(message.get("content"))
    refusal = _word(message.get("refusal")) or ""
    # DeepSeek, vLLM and xAI call it reasoning_content; OpenRouter, Groq and Ollama reasoning
    thought += _word(message.get("reasoning_content")) or _word(message.get("reasoning")) or ""
    return Chunk(text=text + refusal, reasoning=thought, finish_reason="content_filter" if refusal else None)


def _parts(content: object) -> tuple[str, str]:
    """Text and thinking; Mistral's reasoning models send both as a list of parts."""
    if content is None:
        return "", ""
    if isinstance(content, str):
        return content, ""
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise UndecodableError("its content is not text")
    text = "".join(_word(part.get("text")) or "" for part in content)
    thought = "".join("".join(_parts(part.get("thinking"))) for part in content)
    return text, thought


def _finish(choice: Mapping[str, Any]) -> FinishReason | None:
    reason = choice.get("finish_reason")
    return _FINISH_REASONS.get(str(reason), "error") if reason else None


def _usage(raw: object) -> Usage | None:
    """Token counts, `input_tokens` including cached ones as the vendor's do; None where it sends none."""
    if not isinstance(raw, dict):
        return None
    prompt, output = _count(raw, "prompt_tokens"), _count(raw, "completion_tokens")
    if prompt is None and output is None:
        return None
    reasoning = _count(raw.get("completion_tokens_details"), "reasoning_tokens")
    if prompt is not None and output is not None and reasoning:
        # xAI counts reasoning beside the completion, everybody else within it: the total tells
        apart = _count(raw, "total_tokens") == prompt + output + reasoning
        output += reasoning if apart else 0
    return Usage(
        input_tokens=prompt,
        output_tokens=output,
        cache_read_input_tokens=_count(raw.get("prompt_tokens_details"), "cached_tokens"),
        cache_creation_input_tokens=_count(raw.get("prompt_tokens_details"), "cache_write_tokens"),
        reasoning_output_tokens=reasoning,
    )


def _count(raw: object, name: str) -> int | None:
    return token_count(raw.get(name)) if isinstance(raw, dict) else None


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
