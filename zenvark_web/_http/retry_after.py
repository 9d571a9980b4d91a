"""The `Retry-After` of an upstream (RFC 9110, section 10.2.3)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_tz
from typing import Any

RETRY_AFTER_STATUSES = frozenset({429, 503})
A_YEAR = 31_536_000.0


def seconds_to_wait(headers: Any) -> float | None:
    """The seconds in the headers of a response, at most a year. None without a valid field.

    A date is relative to the response's own `Date`: clocks of different hosts are never compared.
    If there are several fields, the longest wait applies.
    """
    sent = headers.get("date")
    waits = [_seconds(value.strip(), sent) for value in headers.get_list("retry-after")]
    return max((wait for wait in waits if wait is not None), default=None)


def _seconds(value: str, sent: str | None) -> float | None:
    if re.fullmatch(r"[0-9]+", value):
        return min(float(value), A_YEAR)  # `int` refuses thousands of digits
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
        # `datetime` does not accept a leap second.
        moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
        return int(moment.timestamp()) - (parsed[9] or 0)
    except Exception:  # untrusted text may trigger any bug of the parser
        return None
