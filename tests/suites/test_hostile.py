"""Whatever a suite's files hold, reading them ends, with a suite or with its faults."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmswitch.errors import ConfigError
from llmswitch.suites import load_suite
from tests.suites.helpers import LOADING

KEYS = st.sampled_from(
    (
        *("prompts", "providers", "tests", "defaultTest", "scenarios", "config", "env", "evaluateOptions", "vars", "x"),
        *("assert", "type", "value", "threshold", "weight", "options", "prefix", "provider", "label", "id", "raw"),
        *("$ref", "rubricPrompt", "repeat", "description", "headers", "apiBaseUrl", "path", "metric", "temperature"),
    )
)
TEXTS = st.sampled_from(
    (
        *(
            "local",
            "openai:chat:gpt-4o",
            "{{x}}",
            "{{ x | nofilter }}",
            "{% if x %}",
            "file://t.csv",
            "file://t.*",
            "t.csv",
        ),
        *(
            "#/tests/0",
            "#/",
            "equals",
            "not-contains",
            "assert-set",
            "llm-rubric",
            "is-json",
            "regex",
            "file://",
            "file:///",
        ),
        *(
            "{{env.X}}",
            "*",
            "../x.txt",
            "a\0b",
            "\ud800",
            "**/*",
            "[",
            "http://127.0.0.1/v1",
            "- role: [",
            '[{"role": 1}]',
        ),
    )
) | st.text(max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | TEXTS, inner, max_size=4),
    max_leaves=14,
)
SUITES = st.fixed_dictionaries(
    {"providers": st.just(["local"]) | VALUES, "prompts": st.just(["{{x}}"]) | VALUES},
    optional={
        "tests": st.lists(VALUES, max_size=3) | VALUES,
        "defaultTest": VALUES,
        "scenarios": VALUES,
        "env": VALUES,
    },
)
PIECES = st.lists(st.sampled_from([*"-:[]{}#&*!|>'\"%@`,?\n\t \r\\", "a", "1", "\x85", "\ufeff", "<<: "]), max_size=40)


def read(suite: bytes, name: str, rows: bytes = b"x,__expected\n1,2\n") -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "t.csv").write_bytes(rows)
        path = Path(folder) / name
        path.write_bytes(suite)
        with suppress(ConfigError):
            for case in load_suite(path, loading=LOADING).cases():
                json.dumps(case.vars, allow_nan=False, ensure_ascii=False).encode()
                case.prompt.encode()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SUITES)
def test_any_values_anywhere(suite: Any) -> None:
    read(json.dumps(suite).encode(), "s.json")


@settings(max_examples=80, deadline=None)
@given(PIECES.map("".join))
def test_any_yaml(text: str) -> None:
    read(f"providers: [local]\nprompts: [x]\ntests: {text}".encode(), "s.yaml")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(['"', ",", "\n", "\r\n", "a", "{{x}}", "contains-any:", "\x00", "é", " "]), max_size=30
    ).map("".join)
)
def test_any_csv(text: str) -> None:
    read(b"providers: [local]\nprompts: ['{{x}}']\ntests: t.csv", "s.yaml", b"x,__expected\n" + text.encode())


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.sampled_from(("s.yaml", "s.json", "s.jsonl", "s.csv")))
def test_any_bytes(content: bytes, name: str) -> None:
    read(content, name)


@pytest.mark.parametrize(
    "suite",
    [
        "a: &a [x]\ntests: " + "[" * 40 + "*a" + "]" * 40,
        "x-a: {$ref: '#/x-a'}\nprompts: [x]\nproviders: [local]",
        "x-a: {b: {$ref: '#/x-a'}}\nprompts: [x]\nproviders: [local]",
        "\n".join(f"x-{n}: [{{$ref: '#/x-{n + 1}'}}, {{$ref: '#/x-{n + 1}'}}]" for n in range(60))
        + "\nx-60: 1\nprompts: [x]",
        "prompts: ['{{ a }}']\nproviders: [local]\ntests: [{vars: {"
        + ",".join(f"v{n}: [a,b,c,d,e,f]" for n in range(40))
        + "}}]",
        "prompts: ['{{ a0 }}']\nproviders: [local]\ntests:\n  - vars:\n"
        + "\n".join(f"      a{n}: '{{{{a{n + 1}}}}}{{{{a{n + 1}}}}}'" for n in range(60)),
        "prompts: ['**/**/**/*']\nproviders: [local]\ntests: file://**/**/**/*.csv",
    ],
)
def test_what_multiplies_is_bounded(suite: str) -> None:
    read(suite.encode(), "s.yaml")
