"""The limiter: who may go, in which order, and what of it survives; real files, processes and a real Redis."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmswitch.errors import RateLimitError, StorageError
from llmswitch.limiter import Limiter, RateLimits, Ticket
from llmswitch.providers.ratelimits import Quota, SeenLimits
from llmswitch.redis_state import RedisState
from llmswitch.shared_state import open_state
from llmswitch.state import FileState, State
from llmswitch.windows import SQLiteWindows
from llmswitch.worker import Worker
from tests.servers.recorder import Handler, Loopback, Seen
from tests.servers.redis import RedisServer

KEY = "openai:m@host"
FOREVER = math.inf
#: what was taken counts for a second more than the window: two in all
WINDOW_S = 1
TWO = RateLimits(requests=2)


@contextmanager
def limiter_on(state: State, *, window_s: int = WINDOW_S) -> Iterator[Limiter]:
    worker: Worker[State] = Worker(state, name="state")
    yield Limiter(worker, clock=time.monotonic, wall=time.time, window_s=window_s)
    worker.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def limiter(path: Path) -> Iterator[Limiter]:
    with limiter_on(FileState(path)) as made:
        yield made


@pytest.fixture(params=["file", "redis"])
def opened(request: pytest.FixtureRequest, path: Path) -> Callable[[], State]:
    """What opens the store that the limiters of one test share, as each process would."""
    if request.param == "file":
        return lambda: FileState(path)
    server: RedisServer = request.getfixturevalue("redis_server")
    return lambda: RedisState(server.url)


async def go(
    limiter: Limiter,
    limits: RateLimits = TWO,
    tokens: int = 0,
    *,
    within: float = FOREVER,
    alternative: bool = False,
    told: list[str] | None = None,
) -> Ticket:
    return await limiter.acquire(
        KEY,
        limits,
        tokens,
        target="openai:m",
        ends=time.monotonic() + within,
        alternative=alternative,
        waiting=lambda seconds, reason: told.append(f"{seconds:.1f} {reason}") if told is not None else None,
    )


def test_what_fits_goes_at_once_and_the_rest_when_its_minute_is_over(opened: Callable[[], State]) -> None:
    async def run() -> list[float]:
        started = time.monotonic()
        with limiter_on(opened()) as one, limiter_on(opened()) as other:
            went = []
            for limiter in (one, other, one, other):
                await go(limiter)
                went.append(time.monotonic() - started)
        return went

    went = asyncio.run(run())
    assert went[1] < 1
    assert all(2 <= later - earlier < 3.5 for earlier, later in zip(went, went[2:], strict=False))


def test_waiting_is_refused_at_once_where_it_does_not_fit_and_nothing_is_left_of_it(limiter: Limiter) -> None:
    async def run() -> None:
        await go(limiter)
        await go(limiter)
        before = time.monotonic()
        with pytest.raises(RateLimitError, match=r"openai:m's limit of 2 requests a minute.* in 2 s, at \d\d:") as one:
            await go(limiter, within=1.5)
        with pytest.raises(RateLimitError) as two:
            await go(limiter, alternative=True)
        assert time.monotonic() - before < 0.5
        assert 1.4 < (one.value.retry_after_s or 0) < 2.2
        assert (two.value.retry_after_s or 9) <= (one.value.retry_after_s or 0)
        await go(limiter, within=2.5)

    asyncio.run(run())


def test_in_a_process_calls_go_in_the_order_in_which_they_came(limiter: Limiter) -> None:
    order: list[int] = []

    async def call(number: int) -> None:
        await go(limiter, RateLimits(requests=100, tokens=10), 9 if number == 0 else 5 if number % 2 else 1)
        order.append(number)

    async def run() -> None:
        await call(0)
        tasks = []
        for number in range(1, 5):
            tasks.append(asyncio.create_task(call(number)))
            await asyncio.sleep(0.01)
        await asyncio.gather(*tasks)

    asyncio.run(run())
    assert order == [0, 1, 2, 3, 4], "the small one at the end must not overtake the large ones"


def test_between_processes_calls_go_in_the_order_in_which_they_came(opened: Callable[[], State]) -> None:
    order: list[str] = []

    async def call(limiter: Limiter, name: str) -> None:
        await go(limiter, RateLimits(requests=1))
        order.append(name)

    async def run() -> None:
        with limiter_on(opened()) as one, limiter_on(opened()) as other:
            await call(one, "first")
            tasks = []
            for limiter, name in ((other, "second"), (one, "third"), (other, "fourth")):
                tasks.append(asyncio.create_task(call(limiter, name)))
                await asyncio.sleep(0.3)
            await asyncio.gather(*tasks)

    asyncio.run(run())
    assert order == ["first", "second", "third", "fourth"]


def test_who_waits_is_told_once_how_long_and_what_for(limiter: Limiter) -> None:
    told: list[str] = []

    async def run() -> None:
        await go(limiter, RateLimits(tokens=100), 80)
        await go(limiter, RateLimits(tokens=100), 30, told=told)

    asyncio.run(run())
    assert len(told) == 1
    assert told[0].endswith("limit of 100 tokens a minute")
    assert 1.5 < float(told[0].split()[0]) < 2.2


def test_a_call_of_more_tokens_than_the_limit_has_a_minute_for_itself(limiter: Limiter) -> None:
    async def run() -> float:
        limits = RateLimits(tokens=100)
        ticket = await go(limiter, limits, 5_000)
        assert ticket.tokens == 100
        with pytest.raises(RateLimitError):
            await go(limiter, limits, 1, within=1)
        before = time.monotonic()
        await go(limiter, limits, 5_000)
        return time.monotonic() - before

    assert 1 < asyncio.run(run()) < 3


def test_what_was_not_used_is_there_for_the_next(limiter: Limiter) -> None:
    async def run() -> None:
        limits = RateLimits(tokens=100)
        limiter.settle(await go(limiter, limits, 90), 10)
        ticket = await go(limiter, limits, 90, within=0.5)
        with pytest.raises(RateLimitError):
            await go(limiter, limits, 1, within=0.5)
        limiter.give_back(ticket)
        await go(limiter, limits, 90, within=0.5)

    asyncio.run(run())


def test_calls_that_end_while_others_go_on_are_settled_with_the_next_call(path: Path) -> None:
    async def run() -> None:
        with limiter_on(FileState(path)) as one, limiter_on(FileState(path)) as other:
            limits = RateLimits(tokens=100)
            long = await go(one, limits, 40)
            one.settle(await go(one, limits, 60), 5)
            await go(one, limits, 50, within=0.5)
            one.settle(long, None)
            with pytest.raises(RateLimitError):
                await go(other, limits, 6, within=0.5)
            await go(other, limits, 5, within=0.5)

    asyncio.run(run())


def test_who_is_cancelled_in_line_holds_up_nobody(limiter: Limiter) -> None:
    async def run() -> float:
        await go(limiter, RateLimits(requests=1))
        first, second = (asyncio.create_task(go(limiter, RateLimits(requests=1))) for _ in range(2))
        await asyncio.sleep(0.2)
        first.cancel()
        started = time.monotonic()
        await second
        assert first.cancelled()
        return time.monotonic() - started

    assert asyncio.run(run()) < 2.5


def test_who_is_cancelled_as_the_turn_comes_gives_it_back(limiter: Limiter) -> None:
    async def run() -> None:
        for _ in range(20):
            task = asyncio.create_task(go(limiter, RateLimits(requests=1)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await go(limiter, RateLimits(requests=1), within=0.5)

    asyncio.run(run())


def test_a_loop_that_ends_without_a_word_leaves_no_place_behind(limiter: Limiter) -> None:
    abandoned = asyncio.new_event_loop()
    abandoned.run_until_complete(go(limiter, RateLimits(requests=1)))
    task = abandoned.create_task(go(limiter, RateLimits(requests=1)))
    abandoned.run_until_complete(asyncio.sleep(0.2))
    coroutine = task.get_coro()
    abandoned.close()

    asyncio.run(asyncio.wait_for(go(limiter, RateLimits(requests=1)), 5))
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # that it is pending is what is tested
    assert coroutine is not None
    coroutine.close()


def test_a_call_that_was_sent_late_counts_from_then(path: Path) -> None:
    moment = 0.0

    async def run() -> None:
        nonlocal moment
        worker: Worker[State] = Worker(FileState(path), name="state")
        limiter = Limiter(worker, clock=lambda: time.monotonic() + moment, wall=time.time, window_s=WINDOW_S)
        limits = RateLimits(requests=1, tokens=10)
        prompt, late = await go(limiter, limits, 5), None
        limiter.sent(prompt)
        at = prompt.requests_at
        await asyncio.sleep(0.3)
        limiter.settle(prompt, 5)
        late = prompt
        moment = 1.0
        limiter.sent(late)
        moment = 0.0
        worker.close()
        assert at is not None
        assert late.requests_at is not None
        assert late.tokens_at is not None
        assert late.requests_at >= at + 3
        assert late.tokens_at >= at + 3

    asyncio.run(run())
    state = FileState(path)
    for kind, units in (("requests", 1), ("tokens", 5)):
        _, kept = SQLiteWindows(state).entries(f"{KEY}/{kind}", 2)
        assert sum(n for _, n in kept) == units
        assert len([n for _, n in kept if n]) == 1
    state.commit()
    state.close()


def test_a_pause_is_kept_by_all_who_share_the_state_and_ends(opened: Callable[[], State]) -> None:
    async def run() -> None:
        with limiter_on(opened()) as one, limiter_on(opened()) as other:
            await go(other, RateLimits())
            one.blocked(KEY, time.time() + 2.5)
            with pytest.raises(RateLimitError, match="pause after too many requests"):
                await go(one, RateLimits(), within=1)
            await asyncio.sleep(1.2)  # what others learn is looked for once a second
            with pytest.raises(RateLimitError, match="pause after too many requests"):
                await go(other, RateLimits(), alternative=True, within=1)
            before = time.monotonic()
            await go(other, RateLimits())
            assert 0.5 < time.monotonic() - before < 2

    asyncio.run(run())


def test_a_vendor_that_wants_to_be_left_alone_for_ever_is_asked_again_after_an_hour(limiter: Limiter) -> None:
    async def run() -> float:
        limiter.blocked(KEY, 1e300)
        with pytest.raises(RateLimitError) as caught:
            await go(limiter, RateLimits(), within=10)
        return caught.value.retry_after_s or 0

    assert 3590 < asyncio.run(run()) <= 3600


def test_learned_limits_count_where_they_are_lower_and_only_what_is_said_is_learned(path: Path) -> None:
    async def run() -> None:
        with limiter_on(FileState(path)) as one:
            one.learn(KEY, SeenLimits(Quota(limit=1), None))
            one.learn(KEY, SeenLimits(None, Quota(remaining=3)))
        with limiter_on(FileState(path)) as other:
            await go(other, RateLimits(requests=50))
            with pytest.raises(RateLimitError, match="limit of 1 request a minute"):
                await go(other, RateLimits(requests=50), within=1)
            with pytest.raises(RateLimitError, match="limit of 1 request a minute"):
                await go(other, RateLimits(), within=1)
            other.learn(KEY, SeenLimits(Quota(limit=3), None))
            await go(other, RateLimits(), within=1)
            with pytest.raises(RateLimitError, match="limit of 2 requests a minute"):
                await go(other, TWO, within=1)

    asyncio.run(run())


@pytest.mark.parametrize(
    "document", [{"requests": "many", "blocked_until": "x"}, {"requests": -1, "tokens": 0}, {"blocked_until": math.inf}]
)
def test_a_damaged_document_is_no_limit(path: Path, document: dict[str, object]) -> None:
    state = FileState(path)
    state.update(f"limit:{KEY}", lambda _: (document, None), keep_s=60)
    state.update(f"line:{KEY}", lambda _: ({"a": [1], "b": ["x", 1, 2, 3], "c": 7}, None), keep_s=60)
    state.commit()
    state.close()

    async def run() -> None:
        with limiter_on(FileState(path)) as limiter:
            assert not (await go(limiter, RateLimits())).counted
            assert (await go(limiter, within=1)).counted

    asyncio.run(run())


def test_a_state_that_fails_lets_calls_through_and_leaves_nobody_in_line() -> None:
    class Broken(FileState):
        def update(self, key: str, change: object, *, keep_s: float) -> object:  # type: ignore[override]  # it fails
            raise StorageError("the disk is gone")

    async def run() -> None:
        with limiter_on(Broken(None)) as limiter:
            await go(limiter)
            await go(limiter)
            assert not (await go(limiter)).counted  # to stand in line is what fails
            limiter.blocked(KEY, time.time() + 9)
            limiter.learn(KEY, SeenLimits(Quota(limit=1)))

    asyncio.run(run())


def test_redis_that_goes_away_loses_no_call_and_limits_go_on_on_this_machine(
    redis_server: RedisServer, path: Path
) -> None:
    warned: list[str] = []

    async def run() -> None:
        with limiter_on(open_state(path, redis_url=redis_server.url, warn=warned.append), window_s=60) as limiter:
            await go(limiter)
            redis_server.stop()
            await go(limiter, within=5)
            await go(limiter, within=5)
            with pytest.raises(RateLimitError):
                await go(limiter, within=5)

    asyncio.run(run())
    assert len(warned) == 1


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
    limit = 8
    with Clocked() as server:
        arguments = [path, url, server.port, limit, WINDOW_S, 4.6, 16]
        ran = subprocess.run(
            [sys.executable, "-c", _HAMMER, *map(str, arguments)], capture_output=True, text=True, timeout=60
        )
        assert ran.returncode == 0, ran.stderr
        came = sorted(server.came)
    assert len(came) >= 2 * limit, "the limit was used up more than once"
    assert all(later - earlier > WINDOW_S for earlier, later in zip(came, came[limit:], strict=False))


#: Takes a place where `already` places are taken, says how that went, and waits to be killed.
_DOOMED = """
import asyncio, sys, time
from pathlib import Path
from llmswitch.limiter import Limiter, RateLimits
from llmswitch.state import FileState
from llmswitch.worker import Worker

