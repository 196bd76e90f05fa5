"""What a batch takes: `python -m benchmarks.batch [--lines N] [--targets openai,claude,gemini]`.

The installed command submits N lines and collects them again, against a server of this machine that answers each job as
soon as it is asked about it; then the same with 100 lines. Printed for each step: seconds, microseconds a line, and the
most memory that the command's process held. Memory is that of the kernel's own account (ru_maxrss). That of a process
begins with what its parent held, so the command is started by a small process and not by the one that has the server.

Target: with 100,000 lines memory grows by less than 50 MB over that of 100 lines.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.servers.batch_vendors import BatchBehaviour, BatchVendors

#: runs a command; prints its exit code, and the most memory that it held in KB
_START = """
import os, subprocess, sys
with open(sys.argv[1], "wb") as printed:
    process = subprocess.Popen(sys.argv[2:], stdout=printed)
    _, status, used = os.wait4(process.pid, 0)
print(os.waitstatus_to_exitcode(status), used.ru_maxrss)
"""
_FEW = 100
_ALLOWED_MB = 50.0


class Step(NamedTuple):
    """One command: seconds, the most memory its process held in MB, and what it printed."""

    seconds: float
    memory_mb: float
    printed: str


def run(arguments: list[str], environ: Mapping[str, str], folder: Path) -> Step:
    """The command in a process of its own."""
    printed = folder / "printed"
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _START, str(printed), sys.executable, "-m", "llmswitch", *arguments],
        env=dict(environ),
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    seconds = time.perf_counter() - began
    code, kilobytes = map(int, done.stdout.split())
    if code:
        raise SystemExit(f"{' '.join(arguments)} ended with {code}")
    return Step(seconds, kilobytes / 1024, printed.read_text())


def measure(lines: int, targets: list[str], vendors: BatchVendors, root: Path) -> dict[str, Step]:
    """Submit and collect `lines` lines; every answer must be to its question."""
    folder = root / str(lines)
    folder.mkdir()
    with open(folder / "prompts.jsonl", "w") as stream:
        stream.writelines(
            json.dumps({"id": f"q{number}", "prompt": f"What is the answer to question {number}? " * 3}) + "\n"
            for number in range(1, lines + 1)
        )
    environ = {**os.environ, **vendors.environ, "LLMSWITCH_HOME": str(folder / "home")}
    flags = [part for target in targets for part in ("-t", target)]
    steps = {"submit": run(["batch", "submit", "prompts.jsonl", *flags, "--yes", "-q"], environ, folder)}
    batch = steps["submit"].printed.strip()
    steps["collect"] = run(["batch", "collect", batch, "--wait", "-o", "answers.jsonl", "-q"], environ, folder)
    steps["again"] = run(["batch", "collect", batch, "-o", "again.jsonl", "-q"], environ, folder)
    count = 0
    with open(folder / "answers.jsonl") as stream:
        for count, row in enumerate(stream, start=1):
            answer = json.loads(row)
            if answer["id"] != f"q{count}" or f"question {count}?" not in answer["text"]:
                raise SystemExit(f"line {count} has the answer to another: {answer['id']}")
    if count != lines:
        raise SystemExit(f"{lines} lines were submitted and {count} collected")
    return steps


def main() -> None:
    """Measure few and many, and say how memory grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--targets", default="openai,claude,gemini")
    chosen = parser.parse_args()
    targets = chosen.targets.split(",")
    with tempfile.TemporaryDirectory() as name, BatchVendors(BatchBehaviour(looks=1)) as vendors:
        few = measure(_FEW, targets, vendors, Path(name))
        many = measure(chosen.lines, targets, vendors, Path(name))
    print(f"{'step':<10}{'lines':>9}{'seconds':>9}{'us a line':>11}{'memory':>10}{'over few':>10}")
    worst = 0.0
    for step in few:
        for lines, one in ((_FEW, few[step]), (chosen.lines, many[step])):
            grown = one.memory_mb - few[step].memory_mb
            worst = max(worst, grown)
            print(
                f"{step:<10}{lines:>9,}{one.seconds:>9.1f}{one.seconds / lines * 1e6:>11.0f}"
                f"{one.memory_mb:>7.0f} MB{grown:>7.1f} MB"
            )
    print(f"memory grew by {worst:.1f} MB at most; allowed are {_ALLOWED_MB:g} MB")


if __name__ == "__main__":
    main()
