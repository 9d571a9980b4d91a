"""What one process shows, from real calls to parsed text."""

import asyncio
import gc
import itertools
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter

from tests.helpers.waiting import eventually
from tests.metrics.scraping import scrape
from zenvark_web import (
    BackendError,
    Breaker,
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    HealthCheckType,
    MemoryBackend,
    MetricsRecorder,
    Outcome,
    Override,
    State,
    StateChange,
    ZenvarkError,
)
from zenvark_web._coordination import election
from zenvark_web._judging import leader
from zenvark_web.metrics import PrometheusMetrics
from zenvark_web.metrics._reading import copied
from zenvark_web.statistics import MAX_ERROR_CLASSES, MAX_HEALTH_CHECKS, Statistics

SURFACED = {
    kind.__name__
    for kind in ZenvarkError.__subclasses__()
    if kind.__module__ == ZenvarkError.__module__
} - {"CircuitOpenError"}
CLOSED = {"closed": 1, "open": 0, "half_open": 0}
OPEN = {"closed": 0, "open": 1, "half_open": 0}
DURATIONS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, float("inf")]


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> PrometheusMetrics:
    return PrometheusMetrics(registry)


async def succeed() -> None:
    pass


async def fail() -> None:
    raise ConnectionError


async def make_fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(ConnectionError):
            await breaker.execute(fail)


def trip(threshold: int = 2, **settings: Any) -> BreakerPolicy:
    return BreakerPolicy(
        strategy=ConsecutiveFailures(threshold), backoff=ConstantBackoff(60), **settings
    )


def test_is_a_recorder(metrics: PrometheusMetrics) -> None:
    recorder: MetricsRecorder = metrics
    assert recorder is metrics


async def test_names_and_labels(registry: CollectorRegistry, metrics: PrometheusMetrics) -> None:
    """Those above the line are the Node Zenvark's."""

    async def check(type_: HealthCheckType) -> None:
        raise OSError

    policy = BreakerPolicy(
        strategy=ConsecutiveFailures(1),
        health_check=check,
        backoff=ConstantBackoff(0.01),
        quorum=2,
    )
    async with Coordinator(metrics=metrics, policy=policy) as coordinator:
        await make_fail(coordinator.breaker("payments"), 1)
        await eventually(lambda: coordinator.statistics.health_checks)
        await coordinator.override("payments", Override.OBSERVE, reason="a trial run")
        scraped = scrape(registry)
    assert {
        name: {label for labels, _ in scraped.series(name) for label in labels}
        for name in scraped.names
        if not name.endswith(("_sum", "_count"))
    } == {
        "zenvark_call_duration_seconds_bucket": {"namespace", "breaker_id", "result", "le"},
        "zenvark_blocked_requests_total": {"namespace", "breaker_id"},
        "zenvark_forced_requests_total": {"namespace", "breaker_id"},
        "zenvark_would_block_total": {"namespace", "breaker_id"},
        "zenvark_overrides": {"namespace", "mode"},
        "zenvark_healthcheck_duration_seconds_bucket": {
            *("namespace", "breaker_id", "type", "result", "le")
        },
        "zenvark_state": {"namespace", "breaker_id", "state"},
        # ---
        "zenvark_admitted_share": {"namespace", "breaker_id"},
        "zenvark_own_state": {"namespace", "breaker_id", "own_state"},
        "zenvark_failures_total": {"namespace", "breaker_id", "kind"},
        "zenvark_quorum_refusals_total": {"namespace", "breaker_id"},
        "zenvark_openings_total": {"namespace", "breaker_id", "cause"},
        "zenvark_role": {"namespace", "shard", "role"},
        "zenvark_led": {"namespace", "shard"},
        "zenvark_connected": {"namespace"},
        "zenvark_results_recorded_total": {"namespace"},
        "zenvark_results_evaluated_total": {"namespace"},
        "zenvark_results_lost_total": {"namespace", "reason"},
        "zenvark_errors_total": {"namespace", "error"},
        "zenvark_batches_total": {"namespace"},
        "zenvark_transitions_total": {"namespace"},
        "zenvark_unprotected_total": {"namespace"},
        "zenvark_unknown_entries_total": {"namespace"},
        "zenvark_transition_delay_seconds_bucket": {"namespace", "le"},
    }
    assert scraped.types == {
        "zenvark_call_duration_seconds": "histogram",
        "zenvark_blocked_requests": "counter",
        "zenvark_forced_requests": "counter",
        "zenvark_would_block": "counter",
        "zenvark_overrides": "gauge",
        "zenvark_healthcheck_duration_seconds": "histogram",
        "zenvark_state": "gauge",
        "zenvark_admitted_share": "gauge",
        "zenvark_own_state": "gauge",
        "zenvark_failures": "counter",
        "zenvark_quorum_refusals": "counter",
        "zenvark_openings": "counter",
        "zenvark_role": "gauge",
        "zenvark_led": "gauge",
        "zenvark_connected": "gauge",
        "zenvark_results_recorded": "counter",
        "zenvark_results_evaluated": "counter",
        "zenvark_results_lost": "counter",
        "zenvark_errors": "counter",
        "zenvark_batches": "counter",
        "zenvark_transitions": "counter",
        "zenvark_unprotected": "counter",
        "zenvark_unknown_entries": "counter",
        "zenvark_transition_delay_seconds": "histogram",
    }


