"""Runs for leadership: heartbeats that renew this instance's lease or take a free one.

A follower asks again at the moment the lease it saw runs out, or when the stream of states says
that it was given back. With a long lease it asks sooner, but only to stay known.
"""

from __future__ import annotations

import asyncio
from math import ceil
from typing import Protocol

from .._circuits.shard import Shard
from .._core.states import LONGEST_LEAP, Role
from .._runtime.connection import Asker, ConnectionStatus, RetryBackoff
from .._runtime.instance import Instance
from .._runtime.notifier import Notifier
from .._runtime.waiting import within
from .._version import __version__
from ..backends.base import LeaderChange, News, Presence
from ..exceptions import BackendError

RENEWALS_PER_LEASE = 3
ANNOUNCE_INTERVAL = 5.0
"""Seconds between two heartbeats that are not brief."""

ABSTENTION = 1.0
"""Seconds for which an instance does not take a lease again that it has handed over."""

GRACE = 0.002
"""Seconds after the end of a lease at which it has ended for certain."""

HEARSAY = 1.0
"""Seconds for which the end of a lease is taken for its renewal: asking again takes time."""

MOMENT = 0.001
"""Seconds of a lease in which nothing can be done any more: nobody tries to."""


HESITATION = 0.05
"""Seconds that an instance lets others go first, for each shard that it leads already."""


class LeaseBalancer:
    """Counts the leases that one instance holds, so that they spread over the fleet.

    Args:
        shards: How many there are to hold.
        notifier: Reports that the instance begins to lead, and that it leads nothing any more.
    """

    def __init__(self, shards: int, notifier: Notifier) -> None:
        self._shards = shards
        self._notifier = notifier
        self._held = 0

    @property
    def role(self) -> Role:
        """Whether the instance leads."""
        return Role.LEADER if self._held else Role.FOLLOWER

    def hesitation(self) -> float:
        """The seconds to wait before taking one more."""
        return HESITATION * self._held

    def holds_too_many(self, instances: int) -> bool:
        """Whether the instance holds more than its share among so many."""
        return self._held > ceil(self._shards / max(1, instances))

    def taken(self) -> None:
        """One more is held."""
        self._held += 1
        if self._held == 1:
            self._notifier.role_changed(Role.LEADER)

    def given_up(self) -> None:
        """One fewer is held."""
        self._held -= 1
        if not self._held:
            self._notifier.role_changed(Role.FOLLOWER)


class Candidate(Protocol):
    """Whoever leads when the election is won."""

    def elected(self, epoch: int) -> None:
        """The instance holds the lease of this epoch."""
        ...

    def deposed(self) -> None:
        """The instance holds no lease any more."""
        ...

    def learned(self, news: News) -> None:
        """A heartbeat has brought news."""
        ...


def presence_of(instance: Instance) -> Presence:
    """How an instance announces itself to the fleet."""
    fingerprint = f"{instance.policies.fingerprint}/{instance.shards}"
    return Presence(instance.id, __version__, fingerprint)


