"""Runs for leadership: heartbeats that renew this instance's lease or take a free one.

A follower asks again at the moment the lease it saw runs out, or when the stream of states says
that it was given back. With a long lease it asks sooner, but only to stay known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .._core.states import LONGEST_LEAP
from .._runtime.clock import SharedClock
from .._runtime.link import Asker, Link
from .._runtime.notifier import Surface
from .._runtime.outage import Outage
from ..backends.base import Backend, LeaderChange, News, Presence
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


class Campaign:
    """The loop that keeps this instance known, and a leader if it can be.

    Args:
        me: This instance.
        backend: Where the lease is.
        ttl: The lease's seconds.
        clock: The shared clock, set by each answer.
        surface: Where errors go.
        link: Told how asking goes.
        hesitation: Tells the seconds for which to leave a lease that has become free to others.
        chance: Makes random numbers from 0 to 1.
        on_elected: Told the epoch of a lease this instance now holds.
        on_deposed: Told when it holds none any more.
        on_news: Told now and then what else heartbeats bring.
    """

    def __init__(
        self,
        *,
        me: Presence,
        backend: Backend,
        ttl: float,
        clock: SharedClock,
        surface: Surface,
        link: Link,
        hesitation: Callable[[], float],
        chance: Callable[[], float],
        on_elected: Callable[[int], None],
        on_deposed: Callable[[], None],
        on_news: Callable[[News], None],
    ) -> None:
        self._me = me
        self._backend = backend
        self._ttl = ttl
        self._clock = clock
        self._link = link
        self._hesitation = hesitation
        self._outage = Outage(surface, chance)
        self._on_elected = on_elected
        self._on_deposed = on_deposed
        self._on_news = on_news
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

    def heard(self, change: LeaderChange) -> None:
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
        self._link.answered(Asker.CAMPAIGN)
        self._outage.over()
        if beat.news is not None:
            self._announce_at = self._asked + ANNOUNCE_INTERVAL
            self._clock.sync(beat.news.now, self._asked)
            self._on_news(beat.news)
        lease = beat.lease
        if lease.holder == self._me.instance:
            if lease.epoch < self.epoch:  # from an older copy of the store; kept, nobody would lead
                return await self._yield()
            self._elected(lease.epoch)
            wait = self._ttl / RENEWALS_PER_LEASE
        else:
            self._followed(lease.epoch)
            self._led_until = self._asked + beat.expires_in + HEARSAY
            wait = beat.expires_in + GRACE + self._hesitation()
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
        self._link.failed(Asker.CAMPAIGN)
        self._announce_at = float("-inf")
        if self.leading and self._clock.monotonic() >= self._held_until - MOMENT:
            self._deposed()
        if isinstance(error, TimeoutError):
            error = BackendError("the lease ran out before it could be renewed")
        wait = self._outage.failed(error)
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
        self._on_elected(epoch)

    def _followed(self, epoch: int) -> None:
        self.epoch = max(self.epoch, epoch)
        self._deposed()

    def _deposed(self) -> None:
        if self.leading:
            self.leading = False
            self._on_deposed()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._nudge.wait()
        except TimeoutError:
            return
        self._nudge.clear()
        abstains_for = self._abstains_until - self._clock.monotonic()
        if not self._yields and (wait := max(self._hesitation(), abstains_for)) > 0:
            await asyncio.sleep(wait)
