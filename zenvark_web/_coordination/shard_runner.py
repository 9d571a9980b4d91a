"""One run's loops in one shard: election, reader, reporter, and the leader if it is elected."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Protocol, TypeAlias

from .._circuits.shard import Shard
from .._judging.alone import Alone
from .._judging.leader import Leader
from .._judging.self_protection import SelfProtection, is_used
from .._runtime.connection import ConnectionStatus
from .._runtime.instance import Instance
from ..backends.base import News, OverrideRecord, OverrideRequest, Presence, Probe
from ..exceptions import BackendError
from .call_monitor import CallMonitor
from .description import Description
from .election import Election, LeaseBalancer
from .reader import Reader
from .reporter import Reporter

# A stop takes a few seconds at most, so several lost cancellations have to fit into it.
CANCEL_AGAIN = 0.5

TAKES_EFFECT = 0.5
"""Seconds to wait for an override to take effect on the instance that has set it."""

WIND_UP = 0.2
"""Seconds for which a leader that hands over waits for its own loops."""

READ_AGAIN = 0.05
"""Seconds until the next attempt to read news after a failed one."""

Loop: TypeAlias = Callable[[], Awaitable[None]]


class Tasks(Protocol):
    """The run that owns a shard's loops."""

    def start(self, loop: Loop) -> asyncio.Task[None] | None:
        """Start a loop as a task of the run, unless the run is stopping."""
        ...

    def watched(self) -> Iterable[str]:
        """Return the circuits with idle checks before their first call."""
        ...


class ShardRunner:
    """Participates in a shard while its loops run.

    Args:
        instance: The instance.
        shard: The shard.
        balancer: Counts the shards that the instance leads.
        tasks: Runs the leader's loops.
    """

    def __init__(
        self, instance: Instance, shard: Shard, balancer: LeaseBalancer, tasks: Tasks
    ) -> None:
        self._instance = instance
        self._shard = shard
        self._balancer = balancer
        self._tasks = tasks
        self._leading: list[asyncio.Task[None]] = []
        self._ending: list[asyncio.Task[None]] = []
        self._leader: Leader | None = None
        self._connection = ConnectionStatus(instance.notifier)
        self._reporter = Reporter(instance, shard, self._connection)
        self._election = Election(instance, shard, self._connection, balancer, self)
        self._reader = Reader(instance, shard, self._connection, self._election, self._reporter)
        self._monitor = CallMonitor(instance.host)
        self.loaded = self._reader.loaded
        self.loops: list[Loop] = [
            self._election.run,
            self._reader.run,
            self._reporter.run,
            self._reporter.send_lost,
            shard.table.overrides.run,
            Description(instance, shard.backend, self._connection).run,
        ]
        policies = instance.policies.all()
        if any(policy.times_calls for policy in policies):
            self.loops.append(self._monitor.run)
        if any(policy.cut_off == "local" for policy in policies):
            alone = Alone(instance, shard, self._connection, self._reader.catch_up)
            self.loops.append(alone.run)
        if is_used(instance):
            self.loops.append(SelfProtection(instance, shard).run)

    @property
    def connected(self) -> bool:
        """Whether the store answered the last request."""
        return self._connection.connected

    @property
    def loading(self) -> bool:
        """Whether the store answers, but has not sent all circuits that are not closed."""
        return not self.loaded.is_set() and self._connection.answers

    @property
    def leading(self) -> bool:
        """Whether the instance leads the shard, as far as it knows."""
        return self._election.leading

    @property
    def led(self) -> bool:
        """Whether the shard has a leader, as far as this instance knows."""
        return self._election.led

    def open(self) -> None:
        """Prepare for use in the running loop."""
        self._shard.clock.open()
        self._shard.table.overrides.open()
        self._shard.backend.open()
        self._shard.outbox.open(self._reporter.wake, self._monitor)

    def retire(self) -> None:
        """Stop leading."""
        self._election.retire()

    async def catch_up(self) -> None:
        """Send pending results and read new states, in parallel and again from the start: requests
        from before a freeze get no answer."""
        self._election.hurry()
        await asyncio.gather(self._reporter.empty(), self._read_news())
        self._shard.table.renew_waits()

    async def override(self, request: OverrideRequest) -> OverrideRecord:
        """Set or lift an override; return when it applies here, or after a moment.

        Raises:
            BackendError: The store does not answer.
            OverrideConflictError, OverrideLimitError: The store refuses it.
        """
        overrides = self._shard.table.overrides
        record = await self._shard.backend.override(request, overrides.number)
        with suppress(TimeoutError):
            async with asyncio.timeout(TAKES_EFFECT):
                await overrides.reached(record.number)
        return record

    async def probe(self, probe: Probe) -> bool:
        """Ask for an attempt to recover now; return whether there is one to make.

        Raises:
            BackendError: The store does not answer.
        """
        if not self._shard.table.may_be_tried(probe.circuit):
            return False
        await self._shard.backend.probe(probe)
        return True

    async def _read_news(self) -> None:
        while True:
            try:
                await self._reader.catch_up()
            except BackendError:
                await asyncio.sleep(READ_AGAIN)
            else:
                return

    async def leave(self, patience: float) -> None:
        """Send the remaining results, release the lease, and close the store."""
        try:
            async with asyncio.timeout(patience):
                await self._reporter.flush()
                await self._shard.backend.resign(self._instance.id)
        except (BackendError, TimeoutError):
            pass  # the store is away: the lease runs out by itself, and results count as dropped
        finally:
            self._shard.outbox.handover.close()
            await self._shard.backend.close()

    # The outcome of the election, and the leader's lease

    def elected(self, epoch: int) -> None:
        """Lead the shard."""
        watched = filter(self._shard.holds, self._tasks.watched())
        leader = Leader(self._instance, self._shard, epoch, list(watched), self)
        started = [self._tasks.start(loop) for loop in leader.loops]
        self._leading = [task for task in started if task is not None]
        if self._leading:
            self._leader = leader
            self._shard.table.overrides.watch(leader.overrides_changed)
            self._reader.serve(leader)
        self._balancer.taken()

    def deposed(self) -> None:
        """Follow another leader."""
        self._reader.serve(None)
        if self._leader is not None:
            self._shard.table.overrides.unwatch(self._leader.overrides_changed)
            self._leader = None
        for task in self._leading:
            end(task)
        self._ending, self._leading = self._leading, []
        self._balancer.given_up()

    async def wound_up(self) -> None:
        """Wait until the loops of the last leader have ended, for a moment at most."""
        if self._ending:
            await asyncio.wait(self._ending, timeout=WIND_UP)

    def learned(self, news: News) -> None:
        """Check whether the store has lost circuits or results."""
        self._reader.check(news.last_state, news.circuits, news.override)
        self._shard.outbox.in_flight.review(news.account)
        self._shard.outbox.in_flight.report_losses()

    def fenced(self) -> None:
        """Process the end of the lease."""
        self._election.fenced()

    def overtaken(self) -> None:
        """Read the transitions that the store has and this leader has not."""
        self._reader.refresh()

    def present(self, instances: Sequence[Presence]) -> None:
        """Hand the lease over if other instances hold fewer."""
        if self._balancer.holds_too_many(len(instances)):
            self._election.hand_over()


def end(task: asyncio.Task[None]) -> None:
    """Cancel a task repeatedly until it ends: `asyncio.wait_for`, which redis-py uses in a client
    of the user's, occasionally loses a cancellation before Python 3.12."""
    if not task.done():
        task.cancel()
        task.get_loop().call_later(CANCEL_AGAIN, end, task)
