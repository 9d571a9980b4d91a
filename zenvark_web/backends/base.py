"""The backend protocol: what a shared store guarantees to the instances of a namespace.

Every implementation passes the same tests, in `tests/contract`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

from .._core.order import START, Lease, Position
from .._core.overrides import OverrideRecord, OverrideRequest, OverrideSnapshot
from .._core.states import CircuitSnapshot, Protection, Report, Suspect, Transition
from ..exceptions import MalformedEntryError

__all__ = [
    "START",
    "Account",
    "Backend",
    "Batch",
    "Checkpoint",
    "CircuitSnapshot",
    "Forgotten",
    "Heartbeat",
    "LeaderChange",
    "Lease",
    "News",
    "OverrideRecord",
    "OverrideRequest",
    "OverrideSnapshot",
    "OverridesRestored",
    "Position",
    "Presence",
    "Probe",
    "Recalled",
    "Report",
    "Rest",
    "ResultEntry",
    "Snapshot",
    "StateEntry",
    "StateItem",
    "StreamEntry",
    "Transition",
    "UnknownEntry",
]


NO_OVERRIDES = OverrideSnapshot()


@dataclass(frozen=True, slots=True)
class Batch:
    """The reports that one instance sends in one write.

    Args:
        instance: The sender.
        number: The sender's number of the batch. A batch that is sent again keeps its number, so
            that no result counts twice if a reply is lost.
        sent: When it was sent, in seconds of the shared clock as the sender knew it.
        reports: One for each circuit.
        unreadable: The error of the reports that could not be read, and were skipped.
    """

    instance: str
    number: int
    sent: float
    reports: Sequence[Report]
    unreadable: MalformedEntryError | None = None


@dataclass(frozen=True, slots=True)
class Presence:
    """An instance, as operators see it.

    Args:
        instance: The instance's id.
        version: The version of this package in its process.
        fingerprint: A digest of the policies by which it judges, and its number of shards.
        local: A digest of the settings of its policies that concern only itself.
        can: The capabilities of its version; see `zenvark_web._core.capabilities`.
        protects: What it protects itself from (`quorum`).
    """

    instance: str
    version: str = ""
    fingerprint: str = ""
    local: str = ""
    can: frozenset[str] = frozenset()
    protects: tuple[Protection, ...] = ()


@dataclass(frozen=True, slots=True)
class Account:
    """The sums of what leaders made of one instance's batches.

    A batch between the first and the last that is not in the sums never reached a leader.

    Args:
        first: The number of the first batch in the sums.
        last: The number of the latest batch.
        evaluated: The number of results that were evaluated.
        expired: The number of results that were too old.
    """

    first: int
    last: int
    evaluated: int = 0
    expired: int = 0


@dataclass(frozen=True, slots=True)
class News:
    """The part of a reply that a brief heartbeat leaves out.

    Args:
        now: Seconds of the shared clock.
        last_state: The position of the newest entry in the stream of states.
        circuits: The number of stored circuits.
        account: The account of the instance that asked, if there is one.
        override: The newest number of overrides; 0 without any.
    """

    now: float
    last_state: Position
    circuits: int = 0
    account: Account | None = None
    override: int = 0


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The reply to a heartbeat.

    Args:
        lease: The current lease.
        expires_in: Seconds until it expires, unless it is renewed.
        news: The rest; None in the reply to a brief heartbeat.
    """

    lease: Lease
    expires_in: float
    news: News | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The position up to which results have been counted, and what they came to.

    Args:
        position: All results up to here are in the snapshots and the accounts.
        accounts: By instance.
        snapshots: By circuit. Each names its own position, which may be a later one.
        without: Circuits that have no snapshot any more; for `Backend.checkpoint`.
    """

    position: Position = START
    accounts: Mapping[str, Account] = field(default_factory=dict[str, Account])
    snapshots: Mapping[str, CircuitSnapshot] = field(default_factory=dict[str, CircuitSnapshot])
    without: Collection[str] = ()


class Rest(Protocol):
    """The closed circuits of a large store, which its snapshot leaves out."""

    async def next(self) -> Sequence[Transition | MalformedEntryError] | None:
        """The next circuits (one may be returned twice), or None if there are no more."""
        ...

    async def of(self, names: Iterable[str]) -> Sequence[Transition | MalformedEntryError]:
        """The circuits of these names that are stored, whatever their states are by now."""
        ...


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The starting point of an instance.

    Args:
        now: Seconds of the shared clock.
        transitions: The latest transition of each circuit; of each circuit that is not closed, if
            there is a rest.
        position: The position in the stream of states to read on from.
        results: The end of the stream of results.
        checkpoint: The latest checkpoint; empty unless the instance leads.
        malformed: The entries that could not be read, and were skipped.
        rest: Loads the circuits that were left out; None if there are none.
        overrides: The overrides.
        notified: The entry of the stream of states up to which leaders have called `on_published`;
            None if none has, or unless the instance leads.
    """

    now: float
    transitions: tuple[Transition, ...]
    position: Position
    results: Position
    checkpoint: Checkpoint = Checkpoint()
    malformed: tuple[MalformedEntryError, ...] = ()
    rest: Rest | None = None
    overrides: OverrideSnapshot = NO_OVERRIDES
    notified: Position | None = None


