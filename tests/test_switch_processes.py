"""The whole Switch in many processes: one budget, one limit, some of them killed, and Redis gone in the middle."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

import llmswitch
from llmswitch import Switch, redis_cache, shared_state
from llmswitch.circuit import Circuit
from llmswitch.errors import CircuitOpenError, LLMSwitchError, ServerError
from llmswitch.ledger import from_pico
from llmswitch.limiter import Limiter
from llmswitch.redis_state import connect
from llmswitch.runs import shared
from llmswitch.state import FileState
from tests.servers.recorder import Handler, Seen
from tests.servers.redis import RedisServer
from tests.servers.vendors import Behaviour, Vendors

_ANSWER = Behaviour("word " * 100, first_s=0.02)
#: what one such answer costs, at 2.50 and 10 USD a million tokens of gpt-4o
_PRICE = Decimal("0.001025")


class Cashier(Vendors):
    """Writes down when each request came, and what it has billed: every tenth request fails."""

    def __init__(self) -> None:
        super().__init__({"gpt-4o": lambda seen: Behaviour(status=500) if len(self.seen) % 10 == 0 else _ANSWER})
        self.came: list[float] = []

    def respond(self, seen: Seen, out: Handler) -> None:
        self.came.append(time.monotonic())
        super().respond(seen, out)


#: Forks itself 16 times; each asks with two tasks until there is no budget left, or a file 'stop'; `killed` of them
#: die on the way.
_MANY = """
import asyncio, functools, os, signal, sys, time
from pathlib import Path
import diskcache, limits.strategies, openai.resources.chat, redis  # once, and not sixteen times
import llmswitch.providers.openai, llmswitch.runs.stack
from llmswitch.pricing import load_price_list
from llmswitch import BudgetError, LLMSwitchError, Message, Parameters, Question, Switch
from llmswitch.limiter import Limiter
from llmswitch.runs import shared

killed = int(sys.argv[1])
shared.Limiter = functools.partial(Limiter, window_s=1)
load_price_list()

async def ask(switch, number, wrong):
    while True:
        messages = (Message("user", f"{number} {time.monotonic_ns()}"),)
        question = Question(messages, parameters=Parameters(max_tokens=100))
        try:
            await switch.ask(question)
        except BudgetError:
            return
        except LLMSwitchError as error:
            if error.kind != "server":
                wrong.append(str(error))

async def child(number):
    wrong = []
    async with Switch.from_profile(cwd=Path.cwd(), warn=wrong.append) as switch:
        if number < killed:
            asyncio.get_running_loop().call_later(0.8 + number / 4, os.kill, os.getpid(), signal.SIGKILL)
        asking = [asyncio.create_task(ask(switch, number, wrong)) for _ in range(2)]
        while not Path("stop").exists() and not all(task.done() for task in asking):
            await asyncio.sleep(0.05)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    if wrong:
        sys.exit(str(wrong))

pids = []
for number in range(16):
    pid = os.fork()
    if not pid:
        asyncio.run(child(number))
        os._exit(0)
    pids.append(pid)
