"""A server that speaks OpenAI's chat format and says what it is told to."""

from __future__ import annotations

import re

from tests.servers.recorder import Answer, Recorder, Seen

_TOLD = re.compile(r"Say: ?(?:\((?P<finish>length|stop)\) ?)?(?P<text>.*)", re.DOTALL)


def echo() -> Recorder:
    """Answers what follows `Say:` in the last message of the user, or that message; `Say: (length) …` is why it ended.

    `@model` in it becomes the name of the model that is asked.
    """
    return Recorder(_answer)


def _answer(seen: Seen) -> Answer:
    body = seen.json
    told = _last(body["messages"])
    found = _TOLD.search(told)
    text, finish = (found["text"], found["finish"] or "stop") if found else (told, "stop")
    text = text.replace("@model", body["model"])
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    head = {"id": "c1", "created": 1, "model": body["model"]}
    if not body.get("stream"):
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return Answer({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
    chunk = {**head, "object": "chat.completion.chunk"}
    said = [{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}]
    last: dict[str, object] = {"index": 0, "delta": {}, "finish_reason": finish}
    ended = {**chunk, "choices": [last], "usage": usage}
    return Answer(events=({**chunk, "choices": said}, ended, "[DONE]"))


def _last(messages: object) -> str:
    if not isinstance(messages, list):
        return str(messages)
    content = next((one["content"] for one in reversed(messages) if one["role"] == "user"), "")
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
