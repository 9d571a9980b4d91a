"""Successes of a circuit in good health, summed up until they matter."""

from __future__ import annotations

MOST_SENDERS = 64
"""The most senders of single calls that are kept in order, as many as `Rotation` knows."""


class Lull:
    """The successes of a closed circuit that its window has not recorded yet.

    Nearly all reports of a healthy fleet consist of successes, and nothing depends on one of them:
    they cannot trip the window, and their sum has the effect of each. The circuit records the sum
    before anything else happens to it.

    Args:
        generation: The circuit's generation.
        step: The window counts successes of one step of so many seconds alike.

    Attributes:
        count: The number of successes.
        newest: When the last of them ended.
        heard_at: When the last report of them was applied.
        instances: Their senders.
        callers: The senders and numbers that determine whose turn the next call is, in order.
    """

    __slots__ = (
        "_index",
        "_step",
        "callers",
        "count",
        "generation",
        "heard_at",
        "instances",
        "newest",
    )

    def __init__(self, generation: int, step: float) -> None:
        self.generation = generation
        self.count = 0
        self.newest = float("-inf")
        self.heard_at = float("-inf")
        self.instances: set[str] = set()
        self.callers: list[tuple[str, int]] = []
        self._step = step
        self._index: float | None = None

    def add(self, instance: str, generation: int, count: int, at: float, now: float) -> bool:
        """Add successes.

        Args:
            instance: The sender.
            generation: The generation of the calls, which is also the latest that the sender knows.
            count: The number of calls.
            at: When they ended.
            now: The leader's seconds.

        Returns:
            Whether that was possible. If not, the circuit must record the sum first.
        """
        index = at // self._step
        if generation != self.generation or (self._index is not None and self._index != index):
            return False
        if count > 1:  # what came before has no order: see `Rotation`
            self.callers.clear()
        elif len(self.callers) == MOST_SENDERS:
            return False
        self._index = index
        self.callers.append((instance, count))
        self.instances.add(instance)
        self.count += count
        self.newest = max(self.newest, at)
        self.heard_at = now
        return True
