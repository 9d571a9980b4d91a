"""Redis dies, loses its data or hangs: calls go on, states stay, and all resumes by itself."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.cluster.fleet import Fleet, StartFleet, all_reach
from tests.cluster.store import Store
from tests.cluster.upstream import Mode, Upstream
from tests.helpers.servers import RedisServer
from tests.helpers.spanning import spanning
from tests.helpers.waiting import PATIENCE, eventually
from zenvark_web import State

OUTAGE = 3.0

MOST_TOLD = 8
"""Errors that one instance may surface in one outage: each of its loops tells each kind once."""


@dataclass
class Outage:
    """A way for Redis to go, and to come back."""

    begin: Callable[[RedisServer], object]
    end: Callable[[RedisServer], object]


def save_and_kill(server: RedisServer) -> None:
    server.command("CLIENT", "PAUSE", 60_000, "WRITE")  # what came after the copy would be lost
    server.command("SAVE")
    server.kill()


OUTAGES = {
    "comes back empty": Outage(RedisServer.kill, RedisServer.restart),
    "comes back as it was": Outage(save_and_kill, RedisServer.start),
    "hangs": Outage(RedisServer.pause, RedisServer.resume),
}


@pytest.mark.parametrize("kind", spanning(OUTAGES, {"comes back empty", "hangs"}))
async def test_calls_go_on_states_stay_and_all_resumes(
    kind: str, fresh_server: RedisServer, namespace: str, start_fleet: StartFleet
) -> None:
    outage = OUTAGES[kind]
    store = Store(fresh_server, namespace)
    fleet = await start_fleet(3, server=fresh_server, wait=60, lease_ttl=1.0)
    await fleet[0].fail(5, circuit="bad")
    await all_reach(fleet, "open", "bad")
    for instance in fleet:
        await instance.traffic_on("good", rate=100, via="local")
        await instance.traffic_on("bad", rate=20, via="local")
    await asyncio.sleep(1.0)
    usual = max([(await instance.traffic("good"))["p99"] for instance in fleet])

    outage.begin(fresh_server)
    for instance in fleet:
        await instance.fail(2, circuit="meanwhile")
    await asyncio.sleep(OUTAGE)
    assert {await instance.role() for instance in fleet} == {"follower"}, "the lease is over"
    good = [await instance.traffic("good") for instance in fleet]
    bad = [await instance.traffic("bad") for instance in fleet]
    outage.end(fresh_server)

    for counts in good:
        assert counts["ended"].keys() == {"passed"}
        assert counts["ended"]["passed"] > 10 * OUTAGE
        assert counts["p99"] < max(10 * usual, 0.5), "none waits for Redis"
    for counts in bad:
        assert counts["ended"].keys() == {"rejected"}
    await eventually(lambda: store.circuits().get("bad"), within=PATIENCE)
    assert store.circuits()["bad"].state is State.OPEN
    await all_reach(fleet, "open", "meanwhile")
    await works_again(fleet)
    assert {(await instance.state("bad"))[0] for instance in fleet} == {"open"}
    for instance in fleet:
        assert (await instance.traffic_off("good"))["ended"].keys() <= {"passed", "cancelled"}
        assert (await instance.traffic_off("bad"))["ended"].keys() <= {"rejected"}
        assert 1 <= len(await instance.events("error")) <= MOST_TOLD
        account = await instance.accounts()
        assert account["expired"] == 0
        if kind != "comes back empty":  # with what leaders had made of the newest results
            assert account["dropped"] == 0
    [newcomer] = await start_fleet(1, server=fresh_server, started=False)
    assert await newcomer.start_and_call("bad") == "rejected"


async def test_nobody_goes_back_to_what_an_older_copy_says(
    fresh_server: RedisServer, namespace: str, start_fleet: StartFleet
) -> None:
    store = Store(fresh_server, namespace)
    fleet = await start_fleet(3, server=fresh_server, health_check=True, lease_ttl=0.5)
    await fleet[0].fail(5)
    await all_reach(fleet, "open")
    fresh_server.command("SAVE")
    await all_reach(fleet, "closed")
    generation = max([(await instance.state())[1] for instance in fleet])
    events = [len(await instance.events("state")) for instance in fleet]
    fresh_server.kill()
    fresh_server.start()
    await eventually(lambda: store.circuits()["upstream"].generation >= generation, within=PATIENCE)
    await works_again(fleet)
    for instance, known in zip(fleet, events, strict=True):
        assert await instance.state() == ("closed", generation)
        told = [what for _, what in (await instance.events("state"))[known:]]
        assert told[0] == "new open"
        assert not any(what.startswith("upstream") for what in told), "nobody saw it open again"


async def test_leader_whose_lease_outlives_a_loss_gives_back_what_was_lost(
    fresh_server: RedisServer, namespace: str, start_fleet: StartFleet, upstream: Upstream
) -> None:
    store = Store(fresh_server, namespace)
    fleet = await start_fleet(2, server=fresh_server, health_check=True, lease_ttl=60)
    upstream.mode = Mode.FAILING
    await fleet[0].fail(5)
    await all_reach(fleet, "open")
    fresh_server.command("SAVE")
    upstream.mode = Mode.OK
    await all_reach(fleet, "closed")
    epoch, generation = store.epoch(), store.circuits()["upstream"].generation
    fresh_server.kill()
    fresh_server.start()
    await eventually(lambda: store.circuits()["upstream"].generation == generation, within=PATIENCE)
    assert store.epoch() == epoch
    [newcomer] = await start_fleet(1, server=fresh_server, started=False)
    assert await newcomer.start_and_call("upstream") == "passed"


async def works_again(fleet: Fleet) -> None:
    """All are connected, and a circuit that fails a little everywhere opens everywhere."""
    for instance in fleet:
        await instance.connects()
    for instance in fleet:
        await instance.fail(2, circuit="new")
    await all_reach(fleet, "open", "new")


@pytest.mark.slow
async def test_only_fresh_failures_of_a_long_outage_count(
    fresh_server: RedisServer, namespace: str, start_fleet: StartFleet
) -> None:
    store = Store(fresh_server, namespace)
    fleet = await start_fleet(2, server=fresh_server, wait=60, lease_ttl=30)
    for instance in fleet:
        await instance.succeed(circuit="long ago")
    await eventually(lambda: store.reported("long ago")["successes"] == 2, within=PATIENCE)
    fresh_server.pause()
    # These wait in the server's sockets, and in the instances, which get no answer.
    for instance in fleet:
        await instance.fail(5, circuit="long ago")
    await asyncio.sleep(11.0)
    for instance in fleet:
        await instance.fail(5, circuit="just now")
    fresh_server.resume()
    await all_reach(fleet, "open", "just now")
    await eventually(lambda: store.reported("just now")["failures"] == 10, within=PATIENCE)
    # What is reported now is judged after all that was reported before.
    for instance in fleet:
        await instance.fail(5, circuit=instance.id)
        await all_reach(fleet, "open", instance.id)
    assert "long ago" not in store.circuits()
    assert [await instance.state("long ago") for instance in fleet] == [("closed", 0)] * 2
    accounts = [await instance.accounts() for instance in fleet]
    assert sum(account["expired"] for account in accounts) >= 10
