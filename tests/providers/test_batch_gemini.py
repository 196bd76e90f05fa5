"""What is Gemini's own in its batches: one body up, one document down that is read as it comes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmswitch.types import Attachment, Message, Request
from tests.providers.asking import question, settings_of
from tests.providers.batching import VENDORS, Bench, Got
from tests.servers.batch_vendors import BatchVendors, answer_to
from tests.servers.recorder import Answer, Recorder

VENDOR = VENDORS["gemini"]
YES = {"candidates": [{"content": {"parts": [{"text": "yes"}]}, "finishReason": "STOP"}], "usageMetadata": {}}


@pytest.fixture
def server() -> Iterator[BatchVendors]:
    with BatchVendors() as running:
        yield running


@pytest.fixture
def bench(server: BatchVendors, tmp_path: Path) -> Bench:
    return Bench(VENDOR, server.environ, tmp_path)


def environ_of(url: str) -> dict[str, str]:
    return {"GOOGLE_API_KEY": "g-key-0123456789", "GOOGLE_GEMINI_BASE_URL": url, "GEMINI_MODEL": "g"}


def document(*elements: object, **fields: Any) -> dict[str, Any]:
    """A job's document that holds these answers."""
    answers = {"inlinedResponses": {"inlinedResponses": list(elements)}}
    return {
        "name": "batches/b1",
        "done": True,
        "metadata": {"state": "BATCH_STATE_SUCCEEDED"},
        "response": answers,
        **fields,
    }


def results(folder: Path, body: object) -> Got:
    with Recorder(Answer(body)) as server:
        return Bench(VENDOR, environ_of(server.url), folder).answers("batches/b1")


def state(folder: Path, **fields: Any) -> Any:
    with Recorder(Answer({"name": "batches/b1", **fields})) as server:
        return Bench(VENDOR, environ_of(server.url), folder).look("batches/b1")


def test_a_job_bears_our_id_as_its_name_and_each_request_its_own(bench: Bench, server: BatchVendors) -> None:
    piece = bench.piece(["one", "two\u2028"])
    bench.send(piece)
    lines = [json.loads(line) for line in piece.path.read_bytes().split(b"\n") if line]
    assert server.seen[0].path == "/v1/models/gemini-2.5-flash:batchGenerateContent"
    assert server.seen[0].json == {"batch": {"displayName": "b7-j1", "inputConfig": {"requests": {"requests": lines}}}}
    assert lines[0] == {
        "request": {"contents": [{"role": "user", "parts": [{"text": "one"}]}], "generationConfig": {}},
        "metadata": {"key": "b7-1"},
    }


def test_a_request_is_json_with_its_attachments_in_it(bench: Bench) -> None:
    message = Message("user", "what?", (Attachment("image/png", b"\xfb\xff", "a.png"),))
    line = bench.batch.encode(bench.endpoint, "b7-1", Request("g", (message,), system="be brief"))
    assert json.loads(json.dumps(line)) == line
    assert line["request"]["contents"][0]["parts"][0] == {"inlineData": {"mime_type": "image/png", "data": "-_8="}}
    assert line["request"]["systemInstruction"] == {"parts": [{"text": "be brief"}]}


def test_the_newest_version_is_asked_where_it_is_named(server: BatchVendors, tmp_path: Path) -> None:
    bench = Bench(VENDOR, {**server.environ, "GOOGLE_GENAI_API_VERSION": "beta"}, tmp_path)
    job = bench.send(bench.piece(["one"]))
    bench.look(job.vendor_id)
    assert bench.answers(job.vendor_id).texts == {"b7-1": answer_to("one")}
    assert all(seen.path.startswith("/v1beta/") for seen in server.seen)


def test_vertex_ai_cannot(tmp_path: Path) -> None:
    endpoint = VENDOR.configure(settings_of({"GOOGLE_PROJECT_ID": "p", "GOOGLE_LOCATION": "global"}))
    assert VENDOR.batch is not None
    why = VENDOR.batch.unfit(endpoint)
    assert why is not None
    assert "bucket" in why


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"metadata": {"state": "BATCH_STATE_PENDING"}}, "running"),
        ({"metadata": {"state": "JOB_STATE_QUEUED"}}, "running"),
        ({"metadata": {"state": "BATCH_STATE_OF_TOMORROW"}}, "running"),
        ({"metadata": {"state": "JOB_STATE_CANCELLING"}}, "cancelling"),
        ({"metadata": {"state": "JOB_STATE_SUCCEEDED"}}, "completed"),
        ({"metadata": {"state": "JOB_STATE_PARTIALLY_SUCCEEDED"}}, "completed"),
        ({"metadata": {"state": "BATCH_STATE_EXPIRED"}, "done": True}, "expired"),
        ({"metadata": {"state": "BATCH_STATE_CANCELLED"}, "done": True, "error": {"code": 1}}, "cancelled"),
        ({"done": True}, "completed"),
        ({"done": True, "error": {"code": 13, "message": "oops"}}, "failed"),
        ({}, "running"),
    ],
)
def test_what_a_state_means(fields: dict[str, Any], status: str, tmp_path: Path) -> None:
    assert state(tmp_path, **fields).status == status


