"""The election: heartbeats that renew this instance's lease or take a free one.

A follower sends a heartbeat when the known lease expires, or when the stream of states announces
its release. With a long lease it sends heartbeats earlier, but only to stay registered.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from math import ceil
from typing import Protocol

from .._circuits.shard import Shard
from .._core.capabilities import ALL
from .._core.policy import digest_of
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
"""Seconds between two full heartbeats."""

ABSTENTION = 1.0
"""Seconds for which an instance does not take a lease again after it has handed it over."""

GRACE = 0.002
"""Seconds after the expiry of a lease at which it has ended for certain."""

HEARSAY = 1.0
"""Seconds after the expiry of a lease for which the shard counts as led: asking takes time."""

MOMENT = 0.001
"""The last seconds of a lease, which are too short for any write."""


DELAY_PER_LEASE = 0.05
"""Seconds that an instance waits for others before it takes a lease, for each shard that it already
leads."""


class LeaseBalancer:
    """Balances leases over the fleet: counts the leases of one instance.

    Args:
        shards: The number of shards.
        notifier: Reports when the instance leads its first shard, and when it leads none.
    """

    def __init__(self, shards: int, notifier: Notifier) -> None:
        self._shards = shards
        self._notifier = notifier
        self._held = 0

    @property
    def role(self) -> Role:
        """The role of the instance."""
        return Role.LEADER if self._held else Role.FOLLOWER

    def delay(self) -> float:
        """The seconds to wait before taking another lease."""
        return DELAY_PER_LEASE * self._held

    def holds_too_many(self, instances: int) -> bool:
        """Return whether the instance holds more than its share."""
        return self._held > ceil(self._shards / max(1, instances))

    def taken(self) -> None:
        """Count one more lease."""
        self._held += 1
        if self._held == 1:
            self._notifier.role_changed(Role.LEADER)

    def given_up(self) -> None:
        """Count one lease fewer."""
        self._held -= 1
        if not self._held:
            self._notifier.role_changed(Role.FOLLOWER)


class Candidate(Protocol):
    """The receiver of an election's results."""

    def elected(self, epoch: int) -> None:
        """Called when the instance holds the lease of this epoch."""
        ...

    def deposed(self) -> None:
        """Called when the instance holds no lease any more."""
        ...

    async def wound_up(self) -> None:
        """Called after `deposed`, before the lease is released."""
        ...

    def learned(self, news: News) -> None:
        """Called with the reply to a heartbeat."""
        ...


def presence_of(instance: Instance) -> Presence:
    """Return the announcement of an instance."""
    fingerprint = f"{instance.policies.fingerprint}/{instance.shards}"
    return Presence(
        instance.id, __version__, fingerprint, digest_of(instance.policies.local_text), ALL
    )


class Election:
    """The loop that registers this instance, and makes it the leader if possible.

    Args:
        instance: This instance.
        shard: The shard to lead.
        connection: Receives the results of requests.
        balancer: Returns the time for which to leave a free lease to others.
        candidate: Receives the election's results, and the replies to heartbeats.
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
        self._table = shard.table
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
        """Whether the shard has a leader, as far as this instance knows."""
        return self.leading or self._clock.monotonic() < self._led_until

    async def run(self) -> None:
        """Send heartbeats, forever."""
        while True:
            await self._pause(await (self._yield() if self._yields else self._beat()))

    def hurry(self) -> None:
        """Send a full heartbeat at once."""
        self._announce_at = float("-inf")
        self._nudge.set()

    def hand_over(self) -> None:
        """Release the lease, and leave it to others for a moment."""
        self._yields = True
        self._nudge.set()

    def leader_changed(self, change: LeaderChange) -> None:
        """Process an announcement of a leader in the stream of states."""
        if change.epoch > self.epoch + LONGEST_LEAP:
            return  # somebody else's
        if change.leader is None:
            self._nudge.set()
        elif change.leader == self._me.instance:
            self._elected(change.epoch)
        elif change.epoch > self.epoch:
            self._followed(change.epoch)

    def fenced(self) -> None:
        """Process the store's report that the lease is over."""
        self._deposed()
        self._nudge.set()

    def retire(self) -> None:
        """Stop leading, and take no further lease."""
        self._retired = True
        self._deposed()

    async def _beat(self) -> float:
        """Send one heartbeat; return the seconds until the next one."""
        self._asked = self._clock.monotonic()
        me = replace(self._me, protects=self._table.protections)
        try:
            async with asyncio.timeout(self._patience()):
                beat = await self._backend.heartbeat(
                    me, self._ttl, self.epoch, brief=self._asked < self._announce_at
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
            wait = beat.expires_in + GRACE + self._balancer.delay()
        return min(wait, ANNOUNCE_INTERVAL)

    async def _yield(self) -> float:
        """Release the lease; return the seconds until the next heartbeat."""
        self._yields = False
        self._deposed()
        await self._candidate.wound_up()  # what it still writes, it writes under its lease
        self._announce_at = float("-inf")  # taking leave has made this instance unknown
        try:
            await self._backend.resign(self._me.instance)
        except BackendError as error:
            return self._failed(error)
        self._abstains_until = self._clock.monotonic() + ABSTENTION
        return ABSTENTION

    def _patience(self) -> float | None:
        """Return a heartbeat's time limit. A leader must detect the end of its lease in time."""
        return max(0.0, self._held_until - self._clock.monotonic()) if self.leading else None

    def _failed(self, error: BackendError | TimeoutError) -> float:
        self._connection.failed(Asker.ELECTION)
        # A store that comes back empty does not know this instance.
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
        # Counted from the request: the store's term began later, so it ends later as well.
        self._held_until = self._asked + self._ttl
        if self.leading and epoch == self.epoch:
            return
        self._deposed()
        self.epoch = epoch
        self.leading = True
        # A leader needs to know at once what the store has lost.
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
        if not self._yields and (wait := max(self._balancer.delay(), abstains_for)) > 0:
            await asyncio.sleep(wait)
