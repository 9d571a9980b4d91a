"""OpenTelemetry: the numbers of coordinators as metrics, and events on the current span.

    from zenvark_web.otel import OpenTelemetry

    coordinator = Coordinator("redis://localhost:6379", metrics=OpenTelemetry())

Needs opentelemetry-api: `pip install "zenvark-web[otel]"`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from threading import Lock
from typing import Any

try:
    from opentelemetry import metrics, trace
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        'zenvark_web.otel needs opentelemetry-api: pip install "zenvark-web[otel]"',
        name="opentelemetry",
    ) from _error

from ._runtime import forks
from .coordinator import Coordinator, observe_calls
from .exceptions import MetricsError
from .metrics import _collected, _families

__all__ = ["OpenTelemetry"]

SCOPE = "zenvark_web"
FRESH_FOR = 0.5
"""Seconds for which numbers are used again: an export asks for one instrument after the other."""


class OpenTelemetry:
    """Exports coordinators to OpenTelemetry.

    Metrics have the names, units and attributes of `PrometheusMetrics` (durations as their number
    and sum). Observable instruments read plain numbers when an exporter asks for them.

    A call that is rejected, replaced by a fallback, or permitted only because of an override or
    `observe` (uncounted), adds an event to the current span: `zenvark.rejected`,
    `zenvark.fallback` or `zenvark.uncounted`, with `zenvark.circuit`, `zenvark.state`,
    `zenvark.generation`, and for a rejection `zenvark.forced` and `error.type="circuit_open"`.

    Create one for the process; it accepts any number of coordinators. Whatever a provider raises
    harms no call, and is reported once as a `MetricsError`.

    Args:
        meter_provider: Default: the global one.
        span_events: Whether calls add events to the current span, of whichever tracer provider.
        max_circuits: The number of circuits with series of their own. Further ones are summed up as
            `breaker_id="_other"`.
    """

    def __init__(
        self,
        meter_provider: metrics.MeterProvider | None = None,
        *,
        span_events: bool = True,
        max_circuits: int = 1_000,
    ) -> None:
        self._provider = meter_provider
        self._span_events = span_events
        self._collected = _collected.Collected(_families.BRIEF, max_circuits)
        self._coordinators: tuple[Coordinator, ...] = ()  # replaced, never changed
        self._lock = Lock()
        self._shown: _collected.Shown = {}
        self._shown_at = float("-inf")
        self._created = False
        self._failed = False
        forks.watch(self, OpenTelemetry._begin_anew)

    def attach(self, coordinator: Coordinator) -> None:
        """Start exporting this coordinator."""
        with self._lock:
            if coordinator not in self._coordinators:
                self._coordinators = (*self._coordinators, coordinator)
            if not self._created:
                self._created = True
                self._create()
        if self._span_events:
            observe_calls(coordinator, partial(self._add_event, coordinator))

    def update(self, coordinator: Coordinator) -> None:
        """Do nothing: exporters ask for the numbers."""

    def detach(self, coordinator: Coordinator) -> None:
        """Stop exporting this coordinator."""
        observe_calls(coordinator, None)
        with self._lock:
            self._coordinators = tuple(
                each for each in self._coordinators if each is not coordinator
            )
            self._shown_at = float("-inf")

    def _begin_anew(self) -> None:
        """In a child process after a fork: no coordinator runs, and no thread holds the lock."""
        self._lock = Lock()
        self._collected.begin_anew()
        self._coordinators = ()
        self._shown_at = float("-inf")

    def _create(self) -> None:
        meter = metrics.get_meter(SCOPE, meter_provider=self._provider)
        for family in _families.BRIEF.all:
            for place, cell in enumerate(family.cells):
                if family.kind == "gauge" and place:
                    continue  # one instrument for all cases
                name = f"zenvark.{family.name}{cell.suffix}".removesuffix("_total")
                gauge = family.kind == "gauge"
                create = meter.create_observable_gauge if gauge else meter.create_observable_counter
                places = range(len(family.cells)) if gauge else (place,)
                read = partial(self._read, family, tuple(places))
                create(name, callbacks=[read], description=family.text)

    def _read(
        self, family: _families.Family, places: Sequence[int], _: metrics.CallbackOptions
    ) -> Iterable[metrics.Observation]:
        return [
            metrics.Observation(
                numbers[place],
                dict(
                    zip(
                        (*family.labels, *family.cells[place].label),
                        (*labels, *family.cells[place].case),
                        strict=True,
                    )
                ),
            )
            for labels, numbers in self._series().get(family, {}).items()
            for place in places
        ]

    def _series(self) -> Mapping[_families.Family, Mapping[tuple[str, ...], tuple[float, ...]]]:
        with self._lock:
            now = time.monotonic()
            if now - self._shown_at > FRESH_FOR:
                self._shown = self._collected.collect(self._coordinators)
                self._shown_at = now
            return self._shown

    def _add_event(self, coordinator: Coordinator, kind: str, circuit: str) -> None:
        """Add an event to the current span. Whatever the provider raises harms no call, and is
        reported once."""
        try:
            span = trace.get_current_span()
            if span.is_recording():
                span.add_event(f"zenvark.{_name(kind)}", _attributes(coordinator, kind, circuit))
        except Exception as error:
            if not self._failed:
                self._failed = True
                what = "OpenTelemetry failed to add an event to a span"
                coordinator.report_error(MetricsError.because(error, what, source=SCOPE))


def _name(kind: str) -> str:
    return "rejected" if kind == "forced" else kind


def _attributes(coordinator: Coordinator, kind: str, circuit: str) -> dict[str, Any]:
    breaker = coordinator.breaker(circuit)
    attributes: dict[str, Any] = {
        "zenvark.circuit": circuit,
        "zenvark.state": str(breaker.state),
        "zenvark.generation": breaker.generation,
    }
    if _name(kind) == "rejected":
        attributes |= {"error.type": "circuit_open", "zenvark.forced": kind == "forced"}
    return attributes
