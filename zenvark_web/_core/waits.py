"""The waits of one open circuit: its backoff, and the Retry-After deadline of its upstream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .backoff import ExponentialBackoff, next_attempt, wait_of
from .policy import BreakerPolicy
from .retry_after import RetryAfterDeadline
from .states import Reason, State, Transition

DEFAULT_BACKOFF = ExponentialBackoff()

LEAST_LENGTHENING = 1.0
"""A wait that is extended by fewer seconds is not published again, but the extension is kept."""


class Waits:
    """Decides how long a circuit stays open.

    Args:
        policy: The circuit's policy.
        chance: Returns random numbers from 0 to 1, for jitter.
        faults: Receives errors of a user's backoff, which the default has replaced.

    Attributes:
        asked: The upstream's Retry-After deadline.
    """

    __slots__ = ("_chance", "_faults", "_policy", "asked")

    def __init__(
        self, policy: BreakerPolicy, chance: Callable[[], float], faults: list[Exception]
    ) -> None:
        self._policy = policy
        self._chance = chance
        self._faults = faults
        self.asked: RetryAfterDeadline = RetryAfterDeadline(policy.max_retry_after)

    def next_attempt(self, latest: Transition, now: float) -> int:
        """The number of the attempt that follows a transition, if its circuit opens now."""
        healthy = now - latest.at if latest.state is State.CLOSED else 0.0
        return next_attempt(latest.attempt, healthy, self._policy.forgive)

    def before(self, attempt: int) -> float:
        """The wait before an attempt. The default backoff replaces one that raises, so that the
        circuit opens in any case."""
        chance = self._chance()
        try:
            return wait_of(self._policy.backoff, attempt, chance)
        except Exception as error:
            self._faults.append(error)
            return DEFAULT_BACKOFF.delay(attempt, chance)

    def held(self, delay: float, reason: Reason, now: float) -> tuple[float, Reason]:
        """Return a wait that does not end before the Retry-After deadline, and its reason."""
        asked = self.asked.until - now
        if asked <= delay:
            return delay, reason
        detail = f"{reason}; the upstream asked to wait {asked:.1f} s"
        return asked, replace(reason, detail=detail)

    def is_too_short(self, latest: Transition, now: float) -> bool:
        """Whether the deadline is beyond the wait of an open circuit, enough to publish it."""
        return self.asked.until >= max(latest.retry_at, now) + LEAST_LENGTHENING
