"""The Prometheus exporter that users pass to their coordinators."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from threading import Lock

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import Metric

from .._core._checks import check_whole
from .._runtime import forks
from ..coordinator import Coordinator
from . import _files
from ._collected import Collected
from ._families import BRIEF, FULL, Family, Labels, Numbers

RESERVED_LABELS = {
    *(label for family in FULL.all for label in family.labels),
    *(label for family in FULL.all for cell in family.cells for label in cell.label),
    "pid",
}


class PrometheusMetrics:
    """Exports coordinators to Prometheus.

        metrics = PrometheusMetrics()
        coordinator = Coordinator("redis://localhost:6379", metrics=metrics)

    Create one for the process. It accepts any number of coordinators, exports each from its start
    to its stop, and merges the coordinators of one namespace.

    Args:
        registry: The registry of the metrics, which are registered at once.
        prefix: The prefix of the metrics' names.
        labels: Labels of all series, such as `{"service": "shop"}`.
        max_circuits: The number of circuits with series of their own, in each process. Further ones
            are summed up as `breaker_id="_other"`.
        histograms: Whether to export the durations of calls and health checks in buckets. False
            exports only their number and sum, with a third of the series.

    Raises:
        ValueError: The registry already has metrics of these names, or the prefix, a label or a
            number is not usable; the message says what to pass.
        TypeError: A label's value is not a string, or a setting has the wrong type.
    """

    def __init__(
        self,
        registry: CollectorRegistry = REGISTRY,
        *,
        prefix: str = "zenvark",
        labels: Mapping[str, str] | None = None,
        max_circuits: int = 1_000,
        histograms: bool = True,
    ) -> None:
        if not isinstance(registry, CollectorRegistry):
            raise TypeError(f"registry must be a CollectorRegistry, not {registry!r}")
        labels = dict(labels or {})
        _check_prefix(prefix)
        _check_labels(labels)
        check_whole("max_circuits", max_circuits)
        self._families = FULL if histograms else BRIEF
        self._prefix = prefix
        self._labels = tuple(labels)
        self._cases = tuple(labels.values())
        self._collected = Collected(self._families, max_circuits)
        self._files = (
            _files.ValueFiles(self._families, prefix, labels, max_circuits)
            if _files.wanted()
            else None
        )
        self._lock = Lock()
        self._coordinators: tuple[Coordinator, ...] = ()  # replaced, never changed
        _register(self, registry, prefix)
        forks.watch(self, PrometheusMetrics._begin_anew)

    def attach(self, coordinator: Coordinator) -> None:
        """Start exporting this coordinator."""
        with self._lock:
            if coordinator not in self._coordinators:
                self._coordinators = (*self._coordinators, coordinator)
        self.update(coordinator)

    def update(self, coordinator: Coordinator) -> None:
        """Write the numbers into the shared files, in the multiprocess mode."""
        if self._files is not None:
            with self._lock:
                self._files.write(coordinator, self._coordinators)

    def detach(self, coordinator: Coordinator) -> None:
        """Stop exporting this coordinator."""
        with self._lock:
            self._coordinators = tuple(
                each for each in self._coordinators if each is not coordinator
            )
        if self._files is not None:
            with self._lock:
                # All of it: nobody writes for this coordinator any more.
                self._files.write(coordinator, self._coordinators, whole=True)

    def describe(self) -> Iterator[Metric]:
        """Return the metrics' names, with which a registry detects duplicates."""
        for family in self._families.all:
            yield self._metric(family, {})

    def collect(self) -> Iterator[Metric]:
        """Return the metrics of this process. Thread-safe."""
        for family, series in self._collected.collect(self._coordinators).items():
            yield self._metric(family, series)

    def _begin_anew(self) -> None:
        """In a child process after a fork: no coordinator runs, and no thread holds the lock."""
        self._lock = Lock()
        self._collected.begin_anew()
        self._coordinators = ()

    def _metric(self, family: Family, series: Mapping[Labels, Numbers]) -> Metric:
        return family.metric(
            f"{self._prefix}_{family.name}",
            (*self._labels, *family.labels),
            {(*self._cases, *labels): numbers for labels, numbers in series.items()},
        )


def _register(metrics: PrometheusMetrics, registry: CollectorRegistry, prefix: str) -> None:
    try:
        registry.register(metrics)
    except ValueError as error:
        raise ValueError(
            f"the registry already has metrics called {prefix}_…: pass one PrometheusMetrics to "
            "all coordinators, or choose another prefix or registry"
        ) from error


def _check_prefix(prefix: str) -> None:
    if not re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", prefix):
        raise ValueError(f"prefix must be made of letters, digits and underscores, not {prefix!r}")


def _check_labels(labels: Mapping[str, str]) -> None:
    for name, value in labels.items():
        if not re.fullmatch("(?!__)[a-zA-Z_][a-zA-Z0-9_]*", name):
            raise ValueError(
                "a label's name must be made of letters, digits and underscores, and not begin "
                f"with two of those, unlike {name!r}"
            )
        if name in RESERVED_LABELS:
            raise ValueError(f"the label {name!r} is set by these metrics: choose another name")
        if not isinstance(value, str):
            raise TypeError(f"the label {name!r} must have a string as its value, not {value!r}")
