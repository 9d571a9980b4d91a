"""A new leader read up to 250 entries at a time and judged them in one go. Where entries tell of a
thousand circuits each, that held its event loop for two seconds: its calls waited, and so did the
renewal of its lease, which passed to another that began to read from the start."""

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import eventually
from zenvark_web import Coordinator, State
from zenvark_web._core.states import Report, Run
from zenvark_web.backends import _decoding, _encoding
from zenvark_web.backends.base import Batch

ENTRIES = 100
CIRCUITS = 1000


async def fail() -> None:
    raise ConnectionError


def fill(server: ServerHandle, namespace: str) -> float:
    """Have an instance report of many circuits, many times; the seconds that half of it takes."""
    with server.client() as client:
        now = int(client.time()[0])
        run = Run(0, failed=False, slow=False, count=1)
        reports = tuple(Report(f"circuit {number}", (run,)) for number in range(CIRCUITS))
        fields = _encoding.encode_batch(Batch("elsewhere", 0, now, reports))
        for number in range(ENTRIES):
            stream = f"zenvark:{{{namespace}}}:results"
            client.xadd(stream, {"late": "0", **fields, "number": str(number + 1)})
    began = time.process_time()
    for _ in range(ENTRIES // 2):
        _decoding.decode_batch(fields)
    return time.process_time() - began


class Watch:
    """Finds the longest time of the processor that passes without a turn for other tasks."""

    longest = 0.0

    async def run(self) -> None:
        while True:
            before = time.process_time()
            await asyncio.sleep(0.001)
            self.longest = max(self.longest, time.process_time() - before)


@pytest.fixture
def no_collection() -> Iterator[None]:
    """In a process with much else in it, the collector of garbage holds everything for a while."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
@pytest.mark.slow
async def test_other_tasks_have_their_turns(redis_server: ServerHandle, namespace: str) -> None:
    half = fill(redis_server, namespace)
    watch = Watch()
    coordinator = Coordinator(redis_server.url, namespace=namespace)
    watching = asyncio.create_task(watch.run())
    async with coordinator:
        breaker = coordinator.breaker("judged later")
        await asyncio.gather(*(breaker.execute(fail) for _ in range(5)), return_exceptions=True)
        await eventually(lambda: breaker.state is State.OPEN, what="all of it judged")
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    assert watch.longest < half
