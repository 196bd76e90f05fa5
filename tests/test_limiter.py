"""The limiter: who may go, in which order, and what of it survives; real files, processes and a real Redis."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from llmswitch.errors import RateLimitError, StorageError
from llmswitch.limiter import Limiter, RateLimits, Ticket
from llmswitch.providers.ratelimits import Quota, SeenLimits
from llmswitch.redis_state import RedisState
from llmswitch.shared_state import open_state
from llmswitch.state import Document, FileState, State
from llmswitch.windows import SQLiteWindows
from llmswitch.worker import Worker
from tests.servers.redis import RedisServer

T = TypeVar("T")
KEY = "openai:m@host"
FOREVER = math.inf
#: what was taken counts for a second more than the window: for one, in these tests
WINDOW_S = 0
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
    assert all(1 <= later - earlier < 2.5 for earlier, later in zip(went, went[2:], strict=False))


def test_waiting_is_refused_at_once_where_it_does_not_fit_and_nothing_is_left_of_it(path: Path) -> None:
    async def run(limiter: Limiter) -> None:
        await go(limiter)
        await go(limiter)
        before = time.monotonic()
        with pytest.raises(
            RateLimitError, match=r"openai:m's limit of 2 requests a minute.* in [23] s, at \d\d:"
        ) as one:
            await go(limiter, within=1.5)
        with pytest.raises(RateLimitError) as two:
            await go(limiter, alternative=True)
        assert time.monotonic() - before < 0.5
        assert 1.4 < (one.value.retry_after_s or 0) < 2.2
        assert (two.value.retry_after_s or 9) <= (one.value.retry_after_s or 0)
        await go(limiter, within=2.5)

    with limiter_on(FileState(path), window_s=1) as limiter:
        asyncio.run(run(limiter))


def test_in_a_process_calls_go_in_the_order_in_which_they_came(limiter: Limiter) -> None:
    order: list[int] = []

    async def call(number: int) -> None:
        await go(limiter, RateLimits(requests=100, tokens=10), (9, 8, 1, 1)[number])
        order.append(number)

    async def run() -> None:
        await call(0)
        tasks = []
        for number in range(1, 4):
            tasks.append(asyncio.create_task(call(number)))
            await asyncio.sleep(0.01)
        await asyncio.gather(*tasks)

    asyncio.run(run())
    assert order == [0, 1, 2, 3], "the small ones, which fit at once, must not overtake the large one"


def test_between_processes_calls_go_in_the_order_in_which_they_came(opened: Callable[[], State]) -> None:
    order: list[str] = []

    async def call(limiter: Limiter, name: str) -> None:
        await go(limiter, RateLimits(requests=1))
        order.append(name)

    async def run() -> None:
        with limiter_on(opened()) as one, limiter_on(opened()) as other:
            await call(one, "first")
            tasks = []
            for limiter, name in ((other, "second"), (one, "third")):
                tasks.append(asyncio.create_task(call(limiter, name)))
                await asyncio.sleep(0.3)
            await asyncio.gather(*tasks)

    asyncio.run(run())
    assert order == ["first", "second", "third"]


def test_who_waits_is_told_once_how_long_and_what_for(limiter: Limiter) -> None:
    told: list[str] = []

    async def run() -> None:
        await go(limiter, RateLimits(tokens=100), 80)
        await go(limiter, RateLimits(tokens=100), 30, told=told)

    asyncio.run(run())
    assert len(told) == 1
    assert told[0].endswith("limit of 100 tokens a minute")
    assert 0.7 < float(told[0].split()[0]) < 1.2


def test_a_call_of_more_tokens_than_the_limit_has_a_minute_for_itself(limiter: Limiter) -> None:
    async def run() -> float:
        limits = RateLimits(tokens=100)
        ticket = await go(limiter, limits, 5_000)
        assert ticket.tokens == 100
        with pytest.raises(RateLimitError):
            await go(limiter, limits, 1, within=0.4)
        before = time.monotonic()
        await go(limiter, limits, 5_000)
        return time.monotonic() - before

    assert 0.7 < asyncio.run(run()) < 2


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

    assert asyncio.run(run()) < 2


def test_who_is_cancelled_as_the_turn_comes_gives_it_back(path: Path) -> None:
    async def run() -> None:
        with limiter_on(FileState(path), window_s=60) as limiter:
            for _ in range(20):
                task = asyncio.create_task(go(limiter, RateLimits(requests=1)))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            ends = time.monotonic() + 10
            while True:  # what was given back is there once the worker got to it
                try:
                    await go(limiter, RateLimits(requests=1), within=0.5)
                except RateLimitError:
                    assert time.monotonic() < ends
                    await asyncio.sleep(0.01)
                else:
                    return

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
        _, kept = SQLiteWindows(state).entries(f"{KEY}/{kind}", 60)
        assert sum(n for _, n in kept) == units
        assert len([n for _, n in kept if n]) == 1
    state.commit()
    state.close()


def test_a_pause_is_kept_by_all_who_share_the_state_and_ends(opened: Callable[[], State]) -> None:
    async def run() -> None:
        with limiter_on(opened()) as one, limiter_on(opened()) as other:
            await go(other, RateLimits())
            one.blocked(KEY, time.time() + 1.8)
            with pytest.raises(RateLimitError, match="pause after too many requests"):
                await go(one, RateLimits(), within=1)
            await asyncio.sleep(1.05)  # what others learn is looked for once a second
            with pytest.raises(RateLimitError, match="pause after too many requests"):
                await go(other, RateLimits(), within=0.2)
            before = time.monotonic()
            await go(other, RateLimits())
            assert 0.3 < time.monotonic() - before < 2

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
    "document",
    [
        {"requests": "many", "blocked_until": "x"},
        {"requests": -1, "tokens": 0},
        {"requests": True, "tokens": True},
        {"blocked_until": math.inf},
        {"blocked_until": 1e18},
        {"blocked_until": 10**400},
    ],
)
def test_a_damaged_document_is_no_limit(path: Path, document: dict[str, object]) -> None:
    state = FileState(path)
    state.update(f"limit:{KEY}", lambda _: (document, None), keep_s=60)
    state.update(
        f"line:{KEY}", lambda _: ({"a": [1], "b": ["x", 1, 2, 3], "c": 7, "d": [0, 1e18, 5, 5]}, None), keep_s=60
    )
    state.commit()
    state.close()

    async def run() -> None:
        with limiter_on(FileState(path)) as limiter:
            assert not (await go(limiter, RateLimits())).counted
            assert (await go(limiter, within=1)).counted

    asyncio.run(run())


def test_a_state_that_fails_lets_calls_through_and_leaves_nobody_in_line() -> None:
    class Broken(FileState):
        def update(
            self, key: str, change: Callable[[Document | None], tuple[Document | None, T]], *, keep_s: float
        ) -> T:
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
