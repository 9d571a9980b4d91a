"""A command was carried out, but its reply was lost: it is sent again, and has one effect."""

import pytest

from tests.cluster.store import Store
from tests.faults.fleet import Fleet
from tests.helpers.proxy import Proxy
from tests.helpers.servers import RedisServer
from tests.helpers.waiting import PATIENCE, eventually
from zenvark_web import State
from zenvark_web.backends.redis import _SCRIPTS


def call_of(script: str) -> bytes:
    """What a call of it holds, and nothing else."""
    return _SCRIPTS[script][1].encode()


@pytest.fixture
def stored(fresh_server: RedisServer, namespace: str) -> Store:
    """What the server holds. It knows the scripts, so that the first call is carried out."""
    for source, _ in _SCRIPTS.values():
        fresh_server.command("SCRIPT", "LOAD", source)
    return Store(fresh_server, namespace)


async def test_results_that_were_written_twice_count_once(
    proxy: Proxy, stored: Store, namespace: str
) -> None:
    async with Fleet(*[lambda: proxy.url] * 2, namespace=namespace) as fleet:
        await fleet.works()
        one, two = fleet.members
        for member, failures in ((one, 3), (two, 1)):
            await fleet.accounts_close(lost=False)  # so that no other batch is under way
            proxy.lose_reply(call_of("append"))
            await member.fail(failures, "payments")
            await eventually(lambda: proxy.lost, what="a lost reply")
            proxy.lost = 0
        await eventually(lambda: stored.reported("payments", repeated=True)["failures"] == 8)
        await fleet.open("judged later")
        assert [member.state("payments") for member in fleet.members] == [State.CLOSED] * 2
        await two.fail(1, "payments")
        await fleet.reach(State.OPEN, "payments")
        assert stored.circuits()["payments"].reason.instances == {
            one.coordinator.instance_id: 3,
            two.coordinator.instance_id: 2,
        }


async def test_results_of_a_reader_that_lost_its_reply_count(
    proxy: Proxy, stored: Store, namespace: str
) -> None:
    """The leader's read was answered, but what was read did not arrive."""
    async with Fleet(lambda: proxy.url, namespace=namespace) as fleet:
        await fleet.works()
        [member] = fleet.members
        proxy.lose_reply(b"XREAD")
        await member.fail(1, "not lost yet")  # ends the read under way, the next one is meant
        await member.fail(5, "payments")
        await eventually(lambda: proxy.lost, what="a lost reply")
        await fleet.reach(State.OPEN, "payments")
        assert sum(stored.circuits()["payments"].reason.instances.values()) == 5


async def test_transition_that_was_written_stands_once(
    proxy: Proxy, stored: Store, namespace: str
) -> None:
    async with Fleet(*[lambda: proxy.url] * 2, namespace=namespace) as fleet:
        await fleet.works()
        proxy.lose_reply(call_of("publish"))
        await fleet.open("payments")
        await eventually(lambda: proxy.lost, what="a lost reply")
        proxy.lose_reply(call_of("publish"))
        await fleet.open("judged later")
        await eventually(lambda: proxy.lost == 2, what="a lost reply")
        await fleet.works()
        [opening] = stored.transitions("payments")
        assert (opening.state, opening.generation) == (State.OPEN, 1)


async def test_lease_that_was_taken_is_known_without_the_reply(
    proxy: Proxy, stored: Store, namespace: str
) -> None:
    proxy.lose_reply(call_of("heartbeat"))
    async with Fleet(lambda: proxy.url, namespace=namespace, lease_ttl=30) as fleet:
        await fleet.leader()
        assert proxy.lost == 1
        assert stored.epoch() == 1
        await fleet.works()


@pytest.mark.parametrize("script", ["heartbeat", "load"])
async def test_any_other_reply(script: str, proxy: Proxy, stored: Store, namespace: str) -> None:
    """What changes nothing that lasts is just asked again."""
    async with Fleet(*[lambda: proxy.url] * 2, namespace=namespace) as fleet:
        await fleet.works()
        proxy.lose_reply(call_of(script))
        if script == "load":
            async with fleet.newcomer(proxy.url) as newcomer:
                await fleet.reach(State.OPEN, "new 0", of=[newcomer])
        await eventually(lambda: proxy.lost, within=PATIENCE, what="a lost reply")
        await fleet.works()
        assert len(fleet.unexcused().splitlines()) <= 1


async def test_leave_that_was_taken(proxy: Proxy, stored: Store, namespace: str) -> None:
    """It is not taken again; whoever is left leads at once all the same."""
    async with Fleet(*[lambda: proxy.url] * 2, namespace=namespace, lease_ttl=30) as fleet:
        await fleet.works()
        leader = await fleet.leader()
        [follower] = await fleet.followers()
        proxy.lose_reply(call_of("resign"))
        await leader.coordinator.stop()
        assert proxy.lost == 1
        await eventually(lambda: follower.leads, what="a leader")
        await follower.fail(5, "payments")
        await eventually(lambda: follower.state("payments") is State.OPEN)