async def main():
    limiter = Limiter(Worker(FileState(Path(sys.argv[1])), name="state"), clock=time.monotonic, wall=time.time, window_s=2)
    await limiter.acquire(
        "openai:m@host", RateLimits(requests=1), 0, target="t", ends=float("inf"), alternative=False,
        waiting=lambda seconds, reason: print("waits", flush=True),
    )
    print("goes", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@contextmanager
def doomed(path: Path, *, says: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", _DOOMED, str(path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == says
        yield child
        child.kill()


def test_a_process_killed_in_line_and_one_killed_under_way_hold_up_nobody(path: Path) -> None:
    async def run() -> float:
        with limiter_on(FileState(path), window_s=2) as limiter:
            task = asyncio.create_task(go(limiter, RateLimits(requests=1)))
            await asyncio.sleep(0.3)
            waiting.kill()
            started = time.monotonic()
            await task
            return time.monotonic() - started

    with doomed(path, says="goes") as sent, doomed(path, says="waits") as waiting:
        sent.kill()
        assert asyncio.run(run()) < 8


def test_who_came_first_goes_first_though_it_is_another_process(path: Path) -> None:
    async def run() -> None:
        with limiter_on(FileState(path), window_s=2) as limiter:
            with pytest.raises(RateLimitError) as caught:
                await go(limiter, RateLimits(requests=1), within=4)
            assert 4 < (caught.value.retry_after_s or 0) < 6.5, "a whole window more, for the one before"

    with doomed(path, says="goes"), doomed(path, says="waits"):
        asyncio.run(run())
