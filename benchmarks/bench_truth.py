"""Whether a bench's numbers are true: `python -m benchmarks.bench_truth [--promptfoo FOLDER] [--aiperf VENV]`.

Every client asks the same server on loopback (clockwork.py), whose answers come when it says. In one run, one after
another, as the installed command where there is one:

- *raw*: asyncio's sockets and no HTTP library, at our pace: what this machine can see at best;
- llmswitch, promptfoo (FOLDER with its node_modules) and aiperf (VENV), each asked for 50 at a time;
- a stream of 50 tokens: TTFT and ITL;
- `--requests` at 200 at a time, llmswitch and promptfoo: requests a second;
- `--memory`: llmswitch's memory after 1,000 and after 100,000 samples.

Targets: p50 within 6 % of 50 ms and p95 within 10 % at no less than 150 requests a second offered; TTFT within 5 % of
200 ms, ITL within 3 % of 10 ms; twice promptfoo's requests a second; less than 50 MB more for 100 times the samples.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

_COMMAND = Path(sys.executable).with_name("llmswitch")


class Seen(NamedTuple):
    """What a client said of `requests`: milliseconds, and requests a second over all of its time asking."""

    name: str
    requests: int
    p50: float
    p95: float
    rate: float
    note: str = ""


def percentile(values: Sequence[float], q: float) -> float:
    """The smallest value that at least q of them do not exceed."""
    return sorted(values)[max(0, -(-int(q * 1000) * len(values) // 1000) - 1)]


@contextmanager
def serving() -> Iterator[int]:
    """The port of a clockwork server in a process of its own."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.clockwork"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None  # noqa: S101  # for mypy: it is a pipe
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


