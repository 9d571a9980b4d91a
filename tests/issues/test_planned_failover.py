"""A planned failover behind one address: the primary becomes a replica and keeps its connections,
on which it takes no writes from now on. Followers stayed with it for ever: results expired, and
nothing opened any more.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.helpers.proxy import HOST, Proxy
from tests.helpers.servers import RedisServer
from tests.helpers.spanning import spanning
from tests.helpers.waiting import eventually
from zenvark_web import (
    BreakerPolicy,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    Outcome,
    Role,
    State,
)

POLICY = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(60))

Give = Callable[[AsyncExitStack, str], str | redis.asyncio.Redis]


def url(stack: AsyncExitStack, url: str) -> str:
    return url


def client(stack: AsyncExitStack, url: str) -> redis.asyncio.Redis:
    given = redis.asyncio.Redis.from_url(url)
    stack.push_async_callback(given.aclose)
    return given


def client_without_retries(stack: AsyncExitStack, url: str) -> redis.asyncio.Redis:
    given = redis.asyncio.Redis.from_url(url, socket_timeout=4, retry=Retry(NoBackoff(), 0))
    stack.push_async_callback(given.aclose)
    return given


@asynccontextmanager
async def led(give: Give, address: str, namespace: str) -> AsyncIterator[list[Coordinator]]:
    """A leader, and two followers."""
    async with AsyncExitStack() as stack:
        fleet = [
            Coordinator(give(stack, address), namespace=namespace, policy=POLICY) for _ in range(3)
        ]
        for coordinator in fleet:
            await stack.enter_async_context(coordinator)
            await eventually(lambda: fleet[0].role is Role.LEADER, what="a leader")
        yield fleet


def promote(replica: RedisServer, primary: RedisServer) -> None:
    replica.command("REPLICAOF", "NO", "ONE")
    primary.command("REPLICAOF", HOST, str(replica.port))


async def opens_everywhere(fleet: list[Coordinator], name: str) -> None:
    fleet[-1].breaker(name).acquire().record(Outcome.FAILURE)
    await eventually(
        lambda: {each.breaker(name).state for each in fleet} == {State.OPEN},
        what=f"{name} opens everywhere",
    )


@pytest.mark.parametrize("late", [False, True], ids=["at once", "the address follows later"])
@pytest.mark.parametrize("give", spanning([url, client, client_without_retries], {url}))
async def test_every_instance_finds_the_new_primary(give: Give, late: bool, namespace: str) -> None:
    with RedisServer() as old, RedisServer(replica_of=old) as new:
        async with Proxy(old.port) as proxy, led(give, proxy.url, namespace) as fleet:
            await opens_everywhere(fleet, "before")
            if not late:
                proxy.lead_to(new.port)
            promote(new, old)
            if late:
                await eventually(lambda: not any(each.connected for each in fleet))
                await asyncio.sleep(1)
                proxy.lead_to(new.port)
            # The demoted server holds none of them any more, what they read comes from the new one.
            await eventually(lambda: connections(old) == 0, what="all have left")
            await eventually(lambda: all(each.connected for each in fleet))
            await opens_everywhere(fleet, "after")


def connections(server: RedisServer) -> int:
    """How many clients but the replication and this question itself a server has."""
    clients: str = server.command("CLIENT", "LIST", "TYPE", "normal")
    return len(clients.splitlines()) - 1
