"""Which of many errors are told: enough to know each trouble, too few to drown in.

Each class of errors has a limit of its own, and in it each source, so that no trouble hides
another. All are counted in any case.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum, auto
from typing import TypeAlias

from ..events import StateChange
from ..exceptions import ZenvarkError
from .host import Host

INTERVAL = 10.0
"""Seconds after which all begins anew for a class of errors."""

PER_SOURCE = 10
"""Of one class about one source, so many are told within an interval."""

SOURCES = 200
"""Of one class, the first errors of so many sources are told within an interval."""

REPETITIONS = 50
"""Of one class, so many that are not the first of their source are told within an interval."""

CHANGES = 1_000
"""So many changes of circuits that are in use are told within an interval, and of others."""

Source: TypeAlias = Hashable


class Verdict(Enum):
    """Whether an error is told."""

    TOLD = auto()
    HELD_BACK_FIRST = auto()
    """It is the first of its class and interval that is not told."""
    HELD_BACK = auto()


class Floods:
    """Limits what is told. May be asked from any thread.

    Args:
        host: Has the monotonic seconds.
    """

    def __init__(self, host: Host) -> None:
        self._monotonic = host.monotonic
        self._kinds: dict[str, _Interval] = {}

    def verdict(self, kind: str, source: Source) -> Verdict:
        """Whether to tell a trouble.

        Args:
            kind: The name of an error's class, or the like, of which there is a bounded number.
            source: What it is about.
        """
        now = self._monotonic()
        interval = self._kinds.get(kind)
        if interval is None or now - interval.began >= INTERVAL:
            interval = self._kinds[kind] = _Interval(now)
        return interval.verdict(source)


class ChangeFloods:
    """Limits how many changes of circuits are told: a process that joins may find thousands open,
    and whoever makes names up makes as many. Circuits that were known before, or that several
    instances call, have a share that these do not take.

    Args:
        host: Has the monotonic seconds.
    """

    def __init__(self, host: Host) -> None:
        self._monotonic = host.monotonic
        self._began = float("-inf")
        self._told = {True: 0, False: 0}
        self._held_back = False

    def verdict(self, change: StateChange) -> Verdict:
        """Whether to tell a change."""
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
    """What has been told of one class since the interval began."""

    __slots__ = ("_held_back", "_repetitions", "_told", "began")

    def __init__(self, began: float) -> None:
        self.began = began
        self._told: dict[Source, int] = {}
        self._repetitions = 0
        self._held_back = False

    def verdict(self, source: Source) -> Verdict:
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
    """What an error is about, and what it comes from."""
    cause = type(error.__cause__)
    if isinstance(error, ZenvarkError):
        return error.circuit, error.source, cause
    return None, type(error).__qualname__, cause
