"""Call results: in order, aged by the store's clock, read by whoever leads."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from tests.contract.stores import Store, batch, lead, me, publish, read_all, results_of, transition
from tests.helpers.waiting import eventually
from zenvark_web import Backend
from zenvark_web._core.order import Position
from zenvark_web._core.states import Report, Run, TrialNote
from zenvark_web.backends.base import (
    START,
    Batch,
    LeaderChange,
    ResultEntry,
    StateEntry,
    StreamEntry,
)

BUSY = 20.0
"""Seconds that a noisy host may add to anything."""

WAIT = 40.0
"""Seconds so long that what ends in half of them has not waited for their end."""


async def now(backend: Backend) -> float:
    return (await backend.load()).now


class TestAppend:
    async def test_comes_out_as_it_went_in(self, backend: Backend) -> None:
        written = Batch(
            "web-\N{SNOWMAN}",
            7,
            round(await now(backend)) + 100.0,  # nothing to add to the ages
            (
                Report(
                    "payments",
                    (Run(3, True, True, 5, 0.25, "ReadTimeout"), Run(4, False, False, 10**6)),
                    12,
                    TrialNote(4, 1, 2),
                    4,
                ),
                Report("orders"),
            ),
        )
        await backend.append(written)
        [entry] = await results_of(backend)
        assert entry.item == written

    async def test_tells_the_time(self, backend: Backend) -> None:
        before = await now(backend)
        told = await backend.append(batch())
        assert before <= told <= await now(backend)

    async def test_entries_know_when_they_arrived(self, backend: Backend) -> None:
        before = await now(backend)
        await backend.append(batch())
        after = await now(backend)
        [entry] = await results_of(backend)
        assert before - 0.002 <= entry.at <= after + 0.002
        assert entry.position.ms == round(entry.at * 1000)

    async def test_time_under_way_adds_to_the_ages(self, backend: Backend) -> None:
        sent = await now(backend) - 2.0
        runs = Run(0, True, False, 1, 0.5), Run(0, False, False, 1, 0.0)
        await backend.append(batch(1, *runs, sent=sent))
        [entry] = await results_of(backend)
        assert isinstance(entry.item, Batch)
        first, second = entry.item.reports[0].runs
        assert 2.5 <= first.age < 2.5 + BUSY
        assert first.age - second.age == pytest.approx(0.5)

    async def test_sender_ahead_of_time_adds_nothing(self, backend: Backend) -> None:
        await backend.append(batch(1, Run(0, True, False, 1, 0.5), sent=await now(backend) + 60))
        [entry] = await results_of(backend)
        assert isinstance(entry.item, Batch)
        assert entry.item.reports[0].runs[0].age == 0.5

    async def test_keeps_the_order(self, store: Store) -> None:
        one, two = store.open(), store.open()
        for number in range(10):
            await (one, two)[number % 2].append(batch(number))
        entries = await results_of(one)
        assert [number_of(entry) for entry in entries] == list(range(10))
        positions = [entry.position for entry in entries]
        assert positions == sorted(set(positions))

    async def test_of_many_at_once_loses_none(self, store: Store) -> None:
        backends = [store.open() for _ in range(4)]
        await asyncio.gather(*(backends[number % 4].append(batch(number)) for number in range(100)))
        entries = await results_of(backends[0])
        assert sorted(number_of(entry) for entry in entries) == list(range(100))

    async def test_takes_a_large_batch(self, backend: Backend) -> None:
        runs = [Run(0, n % 2 == 0, False, 1, 0.0, "x" * 64) for n in range(1000)]
        reports = tuple(Report(f"circuit-{n}", tuple(runs)) for n in range(10))
        await backend.append(Batch("web-1", 1, 0.0, reports))
        [entry] = await results_of(backend)
        assert isinstance(entry.item, Batch)
        assert len(entry.item.reports) == 10

    async def test_stream_is_bounded(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in ("memory", "redis"):
            monkeypatch.setattr(f"zenvark_web.backends.{module}.MAX_RESULTS", 50)
        store.lose_everything()  # so that the one in memory is made anew
        backend = store.open()
        for number in range(200):
            await backend.append(batch(number))
        entries = await results_of(backend)
        assert 50 <= len(entries) <= 50 + 100, "Redis trims whole nodes of a hundred"
        assert number_of(entries[-1]) == 199, "the oldest give way"


def number_of(entry: StreamEntry) -> int:
    assert isinstance(entry.item, Batch)
    return entry.item.number


async def cancel(task: asyncio.Task[Any]) -> None:
    """Cancel it for certain: `asyncio.wait_for`, which redis-py uses in a client that was given
    to us, loses a cancellation now and then before Python 3.12."""

    async def gone() -> bool:
        task.cancel()
        await asyncio.wait([task], timeout=0.05)
        return task.done()

    await eventually(gone)
    assert task.cancelled()


class TestRead:
    async def test_gives_what_stands_after_a_position(self, backend: Backend) -> None:
        for number in range(5):
            await backend.append(batch(number))
        entries = await results_of(backend)
        for index, entry in enumerate(entries):
            later = await backend.read(START, entry.position, 0)
            assert later == entries[index + 1 :]

    async def test_leaves_results_out_unless_asked(self, backend: Backend) -> None:
        await lead(backend)
        await backend.append(batch())
        [entry] = await backend.read(START, None, 0)
        assert entry.item == LeaderChange(1, "web-1")
        assert await backend.read(entry.position, None, 0.05) == []

    async def test_gives_both_streams_each_in_order(self, backend: Backend) -> None:
        beat = await lead(backend)
        for number in range(1, 6):
            await publish(backend, transition(beat, number))
            await backend.append(batch(number))
        entries = await read_all(backend, results=START)
        states = [e.position for e in entries if isinstance(e, StateEntry)]
        results = [e.position for e in entries if isinstance(e, ResultEntry)]
        assert (len(states), len(results)) == (6, 5)
        assert states == sorted(states)
        assert results == sorted(results)

    async def test_catches_up_however_much_there_is(
        self, backend: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("zenvark_web.backends.redis.READ_COUNT", 20)
        numbers = range(90)
        await asyncio.gather(*(backend.append(batch(number)) for number in numbers))
        entries = await results_of(backend)
        assert sorted(number_of(entry) for entry in entries) == list(numbers)
        positions = [entry.position for entry in entries]
        assert positions == sorted(set(positions))

    async def test_does_not_wait_unless_asked(self, backend: Backend) -> None:
        began = time.monotonic()
        assert await backend.read(START, START, 0) == []
        assert time.monotonic() - began < BUSY

    async def test_waits_no_longer_than_asked(self, backend: Backend) -> None:
        began = time.monotonic()
        assert await backend.read(START, START, 0.1) == []
        assert 0.05 < time.monotonic() - began < BUSY

    @pytest.mark.parametrize("what", ["state", "result"])
    async def test_wakes_when_something_comes(self, store: Store, what: str) -> None:
        reader, writer = store.open(), store.open()
        waiting = await self._waiting(reader, START)
        began = time.monotonic()
        if what == "state":
            await lead(writer)
        else:
            await writer.append(batch())
        assert len(await waiting) == 1
        assert time.monotonic() - began < WAIT / 2

    async def test_wakes_everyone(self, store: Store) -> None:
        waiting = [await self._waiting(store.open(), None) for _ in range(4)]
        began = time.monotonic()
        await lead(store.open())
        for [entry] in await asyncio.gather(*waiting):
            assert entry.item == LeaderChange(1, "web-1")
        assert time.monotonic() - began < WAIT / 2

    async def test_does_not_hold_up_commands(self, backend: Backend) -> None:
        waiting = await self._waiting(backend, START)
        began = time.monotonic()
        await backend.heartbeat(me("web-1"), 10, 0, brief=True)
        await backend.load()
        assert time.monotonic() - began < WAIT / 2
        await waiting

    async def test_cancelled_one_leaves_the_backend_usable(self, backend: Backend) -> None:
        for number in range(5):
            waiting = await self._waiting(backend, START if number % 2 else None)
            await cancel(waiting)
        await backend.append(batch(42))
        [entry] = await backend.read(START, START, 2)
        assert number_of(entry) == 42

    @staticmethod
    async def _waiting(
        backend: Backend, results: Position | None
    ) -> asyncio.Task[Sequence[StreamEntry]]:
        """A read that has begun to wait."""

        async def read() -> Sequence[StreamEntry]:
            while not (entries := await backend.read(START, results, WAIT)):
                pass  # a backend may wait for less long than it is told
            return entries

        task = asyncio.create_task(read())
        await asyncio.sleep(0.03)
        assert not task.done()
        return task


async def test_cancelled_commands_leave_no_answer_for_the_next(backend: Backend) -> None:
    """Whatever is cancelled half-way, each answer reaches its own question."""
    beat = await lead(backend)
    for number in range(60):
        task = asyncio.create_task(backend.append(batch(number)))
        await asyncio.sleep(0.0001 * (number % 10))
        task.cancel()
        load, heartbeat = await asyncio.gather(
            backend.load(), backend.heartbeat(me("web-1"), 30, 0)
        )
        assert load.transitions == ()
        assert heartbeat.lease == beat
        await asyncio.wait([task])


class TestTidy:
    async def test_tells_who_is_there(self, store: Store) -> None:
        backend = store.open()
        for name in ("web-1", "web-2", "web-\N{SNOWMAN}"):
            await store.open().heartbeat(me(name), 30, 0)
        present = await backend.tidy(600, 600)
        assert sorted(present, key=lambda presence: presence.instance) == [
            me("web-1"),
            me("web-2"),
            me("web-\N{SNOWMAN}"),
        ]

    async def test_forgets_the_silent(self, store: Store) -> None:
        backend = store.open()
        silence = 0.3
        await backend.heartbeat(me("silent"), 30, 0)

        async def forgotten() -> bool:
            began = time.monotonic()
            await backend.heartbeat(me("loud"), 30, 0)
            present = await backend.tidy(600, silence)
            too_busy = time.monotonic() - began >= silence
            assert me("loud") in present or too_busy
            return present == [me("loud")]

        await eventually(forgotten)

    async def test_trims_old_results_and_keeps_young_ones(self, store: Store) -> None:
        backend = store.open()
        store.put_old_results([batch(number) for number in range(190)])
        for number in range(190, 200):
            await backend.append(batch(number))
        await backend.tidy(3600, 600)
        numbers = [number_of(entry) for entry in await results_of(backend)]
        assert numbers[-10:] == list(range(190, 200))
        assert len(numbers) <= 100, "Redis trims whole nodes of a hundred"

    async def test_leaves_states_alone(self, backend: Backend) -> None:
        beat = await lead(backend)
        await publish(backend, transition(beat))
        await asyncio.sleep(0.01)
        await backend.tidy(0.001, 0.001)
        assert len((await backend.load()).transitions) == 1
        assert len(await read_all(backend)) == 2

    async def test_finds_nothing_in_an_empty_store(self, backend: Backend) -> None:
        assert await backend.tidy(600, 600) == []


class TestLifecycle:
    async def test_closes_and_opens_again(self, store: Store) -> None:
        backend = store.open()
        await lead(backend)
        for _ in range(3):
            await backend.close()
            backend.open()
            assert (await backend.heartbeat(me("web-1"), 30, 0)).lease.epoch == 1

    async def test_closes_twice_and_unopened(self, store: Store) -> None:
        backend = store.open()
        await lead(backend)
        await backend.close()
        await backend.close()
        await store.make().close()

    def test_is_a_backend_and_shows_itself(self, closed_store: Store) -> None:
        made = closed_store.make()
        assert isinstance(made, Backend)
        assert type(made).__name__ in repr(made)
