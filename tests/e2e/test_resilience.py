"""llmock breaks every vendor's answers in every way it knows, and judges, strictly, how the switch copes.

A stream fault needs a stream, so those are streamed alone; all others are asked for both ways. What has been shown
cannot be taken back, so it is `Switch.ask` that asks here, and `ask --json`, where a broken stream is asked for again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import pytest
from llmock.journal import RequestRecord
from llmock.pytest_plugin import LLMock
from llmock.scenarios import Behavior, Delay, Fail, Match, Reply, SlowFirstToken, StreamFault
from llmock.testing import LLMockServer

from llmswitch import Message, Question, Response, Switch
from llmswitch.errors import LLMSwitchError
from tests.e2e.conftest import SETUPS, Command

PROVIDERS = ("gemini", "openai", "anthropic", "team")
#: each asked in one piece and streamed, and the model to ask for: no two calls are the same to llmock
BOTH = [(provider, stream, f"{provider}-{stream}") for provider in PROVIDERS for stream in (False, True)]
TEXT = "The capital of France is Paris, as it has been for long."
WORDS = len(TEXT.split())
#: so that whoever leaves a broken stream has left before all of it was sent, in milliseconds
PACE_MS = 80
#: the longest silence that the impatient put up with, and one that is longer, in seconds
PATIENCE_S, SILENCE_S = 2, 6
#: one more than the default: of three waits, a busy machine does not make each look no longer than the one before
RETRIES = 3


class Case(NamedTuple):
    """What breaks, and how that ends: `outcomes` are those of the call's attempts."""

    name: str
    faults: tuple[Behavior, ...]
    outcomes: tuple[str, ...]
    streamed: tuple[bool, ...] = (False, True)
    impatient: bool = False


def status(code: int, kind: str, *, retry_after: float | None = None) -> Case:
    """Fails once. To 429, 503, 504 and 529, llmock adds a Retry-After of 1 s where none is given."""
    name = f"{code}" if retry_after is None else f"{code}-in-{retry_after}-s"
    return Case(name, (Fail(code, retry_after=retry_after),), (kind, "ok"))


def final(name: str, kind: str, fault: Fail) -> Case:
    """Fails, and would do so again."""
    return Case(name, (replace(fault, times=None),), (kind,))


def cut(kind: Literal["disconnect", "truncate", "malformed"], outcome: str, place: int) -> Case:
    """A stream that breaks after so many events."""
    return Case(f"{kind}-at-{place}", (StreamFault(kind, place),), (outcome, "ok"), streamed=(True,))


def stall(place: int) -> Case:
    """A stream that falls silent after so many events."""
    fault = StreamFault("stall", place, stall_seconds=SILENCE_S)
    return Case(f"stall-at-{place}", (fault,), ("timeout", "ok"), streamed=(True,), impatient=True)


