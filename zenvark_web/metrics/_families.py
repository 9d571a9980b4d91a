"""The metrics: their names, labels and cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import ClassVar, NamedTuple, TypeAlias

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from .._core.overrides import Override
from .._core.states import Role, State
from ..statistics import DURATION_BOUNDS, EFFECT_BOUNDS, Distribution

NAMESPACE = "namespace"
CIRCUIT = "breaker_id"

Labels: TypeAlias = tuple[str, ...]
Numbers: TypeAlias = tuple[float, ...]
"""The values of one series, one for each cell of its family."""


class Cell(NamedTuple):
    """One number of a series: a suffix of the family's name, optionally with a label."""

    suffix: str = ""
    label: Labels = ()
    case: Labels = ()


class Family:
    """One metric.

    Args:
        name: Its name, without the prefix.
        text: Its description.
        labels: Its labels, after that of the namespace.
        cells: The numbers of a series.
        mode: How prometheus_client merges the gauges of several processes.
    """

    kind: ClassVar[str]

    def __init__(
        self, name: str, text: str, labels: Labels, cells: Iterable[Cell], mode: str = ""
    ) -> None:
        self.name = name
        self.text = text
        self.labels: Labels = (NAMESPACE, *labels)
        self.cells = tuple(cells)
        self.mode = mode

    def metric(self, name: str, labels: Labels, series: Mapping[Labels, Numbers]) -> Metric:
        """The exported metric: its full name, and its numbers by label values."""
        raise NotImplementedError


class Counter(Family):
    """A counter."""

    kind = "counter"

    def __init__(self, name: str, text: str, *labels: str) -> None:
        super().__init__(name, text, labels, [Cell("_total")])

    def metric(self, name: str, labels: Labels, series: Mapping[Labels, Numbers]) -> Metric:
        """The exported metric."""
        metric = CounterMetricFamily(name, self.text, labels=labels)
        for case, (number,) in series.items():
            metric.add_metric(case, number)
        return metric


class Gauge(Family):
    """A gauge. With cases, each has a series of its own, by the label `by` (default: the name)."""

    kind = "gauge"

    def __init__(
        self,
        name: str,
        text: str,
        *labels: str,
        mode: str,
        cases: Iterable[str] = (),
        by: str = "",
    ) -> None:
        cells = [Cell("", (by or name,), (case,)) for case in cases] or [Cell()]
        super().__init__(name, text, labels, cells, mode)

    def metric(self, name: str, labels: Labels, series: Mapping[Labels, Numbers]) -> Metric:
        """The exported metric."""
        metric = GaugeMetricFamily(name, self.text, labels=(*labels, *self.cells[0].label))
        for case, numbers in series.items():
            for cell, number in zip(self.cells, numbers, strict=True):
                metric.add_metric((*case, *cell.case), number)
        return metric


class Durations(Family):
    """Durations."""

    def numbers(self, distribution: Distribution) -> Numbers:
        """The exported numbers of a distribution."""
        raise NotImplementedError


class Histogram(Durations):
    """A histogram: the count of each bucket, and the sum."""

    kind = "histogram"

    def __init__(self, name: str, text: str, *labels: str, bounds: tuple[float, ...]) -> None:
        self._bounds = [*map(str, bounds), "+Inf"]
        buckets = [Cell("_bucket", ("le",), (bound,)) for bound in self._bounds]
        super().__init__(name, text, labels, [*buckets, Cell("_sum")])

    def metric(self, name: str, labels: Labels, series: Mapping[Labels, Numbers]) -> Metric:
        """The exported metric."""
        metric = HistogramMetricFamily(name, self.text, labels=labels)
        for case, (*counts, total) in series.items():
            buckets = list(zip(self._bounds, accumulate(counts), strict=True))
            metric.add_metric(case, buckets, total)
        return metric

    def numbers(self, distribution: Distribution) -> Numbers:
        """The counts and the sum."""
        return (*distribution.counts, distribution.total)


class Summary(Durations):
    """A summary with the names of a histogram: the number, and the sum.

    Args:
        histogram: The histogram that it replaces.
    """

    kind = "summary"

    def __init__(self, histogram: Histogram) -> None:
        cells = [Cell("_count"), Cell("_sum")]
        super().__init__(histogram.name, histogram.text, histogram.labels[1:], cells)

    def metric(self, name: str, labels: Labels, series: Mapping[Labels, Numbers]) -> Metric:
        """The exported metric."""
        metric = SummaryMetricFamily(name, self.text, labels=labels)
        for case, (count, total) in series.items():
            metric.add_metric(case, int(count), total)
        return metric

    def numbers(self, distribution: Distribution) -> Numbers:
        """The number and the sum."""
        return (sum(distribution.counts), distribution.total)


