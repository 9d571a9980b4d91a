"""An upstream that asks to be left alone is, by the whole fleet, for as long as it wants."""

import asyncio
import re
from contextlib import suppress

import pytest

from tests.coordination.test_judging import Store
from tests.helpers.inside import circuit_of, connection_of
from tests.helpers.waiting import eventually
from zenvark_web import (
    BackendError,
    Breaker,
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    CountWindow,
    HealthCheckType,
    Outcome,
    Permit,
    State,
)
from zenvark_web._circuits.local import LocalCircuit
from zenvark_web._core.states import Report
from zenvark_web.backends.base import Batch

POLICY = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.1))


def fail(breaker: Breaker, retry_after: float | None = None) -> None:
    breaker.acquire().record(Outcome.FAILURE, "HTTP 503", retry_after=retry_after)


def held(breaker: Breaker) -> float:
    """The seconds that are known to be left."""
    local: LocalCircuit = circuit_of(breaker)
    return local.retry_after_left(local.monotonic()) or 0.0


async def test_the_wait_is_as_long_as_the_upstream_wants_for_everyone() -> None:
    store = Store()
    async with Coordinator(store, policy=POLICY) as one, Coordinator(store, policy=POLICY) as other:
        fail(one.breaker("upstream"), retry_after=100)
        for coordinator in (one, other):
            breaker = coordinator.breaker("upstream")
            await eventually(lambda breaker=breaker: breaker.state is State.OPEN)
            assert 90 < breaker.retry_after < 101
            with pytest.raises(CircuitOpenError) as rejected:
                breaker.acquire()
            assert 90 < rejected.value.retry_after < 101


async def test_a_longer_one_reaches_everyone_while_the_circuit_is_open() -> None:
    store = Store()
    async with Coordinator(store, policy=POLICY) as one, Coordinator(store, policy=POLICY) as other:
        under_way = other.breaker("upstream").acquire()
        fail(one.breaker("upstream"), retry_after=100)
        await eventually(lambda: other.breaker("upstream").state is State.OPEN)
        generation = other.breaker("upstream").generation
        under_way.record(Outcome.FAILURE, retry_after=200)
        await eventually(lambda: one.breaker("upstream").retry_after > 150)
        await eventually(lambda: other.breaker("upstream").retry_after > 150)
        assert one.breaker("upstream").generation == generation + 1
        [latest] = (await store.load()).transitions
        told = re.match(r"the upstream asked (\S+) to wait ([\d.]+) s more", str(latest.reason))
        assert told
        assert told[1] == other.instance_id
        assert 180 < float(told[2]) < 201


async def test_neither_check_nor_trial_before_it_is_over() -> None:
    checks: list[float] = []
    loop = asyncio.get_running_loop()

    async def check(type_: HealthCheckType) -> None:
        checks.append(loop.time())

    checked = BreakerPolicy(
        strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.05), health_check=check
    )
    async with Coordinator(policy=POLICY, policies={"checked": checked}) as coordinator:
        began = loop.time()
        fail(coordinator.breaker("upstream"), retry_after=1.0)
        fail(coordinator.breaker("checked"), retry_after=1.0)
        await eventually(lambda: coordinator.breaker("upstream").state is State.OPEN)

        def tried() -> bool:
            try:
                coordinator.breaker("upstream").execute_sync(int)
            except CircuitOpenError:
                return False
            return True

        await eventually(tried)
        assert loop.time() - began >= 0.99
        await eventually(lambda: checks)
        assert checks[0] - began >= 0.99


async def test_what_is_learnt_while_closed_holds_once_the_circuit_opens() -> None:
    store = Store()
    policy = BreakerPolicy(strategy=ConsecutiveFailures(2), backoff=ConstantBackoff(0.1))
    first = Coordinator(store, policy=policy)
    await first.start()
    fail(first.breaker("upstream"), retry_after=100)
    await eventually(lambda: store.appended)
    await first.stop()
    async with Coordinator(store, policy=policy) as successor:
        fail(successor.breaker("upstream"))
        await eventually(lambda: successor.breaker("upstream").state is State.OPEN)
        assert 80 < successor.breaker("upstream").retry_after < 101


