"""The scenario: healthy, broken, mended, healthy again, and the lines of its timeline."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from .._core.ramp import of_calls
from .._core.states import Cause, Role, State
from .app import FORCED_FOR, RAMP
from .board import Board
from .errors import MisbehaviourError
from .findings import Findings, find, first_failure
from .incident import Incident
from .journal import Event, EventKind
from .texts import everywhere, seconds

JOIN_LIMIT = 30.0
OPEN_LIMIT = 8.0
TAKEOVER_LIMIT = 10.0
CLOSE_LIMIT = 15.0
ANSWER_LIMIT = 10.0

HEALTHY = 2.5
HEALTHY_BETWEEN = 12.0
"""Seconds between incidents, in which the waits of the last one are forgiven."""

KILL_AFTER = 1.0
LED_AT_LEAST = 1.0
AFTERWARDS = 1.5
TICK = 0.02


class Scenario:
    """Runs incidents.

    Args:
        board: The fleet, and its timeline.
    """

    def __init__(self, board: Board) -> None:
        self._settings = board.settings
        self._fleet = board.fleet
        self._board = board
        self._watch = board.watch
        self._traffic = board.traffic
        self._complained: set[str] = set()
        self._known = 0.0
        self._told: set[int] = set()
        self.findings: Findings | None = None

    async def run(self) -> str | None:
        """Run the scenario; returns the problem, if there was one."""
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._watch.run())
            tasks.create_task(self._traffic.run())
            try:
                await self._play()
            except MisbehaviourError as error:
                return str(error)
            finally:
                self._board.tell(math.inf)
                self._traffic.stop()
                watching.cancel()
        return None

    async def _play(self) -> None:
        await self._join()
        await self._pause(HEALTHY)
        await self._play_incident()
        if self._settings.override:
            await self._force_open()
        while self._settings.forever:
            await self._pause(HEALTHY_BETWEEN)
            await self._play_incident()

    async def _join(self) -> None:
        def ready() -> bool:
            connected = all(status.connected for status in self._watch.statuses.values())
            answered = all(calls.answered for calls in self._traffic.calls.values())
            return bool(connected and answered and self._watch.leader)

        limit = f"within {JOIN_LIMIT:g} s"
        await self._until(ready, JOIN_LIMIT, lambda: f"the apps did not join the fleet {limit}")
        now = time.monotonic()
        self._board.say(now, f"the apps have joined the fleet, {self._watch.leader} leads")

    async def _play_incident(self) -> None:
        incident = await self._break()
        await self._see_it_open(incident)
        if self._settings.kill_leader:
            await self._kill_leader(incident)
        await self._pause(incident.broke_at + self._settings.incident - time.monotonic())
        await self._mend(incident)
        await self._see_it_close(incident)
        await self._see_calls_pass()
        await self._pause(AFTERWARDS)
        self.findings = find(
            incident,
            await self._fleet.hits(),
            self._traffic.calls,
            trial=self._settings.trial,
            ramp=self._settings.ramp,
        )
        if self.findings.problems:
            raise MisbehaviourError("; ".join(self.findings.problems))

    async def _force_open(self) -> None:
        """Let an operator hold the circuit open, and see it recover."""
        apps = sorted(self._watch.alive)
        asked = await self._fleet.force_open(apps[0])
        self._board.say(asked, f"an operator holds the circuit open for {FORCED_FOR:g} s")
        await self._all_are(State.OPEN, OPEN_LIMIT)
        self._board.say(self._watch.seen_until, f"FORCED OPEN in {everywhere(apps)}")
        await self._all_are(State.CLOSED, FORCED_FOR + CLOSE_LIMIT)
        after = seconds(self._watch.seen_until - asked - FORCED_FOR)
        where = everywhere(apps)
        self._board.say(self._watch.seen_until, f"CLOSED in {where}, {after} after its end")
        await self._see_calls_pass()

    async def _all_are(self, state: State, within: float) -> None:
        await self._until(
            lambda: all(status.state == state for status in self._watch.statuses.values()),
            within,
            lambda: f"the circuit is not {state} in all apps within {within:g} s",
        )

    async def _break(self) -> Incident:
        before = {app: replace(self._traffic.calls[app]) for app in self._watch.alive}
        broke_at = await self._fleet.switch(broken=True)
        incident = Incident(broke_at=broke_at, before=before)
        self._board.incident = incident
        self._told.clear()
        self._board.say(broke_at, "the upstream breaks: it answers every request with 500")
        return incident

    async def _see_it_open(self, incident: Incident) -> None:
        opened = await self._everywhere(incident.apps, incident.opened, "open", OPEN_LIMIT)
        first = first_failure(await self._fleet.hits())
        incident.failed_at = first.answered
        after = seconds(opened.at - first.answered)
        why = opened.detail.partition(":")[0]
        self._board.say(first.answered, f"the first call fails, at {first.app}")
        self._board.say(opened.at, f"OPEN in {everywhere(incident.apps)}, {after} later ({why})")

    async def _kill_leader(self, incident: Incident) -> None:
        await self._pause(KILL_AFTER)
        await self._until(
            lambda: bool(self._watch.leader),
            TAKEOVER_LIMIT,
            lambda: f"no app became the leader within {TAKEOVER_LIMIT:g} s",
        )
        leader = self._watch.leader or ""
        self._traffic.stop(leader)
        self._watch.forget(leader)
        incident.killed = leader
        incident.killed_at = time.monotonic()
        self._fleet.kill(leader)
        self._board.say(incident.killed_at, f"{leader}, the leader, is killed (SIGKILL)")
        await self._until(
            lambda: incident.takeover is not None,
            TAKEOVER_LIMIT,
            lambda: f"no app took over from {leader} within {TAKEOVER_LIMIT:g} s",
        )
        await self._pause(LED_AT_LEAST)

    async def _mend(self, incident: Incident) -> None:
        incident.mended_at = await self._fleet.switch(broken=False)
        self._board.say(incident.mended_at, "the upstream is mended")

    async def _see_it_close(self, incident: Incident) -> None:
        if self._settings.ramp:
            await self._see_it_climb(incident)
        closed = await self._everywhere(incident.survivors, incident.closed, "close", CLOSE_LIMIT)
        after = seconds(closed.at - (incident.mended_at or 0.0))
        where = everywhere(incident.survivors)
        self._board.say(closed.at, f"CLOSED in {where}, {after} after mending ({closed.detail})")

    async def _see_it_climb(self, incident: Incident) -> None:
        """Add each step of the ramp to the timeline, as soon as all apps have taken it."""
        for share in RAMP:
            passing = of_calls(share)
            await self._until(
                partial(self._has_reached, incident, share),
                CLOSE_LIMIT,
                partial("the ramp did not reach {} within {:g} s".format, passing, CLOSE_LIMIT),
            )
            where = everywhere(incident.survivors)
            self._board.say(self._watch.seen_until, f"{passing} pass in {where}")

    def _has_reached(self, incident: Incident, share: float) -> bool:
        shares = [self._watch.statuses[app].share for app in incident.survivors]
        return min(shares) >= share

    async def _see_calls_pass(self) -> None:
        before = {app: self._traffic.calls[app].answered for app in self._watch.alive}

        def silent() -> list[str]:
            return [
                app for app, count in before.items() if self._traffic.calls[app].answered == count
            ]

        await self._until(
            lambda: not silent(),
            ANSWER_LIMIT,
            lambda: f"calls to {', '.join(silent())} did not pass again",
        )

    async def _everywhere(
        self,
        apps: Sequence[str],
        happened: Callable[[str], Event | None],
        what: str,
        within: float,
    ) -> Event:
        """Wait until it has happened in all apps; returns the last of these events."""

        def missing() -> list[str]:
            return [app for app in apps if not happened(app)]

        await self._until(
            lambda: not missing(),
            within,
            lambda: f"the circuit did not {what} in {', '.join(missing())} within {within:g} s",
        )
        events = [event for app in apps if (event := happened(app))]
        return max(events, key=lambda event: event.at)

    async def _until(
        self, condition: Callable[[], bool], within: float, problem: Callable[[], str]
    ) -> None:
        deadline = time.monotonic() + within
        while not condition():
            if time.monotonic() > deadline:
                raise MisbehaviourError(problem())
            await self._tick()

    async def _pause(self, duration: float) -> None:
        end = time.monotonic() + duration
        while time.monotonic() < end:
            await self._tick()

    async def _tick(self) -> None:
        if lost := self._fleet.lost:
            raise MisbehaviourError("; ".join(lost))
        # What is taken now may make lines that go before some there are, until the next tick.
        self._board.tell(self._known)
        self._known = self._watch.seen_until
        for event in self._watch.events():
            self._take(event)
        await asyncio.sleep(TICK)

    def _take(self, event: Event) -> None:
        incident = self._board.incident
        if incident is not None:
            incident.events.append(event)
        if event.kind is EventKind.ERROR:
            self._complain(event)
        elif incident is not None and (news := self._news(incident, event)):
            self._board.say(event.at, news)

    def _complain(self, event: Event) -> None:
        """Add an app's first error to the timeline; later ones mostly repeat it."""
        if event.app not in self._complained:
            self._complained.add(event.app)
            self._board.say(event.at, f"{event.app}: {event.detail}")

    def _news(self, incident: Incident, event: Event) -> str | None:
        if event.kind is EventKind.CHECK:
            return f"health check {len(incident.checks)}, by {event.app}: {event.value}"
        if event.kind is EventKind.ROLE:
            return f"{event.app} leads now" if event.value == Role.LEADER else None
        if event.value == State.CLOSED or incident.opened(event.app) is event:
            return None
        if event.cause == Cause.FORCED or event.generation in self._told:
            return None  # `_force_open` says it itself
        self._told.add(event.generation)
        return event.detail
