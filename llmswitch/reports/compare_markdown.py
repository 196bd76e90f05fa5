"""A `Comparison` as Markdown, to paste into an issue or a chat."""

from __future__ import annotations

from llmswitch.reports.compare import comparison_table, finish, footnotes, statements
from llmswitch.reports.diff import marked
from llmswitch.reports.markdown import escaped, fenced, markdown_table
from llmswitch.reports.sections import Sections, field_table, verdict
from llmswitch.runs.compare import Comparison
from llmswitch.runs.sampling import Sample

__all__ = ["comparison_markdown"]


def comparison_markdown(comparison: Comparison, parts: Sections) -> str:
    """Prompt, table, answers, and the sections asked for; every text of a model in a code fence."""
    table = comparison_table(comparison)
    blocks = ["# Comparison\n", fenced(comparison.prompt), markdown_table(table)]
    blocks += [f"{escaped(line)}\n" for line in (*footnotes(comparison, table, mark="bold"), *statements(comparison))]
    blocks += [_answer(comparison, sample) for sample in comparison.results]
    if parts.fields is not None:
        blocks.append(f"## Fields\n\n{markdown_table(field_table(comparison, parts.fields))}")
    for (before, after), pieces in (parts.diffs or {}).items():
        blocks.append(f"## {escaped(before)} → {escaped(after)}\n\n{fenced(marked(pieces))}")
    if comparison.judgement is not None:
        blocks.append("## Judge\n")
        blocks += [f"{escaped(line)}\n" for line in verdict(comparison.judgement)]
    return "\n".join(blocks)


def _answer(comparison: Comparison, sample: Sample) -> str:
    head = f"## {escaped(sample.target)}\n\n"
    if sample.response is not None:
        return f"{head}{escaped(finish(comparison, sample.target))}\n\n{fenced(sample.response.text)}"
    if sample.error is None:
        return head
    partial = f"\n\nWhat came before:\n\n{fenced(sample.error.partial_text)}" if sample.error.partial_text else "\n"
    return f"{head}{escaped(sample.error.kind)}: {escaped(sample.error.message)}{partial}"
