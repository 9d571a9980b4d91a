"""Calls under way on one circuit: how many of them have passed its limit.

Only circuits with a `slow_call` keep track of theirs. All have the same limit, so those that pass
it next are those that began first, and a dict in order of insertion is all that it takes. Calls
begin and end in any thread; each touches the dict once, in one step of the interpreter.
"""

from __future__ import annotations


class InFlight:
    """The calls of one circuit that are under way.

    Args:
        limit: The seconds after which a call is slow.

    Attributes:
        began: The generation and the monotonic second in which each began, by a number that no
            other call under way has.
        watched_in: Stands for the run in which somebody looks in time for the next call to pass
            the limit; None if nobody does.
    """

    __slots__ = ("began", "limit", "watched_in")

    def __init__(self, limit: float) -> None:
        self.limit: float = limit
        self.watched_in: object = None
        self.began: dict[int, tuple[int, float]] = {}

    def end(self, call: int) -> None:
        """A call has ended, or its time counts no longer."""
        self.began.pop(call, None)

    def count_slow(self, generation: int, now: float) -> tuple[int, float | None]:
        """How many calls of a generation have passed the limit, and when the next call will (None
        if no other is under way)."""
        overdue = 0
        # A list at one go: other threads, and the garbage collector, go on meanwhile.
        for theirs, began in list(self.began.values()):
            if began + self.limit > now:
                return overdue, began + self.limit
            overdue += theirs == generation
        return overdue, None
