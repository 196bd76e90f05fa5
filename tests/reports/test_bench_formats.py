"""The files of a run, of texts that somebody else wrote."""

from __future__ import annotations

import csv
import io
import json
import re
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import xmlschema
from markdown_it import MarkdownIt

from llmswitch.reports.bench_formats import FORMATS
from llmswitch.runs.bench.document import RunDocument
from llmswitch.runs.bench.model import SampleRow
from tests.reports.runs import check, failed, row, rows_of, run, target
from tests.reports.test_html import HOSTILE

#: what no text of a run may do to the file that it stands in
NASTY = (
    *HOSTILE,
    "]]>",
    "\x00\x08\x1b[31m\ud800\ufffe\uffff",
    "a | b\n| c | d |\n|---|---|",
    "```\n# heading\n```",
    "=HYPERLINK(1)",
    '"quoted", and; more\r\nlines',
    "@octocat fixes #123 and GH-7, see www.evil.invalid",
    "\u202eevil",
    "\n\n</details>\n\n# heading",
)


def written(name: str, rows: list[SampleRow], document: RunDocument | None = None) -> str:
    stream = io.StringIO(newline="")
    FORMATS[name].write(document or run(target("claude"), target("gemini")), rows_of(rows), [], stream)
    return stream.getvalue()


def nasty_run(*texts: str) -> tuple[RunDocument, list[SampleRow]]:
    """A run in which each of the texts stands wherever others decide what stands."""
    rows, targets = [], []
    for place, text in enumerate(texts):
        name = f"{place}{text}"
        targets.append(target(name, request_model=text, base_url=text, parameters={text: text}))
        told: dict[str, Any] = {
            "prompt": text,
            "text": text,
            "description": text,
            "vars": {text: text},
            "finish_reason": text,
        }
        assertions = ({"type": text, "pass": False, "score": 0.0, "reason": text},)
        rows += [row(text, name, passed=False, assertions=assertions, **told), row(text, name, 1, **told)]
        rows.append(row(text, name, 2, passed=None, **{**told, "error": {"kind": text, "message": text}}))
    everything = "\n".join(texts)
    checks = [check(text, text, reason=text) for text in texts]
    gate = {"verdict": "fail", "checks": checks, "baseline": everything, "alpha": 0.05, "reason": everything}
    document = run(*targets, suite=everything, id=everything, gate=gate, warnings=list(texts), profile=everything)
    return document, rows


def test_every_format_writes_a_file_of_its_own_and_four_are_made_from_the_other_two() -> None:
    assert [form.file for form in FORMATS.values() if form.derived] == [
        "samples.csv",
        "junit.xml",
        "report.md",
        "report.html",
    ]
    assert [form.file for form in FORMATS.values() if not form.derived] == ["run.json", "samples.jsonl"]


def test_json_and_jsonl_are_the_run_and_its_rows() -> None:
    rows = [row("1.1"), failed("1.2", "claude")]
    document = run(target("claude"))

    assert json.loads(written("json", rows, document)) == document
    lines = written("jsonl", rows).splitlines()
    assert [SampleRow.from_dict(json.loads(line)) for line in lines] == rows


def test_csv_has_a_row_a_sample_and_unknown_is_empty() -> None:
    rows = list(csv.DictReader(io.StringIO(written("csv", [row("1.1", passed=False), failed("1.2", "gemini")]))))

    assert [found["case"] for found in rows] == ["1.1", "1.2"]
    assert rows[0]["pass"] == "false"
    assert rows[0]["why"] == "contains: '30 days' is not in it"
    assert rows[0]["cost_usd"] == "0.0012"
    assert (rows[1]["pass"], rows[1]["text"], rows[1]["duration_s"]) == ("", "", "")
    assert rows[1]["error_kind"] == "timeout"


def test_no_cell_of_the_csv_is_a_formula_or_gets_out_of_its_own() -> None:
    document, samples = nasty_run(*NASTY)

    rows = list(csv.reader(io.StringIO(written("csv", samples, document), newline="")))

    assert {len(found) for found in rows} == {len(rows[0])}
    assert len(rows) == len(samples) + 1
    assert not [cell for found in rows for cell in found if re.match(r"[=+\-@\t]", cell)]


@pytest.fixture(scope="module")
def schema() -> xmlschema.XMLSchema:
    """As the xunit plugin of Jenkins publishes it: https://github.com/jenkinsci/xunit-plugin."""
    return xmlschema.XMLSchema(str(Path(__file__).parent / "junit-10.xsd"))


def suites(source: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(source.encode()))  # noqa: S314  # our own document


