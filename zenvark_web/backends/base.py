"""The backend protocol: the promises a shared store makes to the instances of a namespace.

Every implementation passes the one suite in `tests/contract`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

from .._core.order import START, Lease, Position
from .._core.states import Report, Tally, Transition
from ..exceptions import MalformedEntryError


@dataclass(frozen=True, slots=True)
class Batch:
    """What one instance sends in one go.

    Args:
        instance: Who sends it.
        number: Counted up by the sender; a batch that is sent again keeps its number, so that a
            lost reply makes no result count twice.
        sent: When it was sent, in the shared clock's seconds as the sender knew them.
        reports: By circuit.
    """

    instance: str
    number: int
    sent: float
    reports: tuple[Report, ...]


@dataclass(frozen=True, slots=True)
class Presence:
    """Who an instance is, for operators.

    Args:
        instance: Its id.
        version: This package's version there.
        fingerprint: A digest of its policies.
    """

    instance: str
    version: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """What leaders have made of the batches of one instance, added up.

    Batches between the first and the last that are not in the sums never reached a leader.

    Args:
        first: The number of the first batch it tells of.
        last: The number of the newest one.
        evaluated: How many of their results were judged.
        expired: How many were too old for that.
    """

    first: int
    last: int
    evaluated: int = 0
    expired: int = 0


@dataclass(frozen=True, slots=True)
class News:
    """What a heartbeat that is not brief brings along.

    Args:
        now: The shared clock's seconds.
        last_state: The position of the newest entry in the stream of states.
        circuits: How many circuits the store keeps.
        account: The asking instance's account, if there is one.
    """

    now: float
    last_state: Position
    circuits: int = 0
    account: Account | None = None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The answer to a heartbeat.

    Args:
        lease: The current lease.
        expires_in: Seconds until it runs out, unless it is renewed.
        news: What else there is to know; None in a brief answer.
    """

    lease: Lease
    expires_in: float
    news: News | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far leaders have come with results, and what those have made of circuits.

    Args:
        position: All results up to here are in the tallies and the accounts.
        accounts: What has been made of each instance's results.
        tallies: By circuit. Each names its own position, which may be a later one.
        without: Circuits that have no tally any more; for `Backend.checkpoint`.
    """

    position: Position = START
    accounts: Mapping[str, Account] = field(default_factory=dict[str, Account])
    tallies: Mapping[str, Tally] = field(default_factory=dict[str, Tally])
    without: Collection[str] = ()


class Rest(Protocol):
    """The circuits of a large store that a snapshot has left out: they were closed."""

    async def next(self) -> Sequence[Transition | MalformedEntryError] | None:
        """Some that were not given yet (one may be given twice). None: there are no more."""
        ...

    async def of(self, names: Iterable[str]) -> Sequence[Transition | MalformedEntryError]:
        """Those of these names, as far as there are any, whatever their states are by now."""
        ...


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where a newcomer starts.

    Args:
        now: The shared clock's seconds.
        transitions: The newest one of each circuit, or if there is a rest, of all that are not
            closed.
        position: Read states from here on.
        results: The newest position in the stream of results.
        checkpoint: What leaders have made of results; only for one who leads.
        malformed: What could not be read, and was skipped.
        rest: Gives what was left out; None if nothing was.
    """

    now: float
    transitions: tuple[Transition, ...]
    position: Position
    results: Position
    checkpoint: Checkpoint = Checkpoint()
    malformed: tuple[MalformedEntryError, ...] = ()
    rest: Rest | None = None


@dataclass(frozen=True, slots=True)
class LeaderChange:
    """An entry of the stream of states: leadership was taken, or given up (no leader).

    Args:
        epoch: The lease's epoch.
        leader: Who has taken it.
        circuits: How many circuits the store kept then; None if it is not told. (It is not what
            makes two changes different.)
    """

    epoch: int
    leader: str | None
    circuits: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """An entry of the stream of states: a circuit closed for long is no longer kept."""

    circuit: str
    generation: int


@dataclass(frozen=True, slots=True)
class Recalled:
    """An entry of the stream of states: the holder of a grant is to give back what it has not used,
    because others have calls to make and it has none."""

    circuit: str
    generation: int


@dataclass(frozen=True, slots=True)
class StateEntry:
    """One entry of the stream of states."""

    position: Position
    item: Transition | LeaderChange | Forgotten | Recalled | MalformedEntryError


