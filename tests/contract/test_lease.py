"""The lease: one holder at a time, epochs that only grow, and all of it told."""

import asyncio

from tests.contract.stores import TTL, Store, lead, me, states_of, told
from tests.helpers.waiting import eventually
from zenvark_web import Backend
from zenvark_web._core.order import Lease
from zenvark_web.backends.base import START, LeaderChange

SHORT = 0.15


async def taken_over(backend: Backend, name: str) -> Lease:
    """Ask until the lease is free."""

    async def ask() -> Lease | None:
        beat = await backend.heartbeat(me(name), TTL, 0)
        return beat.lease if beat.lease.holder == name else None

    lease = await eventually(ask, what="the end of the lease")
    assert lease is not None
    return lease


async def test_first_to_ask_takes_it(backend: Backend) -> None:
    beat = await backend.heartbeat(me("web-1"), TTL, 0)
    assert beat.lease == Lease(1, "web-1")
    assert TTL - 5 < beat.expires_in <= TTL
    assert await told(backend) == [LeaderChange(1, "web-1")]


async def test_holder_renews_it_and_tells_nobody(backend: Backend) -> None:
    first = await lead(backend, ttl=10)
    again = await backend.heartbeat(me("web-1"), TTL, 0)
    assert again.lease == first
    assert TTL - 5 < again.expires_in <= TTL
    assert len(await states_of(backend)) == 1


async def test_renewed_one_does_not_run_out(store: Store) -> None:
    holder, ttl = store.open(), SHORT
    while True:  # a busy machine may be too slow to renew a short one
        first = await lead(holder, ttl=ttl)
        again = await holder.heartbeat(me("web-1"), TTL, 0)
        if again.lease.epoch == first.epoch:
            break
        await holder.resign("web-1")
        ttl *= 2
        assert ttl < TTL, "it is never renewed"
    await asyncio.sleep(2 * ttl)
    beat = await store.open().heartbeat(me("web-2"), TTL, 0)
    assert beat.lease == first


async def test_others_learn_whose_it_is(store: Store) -> None:
    first = await lead(store.open(), "web-1", ttl=10)
    beat = await store.open().heartbeat(me("web-2"), TTL, 0)
    assert beat.lease == first
    assert 0 < beat.expires_in <= 10, "asking for it does not lengthen it"


async def test_is_taken_once_however_many_ask(store: Store) -> None:
    backends = [store.open() for _ in range(8)]
    beats = await asyncio.gather(
        *(backend.heartbeat(me(f"web-{n}"), TTL, 0) for n, backend in enumerate(backends))
    )
    assert len({beat.lease for beat in beats}) == 1
    assert await told(backends[0]) == [LeaderChange(1, beats[0].lease.holder)]


async def test_runs_out_and_passes_on_under_a_higher_epoch(store: Store) -> None:
    backend = store.open()
    first = await lead(backend, "web-1", ttl=SHORT)
    second = await taken_over(store.open(), "web-2")
    assert second.epoch > first.epoch
    assert await told(backend) == [
        LeaderChange(first.epoch, "web-1"),
        LeaderChange(second.epoch, "web-2"),
    ]


async def test_holder_that_comes_too_late_starts_anew(backend: Backend) -> None:
    first = await lead(backend, ttl=SHORT)
    await asyncio.sleep(2 * SHORT)
    assert (await lead(backend)).epoch > first.epoch


async def test_epoch_exceeds_what_the_instance_knows(backend: Backend) -> None:
    beat = await backend.heartbeat(me("web-1"), TTL, 41)
    assert beat.lease.epoch == 42
    await backend.resign("web-1")
    assert (await backend.heartbeat(me("web-1"), TTL, 7)).lease.epoch == 43


async def test_epoch_grows_though_the_store_has_lost_it(store: Store) -> None:
    backend = store.open()
    before = await backend.heartbeat(me("web-1"), TTL, 10)
    store.lose_everything()
    after = await backend.heartbeat(me("web-1"), TTL, before.lease.epoch)
    assert after.lease.epoch == before.lease.epoch + 1
    assert await told(backend) == [LeaderChange(after.lease.epoch, "web-1")]


async def test_heartbeat_tells_time_and_the_newest_position(backend: Backend) -> None:
    first = await backend.heartbeat(me("web-1"), TTL, 0)
    second = await backend.heartbeat(me("web-1"), TTL, 0)
    assert first.news is not None
    assert second.news is not None
    assert 0 <= second.news.now - first.news.now < 10
    [entry] = await states_of(backend)
    assert first.news.last_state == second.news.last_state == entry.position


async def test_position_of_an_empty_stream_is_the_start(store: Store) -> None:
    backend = store.open()
    snapshot = await backend.load()
    assert (snapshot.position, snapshot.results) == (START, START)


async def test_brief_heartbeat_only_keeps_the_lease(store: Store) -> None:
    backend = store.open()
    taken = await backend.heartbeat(me("web-1"), 10, 0, brief=True)
    assert taken.lease == Lease(1, "web-1")
    renewed = await backend.heartbeat(me("web-1"), TTL, 0, brief=True)
    assert renewed.lease == Lease(1, "web-1")
    assert renewed.expires_in > 10
    followed = await store.open().heartbeat(me("web-2"), TTL, 0, brief=True)
    assert followed.lease == Lease(1, "web-1")
    assert taken.news is renewed.news is followed.news is None
    assert await told(backend) == [LeaderChange(1, "web-1")]
    assert await backend.tidy(600, 600) == []


class TestResign:
    async def test_frees_the_lease_at_once_and_tells_so(self, store: Store) -> None:
        backend = store.open()
        first = await lead(backend, "web-1")
        await backend.resign("web-1")
        second = await lead(store.open(), "web-2")
        assert second.epoch > first.epoch
        assert await told(backend) == [
            LeaderChange(first.epoch, "web-1"),
            LeaderChange(first.epoch, None),
            LeaderChange(second.epoch, "web-2"),
        ]

    async def test_leaves_the_lease_of_another_alone(self, store: Store) -> None:
        backend = store.open()
        first = await lead(backend, "web-1")
        await store.open().resign("web-2")
        beat = await store.open().heartbeat(me("web-3"), TTL, 0)
        assert beat.lease == first
        assert len(await states_of(backend)) == 1

    async def test_needs_no_lease(self, backend: Backend) -> None:
        await backend.resign("web-1")
        assert await states_of(backend) == []

    async def test_takes_the_instance_off_the_list(self, store: Store) -> None:
        backend = store.open()
        await lead(backend, "web-1")
        await store.open().heartbeat(me("web-2"), TTL, 0)
        await backend.resign("web-1")
        assert await backend.tidy(600, 600) == [me("web-2")]