ended = [os.waitpid(pid, 0)[1] for pid in pids]
sys.exit(sorted(ended) != [0] * (16 - killed) + [signal.SIGKILL] * killed)
"""


def environ(server: Vendors, home: Path, **more: str) -> dict[str, str]:
    python = str(Path(llmswitch.__file__).parents[1])
    known = {"PATH": os.environ["PATH"], "PYTHONPATH": python, "LLMSWITCH_HOME": str(home), "LLM_PROVIDER": "openai"}
    return {**server.environ, **known, **more}


@contextmanager
def many(server: Vendors, home: Path, folder: Path, killed: int, **more: str) -> Iterator[None]:
    """Sixteen processes while the block runs; then they come to their end."""
    command, env = [sys.executable, "-c", _MANY, str(killed)], environ(server, home, **more)
    with subprocess.Popen(
        command, env=env, cwd=folder, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield
            assert process.communicate(timeout=60)[1] == ""
            assert process.returncode == 0
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def ledger(home: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(home / "data" / "ledger.db", isolation_level=None)) as connection:
        yield connection


def test_16_processes_some_of_them_killed_spend_no_cent_more_than_one_budget(home: Path, tmp_path: Path) -> None:
    budget = Decimal("0.04")
    with Cashier() as server:
        with many(server, home, tmp_path, 3, LLM_BUDGET_DAILY=str(budget), LLM_TIMEOUT="50"):
            pass
        billed = _PRICE * sum(number % 10 != 0 for number in range(1, len(server.seen) + 1))
        with ledger(home) as kept:
            ((spent,),) = kept.execute("SELECT sum(cost_pico) FROM calls")
            ((held, left),) = kept.execute("SELECT coalesce(sum(pico), 0), count(*) FROM reservations")
            assert billed <= from_pico(spent + held) <= budget, "what may be billed has been reserved"
            assert billed > budget * 8 // 10, "and the budget was not left unused"
            assert left <= 6, "two tasks of each process that was killed"
            kept.execute("UPDATE reservations SET lease_until = lease_until - 60")

        async def after() -> None:
            again = environ(server, home, LLM_MAX_RETRIES="1")  # where it is the tenth, which fails
            async with Switch.from_profile(cwd=tmp_path, environ=again) as switch:
                await switch.ask("and now?")

        asyncio.run(after())
        with ledger(home) as kept:
            assert kept.execute("SELECT count(*) FROM reservations").fetchone() == (0,)
            found = kept.execute("SELECT count(*) FROM calls WHERE finish_reason = 'interrupted' AND cost_exact = 0")
            assert found.fetchone() == (left,)


@pytest.mark.parametrize("where", ["file", "redis"])
def test_16_processes_some_of_them_killed_never_exceed_one_limit_as_the_server_sees_it(
    where: str, home: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    more = {"REDIS_URL": request.getfixturevalue("redis_server").url} if where == "redis" else {}
    limit, window_s = 8, 1
    with Cashier() as server:
        with many(server, home, tmp_path, 2, OPENAI_RPM=str(limit), CACHE_ENABLED="no", **more):
            until(lambda: len(server.came) > 2 * limit, within_s=60)
            (tmp_path / "stop").touch()
        came = sorted(server.came)
    assert all(later - earlier > window_s for earlier, later in zip(came, came[limit:], strict=False))


# ---------------------------------------------------------------- killed in the middle

#: Asks once, its limit's window short, and says what it waits for.
_ONE = """
import asyncio, functools, sys
from pathlib import Path
from llmswitch import Switch
from llmswitch.limiter import Limiter
from llmswitch.runs import shared
shared.Limiter = functools.partial(Limiter, window_s=8)

async def main():
    async with Switch.from_profile(cwd=Path.cwd(), use_cache=False) as switch:
        print("asks", flush=True)
        await switch.ask("hi")

