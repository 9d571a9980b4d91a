"""The line of transitions that wait to be published: in order, many in one go, none for ever."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.instances import make_instance
from tests.helpers.waiting import eventually
from zenvark_web import BackendError, Cause, MemoryBackend, Reason, State
from zenvark_web._core.order import Lease
from zenvark_web._core.states import Transition
from zenvark_web._judging.publisher import LARGEST_BATCH, PublicationQueue, Publisher
from zenvark_web.backends.base import Presence


def opening(circuit: str, generation: int = 1, instances: int = 1) -> Transition:
    return Transition(
        circuit=circuit,
        generation=generation,
        state=State.OPEN,
        reason=Reason(
            cause=Cause.TRIPPED, instances={f"web-{number}": 5 for number in range(instances)}
        ),
    )


def longer_wait(circuit: str, generation: int) -> Transition:
    return Transition(
        circuit=circuit,
        generation=generation,
        previous=State.OPEN,
        state=State.OPEN,
        reason=Reason(cause=Cause.CHECK_FAILED),
    )


def names(batch: Sequence[Transition]) -> list[str]:
    return [transition.circuit for transition in batch]


class TestQueue:
    @pytest.mark.parametrize(
        "honest", [opening("honest", 7), opening("honest", 1, instances=2)], ids=["known", "shared"]
    )
    def test_what_is_of_use_goes_first(self, honest: Transition) -> None:
        line = PublicationQueue()
        for number in range(10_000):
            line.put(opening(f"stranger-{number}"))
            line.put(longer_wait(f"dead-{number}", 7))
        line.put(honest)
        assert names(line.batch(LARGEST_BATCH))[0] == "honest"

    def test_others_have_their_turn_however_much_is_of_use(self) -> None:
        line = PublicationQueue()
        line.put(opening("stranger"))
        for number in range(10_000):
            line.put(opening(f"honest-{number}", 2))
        assert "stranger" in names(line.batch(LARGEST_BATCH))

    @pytest.mark.parametrize("most", [1, 2, 3, LARGEST_BATCH])
    def test_is_empty_in_the_end(self, most: int) -> None:
        line = PublicationQueue()
        for number in range(300):
            line.put(opening(f"honest-{number % 100}", 2 + number // 100))
            line.put(opening(f"stranger-{number}"))
        while batch := line.batch(most):
            line.done(batch)
        assert not line

    def test_a_batch_stays_until_it_is_done(self) -> None:
        line = PublicationQueue()
        for number in range(5):
            line.put(opening(f"stranger-{number}"))
        before = line.batch(4)
        line.put(opening("honest", 2))
        assert line.batch(4) == before
        assert line.batch(2) == before[:2], "of a slow network, a part of it"
        line.done(before[:2])
        assert line.batch(4) == before[2:]
        line.done(before[2:])
        assert names(line.batch(4)) == ["honest", "stranger-4"]

    def test_knows_what_will_be_the_newest(self) -> None:
        line = PublicationQueue()
        assert line.newest("a") is None
        for generation in (1, 2, 3):
            line.put(opening("a", generation))
        for left in (3, 2, 1):
            newest = line.newest("a")
            assert newest is not None
            assert newest.generation == 3, left
            line.done(line.batch(1))
        assert line.newest("a") is None

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(1, 4))))
    def test_a_circuits_transitions_keep_their_order(
        self, steps: list[tuple[str, bool, int]]
    ) -> None:
        line, made, done = PublicationQueue(), Counter[str](), Counter[str]()

        def finish(most: int) -> None:
            batch = line.batch(most)
            for transition in batch:
                done[transition.circuit] += 1
                assert transition.generation == done[transition.circuit]
            line.done(batch)

        for circuit, waits_on, most in steps:
            made[circuit] += 1
            make = longer_wait if waits_on else opening
            line.put(make(circuit, made[circuit]))
            if most < 4:
                finish(most)
        while line:
            finish(2)
        assert done == made

    async def test_what_was_there_before_is_done_whatever_comes_meanwhile(self) -> None:
        line = PublicationQueue()
        for number in range(100):
            line.put(opening(f"stranger-{number}"))
        passed = asyncio.ensure_future(line.passed())
        for number in range(100):
            await asyncio.sleep(0)
            assert not passed.done() or number > 97
            line.put(opening(f"honest-{number}", 2))
            line.put(opening(f"more-{number}"))
            line.done(line.batch(2))
        await asyncio.wait_for(passed, 5)
        assert line

    async def test_nothing_before_is_nothing_to_wait_for(self) -> None:
        await asyncio.wait_for(PublicationQueue().passed(), 5)


class Slow(MemoryBackend):
    """Takes only so many in one go before its time is over."""

    def __init__(self, bears: int) -> None:
        super().__init__()
        self.bears = bears
        self.asked: list[int] = []
        self.written: list[Transition] = []

    async def publish(self, lease: Lease, *transitions: Transition) -> bool:
        self.asked.append(len(transitions))
        if len(transitions) > self.bears:
            raise BackendError("no answer in time")
        self.written += transitions
        return True


class Tenured:
    """An office whose lease lasts."""

    def fenced(self) -> None:
        raise AssertionError

    def overtaken(self) -> None:
        raise AssertionError

    def present(self, instances: Sequence[Presence]) -> None:
        raise AssertionError


@pytest.mark.parametrize("bears", [1, 40, 10_000])
async def test_a_network_that_bears_little_gets_little(bears: int) -> None:
    backend, instance = Slow(bears), make_instance(chance=lambda: 0.0)
    publisher = Publisher(instance, backend, Lease(1, "web-1"), Tenured(), lambda: None)
    many = [opening(f"circuit-{number}") for number in range(20)]
    many += [opening(f"circuit-{number}") for number in range(20, 300) if bears > 1]
    for transition in many:
        publisher.publish(transition)
    running = asyncio.create_task(publisher.run())
    await asyncio.wait_for(publisher.caught_up(), 30)
    assert sorted(names(backend.written)) == sorted(names(many))
    assert instance.statistics.transitions == len(many)
    if bears > LARGEST_BATCH:
        assert backend.asked == [250, 50]
    running.cancel()
    await eventually(running.done)