@dataclass(frozen=True, slots=True)
class ResultEntry:
    """One entry of the stream of results, with when the store took it in."""

    position: Position
    at: float
    item: Batch | MalformedEntryError


StreamEntry: TypeAlias = StateEntry | ResultEntry


@runtime_checkable
class Backend(Protocol):
    """A store shared by the instances of one namespace.

    Every method raises `BackendError` if the store can't be reached in time or answers wrongly,
    and may then have been carried out or not. All survive that: called again, they go on.
    """

    def open(self) -> None:
        """Get ready for use in the running loop; called before any other method, and again
        after a `close`."""
        ...

    async def close(self) -> None:
        """Let go of every connection. Never raises."""
        ...

    async def heartbeat(
        self, me: Presence, ttl: float, epoch_floor: int, *, brief: bool = False
    ) -> Heartbeat:
        """Renew an instance's lease, or take a free one; announce the instance.

        Args:
            me: Who asks.
            ttl: The seconds a lease lasts from now on.
            epoch_floor: The highest epoch the instance knows of. A new lease gets a higher one,
                even if the store has forgotten it.
            brief: Leave out the announcement and what else can be done less often.

        A new lease is also told in the stream of states.
        """
        ...

    async def resign(self, instance: str) -> None:
        """Take leave: give the lease back if it is this instance's, and tell so in the stream
        of states."""
        ...

    async def load(self, *, leading: bool = False) -> Snapshot:
        """The current states, with the position that belongs to them. What is too much for one
        answer may follow in parts, but not what is not closed.

        Args:
            leading: With the checkpoint, if there is one. If a part of it cannot be read, it
                begins at the start: all results must be counted again.
        """
        ...

    async def append(self, batch: Batch) -> float:
        """Add call results to their stream, which is bounded: the oldest give way.

        Returns:
            The shared clock's seconds.

        The store adds the time since the batch was sent to the results' ages: what a hung
        server takes in when it wakes is old by then.
        """
        ...

    async def publish(self, lease: Lease, *transitions: Transition) -> bool:
        """Write transitions and broadcast them, in their order and in one step. Each is written
        and broadcast or neither; one that is overtaken keeps no other from being written.

        Args:
            lease: The leader's lease, which the transitions name as well.
            transitions: At least one.

        Returns:
            Whether all are now in force. False if one's circuit has its generation or a newer one
            already; writing the same transition again is True and changes nothing.

        Raises:
            FencedError: The lease is not the current one; nothing is written.
        """
        ...

    async def forget(self, lease: Lease, *transitions: Transition) -> bool:
        """Keep circuits no longer, and tell so in the stream of states, in one step.

        Args:
            lease: The leader's lease.
            transitions: The newest one of each.

        Returns:
            Whether all are forgotten; False if one has moved on since, or is not there.

        Raises:
            FencedError: The lease is not the current one; nothing is forgotten.
        """
        ...

    async def recall(self, lease: Lease, *transitions: Transition) -> None:
        """Ask the holders of grants, in the stream of states, for the permits they have not used,
        in one step.

        Args:
            lease: The leader's lease.
            transitions: At least one, each with its grant.

        Raises:
            FencedError: The lease is not the current one; nothing is asked.
        """
        ...

    async def checkpoint(self, lease: Lease, checkpoint: Checkpoint) -> None:
        """Write down what has been made of results, in one step or not at all. Each instance is
        told its own account with its heartbeats; the rest is for whoever leads next.

        Args:
            lease: The leader's lease.
            checkpoint: The position from now on, and what has changed: accounts and tallies that
                it does not name stay as they are.

        Raises:
            FencedError: The lease is not the current one.
        """
        ...

    async def read(
        self, states: Position, results: Position | None, wait: float
    ) -> Sequence[StreamEntry]:
        """What stands after these positions, oldest first in each stream.

        Args:
            states: The position in the stream of states.
            results: The position in the stream of results, or None to leave it out.
            wait: Seconds to wait for something to come if there is nothing; an implementation
                may return sooner.
        """
        ...

    async def tidy(self, results_age: float, instance_age: float) -> Sequence[Presence]:
        """Trim old results, forget instances that have been silent, and tell who is there.

        Args:
            results_age: Results older than so many seconds go.
            instance_age: Instances silent for so many seconds go.
        """
        ...
