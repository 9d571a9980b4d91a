"""Steady calls to every app, as a load balancer in front of them would send."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

MOST_IN_FLIGHT = 100
CATCH_UP = 0.5
"""Seconds of calls that are sent late after a hiccup of this machine; older ones are left out."""


@dataclass(slots=True)
class Calls:
    """The results of an app's callers.

    Args:
        answered: Calls with a good response.
        failed: Calls that received the upstream's failure.
        rejected: Calls with a 503 from an open circuit, which the upstream did not receive.
        unanswered: Calls without a response.
    """

    answered: int = 0
    failed: int = 0
    rejected: int = 0
    unanswered: int = 0


class Traffic:
    """Sends calls at a steady rate, whether or not earlier ones have been answered.

    Args:
        apps: A client for each app, by its name.
        rate: Calls per second to each.
    """

    def __init__(self, apps: Mapping[str, httpx.AsyncClient], rate: float) -> None:
        self.calls: dict[str, Calls] = {name: Calls() for name in apps}
        self._apps = apps
        self._interval = 1 / rate
        self._served = set(apps)

    async def run(self) -> None:
        """Send until stopped, and wait for the last answers."""
        async with asyncio.TaskGroup() as tasks:
            for number, name in enumerate(self._apps):
                offset = self._interval * number / len(self._apps)
                tasks.create_task(self._send(name, time.monotonic() + offset))

    def stop(self, app: str | None = None) -> None:
        """Send no more, to one app or to all."""
        self._served -= {app} if app else set(self._apps)

    async def _send(self, app: str, due: float) -> None:
        async with asyncio.TaskGroup() as calls:
            places = asyncio.Semaphore(MOST_IN_FLIGHT)
            while app in self._served:
                await asyncio.sleep(due - time.monotonic())
                if not places.locked():
                    calls.create_task(self._call(app, places))
                due = max(due + self._interval, time.monotonic() - CATCH_UP)

    async def _call(self, app: str, places: asyncio.Semaphore) -> None:
        calls = self.calls[app]
        async with places:
            try:
                response = await self._apps[app].get("/")
            except httpx.TransportError:
                if app in self._served:  # and was not killed
                    calls.unanswered += 1
                return
        if response.is_success:
            calls.answered += 1
        elif response.status_code == 503:
            calls.rejected += 1
        else:
            calls.failed += 1
