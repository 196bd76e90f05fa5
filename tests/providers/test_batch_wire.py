"""Files and documents that are read as they come, however they are cut, and never held as a whole."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmswitch.providers import batch_wire
from llmswitch.providers.batch_json import skim
from llmswitch.providers.batch_wire import Joined, epoch, lines, listed, moment, since
from llmswitch.providers.batching import Batcher
from llmswitch.providers.failures import UndecodableError
from tests.providers.batching import VENDORS, Bench
from tests.servers.recorder import Handler, Loopback, Seen


async def cut(data: bytes, size: int) -> AsyncIterator[bytes]:
    for place in range(0, len(data), size):
        yield data[place : place + size]


def collected(stream: Callable[[], AsyncIterator[Any]]) -> list[Any]:
    async def run() -> list[Any]:
        return [item async for item in stream()]

    return asyncio.run(run())


@given(st.lists(st.sampled_from([b"\n", b"a", b"\r", "\u2028".encode(), b"\x1c\x85"]), max_size=30), st.integers(1, 7))
def test_lines_are_split_at_a_line_feed_alone(pieces: list[bytes], size: int) -> None:
    data = b"".join(pieces)
    found = collected(lambda: lines(cut(data, size)))
    assert b"".join(found) == data
    assert all(line.count(b"\n") == 1 and line.endswith(b"\n") for line in found[:-1])


def test_a_line_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_wire, "MOST_LINE", 100)
    with pytest.raises(UndecodableError):
        collected(lambda: lines(cut(b"x" * 1000, 10)))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_document_is_read_however_it_is_cut(size: int, indent: int | None) -> None:
    elements = [{"a": 'x"]}\\', "b": [1, {"requests": []}], "c": "ü\u2028"}, {}, {"d": '"inlinedResponses": ['}]
    inner = {"inlinedResponses": {"inlinedResponses": elements}}
    document = {"name": "n", "metadata": {"output": inner, "x": '"requests": ['}, "done": True, "response": inner}
    data = json.dumps(document, indent=indent, ensure_ascii=False).encode()
    found = collected(lambda: skim(cut(data, size), ("inlinedResponses", "requests")))
    assert found[:-1] == [("inlinedResponses", element) for element in elements]
    empty: dict[str, Any] = {"inlinedResponses": {"inlinedResponses": []}}
    assert found[-1] == (None, {**document, "metadata": {"output": empty, "x": '"requests": ['}, "response": empty})


@pytest.mark.parametrize("size", [1, 9, 10_000])
def test_a_document_that_breaks_off_gives_what_was_whole(size: int) -> None:
    elements = [{"n": number} for number in range(5)]
    data = json.dumps({"response": {"inlinedResponses": elements}, "done": True}).encode()
    for end in range(1, len(data)):
        found: list[Any] = []

        async def run(end: int = end, found: list[Any] = found) -> None:
            async for item in skim(cut(data[:end], size), ("inlinedResponses",)):
                found.append(item)  # noqa: PERF401  # what came before the error is kept

        with pytest.raises(EOFError):
            asyncio.run(run())
        whole = sum(data[:end].find(json.dumps(element).encode()) >= 0 for element in elements)
        assert [item for _, item in found] == elements[:whole]


@pytest.mark.parametrize("data", [b"", b"[]", b"7", b'{"a": x}', b"\xff", b'{"requests": [1]}', b'{"a": 1}}'])
def test_what_is_no_document_raises(data: bytes) -> None:
    with pytest.raises(ValueError if data not in (b"[]", b"7", b'{"requests": [1]}') else UndecodableError):
        collected(lambda: skim(cut(data, 3), ("requests",)))


@given(st.lists(st.integers(0, 20), max_size=30), st.integers(1, 5), st.integers(0, 20))
def test_nothing_that_is_new_enough_is_missed_in_either_order(times: list[int], size: int, begin: int) -> None:
    async def pages() -> AsyncIterator[list[tuple[float | None, int]]]:
        for place in range(0, len(times), size):
            yield [(float(time), time) for time in times[place : place + size]]

    newest_first = sorted(times, reverse=True) == times
    oldest_first = sorted(times) == times and len(set(times[:size])) > 1
    found = collected(lambda: since(pages(), begin))
    wanted = [time for time in times if time >= begin]
    assert found == wanted if newest_first or oldest_first else set(found) <= set(wanted)


@pytest.mark.parametrize("content", [b"1\n2\n3\n", b"1\n2\n3", b"1", b"1\n", b""])
def test_a_body_is_as_long_as_it_says(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(content)
    body = Joined(path, b'{"r":[', b"]}")
    data = b"".join(collected(lambda: aiter(body)))
    assert len(data) == body.length == int(body.headers["Content-Length"])
    assert json.loads(data) == {"r": [int(line) for line in content.split()]}


@pytest.mark.parametrize("told", [10**400, 10**15, float("inf"), float("nan"), -1, True, "1", None])
def test_a_time_that_no_calendar_has_is_unknown(told: object) -> None:
    assert epoch(told) is None
    assert epoch(1_700_000_000) == 1.7e9


@pytest.mark.parametrize("told", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "soon", 5])
def test_a_moment_that_no_calendar_has_is_unknown(told: object) -> None:
    assert moment(told) is None


@pytest.mark.parametrize("told", [7, "x", {"a": 1}, True])
def test_what_is_no_list_is_no_page(told: object) -> None:
    assert listed(None) == []
    with pytest.raises(UndecodableError):
        listed(told)


class Silent(Loopback):
    """Answers nothing; with `begins`, it begins to."""

    begins = False

    def respond(self, seen: Seen, out: Handler) -> None:
        if self.begins:
            out.start(200, {"transfer-encoding": "chunked"})
            out.chunk(b" ")
        out.connection.settimeout(20)
        out.rfile.read(1)


@pytest.mark.parametrize("name", VENDORS)
@pytest.mark.parametrize("begins", [False, True])
def test_a_vendor_that_falls_silent_is_not_waited_for(
    name: str, begins: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Silent() as server:
        server.begins = begins
        environ = {
            "OPENAI_API_KEY": "k" * 9,
            "OPENAI_BASE_URL": f"{server.url}/v1",
            "AZURE_OPENAI_API_KEY": "k" * 9,
            "AZURE_OPENAI_ENDPOINT": server.url,
            "AZURE_OPENAI_DEPLOYMENT_NAME": "d",
            "ANTHROPIC_API_KEY": "k" * 9,
            "ANTHROPIC_BASE_URL": server.url,
            "ANTHROPIC_MODEL": "c",
            "GOOGLE_API_KEY": "k" * 9,
            "GOOGLE_GEMINI_BASE_URL": server.url,
            "GEMINI_MODEL": "g",
        }
        bench = Bench(VENDORS[name], environ, tmp_path)
        monkeypatch.setattr(batch_wire, "STEP_S", 0.3)
        error = bench.fails(lambda batcher: asyncio.wait_for(batcher.look("batches/b1"), 10))
    assert error.kind == "timeout"
    assert f"{name} at 127.0.0.1:{server.port} said nothing for 0" in error.message


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[dict[str, Any]]:
    """The vendors in a process of their own, whose memory is not ours."""
    command = [sys.executable, "-m", "tests.servers.batch_vendors"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield json.loads(process.stdout.readline())
        process.stdin.close()


def behave(port: int, **fields: object) -> list[Any]:
    """Set fields of its behaviour; tells of its jobs."""
    asked = HttpRequest(f"http://127.0.0.1:{port}/_behaviour", json.dumps(fields).encode(), method="POST")
    with urlopen(asked) as reply:  # noqa: S310  # this machine
        found: list[Any] = json.load(reply)
    return found


def peak(work: Callable[[], object]) -> int:
    """Bytes that were held at once while it worked, beyond those of before."""
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", VENDORS)
def test_results_of_50_mb_are_not_held(name: str, elsewhere: dict[str, Any], tmp_path: Path) -> None:
    bench = Bench(VENDORS[name], elsewhere["environ"], tmp_path)
    behave(elsewhere["port"], padding=0)
    small = bench.send(bench.piece(["hi"]))
    bench.look(small.vendor_id)
    bench.answers(small.vendor_id)  # whatever is loaded once
    behave(elsewhere["port"], padding=250_000)
    job = bench.send(bench.piece([f"question {number}" for number in range(200)]))
    found: dict[str, int] = {}

    async def read(batcher: Batcher) -> None:
        async for answer in batcher.answers(job.vendor_id, bench.model):
            assert answer.response is not None
            found[answer.custom_id] = len(answer.response.text)

    assert peak(lambda: bench.look(job.vendor_id)) < 8_000_000
    assert peak(lambda: bench.run(read)) < 8_000_000
    assert len(found) == 200
    assert sum(found.values()) > 50_000_000


@pytest.mark.parametrize("name", VENDORS)
def test_a_job_of_50_mb_is_not_held(name: str, elsewhere: dict[str, Any], tmp_path: Path) -> None:
    bench = Bench(VENDORS[name], elsewhere["environ"], tmp_path)
    behave(elsewhere["port"], padding=0)
    bench.send(bench.piece(["hi"]))
    piece = bench.piece(["x" * 250_000] * 200)
    assert os.stat(piece.path).st_size > 50_000_000
    assert peak(lambda: bench.send(piece)) < 4_000_000
    assert behave(elsewhere["port"])[-1]["lines"] == 200
