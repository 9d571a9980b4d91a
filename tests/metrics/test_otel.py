"""OpenTelemetry: metrics, and events on the current span."""

import httpx
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, Tracer, use_span

from zenvark_web import (
    BreakerPolicy,
    BreakerTransport,
    CircuitOpenError,
    ConsecutiveFailures,
    Coordinator,
    MetricsError,
    Outcome,
    Override,
)
from zenvark_web.otel import OpenTelemetry
from zenvark_web.testing import Fleet

POLICY = BreakerPolicy(strategy=ConsecutiveFailures(2))
OPEN = {"zenvark.circuit": "payments", "zenvark.state": "open", "zenvark.generation": 1}
REJECTED = {"error.type": "circuit_open", "zenvark.forced": False}


class Spans:
    """A tracer, and what it has exported."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer: Tracer = provider.get_tracer("test")

    def events(self) -> list[tuple[str, dict[str, object]]]:
        return [
            (event.name, dict(event.attributes or {}))
            for span in self._exporter.get_finished_spans()
            for event in span.events
        ]


def call(coordinator: Coordinator) -> None:
    coordinator.breaker("payments").acquire().record(Outcome.SUCCESS)


def test_metrics_of_an_open_circuit() -> None:
    reader = InMemoryMetricReader()
    telemetry = OpenTelemetry(MeterProvider([reader]))
    with Fleet(policy=POLICY) as fleet:
        coordinator = fleet.coordinator(metrics=telemetry)
        fleet.trip("payments")
        with pytest.raises(CircuitOpenError):
            call(coordinator)
        fleet.advance()
        data = reader.get_metrics_data()
        assert data is not None
        [resource] = data.resource_metrics
        points = {
            metric.name: {
                tuple(sorted(dict(point.attributes or {}).items())): getattr(point, "value", None)
                for point in metric.data.data_points
            }
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }
        of_circuit = (("breaker_id", "payments"), ("namespace", "default"))
        assert points["zenvark.blocked_requests"] == {of_circuit: 1}
        assert points["zenvark.state"][(*of_circuit, ("state", "open"))] == 1
        assert points["zenvark.state"][(*of_circuit, ("state", "closed"))] == 0
        failed = (*of_circuit, ("result", "failure"))
        assert points["zenvark.call_duration_seconds_count"][failed] >= 2  # as `trip` needs


def test_events_of_a_rejection_a_forced_and_an_uncounted_call() -> None:
    spans = Spans()
    with Fleet(policy=POLICY) as fleet:
        coordinator = fleet.coordinator(metrics=OpenTelemetry(MeterProvider()))
        fleet.trip("payments")
        with spans.tracer.start_as_current_span("request"):
            with pytest.raises(CircuitOpenError):
                call(coordinator)
            coordinator.override_sync("payments", Override.FORCE_OPEN, reason="test")
            with pytest.raises(CircuitOpenError):
                call(coordinator)
            coordinator.override_sync("payments", Override.FORCE_CLOSED, reason="test")
            call(coordinator)
        rejected, forced, uncounted = spans.events()
        assert rejected == ("zenvark.rejected", {**OPEN, **REJECTED})
        assert forced[0] == "zenvark.rejected"
        assert forced[1]["zenvark.forced"] is True
        assert uncounted[0] == "zenvark.uncounted"


def test_events_of_a_fallback() -> None:
    spans = Spans()
    with Fleet(policy=POLICY) as fleet:
        coordinator = fleet.coordinator(metrics=OpenTelemetry(MeterProvider()))
        fleet.trip("payments")
        transport = BreakerTransport(
            coordinator,
            httpx.MockTransport(lambda _: httpx.Response(200)),
            fallback=lambda request, error: httpx.Response(203),
        )
        with httpx.Client(transport=transport) as client, spans.tracer.start_as_current_span("r"):
            response = client.get("http://upstream", extensions={"breaker": "payments"})
        assert response.status_code == 203
        assert spans.events() == [
            ("zenvark.rejected", {**OPEN, **REJECTED}),
            ("zenvark.fallback", OPEN),
        ]


class BrokenSpan(NonRecordingSpan):
    """Raises whatever is asked of it."""

    def is_recording(self) -> bool:
        raise RuntimeError("no memory")


class BrokenMeters(MeterProvider):
    """Raises whatever is asked of it."""

    def get_meter(self, *_: object, **__: object) -> object:  # type: ignore[override]
        raise RuntimeError("no memory")


def test_a_provider_that_raises_harms_nothing_and_is_reported_once() -> None:
    errors: list[Exception] = []
    with Fleet(policy=POLICY) as fleet:
        coordinator = fleet.coordinator(
            metrics=OpenTelemetry(BrokenMeters()), on_error=errors.append
        )
        fleet.trip("payments")
        broken = BrokenSpan(SpanContext(1, 1, is_remote=False))
        with use_span(broken, record_exception=False, set_status_on_exception=False):
            for _ in range(3):
                with pytest.raises(CircuitOpenError):
                    call(coordinator)
        fleet.advance()
        assert [type(error) for error in errors] == [MetricsError]
