"""Every vendor's batch calls over real HTTP: from a file of requests to the answer of each, and what can go wrong."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmswitch.providers import find_vendor, vendor_names
from llmswitch.providers.batching import Batcher, JobState
from tests.providers.asking import ask, chunks, question, settings_of, text_of
from tests.providers.batching import VENDORS, Bench
from tests.servers.batch_vendors import KEY, BatchBehaviour, BatchVendors, Failing, answer_to, tokens
from tests.servers.recorder import Answer, Recorder

#: one holds what other splitters of lines take for an end, one what a list of answers begins with
PROMPTS = [f"question {number}" for number in range(7)] + ["a\u2028b\x85c\nd", '"inlinedResponses": [{"x": 1}]', "ü€😀"]
IDS = [f"b7-{number}" for number in range(1, len(PROMPTS) + 1)]


@pytest.fixture
def server() -> Iterator[BatchVendors]:
    with BatchVendors() as running:
        yield running


@pytest.fixture(params=[*VENDORS, "azure-dated"])
def bench(request: pytest.FixtureRequest, server: BatchVendors, tmp_path: Path) -> Bench:
    environ = dict(server.environ)
    if request.param == "azure-dated":
        environ["AZURE_OPENAI_API_VERSION"] = "2024-10-21"
    return Bench(VENDORS[request.param.partition("-")[0]], environ, tmp_path)


def ended(bench: Bench) -> str:
    """The vendor's id of a job of all prompts, which has been looked at until it ended."""
    job = bench.send(bench.piece(PROMPTS))
    bench.look(job.vendor_id)
    return job.vendor_id


def test_a_job_is_sent_looked_at_and_answered(bench: Bench, server: BatchVendors) -> None:
    server.behaviour = BatchBehaviour(looks=2)
    piece = bench.piece(PROMPTS)
    begun = bench.send(piece)
    assert (begun.status, begun.ended, begun.total) == ("running", False, 10)
    # Anthropic counts nothing before the end
    assert (begun.done, begun.failed) == ((None, None) if bench.vendor.key == "anthropic" else (0, 0))
    assert bench.look(begun.vendor_id).status == "running"
    job = bench.look(begun.vendor_id)
    assert (job.status, job.ended, job.total, job.done, job.failed) == ("completed", True, 10, 10, 0)
    assert job.created_at is not None
    assert job.ended_at is not None
    assert abs(job.created_at - time.time()) < 60
    assert job.created_at - 1 <= job.ended_at <= time.time()
    got = bench.answers(job.vendor_id)
    assert got.error is None
    assert got.texts == {id_: answer_to(prompt) for id_, prompt in zip(IDS, PROMPTS, strict=True)}
    assert [made.requests for made in server.jobs] == [list(zip(IDS, PROMPTS, strict=True))]


def test_an_answer_is_what_a_live_call_gives(bench: Bench, server: BatchVendors) -> None:
    got = bench.answers(ended(bench))
    response = next(answer.response for answer in got.answers if answer.custom_id == "b7-1")
    assert response is not None
    assert (response.usage.input_tokens, response.usage.output_tokens) == tokens(PROMPTS[0])
    assert response.provider == bench.vendor.key
    assert response.request_model == bench.model
    assert response.finish_reason == "stop"
    assert response.duration_s == 0
    assert response.response_model == bench.model
    environ = {**server.environ, "AZURE_OPENAI_API_VERSION": bench.endpoint.api_version or ""}
    if bench.vendor.key != "azure":
        environ.pop("AZURE_OPENAI_API_VERSION")
    asked = question(PROMPTS[0], model=bench.model)
    live = ask(bench.vendor, environ, asked)
    assert (live.text, live.usage, live.finish_reason) == (response.text, response.usage, response.finish_reason)
    streamed = chunks(bench.vendor, environ, asked)
    assert text_of(streamed) == live.text
    usage = [piece.usage for piece in streamed if piece.usage is not None][-1]
    assert (usage.input_tokens, usage.output_tokens) == tokens(PROMPTS[0])
    assert server.live == [bench.model] * 2


def test_answers_out_of_order_find_their_lines(bench: Bench, server: BatchVendors) -> None:
    server.behaviour = BatchBehaviour(shuffled=True)
    got = bench.answers(ended(bench))
    assert [answer.custom_id for answer in got.answers] != IDS
    assert got.texts == {id_: answer_to(prompt) for id_, prompt in zip(IDS, PROMPTS, strict=True)}


def test_nothing_is_streamed_in_a_batch(bench: Bench) -> None:
    line = bench.batch.encode(bench.endpoint, "b7-1", question("hi", model=bench.model, stream=True))
    assert "stream" not in json.dumps(line)


