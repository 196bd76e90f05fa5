"""The limiter between real processes: sixteen at one limit, and some of them killed."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmswitch.errors import RateLimitError
from llmswitch.limiter import Limiter, RateLimits, Ticket
from llmswitch.state import FileState, State
from llmswitch.worker import Worker
from tests.servers.recorder import Handler, Loopback, Seen


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def worker(path: Path) -> Iterator[Worker[State]]:
    made: Worker[State] = Worker(FileState(path), name="state")
    yield made
    made.close()


async def go(limiter: Limiter, *, within: float = math.inf) -> Ticket:
    """One request where one a window may go."""
    return await limiter.acquire(
        "openai:m@host",
        RateLimits(requests=1),
        0,
        target="openai:m",
        ends=time.monotonic() + within,
        alternative=False,
        waiting=lambda seconds, reason: None,
    )


class Clocked(Loopback):
    """Writes down when each request came."""

    def __init__(self) -> None:
        super().__init__()
        self.came: list[float] = []

    def respond(self, seen: Seen, out: Handler) -> None:
        self.came.append(time.monotonic())
        out.start(200, {"content-length": "0"})


#: Forks itself `children` times, each of which asks for a place again and again and at once tells the server.
_HAMMER = """
import asyncio, http.client, os, sys, time
from pathlib import Path
import limits.strategies, redis
from llmswitch.limiter import Limiter, RateLimits
from llmswitch.shared_state import open_state
from llmswitch.worker import Worker

path, redis_url, port, limit, window_s, seconds, children = sys.argv[1:]

async def hammer(limiter):
    while True:
        ticket = await limiter.acquire(
            "k", RateLimits(requests=int(limit)), 0, target="t", ends=float("inf"), alternative=False,
            waiting=lambda seconds, reason: None,
        )
        connection = http.client.HTTPConnection("127.0.0.1", int(port))
        connection.request("POST", "/", b"")
        limiter.sent(ticket)
        await asyncio.to_thread(connection.getresponse)
        connection.close()
        limiter.settle(ticket, None)

async def child():
    warned = []
    worker = Worker(open_state(Path(path), redis_url=redis_url or None, warn=warned.append), name="state")
    limiter = Limiter(worker, clock=time.monotonic, wall=time.time, window_s=int(window_s))
    tasks = [asyncio.create_task(hammer(limiter)) for _ in range(2)]
    done, _ = await asyncio.wait(tasks, timeout=float(seconds), return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    worker.close()
    assert not done and not warned, (done, warned)

pids = []
for _ in range(int(children)):
    pid = os.fork()
    if not pid:
        asyncio.run(child())
        os._exit(0)
    pids.append(pid)
sys.exit(any(os.waitpid(pid, 0)[1] for pid in pids))
"""


@pytest.mark.parametrize("shared", ["file", "redis"])
def test_sixteen_processes_never_send_more_than_the_limit_in_any_window(
    shared: str, path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("redis_server").url if shared == "redis" else ""
    limit, window_s = 8, 1
    with Clocked() as server:
        arguments = [path, url, server.port, limit, window_s, 4.6, 16]
        ran = subprocess.run(
            [sys.executable, "-c", _HAMMER, *map(str, arguments)], check=False, stderr=subprocess.PIPE, timeout=60
        )
        assert ran.returncode == 0, ran.stderr.decode()
        came = sorted(server.came)
    assert len(came) >= 2 * limit, "the limit was used up more than once"
    assert all(later - earlier > window_s for earlier, later in zip(came, came[limit:], strict=False))


#: Wants the one place there is, says whether it waits or goes, and then waits to be killed.
_DOOMED = """
import asyncio, sys, time
from pathlib import Path
from llmswitch.limiter import Limiter, RateLimits
from llmswitch.state import FileState
from llmswitch.worker import Worker

async def main():
    worker = Worker(FileState(Path(sys.argv[1])), name="state")
    limiter = Limiter(worker, clock=time.monotonic, wall=time.time, window_s=int(sys.argv[2]))
    await limiter.acquire(
        "openai:m@host", RateLimits(requests=1), 0, target="t", ends=float("inf"), alternative=False,
        waiting=lambda seconds, reason: print("waits", flush=True),
    )
    print("goes", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@contextmanager
def doomed(path: Path, window_s: int, *, says: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", _DOOMED, str(path), str(window_s)], stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline().strip() == says
            yield child
        finally:
            child.kill()


def test_a_process_killed_in_line_and_one_killed_under_way_hold_up_nobody(path: Path, worker: Worker[State]) -> None:
    async def run() -> float:
        limiter = Limiter(worker, clock=time.monotonic, wall=time.time, window_s=2)
        task = asyncio.create_task(go(limiter))
        await asyncio.sleep(0.3)
        waiting.kill()
        started = time.monotonic()
        await task
        return time.monotonic() - started

    with doomed(path, 2, says="goes") as sent, doomed(path, 2, says="waits") as waiting:
        sent.kill()
        assert asyncio.run(run()) < 8


def test_who_came_first_goes_first_though_it_is_another_process(path: Path, worker: Worker[State]) -> None:
    async def run() -> None:
        limiter = Limiter(worker, clock=time.monotonic, wall=time.time)
        await asyncio.sleep(0.2)  # who comes within a tenth of a second comes at once
        with pytest.raises(RateLimitError) as caught:
            await go(limiter, within=90)
        assert 90 < (caught.value.retry_after_s or 0) < 123, "a whole minute more, for the one before"

    with doomed(path, 60, says="goes"), doomed(path, 60, says="waits"):
        asyncio.run(run())
