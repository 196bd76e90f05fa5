"""From assertions to verdicts: one for each leaf, wherever it is made, then one for each that stands at the top."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from llmswitch.assertions import find
from llmswitch.assertions.base import Answer, Assertion, GradingError, Verdict
from llmswitch.assertions.combine import combine
from llmswitch.assertions.findings import Finding
from llmswitch.text import encodable, one_line

__all__ = ["failed", "fold", "found", "grade", "judged", "leaves"]

#: characters of a reason: an answer of 10 MB is quoted by none
_MOST = 1000


def leaves(assertions: Iterable[Assertion]) -> list[Assertion]:
    """Every assertion that asks something itself, in order: an assert-set's members take its place."""
    return [leaf for one in assertions for leaf in (leaves(one.members) if _is_set(one) else (one,))]


def fold(assertions: Sequence[Assertion], verdicts: Iterable[Verdict]) -> list[Verdict]:
    """One verdict for each of `assertions`, given those of all their `leaves` in order.

    A set's verdict is its members' combined, under its own threshold, weight and metric. Unlike a leaf, a set of
    weight 0 fails where its members do. Raises ValueError where the number of verdicts is another.
    """
    left = iter(verdicts)
    folded = [_fold(one, left) for one in assertions]
    if next(left, None) is not None:
        raise ValueError("there are more verdicts than assertions")
    return folded


def _fold(assertion: Assertion, verdicts: Iterator[Verdict]) -> Verdict:
    if not _is_set(assertion):
        verdict = next(verdicts, None)
        if verdict is None:
            raise ValueError("there are fewer verdicts than assertions")
        return verdict
    # without a member, nothing failed and nothing scored
    members = [_fold(member, verdicts) for member in assertion.members]
    if not members:
        return found(assertion, Finding((assertion.threshold or 0) <= 0, 0.0, "there is no assertion in the set"))
    grade = combine(members, assertion.threshold)
    if grade.passed is None or grade.score is None:
        return failed(assertion, grade.error or grade.reason)
    return found(assertion, Finding(grade.passed, grade.score, grade.reason))


def grade(assertions: Sequence[Assertion], answer: Answer) -> list[Verdict]:
    """Verdicts for `assertions`, made here and now; those that take a judge or code of the suite's are errors."""
    return fold(assertions, [judged(leaf, answer) for leaf in leaves(assertions)])


def judged(assertion: Assertion, answer: Answer) -> Verdict:
    """The verdict of one leaf. Never raises for what stands in an answer."""
    row = find(assertion.type)
    if row is None or row.graded or row.code or row.members:
        return failed(assertion, f"{assertion.name} cannot be graded without a judge, or a process of its own.")
    try:
        finding: Finding = row.run(assertion, answer)
    except GradingError as error:
        return failed(assertion, error.message)
    except Exception as error:  # parsers of others meet hostile text: what they raise is no end of a run
        return failed(assertion, f"it could not be graded: {type(error).__name__}: {one_line(str(error), 200)}")
    if assertion.weight == 0:
        finding = finding._replace(passed=True)
    return found(assertion, finding)


def found(assertion: Assertion, finding: Finding) -> Verdict:
    """A finding as the verdict of its assertion."""
    reason = encodable(one_line(finding.reason, _MOST))
    return Verdict(assertion.name, finding.passed, finding.score, reason, assertion.weight, assertion.metric)


def failed(assertion: Assertion, why: str) -> Verdict:
    """The verdict that there is none."""
    why = encodable(one_line(why, _MOST))
    return Verdict(assertion.name, False, 0.0, why, assertion.weight, assertion.metric, error=why)


def _is_set(assertion: Assertion) -> bool:
    row = find(assertion.type)
    return row is not None and row.members