def test_a_job_is_found_again_after_the_connection_was_lost(bench: Bench, server: BatchVendors) -> None:
    other = bench.piece(["one of another"], id_="b6-j1")
    bench.send(other)
    piece = bench.piece(PROMPTS)
    assert bench.find(piece) == []
    server.behaviour = BatchBehaviour(drops_create=True)
    lost = bench.fails(lambda batcher: batcher.send(piece))
    assert lost.kind == "connection"
    found = bench.find(piece)
    assert [job.vendor_id for job in found] == [server.jobs[-1].id]
    assert len(server.jobs) == 2
    assert found[0].certain == (bench.vendor.key != "anthropic")


def test_a_job_is_found_among_many(bench: Bench, server: BatchVendors) -> None:
    pieces = [bench.piece(["hi"] * (number % 3 + 1), id_=f"b7-j{number}") for number in range(45)]

    async def send(batcher: Batcher) -> None:
        for piece in pieces:
            await batcher.send(piece)

    bench.run(send)
    for number in (0, 22, 44):
        found = [job.vendor_id for job in bench.find(pieces[number])]
        if bench.vendor.key == "anthropic":
            assert found == [job.id for job in reversed(server.jobs) if job.lines == pieces[number].lines]
        else:
            assert found == [server.jobs[number].id]


def test_jobs_of_before_are_not_looked_through(bench: Bench, server: BatchVendors) -> None:
    piece = bench.piece(["hi"])
    bench.send(piece)
    server.jobs[0].created -= 3600
    server.jobs *= 130
    seen = len(server.seen)
    assert bench.find(piece) == []
    assert len(server.seen) == seen + 1


def test_requests_that_failed_say_so_as_a_live_call_would(bench: Bench, server: BatchVendors) -> None:
    server.behaviour = BatchBehaviour(fails_each=2, failing=Failing(429, "rate_limit_error", f"slow down, {KEY}"))
    job = bench.look(ended(bench))
    assert (job.status, job.done, job.failed) == ("completed", 5, 5)
    got = bench.answers(job.vendor_id)
    assert got.error is None
    assert set(got.texts) == set(IDS[::2])
    assert got.kinds == dict.fromkeys(IDS[1::2], "rate_limit")
    error = next(answer.error for answer in got.answers if answer.error is not None)
    assert error.message.startswith(f"{bench.vendor.key}: slow down, ***")
    assert KEY not in "".join(traceback.format_exception(error))
    assert (error.provider, error.request_model) == (bench.vendor.key, bench.model)
    # the status that nobody sent is not made up
    assert error.status == (429 if bench.vendor.key in ("openai", "azure") else None)


def test_an_expired_job_gives_what_was_answered(bench: Bench, server: BatchVendors) -> None:
    server.behaviour = BatchBehaviour(expires=True)
    job = bench.look(ended(bench))
    assert (job.status, job.ended) == ("expired", True)
    got = bench.answers(job.vendor_id)
    assert got.error is None
    if bench.vendor.key == "gemini":  # its expired jobs have no results
        assert got.answers == []
        return
    assert set(got.texts) == set(IDS[:5])
    assert got.kinds == dict.fromkeys(IDS[5:], "timeout")
    told = {answer.error.message for answer in got.answers if answer.error is not None}
    assert told == {f"the batch expired before {bench.vendor.key} came to it."}


def test_a_cancelled_job_gives_what_was_answered(bench: Bench, server: BatchVendors) -> None:
    server.behaviour = BatchBehaviour(never_ends=True)
    job = bench.send(bench.piece(PROMPTS))
    bench.cancel(job.vendor_id)
    assert bench.look(job.vendor_id).status == "cancelled"
    got = bench.answers(job.vendor_id)
    assert got.error is None
    assert set(got.texts) == set(IDS[:5])
    assert got.kinds == {}
    bench.cancel(job.vendor_id)
    assert bench.look(job.vendor_id).status == "cancelled"


def test_cancelling_a_completed_job_is_harmless(bench: Bench) -> None:
    vendor_id = ended(bench)
    bench.cancel(vendor_id)
    assert bench.look(vendor_id).status == "completed"


def test_an_id_that_stands_twice_is_told_twice(bench: Bench, server: BatchVendors) -> None:
    server.behaviour = BatchBehaviour(duplicate=True)
    got = bench.answers(ended(bench))
    assert len(got.answers) == len(IDS) + 1
    assert set(got.texts) == set(IDS)


@pytest.mark.parametrize("cut", ["line", "transfer"])
def test_results_that_break_off_give_what_could_be_read(bench: Bench, server: BatchVendors, cut: str) -> None:
    vendor_id = ended(bench)
    server.behaviour = BatchBehaviour(cut=cut)  # type: ignore[arg-type]  # one of its words
    got = bench.answers(vendor_id)
    assert got.error is not None
    assert got.error.kind == "truncated"
    assert len(got.answers) in (4, 5)
    assert f"after {len(got.answers)} answers" in got.error.message
    server.behaviour = BatchBehaviour()
    assert set(bench.answers(vendor_id).texts) == set(IDS)


