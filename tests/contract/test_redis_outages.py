"""Redis goes away in every way it can: each call says so soon, and all works when it is back."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.contract.stores import (
    TTL,
    RedisStore,
    batch,
    by_client,
    by_cluster_client,
    by_url,
    forget,
    lead,
    me,
    publish,
    recall,
    results_of,
    transition,
)
from tests.helpers.proxy import CLOSING, OPEN, TROUBLES, Proxy
from tests.helpers.servers import RedisServer, ServerHandle
from tests.helpers.waiting import eventually
from zenvark_web import BackendError
from zenvark_web._core.order import Lease, Position
from zenvark_web.backends import Backend
from zenvark_web.backends.base import START, Account, Batch, Checkpoint

BUSY = 30.0
"""Seconds that a noisy host may add to anything."""

WAIT = 0.2
COMMAND_TIMEOUT = 1.0
READ_SLACK = 0.8
LEASE = Lease(1, "web-1")

CALLS: dict[str, Callable[[Backend], Awaitable[object]]] = {
    "heartbeat": lambda backend: backend.heartbeat(me("web-1"), TTL, 0),
    "brief heartbeat": lambda backend: backend.heartbeat(me("web-1"), TTL, 0, brief=True),
    "load": lambda backend: backend.load(),
    "load, leading": lambda backend: backend.load(leading=True),
    "append": lambda backend: backend.append(batch()),
    "publish": lambda backend: publish(backend, transition(LEASE)),
    "forget": lambda backend: forget(backend, transition(LEASE)),
    "recall": lambda backend: recall(backend, transition(LEASE)),
    "checkpoint": lambda backend: backend.checkpoint(
        LEASE, Checkpoint(Position(7), {"web-1": Account(1, 1)})
    ),
    "tidy": lambda backend: backend.tidy(600, 600),
    "resign": lambda backend: backend.resign("web-9"),
    "read": lambda backend: backend.read(START, START, WAIT),
}


async def time_of_failure(call: Awaitable[object]) -> float:
    """How long it takes until it fails as it should."""
    began = time.monotonic()
    with pytest.raises(BackendError):
        await call
    return time.monotonic() - began


async def all_fail_soon(backend: Backend) -> None:
    """Every call, all at once."""
    took = dict(
        zip(
            CALLS,
            await asyncio.gather(*(time_of_failure(call(backend)) for call in CALLS.values())),
            strict=True,
        )
    )
    assert took.pop("read") < WAIT + READ_SLACK + BUSY
    assert max(took.values()) < COMMAND_TIMEOUT + BUSY


async def all_work(backend: Backend) -> None:
    """Every call, again where it meets a connection that is not yet known to be dead."""
    await works(backend, lead)
    await asyncio.gather(*(works(backend, call) for call in CALLS.values()))


async def works(backend: Backend, call: Callable[[Backend], Awaitable[object]]) -> None:
    async def done() -> bool:
        try:
            await call(backend)
        except BackendError:
            return False
        return True

    await eventually(done, what="a working backend")


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here it is what is tested; only a read's is shorter than it is for users."""
    monkeypatch.setattr("zenvark_web.backends.redis.COMMAND_TIMEOUT", COMMAND_TIMEOUT)
    monkeypatch.setattr("zenvark_web.backends.redis.READ_SLACK", READ_SLACK)


@pytest.fixture(params=[by_url, by_client()], ids=["url", "client"])
async def store(
    request: pytest.FixtureRequest, fresh_server: RedisServer, namespace: str
) -> AsyncIterator[RedisStore]:
    """A server that may be killed, and two ways to it."""
    store = RedisStore(fresh_server, namespace, request.param)
    yield store
    await store.close()


async def test_killed_and_restarted(store: RedisStore, fresh_server: RedisServer) -> None:
    backend = store.open()
    await all_work(backend)
    fresh_server.kill()
    await all_fail_soon(backend)  # connections break
    await all_fail_soon(backend)  # and none can be made
    fresh_server.restart()
    await all_work(backend)


async def test_cluster_killed_hung_and_restarted(namespace: str) -> None:
    with RedisServer(cluster=True) as server:
        store = RedisStore(server, namespace, by_cluster_client)
        backend = store.open()
        await all_work(backend)
        server.pause()
        await all_fail_soon(backend)
        server.resume()
        await all_work(backend)
        server.kill()
        await all_fail_soon(backend)
        server.restart()
        await all_work(backend)
        await store.close()


