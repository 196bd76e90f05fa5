"""CSV and Markdown of texts that somebody else wrote."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from llmswitch.errors import ServerError
from llmswitch.reports.compare_document import CSV_COLUMNS, csv_rows
from llmswitch.reports.compare_markdown import comparison_markdown
from llmswitch.reports.csv import csv_text
from llmswitch.reports.markdown import escaped, fenced, markdown_table
from llmswitch.reports.rows import Cell, Column, Table
from llmswitch.reports.sections import Sections
from tests.reports.comparisons import answered, comparison, failed


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", " =1", "\n=1", "\t=1", "\x00=1", "\x1b[0m=1"])
def test_no_cell_begins_as_a_formula(text: str) -> None:
    row = next(csv.reader(io.StringIO(csv_text(["a"], [[text]]).split("\n", 1)[1])))
    assert row[0].startswith("'")


def test_numbers_truth_and_unknowns_are_themselves() -> None:
    assert csv_text(["a", "b", "c", "d"], [[-1.5, True, None, 3]]) == "a,b,c,d\n-1.5,true,,3\n"


@given(st.text())
def test_whatever_a_cell_holds_it_stays_one_cell(text: str) -> None:
    rows = list(csv.reader(io.StringIO(csv_text(["a", "b"], [[text, "end"]]), newline="")))
    assert len(rows) == 2
    assert rows[1][1] == "end"


def test_every_sample_fills_every_column() -> None:
    found = comparison([answered("a", "x"), failed("b", ServerError("no"), partial_text="half")])
    rows = csv_rows(found)
    assert {len(row) for row in rows} == {len(CSV_COLUMNS)}
    assert dict(zip(CSV_COLUMNS, rows[1], strict=True))["error_message"] == "no"
    assert dict(zip(CSV_COLUMNS, rows[1], strict=True))["text"] == "half"


@given(st.text(alphabet=st.sampled_from("`~\n# <x>\x00\x1b[m|")))
def test_nothing_gets_out_of_a_fence(text: str) -> None:
    tokens = MarkdownIt().parse(f"{fenced(text)}\n\nafter")
    assert [token.type for token in tokens] == ["fence", "paragraph_open", "inline", "paragraph_close"]


@given(st.text())
def test_an_escaped_text_is_text(text: str) -> None:
    rendered = MarkdownIt("commonmark").enable("table").render(f"x {escaped(text)} y")
    assert rendered.count("<") == 2  # <p> and </p>


def test_a_table_keeps_its_columns() -> None:
    table = Table((Column("a|b"), Column("n", number=True)), (("x|y\nz", Cell("1", "2.0× slower", best=True)),))
    assert markdown_table(table).splitlines() == [
        r"| a\|b | n |",
        "| --- | ---: |",
        r"| x\|y z | **1** (2.0× slower) |",
    ]


def test_the_whole_of_it_holds_table_answers_and_errors() -> None:
    found = comparison([answered("a", "# an answer"), failed("b", ServerError("no *luck*"), partial_text="half")])
    text = comparison_markdown(found, Sections())
    assert "```text\n# an answer\n```" in text
    assert r"server: no \*luck\*" in text
    assert "```text\nhalf\n```" in text
