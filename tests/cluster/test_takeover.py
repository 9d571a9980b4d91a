"""Leaders die, leave and sleep; the fleet always has one, and nothing that was reported is lost."""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from functools import partial

from tests.cluster.fleet import Fleet, Instance, StartFleet, all_reach, split
from tests.cluster.store import Store
from tests.cluster.upstream import Mode, Upstream
from tests.helpers.servers import RedisServer, ServerHandle
from tests.helpers.waiting import PATIENCE, eventually
from zenvark_web import State

Record = Callable[[str, object], None]


async def led_at(instance: Instance) -> float:
    """When its callback was told that it leads."""
    await eventually(partial(instance.events, "role"), within=PATIENCE)
    at, role = (await instance.events("role"))[-1]
    assert role == "leader"
    return at


async def overtaken(store: Store, sleeper: Instance, others: Fleet) -> Instance:
    """The instance that leads once the sleeper's lease is over."""
    await eventually(lambda: store.leader() not in {None, sleeper.id}, within=PATIENCE)
    leader, _ = await split(others)
    return leader


async def test_killed_leader_is_replaced_and_what_was_reported_counts(
    server: ServerHandle, namespace: str, start_fleet: StartFleet, record_property: Record
) -> None:
    lease = 1.0
    store = Store(server, namespace)
    fleet = await start_fleet(4, server=server, threshold=5, wait=60, lease_ttl=lease)
    leader, followers = await split(fleet)
    await leader.fail(3)
    await eventually(lambda: store.reported("upstream")["failures"] == 3, within=PATIENCE)
    epoch = store.epoch()

    leader.process.kill()
    killed = time.monotonic()
    for follower in followers[:2]:
        await follower.fail()
    await all_reach(followers, "open")
    successor, _ = await split(followers)
    gap = await led_at(successor) - killed
    record_property("seconds_without_a_leader", gap)
    print(f"another leads {gap:.3f} s after a leader with a lease of {lease} s was killed")
    assert gap < lease * 1.5 + 10
    opened = store.circuits()["upstream"]
    assert opened.leader == successor.id
    assert opened.epoch > epoch
    assert opened.reason.instances == {
        leader.id: 3,
        **{follower.id: 1 for follower in followers[:2]},
    }


async def test_lease_from_an_older_copy_of_the_store_is_given_back(
    server: ServerHandle, namespace: str, start_fleet: StartFleet
) -> None:
    """Its holder knew of a newer one, so it did not lead; but it renewed the lease, for ever."""
    store = Store(server, namespace)
    fleet = await start_fleet(2, server=server, wait=60)
    first, [second] = await split(fleet)
    older = store.epoch()
    await first.stop()
    await second.becomes("leader")
    await first.start()
    newer = store.epoch()
    assert newer > older
    store.put_lease(older, first.id)
    await eventually(lambda: store.epoch() > newer, within=PATIENCE, what="a newer lease")
    await split(fleet)
    await second.fail(5)
    await all_reach(fleet, "open")


async def test_killed_leaders_checkpoint_is_taken_up(
    server: ServerHandle, namespace: str, start_fleet: StartFleet
) -> None:
    store = Store(server, namespace)
    fleet = await start_fleet(3, server=server, threshold=5, wait=60, housekeeping=0.1)
    leader, followers = await split(fleet)
    await leader.fail(2)
    await followers[0].fail(2)
    await eventually(lambda: sum(count for *_, count in failures_in(store)) == 4, within=PATIENCE)
    store.lose_results()  # all that is known of them stands in the checkpoint

    leader.process.kill()
    await split(followers)
    await followers[1].fail()
    await all_reach(followers, "open")
    opened = store.circuits()["upstream"]
    assert opened.reason.instances == {leader.id: 2, followers[0].id: 2, followers[1].id: 1}


def failures_in(store: Store) -> Sequence[tuple[str, str, int]]:
    """Those that a checkpoint holds."""
    snapshot = store.snapshots().get("upstream")
    return () if snapshot is None or snapshot.window is None else snapshot.window.failures


async def test_leader_that_stops_hands_over_at_once(
    start_fleet: StartFleet, record_property: Record
) -> None:
    fleet = await start_fleet(3, lease_ttl=30)
    leader, followers = await split(fleet)
    began = time.monotonic()
    await leader.stop()
    successor, _ = await split(followers)
    gap = await led_at(successor) - began
    record_property("seconds_without_a_leader", gap)
    print(f"another leads {gap:.3f} s after a leader began to stop")
    assert gap < 15, "half of its lease"
    await followers[0].fail(5)
    await all_reach(followers, "open")


