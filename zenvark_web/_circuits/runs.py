"""Runs: results in a row that ended alike, as they wait to be sent, and how many may wait."""

from __future__ import annotations

from ..statistics import Statistics

MAX_AGE = 10.0
"""Seconds after which a result no longer counts."""

MAX_RUNS = 10_000

RUN_SPAN = 1.0
"""Seconds that a run may span, so that its age is true for all of its calls."""


class PendingRun:
    """Results in a row that ended alike and have not been sent."""

    __slots__ = ("count", "ended", "failed", "generation", "label", "shown", "slow", "until")

    def __init__(self, generation: int, failed: bool, slow: bool, label: str, ended: float) -> None:
        self.generation: int = generation
        self.failed: bool = failed
        self.slow: bool = slow
        self.label: str = label
        self.count: int = 1
        self.shown: int = 0  # of these, how many a listener has taken to judge them here
        self.ended: float = ended
        self.until: float = ended + RUN_SPAN


class RunBudget:
    """How many runs of all circuits of a shard wait to be sent.

    Args:
        statistics: Counts the results for which there was no room.
        limit: The most runs that may wait.
    """

    __slots__ = ("limit", "statistics", "used")

    def __init__(self, statistics: Statistics, limit: int = MAX_RUNS) -> None:
        self.statistics: Statistics = statistics
        self.limit: int = limit
        self.used: int = 0

    def lost(self, results: int) -> None:
        """Count results for which there is no room."""
        self.statistics.recorded += results
        self.statistics.dropped += results
