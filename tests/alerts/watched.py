"""A fleet in virtual time that is scraped as Prometheus does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry

from zenvark_web import CircuitOpenError, Coordinator, Outcome, Override, Role
from zenvark_web.metrics import PrometheusMetrics
from zenvark_web.testing import Fleet

INTERVAL = 15
"""Seconds between two scrapes."""

PACE = 5
"""Seconds between two rounds of calls."""

MISSING = "_"

Fails: TypeAlias = Callable[["Instance", str], bool]
"""Whether a call of an instance fails, by its circuit."""


class Instance:
    """A process with one coordinator, which Prometheus scrapes."""

    def __init__(self, name: str, coordinator: Coordinator, registry: CollectorRegistry) -> None:
        self.name = name
        self.coordinator = coordinator
        self._registry = registry

    def call(self, circuit: str, *, fails: bool, reason: str = "HTTP 503") -> None:
        """Make a call, unless the circuit rejects it."""
        with suppress(CircuitOpenError):
            permit = self.coordinator.breaker(circuit).acquire()
            if fails:
                permit.record(Outcome.FAILURE, reason)
            else:
                permit.record(Outcome.SUCCESS)

    def samples(self) -> Iterable[tuple[str, float]]:
        """The series that a scrape returns, with the labels that Prometheus adds."""
        for metric in self._registry.collect():
            for sample in metric.samples:
                labels = {"job": "web", "instance": self.name, **sample.labels}
                yield series(sample.name, labels), sample.value


class WatchedFleet:
    """A fleet whose instances are scraped every 15 virtual seconds.

    Args:
        circuits: The circuits that all instances call.
        settings: Those of `Fleet`.
    """

    def __init__(self, *circuits: str, **settings: Any) -> None:
        self.fleet = Fleet(**settings)
        self.instances: dict[str, Instance] = {}
        self.broken: Fails = lambda instance, circuit: False
        self.rounds = 0
        self._circuits = circuits
        self._scrapes = 0
        self._series: dict[str, list[str]] = {}

    def start(self, *names: str, **settings: Any) -> list[Instance]:
        """Start instances."""
        return [self._start(name, settings) for name in names]

    def stop(self, instance: Instance) -> None:
        """Stop an instance as SIGTERM does."""
        asyncio.run(instance.coordinator.stop())
        del self.instances[instance.name]

    def cut_off(self, *names: str) -> None:
        """Disconnect instances from the store."""
        for name in names:
            self.fleet.cut_off(self.instances[name].coordinator)

    def reconnect(self, *names: str) -> None:
        """Connect them again."""
        for name in names:
            self.fleet.reconnect(self.instances[name].coordinator)

    def override(self, circuit: str, mode: Override | None) -> None:
        """Set or lift an override."""
        coordinator = next(iter(self.instances.values())).coordinator
        asyncio.run(coordinator.override(circuit, mode, reason="a test", actor="operator"))

    @property
    def leader(self) -> str:
        """The name of the instance that leads."""
        [name] = [n for n, each in self.instances.items() if each.coordinator.role is Role.LEADER]
        return name

    def run(self, minutes: float) -> None:
        """Let time pass, with calls."""
        for second in range(0, round(minutes * 60), PACE):
            if second % INTERVAL == 0:
                self.scrape()
            self.step(PACE)

    def step(self, seconds: float) -> None:
        """One round of calls, and so many seconds, without a scrape."""
        self.call()
        self.fleet.advance(seconds)

    def call(self) -> None:
        """Each instance calls each circuit."""
        self.rounds += 1
        for instance in self.instances.values():
            for circuit in self._circuits:
                instance.call(circuit, fails=self.broken(instance, circuit))

    def scrape(self) -> None:
        """Scrape all instances that run."""
        for instance in self.instances.values():
            for name, value in instance.samples():
                values = self._series.setdefault(name, [])
                values.extend([MISSING] * (self._scrapes - len(values)))
                values.append(f"{value:.12g}")
        self._scrapes += 1

    @property
    def scraped(self) -> dict[str, str]:
        """The values of each series, as promtool reads them."""
        return {
            name: " ".join([*values, *[MISSING] * (self._scrapes - len(values))])
            for name, values in self._series.items()
        }

    @property
    def minutes(self) -> float:
        """The time for which it was scraped."""
        return self._scrapes * INTERVAL / 60

    def _start(self, name: str, settings: dict[str, Any]) -> Instance:
        registry = CollectorRegistry()
        metrics = PrometheusMetrics(registry)
        coordinator = self.fleet.coordinator(metrics=metrics, namespace="shop", **settings)
        self.instances[name] = Instance(name, coordinator, registry)
        return self.instances[name]


def series(name: str, labels: dict[str, str]) -> str:
    """A series as PromQL writes it."""
    text = ", ".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{name}{{{text}}}"
