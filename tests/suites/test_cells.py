"""A row of a CSV file is the test that promptfoo makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.suites.helpers import cases, faults


def one(folder: Path, header: str, row: str) -> Any:
    (found,) = cases(folder, "prompts: ['{{x}}']\ntests: t.csv", {"t.csv": f"{header}\n{row}\n"})
    return found


@pytest.mark.parametrize(
    ("cell", "type_name", "value", "threshold"),
    [
        ("Paris", "equals", "Paris", None),
        ("note: this", "equals", "note: this", None),
        ("contains:  Par is ", "contains", "Par is", None),
        ("not-icontains:x", "not-icontains", "x", None),
        ('"contains-any:a, ""b,c"" ,d"', "contains-any", ["a", "b,c", "d"], None),
        ("levenshtein(3):abc", "levenshtein", "abc", 3),
        ("levenshtein:abc", "levenshtein", "abc", 0.75),
        ("rouge-n:abc", "rouge-n", "abc", 0.75),
        ("latency(2000)", "latency", None, 2000),
        ("is-json", "is-json", None, None),
        ("grade:is it kind?", "llm-rubric", "is it kind?", None),
        ("python: 1 > 0", "python", "1 > 0", None),
        ("starts-with:a", "starts-with", "a", 0.75),
        ("equals:{{x}}", "equals", "v", None),
    ],
)
def test_a_cell_is_the_assertion_that_it_names(
    tmp_path: Path, cell: str, type_name: str, value: Any, threshold: float | None
) -> None:
    (found,) = one(tmp_path, "x,__expected", f"v,{cell}").assertions
    assert (found.name, found.value, found.threshold) == (type_name, value, threshold)


def test_the_columns_with_two_underscores(tmp_path: Path) -> None:
    header = (
        "x,__expected1,__expected2,__prefix,__suffix,__description,__metric,__threshold,__config:__expected2:threshold"
    )
    found = one(tmp_path, f"{header},__metadata:k,__expected3", "v,a,levenshtein:b,P,S,D,M,0.5,2,z,")
    assert (found.prompt, found.description, found.threshold, dict(found.vars)) == ("PvS", "D", 0.5, {"x": "v"})
    assert [(each.type, each.metric, each.threshold) for each in found.assertions] == [
        ("equals", "M", None),
        ("levenshtein", "M", 2),
    ]


@pytest.mark.parametrize(
    ("header", "row", "line", "column"),
    [
        ("x,__expected", "v,javascript:1", 2, 3),
        ("x,__expected", "v,webhook:x", 2, 3),
        ("x,__expected,__expected2", "v,ok,similar:x", 2, 6),
        ("x,__threshold", "v,high", 2, 3),
        ("x,__providerOutput", "v,answer", 2, 3),
        ("x,__config:threshold", "v,1", 2, 3),
        ("x,x", "1,2", 1, 1),
        ("x,y", '"a', 2, 1),
        ("x,y", '"a"b,c', 2, 1),
        ("x,__expected", 'v,"contains-any:""a"', 2, 3),
    ],
)
def test_what_cannot_be_taken_is_told_with_its_cell(
    tmp_path: Path, header: str, row: str, line: int, column: int
) -> None:
    found = faults(tmp_path, "providers: [local]\nprompts: [x]\ntests: t.csv", {"t.csv": f"{header}\n{row}\n"})
    assert found[0][:3] == ("t.csv", line, column)


def test_a_cell_may_hold_lines_and_quotes(tmp_path: Path) -> None:
    files = {"t.csv": 'x,y\r\n"a\r\n\r\n""b"",\r\nc",1\r\n5" disk,2\r\n'}
    found = cases(tmp_path, "prompts: ['{{x}}|{{y}}']\ntests: t.csv", files)
    assert [case.prompt for case in found] == ['a\r\n\r\n"b",\r\nc|1', '5" disk|2']
