"""Closed, full and left streams; and the commands' own ends."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.e2e.conftest import COMMAND, KEY, Command, Mocked
from tests.servers.recorder import Answer, Recorder


def shell(command: Command, line: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line.replace('llmswitch', str(COMMAND), 1)}"],
        cwd=command.cwd,
        env=command.environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


#: a line, its exit code, what is on stdout
LINES = [
    ("llmswitch ask hi >&-", 0, ""),
    ("llmswitch ask --json hi >&-", 0, ""),
    ("llmswitch --version >&-", 0, ""),
    ("llmswitch ask -p nobody hi >&-", 2, ""),
    ("llmswitch ask hi 2>&-", 0, "fine\n"),
    ("llmswitch ask -v hi 2>/dev/full", 0, "fine\n"),
    ("llmswitch ask hi >/dev/full", 2, ""),
    ("llmswitch ask --json hi >/dev/full", 2, ""),
    ("llmswitch ask -v hi 2> >(exec 0<&-; true)", 0, "fine\n"),
    ("llmswitch ask --help | true", 141, ""),
    ("llmswitch ask hi <&-", 0, "fine\n"),
    ("llmswitch ask -f <(echo from a pipe)", 0, "fine\n"),
    ("llmswitch ask -f /dev/zero", 2, ""),
    ("mkfifo nobody; llmswitch ask -f nobody", 2, ""),
    ("llmswitch ask hi -o -", 0, "fine\n"),
    ("llmswitch ask hi -o /dev/stdout", 0, "fine\n"),
    ("llmswitch ask hi -o /dev/full", 2, "fine\n"),
    ("llmswitch ask hi -o ''", 2, ""),
    ("llmswitch ask -f ''", 2, ""),
    ("llmswitch ask -a '' hi", 2, ""),
    ("llmswitch ask --schema '' hi", 2, ""),
    ("llmswitch ask --timeout 1_0 hi", 2, ""),
    ("llmswitch ask $'\\xff'", 2, ""),
    ("llmswitch ask -s $'\\xff' hi", 2, ""),
    ("llmswitch ask -m $'\\xff' hi", 2, ""),
    ("llmswitch ask -a $'\\xff.txt' hi", 2, ""),
]


@pytest.mark.parametrize("case", LINES, ids=lambda case: case[0])
def test_streams_and_odd_words(command: Command, openai: Mocked, case: tuple[str, int, str]) -> None:
    line, code, out = case
    openai.mock.reply("fine", times=None)
    done = shell(command, line, openai.env)
    assert "Traceback" not in done.stderr
    assert (done.returncode, done.stdout) == (code, out), done.stderr


def test_json_survives_a_stdout_that_is_not_utf_8(command: Command, openai: Mocked) -> None:
    openai.mock.reply("日本 🙂")
    done = command("ask", "--json", "hi", env={**openai.env, "PYTHONIOENCODING": "latin-1"})
    assert json.loads(done.out)["text"] == "日本 🙂"


def chunk(delta: dict[str, str], finish: str | None = None) -> dict[str, object]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


@pytest.mark.parametrize(
    ("events", "code", "says"),
    [
        ([chunk({"content": "half"}, "error")], 1, "may not be whole"),
        ([chunk({}, "tool_calls")], 1, "asked for a tool"),
        ([chunk({}, "stop")], 0, "the answer is empty"),
    ],
)
def test_what_is_no_answer_does_not_pass_for_one(command: Command, events: list[object], code: int, says: str) -> None:
    with Recorder(Answer(events=[*events, "[DONE]"])) as server:
        env = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{server.url}/v1"}
        done = command("ask", "-p", "openai", "--no-cache", "hi", env=env)
    assert done.code == code
    assert says in done.err


def test_a_password_in_an_address_is_not_shown(command: Command) -> None:
    env = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "http://user:SEKRET@127.0.0.1:9/v1"}
    done = command("ask", "-v", "-p", "openai", "hi", env=env)
    assert done.code == 1
    assert "SEKRET" not in done.err


def test_a_deleted_folder_is_named(command: Command) -> None:
    done = shell(command, "mkdir gone; cd gone; rmdir ../gone; llmswitch cache path", {})
    assert done.returncode == 2
    assert "current folder" in done.stderr


def test_a_warning_does_not_stick_to_the_answer(command: Command, openai: Mocked) -> None:
    openai.mock.reply("Still here.")
    command.home.write_text("in the way")
    with subprocess.Popen(
        [str(COMMAND), "ask", "-p", "openai", "hi"],
        cwd=command.cwd,
        env=command.environment(openai.env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        together, _ = process.communicate(timeout=60)
    assert "\nStill here.\n" in f"\n{together}"
