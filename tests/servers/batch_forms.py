"""The forms in which the vendors write jobs, results, errors and answers, as their SDKs of today read them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tests.servers.batch_jobs import Failing, Job, Result, answer_to, tokens

__all__ = ["FAILURES", "JOBS", "WHOLE", "anthropic_results", "gemini_job", "openai_results", "rpc_code"]

_ENDS = {"completed": "completed_at", "failed": "failed_at", "expired": "expired_at", "cancelled": "cancelled_at"}
_STATES = {"running": "RUNNING", "cancelling": "RUNNING", "completed": "SUCCEEDED"}
_RPC = {400: 3, 404: 5, 403: 7, 429: 8, 500: 13, 503: 14}


def rpc_code(status: int) -> int:
    """google.rpc.Code of an HTTP status."""
    return _RPC.get(status, 2)


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def openai_answer(model: str, prompt: str, padding: int = 0) -> dict[str, Any]:
    """A chat completion."""
    given, taken = tokens(prompt)
    message = {"role": "assistant", "content": answer_to(prompt) + "x" * padding}
    return {
        "id": "c1",
        "object": "chat.completion",
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": given, "completion_tokens": taken, "total_tokens": given + taken},
    }


def anthropic_answer(model: str, prompt: str, padding: int = 0) -> dict[str, Any]:
    """A message."""
    given, taken = tokens(prompt)
    return {
        "id": "m1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": answer_to(prompt) + "x" * padding}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": given, "output_tokens": taken},
    }


def gemini_answer(model: str, prompt: str, padding: int = 0) -> dict[str, Any]:
    """A response of generateContent."""
    given, taken = tokens(prompt)
    content = {"role": "model", "parts": [{"text": answer_to(prompt) + "x" * padding}]}
    return {
        "candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
        "modelVersion": model,
        "responseId": "g1",
        "usageMetadata": {"promptTokenCount": given, "candidatesTokenCount": taken},
    }


WHOLE = {"openai": openai_answer, "azure": openai_answer, "anthropic": anthropic_answer, "gemini": gemini_answer}


def openai_failure(failing: Failing) -> dict[str, Any]:
    """The body of a call that was refused."""
    return {"error": {"message": failing.message, "type": "invalid_request_error", "param": None, "code": failing.code}}


def anthropic_failure(failing: Failing) -> dict[str, Any]:
    """The same of Anthropic."""
    return {"type": "error", "error": {"type": failing.code, "message": failing.message}, "request_id": "req_1"}


def gemini_failure(failing: Failing) -> dict[str, Any]:
    """The same of Gemini."""
    return {"error": {"code": failing.status, "message": failing.message, "status": failing.code.upper()}}


FAILURES = {
    "openai": openai_failure,
    "azure": openai_failure,
    "anthropic": anthropic_failure,
    "gemini": gemini_failure,
}


def openai_job(job: Job) -> dict[str, Any]:
    """A batch object."""
    counts, behaviour = job.counts(), job.behave()
    errors = None
    if job.outcome == "failed":
        data = [{"code": "invalid_request", "message": behaviour.invalid, "line": 1, "param": None}]
        errors = {"object": "list", "data": data}
    wrong = counts["failed"] + (counts["expired"] if job.over else 0)
    document: dict[str, Any] = {
        "id": job.id,
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "errors": errors,
        "input_file_id": job.input_file,
        "completion_window": "24h",
        "status": {"running": "in_progress"}.get(job.outcome, job.outcome),
        "output_file_id": f"file-out-{job.id}" if counts["answered"] else None,
        "error_file_id": f"file-err-{job.id}" if wrong else None,
        "created_at": int(job.created),
        "expires_at": int(job.created) + 86_400,
        "request_counts": {"total": job.lines, "completed": counts["answered"], "failed": wrong},
        "metadata": None if job.ours is None else {"llmswitch": job.ours},
    }
    if job.ended is not None:
        document[_ENDS[job.outcome]] = int(job.ended)
    return document


def openai_results(job: Job, errors: bool) -> Iterator[bytes]:
    """The lines of the file of answers, or of that of errors. What was cancelled stands in neither."""
    behaviour = job.behave()
    for place, result in enumerate(job.results()):
        if result.kind == "cancelled" or (result.kind == "answered") == errors:
            continue
        response: dict[str, Any] | None = {"status_code": 200, "request_id": f"req-{place}"}
        error = None
        if result.kind == "answered" and response is not None:
            response["body"] = openai_answer(job.model, result.prompt, behaviour.padding)
        elif result.kind == "failed" and response is not None:
            response.update(status_code=behaviour.failing.status, body=openai_failure(behaviour.failing))
        else:
            response = None
            error = {
                "code": "batch_expired",
                "message": "This request could not be executed before the completion window expired.",
            }
        yield _line({"id": f"br-{place}", "custom_id": result.custom_id, "response": response, "error": error})


def anthropic_job(job: Job) -> dict[str, Any]:
    """A message batch."""
    counts = job.counts()
    told = {
        "processing": 0 if job.over else job.lines,
        "succeeded": counts["answered"],
        "errored": counts["failed"],
        "canceled": counts["cancelled"],
        "expired": counts["expired"],
    }
    status = "ended" if job.over else "canceling" if job.cancelling else "in_progress"
    return {
        "id": job.id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": told,
        "created_at": _time(job.created),
        "expires_at": _time(job.created + 86_400),
        "ended_at": _time(job.ended),
        "cancel_initiated_at": _time(job.created) if job.cancelling else None,
        "results_url": f"http://127.0.0.1:9/elsewhere/{job.id}" if job.over else None,
    }


def anthropic_results(job: Job) -> Iterator[bytes]:
    """The lines of the results."""
    behaviour = job.behave()
    for result in job.results():
        told: dict[str, Any] = {"type": {"cancelled": "canceled", "expired": "expired"}.get(result.kind, "succeeded")}
        if result.kind == "answered":
            told["message"] = anthropic_answer(job.model, result.prompt, behaviour.padding)
        elif result.kind == "failed":
            told = {"type": "errored", "error": anthropic_failure(behaviour.failing)}
        yield _line({"custom_id": result.custom_id, "result": told})


def gemini_job(job: Job, *, answers: bool = True) -> dict[str, Any]:
    """An operation. As with Google, its answers stand in it twice."""
    counts = job.counts()
    stats = {
        "requestCount": job.lines,
        "successfulRequestCount": counts["answered"],
        "failedRequestCount": counts["failed"],
    }
    metadata: dict[str, Any] = {
        "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
        "model": f"models/{job.model}",
        "displayName": job.ours,
        "createTime": _time(job.created),
        "state": "BATCH_STATE_" + _STATES.get(job.outcome, job.outcome.upper()),
        "batchStats": {name: str(number) for name, number in stats.items() if number},
        "name": job.id,
    }
    document = {"name": job.id, "metadata": metadata}
    if not job.over:
        return document
    metadata["endTime"] = _time(job.ended)
    if job.outcome == "failed":
        return {**document, "done": True, "error": {"code": 3, "message": job.behave().invalid}}
    if job.outcome != "expired" and answers:  # by Google's guide, an expired job has no results
        told = {"inlinedResponses": {"inlinedResponses": [_inlined(job, result) for result in job.results()]}}
        return {"name": job.id, "metadata": {**metadata, "output": told}, "done": True, "response": told}
    return {**document, "done": True}


def _inlined(job: Job, result: Result) -> dict[str, Any]:
    behaviour = job.behave()
    told: dict[str, Any] = {"metadata": {"key": result.custom_id}}
    if result.kind == "answered":
        return {"response": gemini_answer(job.model, result.prompt, behaviour.padding), **told}
    if result.kind == "failed":
        failing = behaviour.failing
        return {"error": {"code": rpc_code(failing.status), "message": failing.message}, **told}
    return {"error": {"code": 1, "message": "The batch was cancelled."}, **told}


JOBS = {"openai": openai_job, "azure": openai_job, "anthropic": anthropic_job, "gemini": gemini_job}


def _line(record: dict[str, Any]) -> bytes:
    # as it is, and not \u2028: a separator that other splitters of lines take for an end
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"
