"""A server is no longer what its address stands for, and keeps its connections: it was demoted, or
is not ready. What it answers says so. Only new connections get to the one that is.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.contract.stores import Client, RedisStore, Way, batch, by_client, by_url, me, results_of
from tests.helpers.proxy import Proxy
from tests.helpers.servers import RedisServer, ServerHandle, oldest_server
from tests.helpers.waiting import eventually
from zenvark_web import BackendError
from zenvark_web._core.order import Position
from zenvark_web.backends import Backend
from zenvark_web.backends.base import START

ANSWERS = [
    "READONLY You can't write against a read only replica.",
    "ERR Error running script (call to f_0): @user_script:5: -READONLY You can't write against a",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "LOADING Redis is loading the dataset in memory",
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist.",
    "CLUSTERDOWN The cluster is down",
    "NOREPLICAS Not enough good replicas to write.",
    "MOVED 1234 127.0.0.1:1",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
]

READS_GO_ON = 30.0


def by_pool(url: str) -> Client:
    pool = redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=3, timeout=5)
    return redis.asyncio.Redis.from_pool(pool)


def no_retries(url: str) -> Client:
    return redis.asyncio.Redis.from_url(url, retry=Retry(NoBackoff(), 0))


WAYS: dict[str, Way] = {
    "url": by_url,
    "client": by_client(),
    "client without retries": no_retries,
    "blocking pool": by_pool,
}


@pytest.fixture
async def proxy(redis_server: ServerHandle) -> AsyncIterator[Proxy]:
    async with Proxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture(params=WAYS.values(), ids=WAYS)
async def store(
    request: pytest.FixtureRequest, proxy: Proxy, namespace: str
) -> AsyncIterator[RedisStore]:
    store = RedisStore(ServerHandle(proxy.url), namespace, request.param)
    yield store
    await store.close()


async def connected(store: RedisStore) -> Backend:
    """A backend that holds all connections that it needs."""
    backend = store.open()
    await asyncio.gather(backend.read(START, None, 0.05), backend.heartbeat(me("a"), 30, 0))
    return backend


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.split()[0])
async def test_commands_get_to_the_new_one(store: RedisStore, proxy: Proxy, answer: str) -> None:
    backend = await connected(store)
    proxy.turn_stale(answer, "EVALSHA", "EVAL")
    try:
        await backend.append(batch())
    except BackendError:
        await backend.append(batch())
    assert await results_of(backend)


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.split()[0])
async def test_reads_get_to_the_new_one(store: RedisStore, proxy: Proxy, answer: str) -> None:
    backend = await connected(store)
    await backend.append(batch())
    proxy.turn_stale(answer, "XREAD")
    try:
        entries = await backend.read(START, START, 0)
    except BackendError:
        entries = await backend.read(START, START, 0)
    assert entries


async def test_a_read_that_hears_nothing_of_it_gets_there_as_well(
    store: RedisStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica lets itself be read, so what waits there would wait for ever."""
    monkeypatch.setattr("zenvark_web.backends._clients.LONGEST_WAIT", READS_GO_ON)
    backend = await connected(store)
    (newest,) = {entry.position for entry in await backend.read(START, None, 0)}
    reading = asyncio.create_task(backend.read(newest, None, READS_GO_ON))
    await asyncio.sleep(0)
    await eventually(lambda: proxy.connections >= 2, what="a connection that reads")
    proxy.turn_stale(ANSWERS[0], "EVALSHA", "EVAL")

    async def written() -> bool:
        try:
            await backend.append(batch())
        except BackendError:
            return False
        return True

    await eventually(written, what="a result that gets in")
    with pytest.raises(BackendError, match="another server"):
        await reading
    assert await results_of(backend)


async def test_connections_of_others_are_left_to_them(
    proxy: Proxy, redis_server: ServerHandle, namespace: str
) -> None:
    store = RedisStore(ServerHandle(proxy.url), namespace, by_client())
    backend = await connected(store)
    (client,) = store._clients
    held = asyncio.create_task(backend.read(Position(9999999999999), None, 1))
    theirs = asyncio.create_task(client.execute_command("BLPOP", f"{namespace}-list", 20))
    await eventually(lambda: proxy.connections >= 2, what="a connection of their own")
    await held
    proxy.turn_stale(ANSWERS[0], "EVALSHA", "EVAL")
    with pytest.raises(BackendError):
        await backend.append(batch())
    await backend.append(batch())
    redis_server.command("RPUSH", f"{namespace}-list", "x")
    assert (await theirs)[1] == b"x"
    await store.close()


async def test_errors_that_no_connection_cures_keep_it(
    proxy: Proxy, redis_server: ServerHandle, namespace: str
) -> None:
    store = RedisStore(ServerHandle(proxy.url), namespace)
    backend = await connected(store)
    direct = RedisStore(redis_server, namespace)
    direct.command("SET", "results", "no stream")
    knocks = proxy.knocks
    for _ in range(3):
        with pytest.raises(BackendError, match="WRONGTYPE"):
            await backend.append(batch())
    assert proxy.knocks == knocks
    await store.close()


@pytest.mark.parametrize("way", [by_url, by_client()], ids=["url", "client"])
async def test_a_demoted_server_of_the_oldest_kind(namespace: str, way: Way) -> None:
    """What a script raises is told in other words there."""
    with RedisServer(oldest_server()) as old, RedisServer() as new:
        async with Proxy(old.port) as proxy:
            store = RedisStore(ServerHandle(proxy.url), namespace, way)
            backend = await connected(store)
            proxy.lead_to(new.port)
            old.command("REPLICAOF", "127.0.0.1", str(new.port))
            for _ in range(3):
                try:
                    await backend.append(batch())
                except BackendError:
                    continue
            assert RedisStore(new, namespace).command("XLEN", "results") >= 1
            await store.close()


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.split()[0])
async def test_a_cluster_client_gets_to_the_new_one(
    cluster_server: ServerHandle, namespace: str, answer: str
) -> None:
    async with Proxy(cluster_server.port) as proxy:

        def way(url: str) -> Client:
            return redis.asyncio.RedisCluster.from_url(
                url, address_remap=lambda _: ("127.0.0.1", proxy.port)
            )

        store = RedisStore(ServerHandle(proxy.url), namespace, way)
        backend = await connected(store)
        proxy.turn_stale(answer, "EVALSHA", "EVAL")
        for _ in range(3):
            try:
                await backend.append(batch())
                break
            except BackendError:
                continue
        assert await results_of(backend)
        await store.close()
