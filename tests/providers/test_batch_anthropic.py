"""What is Anthropic's own in its batches: no id of ours, one body up, results of four kinds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmswitch.answers import decode, encode
from llmswitch.errors import BadRequestError
from tests.providers.asking import question
from tests.providers.batching import VENDORS, Bench
from tests.servers.batch_vendors import BatchBehaviour, BatchVendors, answer_to
from tests.servers.recorder import Answer, Recorder

COUNTS = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)


@pytest.fixture
def server() -> Iterator[BatchVendors]:
    with BatchVendors() as running:
        yield running


@pytest.fixture
def bench(server: BatchVendors, tmp_path: Path) -> Bench:
    return Bench(VENDORS["anthropic"], server.environ, tmp_path)


def results(folder: Path, *records: object) -> Any:
    """What is read of these results."""
    body = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    with Recorder(Answer(body)) as server:
        environ = {"ANTHROPIC_API_KEY": "sk-test", "ANTHROPIC_BASE_URL": server.url, "ANTHROPIC_MODEL": "c"}
        return Bench(VENDORS["anthropic"], environ, folder).answers("msgbatch_1")


def test_all_requests_go_in_one_body_of_known_length(bench: Bench, server: BatchVendors) -> None:
    piece = bench.piece(["one\u2028\n", "two, three"])
    bench.send(piece)
    lines = [json.loads(line) for line in piece.path.read_bytes().split(b"\n") if line]
    assert server.seen[0].json == {"requests": lines}
    assert server.seen[0].headers["content-length"] == str(len(server.seen[0].body))
    assert server.seen[0].headers["content-type"] == "application/json"
    assert lines[0]["params"] == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 8192,
        "messages": [{"role": "user", "content": "one\u2028\n"}],
    }


def test_a_file_without_a_last_line_end_is_whole(bench: Bench, server: BatchVendors) -> None:
    piece = bench.piece(["one", "two"])
    piece.path.write_bytes(piece.path.read_bytes().rstrip(b"\n"))
    bench.send(piece)
    assert [prompt for _, prompt in server.jobs[0].requests] == ["one", "two"]


@pytest.mark.parametrize("sampled", [{"temperature": 0.0}, {"top_p": 0.5}, {}])
def test_sampling_parameters_are_sent_under_the_version_that_takes_them(
    bench: Bench, server: BatchVendors, sampled: dict[str, float]
) -> None:
    word = 'a "temperature" in words'
    prompts = ["hi", word]
    bench.send(bench.piece(prompts, ours=lambda p: question(p, model="c", **(sampled if p == word else {}))))
    version = server.seen[0].headers["anthropic-version"]
    assert (version == "2023-06-01") == bool(sampled)


def test_a_schema_with_a_temperature_samples_nothing(bench: Bench, server: BatchVendors) -> None:
    schema = {"type": "object", "properties": {"temperature": {"type": "number"}}}
    bench.send(bench.piece(["hi"], ours=lambda p: question(p, model="c", schema=schema)))
    assert server.seen[0].headers["anthropic-version"] != "2023-06-01"


def test_a_seed_is_refused_before_anything_is_sent(bench: Bench) -> None:
    with pytest.raises(BadRequestError, match="takes no seed"):
        bench.batch.encode(bench.endpoint, "b7-1", question("hi", seed=1))


def test_a_running_job_of_our_size_may_be_ours(bench: Bench, server: BatchVendors) -> None:
    server.behaviour = BatchBehaviour(never_ends=True)
    piece = bench.piece(["one", "two"])
    job = bench.send(piece)
    (found,) = bench.find(piece)
    assert (found.vendor_id, found.certain) == (job.vendor_id, False)
    assert bench.find(piece._replace(lines=3)) == []
    assert bench.find(piece._replace(sent_from=piece.sent_from + 120)) == []
    server.jobs[0].created -= 50
    assert len(bench.find(piece)) == 1


def test_an_ended_job_tells_by_its_results_whose_it_is(bench: Bench, server: BatchVendors) -> None:
    first = bench.piece(["one", "two"])
    second = bench.piece(["three", "four"], id_="b7-j2")
    lines = second.path.read_text().replace('"b7-1"', '"b7-3"').replace('"b7-2"', '"b7-4"')
    second.path.write_text(lines)
    foreign = bench.piece(["five", "six"], id_="b71-j1")
    sent = {piece.id: bench.send(piece).vendor_id for piece in (first, second, foreign)}
    for vendor_id in sent.values():
        bench.look(vendor_id)
    for piece in (first, second, foreign):
        assert [(job.vendor_id, job.certain) for job in bench.find(piece)] == [(sent[piece.id], True)]
    # without its file, a piece knows its batch alone
    first.path.unlink()
    assert {job.vendor_id for job in bench.find(first)} == {sent["b7-j1"], sent["b7-j2"]}


def test_an_ended_job_whose_results_are_gone_may_be_ours(bench: Bench, server: BatchVendors, tmp_path: Path) -> None:
    piece = bench.piece(["one"])
    counts = {**COUNTS, "succeeded": 1}
    job = {
        "id": "msgbatch_1",
        "processing_status": "ended",
        "request_counts": counts,
        "created_at": "2999-01-01T00:00:00Z",
    }
    error = {"type": "error", "error": {"type": "not_found_error", "message": "no results"}}
    gone = Answer(error, status=404)
    with Recorder(lambda seen: gone if "results" in seen.path else Answer({"data": [job]})) as other:
        environ = {**server.environ, "ANTHROPIC_BASE_URL": other.url}
        (found,) = Bench(VENDORS["anthropic"], environ, tmp_path).find(piece)
    assert (found.vendor_id, found.certain) == ("msgbatch_1", False)


def test_results_are_not_fetched_from_the_address_that_the_vendor_names(bench: Bench, server: BatchVendors) -> None:
    job = bench.send(bench.piece(["one"]))
    bench.look(job.vendor_id)
    assert bench.answers(job.vendor_id).texts == {"b7-1": answer_to("one")}
    assert server.seen[-1].path == f"/v1/messages/batches/{job.vendor_id}/results"


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        ({"succeeded": 3}, "completed"),
        ({"succeeded": 2, "errored": 1}, "completed"),
        ({"succeeded": 2, "expired": 1}, "expired"),
        ({"succeeded": 1, "expired": 1, "canceled": 1}, "cancelled"),
    ],
)
def test_how_a_job_ended_is_in_its_counts(counts: dict[str, int], status: str, tmp_path: Path) -> None:
    job = {"id": "msgbatch_1", "processing_status": "ended", "request_counts": {**COUNTS, **counts}}
    with Recorder(Answer(job)) as server:
        environ = {"ANTHROPIC_API_KEY": "sk-test", "ANTHROPIC_BASE_URL": server.url, "ANTHROPIC_MODEL": "c"}
        found = Bench(VENDORS["anthropic"], environ, tmp_path).look("msgbatch_1")
    assert (found.status, found.total) == (status, 3)


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        ({"type": "errored", "error": {"error": {"type": "invalid_request_error", "message": "no"}}}, "bad_request"),
        ({"type": "errored", "error": {"error": {"type": "overloaded_error", "message": "no"}}}, "overloaded"),
        (
            {"type": "errored", "error": {"error": {"type": "invalid_request_error", "message": "prompt is too long"}}},
            "context_length",
        ),
        ({"type": "errored", "error": {"error": {"type": "request_too_large", "message": "no"}}}, "context_length"),
        ({"type": "errored", "error": {"type": "invalid_request_error", "message": "no"}}, "bad_request"),
        ({"type": "errored", "error": None}, "server"),
        ({"type": "errored"}, "server"),
        ({"type": "expired"}, "timeout"),
        ({"type": "succeeded"}, "malformed"),
        ({"type": "succeeded", "message": {"content": None}}, "malformed"),
        ({"type": "succeeded", "message": {"content": [{"type": "text"}]}}, "malformed"),
        ({"type": "resting"}, "malformed"),
        (None, "malformed"),
    ],
)
def test_what_a_result_says(result: object, kind: str, tmp_path: Path) -> None:
    got = results(tmp_path, {"custom_id": "b7-1", "result": result})
    assert got.error is None
    assert got.texts == {}
    assert got.kinds == {"b7-1": kind}
    assert got.answers[0].error.status is None


def test_an_error_names_the_vendors_request(tmp_path: Path) -> None:
    error = {"type": "error", "error": {"type": "api_error", "message": "oops"}, "request_id": "req_7"}
    got = results(tmp_path, {"custom_id": "b7-1", "result": {"type": "errored", "error": error}})
    assert got.answers[0].error.request_id == "req_7"
    assert got.answers[0].error.message == "anthropic: oops."


def test_a_canceled_request_is_left_out(tmp_path: Path) -> None:
    assert results(tmp_path, {"custom_id": "b7-1", "result": {"type": "canceled"}}) == ([], None)


def test_thinking_is_counted_and_not_shown(tmp_path: Path) -> None:
    content = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "yes"}]
    usage = {"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 7, "service_tier": "batch"}
    message = {"id": "m", "model": "c-1", "content": content, "stop_reason": "max_tokens", "usage": usage}
    got = results(tmp_path, {"custom_id": "b7-1", "result": {"type": "succeeded", "message": message}})
    response = got.answers[0].response
    assert (response.text, response.finish_reason, response.service_tier) == ("yes", "length", "batch")
    assert (response.usage.input_tokens, response.usage.output_tokens) == (7, 7)
    assert response.usage.reasoning_output_tokens is None


@pytest.mark.parametrize("odd", [7, [], {"a": 1}])
def test_a_model_that_is_no_text_is_unknown(odd: object, tmp_path: Path) -> None:
    message = {"id": odd, "model": odd, "content": [], "stop_reason": "end_turn"}
    got = results(tmp_path, {"custom_id": "b7-1", "result": {"type": "succeeded", "message": message}})
    kept = decode(encode(got.answers[0].response))  # what cannot be read again would hold up the whole batch
    assert (kept.response_model, kept.response_id) == (None, None)
