"""What one process detects, all processes act on."""

import asyncio
from functools import partial

from tests.cluster.fleet import Fleet, StartFleet, all_reach, split
from tests.cluster.store import Store
from tests.helpers.servers import RedisServer, ServerHandle
from tests.helpers.waiting import PATIENCE, eventually


async def test_one_failure_on_each_of_five_opens_all_and_a_sixth_starts_open(
    server: ServerHandle, start_fleet: StartFleet
) -> None:
    fleet = await start_fleet(5, server=server, threshold=5, wait=60)
    await asyncio.gather(*(instance.fail() for instance in fleet))
    await all_reach(fleet, "open")
    for instance in fleet:
        assert await instance.succeed(3) == {"rejected": 3}
    [newcomer] = await start_fleet(1, server=server, started=False, threshold=5, wait=60)
    assert await newcomer.start_and_call() == "rejected"


async def test_one_failure_less_than_the_threshold_opens_nothing(
    start_fleet: StartFleet, store: Store
) -> None:
    fleet = await start_fleet(2, threshold=5, wait=60)
    for instance in fleet:
        await instance.fail(2)
    await eventually(lambda: store.reported("upstream")["failures"] == 4, within=PATIENCE)
    # What opens a later circuit was judged later, and so these four had been judged.
    await fleet[0].fail(5, circuit="later")
    await all_reach(fleet, "open", "later")
    assert [await instance.state() for instance in fleet] == [("closed", 0)] * 2
    await fleet[0].fail()
    await all_reach(fleet, "open")


async def test_failures_that_come_late_open_though_time_stamps_stand_still(
    fresh_server: RedisServer, namespace: str, start_fleet: StartFleet
) -> None:
    """By the time stamps, they ended before the successes that came at once."""
    store = Store(fresh_server, namespace)
    fleet = await start_fleet(2, server=fresh_server, threshold=5, wait=60)
    await succeed_each(fleet, store, 1)
    store.hold_time_stamps(3600)
    await succeed_each(fleet, store, 2)
    fresh_server.command("CLIENT", "PAUSE", 300, "WRITE")
    await fleet[0].fail(5)
    await all_reach(fleet, "open")


async def succeed_each(fleet: Fleet, store: Store, times: int) -> None:
    """Each makes one more call, and it is reported, as all calls so far."""
    for instance in fleet:
        await instance.succeed()
    await eventually(
        lambda: store.reported("upstream")["successes"] == times * len(fleet), within=PATIENCE
    )


async def test_all_are_told_once_and_the_transition_says_who_failed(
    start_fleet: StartFleet, store: Store
) -> None:
    fleet = await start_fleet(3, threshold=3, wait=60)
    for instance in fleet:
        await instance.fail()
    await all_reach(fleet, "open")
    for instance in fleet:
        await eventually(partial(instance.events, "state"), within=PATIENCE)
        assert [what for _, what in await instance.events("state")] == ["upstream open"]
    reason = store.circuits()["upstream"].reason
    assert reason.instances == {instance.id: 1 for instance in fleet}
    assert reason.failures == {"UpstreamError": 3}


async def test_failure_right_before_a_followers_stop_counts(start_fleet: StartFleet) -> None:
    fleet = await start_fleet(3, threshold=5, wait=60)
    leader, followers = await split(fleet)
    await leader.fail(3)
    for follower in followers:
        await follower.fail_and_stop()
    await leader.reaches("open")


async def test_successes_right_before_a_stop_are_sent(
    start_fleet: StartFleet, store: Store
) -> None:
    _, follower = await start_fleet(2)
    await follower.succeed(100)
    await follower.stop()
    assert store.reported("upstream")["successes"] == 100
