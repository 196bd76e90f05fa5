"""promptfoo's provider ids are targets of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.suites.helpers import LOADING, TRUSTED, faults, load


@pytest.mark.parametrize(
    ("provider", "target"),
    [
        ("openai:chat:gpt-4o", "openai:gpt-4o"),
        ("openai:gpt-4o", "openai:gpt-4o"),
        ("openai:responses:gpt-5", "openai:gpt-5"),
        ("anthropic:messages:claude-haiku-4-5", "anthropic:claude-haiku-4-5"),
        ("anthropic:claude-haiku-4-5", "anthropic:claude-haiku-4-5"),
        ("google:gemini-2.5-pro", "google:gemini-2.5-pro"),
        ("azure:chat:my-deployment", "azure:my-deployment"),
        ("azureopenai:chat:my-deployment", "azure:my-deployment"),
        ("ollama:chat:llama3.1:8b", "ollama:llama3.1:8b"),
        ("ollama:llama3.1:8b", "ollama:llama3.1:8b"),
        ("groq:openai/gpt-oss-20b", "groq:openai/gpt-oss-20b"),
        ("mistral:mistral-small-latest", "mistral:mistral-small-latest"),
        ("claude", "claude"),
        ("local", "local"),
        ("openai:gpt-6-luna?temperature=0", "openai:gpt-6-luna?temperature=0"),
    ],
)
def test_an_id_is_a_target(tmp_path: Path, provider: str, target: str) -> None:
    (found,) = load(tmp_path, f"providers: ['{provider}']\nprompts: [x]").targets
    assert (found.text, found.label, found.id) == (target, provider, provider)


def test_a_providers_config_is_its_targets_parameters(tmp_path: Path) -> None:
    suite = """
prompts: [x]
targets:
  - id: openai:chat:gpt-4o
    label: big
    config: {temperature: 0, max_tokens: 64, top_p: 0.5, seed: 7, stop: ["a b", "&"], reasoning_effort: low}
  - openai:chat:gpt-4o-mini: {config: {max_completion_tokens: 5, reasoning: {effort: high}}}
  - {id: google:gemini-2.5-pro, config: {generationConfig: {maxOutputTokens: 9, topP: 1}}}
  - {id: "azure:chat:d", config: {apiHost: 127.0.0.1, apiVersion: "2024-10-21"}}
  - file://more.yaml
"""
    files = {"more.yaml": "- {id: anthropic:messages:claude-haiku-4-5, config: {apiBaseUrl: 'http://127.0.0.1:1'}}"}
    found = load(tmp_path, suite, files).targets
    assert [target.text for target in found] == [
        "openai:gpt-4o?temperature=0&max_tokens=64&top_p=0.5&seed=7&stop=a%20b&stop=%26&reasoning_effort=low",
        "openai:gpt-4o-mini?max_tokens=5&reasoning_effort=high",
        "google:gemini-2.5-pro?max_tokens=9&top_p=1",
        "azure:d",
        "anthropic:claude-haiku-4-5",
    ]
    assert found[0].label == "big"
    assert dict(found[3].variables)["AZURE_OPENAI_API_VERSION"] == "2024-10-21"
    assert dict(found[4].variables) == {"ANTHROPIC_BASE_URL": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    "provider",
    [
        "echo",
        "exec:python x.py",
        "file://provider.js",
        "python:x.py",
        "https://example.invalid/ask",
        "webhook:https://example.invalid",
        "openai:embedding:x",
        "openai:image:x",
        "anthropic:completion:x",
        "vertex:gemini-2.5-pro",
        "bedrock:x",
        "openai:chat:",
        "openai:gpt-4o?temperature=hot",
        "",
        "{id: local, transform: x}",
        "{id: local, config: {tools: [{}]}}",
        "{id: local, config: {temperature: 3}}",
        "{id: local, config: {apiKey: sk-x}}",
        "{id: local, config: {apiKeyEnvar: AWS_SECRET_ACCESS_KEY}}",
        "{id: local, config: {apiBaseUrl: 'ftp://x'}}",
        "{id: local, config: {headers: {'a b': c}}}",
        "{config: {}}",
        "3",
        "[local]",
    ],
)
def test_what_is_no_model_or_cannot_be_taken_is_a_fault(tmp_path: Path, provider: str) -> None:
    text = provider if provider.startswith(("{", "[", "3")) else repr(provider)
    found = faults(tmp_path, f"prompts: [x]\nproviders:\n  - {text}\n", loading=TRUSTED)
    assert {(one[0], one[1]) for one in found} == {("suite.yaml", 3)}
    assert "sk-x" not in str(found)


def test_two_of_the_same_name_need_labels(tmp_path: Path) -> None:
    suite = "prompts: [x]\nproviders:\n" + "".join(f"  - {{id: local, config: {{seed: {n}}}}}\n" for n in (1, 2))
    assert [one[1] for one in faults(tmp_path, suite)] == [3, 4]
    labelled = suite.replace("2}}", "2}, label: warm}")
    assert [target.label for target in load(tmp_path, labelled, loading=LOADING).targets] == ["local", "warm"]


def test_judges_are_targets_and_those_that_are_asked_are_known(tmp_path: Path) -> None:
    suite = """
providers: [local]
prompts: [x]
defaultTest: {options: {provider: {text: {id: openai:chat:gpt-4o, config: {temperature: 0}}}}}
tests:
  - assert: [{type: llm-rubric, value: kind}, {type: llm-rubric, value: kind, provider: anthropic:messages:c}]
  - assert: [{type: equals, value: kind, provider: "groq:never-asked"}]
"""
    found = load(tmp_path, suite)
    assert found.judge == "openai:gpt-4o?temperature=0"
    assert found.graded == ("openai:gpt-4o?temperature=0", "anthropic:c")
    assert not found.needs_judge
    assert load(tmp_path, suite.replace("defaultTest", "x-defaultTest")).needs_judge