async def _raw(port: int, requests: int, rate: float) -> Seen:
    body = json.dumps({"model": "wait-50", "stream": True, "messages": [{"role": "user", "content": "q"}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    took: list[float] = []

    async def one() -> None:
        reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        began = time.perf_counter()
        writer.write(head + body)
        found = await reader.readuntil(b"\r\n\r\n")
        size = int(found.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        await reader.readexactly(size)
        took.append((time.perf_counter() - began) * 1000)
        idle.append((reader, writer))

    began = time.perf_counter()
    tasks = []
    for number in range(requests):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(one()))
    await asyncio.gather(*tasks)
    elapsed = time.perf_counter() - began
    for _, writer in idle:
        writer.close()
    return Seen("raw", requests, percentile(took, 0.5), percentile(took, 0.95), requests / elapsed)


def _suite(folder: Path, port: int, model: str, requests: int, **more: Any) -> Path:
    """A suite that both promptfoo and llmswitch take. Every prompt is another: nothing may come from a cache."""
    (folder / "tests.csv").write_text("n\n" + "".join(f"{number}\n" for number in range(requests)))
    provider = {"id": f"openai:chat:{model}", "config": {"apiBaseUrl": f"http://127.0.0.1:{port}/v1", **more}}
    suite = {"prompts": ["Question {{n}}"], "providers": [provider], "tests": "file://tests.csv"}
    path = folder / "suite.json"
    path.write_text(json.dumps(suite))
    return path


def _environ(home: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LLMSWITCH_HOME": str(home / "llmswitch"),
        "PROMPTFOO_CONFIG_DIR": str(home / "promptfoo"),
        "PROMPTFOO_DISABLE_TELEMETRY": "1",
        "PROMPTFOO_DISABLE_UPDATE": "1",
        "OPENAI_API_KEY": "sk-none",
        "LLM_HISTORY": "off",
    }


class Ran(NamedTuple):
    """`document` is run.json, `rows` the samples, `peak_mb` the most memory that the process had."""

    document: Mapping[str, Any]
    rows: list[dict[str, Any]]
    peak_mb: float


def llmswitch(port: int, model: str, requests: int, concurrency: int, *flags: str, keep_rows: bool = True) -> Ran:
    """One run of the installed command."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        suite = _suite(home, port, model, requests)
        command = [str(_COMMAND), "bench", str(suite), "-o", str(home / "runs"), "--concurrency", str(concurrency)]
        process = subprocess.Popen(
            [*command, "--json", "-q", *flags], env=_environ(home), cwd=home, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None  # noqa: S101  # for mypy: it is a pipe
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
        if process.returncode:
            raise SystemExit(f"llmswitch bench ended with {process.returncode}: {printed[:500]}")
        (samples,) = home.glob("runs/*/samples.jsonl")
        rows = [json.loads(line) for line in samples.open()] if keep_rows else []
        return Ran(json.loads(printed), rows, _megabytes(usage))


def _megabytes(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


def _ours(ran: Ran, name: str) -> Seen:
    took = [row["duration_s"] * 1000 for row in ran.rows if row["error"] is None]
    client = ran.document["client"]
    elapsed = max(row["at_s"] + row["duration_s"] for row in ran.rows)
    note = f"{client['in_flight']:.0f} under way, loop lag p99 {client['loop_lag_p99_s'] * 1000:.1f} ms"
    note += f", CPU {client['cpu_fraction']:.2f}{', paced' if client['paced'] else ''}"
    note += ", SATURATED" if client["saturated"] else ""
    return Seen(name, len(took), percentile(took, 0.5), percentile(took, 0.95), len(took) / elapsed, note)


def promptfoo(folder: Path, port: int, requests: int, concurrency: int) -> Seen:
    """One eval, its cache off. Its rate is over the time that its own figures give, start-up left out."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        suite, out = _suite(home, port, "wait-50", requests), home / "out.json"
        command = [str(folder / "node_modules" / ".bin" / "promptfoo"), "eval", "-c", str(suite), "-o", str(out)]
        flags = ["--no-cache", "--no-table", "--no-progress-bar", "--max-concurrency", str(concurrency)]
        began = time.perf_counter()
        subprocess.run([*command, *flags], env=_environ(home), cwd=home, check=False, capture_output=True)
        elapsed = time.perf_counter() - began
        results = json.loads(out.read_text())["results"]
        took = [row["latencyMs"] for row in results["results"] if not row.get("error")]
        asking = (
            results["stats"].get("evaluationDurationMs") or results["stats"].get("durationMs") or elapsed * 1000
        ) / 1000
        note = f"whole command {elapsed:.1f} s"
        return Seen("promptfoo", len(took), percentile(took, 0.5), percentile(took, 0.95), len(took) / asking, note)


def aiperf(venv: Path, port: int, requests: int, concurrency: int) -> Seen:
    """One profile of a chat endpoint that streams."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        command = [str(venv / "bin" / "aiperf"), "profile", "--model", "wait-50", "--url", f"http://127.0.0.1:{port}"]
        command += ["--endpoint-type", "chat", "--streaming", "--concurrency", str(concurrency)]
        command += [
            "--request-count",
            str(requests),
            "--artifact-dir",
            str(home),
            "--ui",
            "none",
            "--use-server-token-count",
            "--tokenizer",
            "builtin",
        ]
        done = subprocess.run(command, env=_environ(home), cwd=home, check=False, capture_output=True, text=True)
        found = next(home.rglob("profile_export_aiperf.json"), None)
        if found is None:
            raise SystemExit(f"aiperf gave no figures: {done.stderr[-500:]}")
        figures = json.loads(found.read_text())
        latency, rate = figures["request_latency"], figures["request_throughput"]["avg"]
        return Seen("aiperf", requests, latency["p50"], latency["p95"], rate)


def show(seen: Seen, expected_ms: float) -> None:
    """A line: what was read, and how far that is from the truth."""
    off = [f"{value:7.1f} ms ({value / expected_ms - 1:+6.1%})" for value in (seen.p50, seen.p95)]
    print(f"  {seen.name:<22} p50 {off[0]}  p95 {off[1]}  {seen.rate:6.0f}/s  {seen.note}", flush=True)


def latency(port: int, options: argparse.Namespace) -> None:
    """Fifty at a time against 50 ms."""
    print(f"{options.latency_requests} requests, 50 at a time, each answered after exactly 50 ms:")
    ours = _ours(llmswitch(port, "wait-50", options.latency_requests, 50), "llmswitch")
    show(asyncio.run(_raw(port, options.latency_requests, ours.rate)), 50)
    show(ours, 50)
    show(_ours(llmswitch(port, "wait-50", options.latency_requests, 50, "--no-pace"), "llmswitch --no-pace"), 50)
    if options.promptfoo:
        show(promptfoo(options.promptfoo, port, options.latency_requests, 50), 50)
    if options.aiperf:
        show(aiperf(options.aiperf, port, options.latency_requests, 50), 50)


def streams(port: int) -> None:
    """TTFT and ITL of streams."""
    ran = llmswitch(port, "stream-200-10-50", 200, 10)
    print("200 streams, 10 at a time, first token after 200 ms, 100 tokens/s:")
    for name, expected in (("time_to_first_token_s", 200.0), ("itl_s", 10.0)):
        values = [row[name] * 1000 for row in ran.rows if row[name] is not None]
        p50, p95 = percentile(values, 0.5), percentile(values, 0.95)
        print(
            f"  {name:<22} p50 {p50:7.2f} ms ({p50 / expected - 1:+6.1%})  mean {statistics.mean(values):7.2f} ms  "
            f"p95 {p95:7.2f} ms ({p95 / expected - 1:+6.1%})"
        )


def throughput(port: int, options: argparse.Namespace) -> None:
    """Two hundred at a time."""
    print(f"{options.requests} requests, 200 at a time, each answered after exactly 50 ms:")
    ours = _ours(llmswitch(port, "wait-50", options.requests, 200), "llmswitch")
    show(ours, 50)
    fast = _ours(llmswitch(port, "wait-50", options.requests, 200, "--no-pace"), "llmswitch --no-pace")
    show(fast, 50)
    if options.promptfoo:
        other = promptfoo(options.promptfoo, port, options.requests, 200)
        show(other, 50)
        print(f"  of promptfoo's rate: {ours.rate / other.rate:.2f}, --no-pace {fast.rate / other.rate:.2f}")


def memory(port: int) -> None:
    """A hundred times the samples."""
    few, many = (llmswitch(port, "wait-1", n, 50, keep_rows=False).peak_mb for n in (1_000, 100_000))
    print(f"memory: {few:.0f} MB after 1,000 samples, {many:.0f} MB after 100,000: {many - few:+.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--promptfoo", type=Path, help="a folder with promptfoo in its node_modules")
    parser.add_argument("--aiperf", type=Path, help="an environment with aiperf")
    parser.add_argument("--latency-requests", type=int, default=2000)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--only", choices=("latency", "streams", "throughput", "memory"))
    options = parser.parse_args()
    with serving() as port:
        if options.only in (None, "latency"):
            latency(port, options)
        if options.only in (None, "streams"):
            streams(port)
        if options.only in (None, "throughput"):
            throughput(port, options)
        if options.memory or options.only == "memory":
            memory(port)


if __name__ == "__main__":
    main()