asyncio.run(main())
"""


@contextmanager
def one(env: dict[str, str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", _ONE], env=env, cwd=folder, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "asks\n"
            yield child
        finally:
            child.kill()


def until(met: Callable[[], object], within_s: float = 20) -> None:
    ends = time.monotonic() + within_s
    while not met():
        assert time.monotonic() < ends
        time.sleep(0.01)


@pytest.fixture
def slow_once() -> Iterator[Vendors]:
    """The first request is not answered for long."""
    with Vendors({"gpt-4o": lambda seen: Behaviour(first_s=30.0 if len(server.asked) == 1 else 0.0)}) as server:
        yield server


def test_a_process_killed_under_way_and_one_killed_in_line_hold_up_no_call(
    slow_once: Vendors, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = environ(slow_once, home, OPENAI_RPM="1")
    # longer than a process takes to get in line on a slow machine
    monkeypatch.setattr(shared, "Limiter", partial(Limiter, window_s=8))

    async def ask() -> None:
        async with Switch.from_profile(cwd=tmp_path, environ=env, use_cache=False) as switch:
            await switch.ask("hi")

    def in_line() -> list[str]:
        with closing(FileState(home / "cache" / "state.db")) as state:
            return state.keys("line:")

    with one(env, tmp_path) as under_way:
        until(lambda: slow_once.asked)
        with one(env, tmp_path) as waiting:
            until(in_line)
            under_way.kill()
            waiting.kill()
            started = time.monotonic()
            asyncio.run(ask())
            assert time.monotonic() - started < 16
    assert len(slow_once.asked) == 2


def test_a_probe_that_was_killed_lets_the_next_one_probe(slow_once: Vendors, home: Path, tmp_path: Path) -> None:
    env, key = environ(slow_once, home), f"openai:gpt-4o@127.0.0.1:{slow_once.port}"

    def note(change: Callable[[Circuit], Circuit]) -> Circuit:
        with closing(FileState(home / "cache" / "state.db")) as state:
            now = time.time()
            circuit = state.update(
                f"circuit:{key}",
                lambda before: ((after := change(Circuit.of(before, now))).document(), after),
                keep_s=600.0,
            )
            state.commit()
            return circuit

    async def ask() -> None:
        async with Switch.from_profile(cwd=tmp_path, environ=env, use_cache=False) as switch:
            await switch.ask("hi")

    note(lambda circuit: Circuit(failures=5, open_s=30.0, open_until=time.time() - 1))
    with one(env, tmp_path) as probe:
        until(lambda: slow_once.asked)
        with pytest.raises(CircuitOpenError):
            asyncio.run(ask())
        probe.kill()
    note(lambda circuit: circuit._replace(probe_until=circuit.probe_until - 31))  # as if its lease were over
    asyncio.run(ask())
    assert len(slow_once.asked) == 2
    assert note(lambda circuit: circuit).state(time.time()) == "closed"


# ---------------------------------------------------------------- Redis


def kinds(client: Redis) -> set[bytes]:
    """Of what is shared."""
    found: Any = client.keys("llmswitch::*")
    return {name.split(b":")[2] for name in found}


def test_redis_stopped_started_and_flushed_under_running_calls_costs_one_warning_and_no_call(
    home: Path, tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_state, "_RECOVERY_S", 0.3)
    monkeypatch.setattr(redis_cache, "_RECOVERY_S", 0.3)
    told, failed, answered = list[str](), list[LLMSwitchError](), list[str]()

    async def ask(switch: Switch, number: int) -> None:
        for turn in range(10_000):
            try:
                answered.append((await switch.ask(f"{number} {turn}")).text)
            except LLMSwitchError as error:
                failed.append(error)

    async def more() -> None:
        wanted = len(answered) + 12
        await asyncio.to_thread(until, lambda: len(answered) >= wanted or failed)

    async def main(server: Vendors) -> None:
        env = environ(server, home, REDIS_URL=redis_server.url, OPENAI_RPM="1000000")
        async with Switch.from_profile(cwd=tmp_path, environ=env, warn=told.append) as switch:
            asking = [asyncio.create_task(ask(switch, number)) for number in range(6)]
            await more()
            assert told == []
            await asyncio.to_thread(redis_server.stop)
            await more()
            await asyncio.to_thread(redis_server.start)
            with closing(connect(redis_server.url)) as client:
                for _ in range(2):
                    await asyncio.sleep(0.5)
                    await more()
                    with pytest.raises(ServerError):
                        await switch.ask("?", target="openai:fails")
                    await asyncio.to_thread(until, lambda: kinds(client) >= {b"answer", b"window", b"circuit"})
                    client.flushall()
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    with Vendors({"fails": Behaviour(status=500)}) as server:
        asyncio.run(main(server))
    assert failed == []
    assert len(told) == 1
    assert told[0].startswith(f"Redis at 127.0.0.1:{redis_server.port} cannot be used: ")


@pytest.mark.parametrize("trouble", ["full", "hangs", "replica"])
def test_a_redis_in_trouble_costs_one_warning_and_no_call(
    trouble: str, home: Path, tmp_path: Path, redis_server: RedisServer
) -> None:
    told = list[str]()
    env: dict[str, str] = {"REDIS_URL": redis_server.url, "OPENAI_RPM": "1000"}

    async def main(server: Vendors) -> float:
        known = environ(server, home, **env)
        async with Switch.from_profile(cwd=tmp_path, environ=known, warn=told.append) as switch:
            started = time.monotonic()
            await asyncio.gather(*(switch.ask(str(number)) for number in range(20)))
            return time.monotonic() - started

    with Vendors() as server, closing(connect(redis_server.url)) as client:
        process = client.info("server")["process_id"]
        if trouble == "full":
            client.config_set("maxmemory", "1")
        elif trouble == "replica":
            client.replicaof("127.0.0.1", "1")
        else:
            os.kill(process, signal.SIGSTOP)
        try:
            took = asyncio.run(main(server))
        finally:
            os.kill(process, signal.SIGCONT)
    assert took < 8, "a second for the cache and one for the rest, not one for each call"
    assert len(told) == 1
    assert "script" not in told[0]
