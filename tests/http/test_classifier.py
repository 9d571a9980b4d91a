"""`HttpClassifier`, and the upstream's own `Retry-After`."""

from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http.stub import Stub
from zenvark_web import BreakerTransport, Coordinator, HttpClassifier, Outcome, Permit
from zenvark_web._http.retry_after import A_YEAR, seconds_to_wait

SUCCESS, FAILURE = Outcome.SUCCESS, Outcome.FAILURE
IGNORED, ANSWERED = Outcome.IGNORED, Outcome.ANSWERED
REQUEST = httpx.Request("GET", "https://api.example.com")
NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)


class OwnConnectError(httpx.ConnectError):
    """A class of the user's."""


@pytest.mark.parametrize(
    ("settings", "ended", "outcome"),
    [
        ({}, httpx.Response(200), SUCCESS),
        ({}, httpx.Response(404), ANSWERED),
        ({}, httpx.Response(408), FAILURE),
        ({}, httpx.Response(501), SUCCESS),
        *(({}, httpx.Response(status), FAILURE) for status in (500, 507, 520, 530, 599)),
        # What is no status is one of 5xx (RFC 9110, section 15), and can be listed.
        *(({}, httpx.Response(status), FAILURE) for status in (600, 700, 999, 99, 1000)),
        ({"failure_statuses": range(500, 600)}, httpx.Response(999), FAILURE),
        ({"failure_statuses": range(501, 600)}, httpx.Response(999), SUCCESS),
        ({"ignored_statuses": {999}}, httpx.Response(999), IGNORED),
        ({"answered_statuses": {999}, "failure_statuses": ()}, httpx.Response(999), ANSWERED),
        ({"answered_statuses": ()}, httpx.Response(404), SUCCESS),
        ({"answered_statuses": {501}}, httpx2.Response(501), ANSWERED),
        ({}, httpx.Response(429), FAILURE),
        ({}, httpx2.Response(503), FAILURE),
        ({}, httpx2.ReadTimeout(""), FAILURE),
        ({"failure_statuses": range(500, 600)}, httpx.Response(501), FAILURE),
        ({"failure_statuses": range(500, 600)}, httpx.Response(429), ANSWERED),
        ({"failure_statuses": [404]}, httpx.Response(404), FAILURE),
        ({"failure_statuses": ()}, httpx.Response(500), SUCCESS),
        ({"ignored_statuses": range(400, 500)}, httpx.Response(404), IGNORED),
        ({"ignored_statuses": {429}}, httpx.Response(429), IGNORED),
        # The nearest class that stands in a list decides.
        ({"ignored_errors": ["ConnectError"]}, OwnConnectError(""), IGNORED),
        ({"ignored_errors": [httpx.ConnectError]}, OwnConnectError(""), IGNORED),
        ({"ignored_errors": [httpx.ConnectError]}, httpx2.ConnectError(""), FAILURE),
        ({"ignored_errors": ["NetworkError"]}, httpx2.ReadError(""), IGNORED),
        ({"ignored_errors": ["TransportError"]}, httpx.ReadError(""), IGNORED),
        (
            {"ignored_errors": ["NetworkError"], "failure_errors": ["ReadError"]},
            httpx.ReadError(""),
            FAILURE,
        ),
        (
            {"failure_errors": ["PoolTimeout"], "ignored_errors": []},
            httpx.PoolTimeout(""),
            FAILURE,
        ),
        ({"failure_errors": ["PoolTimeout"]}, httpx.PoolTimeout(""), IGNORED),
        ({"failure_errors": [ValueError]}, UnicodeError(), FAILURE),
        ({"failure_errors": []}, httpx.ConnectError(""), IGNORED),
        ({}, ConnectionResetError(), FAILURE),
        ({}, KeyError(), IGNORED),
    ],
)
def test_each_part_can_be_replaced(settings: Any, ended: Any, outcome: Outcome) -> None:
    assert HttpClassifier(**settings)(REQUEST, ended) is outcome


