"""A leader published each transition in a round trip of its own: three hundred circuits that failed
within a second were open everywhere after 14 s where a round trip takes 40 ms, and one after 0.1 s.
"""

import asyncio

from tests.helpers.proxy import Proxy
from tests.helpers.servers import RedisServer
from tests.helpers.waiting import eventually
from zenvark_web import BreakerPolicy, ConsecutiveFailures, Coordinator, State

CIRCUITS = 300
HALF = 0.02
"""Seconds that each direction takes."""


async def fail() -> None:
    raise ConnectionError


async def test_many_are_published_in_few_round_trips() -> None:
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1))
    names = [f"circuit-{number}" for number in range(CIRCUITS)]
    with RedisServer() as server:
        async with Proxy(server.port) as proxy:
            proxy.requests.delay = proxy.replies.delay = HALF
            async with (
                Coordinator(proxy.url, policy=policy) as leader,
                Coordinator(proxy.url, policy=policy) as follower,
            ):
                await eventually(lambda: leader.role == "leader", what="a leader")
                breakers = [follower.breaker(name) for name in names]
                before = server.command_calls()["evalsha"]
                failing = (breaker.execute(fail) for breaker in breakers)
                await asyncio.gather(*failing, return_exceptions=True)
                everywhere = [*breakers, *map(leader.breaker, names)]
                await eventually(
                    lambda: all(breaker.state is State.OPEN for breaker in everywhere),
                    what="all of them are open",
                )
                assert server.command_calls()["evalsha"] - before < CIRCUITS / 3