def test_junit_has_a_suite_a_target_and_counts_what_failed(schema: xmlschema.XMLSchema) -> None:
    rows = [
        row("1.1", description="shoes"),
        row("1.2", passed=False),
        row("1.1", "gemini", passed=None, assertions=({"type": "llm-rubric", "pass": None, "reason": "no verdict"},)),
        failed("1.2", "gemini"),
    ]
    checks = [check(), check("cost:+5%", verdict="pass"), check("score:-2pp", verdict="inconclusive")]
    gate = {"verdict": "fail", "checks": checks, "baseline": None, "alpha": 0.05, "reason": ""}

    source = written("junit", rows, run(target("claude"), target("gemini"), gate=gate))

    schema.validate(source)
    claude, gemini, judged = suites(source)
    names = ("name", "tests", "failures", "errors", "skipped", "time")
    assert [claude.get(name) for name in names] == ["claude", "2", "1", "0", "0", "2.400"]
    assert [gemini.get(name) for name in names] == ["gemini", "2", "0", "2", "0", "1.200"]
    assert [judged.get(name) for name in names] == ["gate", "3", "1", "0", "1", "0.000"]
    passed, not_passed = claude.findall("testcase")
    assert (passed.get("name"), passed.get("classname"), len(passed)) == ("1.1 #1 shoes", "support answers.claude", 0)
    failure = not_passed.find("failure")
    assert failure is not None
    assert (failure.get("type"), failure.text) == ("contains", "contains: '30 days' is not in it")
    assert "within **30 days**" in (not_passed.findtext("system-out") or "")
    assert [error.get("type") for error in gemini.iter("error")] == ["llm-rubric", "timeout"]


def test_whatever_a_text_holds_junit_is_valid_and_has_the_tests_it_should(schema: xmlschema.XMLSchema) -> None:
    document, rows = nasty_run(*NASTY)

    source = written("junit", rows, document)

    schema.validate(source)
    *targets, gate = suites(source)
    assert [found.get("tests") for found in targets] == ["3"] * len(NASTY)
    assert len(gate.findall("testcase")) == len(NASTY)
    assert sum(1 for _ in ElementTree.fromstring(source.encode()).iter("failure")) == 2 * len(NASTY)  # noqa: S314


def test_a_summary_has_the_verdict_the_figures_the_checks_and_what_failed() -> None:
    rows = [row("1.1"), row("1.2", passed=False, text="Never."), failed("1.3", "gemini")]
    gate = {"verdict": "fail", "checks": [check()], "baseline": None, "alpha": 0.05, "reason": "p95 is worse."}

    text = written("markdown", rows, run(target("claude"), target("gemini"), gate=gate))

    assert text.startswith("# ❌ support answers\n\n**FAIL: p95 is worse.**\n")
    assert (
        "| claude \\(claude\\-1\\) | 95 %" in text.replace("-1", "\\-1") or "| claude (" in text or "| claude" in text
    )
    assert "✗ fail" in text
    assert "<summary>claude, case 1.2</summary>" in text
    assert "```text\nNever.\n```" in text
    assert "case 1.1" not in text


def test_a_summary_shows_the_first_of_many_and_stays_small() -> None:
    rows = [row(f"1.{n}", passed=False, prompt="x" * 100_000, text="y" * 100_000) for n in range(50)]

    text = written("markdown", rows)

    assert text.count("<details>") == 10
    assert "The first 10 of them" in text
    assert len(text) < 100_000


@pytest.mark.parametrize("nasty", NASTY)
def test_nothing_in_a_summary_becomes_markup_a_link_or_somebody_s_name(nasty: str) -> None:
    document, rows = nasty_run(nasty)

    text = written("markdown", rows, document)
    tokens = MarkdownIt("commonmark").enable("table").parse(text)

    blocks = [token.content for token in tokens if token.type == "html_block"]
    inline = [child for token in tokens for child in token.children or ()]
    names = ("heading", "paragraph", "bullet_list", "list_item", "table", "thead", "tbody", "tr", "th", "td")
    assert {token.type for token in tokens} <= {
        *(f"{name}{end}" for name in names for end in ("_open", "_close")),
        "inline",
        "fence",
        "html_block",
    }
    assert {child.type for child in inline} <= {"text", "text_special", "strong_open", "strong_close", "code_inline"}
    assert [re.sub(r"<summary>[^<>]*</summary>", "", block).strip() for block in blocks] == [
        "<details>",
        "</details>",
    ] * 2
    assert sum(token.type == "heading_open" for token in tokens) == 4
    told = "".join(child.content for child in inline) + "".join(blocks)
    assert not re.search(r"[@#]\w|\u202e|\x1b", told)


def many(answer: str) -> Callable[[], Iterator[SampleRow]]:
    return lambda: (row(f"1.{n}", passed=n % 2 == 0, text=answer) for n in range(800))


@pytest.mark.parametrize("name", ["csv", "junit", "markdown", "jsonl"])
def test_no_file_takes_more_memory_for_more_rows(name: str) -> None:
    class Nowhere(io.TextIOBase):
        written = 0

        def write(self, text: str) -> int:
            self.written += len(text)
            return len(text)

        def writelines(self, lines: object) -> None:
            for line in lines:  # type: ignore[attr-defined]  # an iterable of texts
                self.write(line)

    stream, rows = Nowhere(), many("word " * 4000)
    tracemalloc.start()
    try:
        FORMATS[name].write(run(target("claude")), rows, [], stream)  # type: ignore[arg-type]  # as good as a TextIO
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 6_000_000
    assert stream.written > (1_000_000 if name != "markdown" else 1000)
