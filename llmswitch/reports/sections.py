"""What a comparison shows only where it was asked for: word diffs, fields side by side, the judge's verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from llmswitch.errors import ConfigError
from llmswitch.reports.diff import Piece, word_diff
from llmswitch.reports.fields import Field, compare_fields
from llmswitch.reports.rows import UNKNOWN, Column, Table, money
from llmswitch.runs.compare import Comparison
from llmswitch.runs.judge import Judgement, letters

__all__ = ["Sections", "field_table", "sections", "verdict"]


class Sections(NamedTuple):
    """None where it was not asked for. `diffs` are by (first answered target, another); `fields` in targets' order."""

    diffs: Mapping[tuple[str, str], Sequence[Piece]] | None = None
    fields: Sequence[Field] | None = None


def sections(comparison: Comparison, *, diff: bool, fields: bool) -> Sections:
    """The sections asked for, over the first answer of each target."""
    texts = {sample.target: sample.response.text for sample in comparison.results if sample.response is not None}
    first = next(iter(texts), "")
    others = [target for target in texts if target != first]
    return Sections(
        {(first, other): word_diff(texts[first], texts[other]) for other in others} if diff else None,
        compare_fields([texts.get(target) for target in comparison.targets]) if fields else None,
    )


def field_table(comparison: Comparison, fields: Sequence[Field]) -> Table:
    """One row a field; `=` where all agree, `≠` where not."""
    columns = (Column("field"), Column(""), *(Column(target) for target in comparison.targets))
    rows = tuple(
        (field.path, "=" if field.agree else "≠", *(value or UNKNOWN for value in field.values)) for field in fields
    )
    return Table(columns, rows)


def verdict(judgement: Judgement) -> tuple[str, ...]:
    """The judge's word as sentences, its reasons and its own cost among them."""
    lines = []
    if judgement.error is not None:
        lines.append(f"{judgement.judge} gave no verdict: {judgement.error.message}")
    elif judgement.winner is not None:
        lines.append(f"{judgement.judge} ranks: {' > '.join(judgement.ranking)}, first in both orders.")
    else:
        lines.append(f"{judgement.judge} is undecided: another answer came first when their order was turned round.")
    for said in judgement.verdicts:
        shown = ", ".join(f"{letter} {target}" for letter, target in letters(said.order).items())
        lines.append(f"Shown as {shown}: {' > '.join(said.ranking)}. {said.reason}")
    if judgement.cost is not None:
        lines.append(f"The judge cost {money(judgement.cost.amount, exact=judgement.cost.exact)}.")
    elif not isinstance(judgement.error, ConfigError):  # with one, nobody was asked
        lines.append("The judge cost an unknown amount.")
    return tuple(lines)
