"""Calls in flight on one circuit: how many of them exceed its limit.

Only circuits with a `slow_call` track their calls. All calls have the same limit, so the oldest
calls exceed it first, and a dict in insertion order is enough. Calls begin and end in any thread;
each changes the dict once, in one step of the interpreter.
"""

from __future__ import annotations


class InFlight:
    """The calls in flight of one circuit.

    Args:
        limit: The seconds after which a call is slow.

    Attributes:
        began: The generation and the start of each call in monotonic seconds, by a number that is
            unique among the calls in flight.
        watched_in: Identifies the run whose monitor watches the next call to exceed the limit; None
            if there is none.
        look_at: The monotonic second of that monitor's next look.
    """

    __slots__ = ("began", "limit", "look_at", "watched_in")

    def __init__(self, limit: float) -> None:
        self.limit: float = limit
        self.watched_in: object = None
        self.look_at: float = float("inf")
        self.began: dict[int, tuple[int, float]] = {}

    def end(self, call: int) -> None:
        """Remove a call that has ended, or whose duration no longer counts."""
        self.began.pop(call, None)

    def count_slow(
        self, generation: int, now: float, since: float = float("-inf")
    ) -> tuple[int, float | None]:
        """The number of a generation's calls that began since a time and exceed the limit, and the
        time at which the next call will (None without further calls)."""
        overdue = 0
        # A list at one go: other threads, and the garbage collector, go on meanwhile.
        for theirs, began in list(self.began.values()):
            if began + self.limit > now:
                return overdue, began + self.limit
            overdue += theirs == generation and began >= since
        return overdue, None
