"""Threads that ask for one new breaker at the same moment get one circuit."""

import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Thread, current_thread, main_thread

import pytest

from tests.helpers.inside import shard_of
from tests.helpers.waiting import eventually
from zenvark_web import BreakerPolicy, ConsecutiveFailures, Coordinator, Outcome, State
from zenvark_web._core.states import Transition

THREADS = 8


async def test_all_threads_learn_the_state():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        async with Coordinator(
            policy=BreakerPolicy(strategy=ConsecutiveFailures(1))
        ) as coordinator:
            with ThreadPoolExecutor(THREADS) as pool:
                barrier = Barrier(THREADS)

                def ask(name: str):
                    barrier.wait()
                    return coordinator.breaker(name)

                for number in range(50):
                    name = f"circuit-{number}"
                    held = list(pool.map(ask, [name] * THREADS))
                    held[0].acquire().record(Outcome.FAILURE)
                    await eventually(
                        lambda held=held: all(breaker.state is State.OPEN for breaker in held),
                        what="every thread's breaker is open",
                    )
    finally:
        sys.setswitchinterval(before)


def test_news_that_come_while_a_thread_makes_the_circuit_are_not_undone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    coordinator = Coordinator()
    table = shard_of(coordinator).table
    table.apply(Transition(circuit="upstream", generation=1, state=State.OPEN, delay=60))
    read, applied = Event(), Event()
    in_force = table.in_force

    def in_force_a_while_ago(name: str) -> Transition:
        found = in_force(name)
        if current_thread() is not main_thread():
            read.set()
            applied.wait(0.3)  # in vain if the news have to wait for this thread
        return found

    monkeypatch.setattr(table, "in_force", in_force_a_while_ago)
    thread = Thread(target=coordinator.breaker, args=["upstream"])
    thread.start()
    assert read.wait(10)
    table.apply(Transition(circuit="upstream", generation=2, state=State.CLOSED))
    applied.set()
    thread.join()
    breaker = coordinator.breaker("upstream")
    assert (breaker.generation, breaker.state) == (2, State.CLOSED)
