"""What is wrong with an assertion is said before anything is asked."""

from __future__ import annotations

import math
from typing import Any

import pytest

from llmswitch.assertions import find, names, unknown
from llmswitch.assertions.base import Assertion
from tests.assertions.verdicts import ROWS, Row


def fault(name: str, value: Any = None, **more: Any) -> str | None:
    assertion = Assertion(name.removeprefix("not-"), name.startswith("not-"), value, **more)
    row = find(assertion.type)
    assert row is not None
    return row.check(assertion)


@pytest.mark.parametrize("row", [row for row in ROWS if row[4] is not None])
def test_what_has_a_verdict_has_no_fault(row: Row) -> None:
    name, value, threshold, *_ = row
    assert fault(name, value, threshold=threshold) is None


@pytest.mark.parametrize(
    ("name", "value", "more", "said"),
    [
        ("equals", None, {}, "needs a value"),
        ("contains", "", {}, "not empty"),
        ("contains", True, {}, "a number"),
        ("contains-any", 1, {}, "list"),
        ("contains-any", '"a', {}, "quote"),
        ("starts-with", ["a"], {}, "text"),
        ("regex", "", {}, "not empty"),
        ("is-json", {"type": "strin"}, {}, "strin"),
        ("is-json", "a: [", {}, "JSON Schema"),
        ("is-json", True, {}, "object"),
        ("is-xml", {"a": 1}, {}, "elements"),
        ("is-sql", "mysql", {}, "databaseType"),
        ("is-sql", {"databaseType": "DB2"}, {}, "postgresql"),
        ("is-sql", {"databaseType": "{{db}}"}, {}, "postgresql"),
        ("is-sql", {"allowedTables": "t"}, {}, "allowedTables"),
        ("levenshtein", 1, {}, "text"),
        ("bleu", [], {}, "list of texts"),
        ("latency", None, {}, "threshold"),
        ("cost", None, {"threshold": math.nan}, "threshold"),
        ("equals", "a", {"weight": -1}, "weight"),
        ("equals", "a", {"weight": 1e308}, "weight"),
        ("word-count", "nan", {}, "number"),
        ("word-count", {"min": "inf"}, {}, "number"),
        ("factuality", "a", {"config": {"superset": "nan"}}, "superset"),
        ("model-graded-factuality", "a", {"config": {"agree": 2}}, "agree"),
        ("word-count", {"min": 3, "max": 2}, {}, "above"),
        ("word-count", "many", {}, "number"),
        ("finish-reason", "end_turn", {}, "content_filter"),
        ("llm-rubric", None, {}, "value"),
        ("llm-rubric", "polite", {"threshold": 7}, "between 0 and 1"),
        ("not-factuality", "a", {}, "leave"),
        ("select-best", "", {}, "text"),
        ("not-assert-set", None, {}, "leave"),
        ("assert-set", None, {"members": (Assertion("assert-set"),)}, "another"),
        ("python", None, {}, "text"),
    ],
)
def test_a_fault_says_what_is_wrong(name: str, value: Any, more: dict[str, Any], said: str) -> None:
    told = fault(name, value, **more)
    assert told is not None
    assert said in told
    assert name in told


@pytest.mark.parametrize(
    ("name", "value"),
    [("word-count", "{{n}}"), ("contains-any", '"{{a}}'), ("is-json", "{{schema}}"), ("finish-reason", "{{r}}")],
)
def test_a_template_is_looked_at_only_when_it_is_rendered(name: str, value: str) -> None:
    assert fault(name, value) is None


def test_an_unknown_type_is_explained() -> None:
    assert find("similar") is None
    assert "embeddings" in unknown("similar")
    assert "python" in unknown("javascript")
    assert "icontains" in unknown("icontain")
    assert all(name in unknown("🦆") for name in names())


def test_every_row_leads_to_something_that_runs() -> None:
    for name in names():
        row = find(name)
        assert row is not None
        assert row.run is not None
