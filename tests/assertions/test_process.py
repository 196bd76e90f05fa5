"""The process that grades: bounded, killed, and gone when who asked is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from llmswitch.assertions.base import Answer, Assertion, GradingError, Verdict
from llmswitch.assertions.process import GradingProcess, Job

#: takes for ever on RUNAWAY
REGEX = Assertion("regex", value="^(a+)+$")
RUNAWAY = Answer("a" * 40 + "b")
JSON = Assertion("is-json", metric="form", weight=2)


def run(
    use: Callable[[GradingProcess], Awaitable[None]], *, time_limit_s: float = 20, allow_code: bool = False
) -> None:
    async def main() -> None:
        process = GradingProcess(environ=os.environ, time_limit_s=time_limit_s, allow_code=allow_code)
        try:
            await use(process)
        finally:
            await process.aclose()

    asyncio.run(main())


def children() -> list[int]:
    """Of this process, by their command line."""
    found = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=False
    )
    return [int(line.split()[0]) for line in found.stdout.splitlines() if "llmswitch.assertions" in line]


def test_many_jobs_are_graded_in_one_child_and_none_is_left() -> None:
    async def use(process: GradingProcess) -> None:
        jobs = [Job([Assertion("regex", value=f"^{n}$"), JSON], Answer(str(n))) for n in range(100)]
        graded = await asyncio.gather(*(process.grade(job) for job in jobs))
        assert all(verdict.passed for verdicts in graded for verdict in verdicts)
        assert (graded[0][1].type, graded[0][1].metric, graded[0][1].weight) == ("is-json", "form", 2)
        assert len(children()) == 1

    run(use)
    assert children() == []


def test_a_runaway_expression_fails_alone_and_the_loop_goes_on() -> None:
    async def use(process: GradingProcess) -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        first, second, third = await process.grade(Job([JSON, REGEX, Assertion("regex", value="a")], RUNAWAY))
        ticking.cancel()
        assert (first.passed, second.passed, third.passed) == (False, False, True)
        assert (second.score, second.error) == (0, None)
        assert "within 2 s" in second.reason
        assert ticks > 50

    run(use, time_limit_s=2)


def test_a_child_that_is_killed_is_replaced_and_the_assertion_tried_again() -> None:
    async def use(process: GradingProcess) -> None:
        await process.grade(Job([JSON], Answer("{}")))
        running = asyncio.create_task(process.grade(Job([REGEX, JSON], RUNAWAY)))
        killed: set[int] = set()
        while not running.done():
            await asyncio.sleep(0.3)
            for child in children() if len(killed) < 2 else ():
                killed.add(child)
                os.kill(child, signal.SIGKILL)
        twice, after = running.result()
        assert len(killed) == 2
        assert twice.error is not None
        assert "ended while it graded" in twice.error
        assert after.error is None

    run(use)


def test_a_cancelled_job_leaves_the_next_one_its_own_verdict() -> None:
    async def use(process: GradingProcess) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await process.grade(Job([REGEX], RUNAWAY))
        assert [one.passed for one in await process.grade(Job([JSON], Answer("{}")))] == [True]

    run(use)


def test_a_long_answer_full_of_surrogates_arrives() -> None:
    async def use(process: GradingProcess) -> None:
        [verdict] = await process.grade(Job([Assertion("regex", value="\\ud800b$")], Answer("a\ud800" * 500_000 + "b")))
        assert verdict.passed

    run(use)


def test_nothing_is_started_once_it_is_closed() -> None:
    async def use(process: GradingProcess) -> None:
        await process.aclose()
        with pytest.raises(GradingError, match="closed"):
            await process.grade(Job([JSON], Answer("{}")))

    run(use)


_PARENT = """
import asyncio, os
from llmswitch.assertions.base import Answer, Assertion
from llmswitch.assertions.process import GradingProcess, Job

