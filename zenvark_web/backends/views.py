"""The contents of a namespace, as records for operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

from .._core.capabilities import ALL, Capability
from .._core.order import Lease, Position
from .._core.patterns import NamePatterns
from .._core.states import CircuitSnapshot, Protection, State, Suspicion, Transition
from ..exceptions import BackendError
from .base import OverrideRecord, StateEntry
from .observers import NOBODY, ObservedNames, Observers

T = TypeVar("T")

MOST_NEWS = 100
"""Entries of the stream of states in one survey."""

SILENCE = 15.0
"""Seconds without a heartbeat after which a leader removes an instance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenInstance:
    """An instance, as of its last full heartbeat.

    Args:
        name: The id of the instance.
        role: Its role at that time.
        silence: The seconds since.
        version: Its version of this package.
        policies: The digest of the policies by which it judges.
        shards: Its number of shards; None if unknown.
        local: The digest of the settings that concern only itself.
        protects: What it protects itself from.
        can: The capabilities of its version.
    """

    name: str
    role: str
    silence: float
    version: str
    policies: str
    shards: int | None
    local: str = ""
    protects: tuple[Protection, ...] = ()
    can: frozenset[str] = ALL

    @property
    def follows_overrides(self) -> bool:
        """Whether its version knows overrides. The calls of others meet the fleet's verdict."""
        return Capability.OVERRIDE in self.can

    @property
    def is_alive(self) -> bool:
        """Whether the last full heartbeat is recent."""
        return self.silence <= SILENCE


class Since(NamedTuple):
    """The opening of a circuit that is not closed.

    Args:
        transition: The opening, or the oldest stored transition after it.
        exact: Whether the transition is the opening.
    """

    transition: Transition
    exact: bool

    @property
    def at(self) -> float:
        """The time of the transition."""
        return self.transition.at


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardView:
    """A shard at one moment.

    Args:
        number: The number of the shard.
        now: The server's clock.
        lease: The current lease; None if there is no leader.
        instances: The instances, sorted by name.
        circuits: The newest transition of each circuit that has one.
        since: The openings of the circuits that are not closed.
        unchanged: Called circuits without a transition.
        overrides: The overrides in force, the newest first.
        suspects: The suspects, each with its circuit, the newest first.
        unreadable: The number of malformed fields that were skipped.
        omitted: The number of circuits above the limit that were skipped.
        observed: The circuits that instances only observe, by the digests of their local settings.
    """

    number: int
    now: float
    lease: Lease | None
    instances: tuple[SeenInstance, ...] = ()
    circuits: Mapping[str, Transition] = field(default_factory=dict[str, Transition])
    since: Mapping[str, Since] = field(default_factory=dict[str, Since])
    unchanged: tuple[str, ...] = ()
    overrides: tuple[OverrideRecord, ...] = ()
    suspects: tuple[tuple[str, Suspicion], ...] = ()
    unreadable: int = 0
    omitted: int = 0
    observed: Mapping[str, ObservedNames] = field(default_factory=dict[str, ObservedNames])


@dataclass(frozen=True, slots=True)
class Parts(Generic[T]):
    """What was read of the shards of a namespace.

    Args:
        found: The contents of the readable shards.
        unread: The errors of the other shards, by number.
    """

    found: Sequence[T]
    unread: Mapping[int, BackendError] = field(default_factory=dict[int, BackendError])


