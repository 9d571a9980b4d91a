"""A sample of the newest failures of a closed circuit, which explains why it opened."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping

from .failure_kinds import FailureKind, kind_of
from .states import Cause, Reason
from .strategies import Strategy
from .windows import Trip

MAX_SAMPLE = 256

MAX_SUMMARY = 32
"""How many kinds of failures are kept for the next leader; the oldest give way."""


class FailureSample:
    """The newest failures, each with its instance and its label."""

    __slots__ = ("_failures",)

    def __init__(self) -> None:
        self._failures: deque[tuple[str, str, int, FailureKind]] = deque(maxlen=MAX_SAMPLE)

    def __len__(self) -> int:
        return len(self._failures)

    def add(self, instance: str, label: str, count: int, kind: FailureKind | None = None) -> None:
        """Add failures with one label on one instance. Their kind is that of the label, unless the
        instance knows better."""
        self._failures.append((instance, label, count, kind or kind_of(label)))

    def summary(self) -> tuple[tuple[str, str, int], ...]:
        """The failures by instance and kind, in the order of the newest of each kind."""
        kinds: dict[tuple[str, str], int] = {}
        for instance, label, count, _ in self._failures:
            kinds[instance, label] = kinds.pop((instance, label), 0) + count
        newest = list(kinds.items())[-MAX_SUMMARY:]
        return tuple((instance, label, count) for (instance, label), count in newest)

    def explain(self, trip: Trip, strategy: Strategy, in_flight: Mapping[str, int]) -> Reason:
        """The reason for a trip.

        Args:
            trip: The window's decision.
            strategy: The strategy that made the window.
            in_flight: Slow calls in flight that were counted, by instance.
        """
        instances: Counter[str] = Counter(in_flight)
        failures: Counter[str] = Counter()
        kinds: Counter[str] = Counter()
        left = trip.failures
        for instance, label, count, kind in reversed(self._failures):
            counted = min(count, left)
            left -= counted
            if counted:
                instances[instance] += counted
                failures[label or "failure"] += counted
                kinds[kind.value] += counted
        slow = f", {trip.slow} slow" if trip.slow else ""
        if in_flight:
            slow += f" ({sum(in_flight.values())} still in flight)"
        detail = f"{trip.failures} of {trip.calls} calls failed{slow}: {_shown(strategy)}"
        return Reason(
            cause=Cause.TRIPPED,
            detail=detail[:500],
            instances=dict(instances.most_common(10)),
            failures=dict(failures.most_common(5)),
            slow_share=trip.slow / trip.calls,
            kinds=dict(kinds.most_common()),
        )


def _shown(strategy: Strategy) -> str:
    """A strategy as a text that can be stored; a user's may not let itself be shown."""
    try:
        return repr(strategy).encode("utf-8", "replace").decode()
    except Exception:
        return type(strategy).__qualname__
