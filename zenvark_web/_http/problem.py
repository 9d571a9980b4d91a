"""The answer of an open circuit: 503 with a problem document (RFC 9457) and `Retry-After`."""

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
"""The most seconds that every reader of HTTP can take in (RFC 9111, section 1.2.2)."""

SPREAD = 0.2
"""By which part of the wait `Retry-After` may be longer."""


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A kind of problem, as `docs/problems.md` tells it. Its texts never depend on the request.

    Args:
        uri: Its name for programs. It never changes; there is nothing to be fetched from it.
        title: Its name for people.
        detail: What it means for the request.
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
    """What `response.extensions["breaker"]` tells of a response that a breaker made.

    Args:
        name: The circuit's name.
        state: What it let pass when the call was rejected.
        retry_after: Seconds until its next attempt to recover.
    """

    name: str
    state: State
    retry_after: float


def retry_seconds(remaining: float, chance: Callable[[], float] = random.random) -> int:
    """What `Retry-After` says: at least 1, and never before the next attempt.

    Up to a fifth of the wait is added by chance, so that clients do not all return at once; then
    it is rounded up to whole seconds.

    Args:
        remaining: Seconds until the next attempt to recover.
        chance: Makes random numbers from 0 to 1.
    """
    wait = min(max(0.0, remaining), LONGEST)
    return min(max(1, math.ceil(wait * (1 + SPREAD * chance()))), LONGEST)


def problem(
    retry_after: float, circuit: str | None = None, kind: ProblemType = CIRCUIT_OPEN
) -> tuple[dict[str, str], bytes]:
    """Headers and body of the answer.

    Args:
        retry_after: Seconds until the next attempt to recover.
        circuit: The circuit's name, where the reader may know it; it can be the name of an
            internal host.
        kind: What kind of problem it is.
    """
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
