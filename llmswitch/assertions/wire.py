"""Assertions, answers and verdicts as lines of JSON, between this process and one that grades; never pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal

from llmswitch.assertions.base import Answer, Assertion, Verdict

__all__ = ["decode_job", "decode_verdict", "encode_job", "encode_verdict", "minimal"]

#: what a Python needs of its surroundings; keys and all else stay here
_ENVIRONMENT = (
    "PATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "TEMP",
    "TMP",
    "SYSTEMROOT",
)


def minimal(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that grades."""
    return {name: environ[name] for name in _ENVIRONMENT if name in environ}


def encode_job(assertions: Sequence[Assertion], answer: Answer) -> bytes:
    """One line. Prompt and variables stay here: no assertion that travels looks at them."""
    rows = [
        {"type": one.type, "negated": one.negated, "value": one.value, "threshold": one.threshold} for one in assertions
    ]
    cost = None if answer.cost is None else str(answer.cost)
    seen = {**answer._asdict(), "prompt": "", "vars": {}, "cost": cost}
    return json.dumps({"assertions": rows, "answer": seen}).encode() + b"\n"


def decode_job(line: bytes) -> tuple[list[Assertion], Answer]:
    """Raises ValueError, KeyError, TypeError where `line` is no job."""
    job = json.loads(line)
    cost = job["answer"].pop("cost")
    return [Assertion(**row) for row in job["assertions"]], Answer(
        **job["answer"], cost=None if cost is None else Decimal(cost)
    )


def encode_verdict(verdict: Verdict) -> bytes:
    """One line."""
    return json.dumps([verdict.passed, verdict.score, verdict.reason, verdict.error]).encode() + b"\n"


def decode_verdict(line: bytes, assertion: Assertion) -> Verdict:
    """The verdict on `assertion`, whose weight, metric and name have stayed here. Raises ValueError, TypeError."""
    passed, score, reason, error = values = json.loads(line)
    if not isinstance(passed, bool) or not all(isinstance(one, str | None) for one in values[2:]):
        raise TypeError("a line that is no verdict")
    passed = passed or (assertion.weight == 0 and error is None)
    return Verdict(assertion.name, passed, float(score), reason, assertion.weight, assertion.metric, error)
