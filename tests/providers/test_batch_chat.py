"""What is OpenAI's and Azure's own in their batches: two steps up, two files down."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from llmswitch.errors import ProviderError
from llmswitch.providers.batching import JobAnswer, Piece
from llmswitch.providers.chat_batch import ChatBatcher
from llmswitch.types import Message, Request
from tests.providers.asking import question
from tests.providers.batching import VENDORS, Bench
from tests.servers.batch_vendors import BatchBehaviour, BatchVendors
from tests.servers.recorder import Answer, Recorder, Seen

USAGE = {"prompt_tokens": 3, "completion_tokens": 1}
ANSWER = {
    "id": "c1",
    "model": "m",
    "choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}],
    "usage": USAGE,
}
OK = {"status_code": 200, "request_id": "req-9", "body": ANSWER}


def environ_of(url: str) -> dict[str, str]:
    return {
        "OPENAI_API_KEY": "sk-test-0123456789abcdef",
        "OPENAI_BASE_URL": f"{url}/v1",
        "AZURE_OPENAI_API_KEY": "sk-test-0123456789abcdef",
        "AZURE_OPENAI_ENDPOINT": url,
        "AZURE_OPENAI_DEPLOYMENT_NAME": "dep",
    }


def results(folder: Path, output: bytes, errors: bytes | None = None) -> tuple[list[JobAnswer], ProviderError | None]:
    """What is read of a job with these files."""

    def answer(seen: Seen) -> Answer:
        if seen.path.endswith("/content"):
            return Answer((output if "/out/" in seen.path else errors) or b"")
        ids = {"output_file_id": "out", "error_file_id": None if errors is None else "err"}
        return Answer({"id": "batch_1", "status": "completed", **ids})

    with Recorder(answer) as server:
        return Bench(VENDORS["openai"], environ_of(server.url), folder).answers("batch_1")


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def test_the_file_goes_up_as_it_is_and_the_job_bears_our_id(tmp_path: Path) -> None:
    with BatchVendors() as server:
        bench = Bench(VENDORS["openai"], server.environ, tmp_path)
        piece = bench.piece(["one", "two\u2028"])
        bench.send(piece)
        (name,) = server.uploads
        assert server.uploads[name] == piece.path.read_bytes()
        assert server.seen[-1].json == {
            "input_file_id": name,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "metadata": {"llmswitch": "b7-j1"},
        }
        assert b'name="purpose"\r\n\r\nbatch' in server.seen[0].body
        assert b'filename="b7-j1.jsonl"' in server.seen[0].body


@pytest.mark.parametrize(("name", "url"), [("openai", "/v1/chat/completions"), ("azure", "/chat/completions")])
def test_a_line_is_the_body_of_a_call_in_an_envelope(name: str, url: str, tmp_path: Path) -> None:
    bench = Bench(VENDORS[name], {**environ_of("http://127.0.0.1:9"), "OPENAI_MODEL": "dep"}, tmp_path)
    asked = Request("dep", (Message("user", "hi"),), system="be brief")
    assert bench.batch.encode(bench.endpoint, "b7-1", asked) == {
        "custom_id": "b7-1",
        "method": "POST",
        "url": url,
        "body": {
            "model": "dep",
            "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
        },
    }
    capped = bench.batch.encode(bench.endpoint, "b7-1", question("hi", model="dep", max_tokens=9))
    assert capped["body"]["max_completion_tokens"] == 9


def waiting(file_looks: int, folder: Path) -> tuple[BatchVendors, list[float], ProviderError | None]:
    """Sending to Azure, which looks through the file until it was asked so often."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    with BatchVendors(BatchBehaviour(file_looks=file_looks)) as server:
        bench = Bench(VENDORS["azure"], server.environ, folder)
        piece = bench.piece(["hi"])

        async def send() -> None:
            batcher = bench.batch.connect(bench.endpoint)
            assert isinstance(batcher, ChatBatcher)
            batcher._sleep = sleep
            try:
                await batcher.send(piece)
            finally:
                await batcher.aclose()

        try:
            asyncio.run(send())
        except ProviderError as error:
            return server, slept, error
        return server, slept, None


