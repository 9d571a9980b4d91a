"""Sentinel promotes, a cluster's node dies or hangs, TLS is right or wrong."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Self

import pytest
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from tests.cluster.store import Store
from tests.faults.fleet import Fleet
from tests.helpers.deployments import PRIMARY, Certificate, Cluster, SentinelServer
from tests.helpers.proxy import HOST, Proxy
from tests.helpers.servers import RedisServer
from tests.helpers.waiting import PATIENCE, eventually
from zenvark_web import State
from zenvark_web._circuits.shard import shard_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("soon")]

TIMEOUTS = {"socket_timeout": 2.0, "socket_connect_timeout": 0.6}
SHARDS = 3


# Sentinel


class Watched:
    """A primary, its replica, and a Sentinel over them."""

    def __enter__(self) -> Self:
        self._known: list[Sentinel] = []
        with ExitStack() as servers:
            self.primary = servers.enter_context(RedisServer())
            self.replica = servers.enter_context(RedisServer(replica_of=self.primary))
            self.sentinel = servers.enter_context(SentinelServer(self.primary))
            self._exit = servers.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def client(self) -> Redis:
        """As the documentation shows it. The first Sentinel of those named is down."""
        settings = {**TIMEOUTS, "retry": Retry(NoBackoff(), 0)}
        sentinel = Sentinel(
            [(HOST, 1), (HOST, self.sentinel.port)], sentinel_kwargs=settings, **settings
        )
        self._known.append(sentinel)
        return sentinel.master_for(PRIMARY)

    def url(self) -> str:
        """The same as a URL."""
        return f"redis+sentinel://{HOST}:1,{HOST}:{self.sentinel.port}/{PRIMARY}"

    async def let_go(self) -> None:
        """Close the connections to the Sentinel."""
        for sentinel in self._known:
            for client in sentinel.sentinels:
                await client.aclose()


@pytest.mark.parametrize("trouble", ["dies", "hangs"])
async def test_sentinel_promotes_the_replica(trouble: str, namespace: str) -> None:
    with Watched() as watched:
        async with Fleet(watched.client, watched.url, namespace=namespace) as fleet:
            await fleet.works()
            async with fleet.calling() as callers:
                assert not fleet.unexcused()
                epoch = Store(watched.primary, namespace).epoch()
                watched.primary.kill() if trouble == "dies" else watched.primary.pause()
                await callers.check(0.5)
                await eventually(watched.sentinel.promoted, within=PATIENCE, what="a promotion")
                await fleet.works()
                await callers.check(0.2)
            assert Store(watched.replica, namespace).epoch() > epoch
            fleet.check_told()
            if trouble == "hangs":
                watched.primary.resume()  # for a moment there are two
            await fleet.works()
            await fleet.accounts_close(lost=True)
            assert {member.state("down") for member in fleet.members} == {State.OPEN}
        await watched.let_go()


# Cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


class Sharded:
    """A fleet on a cluster, with a shard on each node."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.namespace = next(name for name in names(namespace) if spreads(cluster, name))
        self.cluster = cluster
        self.fleet = Fleet(*[self._client] * 3, namespace=self.namespace, shards=SHARDS)
        self._circuits = count()

    def _client(self) -> RedisCluster:
        node = self.cluster.nodes[1]
        return RedisCluster(HOST, node.port, **TIMEOUTS, retry=Retry(NoBackoff(), 0))

    def shards_of(self, node: RedisServer) -> set[int]:
        return {
            shard
            for shard in range(SHARDS)
            if self.cluster.node_of(lease(self.namespace, shard)) is node
        }

    async def works(self, shards: set[int]) -> None:
        """A circuit of each of these shards opens everywhere, and one recovers."""
        for shard in shards:
            await self.fleet.open(self._circuit(shard, "new"))
            await self.fleet.recovers(self._circuit(shard, "brief"))

    def _circuit(self, shard: int, kind: str) -> str:
        circuits = (f"{kind} {number}" for number in self._circuits)
        return next(circuit for circuit in circuits if shard_of(circuit, SHARDS) == shard)


