"""Everything a person can get wrong ends in one line that names what to fix, and in the contract's exit code."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from tests.e2e.conftest import KEY, SETUPS, Command, Done, Mocked
from tests.servers.recorder import Answer, Recorder


def refused(done: Done, code: int, *words: str) -> None:
    """One line on stderr, after what notes there are, with every word in it; nothing on stdout."""
    assert done.code == code, (done.out, done.err)
    *_, line = done.err.splitlines()
    assert line.startswith("llmswitch: error: "), done.err
    for word in words:
        assert word in line
    assert done.out == ""


USAGE = [
    (["ask"], {}, ["no prompt"]),
    (["ask", ""], {}, ["no prompt"]),
    (["ask", "-"], {}, ["standard input is empty"]),
    (["ask", "-p", "nobody", "hi"], {}, ["unknown provider 'nobody'", "anthropic"]),
    (["ask", "-p", "openai:", "hi"], {}, ["no model after the colon"]),
    (["ask", "-P", "nobody", "hi"], {}, ["no profile 'nobody'", "llmswitch init"]),
    (["ask", "-P", "../x", "hi"], {}, ["not a profile's name"]),
    (["ask", "-p", "anthropic", "hi"], {}, ["ANTHROPIC_API_KEY"]),
    (["ask", "-p", "gemini", "hi"], {}, ["GOOGLE_API_KEY"]),
    (["ask", "-p", "azure", "hi"], {}, ["AZURE_OPENAI_ENDPOINT"]),
    (["ask", "-p", "groq", "hi"], {}, ["GROQ_API_KEY"]),
    (["ask", "-p", "ollama", "hi"], {}, ["OLLAMA_MODEL"]),
    (["ask", "hi"], {"TEMPERATURE": "hot"}, ["TEMPERATURE", "'hot'"]),
    (["ask", "hi"], {"MAX_TOKENS": "-1"}, ["MAX_TOKENS", "'-1'"]),
    (["ask", "hi"], {"LLM_TIMEOUT": "soon"}, ["LLM_TIMEOUT"]),
    (["ask", "hi"], {"CACHE_TTL": "1h"}, ["CACHE_TTL"]),
    (["ask", "hi"], {"CACHE_ENABLED": "perhaps"}, ["CACHE_ENABLED"]),
    (["ask", "hi"], {"LLM_PROVIDER": "claude?"}, ["LLM_PROVIDER"]),
    (["ask", "hi"], {"OPENAI_BASE_URL": "nowhere"}, ["OPENAI_BASE_URL"]),
    (["ask", "hi"], {"LLM_PRICES": "missing.json"}, ["LLM_PRICES", "missing.json"]),
    (["ask", "--temperature", "hot", "hi"], {}, ["--temperature", "'hot'"]),
    (["ask", "--max-tokens", "0", "hi"], {}, ["--max-tokens"]),
    (["ask", "--timeout", "0", "hi"], {}, ["--timeout"]),
    (["ask", "-t", "openai?temprature=0", "hi"], {}, ["temprature", "temperature"]),
    (["ask", "-p", "openai", "-t", "openai", "hi"], {}, ["--provider or --target"]),
    (["ask", "-f", "missing.txt"], {}, ["missing.txt", "No such file"]),
    (["ask", "-f", "."], {}, ["."]),
    (["ask", "-f", "empty.txt"], {}, ["empty.txt", "empty"]),
    (["ask", "-f", "binary.bin"], {}, ["binary.bin", "UTF-8"]),
    (["ask", "-f", "huge.txt"], {}, ["huge.txt", "10 MB"]),
    (["ask", "-a", "missing.png", "hi"], {}, ["missing.png", "No such file"]),
    (["ask", "-a", "empty.txt", "hi"], {}, ["empty.txt", "empty"]),
    (["ask", "-a", "binary.bin", "hi"], {}, ["binary.bin", "neither text nor an image"]),
    (["ask", "-a", "huge.txt", "hi"], {}, ["huge.txt", "20 MB"]),
    (["ask", "--schema", "empty.txt", "hi"], {}, ["empty.txt", "not JSON"]),
    (["ask", "--schema", "missing.json", "hi"], {}, ["missing.json"]),
    (["ask", "-c", "hi"], {}, ["no conversation"]),
    (["ask", "--conversation", "zzz", "hi"], {}, ["no conversation 'zzz'"]),
    (["ask", "--no-such-option", "hi"], {}, ["--no-such-option", "llmswitch ask --help"]),
    (["aks", "hi"], {}, ["aks", "ask"]),
    (["logs", "prune", "--older-than", "soon"], {}, ["--older-than"]),
    (["profiles", "show", "nobody"], {}, ["no profile 'nobody'"]),
    (["profiles", "trust", "missing.env"], {}, ["missing.env"]),
]


@pytest.fixture
def files(cwd: Path) -> None:
    (cwd / "empty.txt").write_bytes(b"")
    (cwd / "binary.bin").write_bytes(b"\x80\x81\xff\x00\x01" * 9)
    with open(cwd / "huge.txt", "wb") as stream:
        stream.truncate(50_000_000)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("case", USAGE, ids=lambda case: " ".join([*case[0], *case[1]]))
def test_usage_and_configuration_end_with_2(
    command: Command, case: tuple[list[str], dict[str, str], list[str]]
) -> None:
    arguments, env, words = case
    refused(
        command(*arguments, env={"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1", **env}), 2, *words
    )


def test_with_json_the_error_is_a_document_too(command: Command) -> None:
    for arguments in (["ask", "--json"], ["ask", "--json", "--temperature", "hot", "hi"], ["ask", "--json", "--nope"]):
        done = command(*arguments, env={"OPENAI_API_KEY": KEY})
        assert done.code == 2
        error = done.document["error"]
        assert set(error) == {
            "kind",
            "message",
            "provider",
            "request_model",
            "status",
            "request_id",
            "retry_after_s",
        }
        assert error["kind"] == "config"
        assert error["message"] in done.err


@pytest.mark.parametrize(
    ("stdin", "words"),
    [
        (b"\x80\x81\xff", ["standard input", "UTF-8"]),
        (b"a\x00b", ["binary"]),
        (b"x" * 50_000_000, ["10 MB"]),
        (b"", []),
    ],
    ids=["binary", "nul", "huge", "empty"],
)
def test_what_cannot_be_a_prompt_on_stdin_is_named(
    command: Command, openai: Mocked, stdin: bytes, words: list[str]
) -> None:
    refused(command("ask", "-", env=openai.env, stdin=stdin), 2, *words)
    assert openai.mock.requests == []


#: llmock's status -> kind and what the line says
FAILURES = [
    (401, "authentication", "API_KEY"),
    (403, "permission", ""),
    (404, "not_found", ""),
    (400, "bad_request", ""),
    (429, "rate_limit", ""),
    (500, "server", ""),
    (503, "overloaded", ""),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: str(failure[0]))
def test_a_vendors_failure_ends_with_1_and_its_kind(
    command: Command, mocked: Mocked, failure: tuple[int, str, str]
) -> None:
    status, kind, says = failure
    mocked.mock.fail(status, times=None)
    done = command("ask", "-p", mocked.provider, "--json", "hi", env=mocked.env)
    assert done.code == 1, done.err
    error = done.document["error"]
    assert (error["kind"], error["status"], error["provider"]) == (kind, status, mocked.provider)
    assert error["request_model"]
    assert says in done.err
    assert len(mocked.mock.requests) == 1


def test_a_prompt_over_the_context_window_is_told_as_such(command: Command, mocked: Mocked) -> None:
    provider = {"azure": "openai", "team": "openai"}.get(mocked.provider, mocked.provider)
    mocked.mock.context_overflow(provider=provider)
    done = command("ask", "-p", mocked.provider, "--json", "hi", env=mocked.env)
    assert done.code == 1
    assert done.document["error"]["kind"] in ("context_length", "bad_request")
    if mocked.provider in ("openai", "azure", "team"):
        assert done.document["error"]["kind"] == "context_length"


STREAMS = [("truncate", "truncated"), ("disconnect", "connection"), ("corrupt", "malformed")]


@pytest.mark.parametrize("fault", STREAMS, ids=lambda fault: fault[0])
def test_a_stream_that_breaks_is_never_a_short_answer(command: Command, mocked: Mocked, fault: tuple[str, str]) -> None:
    kind = fault[1]
    mocked.mock.reply("one two three four five six seven eight")
    getattr(mocked.mock, fault[0])(after_chunks=4)
    done = command("ask", "-p", mocked.provider, "hi", env=mocked.env)
    assert done.code == 1, (done.out, done.err)
    assert "not the whole answer" in done.err
    assert done.out != ""
    again = command("ask", "-p", mocked.provider, "--json", "hi", env=mocked.env)
    assert again.document["cached"] is False
    assert kind in ("truncated", "connection", "malformed")


def test_a_server_that_is_not_there_is_a_connection_error(command: Command) -> None:
    for name, setup in SETUPS.items():
        done = command("ask", "-p", name, "--json", "hi", env=setup("http://127.0.0.1:9", "http://127.0.0.1:9"))
        assert done.code == 1
        assert done.document["error"]["kind"] == "connection", name


@pytest.mark.parametrize("streamed", [True, False])
def test_ask_never_hangs(command: Command, streamed: bool) -> None:
    # the server never ends its answer: without a deadline of ours the command would be killed after 60 s
    released = threading.Event()
    with Recorder(Answer(events=[], hold=released)) as server:
        env = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{server.url}/v1"}
        flags = [] if streamed else ["--no-stream"]
        done = command("ask", "-p", "openai", "--timeout", "1.5", "--json", *flags, "hi", env=env)
        released.set()
    assert done.code == 1
    assert done.document["error"]["kind"] == "timeout"
    assert "--timeout" in done.err or "1.5 s" in done.err


def test_silence_in_mid_answer_ends_it(command: Command, mocked: Mocked) -> None:
    mocked.mock.reply("one two three four five six seven eight").stall(after_chunks=4, seconds=20)
    done = command("ask", "-p", mocked.provider, "hi", env={**mocked.env, "LLM_IDLE_TIMEOUT": "1"})
    assert done.code == 1
    assert "LLM_IDLE_TIMEOUT" in done.err
    assert done.out != ""


@pytest.fixture
def full_disk(tmp_path: Path) -> str:
    """A limit of a few kilobytes on every file, as a disk that fills up."""
    script = tmp_path / "limited"
    script.write_text('#!/bin/sh\nulimit -f 8\nexec "$@"\n')
    script.chmod(0o755)
    return str(script)


def test_a_full_disk_costs_warnings_and_not_the_answer(command: Command, openai: Mocked, full_disk: str) -> None:
    import subprocess

    from tests.e2e.conftest import COMMAND

    openai.mock.reply("Still here. " * 5000)
    done = subprocess.run(
        [full_disk, str(COMMAND), "ask", "-p", "openai", "hi"],
        cwd=command.cwd,
        env=command.environment(openai.env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Still here.")
    assert "warning" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", ["a file", "a folder nobody may write"])
def test_a_home_that_cannot_be_written_costs_warnings_and_not_the_answer(
    command: Command, openai: Mocked, kind: str
) -> None:
    if kind == "a file":
        command.home.write_text("in the way")
    else:
        command.home.mkdir(mode=0o500)
        if os.geteuid() == 0:
            (command.home / "data").write_text("in the way")
            (command.home / "cache").write_text("in the way")
    openai.mock.reply("Still here.")
    done = command("ask", "-p", "openai", "hi", env=openai.env)
    assert (done.code, done.out) == (0, "Still here.\n")
    assert "warning" in done.err


def test_a_broken_cache_and_ledger_cost_warnings_and_not_the_answer(command: Command, openai: Mocked) -> None:
    for path in (command.home / "cache" / "responses" / "cache.db", command.home / "data" / "ledger.db"):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"this is no database" * 999)
    openai.mock.reply("Still here.")
    done = command("ask", "-p", "openai", "hi", env=openai.env)
    assert (done.code, done.out) == (0, "Still here.\n")
    assert done.err.count("warning") >= 2
    assert (command.home / "data" / "ledger.db").read_bytes().startswith(b"this is no database")


def test_a_parameter_of_the_profile_that_is_refused_is_left_out_and_one_by_flag_is_not(command: Command) -> None:
    def answer(seen: object) -> Answer:
        body = seen.json  # type: ignore[attr-defined]  # a Seen
        if "temperature" in body:
            error = {
                "message": "Unsupported value: 'temperature' does not support 0.2 with this model.",
                "type": "invalid_request_error",
                "param": "temperature",
                "code": "unsupported_value",
            }
            return Answer({"error": error}, status=400)
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-6"}
        choice = {"index": 0, "delta": {"content": "fine"}, "finish_reason": "stop"}
        return Answer(events=[{**chunk, "choices": [choice]}, "[DONE]"])

    with Recorder(answer) as server:
        env = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{server.url}/v1"}
        done = command("ask", "-p", "openai", "hi", env={**env, "TEMPERATURE": "0.2"})
        assert (done.code, done.out) == (0, "fine\n")
        assert "refuses temperature" in done.err
        refused(command("ask", "-p", "openai", "--temperature", "0.2", "hi", env=env), 2, "temperature")
        refused(command("ask", "-t", "openai?temperature=0.2", "hi", env=env), 2, "temperature")


def test_a_file_with_keys_that_others_can_read_or_git_tracks_is_warned_about(
    command: Command, cwd: Path, openai: Mocked
) -> None:
    import subprocess

    lines = [f"{name}={value}" for name, value in openai.env.items()]
    (cwd / ".env").write_text("\n".join(lines))
    (cwd / ".env").chmod(0o644)
    done = command("ask", "hi")
    assert done.code == 0, done.err
    assert "chmod 600" in done.err
    assert "git" not in done.err
    (cwd / ".env").chmod(0o600)
    subprocess.run(["git", "init", "-q", "."], cwd=cwd, check=True)
    assert "warning" not in command("ask", "hi").err
    subprocess.run(["git", "add", "-f", ".env"], cwd=cwd, check=True)
    done = command("ask", "hi")
    assert "git tracks" in done.err
    assert KEY not in done.err


def test_a_hostile_working_tree_does_not_get_the_key(command: Command, cwd: Path) -> None:
    with Recorder() as server:
        evil = server.url.replace("127.0.0.1", "evil.invalid")
        (cwd / ".env").write_text(f"OPENAI_BASE_URL={evil}/v1\n")
        done = command("ask", "-p", "openai", "hi", env={"OPENAI_API_KEY": KEY})
        refused(done, 2, "OPENAI_BASE_URL", "llmswitch profiles trust")
        trusted = command("profiles", "trust", ".env")
        assert trusted.code == 0, trusted.err
        done = command("ask", "-p", "openai", "hi", env={"OPENAI_API_KEY": KEY})
        assert done.code == 1  # it is asked now, and this machine's guard refuses the name
        (cwd / ".env").write_text(f"OPENAI_BASE_URL={evil}/v2\n")
        refused(command("ask", "-p", "openai", "hi", env={"OPENAI_API_KEY": KEY}), 2, "llmswitch profiles trust")
        assert server.seen == []


def test_init_writes_a_private_profile_that_works(command: Command, openai: Mocked) -> None:
    done = command("init", "team", "-p", "openai", "-m", "gpt-4o", "--key-stdin", stdin=KEY + "\n")
    assert done.code == 0, done.err
    path = command.home / "config" / "profiles" / "team.env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    env = {"OPENAI_BASE_URL": openai.env["OPENAI_BASE_URL"]}
    answer = command("ask", "-P", "team", "--json", "hi", env=env).document
    assert (answer["profile"], answer["request_model"]) == ("team", "gpt-4o")
    shown = command("profiles", "show", "team", "--json").document
    values = {row["name"]: (row["value"], row["source"]) for row in shown["values"]}
    assert values["OPENAI_API_KEY"][0] == "***"
    assert values["OPENAI_MODEL"] == ("gpt-4o", str(path))
    refused(command("init", "team", "-p", "openai"), 2, "--force")
    assert command("init", "team", "-p", "openai", "--force", env={"OPENAI_API_KEY": KEY}).code == 0
    assert "${OPENAI_API_KEY}" in path.read_text()
    assert KEY not in path.read_text()
    listed = command("profiles", "list", "--json").document["profiles"]
    assert [(row["name"], row["trusted"]) for row in listed] == [("team", True)]
