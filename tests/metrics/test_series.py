"""How many circuits have series of their own, and what is shown of the others."""

import asyncio
import itertools
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from tests.helpers.waiting import eventually
from tests.metrics.scraping import Scrape, scrape
from zenvark_web import (
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    HealthCheckType,
    Outcome,
    State,
)
from zenvark_web.metrics import PrometheusMetrics
from zenvark_web.metrics._slots import OTHER_CIRCUITS, SeriesSlots

CALLS = "zenvark_call_duration_seconds_count"
LASTING = BreakerPolicy(strategy=ConsecutiveFailures(2), backoff=ConstantBackoff(60))


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def shown(scraped: Scrape, name: str = CALLS, **labels: str) -> set[str]:
    return {found["breaker_id"] for found, _ in scraped.series(name, **labels)}


def call(coordinator: Coordinator, circuit: str, times: int = 1) -> None:
    for _ in range(times):
        coordinator.breaker(circuit).acquire().record(Outcome.SUCCESS)


async def written(coordinator: Coordinator) -> None:
    batches = coordinator.statistics.batches
    await eventually(lambda: coordinator.statistics.batches > batches)


async def test_further_circuits_are_added_up(registry: CollectorRegistry) -> None:
    metrics = PrometheusMetrics(registry, max_circuits=2)
    async with Coordinator(namespace="shop", metrics=metrics) as coordinator:
        for times, circuit in enumerate("abcde", start=1):
            call(coordinator, circuit, times)
        scraped = scrape(registry)
        calls = scraped.values(CALLS, "breaker_id", result="success", namespace="shop")
        assert calls == {"a": 1, "b": 2, OTHER_CIRCUITS: 3 + 4 + 5}
        for name in ("zenvark_blocked_requests_total", "zenvark_openings_total", "zenvark_state"):
            assert shown(scraped, name) == calls.keys()
        call(coordinator, "e", 10)
        assert scrape(registry).value(CALLS, breaker_id=OTHER_CIRCUITS, result="success") == 22


async def test_namespaces_share_the_places_but_not_the_sum(registry: CollectorRegistry) -> None:
    metrics = PrometheusMetrics(registry, max_circuits=1)
    shop = Coordinator(namespace="shop", metrics=metrics)
    office = Coordinator(namespace="office", metrics=metrics)
    async with shop, office:
        for times, name in enumerate(("a", "b"), start=1):
            call(shop, name, times)
            call(office, name, times)
        scraped = scrape(registry)
        assert scraped.values(CALLS, "breaker_id", result="success", namespace="shop") == {
            "a": 1,
            OTHER_CIRCUITS: 2,
        }
        other = scraped.values(CALLS, "breaker_id", result="success", namespace="office")
        assert other == {OTHER_CIRCUITS: 3}


async def test_no_counter_goes_back_when_circuits_come_and_go(registry: CollectorRegistry) -> None:
    metrics = PrometheusMetrics(registry, max_circuits=2)
    names = itertools.count()
    async with Coordinator(metrics=metrics, max_breakers=6) as coordinator:
        before: dict[str, float] = {}
        total = 0
        for _ in range(20):
            for _ in range(3):
                call(coordinator, f"c{next(names)}", 2)
            now = scrape(registry).values(CALLS, "breaker_id", result="success")
            assert len(now) <= 3
            total += sum(value - before.get(name, 0) for name, value in now.items())
            assert all(now[name] >= value for name, value in before.items() if name in now)
            before = now
            await written(coordinator)  # what waits is not evicted
        assert total == 120


async def test_a_place_that_is_free_goes_to_whoever_comes_next(
    registry: CollectorRegistry,
) -> None:
    metrics = PrometheusMetrics(registry, max_circuits=1)
    async with Coordinator(metrics=metrics, max_breakers=2) as coordinator:
        call(coordinator, "a")
        scrape(registry)
        call(coordinator, "late")
        scrape(registry)
        await written(coordinator)
        call(coordinator, "late")
        await eventually(lambda: coordinator.breaker("new") and "a" not in coordinator.breakers)
        # What came too late stays in the sum: it would be counted twice.
        assert shown(scrape(registry)) == {"new", OTHER_CIRCUITS}


