"""Without Redis an instance keeps the fleet's word, or judges for itself: `cut_off`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.helpers.servers import RedisServer
from tests.helpers.waiting import PATIENCE, eventually
from zenvark_web import (
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    HealthCheckType,
    State,
    StateChange,
)

THRESHOLD = 3
HOLD = BreakerPolicy(strategy=ConsecutiveFailures(THRESHOLD), backoff=ConstantBackoff(0.3))
LOCAL = BreakerPolicy(strategy=HOLD.strategy, backoff=HOLD.backoff, cut_off="local")


class CallFailedError(Exception):
    """A call failed."""


async def fail_once() -> None:
    raise CallFailedError


class Instance:
    """A coordinator whose circuit `held` keeps the fleet's word; all others may be judged here."""

    def __init__(self, server: RedisServer, namespace: str, **policies: BreakerPolicy) -> None:
        self.changes: list[StateChange] = []
        self.coordinator = Coordinator(
            server.url,
            namespace=namespace,
            policy=LOCAL,
            policies={"held": HOLD, **policies},
            lease_ttl=1.0,
            on_state_change=self.changes.append,
        )

    def state(self, name: str = "upstream") -> State:
        return self.coordinator.breaker(name).state

    async def fail(self, name: str = "upstream", *, times: int = THRESHOLD) -> None:
        failing = (self.coordinator.breaker(name).execute(fail_once) for _ in range(times))
        for outcome in await asyncio.gather(*failing, return_exceptions=True):
            assert isinstance(outcome, CallFailedError | CircuitOpenError)

    def passes(self, name: str = "upstream") -> bool:
        try:
            self.coordinator.breaker(name).execute_sync(int)
        except CircuitOpenError:
            return False
        return True

    async def is_cut_off(self) -> None:
        await eventually(lambda: not self.coordinator.connected, within=PATIENCE, what="cut off")

    async def reaches(self, state: State, name: str = "upstream") -> None:
        await eventually(lambda: self.state(name) is state, within=PATIENCE, what=f"{name} {state}")

    async def recovers(self, name: str = "upstream") -> None:
        await eventually(
            lambda: self.passes(name) and self.state(name) is State.CLOSED,
            within=PATIENCE,
            what=f"recovery of {name}",
        )


@asynccontextmanager
async def running(
    server: RedisServer, namespace: str, count: int = 2, **policies: BreakerPolicy
) -> AsyncIterator[list[Instance]]:
    instances = [Instance(server, namespace, **policies) for _ in range(count)]
    for instance in instances:
        await instance.coordinator.start()
    yield instances
    for instance in instances:
        await instance.coordinator.stop()


async def test_instance_opens_and_recovers_by_its_own_results_alone(
    fresh_server: RedisServer, namespace: str
) -> None:
    async with running(fresh_server, namespace) as (one, other):
        fresh_server.kill()
        await one.is_cut_off()
        await one.fail(times=THRESHOLD - 1)
        assert one.passes()
        await one.fail("held", times=10)
        await one.fail()
        await one.reaches(State.OPEN)
        assert not one.passes()
        assert "cut off from the store: 3 of 3 calls failed" in str(one.changes[-1].reason)
        await one.recovers()
        await one.fail()
        await one.reaches(State.OPEN)
        assert one.state("held") is State.CLOSED, "the fleet's word is kept"
        assert other.state() is State.CLOSED, "nobody else is told"
        assert [change.circuit for change in other.changes] == []


async def test_failed_trial_calls_alone_keep_it_open(
    fresh_server: RedisServer, namespace: str
) -> None:
    async with running(fresh_server, namespace, count=1) as (one,):
        fresh_server.kill()
        await one.is_cut_off()
        await one.fail()
        await one.reaches(State.OPEN)

        async def tried_again() -> bool:
            await one.fail(times=1)
            return len([change for change in one.changes if change.state is State.HALF_OPEN]) >= 3

        await eventually(tried_again, within=PATIENCE, what="further trials")
        assert State.CLOSED not in [change.state for change in one.changes]
        await one.recovers()


async def test_health_checks_are_done_alone(fresh_server: RedisServer, namespace: str) -> None:
    checked: list[HealthCheckType] = []

    async def check(type_: HealthCheckType) -> None:
        checked.append(type_)
        if len(checked) < 3:
            raise CallFailedError

    checking = BreakerPolicy(
        strategy=HOLD.strategy, backoff=HOLD.backoff, health_check=check, cut_off="local"
    )
    async with running(fresh_server, namespace, count=1, upstream=checking) as (one,):
        fresh_server.kill()
        await one.is_cut_off()
        await one.fail()
        await one.reaches(State.OPEN)
        await one.reaches(State.CLOSED)  # without a call
        assert checked == [HealthCheckType.RECOVERY] * 3


async def test_fleets_word_returns_with_the_store(
    fresh_server: RedisServer, namespace: str
) -> None:
    async with running(fresh_server, namespace) as (one, other):
        await one.fail()
        for instance in (one, other):
            await instance.reaches(State.OPEN)
        fresh_server.command("SAVE")
        fresh_server.kill()
        await one.is_cut_off()
        await one.recovers()
        assert other.state() is State.OPEN
        fresh_server.start()
        # What it was asked for meanwhile may have the leader try at once.
        await eventually(lambda: one.state() is not State.CLOSED, within=PATIENCE)
        await one.recovers()
        await other.reaches(State.CLOSED)
        assert one.coordinator.breaker("upstream").generation > 0
        assert (
            one.coordinator.breaker("upstream").generation
            == other.coordinator.breaker("upstream").generation
        )


async def test_what_one_learned_alone_is_told_when_the_store_is_back(
    fresh_server: RedisServer, namespace: str
) -> None:
    async with running(fresh_server, namespace) as (one, other):
        fresh_server.kill()
        await one.is_cut_off()
        await one.fail()
        await one.reaches(State.OPEN)
        fresh_server.restart()
        await other.reaches(State.OPEN)


async def test_cold_start_without_redis(fresh_server: RedisServer, namespace: str) -> None:
    fresh_server.kill()
    async with running(fresh_server, namespace, count=1) as (one,):
        assert one.passes()
        await one.fail("held", times=10)
        assert one.passes("held"), "closed until the fleet says otherwise"
        await one.fail()
        await one.reaches(State.OPEN)
        fresh_server.restart()
        await eventually(lambda: one.coordinator.connected, within=PATIENCE)
        await one.recovers()
        await one.fail("new")
        await one.reaches(State.OPEN, "new")


async def test_store_that_hangs_cuts_off_as_well(
    fresh_server: RedisServer, namespace: str, monkeypatch: Any
) -> None:
    for limit in ("redis.COMMAND_TIMEOUT", "_clients.LONGEST_WAIT", "redis.READ_SLACK"):
        monkeypatch.setattr(f"zenvark_web.backends.{limit}", 0.3)
    async with running(fresh_server, namespace) as (one, other):
        fresh_server.pause()
        await one.is_cut_off()
        await one.fail()
        await one.reaches(State.OPEN)
        await one.recovers()
        fresh_server.resume()
        await eventually(lambda: one.coordinator.connected, within=PATIENCE)
        await one.fail("new")
        await other.reaches(State.OPEN, "new")
