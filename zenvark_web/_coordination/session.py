"""One run of a coordinator, from start to stop: builds the loops and owns their tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Protocol, TypeAlias

from .._core.policy import PolicyBook
from .._core.states import Role
from ..backends.base import Backend, LeaderChange, Presence
from ..exceptions import BackendError, ZenvarkError
from ..statistics import Statistics
from .campaign import Campaign
from .clock import SharedClock
from .leader import Leader
from .outbox import Outbox
from .reader import Reader
from .reporter import Reporter
from .surface import Surface
from .table import Table

RESTART_PAUSE = 1.0
CANCEL_AGAIN = 0.5
FAREWELL_PATIENCE = 1.0
STOP_PATIENCE = 5.0

Loop: TypeAlias = Callable[[], Awaitable[None]]


class Member(Protocol):
    """What a session needs of its coordinator: the parts that outlive a run."""

    presence: Presence
    backend: Backend
    policies: PolicyBook
    table: Table
    outbox: Outbox
    clock: SharedClock
    surface: Surface
    statistics: Statistics
    lease_ttl: float
    max_breakers: int

    def chance(self) -> float:
        """A random number from 0 to 1."""
        ...

    def watched(self) -> Iterable[str]:
        """Circuits to check when they are quiet, though nobody has called them yet."""
        ...


class Session:
    """The loops of a started coordinator, in one task group.

    Args:
        member: The coordinator's parts.
        others: More loops to run.
    """

    def __init__(self, member: Member, others: Iterable[Loop] = ()) -> None:
        self._member = member
        self._others = tuple(others)
        self._leader: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._left = False
        self._tasks: asyncio.TaskGroup | None = None
        self._reader = Reader(
            backend=member.backend,
            table=member.table,
            clock=member.clock,
            surface=member.surface,
            statistics=member.statistics,
            chance=member.chance,
            on_leader=self._heard,
        )
        self._reporter = Reporter(
            instance=member.presence.instance,
            backend=member.backend,
            outbox=member.outbox,
            table=member.table,
            clock=member.clock,
            surface=member.surface,
            statistics=member.statistics,
            chance=member.chance,
        )
        self._campaign = Campaign(
            me=member.presence,
            backend=member.backend,
            ttl=member.lease_ttl,
            clock=member.clock,
            surface=member.surface,
            chance=member.chance,
            on_elected=self._lead,
            on_deposed=self._follow,
            on_last_state=self._reader.check,
        )
        self.loop = asyncio.get_running_loop()
        member.surface.open()
        member.clock.open()
        member.backend.open()
        member.outbox.open(self._reporter.wake)
        self._runner = self.loop.create_task(self._run(), name="zenvark_web")

    @property
    def role(self) -> Role:
        """Whether this instance leads."""
        return Role.LEADER if self._campaign.leading else Role.FOLLOWER

    @property
    def connected(self) -> bool:
        """Whether the store answered when it was last asked."""
        return self._campaign.connected and self._reader.connected

    @property
    def stopping(self) -> bool:
        """Whether it is about to end, or has ended."""
        return self._stop.is_set() or self._runner.done()

    async def ready(self, patience: float) -> None:
        """Wait until the fleet's state is loaded, but no longer than so many seconds."""
        loaded = asyncio.ensure_future(self._reader.loaded.wait())
        try:
            await asyncio.wait(
                {loaded, self._runner}, timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            loaded.cancel()
            await asyncio.wait({loaded})

    async def stop(self) -> None:
        """End it: say goodbye, and leave nothing running."""
        self._stop.set()
        _, late = await asyncio.wait({self._runner}, timeout=STOP_PATIENCE)
        if late:
            self._runner.cancel()
            self._member.surface.error(
                ZenvarkError(
                    f"stop() gave up after {STOP_PATIENCE:g} s: "
                    "a health check or a callback does not let itself be cancelled"
                )
            )
            await self._say_goodbye()

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                loops = [
                    tasks.create_task(self._supervised(loop))
                    for loop in (
                        self._member.surface.run,
                        self._campaign.run,
                        self._reader.run,
                        self._reporter.run,
                        *self._others,
                    )
                ]
                await self._stop.wait()
                self._campaign.retire()
                for task in loops:
                    _end(task)
        finally:
            await self._say_goodbye()

    async def _supervised(self, loop: Loop) -> None:
        """Run a loop for ever: what it did not expect surfaces, and it begins again."""
        while True:
            try:
                await loop()
            except Exception as error:
                self._member.surface.error(error)
                await asyncio.sleep(RESTART_PAUSE)

    async def _say_goodbye(self) -> None:
        if self._left:
            return  # what came to its end after all must not disturb the run after this one
        self._left = True
        member = self._member
        try:
            async with asyncio.timeout(FAREWELL_PATIENCE):
                await self._reporter.flush()
                await member.backend.resign(member.presence.instance)
        except (BackendError, TimeoutError):
            pass  # the store is away: the lease runs out by itself, and results count as dropped
        finally:
            member.outbox.close()
            await member.backend.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(FAREWELL_PATIENCE):
                    await member.surface.drain()

    def _heard(self, change: LeaderChange) -> None:
        self._campaign.heard(change)

    def _lead(self, epoch: int) -> None:
        if self._tasks is None or self._stop.is_set():
            return
        member = self._member
        leader = Leader(
            instance=member.presence.instance,
            epoch=epoch,
            backend=member.backend,
            table=member.table,
            policies=member.policies,
            clock=member.clock,
            surface=member.surface,
            statistics=member.statistics,
            chance=member.chance,
            max_circuits=member.max_breakers,
            watched=member.watched(),
            on_fenced=self._campaign.fenced,
            on_overtaken=self._reader.refresh,
        )
        self._leader = self._tasks.create_task(self._supervised(leader.run))
        self._reader.serve(leader)
        member.surface.role_changed(Role.LEADER)

    def _follow(self) -> None:
        self._reader.serve(None)
        if self._leader is not None:
            _end(self._leader)
            self._leader = None
        self._member.surface.role_changed(Role.FOLLOWER)


def _end(task: asyncio.Task[None]) -> None:
    """Cancel a task, again and again until it takes it: `asyncio.wait_for`, which redis-py uses
    under a client that was given to us, loses a cancellation now and then before Python 3.12."""
    if not task.done():
        task.cancel()
        task.get_loop().call_later(CANCEL_AGAIN, _end, task)
