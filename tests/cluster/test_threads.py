"""Calls from many threads while the coordinator runs in the main thread's loop."""

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from tests.cluster.store import Store
from tests.helpers.inside import circuit_of
from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import PATIENCE, eventually
from zenvark_web import (
    BackendError,
    BreakerPolicy,
    CircuitOpenError,
    ConstantBackoff,
    Coordinator,
    State,
)

THREADS = 8
CALLS = 3_000


@pytest.fixture(autouse=True)
def restless() -> Iterator[None]:
    """Threads take turns as often as can be."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


class UpstreamDownError(Exception):
    """A call failed."""


class Caller:
    """What each thread does: calls through `execute_sync` and `guard` in turn."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._breaker = coordinator.breaker("upstream")
        self._together = threading.Barrier(THREADS)
        self.down = False

    def run(self, calls: int) -> Counter[str]:
        """Make so many calls; tells how many ended how."""
        self._together.wait()
        return Counter(self._one(number) for number in range(calls))

    def _one(self, number: int) -> str:
        try:
            if number % 2:
                self._breaker.execute_sync(self._call)
            else:
                with self._breaker.guard():
                    self._call()
        except CircuitOpenError:
            return "rejected"
        except UpstreamDownError:
            return "failed"
        return "passed"

    def _call(self) -> None:
        if self.down:
            raise UpstreamDownError


async def test_nothing_is_lost_and_all_threads_see_it_open_and_close(
    redis_server: ServerHandle, namespace: str
) -> None:
    errors: list[Exception] = []
    store = Store(redis_server, namespace)
    coordinator = Coordinator(
        redis_server.url,
        namespace=namespace,
        policy=BreakerPolicy(backoff=ConstantBackoff(0.1), trial_calls=3),
        lease_ttl=30,  # busy threads keep the loop waiting; losing the lease is not the point here
        on_error=errors.append,
    )
    with ThreadPoolExecutor(THREADS) as threads:
        async with coordinator:
            breaker = coordinator.breaker("upstream")
            caller = Caller(coordinator)
            sending = asyncio.create_task(keep_sending(coordinator))
            assert await each(threads, caller, CALLS) == {"passed": THREADS * CALLS}
            await eventually(
                lambda: sum(breaker.successes.counts) == THREADS * CALLS, within=PATIENCE
            )
            await eventually(
                lambda: store.reported("upstream")["successes"] == THREADS * CALLS, within=PATIENCE
            )

            sending.cancel()
            caller.down = True
            ended = await each(threads, caller, 1)
            assert ended["failed"] >= 5
            assert ended.keys() <= {"failed", "rejected"}
            await eventually(lambda: not circuit_of(breaker).admission.closed, within=PATIENCE)
            caller.down = False
            async with asyncio.timeout(PATIENCE):
                while breaker.state is not State.CLOSED:
                    ended = await each(threads, caller, 10)
                    assert ended.keys() <= {"rejected", "passed"}
            assert await each(threads, caller, 10) == {"passed": THREADS * 10}
    assert all(isinstance(error, BackendError) for error in errors), errors  # a busy host has some
    assert coordinator.statistics.dropped == 0


async def keep_sending(coordinator: Coordinator) -> None:
    """Fail now and then on another circuit, so that what is known is sent again and again."""
    breaker = coordinator.breaker("another")
    while True:
        with suppress(UpstreamDownError):
            breaker.execute_sync(fail)
        breaker.execute_sync(int)
        await asyncio.sleep(0.001)


def fail() -> None:
    raise UpstreamDownError


async def each(threads: ThreadPoolExecutor, caller: Caller, calls: int) -> Counter[str]:
    """Make so many calls in each thread."""
    loop = asyncio.get_running_loop()
    ended = await asyncio.gather(
        *(loop.run_in_executor(threads, caller.run, calls) for _ in range(THREADS))
    )
    return sum(ended, Counter())
