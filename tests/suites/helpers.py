"""Suites written to a folder and read from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from llmswitch.suites import Case, Loading, Suite, SuiteError, load_suite

PROVIDERS = frozenset(
    ("openai", "anthropic", "claude", "gemini", "google", "azure", "local", "ollama", "groq", "mistral")
)
LOADING = Loading(known_provider=PROVIDERS.__contains__)
TRUSTED = Loading(known_provider=PROVIDERS.__contains__, trusted=lambda path, content: True)


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """`files` in `folder`; the first of them is the suite."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())
    return folder / next(iter(files))


def load(folder: Path, suite: str, files: Mapping[str, str] | None = None, loading: Loading = LOADING) -> Suite:
    """The suite that `suite` is in YAML, beside `files`."""
    return load_suite(write(folder, {"suite.yaml": suite, **(files or {})}), loading=loading)


def cases(folder: Path, suite: str, files: Mapping[str, str] | None = None) -> list[Case]:
    """Its cases; `suite` needs no provider."""
    return list(load(folder, f"providers: [local]\n{suite}", files).cases())


def prompts(folder: Path, suite: str, files: Mapping[str, str] | None = None) -> list[str]:
    """Its cases' prompts."""
    return [case.prompt for case in cases(folder, suite, files)]


def faults(
    folder: Path, suite: str, files: Mapping[str, str] | None = None, loading: Loading = LOADING
) -> list[tuple[str, int, int, str]]:
    """What is wrong with it: file's name, line, column, message."""
    with pytest.raises(SuiteError) as caught:
        load(folder, suite, files, loading)
    assert len(str(caught.value).splitlines()) == len(caught.value.faults)
    return [(Path(one.place.file).name, one.place.line, one.place.column, one.message) for one in caught.value.faults]