CALLS = Histogram(
    "call_duration_seconds",
    "Duration of calls in seconds.",
    CIRCUIT,
    "result",
    bounds=DURATION_BOUNDS,
)
BLOCKED = Counter("blocked_requests", "Calls that a circuit rejected.", CIRCUIT)
FORCED = Counter(
    "forced_requests",
    "Calls that were rejected because an operator holds the circuit open.",
    CIRCUIT,
)
WOULD_BLOCK = Counter(
    "would_block",
    "Calls that a circuit would have rejected, and that an override or observe=True permitted.",
    CIRCUIT,
)
OVERRIDES = Gauge(
    "overrides",
    "Overrides of operators in force, as known to this process.",
    cases=Override,
    by="mode",
    mode="livemax",
)
CHECKS = Histogram(
    "healthcheck_duration_seconds",
    "Duration of the health checks of this instance in seconds.",
    CIRCUIT,
    "type",
    "result",
    bounds=DURATION_BOUNDS,
)
STATE = Gauge(
    "state",
    "1 for the state of the circuit, 0 for other states.",
    CIRCUIT,
    cases=State,
    mode="livemostrecent",
)
SHARE = Gauge(
    "admitted_share",
    "Share of calls that the circuit permits: 1 closed, 0 open or in a trial, else that of a ramp.",
    CIRCUIT,
    mode="livemostrecent",
)
OWN_STATE = Gauge(
    "own_state",
    "1 for the state by which this instance protects itself (quorum), 0 for other states.",
    CIRCUIT,
    cases=State,
    mode="livemostrecent",
)
FAILURES = Counter("failures", "Failed calls by kind: where they failed.", CIRCUIT, "kind")
REFUSALS = Counter(
    "quorum_refusals",
    "Decisions to open that this leader refused, because they did not reach the quorum.",
    CIRCUIT,
)
OPENINGS = Counter(
    "openings",
    "Openings of the circuit by this instance, as the leader or while cut off.",
    CIRCUIT,
    "cause",
)
ROLE = Gauge(
    "role",
    "Instances of this process with this role in the shard.",
    "shard",
    cases=Role,
    mode="livesum",
)
LED = Gauge(
    "led", "Instances of this process that know a leader of the shard.", "shard", mode="livesum"
)
CONNECTED = Gauge(
    "connected", "Instances of this process that are connected to their store.", mode="livesum"
)
RECORDED = Counter("results_recorded", "Call results that this instance recorded.")
EVALUATED = Counter("results_evaluated", "Call results of this instance that a leader evaluated.")
LOST = Counter(
    "results_lost", "Call results of this instance that were dropped or expired.", "reason"
)
ERRORS = Counter("errors", "Errors of background work.", "error")
BATCHES = Counter("batches", "Entries that this instance wrote to the results stream.")
UNPROTECTED = Counter(
    "unprotected", "Requests for a breaker without protection: too many new circuit names."
)
UNKNOWN_ENTRIES = Counter(
    "unknown_entries", "Entries of a newer version in the stream of states, which were skipped."
)
TRANSITIONS = Counter("transitions", "Transitions of circuits that this instance published.")
DELAY = Histogram(
    "transition_delay_seconds",
    "Seconds from the deciding result of a transition to its effect on this instance.",
    bounds=EFFECT_BOUNDS,
)


class Families(NamedTuple):
    """All metrics.

    Args:
        calls: The durations of calls.
        checks: The durations of health checks.
    """

    calls: Durations = CALLS
    checks: Durations = CHECKS

    @property
    def all(self) -> tuple[Family, ...]:
        """Each of them."""
        return (
            self.calls,
            BLOCKED,
            FORCED,
            WOULD_BLOCK,
            self.checks,
            STATE,
            SHARE,
            OWN_STATE,
            FAILURES,
            REFUSALS,
            OPENINGS,
            ROLE,
            LED,
            CONNECTED,
            OVERRIDES,
            RECORDED,
            EVALUATED,
            LOST,
            ERRORS,
            BATCHES,
            UNPROTECTED,
            UNKNOWN_ENTRIES,
            TRANSITIONS,
            DELAY,
        )


FULL = Families()
BRIEF = Families(Summary(CALLS), Summary(CHECKS))
