"""Structured answers field by field: paths, equality, and JSON that was made to do harm."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmswitch.reports.fields import Field, compare_fields

#: those whose shortest decimal form is exact, for Python compares floats by their binary value
FLOATS = st.floats(width=16, allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), FLOATS, st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=4)),
    max_leaves=20,
)


def paths(*answers: str | None) -> list[str]:
    return [field.path for field in compare_fields(answers)]


def agreed(*answers: str | None) -> list[bool]:
    return [field.agree for field in compare_fields(answers)]


def test_leaves_stand_side_by_side_in_the_order_in_which_they_first_appear() -> None:
    one = '{"invoice": {"total": 12.50, "paid": false}, "items": [{"name": "a"}, {"name": "b"}]}'
    two = '{"items": [{"name": "a", "tax": null}], "invoice": {"paid": true, "total": 12.5}, "note": ""}'
    assert compare_fields([one, two]) == (
        Field("$.invoice.total", ("12.50", "12.5"), True),
        Field("$.invoice.paid", ("false", "true"), False),
        Field("$.items[0].name", ('"a"', '"a"'), True),
        Field("$.items[0].tax", (None, "null"), False),
        Field("$.items[1].name", ('"b"', None), False),
        Field("$.note", (None, '""'), False),
    )


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("total", "$.total"),
        ("größe_2", "$.größe_2"),
        ("a b", "$['a b']"),
        ("2nd", "$['2nd']"),
        ("", "$['']"),
        ("it's", r"$['it\'s']"),
        ('"', "$['\"']"),
        ("\\", r"$['\\']"),
        ('\\"', r"""$['\\"']"""),
        ("a\n.b", r"$['a\n.b']"),
        ("\ud800", r"$['\ud800']"),
    ],
)
def test_a_key_that_is_no_name_is_quoted(key: str, path: str) -> None:
    assert paths(json.dumps({key: 1})) == [path]


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("1", "1.0", True),
        ("1", "10e-1", True),
        ("0.1", "0.10", True),
        ("-0", "0", True),
        ("9007199254740993", "9007199254740992", False),
        ("0.1", "0.1000000000000000055511151231257827", False),
        ("true", "1", False),
        ("false", "0", False),
        ("null", "false", False),
        ("1", '"1"', False),
        ('"a"', r'"\u0061"', True),
        ('"a"', '"A"', False),
        ("{}", "[]", False),
        ("{}", "{ }", True),
        ("[]", '{"a": 1}', False),
        ("{}", '{"a": 1}', False),
        ("1e400", "1e401", False),
    ],
)
def test_values_agree_as_json_does(one: str, two: str, same: bool) -> None:
    assert (agreed(one, two)[0], agreed(two, one)[0]) == (same, same)
    assert compare_fields([one, one])[0].agree


def test_an_empty_object_or_list_is_a_leaf_and_one_with_parts_is_none() -> None:
    assert compare_fields(['{"a": {}, "b": []}', '{"a": {"c": 1}, "b": [2]}']) == (
        Field("$.a", ("{}", None), False),
        Field("$.a.c", (None, "1"), False),
        Field("$.b", ("[]", None), False),
        Field("$.b[0]", (None, "2"), False),
    )


def test_an_object_here_and_a_list_there_are_both_shown() -> None:
    assert paths('{"a": {"b": 1}}', '{"a": [1]}', '{"a": 1}') == ["$.a", "$.a.b", "$.a[0]"]
    assert not any(agreed('{"a": {"b": 1}}', '{"a": [1]}', '{"a": 1}'))


def test_a_target_without_an_answer_is_not_asked_for_agreement() -> None:
    assert compare_fields(["1", None, "1"]) == (Field("$", ("1", None, "1"), True),)
    assert compare_fields(["1", None]) == (Field("$", ("1", None), True),)
    assert compare_fields([None, None]) == ()
    assert compare_fields([]) == ()


@pytest.mark.parametrize(
    "text",
    [
        *("", "Paris", "{", "NaN", "-Infinity", '{"a": Infinity}', "```json\n{}\n```"),
        *("[" * 200_000, '{"a":' * 200_000, "1e" + "9" * 20),
    ],
    ids=lambda text: text[:12],
)
def test_what_is_not_json_counts_as_no_answer(text: str) -> None:
    assert compare_fields([text, '{"a": 1}']) == (Field("$.a", (None, "1"), True),)


def test_a_number_of_any_length_is_kept_to_its_last_digit() -> None:
    huge = "9" * 50_000  # int() refuses more than 4,300
    assert compare_fields([huge, huge, f"{huge[:-1]}8"]) == (Field("$", (huge, huge, f"{huge[:-1]}8"), False),)


def test_half_a_letter_stays_escaped_and_a_whole_one_does_not() -> None:
    [field] = compare_fields([r'"\ud83d\ude00 \ud83d"'])
    assert field.values == (r'"😀 \ud83d"',)


def test_of_a_key_given_twice_the_last_value_counts() -> None:
    assert compare_fields(['{"a": 1, "a": 2}', '{"a": 2}']) == (Field("$.a", ("2", "2"), True),)


@pytest.mark.parametrize(("last", "same"), [("0", True), ("1", False)])
def test_more_than_2000_rows_are_counted(last: str, same: bool) -> None:
    one = f"[{'0,' * 2056}0]"
    other = f"[{'0,' * 2056}{last}]"
    fields = compare_fields([one, other])
    assert fields[1999].path == "$[1999]"
    assert fields[2000:] == (Field("… 57 more", (None, None), same),)
    assert len(compare_fields([f"[{'0,' * 1999}0]"])) == 2000
    assert compare_fields([f"[{'0,' * 60_000}0]"])[-1].path == "… 50,000+ more"


def test_a_long_path_is_shortened_in_its_middle() -> None:
    nested = '{"first": ' + '{"deep": ' * 500 + '{"last": 1}' + "}" * 501
    [path] = paths(nested, nested)
    assert len(path) == 300
    assert path.startswith("$.first.deep.deep")
    assert path.endswith(".deep.deep.last")
    assert "…" in path


def deepest() -> int:
    """How deep json.loads goes from here; the stack under a test is a part of Python's limit."""
    depth = sys.getrecursionlimit()
    while True:
        try:
            json.loads("[" * depth + "]" * depth)
        except RecursionError:
            depth -= 10
        else:
            return depth


