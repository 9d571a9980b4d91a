"""Batches in flight: sent by this instance, and not acknowledged by a leader yet."""

from __future__ import annotations

from collections import deque

from .._runtime.instance import Instance
from ..backends.base import Account
from ..exceptions import ResultsLostError

MAX_BATCHES = 10_000

GIVEN_UP_AFTER = 30.0
"""Seconds after which a batch that was sent and not acknowledged is lost. (Leaders acknowledge
within ten; what they find later has expired.)"""

LOSSES_INTERVAL = 10.0
"""Lost results are reported at most once in so many seconds; the counters have each."""


class InFlightBatches:
    """The batches of this instance whose results no leader has acknowledged yet.

    Args:
        instance: Counts what becomes of results, and reports losses.
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
        """A batch is about to be sent for the first time."""
        self._batches.append(_Sent(number, results))
        if len(self._batches) > MAX_BATCHES:  # nobody has led for long
            oldest = self._batches.popleft()
            self._batches[0].results += oldest.results

    def sent(self) -> None:
        """The store has the batch that was added last."""
        if self._batches:
            self._batches[-1].at = self._monotonic()

    def give_up(self) -> None:
        """Count the batch that was added last as dropped: it is not sent again."""
        if self._batches:
            self._statistics.dropped += self._batches.pop().results

    def review(self, account: Account | None) -> None:
        """Apply the account that stands in the store, if there is one, and count as dropped what
        it should have acknowledged by now."""
        if account is not None:
            self.acknowledge(account)
        before = self._monotonic() - GIVEN_UP_AFTER
        while self._batches and self._batches[0].at < before:
            self._statistics.dropped += self._batches.popleft().results

    def acknowledge(self, account: Account) -> None:
        """Count what leaders have made of the batches up to now. Results that are missing in the
        account never reached a leader: the store has lost them, or never kept them."""
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
        """Report what was lost since the last report, unless that was a moment ago."""
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