async def test_killed_during_a_read(store: RedisStore, fresh_server: RedisServer) -> None:
    backend = store.open()
    await all_work(backend)
    newest = await backend.load()
    waiting = asyncio.create_task(backend.read(newest.position, newest.results, 2))
    await asyncio.sleep(0.05)
    fresh_server.kill()
    assert await time_of_failure(waiting) < 2 + READ_SLACK + BUSY
    fresh_server.restart()
    await all_work(backend)


async def test_hung(store: RedisStore, fresh_server: RedisServer) -> None:
    backend = store.open()
    await all_work(backend)
    fresh_server.pause()
    await all_fail_soon(backend)
    fresh_server.resume()
    await all_work(backend)


async def test_never_there(namespace: str, fresh_server: RedisServer) -> None:
    """An application starts before its Redis."""
    fresh_server.kill()
    store = RedisStore(fresh_server, namespace)
    backend = store.open()
    await all_fail_soon(backend)
    fresh_server.restart()
    await all_work(backend)
    await store.close()


async def test_closes_while_it_is_away(store: RedisStore, fresh_server: RedisServer) -> None:
    backend = store.open()
    await all_work(backend)
    fresh_server.pause()
    calls = [asyncio.create_task(time_of_failure(call(backend))) for call in CALLS.values()]
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await backend.close()
    assert time.monotonic() - began < BUSY
    await asyncio.gather(*calls)
    fresh_server.resume()
    backend.open()
    await all_work(backend)


async def test_what_a_hung_server_takes_in_is_old(
    namespace: str, fresh_server: RedisServer
) -> None:
    store = RedisStore(fresh_server, namespace)
    backend = store.open()
    await backend.append(batch(1))
    now = (await backend.load()).now
    fresh_server.pause()
    with pytest.raises(BackendError):
        await backend.append(batch(2, sent=now))
    fresh_server.resume()

    async def taken_in() -> Batch | None:
        late = [entry.item for entry in await results_of(backend)][1:]
        return late[0] if late and isinstance(late[0], Batch) else None

    taken = await eventually(taken_in)
    assert taken is not None
    assert taken.number == 2
    assert taken.reports[0].runs[0].age > 0.9 * COMMAND_TIMEOUT
    await store.close()


@pytest.mark.parametrize("way", [by_url, by_client()], ids=["url", "client"])
@pytest.mark.parametrize("trouble", TROUBLES)
async def test_no_redis_at_all(
    redis_server: ServerHandle, namespace: str, trouble: str, way: Callable[[str], str]
) -> None:
    async with Proxy(redis_server.port) as proxy:
        store = RedisStore(ServerHandle(proxy.url), namespace, way)
        backend = store.open()
        await all_work(backend)
        proxy.switch(trouble)
        await all_fail_soon(backend)
        proxy.switch(OPEN)
        await all_work(backend)
        await store.close()


async def test_nothing_is_tried_again_behind_the_back(
    redis_server: ServerHandle, namespace: str
) -> None:
    """How often and when to try again is the caller's to decide."""
    async with Proxy(redis_server.port) as proxy:
        proxy.switch(CLOSING)
        store = RedisStore(ServerHandle(proxy.url), namespace)
        backend = store.open()
        for number, call in enumerate(CALLS.values(), start=1):
            await time_of_failure(call(backend))
            assert proxy.knocks == number
        await store.close()


async def test_server_that_refuses_writes(store: RedisStore, fresh_server: RedisServer) -> None:
    """Its memory is full, or it has become a replica."""
    backend = store.open()
    await all_work(backend)
    fresh_server.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(BackendError, match="maxmemory"):
        await backend.append(batch())
    fresh_server.command("CONFIG", "SET", "maxmemory", "0")
    await all_work(backend)
    fresh_server.command("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(BackendError, match=r"(?i)read.?only"):
        await backend.append(batch())
    fresh_server.command("REPLICAOF", "NO", "ONE")
    await all_work(backend)


async def test_errors_name_the_command_and_keep_their_cause(namespace: str) -> None:
    store = RedisStore(ServerHandle("redis://127.0.0.1:1/0"), namespace)
    backend = store.open()
    with pytest.raises(BackendError, match=r"Redis, EVALSHA: .*Connection") as caught:
        await backend.load()
    assert isinstance(caught.value.__cause__, Exception)
    with pytest.raises(BackendError, match=r"Redis, XREAD: .*Connection"):
        await backend.read(START, None, 0)
    await store.close()