# Events after which a stream breaks: none, amid what opens it, in the text, just before its end. Not 2: Anthropic's
# SDK never parses its third event, a ping.
CASES = (
    status(408, "timeout"),
    status(409, "server"),
    status(425, "server"),
    status(429, "rate_limit"),
    status(429, "rate_limit", retry_after=1.5),
    status(500, "server"),
    status(502, "server"),
    status(503, "overloaded"),
    status(503, "overloaded", retry_after=2),
    status(529, "overloaded"),
    final("400", "bad_request", Fail(400)),
    final("401", "authentication", Fail(401)),
    final("403", "permission", Fail(403)),
    final("404", "not_found", Fail(404)),
    Case("500-each-time", (Fail(500, times=None),), ("server",) * (RETRIES + 1)),
    Case("429-each-time", (Fail(429, retry_after=0.25, times=None),), ("rate_limit",) * (RETRIES + 1)),
    Case("500-thrice", (Fail(500, times=RETRIES),), ("server",) * RETRIES + ("ok",)),
    Case("one-after-another", (Fail(500), Fail(409), Fail(408)), ("server", "server", "timeout", "ok")),
    Case("slow", (Delay(1.0),), ("ok",)),
    *(cut("disconnect", "connection", place) for place in (0, 1, 3, WORDS - 1)),
    # what holds nothing at all is no stream of any vendor's
    cut("truncate", "malformed", 0),
    *(cut("truncate", "truncated", place) for place in (1, 3, WORDS - 1)),
    *(cut("malformed", "malformed", place) for place in (0, 1, 3, WORDS // 2)),
    *(stall(place) for place in (0, 1, 3, WORDS - 1)),
    Case("no-first-token", (SlowFirstToken(SILENCE_S),), ("timeout", "ok"), streamed=(True,), impatient=True),
    Case(
        "error-then-cut",
        (Fail(500), StreamFault("truncate", 3), StreamFault("disconnect", 3)),
        ("server", "truncated", "connection", "ok"),
        streamed=(True,),
    ),
)


class Judged(LLMock):
    """One of several calls to one server, told from the others by the model it asks for."""

    def __init__(self, server: LLMockServer, model: str) -> None:
        super().__init__(server)
        self.model = model

    @property
    def requests(self) -> list[RequestRecord]:
        """Those for the model alone."""
        return [record for record in super().requests if record.model == self.model]

    def play(self, *behaviors: Behavior) -> None:
        """Queue them for the model alone."""
        self.add(*(replace(behavior, match=replace(behavior.match, model=self.model)) for behavior in behaviors))


@pytest.fixture
def server() -> Iterator[LLMockServer]:
    """A mock of the test's own: what another test left under way is not waited for."""
    with LLMockServer() as running:
        # It closes what was idle for 5 s, which is as long as a client of ours keeps a connection: one that is taken
        # again just then is lost, and that is no fault of the script's.
        running._server.config.timeout_keep_alive = 60  # type: ignore[attr-defined]  # a server that runs has one
        LLMock(running).pace(PACE_MS)
        yield running


def environment(url: str, home: Path, **more: str) -> dict[str, str]:
    """Every provider behind the mock at `url`."""
    setups = [SETUPS[provider](url, "") for provider in PROVIDERS]
    known = {name: value for setup in setups for name, value in setup.items()}
    return {"LLMSWITCH_HOME": str(home), "LLM_MAX_RETRIES": "2", **known, **more}


async def ended(switch: Switch, target: str, *, stream: bool, prompt: str = "hi") -> Response | LLMSwitchError:
    """How one call ends."""
    try:
        return await switch.ask(Question((Message("user", prompt),), stream=stream), target=target)
    except LLMSwitchError as error:
        return error


def told(end: Response | LLMSwitchError) -> tuple[str, ...]:
    """How its attempts ended."""
    return tuple(attempt.outcome for attempt in end.attempts)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_fault_is_coped_with(
    server: LLMockServer, home: Path, tmp_path: Path, subtests: pytest.Subtests, provider: str
) -> None:
    """All at once, since each waits."""
    played: list[tuple[Case, bool, Judged]] = []
    for case in CASES:
        for stream in case.streamed:
            judged = Judged(server, f"{case.name}-{'streamed' if stream else 'whole'}")
            judged.play(*case.faults, Reply(TEXT, times=None))
            played.append((case, stream, judged))

    async def asked() -> list[Response | LLMSwitchError]:
        environ = environment(server.url, home, LLM_MAX_RETRIES=str(RETRIES))
        short = {"LLM_FIRST_TOKEN_TIMEOUT": str(PATIENCE_S), "LLM_IDLE_TIMEOUT": str(PATIENCE_S)}
        async with (
            Switch.from_profile(cwd=tmp_path, environ=environ, use_cache=False) as patient,
            Switch.from_profile(cwd=tmp_path, environ=environ | short, use_cache=False) as hasty,
        ):
            return await asyncio.gather(
                *(
                    ended(hasty if case.impatient else patient, f"{provider}:{judged.model}", stream=stream)
                    for case, stream, judged in played
                )
            )

    for (case, _, judged), end in zip(played, asyncio.run(asked()), strict=True):
        with subtests.test(judged.model):
            last = case.outcomes[-1]
            assert told(end) == case.outcomes
            assert (end.text if isinstance(end, Response) else end.kind) == (TEXT if last == "ok" else last)
            assert len(judged.requests) == len(case.outcomes)
            judged.assert_resilient(strict=True)


def test_a_quota_that_is_used_up_is_waited_for(server: LLMockServer, home: Path, tmp_path: Path) -> None:
    """llmock takes `max_tokens` off its quota: a second call fits once a little of it is there again."""
    mock = LLMock(server).limits(tpm=600_000).reply(TEXT, times=None)
    environ = environment(server.url, home, MAX_TOKENS="310000", TEAM_API_KEY="its-own-quota")

    async def asked() -> list[Response | LLMSwitchError]:
        async with Switch.from_profile(cwd=tmp_path, environ=environ) as switch:

            async def twice(provider: str) -> Response | LLMSwitchError:
                await ended(switch, f"{provider}:m", stream=False)
                return await ended(switch, f"{provider}:m", stream=True, prompt="once more")

            return await asyncio.gather(*(twice(provider) for provider in PROVIDERS))

    assert [told(end) for end in asyncio.run(asked())] == [("rate_limit", "ok")] * len(PROVIDERS)
    mock.assert_resilient(strict=True)


def test_a_prompt_that_is_too_long_is_not_sent_again(server: LLMockServer, home: Path, tmp_path: Path) -> None:
    mock = LLMock(server).limits(context_window=100)

    async def asked() -> list[Response | LLMSwitchError]:
        async with Switch.from_profile(cwd=tmp_path, environ=environment(server.url, home)) as switch:
            calls = (
                ended(switch, f"{name}:{model}", stream=stream, prompt="word " * 200) for name, stream, model in BOTH
            )
            return await asyncio.gather(*calls)

    assert [told(end) for end in asyncio.run(asked())] == [("context_length",)] * len(BOTH)
    assert len(mock.requests) == len(BOTH)
    mock.assert_resilient(strict=True)


COMMANDS: dict[str, tuple[Behavior, str]] = {
    "gemini": (StreamFault("disconnect", 3), "connection"),
    "anthropic": (StreamFault("malformed", 3), "malformed"),
    "team": (StreamFault("truncate", 3), "truncated"),
}


@pytest.mark.parametrize("provider", COMMANDS)
def test_the_command_copes_as_the_library_does(command: Command, llmock: LLMock, provider: str) -> None:
    fault, kind = COMMANDS[provider]
    llmock.pace(PACE_MS).add(fault, Reply(TEXT, times=None))
    done = command("ask", "-t", f"{provider}:m", "--json", "hi", env=environment(llmock.url, command.home))
    assert done.code == 0, done.err
    assert done.document["text"] == TEXT
    assert [attempt["outcome"] for attempt in done.document["attempts"]] == [kind, "ok"]
    llmock.assert_resilient(strict=True)


def findings(mock: LLMock) -> list[str]:
    """What llmock holds against us."""
    return [finding.code for finding in mock.verdict().findings]


def test_a_wait_that_does_not_fit_is_told_and_not_begun(server: LLMockServer, home: Path, tmp_path: Path) -> None:
    """llmock would rather have one retry, but none could succeed."""
    mock = LLMock(server).rate_limit(times=None, retry_after=30)

    async def asked() -> list[Response | LLMSwitchError]:
        environ = environment(server.url, home, LLM_TIMEOUT="25")
        async with Switch.from_profile(cwd=tmp_path, environ=environ) as switch:
            calls = (ended(switch, f"{name}:{model}", stream=stream) for name, stream, model in BOTH)
            return await asyncio.gather(*calls)

    for end in asyncio.run(asked()):
        assert isinstance(end, LLMSwitchError)
        assert (end.kind, end.retry_after_s, told(end)) == ("rate_limit", 30, ("rate_limit",))
        assert "asked again in 30 s" in end.message
    assert findings(mock) == ["gave_up"] * len(BOTH)


def limited(mock: LLMock) -> None:
    """The model `primary` wants a pause of half a minute; every other one answers."""
    pause = Fail(429, retry_after=30, times=None, match=Match(model="primary"))
    mock.add(pause, Reply(TEXT, times=None))


def test_a_fallback_answers_while_the_primary_wants_a_pause(command: Command, llmock: LLMock) -> None:
    limited(llmock)
    env = environment(llmock.url, command.home, LLM_FALLBACK="team:spare")
    done = command("ask", "-t", "openai:primary", "--json", "hi", env=env)
    assert done.code == 0, done.err
    document = done.document
    assert (document["provider"], document["request_model"], document["text"]) == ("team", "spare", TEXT)
    first, second = document["attempts"]
    assert (first["outcome"], first["retry_after_s"], second["outcome"]) == ("rate_limit", 30, "ok")
    assert document["duration_s"] - second["duration_s"] < 1
    assert [record.model for record in llmock.requests] == ["primary", "spare"]
    assert findings(llmock) == ["gave_up"]  # on the primary, for somebody who answers


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_service_does_not_notice_either(server: LLMockServer, home: Path, tmp_path: Path, stream: bool) -> None:
    """Any vendor for any other. The SDKs are there before: their import would be measured with the first call."""
    mock = LLMock(server).pace(0)
    limited(mock)

    async def asked(primary: str, spare: str) -> Response | LLMSwitchError:
        environ = environment(server.url, home, LLM_FALLBACK=f"{spare}:spare")
        async with Switch.from_profile(cwd=tmp_path, environ=environ, use_cache=False) as switch:
            for provider in (primary, spare):
                await ended(switch, f"{provider}:warm", stream=stream)
            return await ended(switch, f"{primary}:primary", stream=stream)

    for primary, spare in zip(PROVIDERS, (*PROVIDERS[1:], PROVIDERS[0]), strict=True):
        end = asyncio.run(asked(primary, spare))
        assert isinstance(end, Response), end
        assert (end.provider, end.text, told(end)) == (spare, TEXT, ("rate_limit", "ok"))
        assert end.duration_s - end.attempts[-1].duration_s < 1
    assert sum(record.model == "primary" for record in mock.requests) == len(PROVIDERS)


@pytest.mark.parametrize(("code", "stream"), [(500, False), (503, True)])
def test_a_dead_primary_is_left_alone_by_this_process_and_the_next(
    command: Command, llmock: LLMock, code: int, stream: bool
) -> None:
    dead = Fail(code, times=None, match=Match(model="primary"))
    llmock.add(dead, Reply(TEXT, times=None))
    env = environment(llmock.url, command.home, LLM_FALLBACK="team:spare")

    async def asked() -> list[int]:
        touched = []
        async with Switch.from_profile(cwd=command.cwd, environ=env, use_cache=False) as switch:
            for number in range(19):
                end = await ended(switch, "openai:primary", stream=stream, prompt=f"call {number}")
                assert isinstance(end, Response), end
                assert (end.provider, end.text) == ("team", TEXT)
                touched.append(len(end.attempts) - 1)
        return touched

    touched = asyncio.run(asked())
    assert sum(touched) == 5
    assert touched[5:] == [0] * 14
    done = command("ask", "-t", "openai:primary", "--json", "the 20th", env=env)
    assert [attempt["provider"] for attempt in done.document["attempts"]] == ["team"]
    assert sum(record.model == "primary" for record in llmock.requests) == 5