def test_counts_are_texts_and_a_missing_one_is_none_of_them(tmp_path: Path) -> None:
    job = state(tmp_path, metadata={"batchStats": {"requestCount": "4", "failedRequestCount": "1"}})
    assert (job.total, job.done, job.failed) == (4, 0, 1)
    job = state(tmp_path, metadata={"createTime": "2026-01-02T03:04:05.123456789Z"})
    assert (job.total, job.done, job.failed) == (None, None, None)
    assert job.created_at == pytest.approx(1767323045.123456)


def test_an_answer_that_does_not_say_whose_it_is_costs_no_other(tmp_path: Path) -> None:
    one, two = ({"response": YES, "metadata": {"key": f"b7-{n}"}} for n in (1, 2))
    got = results(tmp_path, document(one, {"response": YES}, two))
    assert set(got.texts) == {"b7-1", "b7-2"}
    assert got.error is not None
    assert got.error.kind == "malformed"
    assert "answer 2, which does not say to which request it belongs" in got.error.message


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"code": 3, "message": "no"}, "bad_request", None),
        ({"code": 8, "message": "no"}, "rate_limit", None),
        ({"code": 4, "message": "no"}, "timeout", None),
        ({"code": 14, "message": "no"}, "overloaded", None),
        ({"code": 16, "message": "no"}, "authentication", None),
        ({"code": 429, "message": "no"}, "rate_limit", 429),
        ({"message": "no"}, "server", None),
        ({"code": 17, "message": "no"}, "server", None),
        ({"code": {}, "message": "no"}, "server", None),
        ({"code": 9, "message": "no", "status": {}, "details": [{"reason": {}}]}, "bad_request", None),
        (
            {"code": 3, "message": "The input token count (9) exceeds the maximum number of tokens allowed (8)."},
            "context_length",
            None,
        ),
        ("no", "malformed", None),
    ],
)
def test_a_status_of_googles_is_an_error_of_ours(error: object, kind: str, status: int | None, tmp_path: Path) -> None:
    other = {"response": YES, "metadata": {"key": "b7-2"}}
    got = results(tmp_path, document({"error": error, "metadata": {"key": "b7-1"}}, other))
    assert got.error is None
    assert got.kinds == {"b7-1": kind}
    assert got.texts == {"b7-2": "yes"}, "one that is odd costs no other"
    told = got.answers[0].error
    assert told is not None
    assert told.status == status


@pytest.mark.parametrize("response", [None, {}, {"candidates": []}, {"candidates": "?"}, 7])
def test_an_answer_without_a_candidate_is_malformed(response: object, tmp_path: Path) -> None:
    got = results(tmp_path, document({"response": response, "metadata": {"key": "b7-1"}}))
    assert got.kinds == {"b7-1": "malformed"}


def test_what_google_says_of_a_job_holds_no_key(tmp_path: Path) -> None:
    found = state(tmp_path, done=True, error={"code": 16, "message": "no\n\x1b[1mg-key-0123456789"})
    assert (found.status, found.said) == ("failed", "no ***")


def test_a_request_that_was_cancelled_is_left_out(tmp_path: Path) -> None:
    element = {"error": {"code": 1, "message": "cancelled"}, "metadata": {"key": "b7-1"}}
    assert results(tmp_path, document(element)) == Got([], None)


def test_a_blocked_prompt_is_an_answer(tmp_path: Path) -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}}
    got = results(tmp_path, document({"response": blocked, "metadata": {"key": "b7-1"}}))
    assert got.answers[0].response is not None
    assert got.answers[0].response.finish_reason == "content_filter"


def test_a_job_without_results_has_none(tmp_path: Path) -> None:
    assert results(tmp_path, {"name": "batches/b1", "done": True}) == Got([], None)


@pytest.mark.parametrize("name", ["../models", "batches/../x", "batches/a/b", "jobs/1", "batches/", "batches/?x"])
def test_what_is_no_name_of_a_job_is_not_asked_for(name: str, tmp_path: Path) -> None:
    with Recorder(Answer({})) as server:
        bench = Bench(VENDOR, environ_of(server.url), tmp_path)
        assert bench.fails(lambda batcher: batcher.look(name)).kind == "malformed"
        assert server.seen == []


def test_a_model_that_can_be_no_part_of_an_address_is_refused(bench: Bench, server: BatchVendors) -> None:
    piece = bench.piece(["hi"], ours=question)._replace(model="x?y")
    with pytest.raises(Exception, match="is not the name of a model of gemini"):
        bench.run(lambda batcher: batcher.send(piece))
    assert server.seen == []
