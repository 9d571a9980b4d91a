"""What only the backend in memory promises: a clock that is given to it."""

import asyncio

from tests.contract.stores import TTL, batch, lead, me, publish, results_of, states_of, transition
from zenvark_web import MemoryBackend
from zenvark_web._core.order import START, Position
from zenvark_web.backends.base import Batch


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_lease_runs_out_by_the_clock() -> None:
    clock = Clock()
    backend = MemoryBackend(clock)
    first = await backend.heartbeat(me("web-1"), 10, 0)
    assert first.news is not None
    assert (first.news.now, first.expires_in) == (1000.0, 10.0)
    clock.now += 9.999
    assert (await backend.heartbeat(me("web-2"), TTL, 0)).lease.holder == "web-1"
    clock.now += 0.001
    assert (await backend.heartbeat(me("web-2"), TTL, 0)).lease.holder == "web-2"


async def test_positions_grow_though_the_clock_stands_still() -> None:
    backend = MemoryBackend(Clock())
    beat = await lead(backend)
    for generation in range(1, 5):
        await publish(backend, transition(beat, generation))
    positions = [entry.position for entry in await states_of(backend)]
    assert positions == [Position(1000000, number) for number in range(5)]


async def test_ages_and_trimming_follow_the_clock() -> None:
    clock = Clock()
    backend = MemoryBackend(clock)
    await backend.append(batch(1, sent=clock.now - 2.5))
    clock.now += 60
    assert await backend.append(batch(2, sent=clock.now)) == 1060.0
    one, two = await results_of(backend)
    assert (one.at, two.at) == (1000.0, 1060.0)
    assert isinstance(one.item, Batch)
    assert one.item.reports[0].runs[0].age == 2.5
    await backend.tidy(60, 600)
    assert len(await results_of(backend)) == 2
    await backend.tidy(59.9, 600)
    assert await results_of(backend) == [two]


async def test_instances_are_forgotten_by_the_clock() -> None:
    clock = Clock()
    backend = MemoryBackend(clock)
    await backend.heartbeat(me("web-1"), TTL, 0)
    clock.now += 29.9
    assert await backend.tidy(600, 30) == [me("web-1")]
    clock.now += 0.1
    assert await backend.tidy(600, 30) == []


async def test_readers_leave_nothing_behind() -> None:
    backend = MemoryBackend()
    await asyncio.gather(*(backend.read(START, START, 0.01) for _ in range(10)))
    waiting = [asyncio.create_task(backend.read(START, None, 60)) for _ in range(10)]
    await asyncio.sleep(0)
    assert len(backend._arrivals) == 10
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert not backend._arrivals


def test_shows_what_it_holds() -> None:
    assert repr(MemoryBackend()) == "<MemoryBackend circuits=0 instances=0>"