async def main():
    process = GradingProcess(environ=os.environ, time_limit_s=1)
    await process.grade(Job([Assertion("is-json")], Answer("{}")))
    print(process._process.pid, flush=True)
    if os.environ["BUSY"]:
        await process.grade(Job([Assertion("regex", value="^(a+)+$")] * 99, Answer("a" * 40 + "b")))
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("busy", ["", "1"])
def test_the_child_ends_when_its_parent_is_killed(busy: str) -> None:
    environ = {**os.environ, "BUSY": busy}
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True, env=environ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.3)
        parent.kill()
    # a runaway expression lets no Python run: it keeps a limit of its own
    ends = time.monotonic() + 12
    while Path(f"/proc/{child}").exists() and time.monotonic() < ends:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()


def code(value: str, *, threshold: float | None = None, negated: bool = False) -> Assertion:
    return Assertion("python", negated, value, threshold, config={"least": 3})


def graded(*assertions: Assertion, allow_code: bool = True, time_limit_s: float = 20) -> list[Verdict]:
    found: list[Verdict] = []

    async def use(process: GradingProcess) -> None:
        found.extend(await process.grade(Job(list(assertions), Answer("hello", prompt="p", vars={"v": 1}))))

    run(use, allow_code=allow_code, time_limit_s=time_limit_s)
    return found


def test_a_suites_python_gives_verdicts(tmp_path: Path) -> None:
    script = tmp_path / "marks.py"
    (tmp_path / "helper.py").write_text("LEAST = 5\n")
    script.write_text(
        "import helper\n"
        "def get_assert(output, context):\n    print('noise')\n    return len(output) >= helper.LEAST\n"
        "async def other(output, context):\n    return {'pass_': False, 'score': 0.5, 'reason': context['prompt']}\n"
    )
    rows = [
        (code("len(output) > context['config']['least']"), True, 1),
        (code("context['vars']['v'] == 2"), False, 0),
        (code("x = len(output)\nreturn x / 10"), True, 0.5),
        (code("0.5", threshold=0.6), False, 0.5),
        (code("0.5", negated=True), False, 0.5),
        (code("'false'"), False, 0),
        (code("""'{"pass": true, "score": 0.2, "reason": "r"}'"""), True, 0.2),
        (code("{'pass': True, 'score': 0.2, 'reason': 'r'}", threshold=0.5), False, 0.2),
        (code("{'pass': True}"), False, 0),
        (code("None"), False, 0),
        (code("float('nan')"), False, 0),
        (code("10 ** 400"), False, 0),
        (code("57"), True, 1),
        (code("-3"), False, 0),
        (code("5", threshold=6), False, 1),
        (code("{'pass': True, 'score': 1e300, 'reason': 'r'}"), True, 1),
        (code("'x' * 2_000_000"), False, 0),
        (code("1 / 0"), False, 0),
        (code("import os\nos._exit(0)"), False, 0),
        (code(f"file://{script}"), True, 1),
        (code(f"file://{script}:other"), False, 0.5),
        (code(f"file://{tmp_path}/none.py"), False, 0),
    ]
    verdicts = graded(*(row[0] for row in rows))
    assert [(one.passed, one.score, one.error) for one in verdicts] == [
        (passed, score, None) for _, passed, score in rows
    ]
    assert any("ZeroDivisionError" in one.reason for one in verdicts)
    assert any("over 1,000,000 characters" in one.reason for one in verdicts)


def test_a_suites_python_sees_no_key_and_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not-for-you")
    seen, late = graded(
        code("import os\nreturn 'not-for-you' not in str(os.environ)"),
        code("import time\ntime.sleep(60)"),
        time_limit_s=3,
    )
    assert seen.passed
    assert not late.passed
    assert "within 3 s" in late.reason
    assert children() == []


def test_without_leave_no_code_runs(tmp_path: Path) -> None:
    [verdict] = graded(code(f"open({str(tmp_path / 'ran')!r}, 'w')"), allow_code=False)
    assert verdict.error
    assert "--allow-code" in verdict.error
    assert not (tmp_path / "ran").exists()
