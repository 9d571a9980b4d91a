"""Recovery by a health check, which the leader alone runs."""

from itertools import pairwise

import pytest

from tests.cluster.fleet import StartFleet, all_reach, split
from tests.cluster.store import Store
from tests.cluster.upstream import Mode, Upstream
from tests.helpers.waiting import PATIENCE, eventually
from zenvark_web import State


@pytest.mark.parametrize("via", ["execute", "transport"])
async def test_only_the_leader_checks_in_growing_waits_until_all_close(
    via: str, start_fleet: StartFleet, store: Store, upstream: Upstream
) -> None:
    fleet = await start_fleet(3, health_check=True, wait=0.3, multiplier=2)
    leader, _ = await split(fleet)
    upstream.mode = Mode.FAILING
    for instance in fleet:
        await instance.traffic_on(via=via)
    await all_reach(fleet, "open")
    await eventually(lambda: len(upstream.checks) >= 2, within=PATIENCE)
    upstream.mode = Mode.OK
    await all_reach(fleet, "closed")

    assert {check.instance for check in upstream.checks} == {leader.id}
    *waits, last = store.transitions("upstream")
    assert [wait.state for wait in waits] == [State.OPEN] * len(upstream.checks)
    assert [wait.delay for wait in waits] == [0.3 * 2**n for n in range(len(waits))]
    for earlier, later in pairwise([*waits, last]):
        assert earlier.delay <= later.at - earlier.at + 0.001
        assert later.at - earlier.at < earlier.delay + 2.0
    for wait, (earlier_check, later_check) in zip(
        waits[1:], pairwise(upstream.checks), strict=True
    ):
        assert later_check.at - earlier_check.at >= wait.delay
    assert last.state is State.CLOSED

    # Calls that were rejected reach the upstream again, and none did in between.
    reached = {instance.id for instance in fleet}
    await eventually(
        lambda: (
            {hit.instance for hit in upstream.calls if hit.generation == last.generation} == reached
        ),
        within=PATIENCE,
    )
    assert {hit.generation for hit in upstream.calls} == {0, last.generation}
    for instance in fleet:
        ended = (await instance.traffic_off())["ended"]
        assert ended["rejected"] > 0
        assert ended.keys() <= {"passed", "failed", "rejected", "cancelled"}


async def test_check_moves_to_the_next_leader(start_fleet: StartFleet, upstream: Upstream) -> None:
    fleet = await start_fleet(3, health_check=True, wait=0.1, lease_ttl=0.6)
    upstream.mode = Mode.FAILING
    leader, followers = await split(fleet)
    await leader.fail(5)
    await eventually(lambda: upstream.checks, within=PATIENCE)
    leader.process.kill()
    successor, _ = await split(followers)
    await eventually(lambda: upstream.checks[-1].instance == successor.id, within=PATIENCE)
    upstream.mode = Mode.OK
    await all_reach(followers, "closed")
    assert {check.instance for check in upstream.checks} == {leader.id, successor.id}
