"""What happens to a fleet in virtual time, and which alerts fire then: these, and no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from tests.alerts.watched import Fails, WatchedFleet
from zenvark_web import BreakerPolicy, ConstantBackoff, CountWindow, Override

Story: TypeAlias = Callable[[], WatchedFleet]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario.

    Args:
        story: Makes it happen, and returns what was scraped.
        fires: The names of the alerts that fire in it.
    """

    story: Story
    fires: frozenset[str]

    @property
    def name(self) -> str:
        """Its name."""
        return self.story.__name__.replace("_", " ")


SCENARIOS: list[Scenario] = []


def fires(*alerts: str) -> Callable[[Story], Story]:
    """Add a scenario in which these alerts fire."""

    def add(story: Story) -> Story:
        SCENARIOS.append(Scenario(story, frozenset(alerts)))
        return story

    return add


def breaks(circuit: str, *instances: str) -> Fails:
    """Calls of a circuit fail: on these instances, or on all."""
    return lambda instance, name: name == circuit and (not instances or instance.name in instances)


def shop(**settings: Any) -> WatchedFleet:
    """Three instances that call two upstreams, after five quiet minutes."""
    policy = BreakerPolicy(backoff=ConstantBackoff(10), **settings)
    watched = WatchedFleet("payments", "mail", policy=policy)
    watched.start("a", "b", "c")
    watched.run(5)
    return watched


@fires()
def quiet_night() -> WatchedFleet:
    watched = shop()
    watched.run(35)
    return watched


@fires()
def rolling_deployment() -> WatchedFleet:
    watched = shop()
    for old, new in (("a", "d"), ("b", "e"), ("c", "f")):
        watched.start(new)
        watched.run(1)
        watched.stop(watched.instances[old])
        watched.run(1)
    watched.run(20)
    return watched


@fires()
def single_failures() -> WatchedFleet:
    watched = shop(strategy=CountWindow(size=20, failure_rate=0.5, minimum_calls=10))
    watched.broken = lambda instance, circuit: instance.name == "a" and watched.rounds % 3 == 0
    watched.run(40)
    return watched


@fires("CircuitOpen", "CircuitOpened")
def outage() -> WatchedFleet:
    watched = shop()
    watched.broken = breaks("payments")
    watched.run(5)
    watched.broken = breaks("none")
    watched.run(10)
    return watched


@fires("CircuitOpened")
def outage_between_two_scrapes() -> WatchedFleet:
    watched = shop()
    watched.scrape()
    watched.broken = breaks("payments")
    watched.step(1)
    watched.step(1)
    watched.broken = breaks("none")
    watched.step(12)
    watched.run(30)
    return watched


@fires("CircuitOpened", "CircuitFlaps")
def flap() -> WatchedFleet:
    watched = shop()
    for _ in range(3):
        watched.broken = breaks("payments")
        watched.run(0.5)
        watched.broken = breaks("none")
        watched.run(5)
    return watched


@fires("CircuitOpen", "CircuitOpened", "RampFails")
def upstream_that_bears_half_of_the_calls() -> WatchedFleet:
    watched = shop(ramp=(0.25, 0.5, 0.75), ramp_step=30)
    payments = watched.instances["a"].coordinator.breaker("payments")
    watched.broken = breaks("payments")
    watched.run(0.5)
    watched.broken = lambda _, circuit: circuit == "payments" and payments.share == 0.75
    watched.run(15)
    return watched


@fires("CircuitOpen", "CircuitOpened")
def ramp_that_passes() -> WatchedFleet:
    watched = shop(ramp=(0.25, 0.5, 0.75), ramp_step=60)
    watched.broken = breaks("payments")
    watched.run(1)
    watched.broken = breaks("none")
    watched.run(20)
    return watched


@fires("CircuitOpen", "CircuitOpened", "ObservedCircuitWouldBlock")
def outage_that_is_observed() -> WatchedFleet:
    watched = shop(observe=True)
    watched.broken = breaks("payments")
    watched.run(5)
    watched.broken = breaks("none")
    watched.run(10)
    return watched


@fires("CircuitOpen")
def held_open_by_an_operator() -> WatchedFleet:
    watched = shop()
    watched.override("payments", Override.FORCE_OPEN)
    watched.run(30)
    watched.override("payments", None)
    watched.run(10)
    return watched


@fires("InstanceProtectsItself", "QuorumRefuses")
def one_instance_whose_network_is_broken() -> WatchedFleet:
    watched = shop(quorum=2, strategy=CountWindow(size=20, failure_rate=0.3, minimum_calls=10))
    watched.broken = breaks("payments", "c")
    watched.run(20)
    return watched


@fires("CircuitOpen", "CircuitOpened")
def outage_with_a_quorum() -> WatchedFleet:
    watched = shop(quorum=2)
    watched.broken = breaks("payments")
    watched.run(10)
    watched.broken = breaks("none")
    watched.run(10)
    return watched


@fires("CutOffFromRedis", "ResultsLost")
def one_instance_cut_off() -> WatchedFleet:
    watched = shop()
    watched.cut_off("c")
    watched.run(5)
    watched.reconnect("c")
    watched.run(10)
    return watched


@fires()
def redis_restarts() -> WatchedFleet:
    watched = shop()
    watched.cut_off("a", "b", "c")
    watched.step(4)
    watched.reconnect("a", "b", "c")
    watched.run(20)
    return watched


@fires("CutOffFromRedis", "NobodyLeads")
def redis_gone_for_long() -> WatchedFleet:
    watched = shop()
    watched.cut_off("a", "b", "c")
    watched.run(30)
    return watched


@fires("LeaderChangesOften", "BackgroundErrors")
def leaders_that_stall() -> WatchedFleet:
    watched = shop()
    for _ in range(8):
        leader = watched.leader
        watched.cut_off(leader)
        watched.step(6)
        watched.reconnect(leader)
        watched.run(2.5)
    return watched


@fires("NothingReports")
def fleet_that_is_gone() -> WatchedFleet:
    watched = shop()
    for instance in list(watched.instances.values()):
        watched.stop(instance)
    watched.run(10)
    return watched


@fires("TooManyNames")
def flood_of_names() -> WatchedFleet:
    watched = shop()
    watched.start("crowded", max_breakers=100)
    for number in range(1_500):  # a burst of 1,000 new names is permitted
        watched.instances["crowded"].call(f"host-{number}.example", fails=False)
    watched.run(10)
    return watched


@fires()
def rollout_of_other_policies() -> WatchedFleet:
    watched = shop()
    watched.start("d", policy=BreakerPolicy(backoff=ConstantBackoff(20)))
    watched.run(10)
    for name in "abc":
        watched.stop(watched.instances[name])
    watched.run(20)
    return watched
