"""Transitions: fenced, in order, and in hash and stream together or not at all."""

import asyncio
from dataclasses import replace

import pytest

from tests.contract.stores import (
    TTL,
    Store,
    forget,
    grant,
    lead,
    me,
    publish,
    read_all,
    recall,
    states_of,
    told,
    transition,
)
from tests.helpers.waiting import eventually
from zenvark_web import Backend, Cause, FencedError, Reason, State
from zenvark_web._core.order import Lease, Position
from zenvark_web._core.states import CircuitSnapshot, Transition
from zenvark_web.backends.base import (
    Account,
    Checkpoint,
    Forgotten,
    Recalled,
    StateEntry,
)


async def news(backend: Backend) -> list[Transition | Forgotten | Recalled]:
    """The transitions in the stream, and what was forgotten or recalled."""
    kinds = Transition | Forgotten | Recalled
    return [item for item in await told(backend) if isinstance(item, kinds)]


async def kept(backend: Backend) -> list[Transition]:
    """What a newcomer finds."""
    return sorted((await backend.load()).transitions, key=lambda stored: stored.circuit)


class TestPublish:
    async def test_writes_the_snapshot_and_the_stream(self, backend: Backend) -> None:
        beat = await lead(backend)
        opening = transition(
            beat,
            3,
            "zahlung-\N{SNOWMAN}",
            state=State.HALF_OPEN,
            grant=grant(),
            reason=Reason(cause=Cause.TRIAL, detail="\n\0\x7f", failures={"boom": 3}),
            position=Position(1700000000000, 7),
        )
        assert await publish(backend, opening) is True
        assert await kept(backend) == [opening]
        assert await news(backend) == [opening]

    async def test_again_changes_nothing(self, backend: Backend) -> None:
        """The first answer may have been lost."""
        opening = transition(await lead(backend))
        for _ in range(3):
            assert await publish(backend, opening) is True
        assert await news(backend) == [opening]

    async def test_goes_from_generation_to_generation(self, backend: Backend) -> None:
        beat = await lead(backend)
        steps = [transition(beat, generation) for generation in (1, 2, 9)]
        for step in steps:
            assert await publish(backend, step) is True
        assert await news(backend) == steps
        assert await kept(backend) == steps[-1:]

    async def test_never_goes_back(self, backend: Backend) -> None:
        beat = await lead(backend)
        newest = transition(beat, 5)
        await publish(backend, newest)
        for generation in (4, 5):
            assert await publish(backend, transition(beat, generation, delay=9.0)) is False
        assert await news(backend) == await kept(backend) == [newest]

    async def test_same_generation_under_a_later_lease_is_overtaken(self, store: Store) -> None:
        backend = store.open()
        opening = transition(await lead(backend, "web-1"), 5)
        await publish(backend, opening)
        await backend.resign("web-1")
        beat = await lead(backend, "web-2")
        assert await publish(backend, transition(beat, 5)) is False
        assert await kept(backend) == [opening]

    async def test_keeps_circuits_apart(self, backend: Backend) -> None:
        beat = await lead(backend)
        both = [transition(beat, 7, "a"), transition(beat, 1, "b")]
        for opening in both:
            assert await publish(backend, opening) is True
        assert await kept(backend) == both

    async def test_writes_many_in_one_go(self, backend: Backend) -> None:
        beat = await lead(backend)
        many = [transition(beat, 1, f"circuit-{number:03}") for number in range(250)]
        assert await publish(backend, *many) is True
        assert await news(backend) == await kept(backend) == many
        assert await publish(backend, *many) is True, "the first answer may have been lost"
        assert await news(backend) == many

    async def test_one_that_is_overtaken_keeps_no_other_back(self, backend: Backend) -> None:
        beat = await lead(backend)
        newer = transition(beat, 5, "b")
        await publish(backend, newer)
        before, after = transition(beat, 1, "a"), transition(beat, 1, "c")
        assert await publish(backend, before, transition(beat, 4, "b"), after) is False
        assert await kept(backend) == [before, newer, after]
        assert await news(backend) == [newer, before, after]

    async def test_many_of_one_circuit_keep_their_order(self, backend: Backend) -> None:
        beat = await lead(backend)
        steps = [transition(beat, generation) for generation in (1, 2, 3)]
        assert await publish(backend, *steps) is True
        assert await news(backend) == steps
        assert await kept(backend) == steps[-1:]

    async def test_one_of_many_at_once_wins(self, store: Store) -> None:
        beat = await lead(store.open())
        rivals = [transition(beat, 1, delay=float(n)) for n in range(8)]
        done = await asyncio.gather(*(publish(store.open(), rival) for rival in rivals))
        assert sorted(done) == [False] * 7 + [True]
        assert await kept(store.open()) == [rivals[done.index(True)]]


