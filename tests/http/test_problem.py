"""The document that stands for an open circuit, and the time it tells clients to wait."""

import json
import math
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.processes import ROOT
from zenvark_web._http import problem as module
from zenvark_web._http.problem import CIRCUIT_OPEN, ROUTE_UNAVAILABLE, problem, retry_seconds

TYPES = [CIRCUIT_OPEN, ROUTE_UNAVAILABLE]


def always(number: float) -> Callable[[], float]:
    return lambda: number


@pytest.mark.parametrize(
    ("remaining", "least", "most"),
    [
        (-5.0, 1, 1),
        (0.0, 1, 1),
        (0.2, 1, 1),
        (1.0, 1, 2),
        (1.001, 2, 2),
        (2.5, 3, 3),
        (5.0, 5, 6),
        (10.0, 10, 12),
        (59.999, 60, 72),
        (3600.0, 3600, 4320),
        (1e12, 2**31, 2**31),
        (math.inf, 2**31, 2**31),
        (math.nan, 1, 1),
    ],
)
def test_retry_after_is_the_wait_and_up_to_a_fifth(remaining: float, least: int, most: int) -> None:
    assert retry_seconds(remaining, always(0.0)) == least
    assert retry_seconds(remaining, always(1.0)) == most


@pytest.mark.parametrize("remaining", [0.0, 0.4, 7.3, 120.0, 3600.0])
def test_it_is_never_before_the_next_attempt_and_spreads_clients(remaining: float) -> None:
    told = [retry_seconds(remaining) for _ in range(300)]
    assert min(told) >= max(1, remaining)
    assert max(told) <= max(1, math.ceil(remaining * 1.2))
    assert len(set(told)) > 1 or remaining < 1


def test_it_shrinks_as_time_goes_by() -> None:
    told = [retry_seconds(remaining, always(0.5)) for remaining in range(100, -1, -1)]
    assert told == sorted(told, reverse=True)
    assert told[-1] == 1


@pytest.mark.parametrize("kind", TYPES)
def test_document_and_header_say_the_same(kind: module.ProblemType) -> None:
    fields, body = problem(30, kind=kind)
    headers, document = dict(fields), json.loads(body)
    assert int(headers[b"retry-after"]) == document.pop("retry_after")
    assert document == {
        "type": kind.uri,
        "title": kind.title,
        "status": 503,
        "detail": kind.detail,
    }


@given(st.text(), st.sampled_from(TYPES), st.floats(0, 1e9))
def test_parts_make_the_document(circuit: str, kind: module.ProblemType, wait: float) -> None:
    """The body is put together from encoded parts; whatever the circuit's name holds."""
    _, body = problem(wait, circuit, kind)
    document = json.loads(body)
    assert document["circuit"] == circuit
    assert body == json.dumps(document).encode()


def test_types_never_change() -> None:
    assert [kind.uri for kind in TYPES] == [
        "urn:zenvark:problem:circuit-open",
        "urn:zenvark:problem:route-unavailable",
    ]


def test_every_type_is_documented() -> None:
    page = (ROOT / "docs/problems.md").read_text()
    assert re.findall(r"^## `(urn:\S+)`$", page, re.MULTILINE) == [kind.uri for kind in TYPES]
    for kind in TYPES:
        assert kind.title in page
        assert kind.detail in page
