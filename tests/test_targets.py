"""Targets and numbers as a person types them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmswitch.errors import ConfigError
from llmswitch.targets import integer, number, parse_target
from llmswitch.types import Parameters, Target


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("claude", Target("claude", None, Parameters(), "claude")),
        ("OpenAI", Target("openai", None, Parameters(), "OpenAI")),
        ("openai:gpt-6-luna", Target("openai", "gpt-6-luna", Parameters(), "openai:gpt-6-luna")),
        ("ollama:llama3:8b", Target("ollama", "llama3:8b", Parameters(), "ollama:llama3:8b")),
        ("local?temperature=0", Target("local", None, Parameters(temperature=0.0), "local?temperature=0")),
        (
            "azure:d?seed=7&stop=%0A&stop=END&top_p=0.5&max_tokens=9&reasoning_effort=low",
            Target(
                "azure",
                "d",
                Parameters(max_tokens=9, top_p=0.5, seed=7, stop=("\n", "END"), reasoning_effort="low"),
                "azure:d?seed=7&stop=%0A&stop=END&top_p=0.5&max_tokens=9&reasoning_effort=low",
            ),
        ),
        ("local:/a/b.gguf", Target("local", "/a/b.gguf", Parameters(), "local:/a/b.gguf")),
    ],
)
def test_a_target_reads_as_typed(text: str, expected: Target) -> None:
    assert parse_target(text) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not a target"),
        (":gpt", "is not a target"),
        ("open ai", "is not a target"),
        ("openai:", "no model"),
        ("openai?", "nothing after"),
        ("openai?temperature", "key=value"),
        ("openai?base_url=https://evil.invalid", "unknown parameter 'base_url'"),
        ("openai?temperature=hot", "temperature"),
        ("openai?temperature=nan", "temperature"),
        ("openai?temperature=0&temperature=1", "twice"),
        ("openai?max_tokens=0", "max_tokens"),
        ("openai?max_tokens=1.5", "max_tokens"),
        ("openai?stop=", "stop"),
    ],
)
def test_a_bad_target_is_named(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_target(text)
    assert says in caught.value.message


@pytest.mark.parametrize("text", ["hot", "", "nan", "inf", "-1", "3", "0x1", "1e999"])
def test_a_number_out_of_bounds_is_refused_and_its_place_named(text: str) -> None:
    with pytest.raises(ConfigError, match="TEMPERATURE"):
        number(text, "TEMPERATURE", 0, 2)


@pytest.mark.parametrize("text", ["ten", "", "1.0", "-1", "1_000", "٣", "9" * 30])
def test_a_whole_number_is_whole(text: str) -> None:
    with pytest.raises(ConfigError, match="MAX_TOKENS"):
        integer(text, "MAX_TOKENS", 1)


@given(st.text())
def test_any_text_is_a_target_or_a_configuration_error(text: str) -> None:
    try:
        target = parse_target(text)
    except ConfigError:
        return
    assert target.text == text
