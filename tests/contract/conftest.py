"""Fixtures of the contract: a store of each kind, shared servers underneath."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.contract.stores import KINDS, MemoryStore, RedisStore, Store
from tests.helpers.servers import RedisServer, ServerHandle
from tests.helpers.spanning import spanning
from zenvark_web import Backend


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command may take long on a noisy host where its time is not what is tested, and a read
    that wakes is told from one that has waited for its end."""
    monkeypatch.setattr("zenvark_web.backends.redis.COMMAND_TIMEOUT", 60.0)
    monkeypatch.setattr("zenvark_web.backends.redis.READ_SLACK", 60.0)
    monkeypatch.setattr("zenvark_web.backends._clients.LONGEST_WAIT", 60.0)


@pytest.fixture(scope="session")
def cluster_server() -> Iterator[ServerHandle]:
    """A cluster of one node, shared by the session."""
    with RedisServer(cluster=True) as server:
        yield server


def _store(request: pytest.FixtureRequest, name: str, namespace: str) -> Store:
    kind = KINDS[name]
    if not kind.server:
        return MemoryStore()
    return RedisStore(request.getfixturevalue(kind.server), namespace, kind.way)


SPANNING = {"memory", "url", "client-oldest", "cluster"}
"""Both servers, both ways to reach one, and a cluster."""


@pytest.fixture(params=spanning(KINDS, SPANNING))
def closed_store(request: pytest.FixtureRequest, namespace: str) -> Store:
    return _store(request, request.param, namespace)


@pytest.fixture
async def store(closed_store: Store) -> AsyncIterator[Store]:
    """Each kind of store in turn, empty."""
    yield closed_store
    await closed_store.close()


@pytest.fixture
def backend(store: Store) -> Backend:
    """One instance's way to the store; `store.open()` gives further ones."""
    return store.open()


@pytest.fixture(params=spanning(["url", "client-oldest", "cluster"], {"url", "client-oldest"}))
def closed_redis_store(request: pytest.FixtureRequest, namespace: str) -> Store:
    return _store(request, request.param, namespace)


@pytest.fixture
async def redis_store(closed_redis_store: RedisStore) -> AsyncIterator[RedisStore]:
    """Three very different ways to a Redis, where raw commands can do harm."""
    yield closed_redis_store
    await closed_redis_store.close()
