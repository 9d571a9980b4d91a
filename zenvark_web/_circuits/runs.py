"""Runs: results in a row that ended alike, as they wait to be sent."""

from __future__ import annotations

MAX_AGE = 10.0
"""Seconds after which a result no longer counts."""

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
        self.shown: int = 0  # of these, how many a witness has seen
        self.ended: float = ended
        self.until: float = ended + RUN_SPAN
