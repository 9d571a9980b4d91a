"""What a hung server costs: a call nothing, memory a bounded amount, and the server no rush."""

import asyncio
import time

import pytest

from tests.cluster.store import connections
from tests.faults.fleet import Fleet, Member
from tests.helpers.inside import shard_of
from tests.helpers.proxy import CLOSING, Proxy
from tests.helpers.servers import RedisServer
from tests.helpers.waiting import PATIENCE, eventually
from zenvark_web.exceptions import ResultsLostError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("soon")]

CALLS = 4000
LIMIT = 50
CIRCUITS = 200


async def slowest_hundredth(member: Member) -> float:
    """Of so many calls, a few of which fail, the loop being free to do other things."""
    seconds: list[float] = []
    for number in range(CALLS):
        began = time.perf_counter()
        await (member.fail(1, "up") if number % 100 == 0 else member.call("up"))
        seconds.append(time.perf_counter() - began)
        if number % 20 == 0:
            await asyncio.sleep(0.001)
    return sorted(seconds)[CALLS * 99 // 100]


async def test_calls_take_as_long_as_ever_while_it_hangs(
    fresh_server: RedisServer, namespace: str
) -> None:
    """The best of a few measurements each, as a noisy host makes some of them slow."""
    async with Fleet(lambda: fresh_server.url, namespace=namespace) as fleet:
        await fleet.works()
        [member] = fleet.members
        before = min([await slowest_hundredth(member) for _ in range(4)])
        fresh_server.pause()
        await eventually(lambda: not member.coordinator.connected, within=PATIENCE)
        during = min([await slowest_hundredth(member) for _ in range(4)])
        fresh_server.resume()
        print(f"99th percentile: {before * 1e6:.0f} us before, {during * 1e6:.0f} us in the hang")
        assert during < 3 * before + 0.0005
        await fleet.works()


async def test_what_waits_is_bounded_and_losses_are_told_once(
    fresh_server: RedisServer, namespace: str
) -> None:
    async with Fleet(lambda: fresh_server.url, namespace=namespace) as fleet:
        await fleet.works()
        [member] = fleet.members
        budget = shard_of(member.coordinator).outbox.budget
        budget.limit = LIMIT
        fresh_server.pause()
        await eventually(lambda: not member.coordinator.connected, within=PATIENCE)
        for number in range(CIRCUITS):
            await member.fail(1, f"circuit {number}")
            assert budget.used <= LIMIT
        dropped = member.coordinator.statistics.dropped
        assert dropped >= CIRCUITS - LIMIT - 1
        await eventually(
            lambda: [e for e in member.errors if isinstance(e, ResultsLostError)], within=PATIENCE
        )
        fresh_server.resume()
        await fleet.works()
        assert sum(isinstance(error, ResultsLostError) for error in member.errors) == 1
        await fleet.accounts_close(lost=True)


async def test_instances_do_not_return_in_step(
    proxy: Proxy, fresh_server: RedisServer, namespace: str
) -> None:
    members = 6
    async with Fleet(*[lambda: proxy.url] * members, namespace=namespace) as fleet:
        await eventually(lambda: connections(fresh_server) == 2 * members, within=PATIENCE)
        proxy.switch(CLOSING)
        await asyncio.sleep(2.5)  # the pauses have grown
        knocks: list[float] = []
        seen = proxy.knocks
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            await asyncio.sleep(0.002)
            knocks += [time.monotonic()] * (proxy.knocks - seen)
            seen = proxy.knocks
        assert len(knocks) >= members
        fullest = max(sum(at <= other < at + 0.1 for other in knocks) for at in knocks)
        assert fullest <= 0.6 * len(knocks), "no more than that in any tenth of a second"
        proxy.heal()
        await fleet.works()
