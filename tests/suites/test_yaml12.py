"""YAML 1.2 with its places, and JSON with its places."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmswitch.suites.json_text import JsonError, json_place, parse_json
from llmswitch.suites.yaml12 import YamlError, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[yes, no, on, off, y, N]", ["yes", "no", "on", "off", "y", "N"]),
        ("[12:30, 1_000, 012, 0o17, 0x1f, +5, 1e3, .5, 1.]", ["12:30", "1_000", 12, 15, 31, 5, 1000.0, 0.5, 1.0]),
        ("[true, False, null, ~, 'true', !!str 1, 2024-01-01]", [True, False, None, None, "true", "1", "2024-01-01"]),
        ("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}", {"a": {"p": 1, "q": 2}, "b": {"q": 3, "p": 1}}),
        ("1: a\ntrue: b", {"1": "a", "true": "b"}),
        ("", None),
        ("# only a comment", None),
        ("a: |\n  one\n  two\n", {"a": "one\ntwo\n"}),
    ],
)
def test_values_are_those_of_the_core_schema(text: str, value: Any) -> None:
    assert parse_yaml(text)[0] == value


def test_every_value_knows_its_place() -> None:
    _, locate = parse_yaml("a:\n  - b: 1\n    c: [x, y]\n")
    assert locate(("a", 0, "c", 1)) == (3, 12)
    assert locate(("a", 0)) == (2, 5)
    assert locate(("a", 0, "nothing", "there")) == (2, 5)


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ("a: 1\nb: [1, 2\nc: 3", 3, 2, "not YAML"),
        ("a: 1\na: 2", 2, 1, "twice"),
        ("a: *nobody", 1, 4, "no anchor"),
        ("a: &a [*a]", 1, 8, "no anchor"),
        ("a: !!python/object:os.system x", 1, 4, "tag"),
        ("a: .inf", 1, 4, "no number"),
        ("a: 1\n---\nb: 2", 2, 1, "second"),
        ("[" * 10_000, 1, 62, "nested"),
        ("? [a]\n: 1", 1, 3, "key must be text"),
        ("a: 1e999", 1, 4, "too large"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, line: int, column: int, said: str) -> None:
    with pytest.raises(YamlError) as caught:
        parse_yaml(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert said in caught.value.message


def test_aliases_cannot_multiply() -> None:
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 30))
    started = time.monotonic()
    with pytest.raises(YamlError, match="multiply"):
        parse_yaml(f"l0: &l0 [x]\n{levels}")
    assert time.monotonic() - started < 5


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(JSON_VALUES, st.sampled_from([None, 1, "\t"]))
def test_json_is_read_back_and_each_part_found_at_its_place(value: Any, indent: Any) -> None:
    text = json.dumps(value, indent=indent)
    assert parse_json(text) == value
    paths: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    for path, part in paths:
        line, column = json_place(text, path)
        rest = "\n".join(text.split("\n")[line - 1 :])[column - 1 :]
        assert json.JSONDecoder().raw_decode(rest)[0] == part
        inner = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
        paths += [((*path, key), one) for key, one in inner]


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "[Infinity]",
        "1e999",
        '{"a": 1, "a": 2}',
        "[" * 100_000,
        "[" * 100 + "]" * 100,
        "1" * 5000,
        "{",
        "",
        "'a'",
    ],
)
def test_json_that_is_none_or_that_nobody_can_hold_is_refused(text: str) -> None:
    with pytest.raises(JsonError):
        parse_json(text)


def test_a_lone_surrogate_becomes_one_that_can_be_written() -> None:
    assert parse_json('{"a": ["\\ud800x", "\\ud83d\\ude00"]}') == {"a": ["�x", "😀"]}
