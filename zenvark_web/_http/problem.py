"""The response of an open circuit: 503 with a problem document (RFC 9457) and `Retry-After`."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from .._core.states import State

STATUS = 503
MEDIA_TYPE = "application/problem+json"

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
    """The breaker that made a response, as `response.extensions["breaker"]`.

    Args:
        name: The circuit's name.
        state: The circuit's state when the call was rejected.
        retry_after: Seconds until the next attempt to recover.
    """

    name: str
    state: State
    retry_after: float


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


def problem(
    retry_after: float, circuit: str | None = None, kind: ProblemType = CIRCUIT_OPEN
) -> tuple[dict[str, str], bytes]:
    """The headers and the body of the response.

    Args:
        retry_after: Seconds until the next attempt to recover.
        circuit: The circuit's name, unless it must stay secret: it can be the name of an internal
            host.
        kind: The problem type.
    """
    # Once, so that header and document agree.
    seconds = retry_seconds(retry_after)
    document: dict[str, object] = {
        "type": kind.uri,
        "title": kind.title,
        "status": STATUS,
        "detail": kind.detail,
        "retry_after": seconds,
    }
    if circuit is not None:
        document["circuit"] = circuit
    headers = {
        "content-type": MEDIA_TYPE,
        "retry-after": str(seconds),
        "cache-control": "no-store",
    }
    return headers, json.dumps(document).encode()
