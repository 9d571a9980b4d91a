"""A leader's progress through the results, and the checkpoints for its successor.

A leader counts every result once, however often it was sent. Now and then it writes a checkpoint:
the window snapshots of the circuits that have changed, the accounts of the instances, and the
position in the stream up to which both apply. The next leader reads on from there. Only windows
that cannot be restored (a changed strategy, or a user's strategy that does not save its windows)
are counted again, from the oldest stored results.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from .._circuits.runs import MAX_AGE
from .._core.order import START, Lease, Position
from .._core.states import CircuitSnapshot, Report
from ..backends._time_slices import TimeSlice
from ..backends.base import (
    Account,
    Backend,
    Batch,
    Checkpoint,
    Presence,
    ResultEntry,
    Snapshot,
)
from ..backends.stored_reports import StoredReports
from ..exceptions import MalformedEntryError
from .accounts import MAX_SENDERS, Accounts
from .evaluator import Evaluator

LARGEST_PART = 2_000
"""The maximum number of window snapshots in one write. (The store does nothing else meanwhile.)"""


class Checkpointer:
    """A leader's progress through the stream of results.

    Args:
        evaluator: Counts the results.
        changed: The circuits that have changed since their snapshot was last written.

    Attributes:
        position: The newest entry that was read.
    """

    def __init__(self, evaluator: Evaluator, changed: set[str]) -> None:
        self._evaluator = evaluator
        self._changed = changed
        self._accounts = Accounts({})
        self._numbers: dict[str, int] = {}
        self._counted_up_to: Mapping[str, Position] = {}
        self._all_counted_up_to = START
        self._there_before = START
        self._writes_from = START
        self._written = START
        self.position = START

    async def begin(self, snapshot: Snapshot) -> Position:
        """Continue from the last leader's checkpoint.

        Returns:
            The position from which to read on.
        """
        checkpoint = snapshot.checkpoint
        self._there_before = snapshot.results
        self._accounts = Accounts(checkpoint.accounts)
        self._written = checkpoint.position
        restored = await self._restore(checkpoint.snapshots)
        if checkpoint.position > self._there_before:
            return START  # the stream has begun anew, and all in it is new
        self._counted_up_to = restored
        self._all_counted_up_to = max(restored.values(), default=START)
        # Accounts may be left where the snapshots are lost: then they know of what is not counted.
        complete = checkpoint.position != START or not checkpoint.accounts
        if not complete or len(restored) < len(checkpoint.snapshots):
            self._writes_from = self._there_before  # to write less than there was would lose some
            return START
        self._numbers = {name: account.last for name, account in checkpoint.accounts.items()}
        self.position = checkpoint.position
        return checkpoint.position

    async def _restore(self, snapshots: Mapping[str, CircuitSnapshot]) -> Mapping[str, Position]:
        """Return the positions of the circuits that could be restored."""
        restored: dict[str, Position] = {}
        time_slice = TimeSlice()
        for circuit, snapshot in snapshots.items():
            await time_slice.yield_if_over()
            if self._evaluator.restore(circuit, snapshot):
                restored[circuit] = snapshot.position
        return restored

    def check(self, snapshot: Snapshot) -> None:
        """Rewrite everything, unless the store still has the last checkpoint. If it has lost
        results, positions may start again below the known ones."""
        end = snapshot.results
        if end < self.position:
            self._counted_up_to = {}
            self._all_counted_up_to = START
            self._there_before = end
            self._writes_from = min(self._writes_from, end)
        if snapshot.checkpoint.position != self._written:
            self._accounts.rewrite_all()
            self._changed |= self._evaluator.names

    def accept(self, entry: ResultEntry) -> Sequence[Report]:
        """Return the reports of an entry that must be counted, without expired results."""
        self.position = entry.position
        batch = entry.item
        if isinstance(batch, MalformedEntryError):
            return ()
        expired = _number_of_expired(batch.reports)
        self._accounts.add(batch, expired)
        if not self._is_new(batch):
            return ()
        if not expired and entry.position > self._all_counted_up_to:
            return batch.reports
        return [
            _without_expired(report)
            for report in batch.reports
            if entry.position > self._counted_up_to.get(report.circuit, START)
        ]

    def is_replayed(self, entry: ResultEntry) -> bool:
        """Return whether an entry was there before this leader."""
        return entry.position <= self._there_before

    def _is_new(self, batch: Batch) -> bool:
        """Return whether a batch is new: a batch whose reply was lost is sent again."""
        newest = self._numbers.pop(batch.instance, 0)
        self._numbers[batch.instance] = max(newest, batch.number)
        if len(self._numbers) > MAX_SENDERS:
            del self._numbers[next(iter(self._numbers))]
        return batch.number > newest

    def note_present(self, present: Iterable[Presence]) -> None:
        """Record which instances are registered."""
        self._accounts.rewrite_for(presence.instance for presence in present)

    async def write(
        self, backend: Backend, lease: Lease, caught_up: Callable[[], Awaitable[None]]
    ) -> None:
        """Write a checkpoint, if there is something new.

        Args:
            backend: The store.
            lease: The leader's lease.
            caught_up: Waits until all previous decisions are in the store. Until then, a checkpoint
                must not pass results that have caused a decision.

        Snapshots of many circuits are written in parts, with the position in the last part: a
        snapshot may be ahead of that position.
        """
        position, accounts, changed = self.position, dict(self._accounts.unwritten), self._changed
        if position < self._writes_from or not (accounts or changed):
            return
        # Before the first wait: what changes meanwhile belongs to the next checkpoint.
        names = list(changed)
        changed.clear()
        try:
            snapshots = await self._snapshots(names)
            await caught_up()
            *parts, last = _parts(snapshots)
            for part in parts:
                await backend.checkpoint(lease, _checkpoint(self._written, {}, part))
            await backend.checkpoint(lease, _checkpoint(position, accounts, last))
        except BaseException:  # a cancellation as well: the next attempt writes them
            changed.update(names)
            raise
        self._accounts.written(accounts)
        self._written = position

    async def _snapshots(self, names: Iterable[str]) -> Mapping[str, CircuitSnapshot | None]:
        snapshots: dict[str, CircuitSnapshot | None] = {}
        time_slice = TimeSlice()
        for name in names:
            await time_slice.yield_if_over()
            snapshot = self._evaluator.save(name)
            snapshots[name] = snapshot and replace(snapshot, position=self._reached(name))
        return snapshots

    def _reached(self, circuit: str) -> Position:
        """Return the entry up to which a circuit's results are counted: a restored snapshot may be
        ahead of the current position."""
        return max(self.position, self._counted_up_to.get(circuit, START))


def _checkpoint(
    position: Position,
    accounts: Mapping[str, Account],
    snapshots: Mapping[str, CircuitSnapshot | None],
) -> Checkpoint:
    kept = {name: snapshot for name, snapshot in snapshots.items() if snapshot is not None}
    return Checkpoint(position, accounts, kept, without=snapshots.keys() - kept)


def _parts(
    snapshots: Mapping[str, CircuitSnapshot | None],
) -> Iterator[Mapping[str, CircuitSnapshot | None]]:
    """Split the window snapshots into parts that can be written at once; at least one part."""
    items = iter(snapshots.items())
    part = dict(islice(items, LARGEST_PART))
    yield part
    while part := dict(islice(items, LARGEST_PART)):
        yield part


def _number_of_expired(reports: Sequence[Report]) -> int:
    if isinstance(reports, StoredReports) and reports.oldest <= MAX_AGE:
        return 0
    return sum(run.count for report in reports for run in report.runs if run.age > MAX_AGE)


def _without_expired(report: Report) -> Report:
    if all(run.age <= MAX_AGE for run in report.runs):
        return report
    return replace(report, runs=tuple(run for run in report.runs if run.age <= MAX_AGE))
