"""Limits the unknown circuits of an instance while the leader is behind.

Made-up names cost a leader work for each name. While it can keep up, it evaluates all of them. When
it falls behind, all decisions would be late: then circuits that an instance creates too fast are
skipped, and only these circuits stay closed.
"""

from __future__ import annotations

from collections import OrderedDict

BEHIND = 0.25
"""Seconds of age after which an evaluated report counts as late."""

BURST = 1_000
RATE = 100.0
"""The number of new names of an instance that a late leader accepts at once, and in each second."""

# The names come from the stream of results, in which any writer can make them up.
MAX_INSTANCES = 10_000


class Newcomers:
    """Counts the new names of each instance."""

    def __init__(self) -> None:
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def admit(self, instance: str, at: float, now: float) -> bool:
        """Admit or skip a new name.

        Args:
            instance: The instance that reports it.
            at: The time of the report.
            now: The current time in seconds.

        Returns:
            Whether to evaluate it.
        """
        # A token bucket for each instance. Names on time are admitted even without a token.
        left, since = self._left.pop(instance, (float(BURST), at))
        left = min(BURST, left + max(0.0, at - since) * RATE)
        admitted = left >= 1 or now - at <= BEHIND
        self._left[instance] = max(0.0, left - admitted), max(at, since)
        if len(self._left) > MAX_INSTANCES:
            self._left.popitem(last=False)
        return admitted