class Election:
    """The loop that keeps this instance known, and a leader if it can be.

    Args:
        instance: This instance.
        shard: The shard to lead.
        connection: Told how asking goes.
        balancer: Tells for how long to leave a lease that has become free to others.
        candidate: Told whether this instance leads, and the news of heartbeats.
    """

    def __init__(
        self,
        instance: Instance,
        shard: Shard,
        connection: ConnectionStatus,
        balancer: LeaseBalancer,
        candidate: Candidate,
    ) -> None:
        self._me = presence_of(instance)
        self._backend = shard.backend
        self._ttl = instance.lease_ttl
        self._clock = shard.clock
        self._connection = connection
        self._balancer = balancer
        self._retries = RetryBackoff(instance)
        self._candidate = candidate
        self._nudge = asyncio.Event()
        self._asked = 0.0
        self._announce_at = float("-inf")
        self._held_until = float("-inf")
        self._retired = False
        self._yields = False
        self._abstains_until = float("-inf")
        self._led_until = float("-inf")
        self.epoch = 0
        self.leading = False

    @property
    def led(self) -> bool:
        """Whether anybody leads, as far as this instance has heard."""
        return self.leading or self._clock.monotonic() < self._led_until

    async def run(self) -> None:
        """Send heartbeats, for ever."""
        while True:
            await self._pause(await (self._yield() if self._yields else self._beat()))

    def hurry(self) -> None:
        """Ask at once, and whatever there is to ask."""
        self._announce_at = float("-inf")
        self._nudge.set()

    def hand_over(self) -> None:
        """Give the lease back, and leave it to others for a moment."""
        self._yields = True
        self._nudge.set()

    def leader_changed(self, change: LeaderChange) -> None:
        """Take note of what the stream of states says of leadership."""
        if change.epoch > self.epoch + LONGEST_LEAP:
            return  # somebody else's
        if change.leader is None:
            self._nudge.set()
        elif change.leader == self._me.instance:
            self._elected(change.epoch)
        elif change.epoch > self.epoch:
            self._followed(change.epoch)

    def fenced(self) -> None:
        """The store says that the lease is over."""
        self._deposed()
        self._nudge.set()

    def retire(self) -> None:
        """Lead no more, and take no lease any more."""
        self._retired = True
        self._deposed()

    async def _beat(self) -> float:
        """Send one heartbeat; tells the seconds to wait for the next."""
        self._asked = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._patience()):
                beat = await self._backend.heartbeat(
                    self._me, self._ttl, self.epoch, brief=self._asked < self._announce_at
                )
        except (BackendError, TimeoutError) as error:
            return self._failed(error)
        self._connection.answered(Asker.ELECTION)
        self._retries.over()
        if beat.news is not None:
            self._announce_at = self._asked + ANNOUNCE_INTERVAL
            self._clock.sync(beat.news.now, self._asked)
            self._candidate.learned(beat.news)
        lease = beat.lease
        if lease.holder == self._me.instance:
            if lease.epoch < self.epoch:  # from an older copy of the store; kept, nobody would lead
                return await self._yield()
            self._elected(lease.epoch)
            wait = self._ttl / RENEWALS_PER_LEASE
        else:
            self._followed(lease.epoch)
            self._led_until = self._asked + beat.expires_in + HEARSAY
            wait = beat.expires_in + GRACE + self._balancer.hesitation()
        return min(wait, ANNOUNCE_INTERVAL)

    async def _yield(self) -> float:
        """Give the lease back; tells the seconds to wait for the next heartbeat."""
        self._yields = False
        self._deposed()
        self._announce_at = float("-inf")  # taking leave has made this instance unknown
        try:
            await self._backend.resign(self._me.instance)
        except BackendError as error:
            return self._failed(error)
        self._abstains_until = self._clock.monotonic() + ABSTENTION
        return ABSTENTION

    def _patience(self) -> float | None:
        """A leader must know in time that it no longer is one."""
        return max(0.0, self._held_until - self._clock.monotonic()) if self.leading else None

    def _failed(self, error: BackendError | TimeoutError) -> float:
        self._connection.failed(Asker.ELECTION)
        self._announce_at = float("-inf")
        if self.leading and self._clock.monotonic() >= self._held_until - MOMENT:
            self._deposed()
        if isinstance(error, TimeoutError):
            error = BackendError("the lease ran out before it could be renewed")
        wait = self._retries.failed(error)
        if self.leading:
            wait = min(wait, max(0.0, self._held_until - self._clock.monotonic()))
        return wait

    def _elected(self, epoch: int) -> None:
        if epoch < self.epoch or self._retired:
            return
        self._held_until = self._asked + self._ttl
        if self.leading and epoch == self.epoch:
            return
        self._deposed()
        self.epoch = epoch
        self.leading = True
        self._announce_at = float("-inf")
        self._candidate.elected(epoch)

    def _followed(self, epoch: int) -> None:
        self.epoch = max(self.epoch, epoch)
        self._deposed()

    def _deposed(self) -> None:
        if self.leading:
            self.leading = False
            self._candidate.deposed()

    async def _pause(self, seconds: float) -> None:
        if not await within(self._nudge, seconds):
            return
        self._nudge.clear()
        abstains_for = self._abstains_until - self._clock.monotonic()
        if not self._yields and (wait := max(self._balancer.hesitation(), abstains_for)) > 0:
            await asyncio.sleep(wait)
