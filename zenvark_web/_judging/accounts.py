"""The fate of results after they are sent: the accounts that a leader keeps.

Every result that leaves an instance's buffer is evaluated, expired or dropped in the end, exactly
once. A sender keeps its batches in flight. A leader sums up the results of the batches by sender
and writes the sums to the store now and then. The sender's heartbeats return its account. Sums by
batch number need no acknowledgement of single batches, and a new leader continues from the sums of
its predecessor, however often it reads a batch again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from ..backends.base import Account, Batch
from ..backends.stored_reports import number_of_results

# The names come from the stream of results, in which any writer can make them up.
MAX_SENDERS = 10_000


class Accounts:
    """A leader's accounts of the results of each instance.

    Args:
        known: The accounts that previous leaders have written.

    Attributes:
        unwritten: The accounts that have changed since they were last written.
    """

    def __init__(self, known: Mapping[str, Account]) -> None:
        self._known = OrderedDict(known)
        self._present: frozenset[str] | None = None
        self.unwritten: dict[str, Account] = {}

    def add(self, batch: Batch, expired: int) -> None:
        """Account for a batch, once."""
        known = self._known.get(batch.instance, Account(batch.number, batch.number - 1))
        # After a takeover, batches since the checkpoint are read again.
        if batch.number <= known.last:
            return
        account = Account(
            known.first,
            batch.number,
            known.evaluated + number_of_results(batch.reports) - expired,
            known.expired + expired,
        )
        self._known[batch.instance] = self.unwritten[batch.instance] = account
        self._known.move_to_end(batch.instance)
        if len(self._known) > MAX_SENDERS:
            forgotten, _ = self._known.popitem(last=False)
            self.unwritten.pop(forgotten, None)

    def rewrite_for(self, present: Iterable[str]) -> None:
        """Rewrite the accounts of instances that were away for a while: the store removed theirs.

        Args:
            present: The instances that are registered now.
        """
        before, self._present = self._present, frozenset(present)
        for instance in () if before is None else sorted(self._present - before):
            if instance in self._known:
                self.unwritten[instance] = self._known[instance]

    def rewrite_all(self) -> None:
        """Rewrite all accounts, which the store has lost."""
        self.unwritten = dict(self._known)

    def written(self, accounts: Mapping[str, Account]) -> None:
        """Record that these accounts are in the store."""
        for instance, account in accounts.items():
            if self.unwritten.get(instance) == account:
                del self.unwritten[instance]
