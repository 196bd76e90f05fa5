"""Several targets asked the same, against vendors on loopback."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from llmswitch.errors import ConfigError
from llmswitch.profiles import Settings, load_settings
from llmswitch.runs.ask import Services
from llmswitch.runs.call import Question
from llmswitch.runs.compare import Comparison, Job, compare, settle_calls
from llmswitch.runs.judge import Asked
from llmswitch.runs.sampling import Sample
from llmswitch.types import Message, Parameters
from tests.servers.vendors import Behaviour, Vendors

FOUR = ("gemini", "openai", "claude", "team")


class Watcher:
    """Keeps what it is told; `on_text` is called with every piece."""

    def __init__(self, on_text: asyncio.Event | None = None) -> None:
        self.events: list[tuple[str, int]] = []
        self.on_text = on_text

    def started(self, index: int) -> None:
        self.events.append(("started", index))

    def text(self, index: int, piece: str) -> None:
        self.events.append(("text", index))
        if self.on_text is not None:
            self.on_text.set()

    def restarted(self, index: int) -> None:
        self.events.append(("restarted", index))

    def told(self, index: int, line: str) -> None:
        self.events.append(("told", index))

    def ended(self, index: int, sample: Sample) -> None:
        self.events.append(("ended", index))


def settings_of(home: Path, environ: dict[str, str], warned: list[str] | None = None) -> Settings:
    warn = (warned if warned is not None else []).append
    return load_settings(cwd=home.parent, environ={"LLMSWITCH_HOME": str(home), **environ}, warn=warn)


def services_of(settings: Settings) -> Services:
    return Services.from_settings(settings, warn=settings.warn, clock=time.monotonic, wall=time.time)


def question(text: str = "Capital of France?", **parameters: float) -> Question:
    return Question(messages=(Message("user", text),), parameters=Parameters(**parameters))  # type: ignore[arg-type]  # a test's shorthand


def job(settings: Settings, named: Sequence[str], repeats: int = 1, seed: int = 1) -> Job:
    asked = question()
    return Job(Asked("Capital of France?"), settle_calls(settings, asked, named, settings.warn), repeats, seed)


def run(settings: Settings, work: Job, watcher: Watcher | None = None) -> Comparison:
    return asyncio.run(compare(work, services_of(settings), watcher or Watcher()))


def test_every_target_answers_and_results_are_in_their_order(home: Path) -> None:
    with Vendors({"gpt-4o": Behaviour("slow one", first_s=0.2)}) as vendors:
        settings = settings_of(home, vendors.environ)
        comparison = run(settings, job(settings, FOUR))
    assert comparison.targets == FOUR
    assert [sample.target for sample in comparison.results] == list(FOUR)
    texts = [sample.response.text for sample in comparison.results if sample.response]
    assert texts == ["Paris is the capital.", "slow one", "Paris is the capital.", "Paris is the capital."]
    assert not comparison.interrupted


def test_one_that_fails_and_one_that_hangs_are_samples_and_hold_up_no_other(home: Path) -> None:
    with Vendors({"gpt-4o": Behaviour(status=500), "claude-sonnet-4-5": Behaviour(hangs=True)}) as vendors:
        settings = settings_of(home, {**vendors.environ, "LLM_TIMEOUT": "1"})
        comparison = run(settings, job(settings, FOUR))
    kinds = [sample.error.kind if sample.error else None for sample in comparison.results]
    assert kinds == [None, "server", "timeout", None]
    for sample in comparison.results:
        assert sample.response is None or sample.response.duration_s < 0.9


def test_no_clock_starts_before_every_target_is_ready(home: Path) -> None:
    """The import of one SDK, which takes a second, must not be in the time of another target."""
    with Vendors() as vendors:
        settings = settings_of(home, vendors.environ)
        watcher = Watcher()
        comparison = run(settings, job(settings, FOUR), watcher)
    first_ended = watcher.events.index(next(event for event in watcher.events if event[0] == "ended"))
    assert {event for event in watcher.events[:first_ended] if event[0] == "started"} == {
        ("started", index) for index in range(4)
    }
    assert all(sample.response is not None for sample in comparison.results)


def test_repeats_ask_one_call_at_a_time_in_the_seeds_order_and_leave_the_cache_alone(home: Path) -> None:
    with Vendors({"gpt-4o": Behaviour("a b c")}) as vendors:
        settings = settings_of(home, vendors.environ)
        work = job(settings, ("openai", "team"), repeats=4, seed=3)
        watcher = Watcher()
        comparison = run(settings, work, watcher)
        asked = list(vendors.asked)
        again = run(settings, work)
        assert vendors.asked[8:] == asked
    assert len(comparison.samples) == len(again.samples) == 8
    assert [sample.repeat for sample in comparison.of("team")] == [0, 1, 2, 3]
    assert not any(sample.response.cached for sample in again.samples if sample.response)
    running = 0
    for kind, _ in watcher.events:
        running += {"started": 1, "ended": -1}.get(kind, 0)
        assert running <= 1
    attempts = [sample.response.attempts for sample in comparison.samples if sample.response]
    assert all(len(attempt) == 1 for attempt in attempts)


def test_what_is_in_the_cache_is_not_asked_again(home: Path) -> None:
    with Vendors() as vendors:
        settings = settings_of(home, vendors.environ)
        run(settings, job(settings, ("openai",)))
        comparison = run(settings, job(settings, ("openai", "team")))
        assert vendors.asked == ["gpt-4o", "some-model"]
    assert [sample.response.cached for sample in comparison.results if sample.response] == [True, False]


def test_a_ledger_that_another_process_has_locked_holds_up_no_event_loop(home: Path) -> None:
    async def beats() -> float:
        longest = 0.0
        while True:
            started = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - started)
            stalls[:] = [longest]

    async def beside(settings: Settings) -> Comparison:
        heart = asyncio.create_task(beats())
        await asyncio.sleep(0.05)
        release.start()
        try:
            return await compare(job(settings, ("openai",)), services_of(settings), Watcher())
        finally:
            await asyncio.sleep(0.05)
            heart.cancel()

    stalls = [0.0]
    with Vendors() as vendors:
        settings = settings_of(home, vendors.environ)
        run(settings, job(settings, ("openai",)))
        with closing(sqlite3.connect(settings.paths.ledger, isolation_level=None, check_same_thread=False)) as other:
            other.execute("BEGIN IMMEDIATE")
            release = threading.Timer(1.0, other.execute, ["COMMIT"])
            comparison = asyncio.run(beside(settings))
            release.join()
    assert [sample.response.cached for sample in comparison.results if sample.response] == [True]
    assert stalls[0] < 0.5


def test_cancelled_it_keeps_what_finished_and_marks_the_rest(home: Path) -> None:
    slow = Behaviour("one two three four five six seven eight nine ten", each_s=0.3)

    async def interrupted(settings: Settings) -> Comparison:
        came = asyncio.Event()

        class Ends(Watcher):
            def ended(self, index: int, sample: Sample) -> None:
                came.set()

        task = asyncio.create_task(compare(job(settings, FOUR), services_of(settings), Ends()))
        await came.wait()
        await asyncio.sleep(0.4)
        task.cancel()
        return await task

    with Vendors({"gpt-4o": slow}) as vendors:
        comparison = asyncio.run(interrupted(settings_of(home, vendors.environ)))
    assert comparison.interrupted
    openai = comparison.of("openai")[0]
    assert openai.error is not None
    assert openai.error.kind == "interrupted"
    assert openai.error.partial_text.startswith("one")
    assert [sample.response is not None for sample in comparison.results] == [True, False, True, True]


def test_without_names_every_configured_provider_is_asked(home: Path) -> None:
    with Vendors() as vendors:
        settings = settings_of(home, vendors.environ)
        calls = settle_calls(settings, question(), (), settings.warn)
    assert [call.target.text for call in calls] == ["gemini", "openai", "anthropic", "team"]


def test_without_names_the_settings_target_comes_first_and_once(home: Path) -> None:
    environ = {"LLM_PROVIDER": "claude:claude-x", "ANTHROPIC_API_KEY": "k", "OPENAI_API_KEY": "k"}
    settings = settings_of(home, environ)
    calls = settle_calls(settings, question(), (), settings.warn)
    assert [call.target.text for call in calls] == ["claude:claude-x", "openai"]


def test_one_that_nobody_named_and_that_cannot_be_asked_is_left_out_aloud(home: Path) -> None:
    warned: list[str] = []
    settings = settings_of(home, {"OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": "http://127.0.0.1:9"}, warned)
    calls = settle_calls(settings, question(), (), settings.warn)
    assert [call.target.text for call in calls] == ["openai"]
    assert any("azure" in line and "AZURE_OPENAI" in line for line in warned)


def test_one_that_was_named_and_cannot_be_asked_stops_it_all(home: Path) -> None:
    settings = settings_of(home, {"OPENAI_API_KEY": "k"})
    with pytest.raises(ConfigError, match="ANTHROPIC_API_KEY"):
        settle_calls(settings, question(), ("openai", "claude"), settings.warn)


def test_nothing_configured_names_what_to_set(home: Path) -> None:
    settings = settings_of(home, {})
    with pytest.raises(ConfigError, match=r"OPENAI_API_KEY.*-t"):
        settle_calls(settings, question(), (), settings.warn)


@pytest.mark.parametrize(
    "named",
    [
        ("openai", "openai"),
        ("claude", "anthropic"),
        ("openai", "openai:gpt-6-luna"),
        ("openai?seed=1", "openai?seed=01"),
    ],
)
def test_the_same_call_twice_is_refused(home: Path, named: tuple[str, ...]) -> None:
    settings = settings_of(home, {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k", "ANTHROPIC_MODEL": "m"})
    with pytest.raises(ConfigError, match="--repeats"):
        settle_calls(settings, question(), named, settings.warn)


def test_a_targets_own_parameter_goes_before_the_flag_for_all(home: Path) -> None:
    settings = settings_of(home, {"OPENAI_API_KEY": "k"})
    asked = question(temperature=0.5, max_tokens=9)
    calls = settle_calls(settings, asked, ("openai?temperature=0", "openai?temperature=1", "openai"), settings.warn)
    assert [call.request.parameters.temperature for call in calls] == [0, 1, 0.5]
    assert {call.request.parameters.max_tokens for call in calls} == {9}