def test_a_file_that_azure_looks_through_is_waited_for(tmp_path: Path) -> None:
    server, slept, error = waiting(3, tmp_path)
    assert error is None
    assert len(slept) == 3
    assert [job.ours for job in server.jobs] == ["b7-j1"]


def test_a_file_that_azure_never_takes_in_is_given_up(tmp_path: Path) -> None:
    server, slept, error = waiting(10_000, tmp_path)
    assert error is not None
    assert error.kind == "timeout"
    assert error.message == "azure has not looked through the file of requests within 60 s. Try again later."
    assert 55 <= sum(slept) <= 65
    assert server.jobs == []


def test_a_file_that_is_refused_makes_no_job(tmp_path: Path) -> None:
    refused = {"id": "file-1", "status": "error", "status_details": "line 3 is no JSON"}
    with Recorder(Answer(refused)) as server:
        bench = Bench(VENDORS["azure"], environ_of(server.url), tmp_path)
        error = bench.fails(lambda batcher: batcher.send(bench.piece(["hi"])))
        assert len(server.seen) == 1
    assert (error.kind, error.request_model) == ("bad_request", "dep")
    assert error.message == "azure cannot use the file of requests: line 3 is no JSON"


def test_a_job_that_was_refused_names_the_lines(tmp_path: Path) -> None:
    data = [{"code": "c", "message": f"bad {n}", "line": n} for n in range(1, 6)]
    with Recorder(Answer({"id": "batch_1", "status": "failed", "errors": {"data": data}})) as server:
        job = Bench(VENDORS["openai"], environ_of(server.url), tmp_path).look("batch_1")
    assert (job.status, job.said) == ("failed", "line 1: bad 1; line 2: bad 2; line 3: bad 3; and 2 more errors")


def test_a_status_of_tomorrow_is_one_of_a_job_that_runs(tmp_path: Path) -> None:
    with Recorder(Answer({"id": "batch_1", "status": "resting"})) as server:
        job = Bench(VENDORS["openai"], environ_of(server.url), tmp_path).look("batch_1")
    assert (job.status, job.total, job.done, job.said) == ("running", None, None, None)


def test_both_files_are_read(tmp_path: Path) -> None:
    output = lines({"custom_id": "b7-1", "response": OK, "error": None})
    refused = {"status_code": 400, "body": {"error": {"message": "no", "code": "context_length_exceeded"}}}
    errors = lines({"custom_id": "b7-2", "response": refused, "error": None})
    answers, error = results(tmp_path, output, errors)
    assert error is None
    assert [answer.custom_id for answer in answers] == ["b7-1", "b7-2"]
    assert answers[0].response is not None
    assert answers[0].response.request_id == "req-9"
    assert answers[1].error is not None
    assert (answers[1].error.kind, answers[1].error.status) == ("context_length", 400)


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ({"response": None, "error": {"code": "batch_expired", "message": "late"}}, "timeout"),
        ({"response": None, "error": {"code": "request_timeout", "message": "late"}}, "timeout"),
        ({"response": None, "error": {"code": "insufficient_quota", "message": "no money"}}, "rate_limit"),
        ({"response": None, "error": {"message": "who knows"}}, "server"),
        ({"response": {"status_code": 404, "body": {"error": {"message": "no model"}}}}, "not_found"),
        ({"response": {"status_code": 401, "body": None}}, "authentication"),
        ({"response": {"status_code": 0, "body": ""}}, "malformed"),
        ({"response": {"status_code": 200, "body": {"choices": []}}}, "malformed"),
        ({"response": {"status_code": 200, "body": None}}, "malformed"),
        ({"response": "?"}, "malformed"),
        ({}, "malformed"),
    ],
)
def test_what_a_line_says_of_its_request(record: dict[str, Any], kind: str, tmp_path: Path) -> None:
    answers, error = results(tmp_path, lines({"custom_id": "b7-1", **record}))
    assert error is None
    (answer,) = answers
    assert answer.custom_id == "b7-1"
    assert answer.response is None
    assert answer.error is not None
    assert answer.error.kind == kind
    assert answer.error.request_model == "gpt-6-luna"


def test_a_request_that_was_cancelled_is_left_out(tmp_path: Path) -> None:
    record = {"custom_id": "b7-1", "response": None, "error": {"code": "batch_cancelled", "message": "so you said"}}
    assert results(tmp_path, lines(record)) == ([], None)