@dataclass(frozen=True, slots=True)
class LeaderChange:
    """An entry of the stream of states: an instance took the lease, or released it.

    Args:
        epoch: The lease's epoch.
        leader: The new leader; None if the lease was released.
        circuits: The number of stored circuits at that time, if known. (Comparisons ignore it.)
    """

    epoch: int
    leader: str | None
    circuits: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """An entry of the stream of states: an unused circuit is no longer stored."""

    circuit: str
    generation: int


@dataclass(frozen=True, slots=True)
class Recalled:
    """An entry of the stream of states: the holder of a grant must return its unused trial permits,
    because other instances have calls and it has none."""

    circuit: str
    generation: int


@dataclass(frozen=True, slots=True)
class UnknownEntry:
    """An entry of the stream of states whose kind this version does not know.

    Args:
        kind: The name of its first field after the format version.
    """

    kind: str


@dataclass(frozen=True, slots=True)
class Probe:
    """An entry of the stream of states: an operator asks for an attempt to recover now.

    Args:
        circuit: The circuit.
        actor: The operator.
        reason: The operator's reason.
    """

    circuit: str
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class OverridesRestored:
    """An entry of the stream of states: overrides that the store had lost were written again, and
    must be loaded.

    Args:
        number: Their newest number.
    """

    number: int


StateItem: TypeAlias = (
    Transition
    | LeaderChange
    | Forgotten
    | Recalled
    | OverrideRecord
    | OverridesRestored
    | Probe
    | Suspect
    | UnknownEntry
    | MalformedEntryError
)
"""The content of an entry of the stream of states."""


@dataclass(frozen=True, slots=True)
class StateEntry:
    """One entry of the stream of states, or of the audit."""

    position: Position
    item: StateItem


@dataclass(frozen=True, slots=True)
class ResultEntry:
    """One entry of the stream of results, with the second at which the store received it."""

    position: Position
    at: float
    item: Batch | MalformedEntryError


StreamEntry: TypeAlias = StateEntry | ResultEntry