async def test_what_the_leader_knows_survives_its_own_transitions() -> None:
    store = Store()
    async with Coordinator(store, policy=POLICY) as coordinator:
        breaker = coordinator.breaker("upstream")
        fail(breaker)
        await eventually(lambda: breaker.state is State.OPEN)

        async def trial() -> Permit | None:
            with suppress(CircuitOpenError):
                return breaker.acquire()
            return None

        permit = await eventually(trial, what="a trial")
        told = Report("upstream", retry_after=100.0)
        await store.append(Batch("elsewhere", 1, await store.now(), (told,)))
        permit.record(Outcome.SUCCESS)
        await eventually(lambda: breaker.state is State.CLOSED)
        fail(breaker)
        await eventually(lambda: breaker.state is State.OPEN)
        assert 80 < breaker.retry_after < 101


@pytest.mark.parametrize("seconds", [None, 0, -5, float("nan"), float("inf"), float("-inf")])
async def test_what_is_no_wait_is_ignored(seconds: float | None) -> None:
    async with Coordinator(policy=POLICY) as coordinator:
        breaker = coordinator.breaker("upstream")
        fail(breaker, retry_after=seconds)
        assert held(breaker) == 0
        await eventually(lambda: breaker.state is State.OPEN)
        assert breaker.retry_after <= 0.1


async def test_only_a_failure_brings_it() -> None:
    async with Coordinator(policy=POLICY) as coordinator:
        breaker = coordinator.breaker("upstream")
        breaker.acquire().record(Outcome.SUCCESS, retry_after=100)
        breaker.acquire().record(Outcome.IGNORED, retry_after=100)
        assert held(breaker) == 0


@pytest.mark.parametrize(("longest", "left"), [(300.0, 300), (40.0, 40), (0, 0)])
async def test_absurd_ones_are_cut(longest: float, left: float) -> None:
    policy = BreakerPolicy(strategy=ConsecutiveFailures(9), max_retry_after=longest)
    async with Coordinator(policy=policy) as coordinator:
        breaker = coordinator.breaker("upstream")
        fail(breaker, retry_after=10.0**30)
        assert left - 5 < held(breaker) <= left or left == held(breaker) == 0
        fail(breaker, retry_after=left / 2)
        assert held(breaker) >= left - 5, "the longest one wins"


async def test_it_is_told_with_each_report_while_it_lasts() -> None:
    store = Store()
    policy = BreakerPolicy(strategy=ConsecutiveFailures(9), backoff=ConstantBackoff(0.1))
    async with Coordinator(store, policy=policy) as coordinator:
        breaker = coordinator.breaker("upstream")
        fail(breaker)
        await eventually(lambda: len(store.appended) == 1)
        fail(breaker, retry_after=0.5)
        fail(breaker, retry_after=0.2)
        await eventually(lambda: len(store.appended) == 2)
        await eventually(lambda: not held(breaker))
        fail(breaker)
        await eventually(lambda: len(store.appended) == 3)
    holds = [report.retry_after for batch in store.appended for report in batch.reports]
    assert holds[0] is holds[2] is None
    assert holds[1] is not None
    assert 0 < holds[1] <= 0.5


async def test_not_started_nothing_is_kept() -> None:
    breaker = Coordinator(policy=POLICY).breaker("upstream")
    fail(breaker, retry_after=100)
    assert held(breaker) == 0


class Unreachable(Store):
    """A store that is away."""

    away = False

    async def append(self, batch):
        if self.away:
            raise BackendError("away")
        return await super().append(batch)


async def test_an_instance_alone_heeds_it_and_calls_in_flight_as_well() -> None:
    store = Unreachable()
    slow = BreakerPolicy(
        strategy=CountWindow(10, 1.0, 5, slow_rate=1.0), slow_call=0.2, cut_off="local"
    )
    alone = BreakerPolicy(
        strategy=ConsecutiveFailures(2), backoff=ConstantBackoff(0.1), cut_off="local"
    )
    coordinator = Coordinator(store, policy=alone, policies={"slow": slow})
    async with coordinator:
        breaker, hung = coordinator.breaker("upstream"), coordinator.breaker("slow")
        permits = [hung.acquire() for _ in range(3)]
        fail(breaker, retry_after=100)
        await eventually(lambda: store.appended)
        store.away = True
        fail(coordinator.breaker("another"))  # so that it finds out
        permits += [hung.acquire() for _ in range(2)]
        await eventually(lambda: connection_of(coordinator).cut_off)
        await eventually(lambda: hung.generation < 0, what="it opens for itself")
        assert hung.state is State.OPEN
        for _ in range(2):
            fail(breaker)
        await eventually(lambda: breaker.generation < 0 and breaker.state is State.OPEN)
        assert 80 < breaker.retry_after < 101
        for permit in permits:
            permit.record(Outcome.SUCCESS)
        store.away = False
