"""How many circuits that nobody has heard of an instance may bring a leader that is behind.

Whoever makes names up makes a leader work for each. As long as it keeps up with that, it does. When
it falls behind, everybody's verdicts would come late: then those that an instance brings too fast
are left out, and its circuits alone stay closed.
"""

from __future__ import annotations

from collections import OrderedDict

BEHIND = 0.25
"""Seconds after which a report that is judged is late."""

BURST = 1_000
RATE = 100.0
"""So many new names an instance may bring a late leader at once, and in each second."""

MAX_INSTANCES = 10_000


class Newcomers:
    """Counts the new names of each instance."""

    def __init__(self) -> None:
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def admit(self, instance: str, at: float, now: float) -> bool:
        """Take note of a new name.

        Args:
            instance: Who brings it.
            at: When it was told.
            now: Seconds.

        Returns:
            Whether there is time for it.
        """
        left, since = self._left.pop(instance, (float(BURST), at))
        left = min(BURST, left + max(0.0, at - since) * RATE)
        admitted = left >= 1 or now - at <= BEHIND
        self._left[instance] = max(0.0, left - admitted), max(at, since)
        if len(self._left) > MAX_INSTANCES:
            self._left.popitem(last=False)
        return admitted
