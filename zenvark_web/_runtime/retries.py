"""The pauses between a loop's retries while the store fails: reported once, growing, jittered."""

from __future__ import annotations

from .._core.backoff import ExponentialBackoff
from ..exceptions import BackendError
from .instance import Instance

PAUSES = ExponentialBackoff(initial=0.05, multiplier=2, maximum=1.0, jitter=0.5)


class RetryBackoff:
    """Counts a loop's failures in a row.

    Args:
        instance: Reports the first failure of an outage, and each one of another kind.
    """

    def __init__(self, instance: Instance) -> None:
        self._notifier = instance.notifier
        self._chance = instance.host.chance
        self._failures = 0
        self._reported: type[BaseException | None] | None = None

    def failed(self, error: BackendError) -> float:
        """Count a failure.

        Returns:
            The seconds to wait before the next try.
        """
        kind = type(error.__cause__)
        if kind is not self._reported:
            self._reported = kind
            self._notifier.report_error(error)
        self._failures += 1
        return PAUSES.delay(self._failures, self._chance())

    def over(self) -> None:
        """The store answers."""
        self._failures = 0
        self._reported = None
