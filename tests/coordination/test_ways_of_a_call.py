"""Calls are held in local variables by `execute` and `execute_sync`, in a permit by `guard` and
`acquire`: each way comes to the same."""

import asyncio
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.inside import circuit_of
from tests.helpers.instances import make_instance
from zenvark_web import (
    Breaker,
    BreakerPolicy,
    CircuitOpenError,
    ConstantBackoff,
    Coordinator,
    Outcome,
    State,
)
from zenvark_web._circuits.local import LocalCircuit
from zenvark_web._circuits.outbox import Outbox
from zenvark_web._core.admission import Admission
from zenvark_web._core.states import Transition

SLOW = 1.0
STEPS = (
    *("succeed", "fail", "cancel", "take long", "fail after long", "cancel after long"),
    *("inside: succeed", "inside: fail", "inside: fail, swallowed", "move on"),
)


class Nobody:
    """A monitor that watches nothing."""

    def watch(self, circuit: LocalCircuit) -> None:
        pass

    def forget(self) -> None:
        pass


class Bench:
    """One circuit of an instance with a manual clock.

    Args:
        policy: The circuit's.
    """

    def __init__(self, policy: BreakerPolicy) -> None:
        self.now = 1_000.0
        instance = make_instance(monotonic=lambda: self.now)
        outbox = Outbox(instance)
        outbox.open(lambda urgent: None, Nobody())
        self.local = LocalCircuit("upstream", policy, Admission("me"), outbox)
        self.breaker = Breaker(self.local)

    def play(self, step: str) -> int:
        """What the protected function does."""
        if "long" in step:
            self.now += 2 * SLOW
        if step == "move on":
            admission = self.local.admission
            newer = Transition(circuit="upstream", generation=admission.generation + 1)
            admission.apply(newer, self.now, 0.0)
        elif step.startswith("inside"):
            self._inside(step)
        elif "cancel" in step:
            raise asyncio.CancelledError
        elif "fail" in step:
            raise ConnectionError
        self.now += 0.001
        return 1

    def _inside(self, step: str) -> None:
        inner = self.breaker.acquire()
        if step == "inside: succeed":
            inner.record(Outcome.SUCCESS)
            return
        inner.raised(error := ConnectionError())
        if "swallowed" not in step:
            raise error

    @property
    def found(self) -> object:
        """All that the circuit has recorded."""
        runs = [
            (run.generation, run.failed, run.slow, run.label, run.count, round(run.ended, 6))
            for run in self.local.waiting
        ]
        durations = [
            (distribution.counts, round(distribution.total, 6))
            for distribution in (self.breaker.successes, self.breaker.failures)
        ]
        return runs, durations, self.local.in_flight.began


async def by_execute(bench: Bench, step: str) -> None:
    async def call() -> int:
        return bench.play(step)

    await bench.breaker.execute(call)


async def by_execute_sync(bench: Bench, step: str) -> None:
    bench.breaker.execute_sync(bench.play, step)


async def by_guard(bench: Bench, step: str) -> None:
    async with bench.breaker.guard():
        bench.play(step)


async def by_guard_sync(bench: Bench, step: str) -> None:
    with bench.breaker.guard():
        bench.play(step)


async def by_permit(bench: Bench, step: str) -> None:
    permit = bench.breaker.acquire()
    permit.carry()
    try:
        result = bench.play(step)
    except BaseException as error:
        permit.set_down()
        permit.raised(error)
        raise
    permit.set_down()
    permit.returned(result)


WAYS: list[Callable[[Bench, str], Any]] = [
    by_execute,
    by_execute_sync,
    by_guard,
    by_guard_sync,
    by_permit,
]


@given(st.lists(st.sampled_from(STEPS), max_size=12), st.sampled_from([None, SLOW]))
def test_all_record_the_same(steps: list[str], slow_call: float | None) -> None:
    async def played(way: Callable[[Bench, str], Any]) -> object:
        bench = Bench(BreakerPolicy(slow_call=slow_call))
        for step in steps:
            with suppress(ConnectionError, asyncio.CancelledError):
                await way(bench, step)
        return bench.found

    async def found() -> list[object]:
        return [await played(way) for way in WAYS]

    first, *others = asyncio.run(found())
    for other in others:
        assert other == first


@pytest.mark.parametrize("way", WAYS)
async def test_each_call_counts_in_the_generation_of_its_beginning(
    way: Callable[[Bench, str], Any],
) -> None:
    bench = Bench(BreakerPolicy())
    for step in ("succeed", "move on", "succeed", "succeed"):
        await way(bench, step)
    assert [(run.generation, run.count) for run in bench.local.waiting] == [(0, 2), (1, 2)]


@pytest.mark.parametrize("slow_call", [None, SLOW])
async def test_a_call_that_is_dropped_is_in_flight_no_longer(slow_call: float | None) -> None:
    bench = Bench(BreakerPolicy(slow_call=slow_call))
    hung = asyncio.get_running_loop().create_future()

    async def hang() -> None:
        await hung

    call = bench.breaker.execute(hang)
    call.send(None)
    assert len(bench.local.in_flight.began) == (slow_call is not None)
    call.close()
    assert not bench.local.in_flight.began
    assert bench.found == Bench(BreakerPolicy(slow_call=slow_call)).found


async def test_a_tasks_call_after_the_one_that_began_it_counts_by_itself() -> None:
    """The flow of `execute` stays behind in the context of such a task, settled."""
    bench = Bench(BreakerPolicy())
    go_on = asyncio.Event()

    async def later() -> None:
        await go_on.wait()
        await bench.breaker.execute(returns)

    async def returns() -> None:
        pass

    async def begin() -> asyncio.Task[None]:
        return asyncio.create_task(later())

    task = await bench.breaker.execute(begin)
    go_on.set()
    await task
    assert sum(bench.breaker.successes.counts) == 2


async def test_rejections_are_counted_and_keep_no_memory() -> None:
    policy = BreakerPolicy(backoff=ConstantBackoff(600))
    async with Coordinator(policy=policy) as coordinator:
        breaker = coordinator.breaker("upstream")
        for _ in range(5):
            breaker.acquire().record(Outcome.FAILURE)
        while breaker.state is not State.OPEN:
            await asyncio.sleep(0.01)

        async def reject(calls: int) -> None:
            for _ in range(calls):
                with pytest.raises(CircuitOpenError):
                    await breaker.execute(asyncio.sleep, 0)

        await reject(100)
        tracemalloc.start()
        await reject(1_000)
        before, _ = tracemalloc.get_traced_memory()
        await reject(5_000)
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert breaker.blocked == 6_100
        blocked, uncounted = circuit_of(breaker).take_blocked()
        assert blocked <= 6_100
        assert uncounted == 0
        assert after - before < 50_000  # ten bytes for each would be as many
