"""One run's loops in one shard: campaign, reader, reporter, and the leader if it is elected."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from .._judging.alone import Alone
from .._judging.leader import Leader
from .._runtime.link import Link
from ..backends.base import LeaderChange, News, Presence
from ..exceptions import BackendError
from .election import Campaign
from .leaderships import Leaderships
from .reader import Reader
from .reporter import Reporter
from .shard import Member, Shard
from .slow_calls import Lookout

CANCEL_AGAIN = 0.5

READ_AGAIN = 0.05
"""Seconds until the store is asked for news again that it did not tell."""

Loop: TypeAlias = Callable[[], Awaitable[None]]


class Membership:
    """Takes part in a shard for as long as its loops run.

    Args:
        member: The instance.
        shard: The shard.
        leaderships: Told when the instance leads this shard, and when it does no longer.
        start: Starts a loop as a task of the run; not at all if the run is about to end.
    """

    def __init__(
        self,
        member: Member,
        shard: Shard,
        leaderships: Leaderships,
        start: Callable[[Loop], asyncio.Task[None] | None],
    ) -> None:
        self._member = member
        self._shard = shard
        self._leaderships = leaderships
        self._start = start
        self._leading: list[asyncio.Task[None]] = []
        self._link = Link(member.surface.connected_again)
        self._reader = Reader(
            backend=shard.backend,
            table=shard.table,
            clock=shard.clock,
            surface=member.surface,
            link=self._link,
            statistics=member.statistics,
            chance=member.host.chance,
            on_leader=self._heard,
            on_lost=self._give_back,
        )
        self._reporter = Reporter(
            instance=member.presence.instance,
            backend=shard.backend,
            outbox=shard.outbox,
            ledger=shard.ledger,
            table=shard.table,
            clock=shard.clock,
            surface=member.surface,
            link=self._link,
            statistics=member.statistics,
            chance=member.host.chance,
        )
        self._campaign = Campaign(
            me=member.presence,
            backend=shard.backend,
            ttl=member.lease_ttl,
            clock=shard.clock,
            surface=member.surface,
            link=self._link,
            hesitation=leaderships.hesitation,
            chance=member.host.chance,
            on_elected=self._lead,
            on_deposed=self._follow,
            on_news=self._learn,
        )
        self.loaded = self._reader.loaded
        self.loops: list[Loop] = [
            self._campaign.run,
            self._reader.run,
            self._reporter.run,
            self._reporter.remind,
        ]
        self._lookout = Lookout(member.host.monotonic)
        if any(policy.slow_call is not None for policy in member.policies.all()):
            self.loops.append(self._lookout.run)
        if any(policy.cut_off == "local" for policy in member.policies.all()):
            self.loops.append(self._alone().run)

    @property
    def connected(self) -> bool:
        """Whether the store answered when it was last asked."""
        return self._link.connected

    @property
    def loading(self) -> bool:
        """Whether the store answers, and has not told all that is not closed so far."""
        return not self.loaded.is_set() and self._link.answers

    @property
    def leading(self) -> bool:
        """Whether the instance believes that it leads the shard."""
        return self._campaign.leading

    @property
    def led(self) -> bool:
        """Whether anybody leads the shard, as far as this instance has heard."""
        return self._campaign.led

    def open(self) -> None:
        """Get ready for use in the running loop."""
        self._shard.clock.open()
        self._shard.backend.open()
        self._shard.outbox.open(self._reporter.wake, self._lookout)

    def retire(self) -> None:
        """Lead no more."""
        self._campaign.retire()

    async def catch_up(self) -> None:
        """Send what waits and read what is new, both at once and at last: what was asked before the
        process stood still has no answer any more."""
        self._campaign.hurry()
        await asyncio.gather(self._reporter.empty(), self._read_news())
        self._shard.table.look_at_waits()

    async def _read_news(self) -> None:
        while True:
            try:
                await self._reader.catch_up()
            except BackendError:
                await asyncio.sleep(READ_AGAIN)
            else:
                return

    async def say_goodbye(self, patience: float) -> None:
        """Send what is left, give the lease back, let go of the store."""
        try:
            async with asyncio.timeout(patience):
                await self._reporter.flush()
                await self._shard.backend.resign(self._member.presence.instance)
        except (BackendError, TimeoutError):
            pass  # the store is away: the lease runs out by itself, and results count as dropped
        finally:
            self._shard.outbox.close()
            await self._shard.backend.close()

    def _give_back(self, lost: Sequence[str]) -> None:
        self._reporter.give_back(lost)

    def _alone(self) -> Alone:
        return Alone(
            instance=self._member.presence.instance,
            link=self._link,
            table=self._shard.table,
            policies=self._member.policies,
            clock=self._shard.clock,
            surface=self._member.surface,
            statistics=self._member.statistics,
            chance=self._member.host.chance,
            max_circuits=self._member.max_breakers,
            unsent=self._reporter.unsent,
            catch_up=self._reader.catch_up,
            context=self._member.host.context,
        )

    def _heard(self, change: LeaderChange) -> None:
        self._campaign.heard(change)

    def _learn(self, news: News) -> None:
        self._reader.check(news.last_state, news.circuits)
        self._shard.ledger.review(news.account)
        self._shard.ledger.tell_losses()

    def _lead(self, epoch: int) -> None:
        leader = Leader(
            instance=self._member.presence.instance,
            epoch=epoch,
            backend=self._shard.backend,
            table=self._shard.table,
            policies=self._member.policies,
            clock=self._shard.clock,
            surface=self._member.surface,
            statistics=self._member.statistics,
            chance=self._member.host.chance,
            max_circuits=self._member.max_breakers,
            watched=[name for name in self._member.watched() if self._shard.holds(name)],
            on_fenced=self._campaign.fenced,
            on_overtaken=self._reader.refresh,
            on_present=self._share,
        )
        started = [self._start(loop) for loop in leader.loops]
        self._leading = [task for task in started if task is not None]
        if self._leading:
            self._reader.serve(leader)
        self._leaderships.taken()

    def _follow(self) -> None:
        self._reader.serve(None)
        for task in self._leading:
            end(task)
        self._leading = []
        self._leaderships.given_up()

    def _share(self, present: Sequence[Presence]) -> None:
        if self._leaderships.too_many(len(present)):
            self._campaign.hand_over()


def end(task: asyncio.Task[None]) -> None:
    """Cancel a task, again and again until it takes it: `asyncio.wait_for`, which redis-py uses
    under a client that was given to us, loses a cancellation now and then before Python 3.12."""
    if not task.done():
        task.cancel()
        task.get_loop().call_later(CANCEL_AGAIN, end, task)
