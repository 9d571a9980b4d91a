"""A fleet at one moment: its shards merged and sorted for operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from .._core.overrides import Override
from .._core.patterns import NamePatterns
from .._core.states import Protection, State, Suspicion, Transition
from ..backends.base import OverrideRecord
from ..backends.observers import NOBODY, Observers, observers_of
from ..backends.views import (
    SeenInstance,
    ShardView,
    Since,
    is_closed,
    local_digests,
    overrides_by_name,
    protections,
)
from ..exceptions import BackendError

ORDER = {State.OPEN: 0, State.HALF_OPEN: 1, State.CLOSED: 2}


class SeenCircuit(NamedTuple):
    """A circuit. (A tuple, because thousands are made for each look.)

    Args:
        name: The name.
        shard: The number of its shard.
        transition: The newest transition, if there is one.
        since: The opening, if the circuit is not closed.
        override: The override that applies, if there is one.
        observers: The instances that only observe it, by their own policies.
    """

    name: str
    shard: int
    transition: Transition | None = None
    since: Since | None = None
    override: OverrideRecord | None = None
    observers: Observers = NOBODY

    @property
    def state(self) -> State:
        """The state."""
        return self.transition.state if self.transition else State.CLOSED

    def share(self, now: float) -> float:
        """Return the share of calls that pass, from 0 to 1: of a ramp its current step, and all of
        them or none under an override. Instances that only observe permit all in addition."""
        mode = self.override.mode if self.override else None
        if mode is not None:
            return float(mode is not Override.FORCE_OPEN)
        ramp = self.transition.ramp if self.transition else None
        if self.observers.are_all:
            return 1.0
        if self.transition is not None and ramp is not None:
            return ramp.share_at(now - self.transition.at)
        return float(self.state is State.CLOSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An instance in all shards.

    Args:
        seen: Its newest full heartbeat in any shard.
        leads: The shards that it leads.
    """

    seen: SeenInstance
    leads: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A fleet.

    Args:
        namespace: The namespace.
        server: The address of the server.
        views: The readable shards.
        unread: The errors of the other shards, by number.
    """

    namespace: str
    server: str
    views: Sequence[ShardView]
    unread: Mapping[int, BackendError] = field(default_factory=dict[int, BackendError])

    @property
    def shards(self) -> int:
        """The number of shards."""
        return len(self.views) + len(self.unread)

    @property
    def now(self) -> float:
        """The server's clock."""
        return max(view.now for view in self.views)

    @property
    def circuits(self) -> Sequence[SeenCircuit]:
        """All circuits: open ones first, then half-open ones, the newest openings first."""
        return sorted(self.unsorted, key=_rank)

    @property
    def unsorted(self) -> Iterator[SeenCircuit]:
        """All circuits, in any order, each made when its turn comes."""
        return (circuit for view in self.views for circuit in _circuits(view))

    @property
    def counts(self) -> Mapping[State, int]:
        """The number of circuits in each state."""
        counted = Counter(each.state for view in self.views for each in view.circuits.values())
        counted[State.CLOSED] += sum(len(view.unchanged) for view in self.views)
        return {state: counted[state] for state in ORDER}

    @property
    def all_closed(self) -> bool:
        """Whether all circuits of the readable shards are closed."""
        return all(is_closed(each) for view in self.views for each in view.circuits.values())

    @property
    def overrides(self) -> Sequence[OverrideRecord]:
        """The overrides in force, the newest first. A pattern is in all shards, and here once."""
        newest: dict[str, OverrideRecord] = {}
        for record in sorted(
            (each for view in self.views for each in view.overrides), key=lambda each: each.at
        ):
            newest[record.circuit] = record
        return sorted(newest.values(), key=lambda each: -each.at)

    @property
    def suspects(self) -> Sequence[tuple[str, Suspicion]]:
        """The suspects, each with its circuit, the newest first."""
        found = [each for view in self.views for each in view.suspects]
        return sorted(found, key=lambda each: -each[1].until)

    @property
    def protections(self) -> Sequence[tuple[str, Protection]]:
        """The instances that protect themselves, each with what it saw, the newest first."""
        return protections(each for view in self.views for each in view.instances)

    def matching(self, name: str) -> Sequence[SeenCircuit]:
        """Return the circuits with a name, or of a pattern of names."""
        patterns = NamePatterns("names", {name: True})
        return [each for each in self.circuits if patterns.find(each.name)]

    @property
    def members(self) -> Sequence[Member]:
        """All instances, leaders first."""
        newest: dict[str, SeenInstance] = {}
        for view in self.views:
            for seen in view.instances:
                known = newest.setdefault(seen.name, seen)
                if seen.silence < known.silence:
                    newest[seen.name] = seen
        members = [Member(seen=seen, leads=self._led_by(name)) for name, seen in newest.items()]
        return sorted(members, key=lambda each: (not each.leads, each.seen.name))

    @property
    def ignoring(self) -> Sequence[str]:
        """The living instances whose versions ignore overrides."""
        seen = [member.seen for member in self.members]
        return [each.name for each in seen if each.is_alive and not each.follows_overrides]

    @property
    def leaderless(self) -> Sequence[int]:
        """The shards without a leader."""
        return [view.number for view in self.views if view.lease is None]

    @property
    def unreadable(self) -> int:
        """The number of malformed fields that were skipped."""
        return sum(view.unreadable for view in self.views)

    @property
    def omitted(self) -> int:
        """The number of circuits above the limit that were skipped."""
        return sum(view.omitted for view in self.views)

    def _led_by(self, name: str) -> tuple[int, ...]:
        return tuple(view.number for view in self.views if view.lease and view.lease.holder == name)


def _circuits(view: ShardView) -> Iterator[SeenCircuit]:
    overrides = overrides_by_name(view.overrides)
    present = local_digests(view.instances)
    for name in (*view.circuits, *view.unchanged):
        yield SeenCircuit(
            name=name,
            shard=view.number,
            transition=view.circuits.get(name),
            since=view.since.get(name),
            override=overrides.find(name) if view.overrides else None,
            observers=observers_of(name, present, view.observed),
        )


def _rank(circuit: SeenCircuit) -> tuple[int, float, str]:
    since = circuit.since.at if circuit.since else 0.0
    return ORDER[circuit.state], -since, circuit.name
