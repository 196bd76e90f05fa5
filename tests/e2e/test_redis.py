"""The installed command with a Redis: over TLS, from a file nobody trusts, and with what an attacker put into it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from llmswitch.redis_state import connect
from tests.e2e.conftest import Command
from tests.servers.redis import RedisServer, missing
from tests.servers.vendors import Vendors

_PASSWORD = "hunter2-of-the-test"


@pytest.fixture
def vendors() -> Iterator[Vendors]:
    with Vendors() as server:
        yield server


@pytest.fixture
def secured() -> Iterator[RedisServer]:
    """With a password, on TLS alone, its certificate signed by itself."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with RedisServer(password=_PASSWORD, tls=True) as server:
        yield server


def test_a_self_signed_redis_is_trusted_by_ssl_cert_file_and_its_password_is_shown_nowhere(
    command: Command, vendors: Vendors, secured: RedisServer
) -> None:
    url = secured.url.partition("?")[0]
    env = {**vendors.environ, "REDIS_URL": url, "SSL_CERT_FILE": str(secured.ca), "OPENAI_RPM": "100"}
    for arguments in (
        ("ask", "-p", "openai", "-v", "hi"),
        ("ask", "-p", "openai", "--json", "-v", "hi"),
        ("ask", "-p", "openai", "--dry-run", "hi"),
        ("providers", "--health"),
        ("providers", "--health", "--json"),
        ("profiles", "show", "--json"),
        ("cache", "stats"),
    ):
        done = command(*arguments, env=env)
        assert done.code == 0, done.err
        assert _PASSWORD not in done.out + done.err
        assert "cannot be used" not in done.err
    assert len(vendors.asked) == 1
    with closing(connect(secured.url)) as client:
        found: Any = client.keys("*")
        assert {name.split(b":")[2] for name in found} >= {b"answer", b"window"}


@pytest.mark.parametrize("wrong", ["certificate", "password"])
def test_a_redis_that_cannot_be_used_is_one_warning_without_its_password(
    command: Command, vendors: Vendors, secured: RedisServer, wrong: str
) -> None:
    url = secured.url.partition("?")[0]
    env = {
        "certificate": {"REDIS_URL": url},
        "password": {"REDIS_URL": url.replace(_PASSWORD, "hunter3"), "SSL_CERT_FILE": str(secured.ca)},
    }[wrong]
    done = command("ask", "-p", "openai", "-v", "hi", env={**vendors.environ, **env, "OPENAI_RPM": "100"})
    assert (done.code, done.out) == (0, "Paris is the capital.\n")
    assert done.err.count("warning") == done.err.count("cannot be used") == 1
    assert "hunter" not in done.err


def test_a_redis_that_a_file_of_the_tree_names_is_refused_until_it_is_trusted(
    command: Command, vendors: Vendors
) -> None:
    (command.cwd / "profiles").mkdir()
    (command.cwd / "profiles" / "evil.env").write_text("REDIS_URL=redis://redis.example:6379/0\n")
    for arguments in (("ask", "-p", "openai", "hi"), ("providers", "--health"), ("cache", "stats")):
        done = command(*arguments, "-P", "evil", env=vendors.environ)
        assert done.code == 2
        assert "llmswitch profiles trust" in done.err
    assert vendors.asked == []


_LEASE = time.time() + 1e6
_TICK = str(int(time.time() * 10))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("limit:{}", f'{{"blocked_until": {"9" * 400}}}'),
        ("limit:{}", f'{{"blocked_until": {_LEASE}, "requests": true}}'),
        ("limit:{}", '{"blocked_until": 1e18}'),
        ("circuit:{}", f'{{"open_s": {"9" * 400}, "steps": [[1e999, NaN, "<b>"]]}}'),
        ("line:{}", '{"x": [0, 1e999, 1e999, 1e999]}'),
        ("line:{}", f'{{"x": [0, {_LEASE}, 5, 5]}}'),
        ("line:{}", ["a", "list"]),
        ("window:{}/requests", "text"),
        ("window:{}/requests", {"a": "<b>", _TICK: "1e9", f"{_TICK}.0": "7"}),
    ],
    ids=map(str, range(9)),  # the time in a name would have each worker of pytest-xdist collect other tests
)
def test_what_an_attacker_put_into_redis_costs_no_call(
    command: Command, vendors: Vendors, redis_server: RedisServer, kind: str, value: object
) -> None:
    name = "llmswitch::" + kind.format(f"openai:gpt-4o@127.0.0.1:{vendors.port}")
    env = {**vendors.environ, "REDIS_URL": redis_server.url, "OPENAI_RPM": "100", "OPENAI_TPM": "1000000"}
    with closing(connect(redis_server.url)) as client:
        match value:
            case dict():
                client.hset(name, mapping=value)
            case list():
                client.rpush(name, *value)
            case str():
                client.set(name, value)
        shown = command("providers", "--health", "--json", env=env)
        done = command("ask", "-p", "openai", "--json", "--timeout", "20", "hi", env=env)
        assert (shown.code, done.code, done.document["text"]) == (0, 0, "Paris is the capital.")
        assert "warning" not in done.err
        assert json.loads(shown.out)["schema"] == "llmswitch/providers/1"
        window = client.hvals(f"llmswitch::window:openai:gpt-4o@127.0.0.1:{vendors.port}/requests")
        assert sum(map(int, window)) == 1, "in whichever step of the window it went out"