def names(namespace: str) -> Iterator[str]:
    return (f"{namespace}-{number}" for number in count())


def lease(namespace: str, shard: int) -> str:
    return f"zenvark:{{{namespace}/{shard}}}:leader"


def spreads(cluster: Cluster, namespace: str) -> bool:
    return len({cluster.node_of(lease(namespace, shard)) for shard in range(SHARDS)}) == SHARDS


ALL = set(range(SHARDS))


async def test_shards_work_on_all_nodes(cluster: Cluster, namespace: str) -> None:
    sharded = Sharded(cluster, namespace)
    async with sharded.fleet as fleet:
        await sharded.works(ALL)
        assert not fleet.unexcused()
        await fleet.accounts_close(lost=False)
    for shard in ALL:
        kept = f"zenvark:{{{sharded.namespace}/{shard}}}:circuits"
        assert cluster.node_of(kept).command("HLEN", kept) >= 2


async def test_node_hangs_for_a_while(cluster: Cluster, namespace: str) -> None:
    await node_is_away(Sharded(cluster, namespace), cluster.nodes[2], "pause", "resume")


async def test_node_is_restarted_empty(cluster: Cluster, namespace: str) -> None:
    await node_is_away(Sharded(cluster, namespace), cluster.nodes[2], "kill", "start")


async def node_is_away(sharded: Sharded, node: RedisServer, begin: str, end: str) -> None:
    """The other nodes' shards go on; the shard of this one follows when it is back."""
    async with sharded.fleet as fleet, fleet.calling() as callers:
        await sharded.works(ALL)
        getattr(node, begin)()
        await callers.check(0.5)
        await sharded.works(ALL - sharded.shards_of(node))
        await callers.check(0.2)
        await asyncio.to_thread(getattr(node, end))
        await eventually(sharded.cluster.settled, within=PATIENCE, what="a cluster")
        await sharded.works(ALL)
        await callers.check(0.2)


async def test_node_dies_and_its_replica_takes_over(cluster: Cluster, namespace: str) -> None:
    sharded = Sharded(cluster, namespace)
    dying = cluster.nodes[0]
    async with sharded.fleet as fleet, fleet.calling() as callers:
        await sharded.works(ALL)
        dying.kill()
        await callers.check(0.5)
        await sharded.works(ALL - sharded.shards_of(dying))
        await sharded.works(ALL)
        assert cluster.replica.info("replication")["role"] == "master"


# TLS


async def test_tls(fresh_server: RedisServer, namespace: str, tmp_path: Path) -> None:
    certificate = Certificate(tmp_path)
    async with Proxy(fresh_server.port, tls=certificate.context) as proxy:
        url = f"{proxy.url}?ssl_ca_certs={certificate.path}"
        async with Fleet(lambda: url, lambda: url, namespace=namespace) as fleet:
            await fleet.works()
            assert not fleet.unexcused()
            proxy.switch("closing")
            await eventually(lambda: all(member.errors for member in fleet.members))
            proxy.heal()
            await fleet.works()


async def test_certificate_nobody_trusts(
    fresh_server: RedisServer, namespace: str, tmp_path: Path
) -> None:
    async with (
        Proxy(fresh_server.port, tls=Certificate(tmp_path).context) as proxy,
        Fleet(lambda: proxy.url, namespace=namespace) as fleet,
    ):
        await eventually(lambda: fleet.errors, within=PATIENCE, what="an error")
        assert await fleet.members[0].call("upstream")
        assert "CERTIFICATE_VERIFY_FAILED" in fleet.errors
        fleet.check_told()


async def test_server_without_tls(fresh_server: RedisServer, namespace: str) -> None:
    url = fresh_server.url.replace("redis://", "rediss://")
    async with Fleet(lambda: url, namespace=namespace) as fleet:
        await eventually(lambda: fleet.errors, within=PATIENCE, what="an error")
        assert await fleet.members[0].call("upstream")
        fleet.check_told()
