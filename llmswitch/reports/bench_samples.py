"""How a sample ended, in words: what each format says of it."""

from __future__ import annotations

from typing import NamedTuple

from llmswitch.runs.bench.model import SampleRow
from llmswitch.text import sanitize

__all__ = ["Ending", "cut", "ending", "row_title"]


class Ending(NamedTuple):
    """`kind` is pass, fail or error: a call, or a judge, that failed. `what` is the first reason's own kind."""

    kind: str
    what: str = ""
    reasons: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """All reasons, a line each."""
        return "\n".join(self.reasons)


def ending(row: SampleRow) -> Ending:
    """How `row` ended and why; an assertion that could not be judged is no reason where another one failed."""
    if row.error is not None:
        return Ending("error", str(row.error.get("kind")), (f"{row.error.get('kind')}: {row.error.get('message')}",))
    if row.passed:
        return Ending("pass")
    kind, wanted = ("error", None) if row.passed is None else ("fail", False)
    found = [one for one in row.assertions if one.get("pass") is wanted]
    if not found:
        return Ending(kind, "unjudged" if row.passed is None else "threshold", (_untold(row),))
    return Ending(kind, str(found[0].get("type")), tuple(f"{one.get('type')}: {one.get('reason')}" for one in found))


def _untold(row: SampleRow) -> str:
    return "nothing could be judged" if row.passed is None else f"the score of {row.score} is below the threshold"


def row_title(row: SampleRow) -> str:
    """`1.17 refund policy`."""
    return f"{row.case} {row.description}" if row.description else row.case


def cut(text: str, longest: int) -> str:
    """`text` without controls, and of a long one its beginning and how much more there is."""
    clean = sanitize(text)
    return clean if len(clean) <= longest else f"{clean[:longest]}\n… {len(clean) - longest:,} characters more"
