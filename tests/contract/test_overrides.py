"""Overrides: written without a lease, numbered by the store, given back after a loss."""

import asyncio
from dataclasses import replace

import pytest

from tests.contract.stores import (
    TTL,
    Store,
    lead,
    me,
    override,
    publish,
    read_all,
    states_of,
    told,
    transition,
)
from zenvark_web import (
    Backend,
    FencedError,
    Override,
    OverrideConflictError,
    OverrideLimitError,
    State,
    Suspect,
)
from zenvark_web._core.order import Lease
from zenvark_web._core.overrides import MAX_OVERRIDES
from zenvark_web.backends.base import (
    START,
    LeaderChange,
    OverrideRecord,
    OverrideSnapshot,
    OverridesRestored,
    Probe,
)

PROBE = Probe("payments", "ops@host", "the supplier is back")


async def kept(backend: Backend) -> OverrideSnapshot:
    return (await backend.load()).overrides


async def audited(backend: Backend) -> list[object]:
    return [entry.item for entry in await backend.audit(START, 10_000)]


class TestOverride:
    async def test_is_in_hash_stream_and_audit(self, backend: Backend) -> None:
        record = await backend.override(override("zahlung-\N{SNOWMAN}*"), 0)
        assert record.circuit == "zahlung-\N{SNOWMAN}*"
        assert (record.mode, record.actor) == (Override.FORCE_OPEN, "ops@host")
        assert record.until is not None
        assert record.until - record.at == pytest.approx(60, abs=0.001)
        snapshot = await backend.load()
        assert abs(snapshot.now - record.at) < 60
        assert snapshot.overrides == OverrideSnapshot((0, record.number), (record,))
        assert await told(backend) == [record]
        assert await audited(backend) == [record]

    async def test_numbers_rise_and_name_the_one_before(self, backend: Backend) -> None:
        first = await backend.override(override(), 0)
        second = await backend.override(override("other"), first.number + 1_000_000)
        third = await backend.override(override(), 0)
        assert first.number < first.number + 1_000_000 < second.number < third.number
        assert (second.follows, third.follows) == (first.number, second.number)

    async def test_without_an_end(self, backend: Backend) -> None:
        record = await backend.override(override(expires_in=None), 0)
        assert record.until is None

    async def test_lifting_leaves_none_in_force(self, backend: Backend) -> None:
        await backend.override(override(), 0)
        lifted = await backend.override(override(mode=None, expires_in=None), 0)
        assert (lifted.mode, lifted.until) == (None, None)
        assert not lifted.has_expired
        assert [each for each in (await kept(backend)).records if each.mode] == []
        assert (await told(backend))[-1] == lifted

    async def test_lifting_what_is_not_set_is_harmless(self, backend: Backend) -> None:
        lifted = await backend.override(override(mode=None, expires_in=None), 0)
        assert (await kept(backend)).number == lifted.number

    async def test_is_told_in_heartbeats(self, backend: Backend) -> None:
        record = await backend.override(override(), 0)
        await lead(backend)
        beat = await backend.heartbeat(me("web-2"), TTL, 0)
        assert beat.news is not None
        assert beat.news.override == record.number

    async def test_only_the_latest_numbers_are_kept(self, backend: Backend) -> None:
        numbers = [(await backend.override(override(), 0)).number for _ in range(20)]
        assert (await kept(backend)).numbers == tuple(numbers[-16:])

    async def test_expected_one(self, backend: Backend) -> None:
        first = await backend.override(override(expect=0), 0)
        with pytest.raises(OverrideConflictError) as caught:
            await backend.override(override(expect=0), 0)
        assert caught.value.found == first.number
        second = await backend.override(override(expect=first.number), 0)
        lifted = await backend.override(override(mode=None, expect=second.number), 0)
        assert (await backend.override(override(expect=0), 0)).number > lifted.number
        assert len(await told(backend)) == 4

    async def test_one_of_many_at_once_is_as_expected(self, store: Store) -> None:
        backends = [store.open() for _ in range(5)]
        answers = await asyncio.gather(
            *(each.override(override(expect=0), 0) for each in backends), return_exceptions=True
        )
        assert sum(isinstance(answer, OverrideRecord) for answer in answers) == 1

    async def test_names_the_one_that_it_replaces(self, backend: Backend) -> None:
        first = await backend.override(override(), 0)
        assert first.replaced is None
        second = await backend.override(override(mode=Override.OBSERVE, expires_in=0.001), 0)
        assert second.replaced == first
        assert (await kept(backend)).records[0].replaced is None
        await asyncio.sleep(0.01)
        third = await backend.override(override(), 0)
        assert third.replaced is None
        lifted = await backend.override(override(mode=None, expires_in=None), 0)
        assert lifted.replaced == third

    async def test_an_ended_one_counts_as_none(self, backend: Backend) -> None:
        await backend.override(override(expires_in=0.001), 0)
        await asyncio.sleep(0.01)
        await backend.override(override(expect=0), 0)

    async def test_no_more_than_a_thousand(self, backend: Backend) -> None:
        for number in range(MAX_OVERRIDES):
            await backend.override(override(f"c-{number}"), 0)
        with pytest.raises(OverrideLimitError, match="1000"):
            await backend.override(override("one-more"), 0)
        await backend.override(override("c-7"), 0)
        await backend.override(override("c-7", mode=None), 0)
        await backend.override(override("one-more"), 0)
        assert len((await kept(backend)).records) == MAX_OVERRIDES