async def test_what_is_not_closed_is_seen_though_it_has_no_series(
    registry: CollectorRegistry,
) -> None:
    metrics = PrometheusMetrics(registry, max_circuits=2)
    soon = BreakerPolicy(strategy=ConsecutiveFailures(2), backoff=ConstantBackoff(0.05))
    policies = {"late": soon}
    async with Coordinator(metrics=metrics, policy=LASTING, policies=policies) as coordinator:

        async def trip(circuit: str) -> None:
            for _ in range(2):
                coordinator.breaker(circuit).acquire().record(Outcome.FAILURE, "down")
            await eventually(lambda: coordinator.breaker(circuit).state is not State.CLOSED)

        def closed() -> dict[str, float]:
            return scrape(registry).values("zenvark_state", "breaker_id", state="closed")

        for circuit in ("a", "b", "late", "c", "d"):
            call(coordinator, circuit)
        assert closed() == {"a": 1, "b": 1, OTHER_CIRCUITS: 1}
        await trip("late")
        assert closed() == {"a": 1, "b": 1, "late": 0, OTHER_CIRCUITS: 1}
        await trip("c")
        await trip("d")
        assert closed() == {"a": 1, "b": 1, "late": 0, "c": 0, OTHER_CIRCUITS: 0}
        assert shown(scrape(registry)) == {"a", "b", OTHER_CIRCUITS}

        def recovers() -> bool:
            with suppress(CircuitOpenError):
                call(coordinator, "late")
            return coordinator.breaker("late").state is State.CLOSED

        await eventually(recovers)
        # Its place goes to the next one with the next scrape at the latest.
        await eventually(lambda: closed() == {"a": 1, "b": 1, "c": 0, "d": 0, OTHER_CIRCUITS: 1})


async def test_health_checks_are_added_up_too(registry: CollectorRegistry) -> None:
    metrics = PrometheusMetrics(registry, max_circuits=1)
    async with Coordinator(metrics=metrics) as coordinator:
        coordinator.breaker("a")
        scrape(registry)
        for circuit in ("a", "b", "c"):
            coordinator.statistics.health_check_ended(circuit, HealthCheckType.RECOVERY, True, 0.1)
        checks = "zenvark_healthcheck_duration_seconds_count"
        for _ in range(2):
            assert scrape(registry).values(checks, "breaker_id") == {"a": 1, OTHER_CIRCUITS: 2}


async def test_by_default_a_scrape_stays_small(registry: CollectorRegistry) -> None:
    metrics = PrometheusMetrics(registry)
    async with Coordinator(metrics=metrics) as coordinator:
        for number in range(5_000):
            call(coordinator, f"host-{number}.example.com")
        text = generate_latest(registry)
    assert text.count(b"\n") < 35_000
    assert len(text) < 5_000_000


async def test_without_histograms(registry: CollectorRegistry) -> None:
    metrics = PrometheusMetrics(registry, histograms=False)
    async with Coordinator(metrics=metrics) as coordinator:
        await coordinator.breaker("payments").execute(asyncio.sleep, 0.01)
        call(coordinator, "payments", 2)
        coordinator.statistics.health_check_ended("payments", HealthCheckType.IDLE, True, 0.1)
        scraped = scrape(registry)
    assert scraped.values(CALLS, "result") == {"success": 3, "failure": 0}
    assert scraped.value("zenvark_call_duration_seconds_sum", result="success") >= 0.01
    assert scraped.value("zenvark_healthcheck_duration_seconds_sum") == 0.1
    assert scraped.names.isdisjoint(
        {"zenvark_call_duration_seconds_bucket", "zenvark_healthcheck_duration_seconds_bucket"}
    )
    assert scraped.series("zenvark_transition_delay_seconds_bucket")


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-1, ValueError), ("x", TypeError)])
def test_unusable_numbers_of_circuits(
    value: object, error: type[Exception], registry: CollectorRegistry
) -> None:
    with pytest.raises(error, match="max_circuits"):
        PrometheusMetrics(registry, max_circuits=value)
    PrometheusMetrics(registry)  # nothing was registered


@given(st.integers(1, 4), st.booleans(), st.data())
@settings(max_examples=100, deadline=None)
def test_places(most: int, lasting: bool, data: st.DataObject) -> None:
    """They are bounded, and nobody who came too late gets one while it stays."""
    places = SeriesSlots(most, lasting=lasting)
    circuits = [("shop", name) for name in "abcdefgh"]
    without: set[tuple[str, str]] = set()
    for _ in range(data.draw(st.integers(1, 20))):
        present = data.draw(st.sets(st.sampled_from(circuits)))
        places.keep_only(present)
        without &= present
        own = {each for each in sorted(present) if places.has(each)}
        assert len(own) <= most
        if not lasting:
            assert not own & without
        without |= present - own
        seen = {each for each in present if places.shows(each, State.OPEN)}
        assert own <= seen
        assert len(seen - own) <= most
        if not lasting:
            assert len(seen) == min(len(present), len(own) + most)
        assert {each for each in present if places.shows(each, State.CLOSED)} == own
