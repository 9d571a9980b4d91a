"""Results of other threads stand in line until the reporter's thread takes them in."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.helpers.inside import circuit_of
from tests.helpers.instances import make_instance
from tests.helpers.waiting import eventually
from zenvark_web import (
    BreakerPolicy,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    MemoryBackend,
    Outcome,
    State,
)
from zenvark_web._circuits.handover import COLLECTING, Handover
from zenvark_web._circuits.local import LocalCircuit
from zenvark_web._circuits.outbox import Outbox
from zenvark_web._coordination.call_monitor import CallMonitor
from zenvark_web._core.admission import Admission

CALLS = 1_000
THREADS = 8


def elsewhere(function: Callable[[], object]) -> None:
    """Do something in another thread, while this one and its loop stand still."""
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


@pytest.fixture
def wake_ups(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What has been called from another thread."""
    called: list[object] = []
    original = asyncio.BaseEventLoop.call_soon_threadsafe

    def call(
        loop: asyncio.BaseEventLoop, callback: object, *rest: object, **more: object
    ) -> object:
        called.append(callback)
        return original(loop, callback, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio.BaseEventLoop, "call_soon_threadsafe", call)
    return called


async def test_many_results_take_one_wake_up(wake_ups: list[object]) -> None:
    async with Coordinator() as coordinator:
        breaker = coordinator.breaker("upstream")

        def succeed() -> None:
            for _ in range(CALLS):
                breaker.execute_sync(int)

        wake_ups.clear()
        elsewhere(succeed)
        assert len(wake_ups) == 1
        await eventually(lambda: sum(breaker.successes.counts) == CALLS)


async def test_failures_are_taken_in_at_once_with_what_came_before(wake_ups: list[object]) -> None:
    policy = BreakerPolicy(strategy=ConsecutiveFailures(CALLS + 1))
    async with Coordinator(policy=policy) as coordinator:
        breaker = coordinator.breaker("upstream")

        def fail() -> None:
            breaker.execute_sync(int)
            for _ in range(CALLS):
                breaker.acquire().record(Outcome.FAILURE)

        wake_ups.clear()
        elsewhere(fail)
        assert len(wake_ups) == 2
        await asyncio.sleep(0)
        runs = circuit_of(breaker).waiting
        assert [(run.failed, run.count) for run in runs] == [(False, 1), (True, CALLS)]


async def test_blocked_calls_of_other_threads_bring_a_trial_about() -> None:
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.05))
    async with Coordinator(MemoryBackend(), policy=policy) as coordinator:
        breaker = coordinator.breaker("upstream")
        breaker.acquire().record(Outcome.FAILURE)
        await eventually(lambda: breaker.state is State.OPEN)

        def recovers() -> bool:
            try:
                breaker.execute_sync(int)
            except Exception:
                time.sleep(0.01)
            return breaker.state is State.CLOSED

        async def recovered() -> bool:
            return await asyncio.to_thread(recovers)

        await eventually(recovered)
        assert breaker.blocked > 0


async def test_a_wake_up_that_got_lost_does_no_lasting_harm() -> None:
    async with Coordinator() as coordinator:
        breaker = coordinator.breaker("upstream")
        handover = circuit_of(breaker).handover
        # A thread was ended between these and the call that they stand for.
        handover._called = handover._called_now = True
        elsewhere(lambda: breaker.execute_sync(int))
        await eventually(lambda: sum(breaker.successes.counts) == 1)
        elsewhere(lambda: breaker.execute_sync(int))
        await eventually(lambda: sum(breaker.successes.counts) == 2)


async def test_what_comes_as_a_run_ends_is_taken_in_by_the_next() -> None:
    coordinator = Coordinator()
    breaker = coordinator.breaker("upstream")
    async with coordinator:
        pass
    handover = circuit_of(breaker).handover
    now = time.monotonic()
    handover._put(True, circuit_of(breaker)._record, (0, None, now, now, 0.0))
    assert coordinator.statistics.recorded == 0
    async with coordinator:
        assert sum(breaker.successes.counts) == 1
    assert coordinator.statistics.recorded == 1


async def test_a_loop_that_looks_late_leaves_the_line_to_another_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    took_in: list[bool] = []
    original = Handover.drain

    def drain(handover: Handover) -> None:
        took_in.append(handover.thread in {None, threading.get_ident()})
        original(handover)

    monkeypatch.setattr(Handover, "drain", drain)
    coordinator = Coordinator()
    async with coordinator:
        elsewhere(lambda: coordinator.breaker("upstream").execute_sync(int))
    with coordinator:
        await asyncio.sleep(3 * COLLECTING)
    assert len(took_in) > 2
    assert all(took_in)


def record(circuit: LocalCircuit, failure: str | None = None) -> None:
    now = time.monotonic()
    circuit.record(0, failure, now, now, 0.0)


def test_threads_that_find_the_loop_closed_count_what_was_in_line() -> None:
    instance = make_instance()
    statistics, outbox = instance.statistics, Outbox(instance)
    circuit = LocalCircuit("upstream", BreakerPolicy(), Admission("web-1"), outbox)

    async def open_outbox() -> None:
        outbox.open(lambda urgent: None, CallMonitor(instance.host))
        record(circuit)
        elsewhere(lambda: record(circuit))

    def call(_: int) -> None:
        for _ in range(CALLS):
            record(circuit, "boom")

    loop = asyncio.new_event_loop()
    loop.run_until_complete(open_outbox())
    loop.close()
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(call, range(THREADS)))
    assert outbox.handover.thread is None
    assert statistics.recorded == statistics.dropped
    assert 3 <= statistics.recorded <= THREADS * CALLS
    assert not outbox.waiting