@runtime_checkable
class Backend(Protocol):
    """A store shared by the instances of one namespace.

    Every method raises `BackendError` if the store cannot be reached in time or replies wrongly.
    The command may then have been executed or not; it is safe to call the method again.
    """

    def open(self) -> None:
        """Prepare for use in the running event loop. Called before any other method, and again
        after `close`."""
        ...

    async def close(self) -> None:
        """Close every connection. Never raises."""
        ...

    async def heartbeat(
        self, me: Presence, ttl: float, epoch_floor: int, *, brief: bool = False
    ) -> Heartbeat:
        """Renew the lease of an instance, or take a free one, and register the instance.

        A new lease is also announced in the stream of states.

        Args:
            me: The instance that asks.
            ttl: The seconds that the lease lasts from now on.
            epoch_floor: The highest epoch that the instance knows. A new lease gets a higher one,
                even if the store has lost it.
            brief: Leave out the registration and the news, which are needed less often.
        """
        ...

    async def describe(self, texts: Mapping[str, str]) -> None:
        """Store the texts of an instance's policies, for operators.

        The store keeps a bounded number of texts, and may forget those of others.

        Args:
            texts: The texts by their digests.
        """
        ...

    async def resign(self, instance: str) -> None:
        """Remove an instance. If it holds the lease, release the lease and announce that in the
        stream of states."""
        ...

    async def load(self, *, leading: bool = False) -> Snapshot:
        """The current states, with the corresponding position. Closed circuits may follow in parts
        if they are too many for one reply.

        Args:
            leading: Load the checkpoint as well. If a part of it cannot be read, its position is
                the start: all results must be counted again.
        """
        ...

    async def append(self, batch: Batch) -> float:
        """Add a batch to the stream of results, which is bounded: the oldest batches go.

        The store adds the time since the batch was sent to the ages of its results, so that
        results which a hanging server processes late are old.

        Returns:
            Seconds of the shared clock.
        """
        ...

    async def publish(self, lease: Lease, *transitions: Transition) -> bool:
        """Write transitions and add them to the stream of states, in their order and in one step.
        A transition of an old generation is left out; the others are written.

        Args:
            lease: The leader's lease, which the transitions name as well.
            transitions: At least one.

        Returns:
            Whether all are in force now. False if a circuit has another transition of this or a
            newer generation. Writing the same transition again returns True and changes nothing.

        Raises:
            FencedError: The lease is not the current one; nothing is written.
        """
        ...

    async def unnotified(self, lease: Lease, notified: Position, most: int) -> Sequence[StateEntry]:
        """Record up to which entry of the stream of states the leader has called `on_published`,
        and return the following entries, in one step.

        Args:
            lease: The leader's lease.
            notified: The position of that entry.
            most: The number of entries to return at most; 0 to only record the position.

        Returns:
            The entries, oldest first.

        Raises:
            FencedError: The lease is not the current one; nothing is recorded.
        """
        ...

    async def forget(self, lease: Lease, *transitions: Transition) -> bool:
        """Remove circuits, and announce that in the stream of states, in one step.

        Args:
            lease: The leader's lease.
            transitions: The latest transition of each circuit.

        Returns:
            Whether all were removed. False if one has a newer transition, or is not stored.

        Raises:
            FencedError: The lease is not the current one; nothing is removed.
        """
        ...

    async def recall(self, lease: Lease, *transitions: Transition) -> None:
        """Ask the holders of grants to return their unused trial permits, in the stream of states
        and in one step.

        Args:
            lease: The leader's lease.
            transitions: At least one, each with its grant.

        Raises:
            FencedError: The lease is not the current one; nothing is asked.
        """
        ...

    async def override(self, request: OverrideRequest, above: int) -> OverrideRecord:
        """Set or lift an override, and announce that in the stream of states and the audit, in one
        step. It needs no lease. The store gives the record its time, end and number, and
        `replaced`: the override that was in force, if there was one.

        Args:
            request: The request. Lifting what is not set is recorded as well.
            above: The record's number exceeds this one, and all that the store knows.

        Raises:
            OverrideConflictError: The override in force is not the expected one.
            OverrideLimitError: There are as many overrides as there may be.
        """
        ...

    async def probe(self, probe: Probe) -> None:
        """Ask for an attempt to recover, in the stream of states and the audit, without a lease."""
        ...

    async def restore_overrides(self, lost: OverrideSnapshot, restored: OverrideSnapshot) -> bool:
        """Write overrides again that the store has lost, unless they have changed meanwhile, and
        announce that in the stream of states. It needs no lease.

        Args:
            lost: The content as it was loaded.
            restored: The content to write.

        Returns:
            Whether they were written.
        """
        ...

    async def expire_overrides(self, lease: Lease, ended: Collection[OverrideRecord]) -> None:
        """Remove the overrides that are over by the store's clock or the leader's, and announce
        each in the stream of states and the audit.

        Args:
            lease: The leader's lease.
            ended: The overrides that are over by the leader's clock.

        Raises:
            FencedError: The lease is not the current one; nothing is removed.
        """
        ...

    async def note_suspects(self, lease: Lease, *suspects: Suspect) -> None:
        """Write the suspects that the leader has found into the audit, in one step.

        Args:
            lease: The leader's lease.
            suspects: At least one.

        Raises:
            FencedError: The lease is not the current one; nothing is written.
        """
        ...

    async def audit(self, after: Position, most: int) -> Sequence[StateEntry]:
        """The audit: overrides, probes, leaders, suspects, and the transitions between states.

        Args:
            after: Only entries after this position.
            most: Of these, only so many of the newest ones.

        Returns:
            The entries, oldest first. About 5,000 are kept.
        """
        ...

    async def checkpoint(self, lease: Lease, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, in one step or not at all. Each instance receives its own account in
        the replies to its heartbeats; the next leader loads the rest.

        Args:
            lease: The leader's lease.
            checkpoint: The new position, and the changed accounts and snapshots; the others stay.

        Raises:
            FencedError: The lease is not the current one.
        """
        ...

    async def read(
        self, states: Position, results: Position | None, wait: float
    ) -> Sequence[StreamEntry]:
        """The entries after these positions, oldest first in each stream.

        Args:
            states: The position in the stream of states.
            results: The position in the stream of results, or None to leave it out.
            wait: Seconds to wait for an entry if there is none, at most.
        """
        ...

    async def tidy(self, results_age: float, instance_age: float) -> Sequence[Presence]:
        """Trim old results and remove silent instances.

        Args:
            results_age: Results older than so many seconds are trimmed.
            instance_age: Instances that were silent for so many seconds are removed.

        Returns:
            The remaining instances.
        """
        ...