@pytest.mark.parametrize("bad", [b"{\n", b"[]\n", b'{"custom_id": 7}\n', b"\xff\n", b"{}\n", b"[" * 100_000 + b"\n"])
def test_a_line_that_cannot_be_read_costs_no_other(bad: bytes, tmp_path: Path) -> None:
    good = lines({"custom_id": "b7-1", "response": OK})
    more = lines({"custom_id": "b7-2", "response": OK})
    answers, error = results(tmp_path, good + bad + b"\n" + more, lines({"custom_id": "b7-3", "response": OK}))
    assert [answer.custom_id for answer in answers] == ["b7-1", "b7-2", "b7-3"]
    assert error is not None
    assert error.kind == "malformed"
    assert "cannot be read at line 2" in error.message


def test_a_list_that_does_not_end_is_not_read_for_ever(tmp_path: Path) -> None:
    page = {"data": [{"id": "batch_1", "created_at": 4e9}], "has_more": True}
    with Recorder(Answer(page)) as server:
        bench = Bench(VENDORS["openai"], environ_of(server.url), tmp_path)
        error = bench.fails(lambda batcher: batcher.find(bench.piece(["hi"])))
        assert len(server.seen) == 2
    assert error.kind == "malformed"


def test_a_list_that_begins_with_the_oldest_is_read_to_its_end(tmp_path: Path) -> None:
    old = {"data": [{"id": f"batch_{n}", "created_at": n} for n in range(1, 4)], "has_more": True}
    new = {"data": [{"id": "batch_9", "created_at": 4e9, "metadata": {"llmswitch": "b7-j1"}}], "has_more": False}
    with Recorder(lambda seen: Answer(new if "after" in seen.query else old)) as server:
        bench = Bench(VENDORS["openai"], environ_of(server.url), tmp_path)
        assert [job.vendor_id for job in bench.find(bench.piece(["hi"]))] == ["batch_9"]


def test_an_id_stays_one_part_of_the_address(tmp_path: Path) -> None:
    with Recorder(Answer({"id": "x", "status": "completed"})) as server:
        Bench(VENDORS["openai"], environ_of(server.url), tmp_path).look("../files?x=1")
        assert server.seen[0].path == "/v1/batches/..%2Ffiles%3Fx%3D1"


def test_a_piece_of_nothing_is_the_vendors_to_refuse(tmp_path: Path) -> None:
    empty = tmp_path / "b7-j1.jsonl"
    empty.touch()
    refusal = Answer({"error": {"message": "The file is empty.", "code": "empty_file"}}, status=400)
    with Recorder(refusal) as server:
        bench = Bench(VENDORS["openai"], environ_of(server.url), tmp_path)
        error = bench.fails(lambda batcher: batcher.send(Piece("b7-j1", "m", 0, empty, 0.0)))
    assert error.kind == "bad_request"


SAID = "bad key sk-test-0123456789abcdef\x1b[31m\nof yours"


def test_what_the_vendor_says_of_a_job_or_a_file_holds_no_key_and_no_control_characters(tmp_path: Path) -> None:
    job = {"id": "batch_1", "status": "failed", "created_at": 9e99, "errors": {"data": [{"message": SAID}]}}
    with Recorder(Answer(job)) as server:
        bench = Bench(VENDORS["openai"], environ_of(server.url), tmp_path)
        found = bench.look("batch_1")
    assert (found.said, found.created_at) == ("bad key *** of yours", None)
    with Recorder(Answer({"id": "file-1", "status": "error", "status_details": SAID})) as server:
        bench = Bench(VENDORS["azure"], environ_of(server.url), tmp_path)
        error = bench.fails(lambda batcher: batcher.send(bench.piece(["hi"])))
    assert error.message == "azure cannot use the file of requests: bad key *** of yours"


def test_a_page_of_jobs_that_is_no_list_is_no_crash(tmp_path: Path) -> None:
    with Recorder(Answer({"data": 7})) as server:
        bench = Bench(VENDORS["openai"], environ_of(server.url), tmp_path)
        assert bench.fails(lambda batcher: batcher.find(bench.piece(["hi"]))).kind == "malformed"