def test_results_that_stop_between_two_lines_are_what_they_are(bench: Bench, server: BatchVendors) -> None:
    vendor_id = ended(bench)
    server.behaviour = BatchBehaviour(cut="between")
    got = bench.answers(vendor_id)
    assert got.error is None
    assert len(got.texts) == 5


def test_a_job_that_the_vendor_forgot_is_not_found(bench: Bench, server: BatchVendors) -> None:
    vendor_id = ended(bench)
    server.behaviour = BatchBehaviour(forgets=True)
    got = bench.answers(vendor_id)
    assert got.answers == []
    errors = [got.error, *(bench.fails(step) for step in (lambda b: b.look(vendor_id), lambda b: b.cancel(vendor_id)))]
    for error in errors:
        assert error is not None
        assert (error.kind, error.status) == ("not_found", 404)
        assert f"{bench.vendor.key} at 127.0.0.1:{server.port} has no batch {vendor_id}" in error.message
        assert "model" not in error.message


def test_a_job_that_failed_before_it_began_says_why(bench: Bench, server: BatchVendors) -> None:
    server.behaviour = BatchBehaviour(invalid="the model does not batch\x1b[31m")
    job = bench.look(ended(bench))
    if bench.vendor.key == "anthropic":  # it checks while it is sent
        return
    assert job.status == "failed"
    assert job.said is not None
    assert "the model does not batch" in job.said
    assert "\x1b" not in job.said
    assert bench.answers(job.vendor_id).answers == []


def test_a_wrong_key_is_told_and_not_shown(bench: Bench, server: BatchVendors, tmp_path: Path) -> None:
    wrong = "sk-wrong-9876543210"
    names = ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY")
    other = Bench(bench.vendor, {**server.environ, **dict.fromkeys(names, wrong)}, tmp_path)
    piece = other.piece(["hi"])
    steps = (lambda b: b.send(piece), lambda b: b.find(piece), lambda b: b.look("batches/b1"))
    for error in (*map(other.fails, steps), other.answers("batches/b1").error):
        assert error is not None
        assert (error.kind, error.status) == ("authentication", 401)
        assert "Incorrect API key provided: ***" in error.message
        assert wrong not in "".join(traceback.format_exception(error))
    assert server.jobs == []


def test_a_redirect_is_not_followed(bench: Bench, server: BatchVendors, tmp_path: Path) -> None:
    with Recorder(Answer(status=307, headers={"location": f"{server.url}/v1/batches"})) as elsewhere:
        environ = {name: value.replace(server.url, elsewhere.url) for name, value in server.environ.items()}
        other = Bench(bench.vendor, environ, tmp_path)
        piece = other.piece(["hi"])
        steps = (lambda b: b.send(piece), lambda b: b.find(piece), lambda b: b.look("batches/b1"))
        for error in (*map(other.fails, steps), other.answers("batches/b1").error):
            assert error is not None
            assert "answered 307, a redirect, which is not followed" in error.message
    assert server.seen == []


def test_a_vendor_that_takes_no_job_now_says_so(bench: Bench, server: BatchVendors) -> None:
    server.behaviour = BatchBehaviour(refuses=503)
    error = bench.fails(lambda batcher: batcher.send(bench.piece(["hi"])))
    assert (error.kind, error.status) == ("overloaded", 503)
    assert server.jobs == []


@pytest.mark.parametrize("body", [b"[]", b"{}", b"not json", b'{"id": 3, "name": 3}', b""])
def test_what_is_no_job_is_malformed(bench: Bench, server: BatchVendors, tmp_path: Path, body: bytes) -> None:
    with Recorder(Answer(body)) as elsewhere:
        environ = {name: value.replace(server.url, elsewhere.url) for name, value in server.environ.items()}
        other = Bench(bench.vendor, environ, tmp_path)
        assert other.fails(lambda batcher: batcher.look("batches/b1")).kind == "malformed"
        assert other.fails(lambda batcher: batcher.send(other.piece(["hi"]))).kind == "malformed"


def test_nobody_else_batches() -> None:
    settings = settings_of({"LLM_ENDPOINTS": "team", "TEAM_BASE_URL": "http://127.0.0.1:9/v1", "GROQ_API_KEY": "k"})
    with_batches = {name for name in vendor_names(settings) if find_vendor(name, settings).batch is not None}
    assert with_batches == set(VENDORS)
    assert find_vendor("team", settings).batch is None


def test_limits_are_within_the_vendors_own() -> None:
    limits = {name: vendor.batch.limits for name, vendor in VENDORS.items() if vendor.batch is not None}
    assert limits["openai"][:2] == (50_000, 200_000_000)
    assert limits["azure"][:2] == (100_000, 200_000_000)
    assert limits["anthropic"].lines <= 100_000
    assert limits["anthropic"].bytes <= 256_000_000
    assert limits["gemini"].bytes <= 20_000_000


def test_a_state_ends_or_goes_on() -> None:
    assert [JobState("x", status).ended for status in ("running", "cancelling", "completed")] == [False, False, True]