async def no_lease(backend: Backend) -> Lease:
    return Lease(1, "web-1")


async def other_holder(backend: Backend) -> Lease:
    return replace(await lead(backend), holder="web-2")


async def older_epoch(backend: Backend) -> Lease:
    lease = (await backend.heartbeat(me("web-1"), TTL, 10)).lease
    return replace(lease, epoch=lease.epoch - 1)


async def later_epoch(backend: Backend) -> Lease:
    beat = await lead(backend)
    return replace(beat, epoch=beat.epoch + 1)


async def resigned(backend: Backend) -> Lease:
    beat = await lead(backend)
    await backend.resign("web-1")
    return beat


async def run_out(backend: Backend) -> Lease:
    beat = await lead(backend, ttl=0.05)
    await asyncio.sleep(0.1)
    return beat


async def passed_on(backend: Backend) -> Lease:
    beat = await resigned(backend)
    await lead(backend, "web-2")
    return beat


@pytest.mark.parametrize(
    "lease",
    [no_lease, other_holder, older_epoch, later_epoch, resigned, run_out, passed_on],
    ids=lambda lease: lease.__name__,
)
async def test_nothing_is_written_without_the_lease(backend: Backend, lease: object) -> None:
    assert callable(lease)
    beat = await lease(backend)
    before = await states_of(backend)
    for many in ([transition(beat)], [transition(beat, 1, name) for name in ("a", "b")]):
        with pytest.raises(FencedError):
            await publish(backend, *many)
        with pytest.raises(FencedError):
            await forget(backend, *many)
    with pytest.raises(FencedError):
        await backend.checkpoint(
            beat,
            Checkpoint(Position(7), {"web-1": Account(1, 1)}, {"payments": CircuitSnapshot(1)}),
        )
    assert await kept(backend) == []
    assert (await backend.load(leading=True)).checkpoint == Checkpoint()
    assert await states_of(backend) == before


class TestForget:
    async def test_drops_the_circuit_and_tells_so(self, backend: Backend) -> None:
        closed = transition(await lead(backend), 4, state=State.CLOSED)
        other = replace(closed, circuit="other")
        await publish(backend, closed)
        await publish(backend, other)
        assert await forget(backend, closed) is True
        assert await kept(backend) == [other]
        assert await news(backend) == [closed, other, Forgotten("payments", 4)]

    async def test_drops_many_in_one_go(self, backend: Backend) -> None:
        beat = await lead(backend)
        many = [transition(beat, 1, f"circuit-{number:03}") for number in range(250)]
        moved_on = transition(beat, 2, "circuit-100")
        await publish(backend, *many, moved_on)
        assert await forget(backend, *many) is False
        assert await kept(backend) == [moved_on]
        assert (await news(backend))[251:] == [
            Forgotten(name.circuit, 1) for name in many if name.circuit != "circuit-100"
        ]

    async def test_leaves_a_circuit_that_has_moved_on(self, backend: Backend) -> None:
        beat = await lead(backend)
        closed, opened = transition(beat, 4, state=State.CLOSED), transition(beat, 5)
        await publish(backend, closed)
        await publish(backend, opened)
        assert await forget(backend, closed) is False
        assert await kept(backend) == [opened]
        assert await news(backend) == [closed, opened]

    async def test_tells_nothing_of_a_circuit_that_is_not_there(self, backend: Backend) -> None:
        closed = transition(await lead(backend), 4)
        assert await forget(backend, closed) is False
        await publish(backend, closed)
        assert await forget(backend, closed) is True
        assert await forget(backend, closed) is False
        assert await news(backend) == [closed, Forgotten("payments", 4)]

    async def test_circuit_may_begin_again(self, backend: Backend) -> None:
        beat = await lead(backend)
        await publish(backend, transition(beat, 4))
        await forget(backend, transition(beat, 4))
        first = transition(beat, 1)
        assert await publish(backend, first) is True
        assert await kept(backend) == [first]


