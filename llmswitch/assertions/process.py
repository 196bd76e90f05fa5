"""Grading beside the event loop: one child process, killed and started anew where an assertion does not end.

Neither its work nor a runaway regular expression disturbs the clocks of this one. The child ends with its input: when
it is closed, or when this process is no more. What a suite brings as code runs in a process of its own each time.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from llmswitch.assertions import child, find
from llmswitch.assertions.base import Answer, Assertion, GradingError, Verdict
from llmswitch.assertions.code import run_python
from llmswitch.assertions.findings import Finding
from llmswitch.assertions.grade import failed, found
from llmswitch.assertions.processes import end, own_limit
from llmswitch.assertions.wire import decode_verdict, encode_job, minimal

__all__ = ["GradingProcess", "Job"]

_START_S = 60.0
_LINE = 1 << 20
#: processes with a suite's code at once
_CODES = 2


class Job(NamedTuple):
    """The leaves to be graded of one answer: none that a model grades."""

    assertions: Sequence[Assertion]
    answer: Answer


class GradingProcess:
    """Grades jobs, one after another, in the order in which they came. Used from one event loop.

    `time_limit_s` holds for each assertion. Of `environ`, the child is given what Python needs and no more.
    """

    def __init__(self, *, environ: Mapping[str, str], time_limit_s: float = 10.0, allow_code: bool = False) -> None:
        self._environ = minimal(environ)
        self._limit_s = time_limit_s
        self._allow_code = allow_code
        self._turn = asyncio.Lock()
        self._codes = asyncio.Semaphore(_CODES)
        self._process: Process | None = None
        self._closed = False

    async def grade(self, job: Job) -> list[Verdict]:
        """A verdict for each assertion, in order. Raises GradingError where no process can be started."""
        plain: list[Assertion] = []
        code: list[Assertion] = []
        for leaf in job.assertions:
            row = find(leaf.type)
            (code if row is not None and row.code else plain).append(leaf)
        verdicts = iter(await self._graded(plain, job.answer))
        ran = iter([await self._ran(leaf, job.answer) for leaf in code])
        return [next(ran) if any(leaf is one for one in code) else next(verdicts) for leaf in job.assertions]

    async def aclose(self) -> None:
        """End the child; what is being graded is an error then."""
        self._closed = True
        await self._end()

    async def _ran(self, leaf: Assertion, answer: Answer) -> Verdict:
        if not self._allow_code:
            return failed(leaf, f"{leaf.name} runs code of the suite's: allow it with --allow-code.")
        async with self._codes:
            return await run_python(leaf, answer, limit_s=self._limit_s, environ=self._environ)

    async def _graded(self, leaves: Sequence[Assertion], answer: Answer) -> list[Verdict]:
        done: list[Verdict] = []
        died_at = -1
        async with self._turn:
            while len(done) < len(leaves):
                leaf = leaves[len(done)]
                try:
                    await self._ask(leaves, answer, done)
                except TimeoutError:
                    await self._end()
                    told = f"it was not graded within {self._limit_s:g} s, and counts as failed"
                    done.append(found(leaf, Finding(leaf.weight == 0, 0.0, told)))
                except (EOFError, OSError, ValueError, TypeError) as error:
                    # whoever ended it may not have meant this assertion: it has a second chance, in a new child
                    await self._end()
                    if died_at == len(done):
                        done.append(failed(leaf, f"the grading process ended while it graded this ({error})."))
                    died_at = len(done)
                except BaseException:
                    await self._end()
                    raise
        return done

    async def _ask(self, leaves: Sequence[Assertion], answer: Answer, done: list[Verdict]) -> None:
        """Add to `done` what is missing there."""
        process = self._process or await self._start()
        sink, source = _pipes(process)
        rest = leaves[len(done) :]
        sink.write(encode_job(rest, answer))
        for leaf in rest:
            async with asyncio.timeout(self._limit_s):
                await sink.drain()
                line = await source.readuntil()
            done.append(decode_verdict(line, leaf))

    async def _start(self) -> Process:
        if self._closed:
            raise GradingError("the grading process is closed.")
        # -P: what lies in the folder that it is started from is not what is imported
        command = (sys.executable, "-P", "-m", child.__name__, str(own_limit(self._limit_s)))
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                *command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                env=self._environ,
                limit=_LINE,
                start_new_session=True,
            )
            async with asyncio.timeout(_START_S):
                ready = await _pipes(process)[1].readline()
        except (OSError, TimeoutError) as error:
            raise GradingError(f"the grading process does not start: {error}.") from error
        if ready != child.READY:
            raise EOFError(f"{sys.executable} has not started {child.__name__}")
        return process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await end(process)


def _pipes(process: Process) -> tuple[asyncio.StreamWriter, asyncio.StreamReader]:
    """Its input and its output."""
    if process.stdin is None or process.stdout is None:
        raise GradingError("the grading process has no pipes.")
    return process.stdin, process.stdout
