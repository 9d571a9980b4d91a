"""The answer of an open circuit: 503 with a problem document (RFC 9457) and `Retry-After`."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from .._core.states import State

STATUS = 503
TYPE = "urn:zenvark:problem:circuit-open"
TITLE = "Service Unavailable"


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


def problem(retry_after: float, circuit: str | None = None) -> tuple[dict[str, str], bytes]:
    """Headers and body of the answer.

    Args:
        retry_after: Seconds until the next attempt to recover.
        circuit: The circuit's name, where the reader may know it; it can be the name of an
            internal host.
    """
    seconds = max(1, math.ceil(retry_after))
    document: dict[str, object] = {
        "type": TYPE,
        "title": TITLE,
        "status": STATUS,
        "detail": "A service that this request needs is not available now.",
        "retry_after": seconds,
    }
    if circuit is not None:
        document["circuit"] = circuit
    headers = {
        "content-type": "application/problem+json",
        "retry-after": str(seconds),
        "cache-control": "no-store",
    }
    return headers, json.dumps(document).encode()
