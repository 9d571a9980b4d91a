"""What becomes of results on their way: an instance's ledger, and the accounts a leader gives.

Every result that leaves an instance's buffer is evaluated, expired or dropped in the end, each
once. A sender enters each batch in its ledger; a leader adds up what it made of the batches, by
sender, and has that written to the store now and then; a sender's heartbeats bring its account
back. Sums by batch number need no acknowledgement of each batch, and a leader that takes over goes
on from the sums of the one before, however often it reads a batch again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from ..backends.base import Account, Batch

MAX_SENDERS = 10_000


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

    def rewrite_for(self, present: Iterable[str]) -> None:
        """Have the accounts of instances written again that were away for a while: theirs went
        with them.

        Args:
            present: The instances that are there now.
        """
        before, self._present = self._present, frozenset(present)
        for instance in () if before is None else sorted(self._present - before):
            if instance in self._known:
                self.unwritten[instance] = self._known[instance]

    def rewrite_all(self) -> None:
        """Have all of them written again: the store has lost them."""
        self.unwritten = dict(self._known)

    def written(self, accounts: Mapping[str, Account]) -> None:
        """Take note that these stand in the store."""
        for instance, account in accounts.items():
            if self.unwritten.get(instance) == account:
                del self.unwritten[instance]