def test_as_deep_as_json_can_be_read_is_not_too_deep_to_compare() -> None:
    depth = deepest() - 20  # compare_fields is a few calls further down

    def deep(inner: str, depth: int = depth) -> str:
        return "[" * depth + inner + "]" * depth

    assert [field.values for field in compare_fields([deep("1"), deep("1"), deep("{}")])] == [("1", "1", "{}")]
    for deeper in range(depth, depth + 21):  # until it cannot be read
        assert agreed(deep("1", deeper), deep("1", deeper), "[]") in ([False, False], [True])


MB = 1_000_000


@pytest.mark.parametrize(
    "text",
    [
        f"[{'0,' * (MB // 2)}0]",
        f'{{"{"k" * (MB // 2)}": [{"0," * (MB // 4)}0]}}',
        f"{'[' * 700}{'0,' * (MB // 2)}0{']' * 700}",
        json.dumps({f"k{n}": n for n in range(60_000)}),
        json.dumps(["x" * MB]),
    ],
    ids=["long", "long-key", "deep", "many-keys", "long-text"],
)
def test_no_answer_takes_long(text: str) -> None:
    started = time.process_time()
    fields = compare_fields([text, text])
    assert time.process_time() - started < 10
    assert len(fields) <= 2001
    assert all(field.agree for field in fields)
    assert sum(len(field.path) for field in fields) < 700_000


@given(VALUES)
def test_an_answer_agrees_with_itself_written_otherwise(value: Any) -> None:
    one, two = json.dumps(value), json.dumps(value, indent=2, ensure_ascii=False)
    fields = compare_fields([one, None, two])
    assert fields
    assert all(field.agree and field.values[0] == field.values[2] is not None for field in fields)
    assert len({field.path for field in fields}) == len(fields)
    for field in fields:
        "".join(filter(None, field.values)).encode()
        field.path.encode()


@given(VALUES, VALUES)
def test_what_agrees_everywhere_is_equal_and_what_does_not_is_not(one: Any, two: Any) -> None:
    fields = compare_fields([json.dumps(one), json.dumps(two)])
    assert all(field.agree for field in fields) == (canonical(one) == canonical(two))


def canonical(value: Any) -> Any:
    """Such that == is JSON's equality: Python takes True for 1."""
    if isinstance(value, dict):
        return {key: canonical(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [canonical(inner) for inner in value]
    return (type(value) if isinstance(value, bool) else None, value)
