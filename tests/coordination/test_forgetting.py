"""Circuits that nobody has called for long don't pile up, nor more than are to be kept."""

import asyncio
import time
from dataclasses import replace

from tests.helpers.inside import store_of
from tests.helpers.waiting import eventually
from zenvark_web import (
    BreakerPolicy,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    HealthCheckType,
    MemoryBackend,
    State,
)
from zenvark_web._core.states import Transition
from zenvark_web._judging import leader as leading
from zenvark_web.backends.base import Presence

POLICY = BreakerPolicy(strategy=ConsecutiveFailures(2))


def clock() -> float:
    return time.monotonic() + 100_000


async def fail() -> None:
    raise ConnectionError


async def history(*circuits: Transition) -> MemoryBackend:
    """A store in which these transitions were written under an earlier lease."""
    backend = MemoryBackend(clock)
    lease = (await backend.heartbeat(Presence("earlier"), 10, 0)).lease
    for circuit in circuits:
        await backend.publish(lease, replace(circuit, epoch=lease.epoch, leader=lease.holder))
    await backend.resign("earlier")
    return backend


async def stored(backend: MemoryBackend) -> set[str]:
    return {transition.circuit for transition in (await backend.load()).transitions}


async def test_only_what_is_closed_old_and_quiet_is_forgotten(monkeypatch):
    monkeypatch.setattr(leading, "TIDY_INTERVAL", 0.05)
    monkeypatch.setattr(leading, "FORGET_AFTER", 0.5)
    now = clock()
    backend = await history(
        Transition(circuit="old", generation=6, at=now - 4000),
        Transition(circuit="called", generation=6, at=now - 4000),
        Transition(circuit="recent", generation=6, at=now + 3000),
        Transition(circuit="open", generation=6, state=State.OPEN, at=now - 4000, delay=8000),
        Transition(circuit="left open", generation=6, state=State.OPEN, at=now - 4000, delay=1),
    )
    async with (
        Coordinator(backend, policy=POLICY) as one,
        Coordinator(backend, policy=POLICY) as two,
    ):
        held = two.breaker("old")
        assert held.generation == 6

        async def forgotten() -> bool:
            await asyncio.gather(one.breaker("called").execute(asyncio.sleep, 0))
            return not {"old", "left open"} & await stored(backend)

        await eventually(forgotten, what="what is old is forgotten")
        assert await stored(backend) == {"called", "recent", "open"}
        await eventually(lambda: held.generation == 0, what="instances begin it anew")
        assert two.breaker("open").state is State.OPEN
        # What has been forgotten works as at the beginning.
        for coordinator in (one, two):
            await asyncio.gather(coordinator.breaker("old").execute(fail), return_exceptions=True)
        await eventually(lambda: held.state is State.OPEN)
        assert held.generation == 1


async def test_an_instance_that_missed_it_is_brought_back_in(monkeypatch):
    monkeypatch.setattr(leading, "TIDY_INTERVAL", 0.05)
    monkeypatch.setattr(leading, "FORGET_AFTER", 0.0)
    now = clock()
    backend = await history(Transition(circuit="old", generation=6, at=now - 4000))
    missing = Coordinator(backend, policy=POLICY)
    async with missing:
        breaker = missing.breaker("old")
        assert breaker.generation == 6
    async with Coordinator(backend, policy=POLICY):
        await eventually(lambda: not store_of(backend)._circuits, what="the circuit is forgotten")
        monkeypatch.setattr(leading, "FORGET_AFTER", 60.0)
        async with missing:
            await asyncio.gather(*(breaker.execute(fail) for _ in range(2)), return_exceptions=True)
            await eventually(lambda: breaker.generation > 6, what="the leader takes it up again")
            await asyncio.gather(*(breaker.execute(fail) for _ in range(2)), return_exceptions=True)
            await eventually(lambda: breaker.state is State.OPEN)


async def test_no_more_stay_than_are_to_be_kept(monkeypatch):
    """Somebody may make names up; those called lately, and open ones, stay."""
    monkeypatch.setattr(leading, "TIDY_INTERVAL", 0.05)
    monkeypatch.setattr(leading, "QUIET_FOR", 0.3)
    now = clock()
    backend = await history(
        *(Transition(circuit=f"name-{n}", generation=1, at=now - 100) for n in range(50)),
        Transition(circuit="open", generation=1, state=State.OPEN, at=now - 100, delay=8000),
    )
    async with Coordinator(backend, policy=POLICY, max_breakers=10) as coordinator:

        async def bounded() -> bool:
            await coordinator.breaker("name-0").execute(asyncio.sleep, 0)
            return len(await stored(backend)) <= 10

        await eventually(bounded, what="no more than ten circuits")
        assert len(await stored(backend)) == 10
        assert {"name-0", "open"} <= await stored(backend)


async def test_dead_hosts_that_are_checked_in_vain_leave_as_well(monkeypatch):
    """Each check that failed made them look as if they were in use."""
    monkeypatch.setattr(leading, "TIDY_INTERVAL", 0.05)
    monkeypatch.setattr(leading, "QUIET_FOR", 0.5)

    async def check(_: HealthCheckType) -> None:
        raise ConnectionError

    policy = BreakerPolicy(health_check=check, backoff=ConstantBackoff(0.1))
    now = clock()
    backend = await history(
        *(
            Transition(circuit=f"dead-{n}", generation=1, state=State.OPEN, at=now, delay=0.1)
            for n in range(50)
        )
    )
    async with Coordinator(backend, policy=policy, max_breakers=10) as coordinator:

        async def bounded() -> bool:
            called = coordinator.breaker("dead-0").execute(asyncio.sleep, 0)
            await asyncio.gather(called, return_exceptions=True)
            return len(await stored(backend)) <= 10

        await eventually(bounded, what="no more than ten circuits")
        assert "dead-0" in await stored(backend), "somebody calls it"


async def test_names_that_come_fast_leave_sooner(monkeypatch):
    monkeypatch.setattr(leading, "TIDY_INTERVAL", 0.05)
    monkeypatch.setattr(leading, "QUIET_IN_A_CROWD", 0.3)
    now = clock()
    backend = await history(
        *(Transition(circuit=f"name-{n}", generation=1, at=now - 100) for n in range(50)),
    )
    async with Coordinator(backend, policy=POLICY, max_breakers=10):

        async def bounded() -> bool:
            return len(await stored(backend)) <= 20

        await eventually(bounded, what="no more than twice as many")
        assert len(await stored(backend)) == 20, "the others have their minute"


async def test_a_hash_of_circuits_that_was_lost_alone_is_written_again():
    backend = await history(Transition(circuit="open", generation=6, state=State.OPEN, delay=900))
    async with Coordinator(backend, policy=POLICY, lease_ttl=0.3) as coordinator:
        await eventually(lambda: coordinator.role == "leader")
        store_of(backend)._circuits.clear()  # the streams still stand

        async def written_again() -> bool:
            return await stored(backend) == {"open"}

        await eventually(written_again)
        async with Coordinator(backend, policy=POLICY) as newcomer:
            assert newcomer.breaker("open").state is State.OPEN
