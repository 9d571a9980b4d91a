"""One loop's trouble with the store: told once, waited out with growing, jittered pauses."""

from __future__ import annotations

from collections.abc import Callable

from .._core.backoff import ExponentialBackoff
from ..exceptions import BackendError
from .notifier import Surface

PAUSES = ExponentialBackoff(initial=0.05, multiplier=2, maximum=1.0, jitter=0.5)


class Outage:
    """Counts failures in a row.

    Args:
        surface: Told the first failure of an outage, and each one of another kind.
        chance: Makes random numbers from 0 to 1.
    """

    def __init__(self, surface: Surface, chance: Callable[[], float]) -> None:
        self._surface = surface
        self._chance = chance
        self._failures = 0
        self._told: type[BaseException | None] | None = None

    def failed(self, error: BackendError) -> float:
        """Take note of a failure.

        Returns:
            The seconds to wait before the next try.
        """
        kind = type(error.__cause__)
        if kind is not self._told:
            self._told = kind
            self._surface.error(error)
        self._failures += 1
        return PAUSES.delay(self._failures, self._chance())

    def over(self) -> None:
        """Take note that the store answers."""
        self._failures = 0
        self._told = None
