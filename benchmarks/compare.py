"""How fast `llmswitch compare` is, and what its live view costs: `python -m benchmarks.compare [--runs 5]`.

Eight targets (Anthropic's, OpenAI's and Gemini's own formats, five compatible endpoints) on a loopback server of its
own process. Every figure is of fresh processes, as the command is one, and runs are interleaved with the reference:

- wall time, from the moment all SDKs are loaded to the last answer, of targets that take 1 s each; the reference is
  a raw asyncio client that asks the same of the same server. Target: at most 1.15 s.
- time to the first token as llmswitch reads it, minus what the server held it back.
- CPU of the live view at 8 x 100 tokens/s on a terminal of 200 x 50 that is read: a process with the view minus one
  without, over wall time. Target: at most 10 % of one core. And how long one picture holds up the event loop.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import pty
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from benchmarks import vendors
from llmswitch.cli.columns import Columns
from llmswitch.cli.writer import Writer
from llmswitch.profiles import load_settings
from llmswitch.runs.ask import Services
from llmswitch.runs.call import Question
from llmswitch.runs.compare import Job, compare, settle_calls
from llmswitch.runs.judge import Asked
from llmswitch.runs.sampling import Sample
from llmswitch.types import Message

#: seconds to the first token, one for each target: none is the same, none waits for another
_FIRST = tuple(0.1 + 0.1 * number for number in range(len(vendors.targets)))
_ANSWERS = [vendors.model(first, 20, 1.0) for first in _FIRST]
_VIEW_S = 5.0
_STREAMS = [vendors.model(0.01, int(100 * _VIEW_S), _VIEW_S)] * len(vendors.targets)
_SIZE = (200, 50)

_RAW = """
import asyncio, json, sys, time
async def ask(port, model):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"model": model}).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(body) + body)
    await reader.read()
    writer.close()
async def main():
    started = time.perf_counter()
    await asyncio.gather(*(ask(int(sys.argv[1]), model) for model in sys.argv[2:]))
    print(json.dumps({"wall": time.perf_counter() - started}))
asyncio.run(main())
"""


class _Watcher:
    """A `Progress` that takes the times, and passes everything on to the view where there is one."""

    def __init__(self, view: Columns | None) -> None:
        self.view = view
        self.began = self.over = self.cpu_began = self.cpu_over = 0.0

    def started(self, index: int) -> None:
        if not self.began:
            self.began, self.cpu_began = time.perf_counter(), time.process_time()
        if self.view:
            self.view.started(index)

    def text(self, index: int, piece: str) -> None:
        if self.view:
            self.view.text(index, piece)

    def restarted(self, index: int) -> None:
        if self.view:
            self.view.restarted(index)

    def told(self, index: int, line: str) -> None:
        if self.view:
            self.view.told(index, line)

    def ended(self, index: int, sample: Sample) -> None:
        self.over, self.cpu_over = time.perf_counter(), time.process_time()
        if self.view:
            self.view.ended(index, sample)


class _Timed(Columns):
    """Notes how long each picture takes."""

    pictures: list[float]
    watcher: _Watcher

    def picture(self) -> tuple[list[str], tuple[int, int]]:
        started = time.perf_counter()
        made = super().picture()
        if self.watcher.began:
            self.pictures.append(time.perf_counter() - started)
        return made


def ask(models: list[str], *, view: bool) -> None:
    """In a process of its own: ask every target, with the view on stdout or without, and tell of it on stderr."""
    settings = load_settings(cwd=Path.cwd(), environ=os.environ, warn=print)
    services = Services.from_settings(settings, use_cache=False, warn=print, clock=time.monotonic, wall=time.time)
    question = Question(messages=(Message("user", "hi"),))
    names = [f"{target}:{name}" for target, name in zip(vendors.targets, models, strict=True)]
    job = Job(Asked("hi"), settle_calls(settings, question, names, print), repeats=1, seed=0)
    with Writer(sys.stdout) as writer:
        columns = _Timed(writer, names, calls=len(names), judge=None, size=lambda: _SIZE, clock=time.monotonic)
        columns.pictures = []
        watcher = columns.watcher = _Watcher(columns if view else None)

        async def asking() -> list[Sample]:
            async with columns if view else nullcontext():
                return list((await compare(job, services, watcher)).samples)

        samples = asyncio.run(asking())
    told = {
        "wall": watcher.over - watcher.began,
        "cpu": watcher.cpu_over - watcher.cpu_began,
        "first": [sample.response.timing.time_to_first_token_s if sample.response else None for sample in samples],
        "failed": [str(sample.error) for sample in samples if sample.error],
        "pictures": columns.pictures,
    }
    print(json.dumps(told), file=sys.stderr)


def run(command: list[str], env: Mapping[str, str]) -> dict[str, Any]:
    """A worker with a terminal as stdout, which is read; what it tells."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", _SIZE[1], _SIZE[0], 0, 0))
    with subprocess.Popen(
        command, env=dict(env), stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE, text=True
    ) as process:
        os.close(theirs)
        seen: list[bytes] = []
        reader = threading.Thread(target=_read, args=(ours, seen))
        reader.start()
        _, said = process.communicate()
        reader.join()
    os.close(ours)
    lines = said.splitlines() if said.strip() else b"".join(seen).decode().splitlines()
    told: dict[str, Any] = json.loads(lines[-1])
    if told.get("failed"):
        raise SystemExit(f"a target failed: {told['failed']}")
    return told