async def test_leader_that_slept_past_its_lease_changes_nothing(
    server: ServerHandle, namespace: str, start_fleet: StartFleet
) -> None:
    store = Store(server, namespace)
    fleet = await start_fleet(3, server=server, threshold=3, wait=60, lease_ttl=0.6)
    sleeper, others = await split(fleet)
    sleeper.process.pause()
    successor = await overtaken(store, sleeper, others)
    for instance in others:
        await instance.fail(2)
    await all_reach(others, "open")
    before, epoch = store.circuits(), store.epoch()

    sleeper.process.resume()
    await sleeper.reaches("open")
    await sleeper.becomes("follower")
    await works_as_one(fleet, successor)
    assert store.circuits()["upstream"] == before["upstream"]
    assert store.epoch() == epoch


async def test_failures_that_slept_do_not_open_what_has_recovered(
    start_fleet: StartFleet, store: Store
) -> None:
    fleet = await start_fleet(3, threshold=3, wait=0.2, lease_ttl=0.6)
    sleeper, others = await split(fleet)
    sleeper.process.send({"do": "fail_and_pause", "circuit": "upstream", "count": 5})
    await eventually(lambda: stopped(sleeper), within=PATIENCE)
    successor = await overtaken(store, sleeper, others)
    # The sleeper's own reader finds these failures when it wakes, and believes that it leads.
    await others[0].fail(3)
    await all_reach(others, "open")
    for instance in others:
        await instance.traffic_on(via="local")
    await all_reach(others, "closed")
    before = store.circuits()["upstream"]

    sleeper.process.resume()
    assert "result" in await asyncio.to_thread(sleeper.process.receive, within=PATIENCE)
    await eventually(lambda: store.reported("upstream")["failures"] == 3 + 5, within=PATIENCE)
    await sleeper.becomes("follower")
    await works_as_one(fleet, successor)
    assert store.circuits()["upstream"] == before
    assert {await instance.state() for instance in fleet} == {(State.CLOSED, before.generation)}


async def test_write_that_arrives_after_its_lease_is_refused(
    fresh_server: RedisServer, namespace: str, upstream: Upstream, start_fleet: StartFleet
) -> None:
    lease = 1.0
    store = Store(fresh_server, namespace)
    fleet = await start_fleet(
        2,
        server=fresh_server,
        health_check=True,
        wait=0.1,
        multiplier=600,
        lease_ttl=lease,
    )
    upstream.mode = Mode.HANGING
    await fleet[0].fail(5)
    await eventually(lambda: upstream.checks, within=PATIENCE)
    epoch = store.epoch()
    # The check passes, but that the circuit closes reaches Redis only when the lease is over.
    fresh_server.pause()
    upstream.mode = Mode.FAILING
    upstream.release()
    await asyncio.sleep(lease * 1.5)
    fresh_server.resume()
    await eventually(lambda: len(upstream.checks) == 2, within=PATIENCE)
    await eventually(lambda: len(store.transitions("upstream")) == 2, within=PATIENCE)
    assert [transition.state for transition in store.transitions("upstream")] == [State.OPEN] * 2
    assert store.circuits()["upstream"].epoch == store.epoch() > epoch


async def works_as_one(fleet: Fleet, leader: Instance) -> None:
    """One instance leads, and it judges what each has to say (and all that was said before)."""
    assert await split(fleet) == (leader, [other for other in fleet if other is not leader])
    for instance in fleet:
        await instance.fail(circuit="another")
    await all_reach(fleet, "open", "another")


def stopped(instance: Instance) -> bool:
    pid, _ = os.waitpid(instance.process.pid, os.WUNTRACED | os.WNOHANG)
    return pid != 0


async def test_leaders_that_die_one_after_another_lose_nothing(
    start_fleet: StartFleet, store: Store
) -> None:
    fleet: Fleet = await start_fleet(3, threshold=3, wait=60, lease_ttl=0.3)
    for sent in (1, 2):
        leader, fleet = await split(fleet)
        await leader.fail()
        await eventually(partial(has_failures, store, sent), within=PATIENCE)
        leader.process.kill()
    [last] = fleet
    await last.fail()
    await last.reaches("open")


def has_failures(store: Store, count: int) -> bool:
    return store.reported("upstream")["failures"] == count
