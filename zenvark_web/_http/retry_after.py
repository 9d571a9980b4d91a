"""An upstream's own `Retry-After` (RFC 9110, section 10.2.3)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_tz
from typing import Any

RETRY_AFTER_STATUSES = frozenset({429, 503})
A_YEAR = 31_536_000.0


def seconds_to_wait(headers: Any) -> float | None:
    """The seconds that a response's headers ask for, at most a year.

    A date is read against the response's own `Date`: no two hosts' clocks are compared. Of
    several fields the longest wait holds. None if there is none that can be understood.
    """
    sent = headers.get("date")
    waits = [_seconds(value.strip(), sent) for value in headers.get_list("retry-after")]
    return max((wait for wait in waits if wait is not None), default=None)


def _seconds(value: str, sent: str | None) -> float | None:
    if re.fullmatch(r"[0-9]+", value):
        return min(float(value), A_YEAR)  # `int` refuses more than some thousand digits
    until, since = _timestamp(value), _timestamp(sent or "")
    if until is None or since is None:
        return None
    return min(max(0.0, float(until - since)), A_YEAR)


def _timestamp(value: str) -> int | None:
    """The POSIX seconds of an HTTP date, in any of its three formats (RFC 9110, 5.6.7)."""
    try:
        parsed = parsedate_tz(value)
        if parsed is None:
            return None
        year, month, day, hour, minute, second = parsed[:6]
        # A second may be the 60th, which `datetime` does not know.
        moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
        return int(moment.timestamp()) - (parsed[9] or 0)
    except Exception:  # strangers' texts find each gap in a parser
        return None
