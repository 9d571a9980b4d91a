"""Threads that ask for one new breaker at the same moment get one circuit."""

import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from tests.helpers.waiting import eventually
from zenvark_web import BreakerPolicy, ConsecutiveFailures, Coordinator, Outcome, State

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