class TestRecall:
    async def test_is_told_and_changes_nothing(self, backend: Backend) -> None:
        trying = transition(await lead(backend), 4, state=State.HALF_OPEN, grant=grant())
        await publish(backend, trying)
        await recall(backend, trying)
        await recall(backend, trying)
        assert await kept(backend) == [trying]
        assert await news(backend) == [trying, *[Recalled("payments", 4)] * 2]

    async def test_asks_many_in_one_step_in_their_order(self, backend: Backend) -> None:
        beat = await lead(backend)
        many = [transition(beat, number, f"circuit-{number:03}") for number in range(1, 251)]
        await recall(backend, *many)
        assert await news(backend) == [Recalled(each.circuit, each.generation) for each in many]

    async def test_is_refused_without_the_lease(self, backend: Backend) -> None:
        trying = transition(await lead(backend), 4)
        with pytest.raises(FencedError):
            await recall(backend, replace(trying, epoch=trying.epoch + 1), trying)
        with pytest.raises(FencedError):
            await recall(backend, replace(trying, leader="web-9"))
        assert await news(backend) == []


class TestLoad:
    async def test_finds_nothing_in_an_empty_store(self, backend: Backend) -> None:
        snapshot = await backend.load()
        assert snapshot.transitions == snapshot.malformed == ()
        assert await backend.read(snapshot.position, snapshot.results, 0) == []

    async def test_tells_the_time(self, backend: Backend) -> None:
        beat = await backend.heartbeat(me("web-1"), TTL, 0)
        snapshot = await backend.load()
        assert beat.news is not None
        assert 0 <= snapshot.now - beat.news.now < 10

    async def test_tells_where_to_read_on(self, backend: Backend) -> None:
        beat = await lead(backend)
        await publish(backend, transition(beat, 1))
        snapshot = await backend.load()
        assert await backend.read(snapshot.position, None, 0) == []
        later = transition(beat, 2)
        await publish(backend, later)
        [entry] = await backend.read(snapshot.position, None, 0)
        assert entry.item == later

    async def test_nothing_is_lost_between_snapshot_and_stream(self, store: Store) -> None:
        """Newcomers load and read on while a leader writes as fast as it can."""
        generations = 60
        leader = store.open()
        beat = await lead(leader)

        async def write() -> None:
            for generation in range(1, generations + 1):
                assert await publish(leader, transition(beat, generation))

        async def follow(backend: Backend) -> None:
            snapshot = await backend.load()
            seen = [stored.generation for stored in snapshot.transitions] or [0]
            position = snapshot.position
            while seen[-1] < generations:
                for entry in await backend.read(position, None, 5):
                    assert isinstance(entry, StateEntry)
                    position = entry.position
                    if isinstance(entry.item, Transition):
                        seen.append(entry.item.generation)
            assert seen == list(range(seen[0], generations + 1))

        async def follow_later(start: int) -> None:
            backend = store.open()
            await eventually(lambda: self._reached(backend, start))
            await follow(backend)

        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            tasks.create_task(write())
            for start in (0, 5, 10, 20, 30, 50):
                tasks.create_task(follow_later(start))

    @staticmethod
    async def _reached(backend: Backend, generation: int) -> bool:
        stored = await kept(backend)
        return (stored[0].generation if stored else 0) >= generation


async def test_what_is_not_closed_is_in_the_snapshot_however_much_there_is(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is closed may follow, in parts or by name, each once at least."""
    monkeypatch.setattr("zenvark_web.backends._slices.SLICE", 50)
    beat = await lead(backend)
    opened = [transition(beat, circuit=f"open-{n}") for n in range(30)]
    closed = [
        replace(transition(beat, circuit=f"closed-{n}"), state=State.CLOSED) for n in range(1_000)
    ]
    await publish(backend, *opened, *closed)
    snapshot = await backend.load(leading=True)
    found = {each.circuit: each for each in snapshot.transitions}
    assert found.keys() >= {each.circuit for each in opened}
    if snapshot.rest is not None:
        named = await snapshot.rest.of(["closed-7", "open-7", "nobody's"])
        assert list(named) == [closed[7], opened[7]]
        while (more := await snapshot.rest.next()) is not None:
            assert len(more) < 500
            found |= {each.circuit: each for each in more if isinstance(each, Transition)}
    assert found == {each.circuit: each for each in (*opened, *closed)}


async def test_stream_of_states_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("memory", "redis"):
        monkeypatch.setattr(f"zenvark_web.backends.{module}.MAX_STATES", 50)
    store.lose_everything()  # so that the one in memory is made anew
    backend = store.open()
    beat = await lead(backend)
    for generation in range(1, 201):
        await publish(backend, transition(beat, generation))
    positions = [entry.position for entry in await read_all(backend)]
    assert 50 <= len(positions) <= 50 + 100, "Redis trims whole nodes of a hundred"
    assert (await kept(backend))[0].generation == 200
    assert positions[-1] == (await backend.load()).position
