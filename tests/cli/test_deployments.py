"""The commands reach a fleet by every kind of URL: Sentinel, a cluster, a socket, TLS."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from redis.asyncio import RedisCluster

from tests.cli.schema import check
from tests.cluster.fleet import StartFleet
from tests.helpers.clients import close_client
from tests.helpers.command import arun
from tests.helpers.deployments import PRIMARY, Certificate, Cluster, SentinelServer
from tests.helpers.proxy import Proxy
from tests.helpers.servers import RedisServer
from tests.helpers.waiting import eventually
from zenvark_web import BreakerPolicy, ConsecutiveFailures, Coordinator
from zenvark_web._circuits.shard import shard_of

COMMANDS = [["status"], ["why", "upstream"], ["events"], ["doctor"]]


@pytest.fixture
async def watched() -> AsyncIterator[tuple[RedisServer, RedisServer, SentinelServer]]:
    """A primary, its replica, and a Sentinel over them."""
    with (
        RedisServer(password="geheim") as primary,
        RedisServer(replica_of=primary, password="geheim") as replica,
        SentinelServer(primary) as sentinel,
    ):
        yield primary, replica, sentinel


async def test_sentinel(
    namespace: str,
    start_fleet: StartFleet,
    watched: tuple[RedisServer, RedisServer, SentinelServer],
) -> None:
    primary, _, sentinel = watched
    [instance] = await start_fleet(1, server=primary, threshold=1, wait=60)
    await instance.fail()
    await instance.reaches("open")
    members = f"127.0.0.1:1,127.0.0.1:{sentinel.port}"
    where = ("--namespace", namespace, "--redis")
    url = f"redis+sentinel://:geheim@{members}/{PRIMARY}"
    for command in COMMANDS:
        result = await arun(*command, *where, url)
        assert (result.code, result.err) == (0, ""), (result.out, result.err)
        assert "geheim" not in result.out
    status = await arun("status", *where, url)
    assert f"redis+sentinel://{members}/{PRIMARY}/0" in status.lines[0]
    unknown = await arun("status", *where, f"redis+sentinel://{members}/other")
    assert unknown.code == 2
    assert "no Sentinel replies that names a working primary" in unknown.err

    await asyncio.to_thread(primary.command, "WAIT", 1, 5000)
    primary.kill()
    await eventually(sentinel.promoted, what="a promotion")
    async with Coordinator(url, namespace=namespace) as other:
        assert (await arun("status", *where, url)).row("upstream").startswith("upstream open")
        assert (await arun("status", *where, url)).row(other.instance_id)
    await instance.stop()


async def test_a_socket(namespace: str, start_fleet: StartFleet, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with RedisServer(config={"unixsocket": str(path)}) as server:
        await start_fleet(1, server=server)
        for command in (["status"], ["doctor"]):
            result = await arun(*command, "--redis", f"unix://{path}", "--namespace", namespace)
            assert (result.code, result.err) == (0, ""), result.out
            assert f"unix://{path}" in result.lines[0]


async def test_tls(namespace: str, start_fleet: StartFleet, tmp_path: Path) -> None:
    certificate = Certificate(tmp_path)
    async with AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer())
        await start_fleet(1, server=server)
        proxy = await stack.enter_async_context(Proxy(server.port, tls=certificate.context))
        where = ("--namespace", namespace, "--redis")
        for command in (["status"], ["events"], ["doctor"]):
            url = f"{proxy.url}?ssl_ca_certs={certificate.path}"
            assert (await arun(*command, *where, url)).code == 0
            result = await arun(*command, *where, proxy.url)
            assert result.code == 2
            assert "CERTIFICATE_VERIFY_FAILED" in result.err
            assert "selects the trusted authority" in result.err


# A cluster


async def fail() -> None:
    raise ValueError("broken")


async def test_a_cluster_in_which_a_node_is_down() -> None:
    namespace = "shop"  # whose shards are on all nodes
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1))
    names = [f"circuit-{number}" for number in range(24)]
    shards = 6
    with Cluster() as cluster:
        client = RedisCluster.from_url(cluster.nodes[0].url)
        coordinator = Coordinator(client, namespace=namespace, shards=shards, policy=policy)
        async with coordinator:
            for name in names:
                with pytest.raises(ValueError, match="broken"):
                    await coordinator.breaker(name).execute(fail)
            await eventually(
                lambda: all(coordinator.breaker(name).state != "closed" for name in names)
            )
            down = cluster.nodes[2]
            lost = {
                shard
                for shard in range(shards)
                if cluster.node_of(f"zenvark:{{{namespace}/{shard}}}:leader") is down
            }
            assert 0 < len(lost) < shards, "take another namespace"
            down.kill()
            where = ("--redis", cluster.nodes[0].url, "--namespace", namespace)
            status = await arun("status", "--all", *where)
            assert (status.code, status.err) == (2, "")
            for shard in range(shards):
                told = f"shard {shard} is not readable, its circuits are not shown: "
                assert (told in status.out) == (shard in lost)
            for name in names:
                assert (f"\n{name} " in status.out) == (shard_of(name, shards) not in lost)
            record = json.loads((await arun("status", "--json", *where)).out)
            check(record, "status")
            assert {each["number"] for each in record["shards"] if each["error"]} == lost
            events = await arun("events", *where, "-n", "100")
            assert events.code == 2
            assert events.out.count(" opened: ") == sum(
                shard_of(name, shards) not in lost for name in names
            )
            for shard in lost:
                assert f"zenvark-web events: shard {shard} is not readable: " in events.err
            doctor = await arun("doctor", *where)
            assert doctor.code == 1
            for shard in lost:
                assert f"keys: shard {shard} is not readable: " in doctor.out
        await close_client(client)
