"""Calls from many threads while the coordinator runs in the main thread's loop."""

import asyncio
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.cluster.fleet import PATIENCE
from tests.cluster.store import Store
from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import eventually
from zenvark_web import BreakerPolicy, CircuitOpenError, ConstantBackoff, Coordinator, State

THREADS = 8
CALLS = 1_000


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
        on_error=errors.append,
    )
    with ThreadPoolExecutor(THREADS) as threads:
        async with coordinator:
            breaker = coordinator.breaker("upstream")
            caller = Caller(coordinator)
            assert await each(threads, caller, CALLS) == {"passed": THREADS * CALLS}
            await eventually(
                lambda: sum(breaker.successes.counts) == THREADS * CALLS, within=PATIENCE
            )
            await eventually(
                lambda: store.reported("upstream")["successes"] == THREADS * CALLS, within=PATIENCE
            )

            caller.down = True
            ended = await each(threads, caller, 1)
            assert ended["failed"] >= 5
            assert ended.keys() <= {"failed", "rejected"}
            await eventually(lambda: not breaker._local.admission.closed, within=PATIENCE)
            caller.down = False
            while breaker.state is not State.CLOSED:
                ended = await each(threads, caller, 10)
                assert ended.keys() <= {"rejected", "passed"}
            assert await each(threads, caller, 10) == {"passed": THREADS * 10}
    assert errors == []
    assert coordinator.statistics.dropped == 0


async def each(threads: ThreadPoolExecutor, caller: Caller, calls: int) -> Counter[str]:
    """Make so many calls in each thread."""
    loop = asyncio.get_running_loop()
    ended = await asyncio.gather(
        *(loop.run_in_executor(threads, caller.run, calls) for _ in range(THREADS))
    )
    return sum(ended, Counter())