async def test_calls(registry: CollectorRegistry, metrics: PrometheusMetrics) -> None:
    calls = "zenvark_call_duration_seconds"
    async with Coordinator(metrics=metrics) as coordinator:
        breaker = coordinator.breaker("payments")
        await breaker.execute(succeed)
        await breaker.execute(asyncio.sleep, 0.03)
        await make_fail(breaker, 3)
        breaker.acquire().record(Outcome.IGNORED)
        scraped = scrape(registry)
        total = breaker.successes.total
    assert scraped.values(f"{calls}_count", "result", breaker_id="payments") == {
        "success": 2,
        "failure": 3,
    }
    bounds = scraped.values(f"{calls}_bucket", "le", result="success")
    assert [float(bound) for bound in bounds] == DURATIONS
    buckets = scraped.buckets(calls, result="success")
    assert sum(buckets) == 2
    assert sum(buckets[2:]) >= 1  # the long one
    assert scraped.value(f"{calls}_sum", result="success") == total >= 0.03


async def test_a_circuit_opens(registry: CollectorRegistry, metrics: PrometheusMetrics) -> None:
    async with Coordinator(metrics=metrics, policy=trip(2)) as coordinator:
        breaker = coordinator.breaker("payments")
        coordinator.breaker("mail")
        scraped = scrape(registry)
        assert scraped.values("zenvark_state", "state", breaker_id="payments") == CLOSED
        assert scraped.value("zenvark_blocked_requests_total", breaker_id="payments") == 0

        await make_fail(breaker, 2)
        await eventually(lambda: breaker.state == "open")
        for _ in range(3):
            with pytest.raises(CircuitOpenError):
                await breaker.execute(succeed)
        scraped = scrape(registry)

    assert scraped.values("zenvark_state", "state", breaker_id="payments") == OPEN
    assert scraped.values("zenvark_state", "state", breaker_id="mail") == CLOSED
    assert scraped.values("zenvark_blocked_requests_total", "breaker_id") == {
        "payments": 3,
        "mail": 0,
    }
    assert scraped.value("zenvark_transitions_total") == 1
    assert scraped.value("zenvark_batches_total") >= 1
    assert scraped.value("zenvark_transition_delay_seconds_count") == 1
    # To a millisecond, it may have taken no time.
    assert 0 <= scraped.value("zenvark_transition_delay_seconds_sum") < 60


