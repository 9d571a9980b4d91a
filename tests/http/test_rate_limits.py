"""The waits that upstreams name, in all the words that they have for them."""

import math
from typing import Any

import httpx
import httpx2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zenvark_web._http.rate_limits import A_YEAR
from zenvark_web._http.retry_after import seconds_to_wait, seconds_until_reset

DATE = ("Date", "Sun, 06 Nov 1994 08:49:37 GMT")

Fields = list[tuple[str, str]]

LIMITS: list[tuple[Fields, float | None]] = [
    ([("RateLimit", '"default";r=0;t=30')], 30),
    ([("RateLimit", "default;r=0;t=30")], 30),
    ([("RateLimit", '"minute";r=0;t=30, "day";r=0;t=3600')], 3600),
    ([("RateLimit", '"minute";r=0;t=30'), ("RateLimit", '"day";r=5;t=3600')], 30),
    ([("RateLimit", r'"a,b;r=1\"";r=0;t=7')], 7),
    ([("RateLimit", '"default";r=50;t=30')], None),
    ([("RateLimit", '"default";r=0')], None),
    ([("RateLimit-Policy", '"default";q=100;w=60')], None),
    ([("RateLimit-Limit", "100"), ("RateLimit-Remaining", "0"), ("RateLimit-Reset", "50")], 50),
    ([("ratelimit-remaining", "1"), ("ratelimit-reset", "50")], None),
    ([("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "1s")], 1),
    ([("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "6m0s")], 360),
    ([("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "20ms")], 0.02),
    ([("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "1h2m3.5s")], 3723.5),
    (
        [
            ("x-ratelimit-remaining-requests", "9"),
            ("x-ratelimit-reset-requests", "6m0s"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "12s"),
        ],
        12,
    ),
    (
        [
            DATE,
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "1994-11-06T08:50:07Z"),
        ],
        30,
    ),
    (
        [
            DATE,
            ("anthropic-ratelimit-tokens-remaining", "0"),
            ("anthropic-ratelimit-tokens-reset", "1994-11-06T10:50:07+02:00"),
        ],
        30,
    ),
    (
        [  # in the past
            DATE,
            ("anthropic-ratelimit-tokens-remaining", "0"),
            ("anthropic-ratelimit-tokens-reset", "1994-11-06T08:49:30Z"),
        ],
        0,
    ),
    (
        [  # relative to nothing
            ("anthropic-ratelimit-tokens-remaining", "0"),
            ("anthropic-ratelimit-tokens-reset", "1994-11-06T08:50:07Z"),
        ],
        None,
    ),
]


@pytest.mark.parametrize("library", [httpx, httpx2])
@pytest.mark.parametrize(("fields", "wait"), LIMITS)
def test_limits_of_which_nothing_is_left(library: Any, fields: Fields, wait: float | None) -> None:
    headers = library.Headers(fields)
    assert seconds_until_reset(headers) == wait
    assert seconds_to_wait(headers) == wait


@pytest.mark.parametrize(
    ("fields", "wait"),
    [
        ([("Retry-After", "7")], 7),
        ([("Retry-After", "7"), ("retry-after-ms", "6500")], 6.5),
        ([("Retry-After", "7"), ("retry-after-ms", "soon")], 7),
        ([("Retry-After", "7"), ("RateLimit", '"day";r=0;t=3600')], 7),
        ([("Retry-After", "soon"), ("RateLimit", '"day";r=0;t=3600')], 3600),
        ([("x-ratelimit-reset-requests", "2s")], 2),
        ([DATE, ("anthropic-ratelimit-requests-reset", "1994-11-06T08:50:07Z")], 30),
    ],
)
def test_refusals_say_more_than_successes(fields: Fields, wait: float) -> None:
    headers = httpx.Headers(fields)
    assert seconds_to_wait(headers) == wait
    left = [name for name, _ in fields if "limit" in name.lower()]
    assert seconds_until_reset(headers) == (3600 if "RateLimit" in left else None)


NAMES = st.sampled_from(
    [
        *("retry-after", "retry-after-ms", "date", "ratelimit", "ratelimit-remaining"),
        *("ratelimit-reset", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
        *("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
        *("x-ratelimit-reset", "x-ratelimit-reset-", "ratelimit-reset-remaining"),
    ]
)
WORDS = st.lists(
    st.sampled_from(
        [*'0123456789smhd.-+:;=,"\\TZ ', "ms", "r=0", ";t=", "1994-11-06T08:50:07Z", "9" * 400]
    )
).map("".join)
RUBBISH = WORDS | st.text() | st.floats().map(repr) | st.datetimes().map(str) | st.just("0")


@given(fields=st.lists(st.tuples(NAMES, RUBBISH), max_size=8), library=st.sampled_from([0, 1]))
@example(fields=[("ratelimit-remaining", "0"), ("ratelimit-reset", "9" * 400)], library=0)
@example(fields=[DATE, ("anthropic-ratelimit-a-reset", "9999-12-31T23:59:59-23:59")], library=0)
@example(fields=[DATE, ("anthropic-ratelimit-a-reset", "0001-01-01T00:00:00+23:59")], library=0)
def test_rubbish_never_raises_and_no_wait_is_unbounded(fields: Fields, library: int) -> None:
    raw = [(name.encode(), value.encode("utf-8", "replace")) for name, value in fields]
    headers = [httpx, httpx2][library].Headers(raw)
    for wait in (seconds_to_wait(headers), seconds_until_reset(headers)):
        assert wait is None or (0 <= wait <= A_YEAR and math.isfinite(wait))
