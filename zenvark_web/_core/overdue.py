"""Slow calls in flight, as instances report them to the leader."""

from __future__ import annotations

from collections.abc import Mapping

OVERDUE_SILENCE = 3.0
"""Seconds without a report after which an instance's slow calls no longer count. It reports them
about once a second."""

# The names come from the stream of results, in which any writer can make them up.
MAX_INSTANCES = 1_000


class Overdue:
    """The number of slow calls of the current generation in flight, by instance."""

    __slots__ = ("_told", "_total")

    def __init__(self) -> None:
        self._told: dict[str, tuple[int, float]] = {}
        self._total = 0

    def __len__(self) -> int:
        return len(self._told)

    def note(self, instance: str, count: int, now: float) -> None:
        """Record the number that an instance reports."""
        self._forget(instance)  # so that the dict stays in order of time
        if count:
            self._told[instance] = (count, now)
            self._total += count
        if len(self._told) > MAX_INSTANCES:
            self._forget(next(iter(self._told)))

    def total(self, now: float) -> int:
        """Their number, by recent reports."""
        while self._told:
            instance, (_, at) = next(iter(self._told.items()))
            if now - at <= OVERDUE_SILENCE:
                break
            self._forget(instance)
        return self._total

    @property
    def counts(self) -> Mapping[str, int]:
        """Their numbers by instance."""
        return {instance: count for instance, (count, _) in self._told.items()}

    def _forget(self, instance: str) -> None:
        count, _ = self._told.pop(instance, (0, 0.0))
        self._total -= count
