"""When to ask again and how much a minute takes, as vendors say it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmswitch.providers.ratelimits import Listener, Quota, SeenLimits, listener, listening, retry_after, seen_limits

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "1e300"}, 2.0**53),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 -0000"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "Sun, 22 Nov 99999 11:00:00 GMT"}, None),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"x-ms-retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
    ],
)
def test_when_to_ask_again(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after(headers, NOW) == expected


@pytest.mark.parametrize(
    ("reset", "expected"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("1h2m3.5s", 3723.5),
        ("250µs", 0.00025),
        ("7", 7.0),
        ("0.5", 0.5),
        ("2026-11-22T12:00:09Z", 9.0),
        ("2026-11-22T13:00:09+01:00", 9.0),
        ("2026-11-22T11:00:00Z", 0.0),
        ("", None),
        ("6m0", None),
        ("tomorrow", None),
        ("9999-99-99T00:00:00Z", None),
    ],
)
def test_the_limit_of_which_nothing_remains_says_when_to_ask_again(reset: str, expected: float | None) -> None:
    said = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": reset}
    left = {"x-ratelimit-remaining-tokens": "17", "x-ratelimit-reset-tokens": "99s"}
    assert retry_after({**said, **left}, NOW) == (expected if expected is None else pytest.approx(expected))
    assert retry_after({**said, "retry-after": "3"}, NOW) == 3


def test_of_two_limits_that_are_used_up_the_later_counts() -> None:
    moments = {"requests": "2026-11-22T12:00:05Z", "input-tokens": "2026-11-22T12:00:20Z", "tokens": "soon"}
    headers = {f"anthropic-ratelimit-{name}-reset": moment for name, moment in moments.items()}
    nothing = {f"anthropic-ratelimit-{name}-remaining": "0" for name in moments}
    assert retry_after({**headers, **nothing}, NOW) == 20
    assert retry_after({**headers, **nothing, "anthropic-ratelimit-input-tokens-remaining": "900"}, NOW) == 5
    assert retry_after(headers, NOW) is None


def test_openais_limits() -> None:
    headers = {
        "x-ratelimit-limit-requests": "5000",
        "x-ratelimit-remaining-requests": "4999",
        "x-ratelimit-reset-requests": "12ms",
        "x-ratelimit-limit-tokens": "160000",
        "x-ratelimit-remaining-tokens": "159976",
        "x-ratelimit-reset-tokens": "6m0s",
        "x-ratelimit-limit-tokens_usage_based": "1",
    }
    assert seen_limits(httpx2.Headers(headers), NOW) == SeenLimits(
        Quota(5000, 4999, 0.012), Quota(160_000, 159_976, 360.0)
    )


def test_anthropics_limits() -> None:
    headers = {
        "Anthropic-RateLimit-Requests-Limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": "2026-11-22T12:00:01Z",
        "anthropic-ratelimit-tokens-limit": "48000",
        "anthropic-ratelimit-input-tokens-limit": "40000",
        "anthropic-ratelimit-output-tokens-limit": "8000",
    }
    seen = seen_limits(headers, NOW)
    assert seen == SeenLimits(Quota(50, 49, 1.0), Quota(48_000))
    del headers["anthropic-ratelimit-tokens-limit"]
    headers["anthropic-ratelimit-input-tokens-limit"] = "30000"
    assert seen_limits(headers, NOW) == SeenLimits(Quota(50, 49, 1.0), Quota(38_000))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json", "x-request-id": "r"},
        {"x-ratelimit-limit-tokens": "-1", "x-ratelimit-remaining-tokens": "-1"},  # Azure, where it does not know
        {"x-ratelimit-limit-requests": "0"},
        {"x-ratelimit-limit-requests": "9" * 400},
        {"x-ratelimit-limit-requests": "many", "x-ratelimit-limit-tokens": "nan"},
    ],
)
def test_what_says_nothing_of_limits_is_no_limit(headers: dict[str, str]) -> None:
    assert seen_limits(headers, NOW) is None


def test_names_of_headers_match_in_any_case() -> None:
    assert retry_after(httpx2.Headers({"Retry-After": "7"}), NOW) == 7
    assert seen_limits(httpx2.Headers({"X-RateLimit-Limit-Requests": "7"}), NOW) == SeenLimits(Quota(7))


numbers = st.from_regex(r"-?[0-9]{1,400}(\.[0-9]+)?(h|ms|m|s|us)?", fullmatch=True)


@given(st.text() | numbers, st.text(), st.text() | numbers, st.floats(0, 4e9))
def test_no_header_breaks_it_or_gives_a_wait_that_cannot_be_waited(
    ms: str, seconds: str, reset: str, now: float
) -> None:
    limited = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": reset, "x-ratelimit-limit-tokens": ms}
    wait = retry_after({"retry-after-ms": ms, "retry-after": seconds, **limited}, now)
    assert wait is None or (math.isfinite(wait) and wait >= 0)
    seen = seen_limits(limited, now)
    assert seen is not None
    assert seen.tokens is not None
    assert seen.tokens.limit is None or seen.tokens.limit > 0
    assert seen.tokens.reset_s is None or (math.isfinite(seen.tokens.reset_s) and seen.tokens.reset_s >= 0)


@given(st.integers(0, 10**6))
def test_seconds_milliseconds_spans_and_a_date_agree(wait: int) -> None:
    moment = datetime.fromtimestamp(NOW + wait, UTC)
    assert retry_after({"retry-after": str(wait)}, NOW) == wait
    assert retry_after({"retry-after-ms": str(wait * 1000)}, NOW) == wait
    assert retry_after({"retry-after": format_datetime(moment, usegmt=True)}, NOW) == wait
    for reset in (f"{wait // 60}m{wait % 60}s", f"{wait}s", moment.isoformat()):
        headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": reset}
        assert retry_after(headers, NOW) == wait


class Ear(Listener):
    def __init__(self) -> None:
        self.heard: list[object] = []

    def sent(self) -> None:
        self.heard.append("sent")

    def answered(self, headers: Mapping[str, str]) -> None:
        self.heard.append(headers)


def test_each_task_has_its_own_listener() -> None:
    async def run() -> None:
        one, other = Ear(), Ear()

        async def listen(ear: Ear) -> None:
            with listening(ear):
                await asyncio.sleep(0.001)
                assert listener() is ear
            assert listener() not in (one, other)

        await asyncio.gather(listen(one), listen(other))

    asyncio.run(run())
