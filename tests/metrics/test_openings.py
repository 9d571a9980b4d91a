"""Openings are counted once in the fleet, so that one between two scrapes is seen as well."""

import asyncio
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from tests.helpers.servers import RedisServer
from tests.helpers.waiting import eventually
from tests.metrics.scraping import scrape
from zenvark_web import (
    Backoff,
    BreakerPolicy,
    Cause,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    HealthCheckType,
    MemoryBackend,
    Outcome,
    Role,
    State,
)
from zenvark_web.metrics import PrometheusMetrics
from zenvark_web.statistics import MAX_OPENED, Statistics

OPENINGS = "zenvark_openings_total"


SOON = ConstantBackoff(0.02)
LATE = ConstantBackoff(60)


def trips(backoff: Backoff = LATE) -> BreakerPolicy:
    return BreakerPolicy(strategy=ConsecutiveFailures(2), backoff=backoff)


def fail(coordinator: Coordinator, name: str = "payments", times: int = 2) -> None:
    for _ in range(times):
        coordinator.breaker(name).acquire().record(Outcome.FAILURE, "HTTP 503")


async def reaches(coordinator: Coordinator, state: State, name: str = "payments") -> None:
    breaker = coordinator.breaker(name)
    await eventually(lambda: breaker.state is state, what=f"{name} is {state}")


def ended(coordinator: Coordinator, outcome: Outcome) -> Callable[[], bool]:
    def call() -> bool:
        if coordinator.breaker("payments").state is State.CLOSED:
            return False
        try:
            coordinator.breaker("payments").acquire().record(outcome, "HTTP 503")
        except CircuitOpenError:
            return False
        return True

    return call


class Scraped:
    """A coordinator that is scraped by itself, as a process is."""

    def __init__(self, store: object, policy: BreakerPolicy, **policies: BreakerPolicy) -> None:
        self.registry = CollectorRegistry()
        metrics = PrometheusMetrics(self.registry)
        self.coordinator = Coordinator(store, policy=policy, policies=policies, metrics=metrics)

    def openings(self, cause: str = "tripped", circuit: str = "payments") -> float:
        scraped = scrape(self.registry)
        return sum(v for _, v in scraped.series(OPENINGS, breaker_id=circuit, cause=cause))


async def test_a_circuit_that_opens_and_closes_between_two_scrapes_is_seen() -> None:
    one = Scraped(None, trips(SOON))
    async with one.coordinator as coordinator:
        coordinator.breaker("payments")
        before = scrape(one.registry)
        assert before.values(OPENINGS, "cause") == {"tripped": 0, "idle_check_failed": 0}
        for openings in (1, 2):
            fail(coordinator)
            await eventually(ended(coordinator, Outcome.SUCCESS))
            await reaches(coordinator, State.CLOSED)
            after = scrape(one.registry)
            assert after.values("zenvark_state", "state")["closed"] == 1
            assert after.values(OPENINGS, "cause") == {"tripped": openings, "idle_check_failed": 0}


async def test_a_failed_trial_is_no_further_opening() -> None:
    one = Scraped(None, trips(SOON))
    async with one.coordinator as coordinator:
        fail(coordinator)
        await eventually(ended(coordinator, Outcome.FAILURE))
        await reaches(coordinator, State.OPEN)
        await eventually(ended(coordinator, Outcome.SUCCESS))
        await reaches(coordinator, State.CLOSED)
        assert one.openings() == 1


async def test_an_opening_counts_once_in_the_fleet() -> None:
    """And the leader counts it, also if it does not call that upstream."""
    store = MemoryBackend()
    fleet = [Scraped(store, trips(SOON)) for _ in range(3)]
    leader, caller, other = (each.coordinator for each in fleet)
    async with leader, caller, other:
        assert leader.role is Role.LEADER
        for name in ("payments", "mail"):
            other.breaker(name)
            fail(caller, name)
            await reaches(other, State.OPEN, name)
            await eventually(lambda name=name: leader.statistics.openings.get(name))
        assert [each.openings() for each in fleet] == [1, 0, 0]
        assert [each.openings(circuit="mail") for each in fleet] == [1, 0, 0]


