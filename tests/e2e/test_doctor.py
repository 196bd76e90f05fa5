"""`llmswitch doctor`: the installed command, before servers that fail in every way there is."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import ssl
import subprocess
import threading
import time
from contextlib import closing, suppress
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import KEY, Command, Done
from tests.servers.recorder import Answer, Recorder, Seen
from tests.servers.vendors import Behaviour, Vendors

_QUOTA = {
    "error": {"message": "You exceeded your current quota.", "type": "insufficient_quota", "code": "insufficient_quota"}
}
_WHOLE = {
    "id": "c1",
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 20, "completion_tokens": 1},
}


def openai(url: str, **more: str) -> dict[str, str]:
    return {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{url}/v1", "OPENAI_MODEL": "gpt-4o", **more}


def said(message: str, **more: object) -> dict[str, Any]:
    return {"error": {"message": message, "type": "error", **more}}


def provider(done: Done, name: str = "openai") -> dict[str, Any]:
    """The one row of a provider; the key stands nowhere."""
    assert KEY not in done.out + done.err
    found: list[dict[str, Any]] = [one for one in done.document["providers"] if one["provider"] == name]
    assert len(found) == 1
    return found[0]


def check(done: Done, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in done.document["checks"] if one["check"] == name)
    return found


def test_every_configured_provider_is_asked_once_and_all_is_well(command: Command, home: Path) -> None:
    with Vendors() as vendors:
        done = command("doctor", "--json", env=vendors.environ)
        people = command("doctor", env=vendors.environ)
    assert (done.code, done.err) == (0, "")
    assert (done.document["ok"], done.document["sent"]) == (True, True)
    asked = {one["provider"]: one for one in done.document["providers"]}
    assert list(asked) == ["gemini", "openai", "anthropic", "team"]
    assert {one["standing"] for one in asked.values()} == {"ok"}
    assert sorted(vendors.asked) == sorted([*[one["model"] for one in asked.values()]] * 2)
    assert asked["openai"]["cost"]["currency"] == "USD"
    assert 0 < float(asked["openai"]["cost"]["amount"]) < 0.001
    assert asked["team"]["cost"] is None
    for seen in vendors.seen:
        assert len(seen.body) < 500
        assert "16" in seen.body.decode()
    assert (people.code, people.err.count("\n")) == (0, 1)
    # nobody knows what team's model costs
    assert "all is well; asking cost at least $" in people.err
    assert done.document["cost"]["exact"] is False
    with closing(sqlite3.connect(home / "data" / "ledger.db")) as ledger:
        assert ledger.execute("SELECT DISTINCT command, count(*) FROM calls").fetchall() == [("doctor", 8)]


#: what a server answers -> kind, and words of what is said and of what to do
_FAULTS: dict[str, tuple[Answer, str, str, str]] = {
    "rejected key": (Answer(said(f"Incorrect API key: {KEY}"), 401), "authentication", "HTTP 401", "new key"),
    "may not": (Answer(said("no access"), 403), "permission", "HTTP 403", "the vendor must let OPENAI_API_KEY"),
    "no model": (Answer(said("no such model", code="model_not_found"), 404), "not_found", "HTTP 404", "OPENAI_MODEL"),
    "no quota": (Answer(_QUOTA, 429), "quota", "HTTP 429", "add credit"),
    "too often": (Answer(said("slow down"), 429, {"retry-after": "60"}), "rate_limit", "HTTP 429", "the key works"),
    "broken": (Answer(said("oops"), 500), "server", "HTTP 500", "it is the vendor that fails"),
    "overloaded": (Answer(said("busy"), 503), "overloaded", "HTTP 503", "it is the vendor that fails"),
    "refused": (Answer(said("what?"), 400), "bad_request", "HTTP 400", "--dry-run"),
    "no api": (Answer(b"<html>hello</html>"), "malformed", "cannot be read", "is not this API"),
    "hung up": (Answer(drop=True), "connection", "failed", "firewall"),
}


@pytest.mark.parametrize("fault", _FAULTS)
def test_each_fault_is_named_with_what_to_do(command: Command, fault: str) -> None:
    answer, problem, words, todo = _FAULTS[fault]
    with Recorder(answer) as server:
        done = command("doctor", "--json", env=openai(server.url))
    one = provider(done)
    assert (done.code, one["standing"], one["problem"]) == (1, "failed", problem)
    assert words in one["message"]
    assert todo in one["next"]
    assert len(server.seen) == 1  # neither retried nor handed on


def test_what_a_vendor_says_makes_no_line_of_its_own(command: Command) -> None:
    with Recorder(Answer({**_WHOLE, "model": "gpt\nok      anthropic  \x1b[32manswered"})) as server:
        done = command("doctor", "-p", "openai", env=openai(server.url))
    assert [line.split()[1] for line in done.out.splitlines()] == ["clock", "openai:gpt-4o"]
    assert "\x1b" not in done.out


def test_half_a_password_in_an_address_is_not_shown(command: Command) -> None:
    done = command("doctor", "-p", "openai", env=openai("http://me:hunter2pass/word@127.0.0.1:1"))
    assert done.code == 2
    assert "%2F" in done.out
    assert "hunter2pass" not in done.out + done.err


def test_a_typo_in_the_model_is_told_with_the_names_near_it(command: Command) -> None:
    with Recorder(Answer(said("no such model", code="model_not_found"), 404)) as server:
        done = command("doctor", "--json", "-p", "openai:gpt-4.1-mni", env=openai(server.url))
    assert "gpt-4.1-mini" in provider(done)["next"]


def test_a_fallback_and_a_cache_hide_nothing(command: Command) -> None:
    behaviours = {"gpt-4o": Behaviour(status=500)}
    with Vendors(behaviours) as vendors:
        env = {**vendors.environ, "LLM_FALLBACK": "claude,gemini", "LLM_MAX_RETRIES": "3"}
        codes = [command("doctor", "--json", env=env) for _ in range(2)]
        assert [provider(done)["problem"] for done in codes] == ["server", "server"]
        assert vendors.asked.count("gpt-4o") == 2
        assert vendors.asked.count("gemini-2.5-flash") == 2


def test_one_that_hangs_holds_up_nobody(command: Command) -> None:
    def hang(seen: Seen) -> Behaviour:
        vendors.stop.wait(30)
        return Behaviour()

    with Vendors({"gpt-4o": hang, "claude-sonnet-4-5": hang, "gemini-2.5-flash": hang}) as vendors:
        began = time.monotonic()
        done = command("doctor", "--json", "--timeout", "2", env=vendors.environ)
        took = time.monotonic() - began
    assert took < 25  # three SDKs are imported in it, on a machine that is busy; one after another would add 4 s
    assert [(one["provider"], one["problem"]) for one in done.document["providers"]] == [
        ("gemini", "timeout"),
        ("openai", "timeout"),
        ("anthropic", "timeout"),
        ("team", None),
    ]
    assert all(one["duration_s"] < 4 for one in done.document["providers"])
    assert "--timeout" in provider(done)["next"]
    assert done.code == 1


def test_nobody_listens_there(command: Command) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = command("doctor", "--json", env=openai(f"http://127.0.0.1:{port}"))
    assert (provider(done)["problem"], done.code) == ("connection", 1)
    assert f"nothing listens at 127.0.0.1:{port}" in provider(done)["next"]


def test_https_where_http_is_spoken(command: Command) -> None:
    with Recorder() as server:
        done = command("doctor", "--json", env=openai(server.url.replace("http://", "https://")))
    assert "is it http:// rather than https://?" in provider(done)["next"]


def test_a_certificate_that_nobody_knows_is_told_with_the_variable(command: Command, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "2"]
    subprocess.run([*made, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"

        def shake_hands() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                context.wrap_socket(connection, server_side=True).close()

        server = threading.Thread(target=shake_hands)
        server.start()
        done = command("doctor", "--json", env=openai(url))
        server.join()
    assert (provider(done)["problem"], done.code) == ("connection", 1)
    assert "SSL_CERT_FILE" in provider(done)["next"]


def test_without_a_way_out_it_is_the_network(command: Command) -> None:
    """The guard of these tests refuses every name; told as the system would, by a name that has no address."""
    env = {"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY}
    done = command("doctor", "--json", env={**env, "LLMSWITCH_TEST_GUARD": "", "PYTHONPATH": ""} | _nowhere())
    assert done.code == 1
    assert {one["problem"] for one in done.document["providers"]} == {"connection"}
    assert "no network" in check(done, "network")["message"]


def _nowhere() -> dict[str, str]:
    """Addresses below .invalid, which RFC 6761 keeps from ever being one."""
    return {"OPENAI_BASE_URL": "https://a.invalid/v1", "ANTHROPIC_BASE_URL": "https://b.invalid"}


@pytest.mark.parametrize(("off_s", "standing"), [(0, "ok"), (-4000, "wrong"), (90_000, "wrong")])
def test_the_clock_is_held_against_the_vendors(command: Command, off_s: int, standing: str) -> None:
    class Clocked(Recorder):
        """Its Date is `off_s` from ours."""

        def respond(self, seen: Seen, out: Any) -> None:
            out.date_time_string = lambda timestamp=None: formatdate(time.time() + off_s, usegmt=True)
            super().respond(seen, out)

    with Clocked(Answer(_WHOLE)) as server:
        done = command("doctor", "--json", env=openai(server.url))
    clock = check(done, "clock")
    assert (clock["standing"], done.code) == (standing, 0 if standing == "ok" else 2)
    if off_s:
        assert ("ahead of" if off_s < 0 else "behind") in clock["message"]


def test_thinking_that_the_limit_cut_off_is_proof_enough(command: Command) -> None:
    told = said("Could not finish the message because max_tokens or model output limit was reached.")
    with Recorder(Answer(told, 400)) as server:
        done = command("doctor", "--json", env=openai(server.url))
    assert (done.code, provider(done)["standing"]) == (0, "ok")


def test_offline_nothing_is_sent(command: Command, home: Path) -> None:
    with Vendors() as vendors:
        done = command("doctor", "--json", "--offline", env={**vendors.environ, "REDIS_URL": "redis://127.0.0.1:1"})
        assert vendors.seen == []
    assert (done.code, done.document["sent"], done.document["cost"]) == (0, False, None)
    assert {one["standing"] for one in done.document["providers"]} == {"ok"}
    assert not home.exists()


def test_only_the_one_that_is_named_is_asked(command: Command) -> None:
    with Vendors() as vendors:
        done = command("doctor", "--json", "-p", "claude", env=vendors.environ)
        assert vendors.asked == ["claude-sonnet-4-5"]
    assert [check["check"] for check in done.document["checks"]] == ["clock"]
    assert command("doctor", "-p", "clod").code == 2


def test_a_redis_that_is_down_is_told_without_its_password(command: Command) -> None:
    with Recorder(Answer(_WHOLE)) as server:
        env = openai(server.url, REDIS_URL="redis://:hunter2pass@127.0.0.1:1/0")
        done = command("doctor", "--json", env=env)
    assert (done.code, check(done, "redis")["standing"]) == (1, "failed")
    assert "127.0.0.1:1" in check(done, "redis")["message"]
    assert "hunter2pass" not in done.out + done.err


def test_every_value_that_cannot_be_is_told_at_once(command: Command) -> None:
    bad = {
        "TEMPERATURE": "9",
        "LLM_TIMEOUT": "soon",
        "OPENAI_RPM": "0",
        "LLM_BALANCE": "dearest",
        "LLM_BUDGET_DAILY": "-1",
        "CACHE_ENABLED": "perhaps",
        "LLM_FALLBACK_ON": "mondays",
    }
    with Vendors() as vendors:
        done = command("doctor", "--json", env={**vendors.environ, **bad, "LLM_TIMEOT": "3"})
        assert vendors.seen == []
    wrong = {one["check"] for one in done.document["checks"] if one["standing"] == "wrong"}
    assert wrong == set(bad)
    assert check(done, "LLM_TIMEOT")["next"] == "did you mean LLM_TIMEOUT?"
    assert done.code == 2


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("AZURE_OPENAI_ENDPOINT", "https://r.openai.azure.com", "AZURE_OPENAI_"),
        ("LLM_PROVIDER", "clod", "unknown provider 'clod'"),
        ("LLM_ENDPOINTS", "a b", "LLM_ENDPOINTS"),
        ("LLM_PRICES", "/nowhere/prices.json", "LLM_PRICES"),
        ("LLM_PROFILE", "nosuch", "no profile 'nosuch'"),
        ("OPENAI_API_KEY", "sk with a space", "holds a space"),
    ],
)
def test_what_is_wrong_in_the_configuration_exits_2(command: Command, name: str, value: str, words: str) -> None:
    done = command("doctor", "--json", "--offline", env={"OPENAI_API_KEY": KEY, name: value})
    assert done.code == 2
    assert words in done.out
    assert "sk with" not in done.out + done.err


def test_nothing_configured_says_what_to_type(command: Command) -> None:
    done = command("doctor", "--json")
    assert done.code == 2
    assert "llmswitch init" in done.document["providers"][0]["next"]


class TestMachine:
    """What can be wrong here, before anybody is asked."""

    def doctor(self, command: Command) -> Done:
        return command("doctor", "--json", "--offline", env={"OPENAI_API_KEY": KEY})

    def test_open_folders_and_files_are_told_with_the_command_that_closes_them(
        self, command: Command, home: Path
    ) -> None:
        profile = home / "config" / "profiles" / "work.env"
        profile.parent.mkdir(parents=True)
        profile.write_text(f"GROQ_API_KEY={KEY}\n")
        profile.chmod(0o644)
        (home / "config").chmod(0o755)
        done = self.doctor(command)
        assert done.code == 2
        assert check(done, "profile work")["next"] == f"type: chmod 600 {profile}"
        typed = check(done, "folders")["next"].removeprefix("type: ")
        assert KEY not in done.out
        assert os.system(typed) == 0  # noqa: S605  # what it says to type
        assert self.doctor(command).code == 0

    def test_a_ledger_is_named_and_left_as_it_is(self, command: Command, home: Path) -> None:
        (home / "data").mkdir(parents=True, mode=0o700)
        home.chmod(0o700)
        ledger = home / "data" / "ledger.db"
        cases = [(b"this is no ledger" * 500, "mv ", "damaged"), (None, "upgrade llmswitch", "newer")]
        for content, todo, suffix in cases:
            ledger.unlink(missing_ok=True)
            if content is None:
                with closing(sqlite3.connect(ledger)) as connection:
                    connection.execute("CREATE TABLE calls (id)")
                    connection.execute("PRAGMA user_version = 99")
                    connection.commit()
            else:
                ledger.write_bytes(content)
            ledger.chmod(0o600)
            before = ledger.read_bytes()
            done = self.doctor(command)
            assert (done.code, check(done, "ledger")["standing"]) == (2, "wrong"), suffix
            assert todo in check(done, "ledger")["next"]
            assert ledger.read_bytes() == before
            assert [path.name for path in (home / "data").iterdir()] == ["ledger.db"]

    def test_an_older_ledger_is_not_migrated(self, command: Command, home: Path) -> None:
        from llmswitch.database import MIGRATIONS

        (home / "data").mkdir(parents=True, mode=0o700)
        ledger = home / "data" / "ledger.db"
        with closing(sqlite3.connect(ledger)) as connection:
            for statement in MIGRATIONS[0]:
                connection.execute(statement)
            connection.execute("PRAGMA user_version = 1")
            connection.commit()
        ledger.chmod(0o600)
        done = self.doctor(command)
        assert "version 1, which the next call makes" in check(done, "ledger")["message"]
        with closing(sqlite3.connect(ledger)) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (1,)

    def test_a_cache_that_is_no_folder_cannot_be_written(self, command: Command, home: Path) -> None:
        home.mkdir(mode=0o700)
        (home / "cache").write_text("a file")
        (home / "cache").chmod(0o600)
        done = self.doctor(command)
        assert (done.code, check(done, "cache")["standing"]) == (2, "wrong")

    def test_a_profile_that_does_not_parse_is_told_with_its_line(self, command: Command, cwd: Path) -> None:
        (cwd / "profiles").mkdir()
        (cwd / "profiles" / "bad.env").write_text("LLM_SYSTEM=a\nthis is 'no line\n")
        done = self.doctor(command)
        assert "line 2" in check(done, "profile bad")["message"]
        assert done.code == 2


def test_lines_for_people_say_what_to_do_below(command: Command) -> None:
    with Recorder(Answer(said("no"), 401)) as server:
        done = command("doctor", env=openai(server.url))
    lines = done.out.splitlines()
    at = next(place for place, line in enumerate(lines) if line.startswith("failed  openai:gpt-4o"))
    assert "HTTP 401" in lines[at]
    assert lines[at + 1].startswith("        -> make a new key")
    assert done.err == "llmswitch: 1 cannot be used now.\n"
    assert command("doctor", "--quiet", env=openai(server.url)).err == ""
    assert json.loads(command("doctor", "--json", "--offline", env=openai(server.url)).out)["ok"] is True
