"""One process of the fleet that `fleet.py` measures."""

from __future__ import annotations

import asyncio
import sys
import time

from tests.helpers.child import serve
from zenvark_web import BreakerPolicy, ConstantBackoff, Coordinator, State, StateChange

POLICY = BreakerPolicy(backoff=ConstantBackoff(600))
opened: dict[str, asyncio.Future[float]] = {}


def note(change: StateChange) -> None:
    if change.state is State.OPEN:
        _opening(change.name).set_result(time.monotonic())


def _opening(name: str) -> asyncio.Future[float]:
    return opened.setdefault(name, asyncio.get_running_loop().create_future())


async def _raise() -> None:
    raise ConnectionError


async def main() -> None:
    coordinator = Coordinator(sys.argv[1], policy=POLICY, on_state_change=note)

    async def fail(name: str) -> float:
        began = time.monotonic()
        await asyncio.gather(coordinator.breaker(name).execute(_raise), return_exceptions=True)
        return began

    async with coordinator:
        await serve({"fail": fail, "opened": _opening})


asyncio.run(main())
