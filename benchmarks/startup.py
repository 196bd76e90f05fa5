"""How fast llmswitch starts, as ratios measured in one run: `python -m benchmarks.startup [--runs 20]`.

Two references, on the same interpreter and package versions: a no-op Typer app with four commands, and for each
vendor a script of ten lines that uses its SDK directly and prints the first token. Runs are interleaved, so that
a busy machine slows both sides; figures are medians. CPU is user + system time of all threads of the process.

Targets: `--version` at most 0.6 and a cached `ask` at most 1.3 of the no-op app, in CPU; time to the first token
at most 1.3 of the SDK script, in CPU and in wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMAND = str(Path(sys.executable).with_name("llmswitch"))

NO_OP = """
import typer
app = typer.Typer()
@app.command()
def ask(prompt: str, provider: str = "x", model: str = "y"): pass
@app.command()
def compare(prompt: str): pass
@app.command()
def bench(suite: str): pass
@app.command()
def cost(since: str = "7d"): pass
app()
"""

OPENAI = """
import asyncio, os
from openai import AsyncOpenAI
async def main():
    async with AsyncOpenAI(api_key="k", base_url=os.environ["OPENAI_BASE_URL"], max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], stream=True)
        async for chunk in stream:
            if chunk.choices: print(chunk.choices[0].delta.content or "", end="", flush=True)
asyncio.run(main())
"""

ANTHROPIC = """
import asyncio, os
from anthropic import AsyncAnthropic
async def main():
    async with AsyncAnthropic(api_key="k", base_url=os.environ["ANTHROPIC_BASE_URL"], max_retries=0) as client:
        stream = await client.messages.create(
            model="m", max_tokens=99, messages=[{"role": "user", "content": "hi"}], stream=True)
        async for event in stream:
            if event.type == "content_block_delta": print(event.delta.text, end="", flush=True)
asyncio.run(main())
"""

GEMINI = """
import asyncio, os
from google import genai
async def main():
    client = genai.Client(api_key="k", vertexai=False,
        http_options=genai.types.HttpOptions(base_url=os.environ["GOOGLE_GEMINI_BASE_URL"]))
    stream = await client.aio.models.generate_content_stream(model="m", contents="hi")
    async for chunk in stream:
        print(chunk.text or "", end="", flush=True)
asyncio.run(main())
"""


def _openai_events() -> list[tuple[str | None, object]]:
    def chunk(delta: object, finish: str | None) -> tuple[None, object]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return None, {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}

    return [chunk({"role": "assistant", "content": "Hello"}, None), chunk({}, "stop"), (None, "[DONE]")]


def _anthropic_events() -> list[tuple[str | None, object]]:
    usage = {"input_tokens": 3, "output_tokens": 1}
    message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": usage}
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    events: list[dict[str, object]] = [
        {"type": "message_start", "message": {**message, "stop_reason": None, "stop_sequence": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ]
    return [(str(event["type"]), event) for event in events]


def _gemini_events() -> list[tuple[str | None, object]]:
    candidate = {"content": {"role": "model", "parts": [{"text": "Hello"}]}, "finishReason": "STOP", "index": 0}
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4}
    return [(None, {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m"})]


#: how a request's path tells whose format is spoken
EVENTS: Mapping[str, Callable[[], list[tuple[str | None, object]]]] = {
    "/chat/completions": _openai_events,
    "/messages": _anthropic_events,
    ":streamGenerateContent": _gemini_events,
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        events = next(make() for end, make in EVENTS.items() if end in self.path)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for name, event in events:
            text = event if isinstance(event, str) else json.dumps(event)
            self.wfile.write((f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode())
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's own name
        pass


@dataclass(frozen=True)
class Cost:
    """Seconds: CPU of every thread, and wall time."""

    cpu: float
    wall: float


def whole(command: list[str], env: Mapping[str, str]) -> Cost:
    """What a process takes from its start to its end."""
    started = time.perf_counter()
    with subprocess.Popen(command, env=dict(env), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{command} failed: {process.stderr.read().decode() if process.stderr else ''}")
    return Cost(used.ru_utime + used.ru_stime, time.perf_counter() - started)


def first_token(command: list[str], env: Mapping[str, str]) -> Cost:
    """What a process takes from its start to the first byte it prints."""
    started = time.perf_counter()
    with subprocess.Popen(command, env=dict(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None  # noqa: S101  # a pipe was asked for
        if not os.read(process.stdout.fileno(), 1):
            raise SystemExit(f"{command} printed nothing: {process.stderr.read().decode() if process.stderr else ''}")
        wall = time.perf_counter() - started
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime, in ticks of 10 ms
        process.communicate()
    return Cost(cpu, wall)


def ratio(
    name: str,
    measure: Callable[[list[str], Mapping[str, str]], Cost],
    *,
    ours: list[str],
    reference: list[str],
    env: Mapping[str, str],
    runs: int,
) -> None:
    """Measure both in turn and print the ratio of medians."""
    measure(ours, env), measure(reference, env)  # fill the page cache and the byte code
    mine, theirs = [], []
    for _ in range(runs):
        mine.append(measure(ours, env))
        theirs.append(measure(reference, env))
    cpu = [statistics.median(c.cpu for c in side) for side in (mine, theirs)]
    wall = [statistics.median(c.wall for c in side) for side in (mine, theirs)]
    print(
        f"{name:<24} CPU {cpu[0] * 1000:6.0f} / {cpu[1] * 1000:6.0f} ms = {cpu[0] / cpu[1]:.2f}"
        f"    wall {wall[0] * 1000:6.0f} / {wall[1] * 1000:6.0f} ms = {wall[0] / wall[1]:.2f}",
        flush=True,
    )


def main() -> None:
    """Print every ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    with tempfile.TemporaryDirectory() as folder:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            "LLMSWITCH_HOME": folder,
            "OPENAI_API_KEY": "k",
            "OPENAI_BASE_URL": f"{url}/v1",
            "ANTHROPIC_API_KEY": "k",
            "ANTHROPIC_BASE_URL": url,
            "GOOGLE_API_KEY": "k",
            "GOOGLE_GEMINI_BASE_URL": url,
        }
        os.chdir(folder)
        no_op = [sys.executable, "-c", NO_OP, "ask", "hi"]
        ask = [COMMAND, "ask", "-q", "hi", "-p"]
        print("llmswitch / reference, medians of", runs, "interleaved runs")
        ratio("--version", whole, ours=[COMMAND, "--version"], reference=no_op, env=env, runs=runs)
        ratio("ask, cached", whole, ours=[*ask, "openai"], reference=no_op, env=env, runs=runs)
        for provider, script in (("openai", OPENAI), ("anthropic", ANTHROPIC), ("gemini", GEMINI)):
            reference = [sys.executable, "-c", script]
            ours = [*ask, provider, "--no-cache"]
            ratio(f"first token, {provider}", first_token, ours=ours, reference=reference, env=env, runs=runs)
    server.shutdown()


if __name__ == "__main__":
    main()
