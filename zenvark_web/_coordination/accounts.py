"""What becomes of results on their way: an instance's ledger, and the accounts a leader gives.

Every result that leaves an instance's buffer is evaluated, expired or dropped in the end, each
once. A sender enters each batch in its ledger; a leader adds up what it made of the batches, by
sender, and has that written to the store now and then; a sender's heartbeats bring its account
back. Sums by batch number need no acknowledgement of each batch, and a leader that takes over goes
on from the sums of the one before, however often it reads a batch again.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping

from ..backends.base import Account, Batch
from ..exceptions import ResultsLostError
from ..statistics import Statistics
from .surface import Surface

MAX_SENDERS = 10_000
MAX_BATCHES = 10_000

GIVEN_UP_AFTER = 30.0
"""Seconds after which a batch that was sent, and that no account tells of, was lost. (Leaders tell
within ten; what they find later has expired.)"""

LOSSES_INTERVAL = 10.0
"""Lost results are told at most once in so many seconds; the counters know each."""


class Ledger:
    """The batches of this instance that are not accounted for yet.

    Args:
        statistics: Counts what became of results.
        surface: Told of losses.
        monotonic: This host's monotonic seconds.
    """

    def __init__(
        self, statistics: Statistics, surface: Surface, monotonic: Callable[[], float]
    ) -> None:
        self._statistics = statistics
        self._surface = surface
        self._monotonic = monotonic
        self._batches: deque[_Sent] = deque()
        self._account = Account(0, 0)
        self._told = (0, 0)
        self._told_at = float("-inf")

    def __len__(self) -> int:
        return len(self._batches)

    def enter(self, number: int, results: int) -> None:
        """A batch is about to be sent."""
        self._batches.append(_Sent(number, results))
        if len(self._batches) > MAX_BATCHES:  # nobody has led for long
            oldest = self._batches.popleft()
            self._batches[0].results += oldest.results

    def sent(self) -> None:
        """The store has taken the batch entered last."""
        if self._batches:
            self._batches[-1].at = self._monotonic()

    def give_up(self) -> None:
        """The batch entered last will not be sent again."""
        if self._batches:
            self._statistics.dropped += self._batches.pop().results

    def review(self, account: Account | None) -> None:
        """Take in the account that stands in the store, if there is one, and give up what it
        should have told of by now."""
        if account is not None:
            self.settle(account)
        before = self._monotonic() - GIVEN_UP_AFTER
        while self._batches and self._batches[0].at < before:
            self._statistics.dropped += self._batches.popleft().results

    def settle(self, account: Account) -> None:
        """Take in what leaders have made of the batches up to now. What is missing in it never
        reached one: the store has lost it, or never kept it."""
        known = self._account
        if account.first == known.first and account.last <= known.last:
            return
        if account.first != known.first:  # the store has lost the account, and it began anew
            known = Account(0, 0)
        results = self._settled(account.last)
        expired = min(max(0, account.expired - known.expired), results)
        evaluated = min(max(0, account.evaluated - known.evaluated), results - expired)
        self._statistics.expired += expired
        self._statistics.evaluated += evaluated
        self._statistics.dropped += results - expired - evaluated
        self._account = account

    def _settled(self, last: int) -> int:
        results = 0
        while self._batches and self._batches[0].number <= last:
            results += self._batches.popleft().results
        return results

    def tell_losses(self) -> None:
        """Surface what was lost since the last time, unless that was a moment ago."""
        lost = (self._statistics.dropped, self._statistics.expired)
        now = self._monotonic()
        if lost == self._told or now - self._told_at < LOSSES_INTERVAL:
            return
        dropped, expired = (new - old for new, old in zip(lost, self._told, strict=True))
        self._told, self._told_at = lost, now
        self._surface.error(ResultsLostError(dropped, expired))


class _Sent:
    """A batch on its way: its number, how many results it holds, and when it was taken."""

    __slots__ = ("at", "number", "results")

    def __init__(self, number: int, results: int) -> None:
        self.number = number
        self.results = results
        self.at = float("inf")


class Accounts:
    """A leader's accounts of what it made of each instance's results.

    Args:
        known: Those that leaders before it have written.

    Attributes:
        unwritten: What has changed since it was last written.
    """

    def __init__(self, known: Mapping[str, Account]) -> None:
        self._known = OrderedDict(known)
        self._present: frozenset[str] | None = None
        self.unwritten: dict[str, Account] = {}

    def add(self, batch: Batch, expired: int) -> None:
        """Account for a batch, unless that was done before."""
        known = self._known.get(batch.instance, Account(batch.number, batch.number - 1))
        if batch.number <= known.last:
            return
        results = sum(run.count for report in batch.reports for run in report.runs)
        account = Account(
            known.first,
            batch.number,
            known.evaluated + results - expired,
            known.expired + expired,
        )
        self._known[batch.instance] = self.unwritten[batch.instance] = account
        self._known.move_to_end(batch.instance)
        if len(self._known) > MAX_SENDERS:
            forgotten, _ = self._known.popitem(last=False)
            self.unwritten.pop(forgotten, None)

    def tell_again(self, present: Iterable[str]) -> None:
        """Have the accounts of instances written again that were away for a while: theirs went
        with them.

        Args:
            present: The instances that are there now.
        """
        before, self._present = self._present, frozenset(present)
        for instance in () if before is None else sorted(self._present - before):
            if instance in self._known:
                self.unwritten[instance] = self._known[instance]

    def write_again(self) -> None:
        """Have all of them written again: the store has lost them."""
        self.unwritten = dict(self._known)

    def written(self, accounts: Mapping[str, Account]) -> None:
        """Take note that these stand in the store."""
        for instance, account in accounts.items():
            if self.unwritten.get(instance) == account:
                del self.unwritten[instance]
