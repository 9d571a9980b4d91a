"""Runs of consecutive results with the same outcome, until they are sent, and their limit."""

from __future__ import annotations

from ..statistics import Statistics

MAX_AGE = 10.0
"""Seconds after which a result no longer counts."""

MAX_RUNS = 10_000

RUN_SPAN = 1.0
"""The maximum length of a run in seconds, so that its age applies to all of its calls."""


class PendingRun:
    """A run of consecutive results with the same outcome that has not been sent.

    Args:
        generation: The generation in which its calls began.
        failed: Whether they failed.
        slow: Whether they were slow.
        label: The name of their failure.
        ended: The monotonic second at which the first of them ended.

    Attributes:
        outlived: Whether they began before an own decision of this instance that is over.
    """

    __slots__ = (
        "count",
        "ended",
        "failed",
        "generation",
        "label",
        "outlived",
        "shown",
        "slow",
        "until",
    )

    def __init__(self, generation: int, failed: bool, slow: bool, label: str, ended: float) -> None:
        self.generation: int = generation
        self.failed: bool = failed
        self.slow: bool = slow
        self.label: str = label
        self.outlived: bool = False
        self.count: int = 1
        self.shown: int = 0  # of these, how many a listener has seen
        self.ended: float = ended
        self.until: float = ended + RUN_SPAN

    def part(self, count: int) -> PendingRun:
        """Return a run of so many of its newest results."""
        part = PendingRun(self.generation, self.failed, self.slow, self.label, self.ended)
        part.outlived, part.count = self.outlived, count
        return part


class RunBudget:
    """The number of pending runs of all circuits of a shard.

    Args:
        statistics: Counts the results that exceeded the limit.
        limit: The maximum number of pending runs.
    """

    __slots__ = ("limit", "statistics", "used")

    def __init__(self, statistics: Statistics, limit: int = MAX_RUNS) -> None:
        self.statistics: Statistics = statistics
        self.limit: int = limit
        self.used: int = 0

    def lost(self, results: int) -> None:
        """Count results that exceeded the limit."""
        self.statistics.recorded += results
        self.statistics.dropped += results
