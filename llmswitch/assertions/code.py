"""python: what a suite brings as code, in a process of its own that can be killed. Only with --allow-code."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from llmswitch.assertions import coderunner
from llmswitch.assertions.base import Answer, Assertion, Verdict
from llmswitch.assertions.findings import Finding
from llmswitch.assertions.grade import found
from llmswitch.assertions.processes import end, own_limit
from llmswitch.text import one_line

__all__ = ["finding_of", "run_python"]

_MOST = 1 << 20


async def run_python(assertion: Assertion, answer: Answer, *, limit_s: float, environ: Mapping[str, str]) -> Verdict:
    """The verdict of `value`: an expression, a body with `return`, or `file://PATH[:FUNCTION]` (`get_assert`).

    Both are given `output`, the answer's text, and `context`: {"prompt", "vars", "config"}. Code that raises, returns
    nothing to go by, or does not end within `limit_s`, fails.
    """
    context = {"prompt": answer.prompt, "vars": dict(answer.vars), "config": dict(assertion.config)}
    job = json.dumps({"value": assertion.value, "output": answer.text, "context": context}, default=str)
    command = (sys.executable, "-P", "-m", coderunner.__name__, str(own_limit(limit_s)))
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=dict(environ), limit=_MOST, start_new_session=True
        )
    except OSError as error:
        return found(assertion, Finding(False, 0.0, f"the code cannot be run: {error}"))
    try:
        async with asyncio.timeout(limit_s):
            printed, _ = await process.communicate(job.encode())
        finding = _finding(assertion, printed)
    except TimeoutError:
        finding = Finding(False, 0.0, f"the code did not end within {limit_s:g} s")
    finally:
        await end(process)
    return found(assertion, finding._replace(passed=True) if assertion.weight == 0 else finding)


def _finding(assertion: Assertion, printed: bytes) -> Finding:
    try:
        said = json.loads(printed)
    except (ValueError, RecursionError):
        return Finding(False, 0.0, "the code ended without a result")
    if "error" in said:
        return Finding(False, 0.0, f"the code failed: {one_line(str(said['error']), 500)}")
    return finding_of(assertion, said.get("result"))


def finding_of(assertion: Assertion, result: Any) -> Finding:
    """A bool, a number (passes above 0, or from the threshold on), {pass, score, reason}, or one of these as text."""
    if isinstance(result, str):
        result = _from_text(result)
    if isinstance(result, bool):
        passed = result != assertion.negated
        return Finding(passed, float(passed), f"the code returned {result}")
    if _is_number(result):
        reached = result > 0 if assertion.threshold is None else result >= assertion.threshold
        return Finding(reached != assertion.negated, _share(result), f"the code returned {result:g}")
    if isinstance(result, dict):
        return _from_object(assertion, result)
    return Finding(
        False, 0.0, f"the code returned neither a bool nor a number nor an object: {one_line(repr(result), 120)}"
    )


def _from_text(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    with suppress(ValueError, RecursionError):
        return json.loads(text) if text.startswith("{") else float(text)
    return text


def _from_object(assertion: Assertion, result: Mapping[str, Any]) -> Finding:
    passed, score, reason = result.get("pass", result.get("pass_")), result.get("score", math.nan), result.get("reason")
    if not isinstance(passed, bool) or not isinstance(reason, str) or not _is_number(score):
        return Finding(
            False,
            0.0,
            "the code returned an object without pass (true or false), score (a number), and reason (a text)",
        )
    score = float(score)
    if assertion.threshold is not None and score < assertion.threshold:
        passed, reason = False, f"the score {score:g} is below {assertion.threshold:g}: {reason}"
    return Finding(passed != assertion.negated, _share(score), reason)


def _share(number: float) -> float:
    """As a score: what is beyond 0 or 1 is no better than they are, or one sample would outweigh all others."""
    return min(1.0, max(0.0, float(number)))


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number that no double holds
        return False
