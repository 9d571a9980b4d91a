"""What the leader does with what it reads, through the backend that instances write to."""

import asyncio
import logging

import pytest

from tests.helpers.inside import store_of
from tests.helpers.waiting import eventually
from zenvark_web import (
    BackendError,
    BreakerPolicy,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    HealthCheckType,
    MalformedEntryError,
    MemoryBackend,
    Outcome,
    PolicyMismatchError,
    ResultsLostError,
    State,
    StateChange,
    StrategyError,
)
from zenvark_web._core.states import Report, Run
from zenvark_web._judging import leader as leading
from zenvark_web.backends.base import Account, Batch

POLICY = BreakerPolicy(strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(30))


async def fail() -> None:
    raise ConnectionError


async def succeed() -> int:
    return 1


def batch(backend_now: float, number: int, *runs: Run, generation: int = 0) -> Batch:
    report = Report("upstream", runs, generation=generation)
    return Batch("elsewhere", number, backend_now, (report,))


def failures(count: int, *, age: float = 0.0, generation: int = 0) -> Run:
    return Run(generation, failed=True, slow=False, count=count, age=age, label="boom")


class Store(MemoryBackend):
    """A backend that can be told to fail, and knows its time."""

    def __init__(self) -> None:
        super().__init__()
        self.lose_replies = False
        self.appended: list[Batch] = []

    async def now(self) -> float:
        return (await self.load()).now

    async def append(self, batch: Batch) -> float:
        self.appended.append(batch)
        now = await super().append(batch)
        if self.lose_replies:
            self.lose_replies = False
            raise BackendError("the reply was lost")
        return now


async def leader(store: Store, **options) -> Coordinator:
    coordinator = Coordinator(store, policy=POLICY, **options)
    await coordinator.start()
    await eventually(lambda: coordinator.role == "leader", what="it leads")
    return coordinator


async def judged(coordinator: Coordinator, store: Store) -> None:
    """Wait until everything written so far has been read by the leader."""
    async with Coordinator(store, policy=POLICY) as other:
        for _ in range(3):
            await asyncio.gather(other.breaker("marker").execute(fail), return_exceptions=True)
        await eventually(
            lambda: coordinator.breaker("marker").state is State.OPEN, what="the marker is judged"
        )


async def test_old_results_do_not_count_and_are_accounted_for_as_expired(monkeypatch):
    monkeypatch.setattr(leading, "TIDY_INTERVAL", 0.05)
    store = Store()
    coordinator = await leader(store)
    now = await store.now()
    await store.append(batch(now, 1, failures(3, age=11)))
    await store.append(batch(now - 11, 2, failures(3)))  # long under way
    await judged(coordinator, store)
    assert coordinator.breaker("upstream").state is State.CLOSED
    await store.append(batch(await store.now(), 3, failures(3, age=9)))
    await eventually(lambda: coordinator.breaker("upstream").state is State.OPEN)

    async def accounted_for() -> bool:
        account = (await store.load(leading=True)).checkpoint.accounts.get("elsewhere")
        return account == Account(first=1, last=3, evaluated=3, expired=6)

    await eventually(accounted_for)
    await coordinator.stop()


async def test_a_batch_whose_reply_was_lost_counts_once():
    store = Store()
    coordinator = await leader(store)
    async with Coordinator(store, policy=POLICY) as other:
        store.lose_replies = True
        await asyncio.gather(
            *(other.breaker("upstream").execute(fail) for _ in range(2)), return_exceptions=True
        )
        await eventually(lambda: len(store.appended) >= 2, what="it is sent again")
        first, second = store.appended[:2]
        assert (first.instance, first.number) == (second.instance, second.number)
        await judged(coordinator, store)
        assert coordinator.breaker("upstream").state is State.CLOSED
        await asyncio.gather(other.breaker("upstream").execute(fail), return_exceptions=True)
        await eventually(lambda: coordinator.breaker("upstream").state is State.OPEN)
    await coordinator.stop()


async def test_results_of_another_generation_do_not_count():
    store = Store()
    coordinator = await leader(store)
    now = await store.now()
    await store.append(batch(now, 1, failures(3)))
    breaker = coordinator.breaker("upstream")
    await eventually(lambda: breaker.state is State.OPEN)
    await store.append(batch(now, 2, failures(50, generation=0), generation=1))
    await judged(coordinator, store)
    assert breaker.generation == 1
    await coordinator.stop()


async def test_a_leader_that_knows_less_than_an_instance_overtakes_it():
    store = Store()
    coordinator = await leader(store)
    await store.append(batch(await store.now(), 1, generation=41))
    breaker = coordinator.breaker("upstream")
    await eventually(lambda: breaker.generation == 42, what="the generation is overtaken")
    await store.append(batch(await store.now(), 2, generation=2**53))
    await judged(coordinator, store)
    assert breaker.generation == 42, "an absurd generation is left alone"
    await coordinator.stop()