@dataclass(frozen=True, slots=True)
class Event:
    """An entry of the stream `states` of a shard."""

    shard: int
    entry: StateEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """The recent reports of a circuit, summed up.

    Args:
        span: The length of the period in seconds.
        calls: The number of calls that ended.
        failed: The number of failed calls.
        slow: The number of slow calls.
        blocked: The number of rejected calls.
        uncounted: The number of calls that would have been rejected, and passed.
        overdue: The number of calls in flight for longer than `slow_call`.
        failures: The most frequent failures, with their numbers.
        instances: The reporting instances, with their numbers of failures.
    """

    span: float
    calls: int = 0
    failed: int = 0
    slow: int = 0
    blocked: int = 0
    uncounted: int = 0
    overdue: int = 0
    failures: Mapping[str, int] = field(default_factory=dict[str, int])
    instances: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitView:
    """A circuit at one moment.

    Args:
        shard: The number of its shard.
        now: The server's clock.
        lease: The lease of the shard.
        current: The newest transition, if there is one.
        since: The opening, if the circuit is not closed.
        snapshot: The snapshot in the last checkpoint, if there is one.
        history: The last transitions, newest first.
        recent: The recent reports.
        override: The override that applies, if there is one.
        observers: The instances that only observe the circuit, by their own policies.
        protections: The instances that protect themselves from the circuit, and what they saw.
    """

    shard: int
    now: float
    lease: Lease | None
    current: Transition | None
    since: Since | None
    snapshot: CircuitSnapshot | None
    history: tuple[Transition, ...]
    recent: Recent
    override: OverrideRecord | None = None
    observers: Observers = NOBODY
    protections: tuple[tuple[str, Protection], ...] = ()

    @property
    def current_snapshot(self) -> CircuitSnapshot | None:
        """The snapshot, unless it is older than the newest transition."""
        generation = self.current.generation if self.current else 0
        matches = self.snapshot is not None and self.snapshot.generation == generation
        return self.snapshot if matches else None

    @property
    def suspects(self) -> tuple[Suspicion, ...]:
        """The current suspects."""
        found = self.snapshot.suspects if self.snapshot else ()
        return tuple(each for each in found if self.now < each.until)

    @property
    def is_known(self) -> bool:
        """Whether Redis holds anything about the circuit."""
        return bool(self.current or self.snapshot or self.history or self.recent.instances)


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What only the store knows of a shard.

    Args:
        now: The store's clock.
        lease: The current lease; None if there is no leader.
        instances: The instances.
        newest: The newest position in the stream of states.
        news: Entries of that stream after a given position, oldest first; the newest ones, if they
            are many.
        called: The circuits that are called; None if they were not asked for, or are unreadable.
        suspects: The suspects, each with its circuit, if the circuits were asked for.
        unreadable: The number of malformed fields that were skipped.
    """

    now: float
    lease: Lease | None
    instances: tuple[SeenInstance, ...]
    newest: Position
    news: tuple[StateEntry, ...] = ()
    called: frozenset[str] | None = None
    suspects: tuple[tuple[str, Suspicion], ...] = ()
    unreadable: int = 0


class StoreView(Protocol):
    """Reads one shard for operators, and writes nothing.

    Every method raises `BackendError` if the store cannot be reached in time or replies wrongly.
    """

    @property
    def server(self) -> str:
        """The address of the store, for people."""
        ...

    async def survey(self, after: Position, *, names: bool) -> Survey:
        """Return what only the store knows, in one step.

        Args:
            after: The position after which entries of the stream of states are new.
            names: Whether to include the circuits that are called.
        """
        ...

    async def openings(self, circuits: Mapping[str, Transition]) -> Mapping[str, Since]:
        """Return the openings of circuits that are not closed, given their newest transitions."""
        ...

    async def circuit(self, name: str, shard: int, history: int) -> CircuitView:
        """Return a circuit, with its last transitions."""
        ...

    async def policies(self) -> Mapping[str, str]:
        """Return the texts of the policies of instances, by their digests."""
        ...

    async def entries(self, after: Position | None, most: int) -> Sequence[StateEntry]:
        """Return entries of the stream of states, oldest first: the first ones after a position, or
        the last ones."""
        ...


@runtime_checkable
class Viewable(Protocol):
    """A backend that operators can look into."""

    def view(self) -> StoreView:
        """Return the view of the store."""
        ...


@dataclass(frozen=True, slots=True)
class Layout:
    """The number of shards of a namespace.

    Args:
        shards: The number; 0 if the namespace has no keys.
        told: The live instances by their numbers of shards.
    """

    shards: int
    told: Mapping[int, Sequence[str]] = field(default_factory=dict[int, Sequence[str]])


def protections(
    instances: Iterable[SeenInstance], circuit: str | None = None
) -> tuple[tuple[str, Protection], ...]:
    """Return which living instances protect themselves, and from what, the newest decision first.

    Args:
        instances: The instances.
        circuit: From which circuit. None: from any.
    """
    found = [
        (seen.name, each)
        for seen in instances
        if seen.is_alive
        for each in seen.protects
        if circuit in {None, each.circuit}
    ]
    return tuple(sorted(found, key=lambda each: -each[1].since))


def overrides_by_name(overrides: Iterable[OverrideRecord]) -> NamePatterns[OverrideRecord]:
    """Return the overrides by circuit or pattern.

    Args:
        overrides: The overrides in force, the newest first.
    """
    return NamePatterns("overrides", {each.circuit: each for each in overrides})


def local_digests(instances: Iterable[SeenInstance]) -> Counter[str]:
    """Return the numbers of living instances, by the digests of their local settings."""
    return Counter(each.local for each in instances if each.is_alive)


def is_closed(transition: Transition | None) -> bool:
    """Return whether a circuit with this newest transition, or with none, is closed."""
    return transition is None or transition.state is State.CLOSED


class Openings:
    """Searches the openings of circuits that are not closed, newest entries first.

    Args:
        circuits: The newest transition of each circuit.
    """

    def __init__(self, circuits: Mapping[str, Transition]) -> None:
        self.found: dict[str, Since] = {
            name: Since(each, each.previous is State.CLOSED)
            for name, each in circuits.items()
            if not is_closed(each)
        }
        self._sought = {name for name, since in self.found.items() if not since.exact}

    def is_complete(self) -> bool:
        """Whether all are found."""
        return not self._sought

    def add(self, entry: StateEntry) -> None:
        """Look at the next older entry."""
        each = entry.item
        if not isinstance(each, Transition) or is_closed(each) or each.circuit not in self._sought:
            return
        exact = each.previous is State.CLOSED
        self.found[each.circuit] = Since(each, exact)
        if exact:
            self._sought.remove(each.circuit)


def openings(
    circuits: Mapping[str, Transition], entries: Iterable[StateEntry]
) -> Mapping[str, Since]:
    """Return the openings of those circuits that are not closed, from entries, newest first."""
    search = Openings(circuits)
    for entry in entries:
        if search.is_complete():
            break
        search.add(entry)
    return search.found