async def test_health_checks(registry: CollectorRegistry, metrics: PrometheusMetrics) -> None:
    checked: list[HealthCheckType] = []

    async def check(type_: HealthCheckType) -> None:
        checked.append(type_)
        if len(checked) <= 2:
            raise OSError

    policy = BreakerPolicy(
        strategy=ConsecutiveFailures(1),
        health_check=check,
        backoff=ConstantBackoff(0.05),
        idle_interval=0.1,
    )
    name = "zenvark_healthcheck_duration_seconds"
    async with Coordinator(metrics=metrics, policy=policy) as coordinator:
        await make_fail(coordinator.breaker("payments"), 1)
        await eventually(lambda: HealthCheckType.IDLE in checked[3:])
        await eventually(lambda: scrape(registry).series(f"{name}_count", type="idle"))
        scraped = scrape(registry)
    assert scraped.value(f"{name}_count", type="recovery", result="failure") == 2
    assert scraped.value(f"{name}_count", type="recovery", result="success") >= 1
    assert scraped.value(f"{name}_count", type="idle", result="success") >= 1
    assert {labels["breaker_id"] for labels, _ in scraped.series(f"{name}_sum")} == {"payments"}


async def test_role_and_connection(registry: CollectorRegistry, metrics: PrometheusMetrics) -> None:
    backend = Unwilling()
    async with Coordinator(backend, metrics=metrics, lease_ttl=0.2) as coordinator:
        await eventually(lambda: coordinator.role == "leader")
        scraped = scrape(registry)
        assert scraped.values("zenvark_role", "role") == {"leader": 1, "follower": 0}
        assert scraped.value("zenvark_connected") == 1

        backend.willing = False
        await eventually(lambda: scrape(registry).value("zenvark_connected") == 0)
        await eventually(
            lambda: scrape(registry).values("zenvark_role", "role") == {"leader": 0, "follower": 1},
        )
        assert scrape(registry).value("zenvark_errors_total", error="BackendError") >= 1


async def test_lost_results(registry: CollectorRegistry, metrics: PrometheusMetrics) -> None:
    backend = Unwilling()
    coordinator = Coordinator(backend, metrics=metrics)
    async with coordinator:
        backend.willing = False
        for _ in range(7):
            await coordinator.breaker("payments").execute(succeed)
    backend.willing = True
    coordinator.statistics.expired += 3  # ten seconds would have to pass
    async with coordinator:
        lost = scrape(registry).values("zenvark_results_lost_total", "reason")
    assert lost == {"dropped": 7, "expired": 3}


