"""The counters of an instance: plain numbers, cheap to update per call, read at scrape time."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Sequence
from functools import partial

from ._core.states import Cause, HealthCheckType

DURATION_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds, as in the Node Zenvark."""

EFFECT_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

MOST_RECENT = 1_000
"""The maximum number of observations that wait to be counted, where nobody counts them."""

# Classes are labels of a metric, and users may pass errors of any class to `report_error`.
MAX_ERROR_CLASSES = 50
MAX_HEALTH_CHECKS = 4_000
MAX_OPENED = 4_000
OTHER_ERRORS = "other"

OPENING_CAUSES = (Cause.TRIPPED, Cause.IDLE_CHECK_FAILED)
"""The causes that open a closed circuit."""


class Distribution:
    """Observations counted by upper bound, as in a Prometheus histogram.

    One thread observes, any thread reads. To append an observation takes a fraction of the time
    that counting it takes, so observations are counted many at a time.

    Args:
        bounds: The upper bounds, ascending; one more bucket holds the values above all of them.

    Attributes:
        bounds: The same.
        recent: Observations that are not counted yet. To append one is to observe it.
    """

    __slots__ = ("__weakref__", "_parts", "bounds", "recent")

    def __init__(self, bounds: tuple[float, ...] = DURATION_BOUNDS) -> None:
        self.bounds: tuple[float, ...] = bounds
        self.recent: list[float] = []
        # One attribute, so that a reader in another thread sees each observation once.
        self._parts = (0,) * (len(bounds) + 1), 0.0, self.recent

    @property
    def counts(self) -> list[int]:
        """Observations per bucket (not cumulative)."""
        counted, _, recent = self._parts
        return self._with(counted, recent.copy())

    @property
    def total(self) -> float:
        """The sum of all observations."""
        _, total, recent = self._parts
        return total + sum(recent)

    def observe(self, value: float) -> None:
        """Observe one value."""
        self.recent.append(value)
        if len(self.recent) >= MOST_RECENT:
            self.count()

    def count(self) -> None:
        """Count the recent observations. Called now and then, so that they do not pile up."""
        if self.recent:
            counts, total = tuple(self.counts), self.total
            self.recent = []
            self._parts = counts, total, self.recent

    def _with(self, counted: Sequence[int], recent: Sequence[float]) -> list[int]:
        counts = list(counted)
        for bucket, more in Counter(map(partial(bisect_left, self.bounds), recent)).items():
            counts[bucket] += more
        return counts


class Openings:
    """The number of openings of one circuit, by cause."""

    __slots__ = ("__weakref__", "counts")

    def __init__(self) -> None:
        self.counts: dict[Cause, int] = dict.fromkeys(OPENING_CAUSES, 0)


class Refusals:
    """The number of decisions of one circuit that did not reach its quorum."""

    __slots__ = ("__weakref__", "count")

    def __init__(self) -> None:
        self.count: int = 0


class Statistics:
    """The counters of one coordinator since its creation.

    Attributes:
        errors: Background errors by class name. Classes beyond the limit count as "other".
        recorded: Call results that have left this instance's buffer, for any reason. Each is
            evaluated, expired or dropped in the end.
        evaluated: Call results that a leader has evaluated, known after about ten seconds.
        expired: Call results that were too old to count.
        dropped: Call results that were lost because a buffer was full, or with the data of Redis
            (which may have been evaluated before).
        batches: Entries written to the stream of results.
        unprotected: Requests for a breaker whose name exceeded the limit for new names: its calls
            are neither counted nor rejected.
        unknown_entries: Entries of the stream of states that this version does not know.
        transitions: Transitions that this instance published as the leader.
        effect: Seconds from the call result that decided a transition to its effect here.
        openings: Transitions from closed to open by this instance, by circuit: as the leader for
            all, or for itself while it was cut off (`cut_off="local"`). Each opening is counted by
            one instance of the fleet. Beyond the limit, the circuit with the oldest opening is
            forgotten.
        quorum_refusals: Decisions to open that this instance refused as the leader, because they
            did not reach the circuit's quorum, by circuit. Bounded as `openings`.
        health_checks: Durations of health checks in seconds, by circuit, type and result. Beyond
            the limit, the least recently updated entry is forgotten.
    """

    def __init__(self) -> None:
        self.errors: Counter[str] = Counter()
        self.recorded = 0
        self.evaluated = 0
        self.expired = 0
        self.dropped = 0
        self.batches = 0
        self.unprotected = 0
        self.unknown_entries = 0
        self.transitions = 0
        self.effect: Distribution = Distribution(EFFECT_BOUNDS)
        self.openings: OrderedDict[str, Openings] = OrderedDict()
        self.quorum_refusals: OrderedDict[str, Refusals] = OrderedDict()
        self.health_checks: OrderedDict[tuple[str, HealthCheckType, bool], Distribution]
        self.health_checks = OrderedDict()

    def error_surfaced(self, error: Exception) -> str:
        """Count one background error and return the name under which it was counted."""
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

    def quorum_refused(self, circuit: str) -> None:
        """Count one decision that did not reach its quorum."""
        self.quorum_refusals.setdefault(circuit, Refusals()).count += 1
        self.quorum_refusals.move_to_end(circuit)
        if len(self.quorum_refusals) > MAX_OPENED:
            self.quorum_refusals.popitem(last=False)

    def health_check_ended(
        self, circuit: str, type_: HealthCheckType, passed: bool, seconds: float
    ) -> None:
        """Count one health check."""
        key = (circuit, type_, passed)
        self.health_checks.setdefault(key, Distribution()).observe(seconds)
        self.health_checks.move_to_end(key)
        if len(self.health_checks) > MAX_HEALTH_CHECKS:
            self.health_checks.popitem(last=False)
