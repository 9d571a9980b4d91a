"""The rate limits that an upstream states in its headers.

An upstream may have several limits at a time (per minute and per day, requests and tokens). Each
has a number of what is left and a time until it begins anew.

Read are `RateLimit` (draft-ietf-httpapi-ratelimit-headers), its predecessors `RateLimit-Remaining`
and `RateLimit-Reset`, `x-ratelimit-remaining-*` and `x-ratelimit-reset-*` (OpenAI), and
`anthropic-ratelimit-*-remaining` and `-reset`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

A_YEAR = 31_536_000.0

PREFIXES = b"ratelimit", b"x-ratelimit-re", b"anthropic-ratelimit-"

LONGEST_VALUE = 1000
"""Longer fields are not read: they come from others."""

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[smhd])")


@dataclass(slots=True)
class Limit:
    """One rate limit.

    Args:
        left: What is left of it; None if that is not stated.
        reset: The seconds until it begins anew; None if that is not stated.
    """

    left: float | None = None
    reset: float | None = None


def seconds_without_calls(headers: Any, sent: float | None, *, refused: bool) -> float | None:
    """The seconds until all limits of which nothing is left have begun anew, at most a year. None
    without such a limit.

    Args:
        headers: Those of a response.
        sent: The POSIX second of the response's own `Date`, to which times are relative.
        refused: Whether the response is a refusal: then a limit of which only the reset is stated
            has nothing left, either.
    """
    waits = [
        limit.reset
        for limit in _limits(headers, sent)
        if limit.reset is not None and (limit.left == 0 or (refused and limit.left is None))
    ]
    return max(waits, default=None)


def _limits(headers: Any, sent: float | None) -> Iterable[Limit]:
    named: dict[str, Limit] = {}
    for raw_name, raw_value in headers.raw:
        name = raw_name.lower()
        if not name.startswith(PREFIXES) or len(raw_value) > LONGEST_VALUE:
            continue
        name, value = name.decode("ascii", "replace"), raw_value.decode("ascii", "replace").strip()
        if name == "ratelimit":
            yield from _structured(value)
        elif "remaining" in name:
            named.setdefault(name.replace("remaining", ""), Limit()).left = _number(value)
        elif "reset" in name:
            named.setdefault(name.replace("reset", ""), Limit()).reset = _until(value, sent)
    yield from named.values()


def _structured(value: str) -> Iterable[Limit]:
    """The limits of a `RateLimit` field: a list of names with the parameters `r` and `t`."""
    unquoted = re.sub(r'"[^"]*"', "name", re.sub(r"\\.", "", value))
    for member in unquoted.split(","):
        parts = (part.strip().partition("=") for part in member.split(";")[1:])
        parameters = {name: number for name, _, number in parts}
        yield Limit(_number(parameters.get("r", "")), _number(parameters.get("t", "")))


def _number(value: str) -> float | None:
    return min(float(value), A_YEAR) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value) else None


def _until(value: str, sent: float | None) -> float | None:
    """The seconds of a number, of a duration such as `6m0s`, or until an RFC 3339 time."""
    number = _number(value)
    if number is not None:
        return number
    if DURATION.sub("", value) == "" != value:
        return min(sum(float(n) * UNITS[unit] for n, unit in DURATION.findall(value)), A_YEAR)
    return None if sent is None else _until_time(value, sent)


def _until_time(value: str, sent: float) -> float | None:
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            return None
        return min(max(0.0, moment.timestamp() - sent), A_YEAR)
    except (ValueError, OverflowError):
        return None
