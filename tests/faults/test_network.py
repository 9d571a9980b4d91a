"""What lies between an instance and its server is slow, breaks, or lets one direction through."""

import asyncio
from collections.abc import Callable

import pytest

from tests.faults.conftest import SideBySide, proxy_of
from tests.faults.fleet import Fleet
from tests.helpers.proxy import RESETTING, Proxy
from tests.helpers.servers import RedisServer
from tests.helpers.waiting import PATIENCE, eventually
from zenvark_web import State

pytestmark = pytest.mark.slow

FAULT = 1.5
"""Seconds in which every deadline passes at least once (see the fixture `soon`)."""


def halve(proxy: Proxy, *, requests: bool) -> None:
    (proxy.requests if requests else proxy.replies).halving = True


def delay(proxy: Proxy, seconds: float) -> None:
    proxy.requests.delay = proxy.replies.delay = seconds


def stall(proxy: Proxy, *, requests: bool, replies: bool) -> None:
    if requests:
        proxy.requests.stall()
    if replies:
        proxy.replies.stall()


FAULTS: dict[str, Callable[[Proxy], object]] = {
    "too slow": lambda proxy: delay(proxy, 1.0),
    "hangs": lambda proxy: stall(proxy, requests=True, replies=True),
    "only requests get through": lambda proxy: stall(proxy, requests=False, replies=True),
    "only replies get through": lambda proxy: stall(proxy, requests=True, replies=False),
    "resets": lambda proxy: proxy.switch(RESETTING),
    "breaks in requests": lambda proxy: halve(proxy, requests=True),
    "breaks in replies": lambda proxy: halve(proxy, requests=False),
}


@pytest.mark.usefixtures("soon", "lasting")
@pytest.mark.parametrize("kind", FAULTS)
async def test_calls_go_on_and_all_heals(kind: str, side_by_side: SideBySide) -> None:
    await side_by_side(way_of_all_breaks, kind)


async def way_of_all_breaks(kind: str, server: RedisServer, namespace: str) -> None:
    async with (
        proxy_of(server) as proxy,
        Fleet(*[lambda: proxy.url] * 3, namespace=namespace, lease_ttl=1.2) as fleet,
    ):
        async with fleet.calling() as callers:
            assert not fleet.unexcused()
            FAULTS[kind](proxy)
            for member in fleet.members:
                await member.fail(2, "meanwhile")
            await callers.check(FAULT)
            assert not any(member.coordinator.connected for member in fleet.members)
            proxy.heal()
            await fleet.reach(State.OPEN, "meanwhile")
            await fleet.works()
            await callers.check(0.2)
        fleet.check_told()
        fleet.forget_errors()
        await fleet.works()
        assert not fleet.unexcused()
        await fleet.accounts_close(lost=False)


@pytest.mark.usefixtures("soon", "lasting")
@pytest.mark.parametrize("kind", ["hangs", "only requests get through", "breaks in replies"])
async def test_leader_alone_is_cut_off(kind: str, side_by_side: SideBySide) -> None:
    await side_by_side(leaders_way_breaks, kind)


async def leaders_way_breaks(kind: str, server: RedisServer, namespace: str) -> None:
    async with (
        proxy_of(server) as proxy,
        Fleet(lambda: proxy.url, *[lambda: server.url] * 2, namespace=namespace) as fleet,
    ):
        lonely, *others = fleet.members
        for other in others:
            await other.coordinator.stop()
        await fleet.leader()
        for other in others:
            await other.coordinator.start()
        async with fleet.calling() as callers:
            FAULTS[kind](proxy)
            for other in others:
                await other.fail(3, "others see")
            await lonely.fail(5, "lonely sees")
            await callers.check(FAULT)
            await eventually(lambda: sum(other.leads for other in others) == 1, within=PATIENCE)
            await fleet.reach(State.OPEN, "others see", of=others)
            assert not lonely.leads
            assert lonely.state("others see") is State.CLOSED
            assert lonely.state("lonely sees") is State.CLOSED
            proxy.heal()
            await fleet.reach(State.OPEN, "others see")
            await fleet.reach(State.OPEN, "lonely sees")
            await fleet.works()
        fleet.check_told(of=[lonely])
        await fleet.accounts_close(lost=False)


@pytest.mark.parametrize("kind", ["requests", "replies"])
async def test_slow_network_slows_the_fleet_alone(
    kind: str, side_by_side: SideBySide, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the deadlines that users have it costs the fleet time, and nothing else."""
    monkeypatch.setattr("zenvark_web.backends.redis.COMMAND_TIMEOUT", 1.0)
    await side_by_side(way_is_slow, kind)


async def way_is_slow(kind: str, server: RedisServer, namespace: str) -> None:
    async with (
        proxy_of(server) as proxy,
        # a busy host keeps a lease of so long
        Fleet(*[lambda: proxy.url] * 2, namespace=namespace, lease_ttl=6.0) as fleet,
    ):
        async with fleet.calling() as callers:
            leader = await fleet.leader()
            getattr(proxy, kind).delay = 0.05
            checking = asyncio.create_task(callers.check(1.0))
            await fleet.open("meanwhile")
            await fleet.recovers("brief meanwhile")
            await checking
            proxy.heal()
            await fleet.works()
            assert await fleet.leader() is leader
        assert not fleet.unexcused()


async def test_process_joins_over_a_slow_network(
    proxy: Proxy, fresh_server: RedisServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The round trip that docs/deployment.md names, with the timeout that users have."""
    monkeypatch.setattr("zenvark_web.backends.redis.COMMAND_TIMEOUT", 1.0)
    delay(proxy, 0.05)
    async with Fleet(*[lambda: proxy.url] * 2, namespace=namespace, lease_ttl=2.0) as fleet:
        await fleet.works()
