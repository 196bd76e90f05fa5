"""When to ask again, as vendors say it."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import format_datetime

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmswitch.providers.http import retry_after

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
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 -0000"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "Sun, 22 Nov 99999 11:00:00 GMT"}, None),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"x-ms-retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
    ],
)
def test_what_vendors_send(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after(headers, NOW) == expected


def test_names_of_headers_match_in_any_case() -> None:
    assert retry_after(httpx2.Headers({"Retry-After": "7"}), NOW) == 7


@given(st.text(), st.text(), st.floats(0, 4e9))
def test_no_header_breaks_it_or_gives_a_wait_that_cannot_be_waited(ms: str, seconds: str, now: float) -> None:
    wait = retry_after({"retry-after-ms": ms, "retry-after": seconds}, now)
    assert wait is None or (math.isfinite(wait) and wait >= 0)


@given(st.integers(0, 10**6))
def test_seconds_milliseconds_and_a_date_agree(wait: int) -> None:
    date = format_datetime(datetime.fromtimestamp(NOW + wait, UTC), usegmt=True)
    assert retry_after({"retry-after": str(wait)}, NOW) == wait
    assert retry_after({"retry-after-ms": str(wait * 1000)}, NOW) == wait
    assert retry_after({"retry-after": date}, NOW) == wait
