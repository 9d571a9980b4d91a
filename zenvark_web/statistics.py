"""What an instance counts, in plain numbers: cheap to add to on every call, read at scrape time."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, OrderedDict

from ._core.states import Cause, HealthCheckType

DURATION_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds, those of the Node Zenvark."""

EFFECT_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

MAX_ERROR_CLASSES = 50
MAX_HEALTH_CHECKS = 4_000
MAX_OPENED = 4_000
OTHER_ERRORS = "other"

OPENING_CAUSES = (Cause.TRIPPED, Cause.IDLE_CHECK_FAILED)
"""What opens a closed circuit."""


class Distribution:
    """Observations counted by upper bound, as a Prometheus histogram wants them.

    Attributes:
        bounds: The upper bounds, rising; one more bucket holds what is above them all.
        counts: Observations per bucket (not cumulated).
        total: The sum of all observations.
    """

    __slots__ = ("__weakref__", "bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = DURATION_BOUNDS) -> None:
        self.bounds: tuple[float, ...] = bounds
        self.counts: list[int] = [0] * (len(bounds) + 1)
        self.total: float = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Openings:
    """How often one circuit was opened, by cause."""

    __slots__ = ("__weakref__", "counts")

    def __init__(self) -> None:
        self.counts: dict[Cause, int] = dict.fromkeys(OPENING_CAUSES, 0)


class Statistics:
    """What one coordinator has counted since it was made.

    Attributes:
        errors: Background errors by class name. Past so many classes, further ones are "other".
        recorded: Call results that have left this instance's buffer, in whatever way. In the end
            each is evaluated, expired or dropped.
        evaluated: Call results that a leader has judged. Leaders tell within about ten seconds.
        expired: Call results that had become too old to count.
        dropped: Call results that were lost: for want of room here, or with the store's data (which
            may have been judged before).
        batches: Entries written to the stream of results.
        unprotected: How often a breaker was asked for whose name was one new name too many: what is
            called through it is neither counted nor ever rejected.
        transitions: Transitions this instance published as a leader.
        effect: Seconds from the call result that decided a transition to its taking effect here.
        openings: How often this instance has opened a closed circuit, by circuit: as the leader for
            all, or for itself while it was cut off (`cut_off="local"`). So each opening is counted
            by one instance of the fleet. Past so many circuits, the one opened longest ago is
            forgotten.
        health_checks: Seconds that health checks took, by circuit, type and whether they passed.
            Past so many, the one not added to for longest is forgotten.
    """

    def __init__(self) -> None:
        self.errors: Counter[str] = Counter()
        self.recorded = 0
        self.evaluated = 0
        self.expired = 0
        self.dropped = 0
        self.batches = 0
        self.unprotected = 0
        self.transitions = 0
        self.effect: Distribution = Distribution(EFFECT_BOUNDS)
        self.openings: OrderedDict[str, Openings] = OrderedDict()
        self.health_checks: OrderedDict[tuple[str, HealthCheckType, bool], Distribution]
        self.health_checks = OrderedDict()

    def error_surfaced(self, error: Exception) -> str:
        """Count one background error; tells under which name."""
        name = type(error).__name__
        if name not in self.errors and len(self.errors) >= MAX_ERROR_CLASSES:
            name = OTHER_ERRORS
        self.errors[name] += 1
        return name

    def opened(self, circuit: str, cause: Cause) -> None:
        """Count one opening of a closed circuit."""
        counts = self.openings.setdefault(circuit, Openings()).counts
        counts[cause] = counts.get(cause, 0) + 1
        self.openings.move_to_end(circuit)
        if len(self.openings) > MAX_OPENED:
            self.openings.popitem(last=False)

    def health_check_ended(
        self, circuit: str, type_: HealthCheckType, passed: bool, seconds: float
    ) -> None:
        """Count one health check."""
        key = (circuit, type_, passed)
        self.health_checks.setdefault(key, Distribution()).observe(seconds)
        self.health_checks.move_to_end(key)
        if len(self.health_checks) > MAX_HEALTH_CHECKS:
            self.health_checks.popitem(last=False)