class TestExpire:
    async def test_removes_and_announces_those_that_are_over(self, backend: Backend) -> None:
        lease = await lead(backend)
        short = await backend.override(override("short", expires_in=0.001), 0)
        long = await backend.override(override("long"), 0)
        await asyncio.sleep(0.01)
        await backend.expire_overrides(lease, ())
        assert (await kept(backend)).records == (long,)
        expired = (await told(backend))[-1]
        assert isinstance(expired, OverrideRecord)
        assert expired.has_expired
        assert (expired.circuit, expired.until) == ("short", short.until)
        assert expired.follows == long.number
        assert expired.number == (await kept(backend)).number
        assert (await audited(backend))[-1] == expired

    async def test_and_those_that_have_ended_by_the_leaders_clock(self, backend: Backend) -> None:
        lease = await lead(backend)
        long = await backend.override(override("long"), 0)
        newer = await backend.override(override("newer"), 0)
        await backend.expire_overrides(lease, [long, replace(newer, number=newer.number - 1)])
        assert (await kept(backend)).records == (newer,)

    async def test_never_one_without_an_end(self, backend: Backend) -> None:
        lease = await lead(backend)
        endless = await backend.override(override(expires_in=None), 0)
        await backend.expire_overrides(lease, [endless])
        assert (await kept(backend)).records == (endless,)

    async def test_nothing_without_the_lease(self, backend: Backend) -> None:
        await lead(backend)
        await backend.override(override(expires_in=0.001), 0)
        await asyncio.sleep(0.01)
        with pytest.raises(FencedError):
            await backend.expire_overrides(Lease(7, "stranger"), ())
        assert len((await kept(backend)).records) == 1

    async def test_of_an_empty_store(self, backend: Backend) -> None:
        await backend.expire_overrides(await lead(backend), ())
        assert await kept(backend) == OverrideSnapshot()


class TestRestore:
    async def test_gives_back_what_was_lost(self, store: Store) -> None:
        backend = store.open()
        record = await backend.override(override(), 0)
        before = await kept(backend)
        store.lose_everything()
        lost = await kept(backend)
        assert lost == OverrideSnapshot()
        assert await backend.restore_overrides(lost, OverrideSnapshot((record.number,), (record,)))
        assert await kept(backend) == OverrideSnapshot((record.number,), before.records)
        assert await told(backend) == [OverridesRestored(record.number)]

    async def test_not_if_something_has_changed(self, backend: Backend) -> None:
        record = await backend.override(override(), 0)
        lost = await kept(backend)
        other = await backend.override(override("other"), 0)
        assert not await backend.restore_overrides(lost, OverrideSnapshot((7,), (record,)))
        assert {each.circuit for each in (await kept(backend)).records} == {"payments", "other"}
        assert (await kept(backend)).number == other.number


class TestProbe:
    async def test_is_told_and_audited(self, backend: Backend) -> None:
        await backend.probe(PROBE)
        assert await told(backend) == [PROBE]
        assert await audited(backend) == [PROBE]


class TestAudit:
    async def test_contains_leaders_and_changes_between_states(self, backend: Backend) -> None:
        lease = await lead(backend)
        opened = transition(lease, 1, state=State.OPEN, previous=State.CLOSED)
        longer = transition(lease, 2, state=State.OPEN, previous=State.OPEN)
        closed = transition(lease, 3, state=State.CLOSED, previous=State.OPEN)
        await publish(backend, opened, longer, closed)
        assert await audited(backend) == [LeaderChange(1, "web-1"), opened, closed]

    async def test_contains_suspects(self, backend: Backend) -> None:
        lease = await lead(backend)
        suspects = [Suspect("payments", f"web-{number}", 5, 7, 1700000000.25) for number in (2, 3)]
        await backend.note_suspects(lease, *suspects)
        assert (await audited(backend))[1:] == suspects
        with pytest.raises(FencedError):
            await backend.note_suspects(Lease(7, "stranger"), *suspects)
        assert len(await audited(backend)) == 3

    async def test_gives_the_newest_after_a_position(self, backend: Backend) -> None:
        for _ in range(5):
            await backend.probe(PROBE)
        everything = await backend.audit(START, 100)
        assert len(everything) == 5
        assert list(await backend.audit(START, 2)) == list(everything[-2:])
        assert list(await backend.audit(everything[2].position, 100)) == list(everything[3:])
        assert list(await backend.audit(everything[-1].position, 100)) == []


async def test_reader_misses_nothing_between_snapshot_and_stream(backend: Backend) -> None:
    await backend.override(override("before"), 0)
    snapshot = await backend.load()
    after = await backend.override(override("after"), 0)
    assert [entry.item for entry in await states_of(backend, snapshot.position)] == [after]
    assert after.follows == snapshot.overrides.number
    assert len(await read_all(backend)) == 2
