"""The instances that may have the next call of a circuit that is not closed."""

from __future__ import annotations

from .rotation import Rotation
from .trial import Demand


class Callers:
    """The instances with calls, and the choice of the next holder of a grant."""

    __slots__ = ("_demand", "_rotation")

    def __init__(self) -> None:
        self._demand = Demand()
        self._rotation = Rotation()

    def note(self, instance: str, calls: int, blocked: int, now: float) -> None:
        """Record an instance's calls since its last report.

        Args:
            instance: The instance.
            calls: The number of its calls.
            blocked: The number of rejected calls among them.
            now: The leader's seconds.
        """
        if calls:
            self._rotation.note(instance, calls)
        if blocked:
            self._demand.note(instance, blocked, now)

    @property
    def next(self) -> str | None:
        """The instance with the next turn, if calls come in turn."""
        return self._rotation.next

    def likeliest(self, now: float, *, besides: str = "") -> str | None:
        """The instance to hold the next grant, if any has blocked callers.

        Args:
            now: The leader's seconds.
            besides: An instance to leave out.
        """
        likeliest = self._demand.likeliest(now, besides=besides)
        if besides:
            return likeliest
        # Behind a load balancer that deals calls out in turn, the next call is not where most were.
        return likeliest and (self._rotation.next or likeliest)

    def discard(self, instance: str) -> None:
        """Expect no call of an instance until it reports again."""
        self._demand.discard(instance)
        self._rotation.discard(instance)

    def forget_blocked(self) -> None:
        """Forget the blocked callers, which may be served now: a grant to them would be unused."""
        self._demand = Demand()