async def test_who_comes_later_or_takes_over_counts_nothing_again() -> None:
    store = MemoryBackend()
    first, second = (Scraped(store, trips()) for _ in range(2))
    async with first.coordinator as coordinator:
        fail(coordinator)
        await reaches(coordinator, State.OPEN)
        await second.coordinator.start()
        await reaches(second.coordinator, State.OPEN)
        assert (first.openings(), second.openings()) == (1, 0)
    await eventually(lambda: second.coordinator.role is Role.LEADER)
    third = Scraped(store, trips())
    async with third.coordinator as coordinator:
        await reaches(coordinator, State.OPEN)
        assert (second.openings(), third.openings()) == (0, 0)
    await second.coordinator.stop()


async def test_a_quiet_circuit_that_a_check_opens() -> None:
    async def check(type_: HealthCheckType) -> None:
        raise ConnectionError

    policy = BreakerPolicy(health_check=check, idle_interval=0.02, backoff=ConstantBackoff(60))
    one = Scraped(None, trips(), payments=policy)
    async with one.coordinator as coordinator:
        await reaches(coordinator, State.OPEN)
        assert (one.openings("idle_check_failed"), one.openings("tripped")) == (1, 0)


@pytest.mark.slow  # on a starved host, failures from before the cut reach the fleet after it
async def test_who_is_cut_off_counts_what_it_opens_for_itself(fresh_server: RedisServer) -> None:
    """Once, though the fleet's word holds again afterwards."""
    policy = BreakerPolicy(
        strategy=ConsecutiveFailures(2), backoff=ConstantBackoff(60), cut_off="local"
    )
    one = Scraped(fresh_server.url, policy)
    async with one.coordinator as coordinator:
        await eventually(lambda: coordinator.connected)
        await asyncio.to_thread(fresh_server.kill)
        await eventually(lambda: not coordinator.connected)
        await eventually(lambda: fail(coordinator) or one.openings() == 1)
        await asyncio.to_thread(fresh_server.start)
        await eventually(lambda: coordinator.connected)
        await reaches(coordinator, State.CLOSED)
        assert one.openings() == 1


def test_circuits_that_were_opened_are_bounded() -> None:
    statistics = Statistics()
    for number in range(MAX_OPENED + 10):
        statistics.opened(f"c{number}", Cause.TRIPPED)
        statistics.opened("busy", Cause.TRIPPED)
    assert len(statistics.openings) == MAX_OPENED
    assert statistics.openings["busy"].counts[Cause.TRIPPED] == MAX_OPENED + 10
    assert "c0" not in statistics.openings


@pytest.mark.parametrize("shards", [1, 3])
async def test_leaders_are_shown_shard_by_shard(shards: int) -> None:
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    async with Coordinator(namespace="shop", shards=shards, metrics=metrics) as coordinator:
        await eventually(lambda: all(role is Role.LEADER for role in coordinator.shard_roles))
        scraped = scrape(registry)
        leads = scraped.values("zenvark_role", "shard", role="leader", namespace="shop")
        assert leads == {str(number): 1 for number in range(shards)}
        assert scraped.values("zenvark_led", "shard", namespace="shop") == leads
    assert coordinator.shard_roles == [Role.FOLLOWER] * shards
    assert coordinator.shards_led == [False] * shards


async def test_a_follower_knows_whether_anybody_leads(
    patient_commands: None, fresh_server: RedisServer
) -> None:
    first, second = (Coordinator(fresh_server.url, lease_ttl=3.0, policy=trips()) for _ in range(2))
    async with first:
        await eventually(lambda: first.role is Role.LEADER)
        async with second:
            await eventually(lambda: second.shards_led == [True])
            assert second.role is Role.FOLLOWER
            await asyncio.to_thread(fresh_server.kill)
            await eventually(lambda: second.shards_led == first.shards_led == [False])
