"""The installed command in a process of its own, with an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from llmock.pytest_plugin import LLMock

from tests.servers.shim import AzureShim

COMMAND = Path(sys.executable).with_name("llmswitch")
GUARD = Path(__file__).parent.parent / "guard"


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """stdout, which must be one JSON document and nothing else."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Command:
    """Runs `llmswitch` in `cwd` with nothing of this process's environment but what it cannot do without.

    A failure is told at once: who tests retries asks for them.
    """

    cwd: Path
    home: Path

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "LLMSWITCH_HOME": str(self.home),
            "PYTHONPATH": str(GUARD),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LLMSWITCH_TEST_GUARD": "1",
            "LLM_MAX_RETRIES": "0",
            **(extra or {}),
        }

    def start(
        self, arguments: Sequence[str], env: Mapping[str, str] | None = None, **more: Any
    ) -> subprocess.Popen[str]:
        """The running process; the caller ends it."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        return subprocess.Popen(
            [str(COMMAND), *arguments], cwd=self.cwd, env=self.environment(env), text=True, **streams
        )

    def __call__(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        stdin: str | bytes | None = None,
        timeout: float = 60,
    ) -> Done:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [str(COMMAND), *arguments],
            cwd=self.cwd,
            env=self.environment(env),
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        out, err = done.stdout.decode(errors="surrogateescape"), done.stderr.decode(errors="surrogateescape")
        assert "Traceback" not in err, err
        return Done(done.returncode, out, err)


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    """An empty working folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def command(cwd: Path, home: Path) -> Command:
    """The installed command."""
    return Command(cwd, home)


KEY = "sk-test-0123456789abcdef"

#: provider -> how its environment looks against a mock at `url`, and the model that answers
SETUPS: dict[str, Callable[[str, str], dict[str, str]]] = {
    "openai": lambda url, shim: {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{url}/v1"},
    "anthropic": lambda url, shim: {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": f"{url}/anthropic"},
    "gemini": lambda url, shim: {
        "GOOGLE_API_KEY": KEY,
        "GOOGLE_GEMINI_BASE_URL": f"{url}/gemini",
        "GOOGLE_GENAI_API_VERSION": "v1beta",
    },
    "azure": lambda url, shim: {
        "AZURE_OPENAI_API_KEY": KEY,
        "AZURE_OPENAI_ENDPOINT": shim,
        "AZURE_OPENAI_DEPLOYMENT_NAME": "gpt-4o",
        "AZURE_OPENAI_MODEL": "gpt-4o",
    },
    "team": lambda url, shim: {
        "LLM_ENDPOINTS": "team",
        "TEAM_BASE_URL": f"{url}/v1",
        "TEAM_API_KEY": KEY,
        "TEAM_MODEL": "some-model",
    },
}


@dataclass(frozen=True)
class Mocked:
    """One provider behind a mock: what to set, and the mock that breaks on demand."""

    provider: str
    env: dict[str, str]
    mock: LLMock


@pytest.fixture
def azure(llmock: LLMock) -> Iterator[str]:
    """An Azure resource before the mock."""
    with AzureShim(llmock.url) as shim:
        yield shim.url


@pytest.fixture(params=list(SETUPS))
def mocked(request: pytest.FixtureRequest, llmock: LLMock, azure: str) -> Mocked:
    """Each provider in turn."""
    return Mocked(request.param, SETUPS[request.param](llmock.url, azure), llmock)


@pytest.fixture
def openai(llmock: LLMock) -> Mocked:
    """One provider, where any will do."""
    return Mocked("openai", SETUPS["openai"](llmock.url, ""), llmock)
