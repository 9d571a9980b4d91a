"""A server that loads its app and forks its workers afterwards, as `gunicorn --preload` does."""

import asyncio
import json
import os
import sys
from contextlib import suppress

from tests.helpers.waiting import PATIENCE
from zenvark_web import (
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    State,
)

WORKERS = 3

coordinator = Coordinator(
    sys.argv[1],
    namespace=sys.argv[2],
    policy=BreakerPolicy(strategy=ConsecutiveFailures(WORKERS), backoff=ConstantBackoff(0.2)),
)
upstream = coordinator.breaker("upstream")


async def work() -> None:
    async with coordinator:
        upstream.acquire().raised(ConnectionError())
        recovered = await _recovers()
        told = {"id": coordinator.instance_id, "role": coordinator.role, "recovered": recovered}
        os.write(1, f"{json.dumps(told)}\n".encode())  # in one piece: the others write, too
        await asyncio.to_thread(sys.stdin.read)  # nobody goes before all have told


async def _recovers() -> bool:
    """Opened by a failure of each worker; closed by a trial, for which the holder of the grant
    has to recognise itself."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not (upstream.generation and upstream.state is State.CLOSED):
                await asyncio.sleep(0.01)
                if upstream.generation:
                    await _try()
    except TimeoutError:
        return False
    return True


async def _try() -> None:
    with suppress(CircuitOpenError):
        await upstream.execute(asyncio.sleep, 0)


for _ in range(WORKERS):
    if os.fork() == 0:
        asyncio.run(work())
        sys.exit()
for _ in range(WORKERS):
    assert os.wait()[1] == 0
