"""Limits floods of errors: each problem is reported, and repetitions are only counted.

Each class of errors has its own limit, and each source within it, so that no problem hides another.
All errors are counted in any case.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum, auto
from typing import TypeAlias

from ..events import StateChange
from ..exceptions import ZenvarkError
from .host import Host

INTERVAL = 10.0
"""Seconds after which the limits of a class are reset."""

PER_SOURCE = 10
"""The number of reported errors of one class and source in an interval."""

SOURCES = 200
"""The number of sources of one class whose first error is reported in an interval."""

REPETITIONS = 50
"""The number of reported errors of one class that are not the first of their source in an interval.
"""

CHANGES = 1_000
"""The number of reported changes of circuits in use in an interval, and of other circuits."""

Source: TypeAlias = Hashable


class Verdict(Enum):
    """Whether to report an error."""

    TOLD = auto()
    HELD_BACK_FIRST = auto()
    """Not reported, as the first of its class and interval."""
    HELD_BACK = auto()


class Floods:
    """Limits reported errors. Thread-safe.

    Args:
        host: The monotonic clock.
    """

    def __init__(self, host: Host) -> None:
        self._monotonic = host.monotonic
        self._kinds: dict[str, _Interval] = {}

    def verdict(self, kind: str, source: Source) -> Verdict:
        """Decide whether to report an error.

        Args:
            kind: The name of the error's class, or another name from a bounded set.
            source: The affected object.
        """
        now = self._monotonic()
        interval = self._kinds.get(kind)
        if interval is None or now - interval.began >= INTERVAL:
            interval = self._kinds[kind] = _Interval(now)
        return interval.verdict(source)


class ChangeFloods:
    """Limits reported state changes: a process that joins may load thousands of open circuits, and
    made-up names cause as many. Circuits that were known before, or that several instances call,
    have a separate limit.

    Args:
        host: The monotonic clock.
    """

    def __init__(self, host: Host) -> None:
        self._monotonic = host.monotonic
        self._began = float("-inf")
        self._told = {True: 0, False: 0}
        self._held_back = False

    def verdict(self, change: StateChange) -> Verdict:
        """Decide whether to report a change."""
        now = self._monotonic()
        if now - self._began >= INTERVAL:
            self._began, self._told, self._held_back = now, {True: 0, False: 0}, False
        of_use = change.generation > 1 or len(change.reason.instances) > 1
        self._told[of_use] += 1
        if self._told[of_use] <= CHANGES:
            return Verdict.TOLD
        first, self._held_back = not self._held_back, True
        return Verdict.HELD_BACK_FIRST if first else Verdict.HELD_BACK


class _Interval:
    """The reports of one class since the interval began."""

    __slots__ = ("_held_back", "_repetitions", "_told", "began")

    def __init__(self, began: float) -> None:
        self.began = began
        self._told: dict[Source, int] = {}
        self._repetitions = 0
        self._held_back = False

    def verdict(self, source: Source) -> Verdict:
        # A source's first error has room of its own, which repetitions of others do not take.
        told = self._told.get(source, 0)
        if told:
            room = told < PER_SOURCE and self._repetitions < REPETITIONS
            self._repetitions += room
        else:
            room = len(self._told) < SOURCES
        if room:
            self._told[source] = told + 1
            return Verdict.TOLD
        first, self._held_back = not self._held_back, True
        return Verdict.HELD_BACK_FIRST if first else Verdict.HELD_BACK


def source_of(error: Exception) -> Source:
    """Return the affected object and the source of an error."""
    cause = type(error.__cause__)
    if isinstance(error, ZenvarkError):
        return error.circuit, error.source, cause
    return None, type(error).__qualname__, cause
