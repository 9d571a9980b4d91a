"""The work of the leader: evaluates results, publishes transitions, maintains the store.

A leader lasts for one lease. It may believe in its lease for too long (a paused process does not
notice the time), so the store checks every write against the lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from operator import itemgetter

from .._circuits.shard import Shard
from .._core.capabilities import Capability
from .._core.common_cause import CommonCause
from .._core.order import Lease, Position
from .._core.overrides import Override, OverrideRecord
from .._core.patterns import NamePatterns
from .._core.states import LONGEST_LEAP, Report, State, Suspicion, Transition
from .._core.strategies import TimeWindow
from .._core.surroundings import Contradiction, Surroundings
from .._runtime.connection import RetryBackoff
from .._runtime.instance import Instance
from ..backends._decoding import check_storable
from ..backends._time_slices import TimeSlice
from ..backends.base import (
    Checkpoint,
    Presence,
    Probe,
    ResultEntry,
    Snapshot,
)
from ..backends.stored_reports import StoredReports
from ..exceptions import (
    BackendError,
    FencedError,
    MalformedEntryError,
    OverloadedError,
    PolicyMismatchError,
)
from .capabilities import SharedCapabilities
from .checkpoints import Checkpointer
from .evaluator import Evaluator
from .newcomers import Newcomers
from .publications import Publications
from .publisher import LARGEST_BATCH, Office, Publisher
from .recalls import Recalls
from .suspicions import Suspicions

TIDY_INTERVAL = 5.0
# Three full heartbeats, which are sent every 5 s: one may be lost, and one late.
INSTANCE_SILENCE = 15.0
# A successor reads on from a checkpoint that is seconds old. The rest is for operators, and for a
# fleet that had no leader for some minutes.
RESULTS_AGE = 600.0
LONGEST_RESULTS_AGE = 3600.0

FORGET_AFTER = 3600.0
"""Seconds without calls, since a circuit closed or since its next recovery attempt was due, after
which it is forgotten. Beyond the maximum number of circuits, `QUIET_FOR` applies instead, because
callers may make up names."""

QUIET_FOR = 60.0

QUIET_IN_A_CROWD = 5.0
"""As `QUIET_FOR`, for more than twice the maximum number of circuits."""

FORGET_AT_ONCE = 10_000


class Leader:
    """The leadership of one lease.

    Args:
        instance: This instance.
        shard: The shard that it leads.
        epoch: The lease's epoch.
        watched: Circuits with idle checks before their first call.
        office: The holder of the lease.
    """

    def __init__(
        self, instance: Instance, shard: Shard, epoch: int, watched: Iterable[str], office: Office
    ) -> None:
        self._lease = lease = Lease(epoch, instance.id)
        self._instance = instance
        self._notifier = instance.notifier
        self._policies = instance.policies
        self._backend = shard.backend
        self._table = shard.table
        self._clock = shard.clock
        self._frame = shard.clock.frame()
        self._leads_since = self._frame.now()
        self._watched = watched
        self._office = office
        self._publications = Publications(instance, shard, lease)
        self._publisher = Publisher(instance, shard.backend, lease, office, self._publications.wake)
        self._tidying = RetryBackoff(instance)
        self._fingerprints: frozenset[str] = frozenset()
        self._recalls = Recalls(shard.backend, lease)
        changed: set[str] = set()
        self._common_cause = None
        if instance.common_cause is not None:
            self._common_cause = CommonCause(instance.common_cause)
        self._suspicions = Suspicions(instance, self._frame, self._common_cause)
        self._evaluator = Evaluator(instance, self._frame, self, lease, changed)
        self._evaluator.surroundings = Surroundings(instance.id, common_cause=self._common_cause)
        self._checkpointer = Checkpointer(self._evaluator, changed)
        self._newcomers = Newcomers()
        self._capabilities = SharedCapabilities(instance.notifier)

    # What the reader brings

    async def begin(self, snapshot: Snapshot) -> Position:
        """Start from the content of the store.

        Returns:
            The position from which to read results.
        """
        try:
            present = await self._look()  # before the first decision, which may depend on it
        except BackendError as error:
            self._tidying.failed(error)
        else:
            self._evaluator.expect(len(present))
        for counted, stamp in _counted(snapshot.checkpoint):
            self._frame.begin_after(counted, stamp)
        position = await self._checkpointer.begin(snapshot)
        time_slice = TimeSlice()
        # These have timers, whether anybody reports them or not.
        for name, transition in tuple(self._table.latest.items()):
            await time_slice.yield_if_over()
            if transition.state is not State.CLOSED:
                self._evaluator.begin(name)
        for name in self._watched:
            self._evaluator.begin(name)
        self.overrides_changed(NamePatterns("overrides", {"*": True}))
        self._publications.begin(snapshot)
        return position

    def rewrite_checkpoint(self, snapshot: Snapshot) -> None:
        """Rewrite the parts of the checkpoint that the store has lost."""
        self._checkpointer.check(snapshot)
        self._publications.check(snapshot)

    def rewrite_states(self, lost: Sequence[str]) -> None:
        """Rewrite the states of circuits that the store has lost."""
        for name in lost:
            known = self._table.known(name)
            self._publications.rewritten(known)
            self._publish(known)

    def adopt(self, transition: Transition) -> None:
        """Adopt a transition that is now in force."""
        self._evaluator.adopt(transition)

    def forget(self, circuit: str) -> None:
        """Remove a circuit that is no longer stored."""
        self._evaluator.forget(circuit)

    def evaluate(self, entry: ResultEntry) -> None:
        """Evaluate one entry of the stream of results."""
        batch = entry.item
        unreadable = batch if isinstance(batch, MalformedEntryError) else batch.unreadable
        if unreadable is not None:
            self._notifier.report_error(unreadable)
        # In this order: an arrival is never ahead of now.
        at, told = self._frame.arrived(entry.at)
        now = self._frame.now()
        overloaded = ""
        reports: Iterable[Report] = self._checkpointer.accept(entry)
        replayed = self._checkpointer.is_replayed(entry)
        instance = "" if isinstance(batch, MalformedEntryError) else batch.instance
        if isinstance(reports, StoredReports) and told and not replayed:
            reports = self._evaluator.count_successes(instance, reports, at, now)
        for report in reports:
            if not replayed and not self._has_time(instance, report, at, now):
                overloaded = instance
                continue
            heard = report if told else _without_ages(report)
            self._evaluator.apply_report(instance, heard, at, now, replayed=replayed)
        self._suspicions.report_common_cause()
        if overloaded:  # one error for the entry, however many circuits are in it
            self._report_overload(overloaded)

    def _has_time(self, instance: str, report: Report, at: float, now: float) -> bool:
        """Return whether to evaluate a report: not one of too many unknown circuits while others
        wait for their decisions."""
        name = report.circuit
        if report.generation or name in self._evaluator.names or self._table.known(name).generation:
            return True
        return self._newcomers.admit(instance, at, now)

    def _report_overload(self, instance: str) -> None:
        self._notifier.report_error(
            OverloadedError(
                f"instance {instance} calls more new circuits than the leader can evaluate: some "
                "are skipped and stay closed; name circuits after upstreams, not after values that "
                "callers choose",
                source=instance,
            )
        )

    def overrides_changed(self, changed: NamePatterns[bool]) -> None:
        """Hold or release the circuits that are known or counted. Any other is held with its first
        rejected call.

        Args:
            changed: The names of which the overrides have changed.
        """
        overrides = self._table.overrides
        self._warn_of_ignored_overrides()
        modes = {override.mode for override in overrides.in_force.values()}
        latest = self._table.latest
        for name in changed.among(latest) if Override.FORCE_OPEN in modes else ():
            override = overrides.find(name)
            if override is not None and override.mode is Override.FORCE_OPEN:
                self._evaluator.begin(name)
        self._evaluator.review(changed)

    def probe(self, probe: Probe) -> None:
        """Have the next attempt to recover a circuit made at once, as an operator asks."""
        if self._table.known(probe.circuit).state is State.OPEN:
            self._evaluator.probe(probe.circuit, f"asked for by {probe.actor}: {probe.reason}")

    # Loops

    @property
    def loops(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """The loops of a leader. They have no task group of their own: a task group that is being
        cancelled does not pass on a further cancellation, and the first may be lost."""
        loops = self._publisher.run, self._evaluator.run, self._recalls.run, self._keep_order
        return (*loops, self._publications.run) if self._notifier.wants_published else loops

    # What the evaluator asks for

    def known(self, circuit: str) -> Transition:
        """Return a circuit's newest transition, even before it is published."""
        known, newest = self._table.known(circuit), self._publisher.newest(circuit)
        return known if newest is None or newest.order < known.order else newest

    def allows(self, capability: Capability) -> bool:
        """Return whether all present instances have a capability."""
        return self._capabilities.allow(capability)

    def override(self, circuit: str) -> OverrideRecord | None:
        """Return the override of a circuit, if there is one."""
        return self._table.overrides.find(circuit)

    def recalled(self, transition: Transition) -> None:
        """Ask the holder of a grant for its unused permits."""
        self._recalls.put(transition)

    def refused(self, circuit: str, suspicions: Sequence[Suspicion]) -> None:
        """Report a decision that did not reach its quorum."""
        self._suspicions.refused(circuit, suspicions)

    def contradicted(self, circuit: str, contradiction: Contradiction) -> None:
        """Report that calls of another instance pass, though this leader's checks fail."""
        self._suspicions.contradicted(circuit, contradiction)

    def decided(self, transition: Transition) -> None:
        """Publish a transition. An unreadable one raises, and is not decided."""
        check_storable(transition)
        self._publish(replace(transition, position=self._checkpointer.position))

    def _publish(self, transition: Transition) -> None:
        self._publisher.publish(self._signed(transition))

    def _signed(self, transition: Transition) -> Transition:
        return replace(transition, epoch=self._lease.epoch, leader=self._lease.holder)

    async def _keep_order(self) -> None:
        while True:
            await asyncio.sleep(TIDY_INTERVAL)
            try:
                await self._tidy()
            except FencedError:
                pass  # the next transition or heartbeat tells
            except BackendError as error:
                self._tidying.failed(error)
            else:
                self._tidying.over()

    async def _look(self) -> Sequence[Presence]:
        """Return which instances are present, and record what they can read."""
        present = await self._backend.tidy(self._results_age(), INSTANCE_SILENCE)
        self._capabilities.note_present(present)
        self._warn_of_ignored_overrides()
        return present

    def _warn_of_ignored_overrides(self) -> None:
        if self._table.overrides.in_force:
            self._capabilities.warn_of_ignored_overrides()

    async def _tidy(self) -> None:
        present = await self._look()
        self._compare(frozenset(presence.fingerprint for presence in present))
        self._office.present(present)
        await self._forget()
        self._checkpointer.note_present(present)
        await self._checkpointer.write(self._backend, self._lease, self._publisher.caught_up)
        # What may fail without harm comes last: overrides have ended on each instance.
        if self._table.overrides.number:
            ended = self._table.overrides.ended
            await self._backend.expire_overrides(self._lease, ended)
        await self._suspicions.write(self._backend, self._lease)

    async def _forget(self) -> None:
        forgettable = await self._forgettable()
        for batch in _batches(forgettable, LARGEST_BATCH):
            await self._backend.forget(self._lease, *batch)

    def _results_age(self) -> float:
        """Seconds for which results are stored: as long as a successor may need them."""
        policies = self._policies.all()
        needed = [policy.max_retry_after for policy in policies]
        needed += [
            policy.strategy.duration
            for policy in policies
            if isinstance(policy.strategy, TimeWindow)
        ]
        return min(max(RESULTS_AGE, *needed), LONGEST_RESULTS_AGE)

    async def _forgettable(self) -> Sequence[Transition]:
        """Return the circuits to forget: those with generations that no fleet reaches, which
        another writer must have created; those without calls for long; and the least recently
        called ones beyond the maximum."""
        time_slice = TimeSlice()
        named = self._table.overrides.in_force
        idle: list[tuple[float, Transition]] = []
        astray: list[Transition] = []
        for transition in list(self._table.latest.values()):
            await time_slice.yield_if_over()
            if transition.generation > LONGEST_LEAP // 2:  # so that newcomers can always follow
                astray.append(transition)
            quiet_for = self._idle_for(transition)
            is_kept = transition.circuit in named  # an operator has decided about it
            watched = self._policies[transition.circuit].idle_interval is not None
            if quiet_for > 0 and not watched and not is_kept:
                idle.append((quiet_for, transition))
        idle.sort(key=itemgetter(0), reverse=True)
        surplus = len(self._table.latest) - self._instance.max_breakers
        crowd = surplus - self._instance.max_breakers
        forgettable = [
            transition
            for place, (quiet_for, transition) in enumerate(idle)
            if quiet_for > FORGET_AFTER
            or (place < surplus and quiet_for > QUIET_FOR)
            or (place < crowd and quiet_for > QUIET_IN_A_CROWD)
        ]
        return [*astray, *forgettable][:FORGET_AT_ONCE]

    def _idle_for(self, transition: Transition) -> float:
        """Return the seconds for which a circuit has been useless: it has no calls, and is closed,
        or waits for calls, or for a check that keeps failing."""
        heard_at = self._evaluator.reported_at(transition.circuit)
        quiet_for = self._frame.now() - (self._leads_since if heard_at is None else heard_at)
        if transition.state is State.CLOSED:
            return min(quiet_for, self._clock.now() - transition.at)
        if self._policies[transition.circuit].health_check is None:
            return min(quiet_for, self._clock.now() - transition.retry_at)
        return quiet_for

    def _compare(self, fingerprints: frozenset[str]) -> None:
        if len(fingerprints) > 1 and fingerprints != self._fingerprints:
            self._notifier.report_error(
                PolicyMismatchError(
                    "instances disagree on their policies or shards "
                    f"({len(fingerprints)} versions: {', '.join(sorted(fingerprints))}); "
                    "the leader's apply"
                )
            )
        self._fingerprints = fingerprints


def _without_ages(report: Report) -> Report:
    """Return a report without ages, for which only the order of entries determines the time."""
    return replace(report, runs=tuple(replace(run, age=0.0) for run in report.runs))


def _batches(transitions: Sequence[Transition], most: int) -> Iterator[Sequence[Transition]]:
    for start in range(0, len(transitions), most):
        yield transitions[start : start + most]


def _counted(checkpoint: Checkpoint) -> Iterator[tuple[float, float]]:
    """Return each newest second that a previous leader counted, and the time stamp up to which its
    results are read. The store may have lost the entries with that stamp."""
    for snapshot in checkpoint.snapshots.values():
        reached = max(snapshot.position, checkpoint.position).seconds
        newest = 0.0 if snapshot.window is None else snapshot.window.newest
        yield max(newest, reached), reached
    yield checkpoint.position.seconds, checkpoint.position.seconds
