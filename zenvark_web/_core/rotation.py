"""Whether a load balancer distributes calls in turn, and which instance is next."""

from __future__ import annotations

IN_TURN = 3
"""The calls in a row that must have come as expected."""

# Turns are a matter of few instances: among more, the next caller cannot be foretold.
MOST_CALLERS = 64


class Rotation:
    """The instances with calls, in the order of their last ones."""

    __slots__ = ("_as_expected", "_callers")

    def __init__(self) -> None:
        self._callers: dict[str, None] = {}
        self._as_expected = 0

    def note(self, instance: str, calls: int) -> None:
        """Record calls of an instance. Several calls at once have no order, which hardly matters at
        such a rate."""
        if calls > 1:
            self._callers.clear()
            self._as_expected = 0
        elif instance in self._callers:
            self._have_turn(instance)
        self._callers[instance] = None
        if len(self._callers) > MOST_CALLERS:
            self.discard(next(iter(self._callers)))

    def _have_turn(self, instance: str) -> None:
        expected = next(iter(self._callers))
        if instance != expected:
            self._as_expected = 0
            while next(iter(self._callers)) != instance:  # they may be gone
                del self._callers[next(iter(self._callers))]
        elif len(self._callers) > 1:
            self._as_expected += 1
        del self._callers[instance]

    def discard(self, instance: str) -> None:
        """Expect no call of an instance."""
        self._callers.pop(instance, None)

    @property
    def next(self) -> str | None:
        """The instance with the next turn, if calls come in turn."""
        return next(iter(self._callers), None) if self._as_expected >= IN_TURN else None
