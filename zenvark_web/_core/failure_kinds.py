"""Kinds of failures: where a call failed. Failures of local origin (`connect`, `pool`) tell more
about the caller's host and its network than about the upstream, as Envoy's local-origin errors do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache

BODY = " (body)"
"""The end of the label of a failure that came after the headers of a response."""


class FailureKind(StrEnum):
    """Where a call failed."""

    CONNECT = "connect"
    """No connection: DNS, egress, a proxy, TLS, or nothing listens."""
    TIMEOUT = "timeout"
    """No answer or no chunk in time, or a call that was cancelled after it had become slow."""
    STATUS = "status"
    """The upstream answered with a failure: a status, or an event of an event stream."""
    BODY = "body"
    """The connection broke within the body of a response."""
    POOL = "pool"
    """No connection of this process's pool became free."""
    OTHER = "other"
    """Anything else, such as an exception of the user's code."""


CONNECTING = frozenset(
    {
        "ConnectError",
        "ConnectTimeout",
        "ConnectionError",
        "ConnectionAbortedError",
        "ConnectionRefusedError",
        "ConnectionResetError",
        "ClientConnectorError",
        "ProxyConnectionError",
        "ProxyError",
        "ProxyTimeoutError",
        "SSLCertVerificationError",
        "SSLError",
        "gaierror",
    }
)
EVENT = "error event"
"""The label of an event stream's event that is a failure."""
TIMING_OUT = ("cancelled after", "no answer", "no first chunk", "slow", "stalled")


@lru_cache(maxsize=1_024)
def kind_of(label: str) -> FailureKind:
    """Return the kind of a failure with this label: the name of an exception, or a status."""
    name = label.partition(" ")[0]
    if label.endswith(BODY):
        return FailureKind.BODY
    if name == "PoolTimeout":
        return FailureKind.POOL
    if name in CONNECTING:
        return FailureKind.CONNECT
    if name == "HTTP" or name.isdecimal() or label == EVENT:
        return FailureKind.STATUS
    if name.endswith("Timeout") or name == "TimeoutError" or label.startswith(TIMING_OUT):
        return FailureKind.TIMEOUT
    return FailureKind.OTHER


def kinds_of(failures: Mapping[str, int]) -> Mapping[str, int]:
    """Return the numbers of failures by kind, from those by label."""
    kinds: Counter[str] = Counter()
    for label, count in failures.items():
        kinds[kind_of(label).value] += count
    return dict(kinds.most_common())