def _read(descriptor: int, seen: list[bytes]) -> None:
    while True:
        try:
            piece = os.read(descriptor, 1 << 16)
        except OSError:  # how a terminal says that its other side is closed
            return
        if not piece:
            return
        seen.append(piece)


@contextmanager
def serving(env: Mapping[str, str]) -> Iterator[int]:
    """The server's port."""
    command = [sys.executable, "-m", "benchmarks.vendors"]
    with subprocess.Popen(command, env=dict(env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101  # a pipe was asked for
        yield int(process.stdout.readline())
        process.communicate()


def together(port: int, env: Mapping[str, str], runs: int) -> None:
    """Eight targets that take a second each."""
    worker = [sys.executable, "-m", "benchmarks.compare", "--ask", *_ANSWERS]
    raw = [sys.executable, "-c", _RAW, str(port), *_ANSWERS]
    run(worker, env)  # fill the page cache and the byte code
    ours, theirs = [], []
    for _ in range(runs):
        ours.append(run(worker, env))
        theirs.append(run(raw, env))
    wall, reference = (statistics.median(told["wall"] for told in side) for side in (ours, theirs))
    print(
        f"eight targets of 1 s: {wall:.3f} s (worst {max(told['wall'] for told in ours):.3f}), raw asyncio "
        f"{reference:.3f} s, ratio {wall / reference:.3f}; target 1.15 s: {'met' if wall <= 1.15 else 'MISSED'}"
    )
    errors = [[(told["first"][place] - first) * 1000 for told in ours] for place, first in enumerate(_FIRST)]
    print(
        "first token, read minus true, median (worst) in ms: "
        + ", ".join(
            f"{target} {statistics.median(each):+.1f} ({max(each, key=abs):+.1f})"
            for target, each in zip(vendors.targets, errors, strict=True)
        )
    )


def view(env: Mapping[str, str], runs: int) -> None:
    """What drawing costs."""
    without = [sys.executable, "-m", "benchmarks.compare", "--ask", *_STREAMS]
    drawn = [*without, "--view"]
    plain, live = [], []
    for _ in range(runs):
        plain.append(run(without, env))
        live.append(run(drawn, env))
    cpu = [statistics.median(told["cpu"] / told["wall"] for told in side) for side in (live, plain)]
    cost = cpu[0] - cpu[1]
    pictures = sorted(taken * 1000 for told in live for taken in told["pictures"])
    print(
        f"live view at 8 x 100 tokens/s: {cost:.1%} of one core ({cpu[0]:.1%} with, {cpu[1]:.1%} without); "
        f"target 10 %: {'met' if cost <= 0.1 else 'MISSED'}"
    )
    print(
        f"one picture: p50 {statistics.median(pictures):.2f} ms, p95 {pictures[int(len(pictures) * 0.95)]:.2f} ms, "
        f"longest {pictures[-1]:.2f} ms, of {len(pictures)}"
    )


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--ask", nargs="+", metavar="MODEL", help="what the benchmark starts")
    parser.add_argument("--view", action="store_true", help="likewise")
    given = parser.parse_args()
    if given.ask:
        ask(given.ask, view=given.view)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = str(Path(__file__).parents[1])
        env = {"PATH": os.environ["PATH"], "HOME": folder, "LLMSWITCH_HOME": folder, "PYTHONPATH": root}
        with serving(env) as port:
            env |= vendors.environ(port)
            print("medians of", given.runs, "interleaved runs")
            together(port, env, given.runs)
            view(env, given.runs)


if __name__ == "__main__":
    main()
