"""The response of an open circuit: 503 with a problem document (RFC 9457) and `Retry-After`."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TypeAlias

from .._core.states import State

STATUS = 503
MEDIA_TYPE = "application/problem+json"
_CONTENT_TYPE = MEDIA_TYPE.encode()

LONGEST = 2**31
"""The largest number of seconds that every HTTP client supports (RFC 9111, section 1.2.2)."""

SPREAD = 0.2
"""The share of the wait by which `Retry-After` may be longer."""


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A problem type, documented in `docs/problems.md`. Its texts never depend on the request.

    Args:
        uri: The identifier for programs. It never changes and cannot be fetched.
        title: The name for people.
        detail: The meaning for the request.
    """

    uri: str
    title: str
    detail: str


CIRCUIT_OPEN = ProblemType(
    uri="urn:zenvark:problem:circuit-open",
    title="Service Unavailable",
    detail="A service that this request needs is not available now.",
)
ROUTE_UNAVAILABLE = ProblemType(
    uri="urn:zenvark:problem:route-unavailable",
    title="Route Unavailable",
    detail="This part of the service is not available now. The request was not begun.",
)


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """The breaker that made a response, or had a fallback make it, as
    `response.extensions["breaker"]`.

    Args:
        name: The circuit's name.
        state: The circuit's state when the call was rejected, or had failed.
        retry_after: Seconds until the next attempt to recover.
        forced: Whether an operator holds the circuit open.
        error: The exception of a failed call that a fallback replaces.
        status_code: The status of a failed call that a fallback replaces.
    """

    name: str
    state: State
    retry_after: float
    forced: bool = False
    error: Exception | None = None
    status_code: int | None = None


def retry_seconds(remaining: float, chance: Callable[[], float] = random.random) -> int:
    """The value of `Retry-After`: at least 1, and never before the next attempt.

    Up to a fifth of the wait is added at random, so that clients do not all return at once. The
    sum is rounded up to whole seconds.

    Args:
        remaining: Seconds until the next attempt to recover.
        chance: Returns random numbers from 0 to 1.
    """
    wait = min(max(0.0, remaining), LONGEST)
    return min(max(1, math.ceil(wait * (1 + SPREAD * chance()))), LONGEST)


Fields: TypeAlias = list[tuple[bytes, bytes]]
"""Header fields as both HTTP clients and ASGI servers take them without another look."""

_FORCED = b', "forced": true'

MOST_ENCODED = 1_000
"""The maximum number of encoded names of circuits to keep."""


def problem(
    retry_after: float,
    circuit: str | None = None,
    kind: ProblemType = CIRCUIT_OPEN,
    *,
    forced: bool = False,
) -> tuple[Fields, bytes]:
    """The header fields and the body of the response, from parts that are encoded already: while a
    circuit is open, a busy service makes as many of them as it has requests.

    Args:
        retry_after: Seconds until the next attempt to recover.
        circuit: The circuit's name, unless it must stay secret: it can be the name of an internal
            host.
        kind: The problem type.
        forced: Whether an operator holds the circuit open.
    """
    # Once, so that header and document agree.
    seconds = b"%d" % retry_seconds(retry_after)
    begin = _encoded_kind(kind)
    seconds_and_more = seconds + _FORCED if forced else seconds
    body = begin + seconds_and_more + (b"}" if circuit is None else _encoded_circuit(circuit))
    fields = [
        (b"content-type", _CONTENT_TYPE),
        (b"retry-after", seconds),
        (b"cache-control", b"no-store"),
    ]
    return fields, body


def content_length(body: bytes) -> tuple[bytes, bytes]:
    """The header field of a body's length, for a response that is sent as it is."""
    return b"content-length", b"%d" % len(body)


@cache
def _encoded_kind(kind: ProblemType) -> bytes:
    """The document up to the seconds, which follow."""
    document = {
        "type": kind.uri,
        "title": kind.title,
        "status": STATUS,
        "detail": kind.detail,
        "retry_after": 0,
    }
    return json.dumps(document).encode().removesuffix(b"0}")


@lru_cache(MOST_ENCODED)
def _encoded_circuit(name: str) -> bytes:
    """The document from the seconds on."""
    return f', "circuit": {json.dumps(name)}}}'.encode()
