"""Keeps an eye on every app: its status, and what happened in it since the last look."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx

from .._core.states import Role
from .fleet import DemoFleet
from .journal import Event, EventKind

INTERVAL = 0.1


@dataclass(frozen=True, slots=True)
class Status:
    """How an app was when it was last asked.

    Args:
        role, state, share, connected: What its coordinator and its breaker said.
    """

    role: str = ""
    state: str = ""
    share: float = 0.0
    connected: bool = False


class Watch:
    """Polls the apps.

    Args:
        fleet: Whose apps.

    Attributes:
        seen_until: The monotonic second up to which all is known that has happened.
        statuses: How each app was when it was last asked.
        alive: The apps that are looked at.
    """

    def __init__(self, fleet: DemoFleet) -> None:
        self._fleet = fleet
        self._seen = dict.fromkeys(fleet.apps, 0)
        self._names: dict[str, str] = {}
        self._fresh: list[Event] = []
        self.seen_until: float = 0.0
        self.statuses: dict[str, Status] = dict.fromkeys(fleet.apps, Status())
        self.alive: list[str] = list(fleet.apps)

    @property
    def leader(self) -> str | None:
        """The app that leads, if there is just one."""
        leaders = [app for app in self.alive if self.statuses[app].role == Role.LEADER]
        return leaders[0] if len(leaders) == 1 else None

    async def run(self) -> None:
        """Look again and again, for ever."""
        while True:
            began = time.monotonic()
            await asyncio.gather(*(self._look(app) for app in self.alive))
            self.seen_until = began
            await asyncio.sleep(INTERVAL)

    def forget(self, app: str) -> None:
        """Look at an app no more."""
        self.alive.remove(app)

    def events(self) -> Sequence[Event]:
        """What has happened since this was last asked, oldest first."""
        fresh, self._fresh = self._fresh, []
        return sorted(fresh, key=lambda event: event.at)

    async def _look(self, app: str) -> None:
        query = {"seen": self._seen[app]}
        try:
            response = await self._fleet.pages[app].get("/demo/status", params=query)
        except httpx.TransportError:
            return  # if it has ended, the fleet knows
        if app in self.alive:
            self._take(app, response.json())

    def _take(self, app: str, status: dict[str, Any]) -> None:
        self._names[status["instance"]] = app
        self.statuses[app] = Status(
            status["role"], status["state"], status["share"], status["connected"]
        )
        for fields in status["events"]:
            event = Event(**fields)
            self._seen[app] += 1
            self._fresh.append(
                replace(event, kind=EventKind(event.kind), detail=self._with_names(event.detail))
            )

    def _with_names(self, text: str) -> str:
        for instance, app in self._names.items():
            text = text.replace(instance, app)
        return text
