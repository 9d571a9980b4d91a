"""What a test tells an instance before it runs."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One instance's settings.

    Args:
        url: The Redis server.
        namespace: The fleet.
        upstream: The URL that traffic goes to, and that a health check asks at `/health`.
        lease_ttl: As `Coordinator` has it.
        shards: As `Coordinator` has it.
        housekeeping: Seconds between the rounds in which a leader settles accounts, and in which
            an instance asks for its own.
        threshold: Failures in a row that open a circuit.
        wait: Seconds of an open circuit's first wait.
        multiplier: The growth of each further wait.
        trial_calls: As `BreakerPolicy` has it.
        time_to_use: Seconds for which a permit is left to its holder at least.
        ramp: As `BreakerPolicy` has it.
        ramp_step: As `BreakerPolicy` has it.
        health_check: Whether circuits recover by a health check.
        slow_call: As `BreakerPolicy` has it. With it, so many slow calls (`threshold`) open a
            circuit that had no others.
        notes: The list in Redis to which `on_published` appends each transition; none if empty.
    """

    url: str
    namespace: str
    upstream: str
    lease_ttl: float = 1.0
    shards: int = 1
    housekeeping: float = 5.0
    threshold: int = 5
    wait: float = 0.3
    multiplier: float = 1.0
    trial_calls: int = 1
    time_to_use: float = 0.5
    ramp: Sequence[float] = ()
    ramp_step: float = 5.0
    health_check: bool = False
    slow_call: float | None = None
    notes: str = ""
