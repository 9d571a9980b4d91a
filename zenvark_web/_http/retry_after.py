"""The wait that an upstream names with a refusal: `Retry-After` (RFC 9110, section 10.2.3), its
finer relative `retry-after-ms`, and otherwise the limits that are used up."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_tz
from typing import Any

from .rate_limits import A_YEAR, seconds_without_calls

RETRY_AFTER_STATUSES = frozenset({429, 503, 529})
"""529 is "overloaded", which no RFC defines."""

THROTTLED_STATUSES = frozenset({429, 529})
"""Those by which an upstream refuses a call for its load, also without a wait."""


def seconds_to_wait(headers: Any) -> float | None:
    """The seconds in the headers of a refusal, at most a year. None without a valid field.

    A date is relative to the response's own `Date`: clocks of different hosts are never compared.
    If there are several fields of a kind, the longest wait applies.
    """
    sent = _timestamp(headers.get("date", ""))
    fine = _longest(map(_milliseconds, headers.get_list("retry-after-ms")))
    if fine is not None:
        return fine
    coarse = _longest(_seconds(value.strip(), sent) for value in headers.get_list("retry-after"))
    return coarse if coarse is not None else seconds_without_calls(headers, sent, refused=True)


def seconds_until_reset(headers: Any) -> float | None:
    """The seconds in the headers of a success that was the last one of its limit. None if more
    calls are left, or nothing is said of that."""
    sent = _timestamp(headers.get("date", ""))
    return seconds_without_calls(headers, sent, refused=False)


def _longest(waits: Iterable[float | None]) -> float | None:
    return max((wait for wait in waits if wait is not None), default=None)


def _milliseconds(value: str) -> float | None:
    is_number = re.fullmatch(r"[0-9]+(\.[0-9]+)?", value.strip())
    return min(float(value) / 1000, A_YEAR) if is_number else None


def _seconds(value: str, sent: int | None) -> float | None:
    if re.fullmatch(r"[0-9]+", value):
        return min(float(value), A_YEAR)  # `int` refuses thousands of digits
    until = _timestamp(value)
    if until is None or sent is None:
        return None
    return min(max(0.0, float(until - sent)), A_YEAR)


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
