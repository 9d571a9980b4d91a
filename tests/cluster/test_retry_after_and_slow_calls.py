"""What one process is told by the upstream, or sees of it, protects it from all."""

from functools import partial

from tests.cluster.fleet import Fleet, StartFleet, all_reach, split
from tests.cluster.store import Store
from tests.cluster.upstream import Upstream
from tests.helpers.waiting import PATIENCE, eventually
from zenvark_web import Cause, State

WANTED = 2.5
"""Seconds that the upstream wants to be left alone: many times as long as the backoff waits."""

CLOCK = 0.3
"""Seconds by which a busy leader may misjudge the shared clock: half of the answer's way to it."""


async def all_wait(fleet: Fleet, least: float) -> None:
    """Every instance gets to know that so many seconds are left."""
    for instance in fleet:

        async def waits(ask=instance.retry_after) -> bool:
            return await ask() > least

        await eventually(waits, within=PATIENCE, what=f"a wait of {least} s")


async def test_longest_retry_after_wins_and_nobody_tries_before(
    start_fleet: StartFleet, store: Store, upstream: Upstream
) -> None:
    fleet = await start_fleet(2, threshold=1, wait=0.1)
    for instance in fleet:
        await instance.hang()
    await fleet[0].let_go(retry_after=1.0)
    await all_reach(fleet, "open")
    await fleet[1].let_go(retry_after=WANTED)
    await eventually(lambda: len(store.transitions("upstream")) == 2, within=PATIENCE)
    opened, longer = store.transitions("upstream")
    assert 0.2 < opened.delay < 1.0 + CLOCK  # what a busy leader leaves of it
    assert (longer.reason.cause, longer.previous, longer.state) == (
        Cause.RETRY_AFTER,
        State.OPEN,
        State.OPEN,
    )
    assert longer.attempt == opened.attempt == 1
    for instance in fleet:
        await instance.traffic_on()
    await all_reach(fleet, "closed")
    assert [item.reason.cause for item in store.transitions("upstream")] == [
        Cause.TRIPPED,
        Cause.RETRY_AFTER,
        Cause.TRIAL,
        Cause.TRIAL_PASSED,
    ]
    grant = store.transitions("upstream")[2]
    assert grant.at + 0.001 >= longer.retry_at >= opened.at + WANTED - CLOCK
    assert {hit.generation for hit in upstream.calls} <= {grant.generation, grant.generation + 1}


async def test_health_checks_wait_as_well(
    start_fleet: StartFleet, store: Store, upstream: Upstream
) -> None:
    fleet = await start_fleet(2, threshold=1, wait=0.05, health_check=True)
    await fleet[1].hang()
    await fleet[1].let_go(retry_after=WANTED)
    await all_reach(fleet, "open")
    await all_reach(fleet, "closed")
    opened, closed = store.transitions("upstream")
    assert closed.at - opened.at >= WANTED - 1.5  # what a busy leader leaves of it
    assert len(upstream.checks) == 1


async def test_takeover_keeps_it(start_fleet: StartFleet, store: Store) -> None:
    """It was learnt while the circuit was closed, and stands in no transition yet."""
    fleet = await start_fleet(3, threshold=2, wait=0.1, lease_ttl=0.6)
    leader, followers = await split(fleet)
    await leader.hang()
    await leader.let_go(retry_after=200)
    await eventually(lambda: store.reported("upstream")["failures"] == 1, within=PATIENCE)
    leader.process.kill()
    await followers[0].fail()
    await all_reach(followers, "open")
    await all_wait(followers, 150)
    successor, rest = await split(followers)
    successor.process.kill()
    await split(rest)
    await all_wait(rest, 150)
    [opened] = store.transitions("upstream")
    assert 150 < opened.delay < 200 + CLOCK
    assert "the upstream asked to wait" in opened.reason.detail


async def test_twenty_hung_calls_of_two_processes_open_before_they_end(
    start_fleet: StartFleet, store: Store
) -> None:
    fleet = await start_fleet(2, threshold=20, slow_call=0.5, wait=60, housekeeping=0.5)
    for instance in fleet:
        await instance.hang(10)
    await all_reach(fleet, "open")
    [opened] = store.transitions("upstream")
    assert opened.reason.detail.startswith(
        "0 of 20 calls failed, 20 slow (20 still in flight): CountWindow("
    )
    assert opened.reason.instances == {instance.id: 10 for instance in fleet}
    assert store.reported("upstream") == {}, "none has ended"
    for instance in fleet:
        await instance.let_go()
        assert await instance.accounts() == {"evaluated": 10, "expired": 0, "dropped": 0}
    assert len(store.transitions("upstream")) == 1


async def test_hung_calls_of_a_process_that_died_are_forgotten(
    start_fleet: StartFleet, store: Store
) -> None:
    fleet = await start_fleet(3, threshold=20, slow_call=0.2, wait=60)
    leader, (dying, other) = await split(fleet)
    await dying.hang(19)
    await eventually(partial(has_told, store, dying.id, 19), within=PATIENCE)
    dying.process.kill()
    await eventually(
        lambda: store.age_of_last_entry(dying.id) > 3.5, within=PATIENCE, what="silence"
    )
    await other.hang(1)
    await eventually(partial(has_told, store, other.id, 1), within=PATIENCE)
    await leader.succeed()
    await eventually(lambda: store.reported("upstream")["successes"] == 1, within=PATIENCE)
    assert store.transitions("upstream") == []
    await other.let_go()


def has_told(store: Store, instance: str, overdue: int) -> bool:
    return store.overdue(instance)[-1:] == [overdue]
