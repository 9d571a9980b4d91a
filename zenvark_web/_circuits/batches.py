"""Batches in flight: sent by this instance, and not acknowledged by a leader yet."""

from __future__ import annotations

from collections import deque

from .._runtime.instance import Instance
from ..backends.base import Account
from ..exceptions import ResultsLostError

# A healthy instance writes ten batches a second: this is a quarter of an hour without a leader.
MAX_BATCHES = 10_000

GIVEN_UP_AFTER = 30.0
"""Seconds after which a batch without acknowledgement counts as lost. (Leaders acknowledge within
ten seconds; results that they find later have expired.)"""

LOSSES_INTERVAL = 10.0
"""The minimum seconds between two reports of lost results; the counters contain each."""


class InFlightBatches:
    """The batches of this instance that no leader has acknowledged yet.

    Args:
        instance: Counts the fate of results, and reports losses.
    """

    def __init__(self, instance: Instance) -> None:
        self._statistics = instance.statistics
        self._notifier = instance.notifier
        self._monotonic = instance.host.monotonic
        self._batches: deque[_Sent] = deque()
        self._acknowledged = Account(0, 0)
        self._reported = (0, 0)
        self._reported_at = float("-inf")

    def __len__(self) -> int:
        return len(self._batches)

    def add(self, number: int, results: int) -> None:
        """Add a batch that is about to be sent for the first time."""
        self._batches.append(_Sent(number, results))
        if len(self._batches) > MAX_BATCHES:  # nobody has led for long
            oldest = self._batches.popleft()
            self._batches[0].results += oldest.results

    def sent(self) -> None:
        """Record that the store has the last added batch."""
        if self._batches:
            self._batches[-1].at = self._monotonic()

    def give_up(self) -> None:
        """Count the last added batch as dropped: it is not sent again."""
        if self._batches:
            self._statistics.dropped += self._batches.pop().results

    def review(self, account: Account | None) -> None:
        """Apply the stored account, if there is one, and count as dropped the results that it
        should contain by now."""
        if account is not None:
            self.acknowledge(account)
        before = self._monotonic() - GIVEN_UP_AFTER
        while self._batches and self._batches[0].at < before:
            self._statistics.dropped += self._batches.popleft().results

    def acknowledge(self, account: Account) -> None:
        """Count the results that leaders have acknowledged. Results that are missing in the account
        never reached a leader: the store has lost them, or never stored them."""
        known = self._acknowledged
        if account.first == known.first and account.last <= known.last:
            return
        if account.first != known.first:  # the store has lost the account, and it began anew
            known = Account(0, 0)
        results = self._take_out(account.last)
        expired = min(max(0, account.expired - known.expired), results)
        evaluated = min(max(0, account.evaluated - known.evaluated), results - expired)
        self._statistics.expired += expired
        self._statistics.evaluated += evaluated
        self._statistics.dropped += results - expired - evaluated
        self._acknowledged = account

    def _take_out(self, last: int) -> int:
        results = 0
        while self._batches and self._batches[0].number <= last:
            results += self._batches.popleft().results
        return results

    def report_losses(self) -> None:
        """Report losses since the last report, unless that was a moment ago."""
        lost = (self._statistics.dropped, self._statistics.expired)
        now = self._monotonic()
        if lost == self._reported or now - self._reported_at < LOSSES_INTERVAL:
            return
        dropped, expired = (new - old for new, old in zip(lost, self._reported, strict=True))
        self._reported, self._reported_at = lost, now
        self._notifier.report_error(ResultsLostError(dropped, expired))


class _Sent:
    """A batch in flight: its number, its number of results, and when the store took it."""

    __slots__ = ("at", "number", "results")

    def __init__(self, number: int, results: int) -> None:
        self.number = number
        self.results = results
        self.at = float("inf")
