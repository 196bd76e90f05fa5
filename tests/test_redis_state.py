"""The state in a real Redis: what differs from the file."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from llmswitch.errors import ConfigError, StorageError
from llmswitch.redis_state import RedisState, connect
from llmswitch.state import State
from tests.servers.redis import RedisServer, missing

_PASSWORD = "hunter2-of-the-test"


@pytest.fixture
def secured(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """With a password, on TLS alone."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with RedisServer(password=_PASSWORD, tls=True) as server:
        yield server


def put(state: State, key: str, number: int) -> None:
    state.update(key, lambda before: ({"n": number}, None), keep_s=60.0)


def test_namespaces_are_apart(redis_server: RedisServer) -> None:
    url = redis_server.url
    with closing(RedisState(url)) as plain, closing(RedisState(url, "team")) as team, closing(RedisState(url)) as same:
        put(plain, "a", 1)
        put(team, "a", 2)
        assert (plain.read("a"), team.read("a"), same.read("a")) == ({"n": 1}, {"n": 2}, {"n": 1})
        assert (plain.keys(""), team.keys("")) == (["a"], ["a"])
        assert set(plain.client.keys("*")) == {b"llmswitch::a", b"llmswitch:team:a"}
        assert 50_000 < plain.client.pttl("llmswitch::a") <= 60_000


def test_what_is_no_document_is_none(redis_server: RedisServer) -> None:
    with closing(RedisState(redis_server.url)) as state:
        state.client.set("llmswitch::a", b"\xff[")
        assert state.read("a") is None
        put(state, "a", 1)
        assert state.read("a") == {"n": 1}


def test_what_is_no_text_is_removed_and_as_good_as_not_there(redis_server: RedisServer) -> None:
    with closing(RedisState(redis_server.url)) as state:
        state.client.rpush("llmswitch::a", "x")
        assert state.read("a") is None
        state.client.rpush("llmswitch::a", "x")
        put(state, "a", 1)
        assert state.read("a") == {"n": 1}


def test_a_password_that_a_server_repeats_is_not_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(f"-ERR unknown command 'AUTH', with args beginning with: '{_PASSWORD}'\r\n".encode())

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"redis://:{_PASSWORD}@127.0.0.1:{server.getsockname()[1]}/0"
        with closing(RedisState(url)) as state, pytest.raises(StorageError, match="unknown command") as failed:
            state.read("a")
        assert failed.value.message.endswith("beginning with: '***'. Going on without it.")
        thread.join()


def test_a_change_of_somebody_else_in_between_is_not_overwritten(redis_server: RedisServer) -> None:
    with closing(RedisState(redis_server.url)) as state, closing(RedisState(redis_server.url)) as other:
        tries = []

        def add(document: dict[str, int] | None) -> tuple[dict[str, int], int]:
            tries.append(document)
            if len(tries) < 3:
                put(other, "a", 10 * len(tries))
            number = (document or {"n": 0})["n"] + 1
            return {"n": number}, number

        assert state.update("a", add, keep_s=60.0) == 21
        assert tries == [None, {"n": 10}, {"n": 20}]
        assert other.read("a") == {"n": 21}


def test_changes_of_others_are_not_waited_for_without_end(redis_server: RedisServer) -> None:
    now = [0.0]
    with (
        closing(RedisState(redis_server.url, clock=lambda: now[0])) as state,
        closing(RedisState(redis_server.url)) as other,
    ):

        def late(document: dict[str, float] | None) -> tuple[dict[str, float], None]:
            now[0] += 0.3
            other.update("a", lambda before: ({"n": now[0]}, None), keep_s=60.0)
            return {}, None

        with pytest.raises(StorageError, match="others change the same document all the time"):
            state.update("a", late, keep_s=60.0)
        assert 2 < now[0] < 3


def test_tls_and_password_are_given_by_the_address(secured: RedisServer) -> None:
    with closing(RedisState(secured.url)) as state:
        put(state, "a", 1)
        assert state.read("a") == {"n": 1}


@pytest.mark.parametrize(
    "wrong", ["untrusted certificate", "no TLS", "wrong password", "no password", "nobody there", "no such file"]
)
def test_a_redis_that_refuses_is_named_without_its_password(secured: RedisServer, wrong: str) -> None:
    url = {
        "untrusted certificate": secured.url.partition("?")[0],
        "no TLS": secured.url.partition("?")[0].replace("rediss:", "redis:"),
        "wrong password": secured.url.replace(_PASSWORD, f"{_PASSWORD}-not"),
        "no password": secured.url.replace(f":{_PASSWORD}@", ""),
        "nobody there": secured.url.replace(str(secured.port), "1"),
        "no such file": f"{secured.url}.none",
    }[wrong]
    with closing(RedisState(url)) as state:
        for use in (lambda: state.read("a"), lambda: put(state, "a", 1), lambda: state.keys("")):
            with pytest.raises(StorageError, match=r"Redis at 127\.0\.0\.1:\d+ cannot be used: .+\.") as failed:
                use()
            assert _PASSWORD not in str(failed.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://:hunter2@127.0.0.1:6379",
        "127.0.0.1:6379?hunter2",
        "redis://:hunter2@127.0.0.1:port/0",
        "redis://:hunter2@127.0.0.1:6379/0?colour=red",
        "redis://:hunter2@127.0.0.1:6379/0?socket_timeout=hunter2",
        "redis://:hunter2@127.0.0.1:6379/0?socket_timeout=600",
        "redis://:hunter2@127.0.0.1:6379/0?decode_responses=true",
        "rediss://:hunter2@127.0.0.1:6379/0?ssl_cert_reqs=hunter2",
        "redis://:hunter2@[::1",
    ],
)
def test_an_address_that_is_none_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(ConfigError, match=r"REDIS_URL is no address of a Redis: it looks like redis://") as refused:
        connect(url)
    assert "hunter2" not in str(refused.value)
    assert refused.value.__suppress_context__


def test_without_the_extra_the_line_to_type_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigError, match=r"pip install 'llmswitch\[redis\]'"):
        connect("redis://127.0.0.1:6379")


def test_a_redis_that_came_back_is_used_again(redis_server: RedisServer) -> None:
    with closing(RedisState(redis_server.url)) as state:
        put(state, "a", 1)
        redis_server.stop()
        with pytest.raises(StorageError, match="refused"):
            state.read("a")
        redis_server.start()
        assert state.read("a") is None
        put(state, "a", 2)
        # a connection and a script that the new server does not know
        redis_server.restart()
        put(state, "a", 3)
        assert state.read("a") == {"n": 3}


def test_a_redis_that_does_not_answer_is_not_waited_for(redis_server: RedisServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        with closing(RedisState(url)) as state:
            started = time.monotonic()
            with pytest.raises(StorageError, match="Timeout"):
                put(state, "a", 1)
            assert 0.9 < time.monotonic() - started < 2.5
