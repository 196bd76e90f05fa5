"""Several vendors on one loopback port, each in its own format; the model asked for decides how the answer goes."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tests.servers.recorder import Handler, Loopback, Seen, sse

__all__ = ["Behaviour", "Vendors"]

_KEY = "sk-test-0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a model answers: `text` word by word, times in seconds; `finish` is OpenAI's word for it."""

    text: str = "Paris is the capital."
    first_s: float = 0.0
    each_s: float = 0.0
    status: int = 200
    hangs: bool = False
    finish: str = "stop"
    #: the connection is cut after so many words
    cut_after: int | None = None

    @property
    def words(self) -> list[str]:
        """The pieces it is sent in: words, or of a long text a hundred parts."""
        if len(self.text) > 10_000:
            size = len(self.text) // 100
            return [self.text[i : i + size] for i in range(0, len(self.text), size)]
        return re.findall(r"\s*\S+\s*\Z|\s*\S+", self.text)


class Vendors(Loopback):
    """OpenAI, Anthropic, Gemini and a compatible endpoint 'team'. What is asked for as a model that `behaviours` does
    not name gets the default. A model may be given a function of the request instead. `stop` lets go what hangs.
    """

    def __init__(self, behaviours: Mapping[str, Behaviour | Callable[[Seen], Behaviour]] | None = None) -> None:
        super().__init__()
        self.behaviours = dict(behaviours or {})
        self.stop = threading.Event()
        #: the models, in the order in which they were asked
        self.asked: list[str] = []

    @property
    def environ(self) -> dict[str, str]:
        """What configures all four. A failure is told at once: who tests retries asks for them."""
        return {
            "LLM_MAX_RETRIES": "0",
            "OPENAI_API_KEY": _KEY,
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "OPENAI_MODEL": "gpt-4o",
            "ANTHROPIC_API_KEY": _KEY,
            "ANTHROPIC_BASE_URL": self.url,
            "ANTHROPIC_MODEL": "claude-sonnet-4-5",
            "GOOGLE_API_KEY": _KEY,
            "GOOGLE_GEMINI_BASE_URL": self.url,
            "GEMINI_MODEL": "gemini-2.5-flash",
            "LLM_ENDPOINTS": "team",
            "TEAM_BASE_URL": f"{self.url}/v1",
            "TEAM_MODEL": "some-model",
        }

    def __exit__(self, *details: object) -> None:
        self.stop.set()
        super().__exit__(None, None, None)

    def respond(self, seen: Seen, out: Handler) -> None:
        dialect, model = _dialect(seen)
        self.asked.append(model)
        found = self.behaviours.get(model, Behaviour())
        behaviour = found if isinstance(found, Behaviour) else found(seen)
        if behaviour.status != 200:
            body = json.dumps({"error": {"message": "no luck", "type": "api_error"}, "type": "error"}).encode()
            out.start(behaviour.status, {"content-type": "application/json", "content-length": str(len(body))})
            out.wfile.write(body)
            return
        time.sleep(behaviour.first_s)
        if not _streamed(seen):
            body = json.dumps(_WHOLE[dialect](model, behaviour)).encode()
            out.start(200, {"content-type": "application/json", "content-length": str(len(body))})
            out.wfile.write(body)
            return
        out.start(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        while behaviour.hangs and not self.stop.wait(0.01):
            out.chunk(b"\n")
        for place, event in enumerate(dialect(model, behaviour)):
            if place:
                time.sleep(behaviour.each_s)
            if behaviour.cut_after is not None and place > behaviour.cut_after:
                return
            out.chunk(event)
        out.chunk(b"")


Dialect = Callable[[str, Behaviour], Iterator[bytes]]


def _dialect(seen: Seen) -> tuple[Dialect, str]:
    if seen.path.endswith("/chat/completions"):
        return _openai, seen.json["model"]
    if seen.path.endswith("/messages"):
        return _anthropic, seen.json["model"]
    return _gemini, seen.path.rpartition("/")[2].partition(":")[0]


def _streamed(seen: Seen) -> bool:
    return bool(seen.json.get("stream")) or "streamGenerateContent" in seen.path


def _openai(model: str, behaviour: Behaviour) -> Iterator[bytes]:
    for word in behaviour.words:
        choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
        yield sse({"id": "c1", "model": model, "choices": [choice]})
    last = {"index": 0, "delta": {}, "finish_reason": behaviour.finish}
    count = len(behaviour.words)
    usage = {"prompt_tokens": 10, "completion_tokens": count, "completion_tokens_details": {"reasoning_tokens": 0}}
    yield (
        sse({"id": "c1", "model": model, "choices": [last]})
        + sse({"id": "c1", "model": model, "choices": [], "usage": usage})
        + sse("[DONE]")
    )


def _anthropic(model: str, behaviour: Behaviour) -> Iterator[bytes]:
    usage = {"input_tokens": 10, "output_tokens": 1}
    message = {"id": "m1", "type": "message", "role": "assistant", "model": model, "content": [], "usage": usage}
    start = _named({"type": "message_start", "message": {**message, "stop_reason": None}})
    for place, word in enumerate(behaviour.words):
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
        yield (start if place == 0 else b"") + _named(delta)
    reason = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}[behaviour.finish]
    counted = {"output_tokens": len(behaviour.words), "output_tokens_details": {"thinking_tokens": 0}}
    last = _named({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": counted})
    yield (b"" if behaviour.words else start) + last + _named({"type": "message_stop"})


def _named(data: dict[str, object]) -> bytes:
    return f"event: {data['type']}\n".encode() + sse(data)


def _gemini(model: str, behaviour: Behaviour) -> Iterator[bytes]:
    for word in behaviour.words:
        yield sse({"candidates": [{"content": {"parts": [{"text": word}]}, "index": 0}], "modelVersion": model})
    counts = {"promptTokenCount": 10, "candidatesTokenCount": len(behaviour.words), "thoughtsTokenCount": 0}
    reason = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}[behaviour.finish]
    yield sse({"candidates": [{"finishReason": reason, "index": 0}], "modelVersion": model, "usageMetadata": counts})


def _openai_whole(model: str, behaviour: Behaviour) -> dict[str, object]:
    message = {"role": "assistant", "content": behaviour.text}
    count = len(behaviour.words)
    return {
        "id": "c1",
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": behaviour.finish}],
        "usage": {"prompt_tokens": 10, "completion_tokens": count},
    }


def _anthropic_whole(model: str, behaviour: Behaviour) -> dict[str, object]:
    reason = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}[behaviour.finish]
    return {
        "id": "m1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": behaviour.text}],
        "stop_reason": reason,
        "usage": {"input_tokens": 10, "output_tokens": len(behaviour.words)},
    }


def _gemini_whole(model: str, behaviour: Behaviour) -> dict[str, object]:
    reason = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}[behaviour.finish]
    content = {"role": "model", "parts": [{"text": behaviour.text}]}
    return {
        "candidates": [{"content": content, "finishReason": reason, "index": 0}],
        "modelVersion": model,
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": len(behaviour.words)},
    }


_WHOLE: dict[Dialect, Callable[[str, Behaviour], dict[str, object]]] = {
    _openai: _openai_whole,
    _anthropic: _anthropic_whole,
    _gemini: _gemini_whole,
}