def test_it_is_a_value() -> None:
    first = HttpClassifier(ignored_statuses=[429, 404])
    assert first == HttpClassifier(ignored_statuses={404, 429})
    assert hash(first) == hash(HttpClassifier(ignored_statuses={404, 429}))
    assert replace(first, failure_statuses={500})(REQUEST, httpx.Response(404)) is IGNORED
    with pytest.raises(FrozenInstanceError):
        first.ignored_statuses = frozenset()  # type: ignore[misc]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"failure_statuses": 500}, TypeError, "failure_statuses must be statuses such as"),
        ({"failure_statuses": "500"}, TypeError, "failure_statuses must be statuses such as"),
        ({"failure_statuses": ["500"]}, TypeError, "whole numbers, not '500'"),
        ({"ignored_statuses": {True}}, TypeError, "whole numbers, not True"),
        ({"ignored_statuses": {99}}, ValueError, "from 100 to 999, not 99"),
        ({"answered_statuses": range(500, 1001)}, ValueError, "from 100 to 999, not 1000"),
        ({"ignored_errors": "PoolTimeout"}, TypeError, "ignored_errors must be a collection"),
        ({"ignored_errors": httpx.PoolTimeout}, TypeError, "ignored_errors must be a collection"),
        ({"failure_errors": [500]}, TypeError, "exception classes or their names, not 500"),
        ({"failure_errors": [int]}, TypeError, "exception classes or their names"),
        ({"failure_errors": [KeyboardInterrupt]}, TypeError, "exception classes or their names"),
        ({"failure_errors": ["httpx.ReadError"]}, TypeError, "exception classes or their names"),
    ],
)
def test_bad_parts_are_refused(settings: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        HttpClassifier(**settings)


def date(seconds: float) -> str:
    return format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)


HERE = ("Date", date(0))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        ([("Retry-After", "120")], 120.0),
        ([("Retry-After", "0")], 0.0),
        ([("Retry-After", "007")], 7.0),
        ([("Retry-After", " 5 ")], 5.0),
        ([("Retry-After", "9" * 10)], A_YEAR),
        ([("Retry-After", "9" * 10_000)], A_YEAR),
        ([("Retry-After", "-1")], None),
        ([("Retry-After", "+1")], None),
        ([("Retry-After", "1.5")], None),
        ([("Retry-After", "1e3")], None),
        ([("Retry-After", "")], None),
        ([("Retry-After", "soon")], None),
        ([("Retry-After", "NaN")], None),
        ([("Retry-After", "٣")], None),
        ([("Retry-After", "120, 60")], None),
        # Dates, against the response's own.
        ([("Retry-After", date(90)), HERE], 90.0),
        ([("Retry-After", date(-90)), HERE], 0.0),
        ([("Retry-After", date(10**9)), HERE], A_YEAR),
        ([("Retry-After", date(90))], None),
        ([("Retry-After", date(90)), ("Date", "yesterday")], None),
        ([("Retry-After", "Wednesday, 25-Nov-26 12:01:30 GMT"), HERE], 90.0),
        ([("Retry-After", "Wed Nov 25 12:01:30 2026"), HERE], 90.0),
        ([("Retry-After", "Wed, 25 Nov 2026 12:01:30 +0001"), HERE], 30.0),
        ([("Retry-After", "Fri, 99 Nov 2026 99:99:99 GMT"), HERE], None),
        ([("Retry-After", f"Fri, 25 Nov {'9' * 5000} 12:00:00 GMT"), HERE], None),
        # Several: the longest.
        ([("Retry-After", "5"), ("Retry-After", "60"), ("Retry-After", "x")], 60.0),
        ([("Retry-After", date(90)), ("Retry-After", "60"), HERE], 90.0),
    ],
)
@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_retry_after_is_understood(library: Any, headers: Any, seconds: float | None) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    found = seconds_to_wait(library.Headers(raw))
    assert found is None or isinstance(found, float)
    assert found == seconds


TEXTS = st.one_of(
    st.binary(max_size=60),
    st.from_regex(r"\A[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} \d{1,9} \d+:\d+:\d+ [A-Z+-]*\d*\Z").map(
        lambda text: text.encode("utf-8", "replace")
    ),
)


@given(st.lists(TEXTS, max_size=3), TEXTS)
def test_retry_after_never_raises(values: list[bytes], sent: bytes) -> None:
    raw = [(b"Retry-After", value) for value in values] + [(b"Date", sent)]
    found = seconds_to_wait(httpx.Headers(raw))
    assert found is None or 0 <= found <= A_YEAR


@pytest.mark.parametrize(
    ("status", "told"), [(429, 7.0), (503, 7.0), (500, None), (502, None), (200, None), (301, None)]
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_upstreams_retry_after_goes_with_the_failure(
    coordinator: Coordinator,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    told: float | None,
    streamed: bool,
) -> None:
    seen: list[float | None] = []
    record = Permit.record

    def noted(
        permit: Permit, outcome: Outcome, label: str = "", *, retry_after: float | None = None
    ) -> None:
        seen.append(retry_after)
        record(permit, outcome, label, retry_after=retry_after)

    monkeypatch.setattr(Permit, "record", noted)
    body: Any = {"content": b"x"} if not streamed else {"stream": httpx.ByteStream(b"x")}
    response = httpx.Response(status, headers={"Retry-After": "7"}, **body)
    transport = BreakerTransport(coordinator, Stub(response))
    async with httpx.AsyncClient(transport=transport) as client:
        await client.get("https://api.example.com")
    assert seen == [told]
