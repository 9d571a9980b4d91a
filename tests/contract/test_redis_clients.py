"""Clients answer in several shapes, by their options; the backend understands each."""

from collections.abc import AsyncIterator

import pytest

from tests.contract.stores import (
    CLIENTS,
    RedisStore,
    batch,
    forget,
    lead,
    me,
    publish,
    read_all,
    recall,
    results_of,
    told,
    transition,
)
from tests.helpers.servers import ServerHandle
from zenvark_web import MalformedEntryError
from zenvark_web.backends.base import START, Batch, Forgotten, LeaderChange, Recalled


@pytest.fixture(params=CLIENTS)
async def store(
    request: pytest.FixtureRequest, redis_server: ServerHandle, namespace: str
) -> AsyncIterator[RedisStore]:
    store = RedisStore(redis_server, namespace, CLIENTS[request.param])
    yield store
    await store.close()


async def test_every_answer_is_understood(store: RedisStore) -> None:
    backend = store.open()
    assert await backend.read(START, START, 0) == []
    assert await backend.read(START, START, 0.01) == []
    beat = await lead(backend)
    opening = transition(beat, 1, "zahlung-\N{SNOWMAN}")
    assert await publish(backend, opening) is True
    store.command("XADD", "results", "*", "v", b"\xff\xfe")
    await backend.append(batch(7))

    snapshot = await backend.load()
    assert snapshot.transitions == (opening,)
    assert await told(backend) == [LeaderChange(beat.epoch, "web-1"), opening]
    rubbish, result = await results_of(backend)
    assert isinstance(rubbish.item, MalformedEntryError)
    assert isinstance(result.item, Batch)
    assert snapshot.results == result.position
    assert len(await read_all(backend, results=START)) == 4
    assert len(await backend.read(snapshot.position, rubbish.position, 1)) == 1

    await recall(backend, opening)
    [entry] = await backend.read(snapshot.position, None, 1)
    assert entry.item == Recalled(opening.circuit, 1)
    assert await backend.tidy(600, 600) == [me("web-1")]
    assert await forget(backend, opening) is True
    [_, entry] = await backend.read(snapshot.position, None, 1)
    assert entry.item == Forgotten(opening.circuit, 1)
    await backend.resign("web-1")
    assert (await told(backend))[-1] == LeaderChange(beat.epoch, None)


@pytest.mark.parametrize("store", ["short-timeout", "url-with-options"], indirect=True)
async def test_waiting_read_ends_before_the_clients_own_timeout(store: RedisStore) -> None:
    backend = store.open()
    for _ in range(2):
        assert await backend.read(START, START, 2) == []
