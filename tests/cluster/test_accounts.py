"""Nothing lost, nothing twice: each result is evaluated, expired or dropped in the end."""

import asyncio

import pytest

from tests.cluster.fleet import Fleet, StartFleet, split
from tests.cluster.store import Store
from tests.helpers.servers import RedisServer, ServerHandle
from tests.helpers.waiting import PATIENCE, eventually

CALLS = 40

SOON = 0.5


async def call(fleet: Fleet, circuits: int = 8) -> int:
    """Calls that pass and calls that fail, too few in a row to open anything; tells how many."""
    for number in range(circuits):
        for instance in fleet:
            await instance.succeed(CALLS // 2 // circuits + 1, circuit=f"circuit-{number}")
            await instance.fail(1, circuit=f"circuit-{number}")
    return (CALLS // 2 // circuits + 2) * circuits


@pytest.mark.parametrize("shards", [1, 3])
async def test_all_is_evaluated_when_nothing_goes_wrong(
    shards: int, server: ServerHandle, start_fleet: StartFleet
) -> None:
    fleet = await start_fleet(3, server=server, shards=shards, threshold=1000, housekeeping=SOON)
    calls = await call(fleet)
    accounts = await asyncio.gather(*(instance.accounts() for instance in fleet))
    assert accounts == [{"evaluated": calls, "expired": 0, "dropped": 0}] * 3


async def test_results_count_once_across_takeovers(
    server: ServerHandle, namespace: str, start_fleet: StartFleet
) -> None:
    fleet = await start_fleet(4, server=server, threshold=1000, housekeeping=SOON, lease_ttl=0.5)
    calls = 0
    while len(fleet) > 1:
        calls += await call(fleet)
        leader, fleet = await split(fleet)
        leader.process.kill()
        calls += await call(fleet)  # while nobody leads
    [last] = fleet
    await last.becomes("leader")
    assert await last.accounts() == {"evaluated": calls, "expired": 0, "dropped": 0}


async def test_results_that_the_store_has_lost_are_dropped(
    fresh_server: RedisServer, namespace: str, start_fleet: StartFleet
) -> None:
    store = Store(fresh_server, namespace)
    fleet = await start_fleet(
        2, server=fresh_server, threshold=1000, housekeeping=SOON, lease_ttl=30
    )
    leader, [follower] = await split(fleet)
    await follower.fail(5)
    assert await follower.accounts() == {"evaluated": 5, "expired": 0, "dropped": 0}
    leader.process.pause()
    await follower.fail(7)
    await eventually(lambda: store.reported("upstream")["failures"] == 12, within=PATIENCE)
    fresh_server.kill()
    fresh_server.restart()
    leader.process.resume()
    await follower.fail(9)
    assert await follower.accounts() == {"evaluated": 5 + 9, "expired": 0, "dropped": 7}
    told = [what for _, what in await follower.events("error") if "ResultsLostError" in what]
    assert len(told) == 1
