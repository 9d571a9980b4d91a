"""Up to where a leader has called `on_published`, and what follows."""

import pytest

from tests.contract.stores import Store, lead, publish, states_of, transition
from zenvark_web import Backend, FencedError
from zenvark_web._core.order import START, Lease, Position


async def published(backend: Backend) -> Lease:
    lease = await lead(backend)
    await publish(backend, *(transition(lease, circuit=name) for name in "abc"))
    return lease


async def test_nothing_is_recorded_at_first(backend: Backend) -> None:
    await published(backend)
    assert (await backend.load(leading=True)).notified is None


async def test_what_follows_comes_oldest_first_and_in_parts(backend: Backend) -> None:
    lease = await published(backend)
    everything = await states_of(backend)
    first = await backend.unnotified(lease, START, 2)
    assert list(first) == everything[:2]
    rest = await backend.unnotified(lease, first[-1].position, 10)
    assert list(rest) == everything[2:]
    assert list(await backend.unnotified(lease, rest[-1].position, 10)) == []


async def test_the_next_leader_finds_the_record(store: Store) -> None:
    first, second = store.open(), store.open()
    lease = await published(first)
    assert list(await first.unnotified(lease, Position(7, 3), 0)) == []
    assert (await first.load()).notified is None  # only for leaders
    await first.resign(lease.holder)
    await lead(second, "web-2")
    assert (await second.load(leading=True)).notified == Position(7, 3)


async def test_a_leader_of_the_past_records_nothing(store: Store) -> None:
    first, second = store.open(), store.open()
    lease = await published(first)
    await first.unnotified(lease, Position(7, 3), 0)
    await first.resign(lease.holder)
    await lead(second, "web-2")
    with pytest.raises(FencedError):
        await first.unnotified(lease, Position(9), 10)
    assert (await second.load(leading=True)).notified == Position(7, 3)
