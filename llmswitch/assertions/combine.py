"""One grade from several verdicts: a weighted mean, and all must pass unless a threshold says otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from llmswitch.assertions import find
from llmswitch.assertions.base import Verdict

__all__ = ["Grade", "combine"]


class Grade(NamedTuple):
    """`passed` and `score` are None where something could not be judged, which `error` tells."""

    passed: bool | None
    score: float | None
    reason: str
    error: str | None = None


def combine(verdicts: Sequence[Verdict], threshold: float | None = None) -> Grade:
    """The grade of an answer. Without assertions it passes with score 1; the reason is the last failure's.

    `threshold` replaces 'all must pass': the score must reach it. Where weights add up to 0, so does the score. A
    comparison with other answers comes after that: the best keeps its grade, every other one fails with score 0.
    """
    error = next((f"{one.type}: {one.error}" for one in verdicts if one.error is not None), None)
    if error is not None:
        return Grade(None, None, error, error)
    compared = [one for one in verdicts if _compares(one)]
    graded = [one for one in verdicts if not _compares(one)]
    grade = _own(graded, threshold) if graded or not compared else Grade(True, 1.0, compared[-1].reason)
    lost = next((one for one in compared if not one.passed), None)
    return grade if lost is None else Grade(False, 0.0, lost.reason)


def _own(verdicts: Sequence[Verdict], threshold: float | None) -> Grade:
    if not verdicts:
        return Grade(True, 1.0, "there is no assertion")
    weight = sum(one.weight for one in verdicts)
    score = sum(one.score * one.weight for one in verdicts) / weight if weight > 0 else 0.0
    failed = [one for one in verdicts if not one.passed]
    if threshold is not None:
        passed = score >= threshold
        return Grade(passed, score, f"the score {score:.4g} is {'not below' if passed else 'below'} {threshold:g}")
    return Grade(not failed, score, f"{failed[-1].type}: {failed[-1].reason}" if failed else "all assertions passed")


def _compares(verdict: Verdict) -> bool:
    row = find(verdict.type.removeprefix("not-"))
    return row is not None and row.compares