async def test_a_coordinator_that_was_stopped_and_started_counts_again():
    store = Store()
    coordinator = await leader(store)
    other = Coordinator(store, policy=POLICY)
    for _ in range(3):
        await other.start()
        await asyncio.gather(other.breaker("upstream").execute(fail), return_exceptions=True)
        await other.stop()
    await eventually(lambda: coordinator.breaker("upstream").state is State.OPEN)
    await coordinator.stop()


async def test_a_flood_of_rubbish_is_counted_but_told_in_part(caplog):
    store = Store()
    told: list[Exception] = []
    coordinator = await leader(store, on_error=told.append)
    with caplog.at_level(logging.ERROR, "zenvark_web"):
        for number in range(200):
            store_of(store)._results.add({"number": str(number)})
        store._wake_reads()
        await judged(coordinator, store)
    assert coordinator.statistics.errors["MalformedEntryError"] == 200
    assert len([error for error in told if isinstance(error, MalformedEntryError)]) == 10
    assert len(caplog.records) == 11
    assert "only counted" in caplog.records[-1].message
    await coordinator.stop()


async def test_a_strategy_that_raises_harms_only_its_own_circuit():
    class Moody:
        def window(self):
            return self

        def record(self, failed, slow, count, now):
            raise RuntimeError("no mood")

    store = Store()
    told: list[Exception] = []
    policies = {"upstream": BreakerPolicy(strategy=Moody())}
    coordinator = await leader(store, policies=policies, on_error=told.append)
    await store.append(batch(await store.now(), 1, failures(1)))
    await judged(coordinator, store)
    assert any(isinstance(e, StrategyError) and "no mood" in str(e) for e in told)
    await coordinator.stop()


async def test_instances_that_disagree_on_policies_are_reported():
    store = Store()
    told: list[Exception] = []
    coordinator = await leader(store, on_error=told.append)
    async with Coordinator(store, policy=BreakerPolicy()):
        await eventually(
            lambda: any(isinstance(error, PolicyMismatchError) for error in told),
            what="the disagreement is told",
        )
    await coordinator.stop()


async def test_a_failed_idle_check_opens_a_quiet_circuit():
    checks: list[HealthCheckType] = []
    well = True

    async def check(type_: HealthCheckType) -> None:
        checks.append(type_)
        if not well:
            raise ConnectionError("down")

    changes: list[StateChange] = []
    policy = BreakerPolicy(health_check=check, idle_interval=0.1, backoff=ConstantBackoff(0.1))
    async with Coordinator(policies={"quiet": policy}, on_state_change=changes.append) as one:
        await eventually(lambda: checks.count(HealthCheckType.IDLE) >= 2, what="idle checks")
        well = False
        await eventually(lambda: one.breaker("quiet").state is State.OPEN)
        await eventually(lambda: HealthCheckType.RECOVERY in checks, what="recovery checks")
        well = True
        await eventually(lambda: one.breaker("quiet").state is State.CLOSED)
    assert [change.reason.cause for change in changes] == ["idle_check_failed", "check_passed"]
    assert "down" in changes[0].reason.detail


async def test_what_finds_no_room_is_dropped_counted_and_told():
    class Unreachable(MemoryBackend):
        async def append(self, batch: Batch) -> float:
            raise BackendError("away")

    told: list[Exception] = []
    coordinator = Coordinator(Unreachable(), on_error=told.append)
    async with coordinator:
        for number in range(12_000):
            permit = coordinator.breaker(f"circuit-{number % 9_000}").acquire()
            permit.record(Outcome.FAILURE if number % 2 else Outcome.SUCCESS)
        for number in range(12_000):
            coordinator.breaker(f"circuit-{number % 9_000}").acquire().record(Outcome.FAILURE)
        await eventually(
            lambda: any(isinstance(error, ResultsLostError) for error in told), within=15
        )
        assert coordinator.statistics.dropped > 0
        assert len([error for error in told if isinstance(error, BackendError)]) == 1
    counts = coordinator.statistics
    # What waited when it stopped counts too; on a busy host some of it has expired.
    assert counts.dropped + counts.expired == counts.recorded == 24_000


@pytest.mark.parametrize("told_twice", [False, True])
async def test_a_permit_is_recorded_once(told_twice):
    async with Coordinator() as coordinator:
        permit = coordinator.breaker("upstream").acquire()
        permit.record(Outcome.SUCCESS)
        if told_twice:
            with pytest.raises(RuntimeError, match="recorded already"):
                permit.record(Outcome.SUCCESS)
        assert permit.recorded
