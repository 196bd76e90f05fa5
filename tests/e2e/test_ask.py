"""`llmswitch ask` as a person and a script use it: the installed command, real HTTP, real files."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import threading
from pathlib import Path

import pytest
from jsonschema import validate

from tests.e2e.conftest import KEY, Command, Mocked
from tests.servers.recorder import Answer, Recorder

NUMBER = {"type": ["number", "null"]}
COUNT = {"type": ["integer", "null"]}
USAGE = {
    "type": "object",
    "properties": dict.fromkeys(
        (
            "input_tokens",
            "output_tokens",
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
            "reasoning_output_tokens",
        ),
        COUNT,
    ),
}
USAGE["required"] = list(USAGE["properties"])
COST = {
    "type": ["object", "null"],
    "properties": {
        "amount": {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"},
        "currency": {"const": "USD"},
        "source": {"type": "string"},
        "exact": {"type": "boolean"},
    },
    "required": ["amount", "currency", "source", "exact"],
}
RESPONSE = {
    "type": "object",
    "properties": {
        "schema": {"const": "llmswitch/response/1"},
        "provider": {"type": "string"},
        "request_model": {"type": "string"},
        "response_model": {"type": ["string", "null"]},
        "response_id": {"type": ["string", "null"]},
        "text": {"type": "string"},
        "finish_reason": {"enum": ["stop", "length", "content_filter", "tool_call", "error"]},
        "profile": {"type": ["string", "null"]},
        "usage": USAGE,
        "cost": COST,
        "time_to_first_token_s": NUMBER,
        "duration_s": {"type": "number"},
        "output_tokens_per_s": NUMBER,
        "cached": {"type": "boolean"},
        "attempts": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["provider", "model", "outcome", "status", "duration_s", "retry_after_s"],
                "additionalProperties": False,
                "properties": {
                    "provider": {"type": "string"},
                    "model": {"type": "string"},
                    "outcome": {"type": "string"},
                    "status": COUNT,
                    "duration_s": {"type": "number"},
                    "retry_after_s": NUMBER,
                },
            },
        },
        "original": {"type": "object", "required": ["usage", "cost", "time_to_first_token_s", "duration_s"]},
    },
}
RESPONSE["required"] = [name for name in RESPONSE["properties"] if name != "original"]


def rows(command: Command) -> list[sqlite3.Row]:
    connection = sqlite3.connect(command.home / "data" / "ledger.db")
    connection.row_factory = sqlite3.Row
    try:
        return connection.execute("SELECT * FROM calls ORDER BY id").fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
def test_every_provider_answers_with_the_contracts_document(command: Command, mocked: Mocked, streamed: bool) -> None:
    mocked.mock.reply("Paris it is.")
    flags = [] if streamed else ["--no-stream"]
    done = command("ask", "-p", mocked.provider, "--json", *flags, "capital of France?", env=mocked.env)
    assert done.code == 0, done.err
    answer = done.document
    validate(answer, RESPONSE)
    assert answer["text"] == "Paris it is."
    assert (answer["provider"], answer["finish_reason"], answer["cached"]) == (mocked.provider, "stop", False)
    assert answer["usage"]["input_tokens"] > 0
    assert answer["usage"]["output_tokens"] > 0
    assert [(a["outcome"], a["status"]) for a in answer["attempts"]] == [("ok", 200)]
    assert (answer["time_to_first_token_s"] is not None) is streamed
    assert answer["duration_s"] >= answer["attempts"][0]["duration_s"]
    assert (answer["cost"] is None) is (mocked.provider == "team")
    assert len(mocked.mock.requests) == 1
    (row,) = rows(command)
    assert (row["provider"], row["input_tokens"]) == (mocked.provider, answer["usage"]["input_tokens"])


def test_the_same_question_again_comes_from_the_cache(command: Command, mocked: Mocked) -> None:
    ask = ("ask", "-p", mocked.provider, "--json", "hi")
    first = command(*ask, env=mocked.env).document
    second = command(*ask, env=mocked.env).document
    validate(second, RESPONSE)
    assert second["cached"] is True
    assert second["text"] == first["text"]
    assert set(second["usage"].values()) == {0}
    assert second["cost"]["amount"] == "0"
    assert (second["attempts"], second["time_to_first_token_s"]) == ([], None)
    assert second["original"]["usage"] == first["usage"]
    assert second["original"]["cost"] == first["cost"]
    assert second["original"]["duration_s"] == first["duration_s"]
    assert second["duration_s"] < first["duration_s"]
    assert len(mocked.mock.requests) == 1
    assert [row["cached"] for row in rows(command)] == [0, 1]


def test_no_cache_and_refresh_ask_again(command: Command, openai: Mocked) -> None:
    for flags in ([], ["--no-cache"], ["--refresh"], []):
        assert command("ask", "-q", *flags, "hi", env=openai.env).code == 0
    assert len(openai.mock.requests) == 3
    off = {**openai.env, "CACHE_ENABLED": "no"}
    command("ask", "-q", "hi", env=off)
    assert len(openai.mock.requests) == 4
    command("ask", "-q", "hi", env={**openai.env, "CACHE_NAMESPACE": "other"})
    assert len(openai.mock.requests) == 5


def test_stdout_is_the_answer_and_stderr_the_rest(command: Command, openai: Mocked) -> None:
    openai.mock.reply("Just this.")
    done = command("ask", "-p", "openai", "hi", env=openai.env)
    assert done.out == "Just this.\n"
    assert done.err.count("\n") == 1
    for word in ("openai", "gpt", "first token", " in, ", " out"):
        assert word in done.err
    assert "cached" in command("ask", "-p", "openai", "hi", env=openai.env).err
    assert command("ask", "-q", "-p", "openai", "hi", env=openai.env).err == ""


def test_the_first_configured_is_asked_and_said(command: Command, openai: Mocked) -> None:
    both = {**openai.env, "ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": openai.mock.base_url("anthropic")}
    done = command("ask", "hi", env=both)
    assert done.code == 0
    assert "asking openai" in done.err


def test_a_job_that_lost_its_key_does_not_get_the_small_model(command: Command, cwd: Path) -> None:
    (cwd / "profiles").mkdir()
    (cwd / "profiles" / "nightly.env").write_text("CACHE_TTL=60\n")
    for arguments in (["-P", "nightly"], ["-p", "claude"], ["-m", "gpt-6-luna"]):
        done = command("ask", *arguments, "hi")
        assert done.code == 2, done.err
        assert "API_KEY" in done.err
        assert done.out == ""


def test_a_profile_names_provider_model_and_address(command: Command, cwd: Path, openai: Mocked) -> None:
    (cwd / "profiles").mkdir()
    lines = [f"{name}={value}" for name, value in openai.env.items()]
    (cwd / "profiles" / "dev.env").write_text("\n".join([*lines, "LLM_PROVIDER=openai:gpt-4o", "LLM_SYSTEM=Be brief."]))
    answer = command("ask", "-P", "dev", "--json", "hi").document
    assert (answer["profile"], answer["request_model"]) == ("dev", "gpt-4o")
    body = openai.mock.last_request.body
    assert [m["role"] for m in body["messages"]] == ["system", "user"]
    assert command("ask", "--json", "hi", env={"LLM_PROFILE": "dev"}).document["cached"] is True


def test_a_target_carries_model_and_parameters_and_a_flag_goes_before(command: Command, openai: Mocked) -> None:
    command("ask", "-q", "-t", "openai:gpt-4o?temperature=0.5&seed=7", "--temperature", "1", "hi", env=openai.env)
    body = openai.mock.last_request.body
    assert (body["model"], body["temperature"], body["seed"]) == ("gpt-4o", 1, 7)


#: arguments, stdin, and the prompt they make
PIPED = [
    (["why?"], "a log\n", "a log\n\nwhy?"),
    (["why?"], "", "why?"),
    (["-"], "only this", "only this"),
    ([], "only this\n", "only this"),
    (["why?", "--no-stdin"], "unread", "why?"),
    (["-f", "prompt.txt", "and?"], "", "from a file\n\nand?"),
    (["-f", "-"], "as a file", "as a file"),
]


@pytest.mark.parametrize("piped", PIPED)
def test_piped_stdin_joins_the_argument(
    command: Command, cwd: Path, openai: Mocked, piped: tuple[list[str], str, str]
) -> None:
    arguments, stdin, prompt = piped
    (cwd / "prompt.txt").write_text("from a file\n")
    done = command("ask", "-q", *arguments, env=openai.env, stdin=stdin)
    assert done.code == 0, done.err
    assert openai.mock.last_request.body["messages"][-1]["content"].strip() == prompt


def test_silence_on_stdin_is_explained(command: Command, openai: Mocked) -> None:
    process = command.start(["ask", "hi"], env=openai.env, stdin=subprocess.PIPE)
    assert process.stderr is not None
    assert "waiting for more of the prompt on standard input" in process.stderr.readline()
    _, err = process.communicate("", timeout=20)
    assert process.returncode == 0, err


def test_an_answer_goes_to_a_file_whole(command: Command, cwd: Path, openai: Mocked) -> None:
    openai.mock.reply("Into the file.")
    done = command("ask", "-o", "answer.txt", "hi", env=openai.env)
    assert (done.code, done.out) == (0, "")
    assert (cwd / "answer.txt").read_text() == "Into the file.\n"
    assert [p.name for p in cwd.iterdir()] == ["answer.txt"]
    assert command("ask", "--json", "-o", "a.json", "hi", env=openai.env).out == ""
    assert json.loads((cwd / "a.json").read_text())["text"] == "Into the file."


def test_a_file_that_cannot_be_written_stops_before_anything_is_sent(
    command: Command, cwd: Path, openai: Mocked
) -> None:
    for name in ("missing/answer.txt", "."):
        done = command("ask", "-o", name, "hi", env=openai.env)
        assert done.code == 2
        assert "cannot write" in done.err
    assert openai.mock.requests == []


def test_a_conversation_goes_on_with_the_same_target(command: Command, openai: Mocked) -> None:
    openai.mock.reply("Hello Ann.").reply("Ann.")
    command("ask", "-q", "-t", "openai:gpt-4o", "-s", "Be brief.", "I am Ann", env=openai.env)
    done = command("ask", "-q", "-c", "Who am I?", env=openai.env)
    assert done.out == "Ann.\n"
    body = openai.mock.last_request.body
    assert body["model"] == "gpt-4o"
    assert [(m["role"], m["content"]) for m in body["messages"]] == [
        ("system", "Be brief."),
        ("user", "I am Ann"),
        ("assistant", "Hello Ann."),
        ("user", "Who am I?"),
    ]
    listed = command("logs", "list", "--json").document
    (conversation,) = listed["conversations"]
    shown = command("logs", "show", conversation["id"], "--json").document
    assert len(shown["turns"]) == 2


def test_history_can_be_off(command: Command, openai: Mocked) -> None:
    off = {**openai.env, "LLM_HISTORY": "off"}
    assert command("ask", "-q", "private matter", env=off).code == 0
    done = command("ask", "-c", "and?", env=off)
    assert done.code == 2
    assert "LLM_HISTORY" in done.err
    assert b"private matter" not in (command.home / "data" / "ledger.db").read_bytes()
    assert len(rows(command)) == 1


def test_nothing_hostile_reaches_the_terminal(command: Command, openai: Mocked) -> None:
    openai.mock.reply("\x1b]0;owned\x07\x1b[2Jhi\x9b31m \x1b]52;c;aGk=\x07there")
    done = command("ask", "hi", env=openai.env)
    assert done.out == "hi there\n"
    again = command("ask", "--json", "hi", env=openai.env)
    assert "\x1b" not in again.out
    assert "\x9b" not in again.out
    assert again.document["text"].startswith("\x1b]0;owned")


def test_the_key_is_nowhere(command: Command, cwd: Path, openai: Mocked) -> None:
    for arguments in (["hi"], ["--dry-run", f"{KEY}"], ["-v", "--no-cache", "hi"]):
        done = command("ask", *arguments, env=openai.env)
        assert done.code == 0, done.err
        assert KEY not in done.out + done.err
    openai.mock.fail(401, message=f"Incorrect API key provided: {KEY}.")
    done = command("ask", "--json", "--no-cache", "hi", env=openai.env)
    assert done.code == 1
    assert KEY not in done.out + done.err
    for path in command.home.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


def test_a_dry_run_sends_nothing_and_shows_all(command: Command, openai: Mocked) -> None:
    done = command("ask", "--dry-run", "-t", "openai:gpt-4o?max_tokens=100", "hello world", env=openai.env)
    shown = done.document
    assert shown["body"]["messages"][-1]["content"] == "hello world"
    assert float(shown["estimated_cost"]["low"]["amount"]) > 0
    assert float(shown["estimated_cost"]["high"]["amount"]) > float(shown["estimated_cost"]["low"]["amount"])
    assert openai.mock.requests == []


PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)


def test_attachments_are_told_by_their_content(command: Command, cwd: Path, openai: Mocked) -> None:
    (cwd / "picture.txt").write_bytes(PNG)
    (cwd / "notes").write_text("some notes")
    done = command("ask", "-q", "-a", "picture.txt", "-a", "notes", "what?", env=openai.env)
    assert done.code == 0, done.err
    parts = openai.mock.last_request.body["messages"][-1]["content"]
    assert any(p.get("image_url", {}).get("url", "").startswith("data:image/png;base64,") for p in parts)
    assert any("some notes" in p.get("text", "") and "what?" in p.get("text", "") for p in parts)


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


def test_an_answer_is_checked_against_its_schema(command: Command, cwd: Path, mocked: Mocked) -> None:
    (cwd / "s.json").write_text(json.dumps(SCHEMA))
    ask = ("ask", "-p", mocked.provider, "--schema", "s.json", "--json", "a number")
    mocked.mock.reply('{"n": "three"}')
    done = command(*ask, env=mocked.env)
    assert done.code == 1
    assert done.document["error"]["kind"] == "malformed"
    mocked.mock.reply('{"n": 3}')
    done = command(*ask, env=mocked.env)
    assert json.loads(done.document["text"]) == {"n": 3}


def test_an_interrupted_answer_is_shown_recorded_and_not_cached(command: Command) -> None:
    released = threading.Event()
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o", "choices": []}
    delta = {**chunk, "choices": [{"index": 0, "delta": {"content": "half an ans"}, "finish_reason": None}]}
    with Recorder(Answer(events=[delta], hold=released)) as server:
        env = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{server.url}/v1"}
        process = command.start(["ask", "-p", "openai", "hi"], env=env)
        assert process.stdout is not None
        shown = os.read(process.stdout.fileno(), 100)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        released.set()
    assert process.returncode == 130
    assert shown.decode() + out == "half an ans\n"
    assert "not the whole answer" in err
    assert "Traceback" not in err
    (row,) = rows(command)
    assert row["finish_reason"] == "interrupted"
    assert command("cache", "stats", "--json").document["entries"] == 0


def test_a_closed_pipe_ends_quietly(command: Command, openai: Mocked) -> None:
    openai.mock.reply("word " * 5000)
    process = command.start(["ask", "-q", "-p", "openai", "hi"], env=openai.env)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(timeout=20) == 141
    assert err == ""
    process.stderr.close()


def test_files_are_private(command: Command, openai: Mocked) -> None:
    command("ask", "-q", "hi", env=openai.env)
    for path in command.home.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), (path, oct(mode))


def test_two_dozen_at_once_cost_one_call(command: Command, openai: Mocked) -> None:
    openai.mock.delay(1.0, times=None)
    processes = [command.start(["ask", "-q", "-p", "openai", "the same"], env=openai.env) for _ in range(24)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert {process.returncode for process in processes} == {0}, outputs
    assert len({out for out, _ in outputs}) == 1
    assert {err for _, err in outputs} == {""}
    assert len(openai.mock.requests) == 1
    recorded = rows(command)
    assert len(recorded) == 24
    assert sum(row["cached"] for row in recorded) == 23