async def test_results_end_as_evaluated(
    registry: CollectorRegistry, metrics: PrometheusMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(election, "ANNOUNCE_INTERVAL", 0.1)
    monkeypatch.setattr(leader, "TIDY_INTERVAL", 0.1)
    async with Coordinator(metrics=metrics) as coordinator:
        for _ in range(7):
            await coordinator.breaker("payments").execute(succeed)
        for what in ("recorded", "evaluated"):
            name = f"zenvark_results_{what}_total"
            await eventually(lambda name=name: scrape(registry).value(name) == 7)


async def test_errors_by_class(registry: CollectorRegistry, metrics: PrometheusMetrics) -> None:
    def complain(change: StateChange) -> None:
        raise LookupError(change.name)

    async with Coordinator(
        metrics=metrics, policy=trip(1), on_state_change=complain
    ) as coordinator:
        assert set(scrape(registry).values("zenvark_errors_total", "error").values()) == {0}
        await make_fail(coordinator.breaker("payments"), 1)
        await eventually(
            lambda: scrape(registry).values("zenvark_errors_total", "error").get("CallbackError")
        )
        errors = scrape(registry).values("zenvark_errors_total", "error")
    assert errors == {
        **dict.fromkeys(SURFACED, 0),
        "CallbackError": 1,
    }


def test_classes_of_errors_are_bounded() -> None:
    statistics = Statistics()
    for number in range(MAX_ERROR_CLASSES + 10):
        for _ in range(2):
            statistics.error_surfaced(type(f"Error{number}", (Exception,), {})())
    assert len(statistics.errors) == MAX_ERROR_CLASSES + 1
    assert statistics.errors["Error0"] == 2
    assert statistics.errors["other"] == 20


def test_health_checks_are_bounded() -> None:
    statistics = Statistics()
    for number in range(MAX_HEALTH_CHECKS + 10):
        statistics.health_check_ended(f"c{number}", HealthCheckType.RECOVERY, True, 0.1)
        statistics.health_check_ended("busy", HealthCheckType.RECOVERY, True, 0.1)
    assert len(statistics.health_checks) == MAX_HEALTH_CHECKS
    busy = statistics.health_checks["busy", HealthCheckType.RECOVERY, True]
    assert sum(busy.counts) == MAX_HEALTH_CHECKS + 10
    assert ("c0", HealthCheckType.RECOVERY, True) not in statistics.health_checks


async def test_two_namespaces_are_kept_apart(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    """Though their circuits have the same names."""
    shop = Coordinator(namespace="shop", metrics=metrics, policy=trip(1))
    office = Coordinator(namespace="office", metrics=metrics)
    async with shop:
        async with office:
            await make_fail(shop.breaker("mail"), 1)
            await office.breaker("mail").execute(succeed)
            await eventually(lambda: shop.breaker("mail").state == "open")
            both = scrape(registry)
        one = scrape(registry)
    calls = "zenvark_call_duration_seconds_count"
    for scraped in (both, one):
        assert scraped.values(calls, "result", namespace="shop") == {"success": 0, "failure": 1}
        assert scraped.values("zenvark_state", "state", namespace="shop") == OPEN
        assert scraped.value("zenvark_connected", namespace="shop") == 1
        assert scraped.value("zenvark_role", namespace="shop", role="leader") == 1
    assert both.values(calls, "result", namespace="office") == {"success": 1, "failure": 0}
    assert both.values("zenvark_state", "state", namespace="office") == CLOSED
    for name in set(both.names) - {"zenvark_failures_total"}:  # only kinds that have occurred
        assert {labels["namespace"] for labels, _ in both.series(name)} == {"shop", "office"}
        assert {labels["namespace"] for labels, _ in one.series(name)} == {"shop"}


async def test_two_of_one_namespace_are_shown_as_one(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    backend = MemoryBackend()
    one = Coordinator(backend, metrics=metrics, policy=trip(5))
    two = Coordinator(backend, metrics=metrics, policy=trip(5))
    async with one, two:
        await make_fail(one.breaker("payments"), 2)
        await make_fail(two.breaker("payments"), 3)
        two.breaker("mail")
        await eventually(lambda: one.breaker("payments").state == "open")
        await eventually(lambda: two.breaker("payments").state == "open")
        scraped = scrape(registry)
    assert scraped.values("zenvark_role", "role") == {"leader": 1, "follower": 1}
    assert scraped.value("zenvark_connected") == 2
    calls = scraped.values("zenvark_call_duration_seconds_count", "breaker_id", result="failure")
    assert calls == {"payments": 5, "mail": 0}
    assert scraped.values("zenvark_state", "state", breaker_id="payments") == OPEN
    assert scraped.value("zenvark_transitions_total") == 1
    assert scraped.value("zenvark_transition_delay_seconds_count") == 2


async def test_of_two_views_the_newer_is_shown(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    late = Coordinator(MemoryBackend(), metrics=metrics)
    ahead = Coordinator(MemoryBackend(), metrics=metrics, policy=trip(1))
    for first, second in ((late, ahead), (ahead, late)):
        async with first, second:
            late.breaker("payments")
            if ahead.breaker("payments").state == "closed":
                await make_fail(ahead.breaker("payments"), 1)
                await eventually(lambda: ahead.breaker("payments").state == "open")
            assert scrape(registry).values("zenvark_state", "state") == OPEN


async def test_restart(registry: CollectorRegistry, metrics: PrometheusMetrics) -> None:
    coordinator = Coordinator(metrics=metrics)
    calls = "zenvark_call_duration_seconds_count"
    assert scrape(registry).names == set()
    async with coordinator:
        breaker = coordinator.breaker("payments")
        await breaker.execute(succeed)
        assert scrape(registry).value(calls, result="success") == 1
    assert scrape(registry).names == set()
    async with coordinator:
        assert scrape(registry).value(calls, result="success") == 1
        await breaker.execute(succeed)
        assert scrape(registry).value(calls, result="success") == 2


def test_a_loop_closed_under_a_coordinator(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    coordinator = Coordinator(metrics=metrics)
    asyncio.run(coordinator.start())
    scraped = scrape(registry)
    assert scraped.value("zenvark_connected") == 0
    assert scraped.values("zenvark_role", "role") == {"leader": 0, "follower": 1}

    async def again() -> None:
        async with coordinator:
            await eventually(lambda: scrape(registry).value("zenvark_role", role="leader") == 1)

    asyncio.run(again())
    assert scrape(registry).names == set()


async def test_a_stopped_coordinator_is_let_go(metrics: PrometheusMetrics) -> None:
    coordinator = Coordinator(metrics=metrics)
    async with coordinator:
        coordinator.breaker("payments")
    gone = weakref.ref(coordinator)
    del coordinator
    await eventually(lambda: gc.collect() >= 0 and gone() is None)


async def test_evicted_breakers_disappear(
    registry: CollectorRegistry, metrics: PrometheusMetrics
) -> None:
    def shown() -> list[set[str]]:
        scraped = scrape(registry)
        return [
            {labels["breaker_id"] for labels, _ in scraped.series(name)}
            for name in (
                "zenvark_call_duration_seconds_bucket",
                "zenvark_blocked_requests_total",
                "zenvark_state",
            )
        ]

    async with Coordinator(metrics=metrics, max_breakers=2) as coordinator:
        for name in ("a", "b"):
            await coordinator.breaker(name).execute(succeed)
        assert shown() == [{"a", "b"}] * 3
        await eventually(lambda: coordinator.statistics.batches)  # what waits is not evicted
        coordinator.breaker("c")
        assert shown() == [{"b", "c"}] * 3


@given(
    st.text(st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(' "\\{}=,n'), min_size=1)
)
def test_any_name_survives(name: str) -> None:
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry, labels={"service": name})
    namespace = name[:255].replace("/", "-")
    coordinator = Coordinator(metrics=metrics, namespace=namespace)
    coordinator.breaker(name[:255])
    metrics.attach(coordinator)
    [(labels, _)] = scrape(registry).series("zenvark_blocked_requests_total")
    assert labels == {
        "service": name,
        "namespace": namespace,
        "breaker_id": name[:255],
    }


async def test_labels_and_prefix(registry: CollectorRegistry) -> None:
    labels = {"service": "shop", "region": "eu"}
    metrics = PrometheusMetrics(registry, prefix="breakers", labels=labels)
    PrometheusMetrics(registry)
    labels.clear()
    async with Coordinator(metrics=metrics) as coordinator:
        coordinator.breaker("payments")
        scraped = scrape(registry)
    assert "breakers_role" in scraped.names
    for name in scraped.names:
        assert name.startswith("breakers_")
        assert scraped.series(name) == scraped.series(name, service="shop", region="eu")


@pytest.mark.parametrize(
    "labels",
    [{"service-name": "x"}, {"": "x"}, {"__x": "x"}, {"1st": "x"}]
    + [
        {name: "x"}
        for name in ("namespace", "breaker_id", "state", "le", "pid", "role", "shard", "cause")
    ],
)
def test_unusable_labels(registry: CollectorRegistry, labels: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="label"):
        PrometheusMetrics(registry, labels=labels)
    PrometheusMetrics(registry)  # nothing was registered


def test_a_label_must_be_a_string(registry: CollectorRegistry) -> None:
    with pytest.raises(TypeError, match="'version' must have a string"):
        PrometheusMetrics(registry, labels={"version": 3})  # type: ignore[dict-item]


@pytest.mark.parametrize("prefix", ["", "my-app", "1st", "a b"])
def test_unusable_prefixes(registry: CollectorRegistry, prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        PrometheusMetrics(registry, prefix=prefix)


def test_names_are_registered_once(registry: CollectorRegistry, metrics: PrometheusMetrics) -> None:
    with pytest.raises(ValueError, match="pass one PrometheusMetrics to all coordinators"):
        PrometheusMetrics(registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Counter("zenvark_batches", "Another's.", registry=registry)
    registry.unregister(metrics)
    PrometheusMetrics(registry)


def test_names_taken_by_others(registry: CollectorRegistry) -> None:
    Counter("zenvark_errors", "Another's.", registry=registry)
    with pytest.raises(ValueError, match="already has metrics called zenvark_"):
        PrometheusMetrics(registry)
    PrometheusMetrics(registry, prefix="circuits")


async def test_scrapes_in_another_thread(
    registry: CollectorRegistry, metrics: PrometheusMetrics, switches: None
) -> None:
    """While breakers come and go in the loop, no scrape fails or misses many."""

    def scrape_often() -> set[int]:
        return {
            len(family.samples)
            for _ in range(20)
            for family in registry.collect()
            if family.name == "zenvark_blocked_requests"
        }

    async with Coordinator(metrics=metrics, max_breakers=50) as coordinator:
        numbers = itertools.count()
        for _ in range(50):
            coordinator.breaker(f"c{next(numbers)}")
        scraping = asyncio.create_task(asyncio.to_thread(scrape_often))
        while not scraping.done():
            for _ in range(100):
                coordinator.breaker(f"c{next(numbers)}")
            number, statistics = next(numbers), coordinator.statistics
            statistics.health_check_ended(f"c{number}", HealthCheckType.RECOVERY, True, 0.1)
            statistics.error_surfaced(type(f"Error{number}", (Exception,), {})())
            await asyncio.sleep(0)
        assert await scraping <= {49, 50}  # one less between an eviction and what it makes room for


@pytest.fixture
def switches() -> Iterator[None]:
    """Threads take turns much more often than usual."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def test_a_copy_is_made_again_if_another_thread_disturbs_it() -> None:
    class Disturbed:
        tries = 0

        def __iter__(self) -> Iterator[int]:
            self.tries += 1
            yield self.tries
            if self.tries < 3:
                raise RuntimeError("dictionary changed size during iteration")

    assert copied(Disturbed()) == [3]


class Unwilling(MemoryBackend):
    """A store that can be made to refuse everything."""

    willing = True

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name in {"append", "heartbeat", "read", "load", "publish", "resign", "tidy"}:
            return self._if_willing(found)
        return found

    def _if_willing(self, method: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*arguments: Any, **options: Any) -> Any:
            if not self.willing:
                raise BackendError("unwilling")
            return await method(*arguments, **options)

        return call


@pytest.mark.parametrize(
    ("mode", "shown"),
    [(Override.OBSERVE, "open"), (Override.FORCE_CLOSED, "closed"), (Override.FORCE_OPEN, "open")],
)
async def test_state_under_an_override(
    registry: CollectorRegistry, metrics: PrometheusMetrics, mode: Override, shown: str
) -> None:
    """Alerts see what is only observed, and are silent where an operator has forced it closed."""
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(60))
    async with Coordinator(metrics=metrics, policy=policy) as coordinator:
        breaker = coordinator.breaker("payments")
        await make_fail(breaker, 1)
        await eventually(lambda: breaker.verdict is State.OPEN)
        await coordinator.override("payments", mode, reason="a trial run")
        with suppress(CircuitOpenError):
            breaker.acquire().record(Outcome.SUCCESS)
        await eventually(lambda: breaker.would_block or breaker.forced)
        scraped = scrape(registry)
        assert scraped.value("zenvark_state", breaker_id="payments", state=shown) == 1
        assert scraped.value("zenvark_overrides", mode=mode.value) == 1
        forced = mode is Override.FORCE_OPEN
        assert scraped.value("zenvark_forced_requests_total", breaker_id="payments") == forced
        assert scraped.value("zenvark_would_block_total", breaker_id="payments") == (not forced)
