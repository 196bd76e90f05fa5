"""`llmswitch init` writes no profile that the first call would refuse, and reads back what was given."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import run

_GUARD = Path(__file__).parents[1] / "guard"
KEY = "sk-test-0123456789abcdef"


def written(home: Path) -> Path:
    return home / "config" / "profiles" / "team.env"


def environment(home: Path, **environ: str) -> dict[str, str]:
    own = {"PATH": os.environ["PATH"], "LLMSWITCH_HOME": str(home), "PYTHONPATH": str(_GUARD), "TERM": "dumb"}
    return {**own, "LLMSWITCH_TEST_GUARD": "1", "LANG": "C.UTF-8", **environ}


def init(home: Path, *arguments: str | bytes, **more: Any) -> subprocess.CompletedProcess[bytes]:
    """`llmswitch init team ARGUMENTS` with whatever standard input."""
    command = [sys.executable, "-m", "llmswitch", "init", "team", *arguments]
    return subprocess.run(
        command, env=environment(home), cwd=home.parent, capture_output=True, timeout=60, check=False, **more
    )


def refused(code: int, err: str, home: Path, *words: str) -> None:
    assert code == 2, err
    *_, line = err.splitlines()
    assert line.startswith("llmswitch: error: "), err
    for word in words:
        assert word in line
    assert "Traceback" not in err
    assert not written(home).exists()


BAD = [
    (["-p", "openai", "--set", "TEMPERATURE=hot"], ["TEMPERATURE", "'hot'"]),
    (["-p", "openai", "--set", "TEMPERATURE=3"], ["TEMPERATURE"]),
    (["-p", "openai", "--set", "MAX_TOKENS=-3"], ["MAX_TOKENS", "'-3'"]),
    (["-p", "openai", "--set", "OPENAI_BASE_URL=junk"], ["OPENAI_BASE_URL"]),
    (["-p", "claude", "--set", "OPENAI_BASE_URL=junk"], ["OPENAI_BASE_URL"]),
    (["-p", "claude", "--set", "GROQ_BASE_URL=http://h/v1?x=1"], ["GROQ_BASE_URL"]),
    (["-p", "claude", "--set", "OPENAI_API_KEY=two words"], ["OPENAI_API_KEY"]),
    (["-p", "azure", "--set", "AZURE_OPENAI_ENDPOINT=junk"], ["AZURE_OPENAI_ENDPOINT"]),
    (["-p", "azure", "--set", "AZURE_OPENAI_API_VERSION=new"], ["AZURE_OPENAI_API_VERSION"]),
    (["-p", "openai", "--set", "CACHE_TTL=1h"], ["CACHE_TTL"]),
    (["-p", "openai", "--set", "LLM_TIMEOUT=soon"], ["LLM_TIMEOUT"]),
    (["-p", "openai", "--set", "LLM_CONNECT_TIMEOUT=0"], ["LLM_CONNECT_TIMEOUT"]),
    (["-p", "openai", "--set", "LLM_BUDGET_DAILY=much"], ["LLM_BUDGET_DAILY"]),
    (["-p", "openai", "--set", "LLM_PROVIDER=nobody"], ["unknown provider 'nobody'"]),
    (["-p", "openai", "--set", "LLM_PROVIDER=claude?"], ["LLM_PROVIDER"]),
    (["-p", "openai", "-m", ""], ["--model"]),
    (["-p", "openai", "-m", " "], ["--model"]),
    (["-p", "openai", "-m", "${HOME}"], ["--model", "--set"]),
    (["-p", "openai", "-m", b"caf\xe9"], ["OPENAI_MODEL", "UTF-8"]),
    (["-p", "openai", "--set", b"LLM_SYSTEM=caf\xe9"], ["LLM_SYSTEM", "UTF-8"]),
]


@pytest.mark.parametrize(("arguments", "words"), BAD)
def test_a_value_that_no_call_could_use_is_refused(
    arguments: Sequence[str | bytes], words: Sequence[str], home: Path
) -> None:
    done = init(home, *arguments, stdin=subprocess.DEVNULL)
    refused(done.returncode, done.stderr.decode(), home, *words)


GOOD = [
    ["-p", "openai"],
    ["-p", "azure"],
    ["-p", "ollama"],
    ["-p", "local"],
    ["-p", "gemini", "-m", "gemini-x", "--set", "TEMPERATURE=0.5"],
    ["-p", "local", "-m", "not-yet-pulled"],
    ["-p", "openai", "--set", "OPENAI_BASE_URL=${GATEWAY}/v1", "--set", "OPENAI_API_KEY=${TEAM_KEY}"],
    ["-p", "openai", "--set", "LLM_SYSTEM=it's\tgrün", "--set", "LLM_PROVIDER=claude?temperature=0"],
]


@pytest.mark.parametrize("arguments", GOOD)
def test_what_the_environment_may_still_provide_is_not_asked_for(arguments: Sequence[str], home: Path) -> None:
    done = init(home, *arguments, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr.decode()
    assert written(home).exists()


def test_an_endpoint_of_the_profiles_own_needs_no_other_place(home: Path) -> None:
    named = ("--set", "LLM_ENDPOINTS=house", "--set", "HOUSE_MODEL=m")
    done = init(home, "-p", "house", *named, "--set", "HOUSE_BASE_URL=junk", stdin=subprocess.DEVNULL)
    assert done.returncode == 2, done.stderr.decode()
    done = init(home, "-p", "house", *named, "--set", "HOUSE_BASE_URL=http://127.0.0.1:9/v1", stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr.decode()


def test_a_wrong_value_of_the_environment_is_not_the_profiles_fault(home: Path) -> None:
    done = run(home, "init", "team", "-p", "openai", TEMPERATURE="hot")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", ["--key-stdin", "empty"]),
        (b" \n", ["--key-stdin", "empty"]),
        (b"sk-caf\xe9\n", ["--key-stdin", "UTF-8"]),
        (b"sk-${HOME}\n", ["--key-stdin", "${"]),
        (b"two words\n", ["OPENAI_API_KEY"]),
    ],
)
def test_a_key_that_is_none_is_refused(data: bytes, words: Sequence[str], home: Path) -> None:
    done = init(home, "-p", "openai", "--key-stdin", input=data)
    refused(done.returncode, done.stderr.decode(), home, *words)
    assert "sk-" not in done.stderr.decode()


def test_a_closed_standard_input_is_no_key(home: Path) -> None:
    line = f"{sys.executable} -m llmswitch init team -p openai --key-stdin <&-"
    done = subprocess.run(
        ["sh", "-c", line], env=environment(home), cwd=home.parent, capture_output=True, timeout=60, check=False
    )
    refused(done.returncode, done.stderr.decode(), home, "--key-stdin", "no standard input")


class Terminal:
    """A person at `llmswitch init team`: waits for words, then types."""

    def __init__(self, home: Path) -> None:
        self.master, slave = pty.openpty()
        command = [sys.executable, "-m", "llmswitch", "init", "team"]
        # a session of its own, so that a key is not asked for on the terminal that runs the tests
        self.process = subprocess.Popen(
            command,
            env=environment(home),
            cwd=home.parent,
            start_new_session=True,
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        self.shown = ""

    def answer(self, question: str, line: bytes, *, hidden: bool = False) -> None:
        before = self.shown
        ends = time.monotonic() + 20
        while question not in self.shown[len(before) :]:
            assert time.monotonic() < ends, self.shown
            self._read()
        # what is typed before the echo is off would be shown, and thrown away
        while hidden and termios.tcgetattr(self.master)[3] & termios.ECHO:
            assert time.monotonic() < ends, self.shown
            time.sleep(0.01)
        os.write(self.master, line + b"\n")

    def end(self) -> int:
        while self._read():
            pass
        os.close(self.master)
        return self.process.wait(20)

    def _read(self) -> bool:
        """Whether the process still has its end of the terminal open."""
        if not select.select([self.master], [], [], 20)[0]:
            self.process.kill()
            self.process.wait(20)
            raise AssertionError(self.shown)
        try:
            data = os.read(self.master, 4096)
        except OSError:  # Linux's way to say that the other end is closed
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)


def test_an_unknown_provider_is_asked_for_again(home: Path) -> None:
    terminal = Terminal(home)
    terminal.answer("Provider", b"opnai")
    terminal.answer("Provider (", b" OpenAI ")
    terminal.answer("OPENAI_API_KEY", KEY.encode(), hidden=True)
    terminal.answer("OPENAI_MODEL", b"")
    assert terminal.end() == 0, terminal.shown
    assert "unknown provider 'opnai'" in terminal.shown
    assert KEY not in terminal.shown
    assert written(home).read_text() == f"LLM_PROVIDER=openai\nOPENAI_API_KEY={KEY}\n"


def test_a_provider_that_stays_unknown_ends_it(home: Path) -> None:
    terminal = Terminal(home)
    for _ in range(3):
        terminal.answer("Provider (", b"opnai")
    assert terminal.end() == 2, terminal.shown
    assert not written(home).exists()


@pytest.mark.parametrize(("typed", "words"), [(b"sk-${HOME}", "OPENAI_API_KEY holds '${'"), (b"caf\xe9", "UTF-8")])
def test_a_key_typed_that_a_profile_cannot_hold_is_refused(typed: bytes, words: str, home: Path) -> None:
    terminal = Terminal(home)
    terminal.answer("Provider (", b"openai")
    terminal.answer("OPENAI_API_KEY", typed, hidden=True)
    assert terminal.end() == 2, terminal.shown
    assert words in terminal.shown
    assert "Traceback" not in terminal.shown
    assert not written(home).exists()
