"""What is to be seen: one row per app, and a timeline. How it is shown is `screen`'s business."""

from __future__ import annotations

import time
from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .fleet import DemoFleet
from .incident import Incident
from .settings import DemoSettings
from .traffic import Calls, Traffic
from .watch import Watch

KEPT = 100
"""Told lines that are kept to be seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One app.

    Args:
        app: Its name.
        pid: Its process, if it has one of its own.
        role: What it is in the fleet.
        state: Its circuit's state.
        share: The share of calls that its circuit permits.
        calls: How its callers fared.
        opened: Seconds from the first failure anywhere to the circuit's opening here.
        closed: Seconds from the upstream's mending to the circuit's closing here.
    """

    app: str
    pid: int | None
    role: str
    state: str
    share: float
    calls: Calls
    opened: float | None
    closed: float | None


@dataclass(frozen=True, slots=True)
class Line:
    """An entry of the timeline.

    Args:
        at: Seconds since the fleet was up.
        text: What happened.
    """

    at: float
    text: str


class Board:
    """Everything that is to be seen.

    Args:
        settings: The demo's.
        fleet: What is watched.
        on_line: Told each line of the timeline, in order as far as that is known in time.
    """

    def __init__(
        self, settings: DemoSettings, fleet: DemoFleet, on_line: Callable[[Line], None]
    ) -> None:
        self.settings = settings
        self.fleet = fleet
        self.traffic: Traffic = Traffic(fleet.apps, settings.rate)
        self.watch: Watch = Watch(fleet)
        self.incident: Incident | None = None
        self.lines: list[Line] = []
        self._told = 0
        self._began = time.monotonic()
        self._on_line = on_line

    @property
    def broken(self) -> bool:
        """Whether the upstream is broken."""
        return self.incident is not None and self.incident.mended_at is None

    @property
    def total(self) -> Calls:
        """How all callers fared."""
        calls = self.traffic.calls.values()
        return Calls(
            answered=sum(each.answered for each in calls),
            failed=sum(each.failed for each in calls),
            rejected=sum(each.rejected for each in calls),
            unanswered=sum(each.unanswered for each in calls),
        )

    @property
    def rows(self) -> Sequence[Row]:
        """One for each app."""
        return [self._row(app) for app in self.fleet.apps]

    def say(self, at: float, text: str) -> None:
        """Add to the timeline what happened at a monotonic second. What comes too late for its
        place, from a host that is very busy, comes as soon as it can."""
        line = Line(at - self._began, text)
        insort(self.lines, line, lo=self._told, key=lambda line: line.at)

    def tell(self, known: float) -> None:
        """Tell the lines that nothing can come before any more.

        Args:
            known: The monotonic second up to which all that happened has been said.
        """
        settled = known - self._began
        while self._told < len(self.lines) and self.lines[self._told].at <= settled:
            self._on_line(self.lines[self._told])
            self._told += 1
        surplus = max(0, self._told - KEPT)
        del self.lines[:surplus]
        self._told -= surplus

    def _row(self, app: str) -> Row:
        alive = app in self.watch.alive
        status = self.watch.statuses[app]
        return Row(
            app=app,
            pid=self.fleet.pid(app),
            role=status.role if alive else "killed",
            state=status.state if alive else "",
            share=status.share,
            calls=self.traffic.calls[app],
            opened=self._opened(app),
            closed=self._closed(app),
        )

    def _opened(self, app: str) -> float | None:
        if self.incident is None or self.incident.failed_at is None:
            return None
        event = self.incident.opened(app)
        return event.at - self.incident.failed_at if event else None

    def _closed(self, app: str) -> float | None:
        if self.incident is None or self.incident.mended_at is None:
            return None
        event = self.incident.closed(app)
        return event.at - self.incident.mended_at if event else None
