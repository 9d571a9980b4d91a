"""Reads a fleet for all viewers of a process.

States come from the memory of the coordinator. What only the store knows (instances, leaders,
events) comes from one read-only script for each shard, every 2 s while somebody looks. There is no
task behind it: each viewer calls `refresh`, and whoever comes when something is due does the work
for all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import anyio

from ..._circuits.shard import Shard, shard_of
from ..._core.order import START, Position
from ..._core.states import State, Suspicion, Transition
from ..._operators.overview import Overview
from ...backends.base import StateEntry
from ...backends.observers import ObservedNames, read_observed
from ...backends.together import Together
from ...backends.views import (
    CircuitView,
    Event,
    ShardView,
    Since,
    StoreView,
    Survey,
    Viewable,
    is_closed,
)
from ...coordinator import Coordinator, ask_store, shards_of
from ...exceptions import BackendError
from .board import Board

T = TypeVar("T")

SURVEY_INTERVAL = 2.0
NAMES_INTERVAL = 10.0
"""Seconds between two surveys with the names of all circuits that are called."""

GLANCE = 0.25
"""Seconds between two looks at the memory of the coordinator."""

PATIENCE = 5.0
"""Seconds for all requests of one read."""

AT_ONCE = 2
MOST_WAITING = 20
"""Reads of the store at once, and with those that wait. They share the connection, and the event
loop, of the heartbeats."""

HISTORY = 20
"""Transitions of a circuit to show."""


class Watch:
    """What is known of the fleet of a coordinator.

    Args:
        coordinator: The coordinator.
    """

    def __init__(self, coordinator: Coordinator) -> None:
        self.coordinator = coordinator
        self.board: Board = Board()
        self.away: bool = False
        self._shards = [_WatchedShard() for _ in shards_of(coordinator)]
        self._glanced = self._surveyed = self._named = -NAMES_INTERVAL
        self._surveying = False
        self._turn: anyio.Lock | None = None
        self._sources: object = None
        self._room: anyio.Semaphore | None = None
        self._asking = 0
        self._server = _address(shards_of(coordinator)[0].backend)

    async def refresh(self) -> None:
        """Bring the board up to date. A store that does not answer is shown as such."""
        if self._due(self._surveyed, SURVEY_INTERVAL) and not self._surveying:
            self._surveying = True
            try:
                await self._survey()
            finally:
                self._surveyed = time.monotonic()
                self._surveying = False
        if self._turn is None:
            self._turn = anyio.Lock()  # of the kind of loop that serves the page
        async with self._turn:
            if self._due(self._glanced, GLANCE):
                await self._glance()
                self._glanced = time.monotonic()

    async def _glance(self) -> None:
        """Look at the memory of the coordinator. If nothing in it is new, neither is the board."""
        shards = shards_of(self.coordinator)
        sources = (
            self.away,
            dict.fromkeys(self.coordinator.breakers),
            [watched.last for watched in self._shards],
            [shard.table.overrides.in_force for shard in shards],
            # Equal as long as each transition is the same object, which is found out quickly.
            [dict(shard.table.latest) for shard in shards],
            [_shares(shard) for shard in shards],
        )
        if sources != self._sources:
            await self.board.update(self.overview(), away=self.away)
            self._sources = sources

    def overview(self) -> Overview:
        """Return the fleet as it is known now."""
        own = set(self.coordinator.breakers)
        shards = shards_of(self.coordinator)
        return Overview(
            namespace=self.coordinator.namespace,
            server=self._server,
            views=[
                watched.seen(number, shard, {name for name in own if shard.holds(name)})
                for number, (watched, shard) in enumerate(zip(self._shards, shards, strict=True))
            ],
        )

    async def circuit(self, name: str) -> CircuitView:
        """Read a circuit from the store.

        Raises:
            BackendError: The store does not answer.
        """
        number = shard_of(name, len(self._shards))
        views = self._store_views()
        return await self._ask(lambda: views[number].circuit(name, number, HISTORY))

    async def policies(self) -> Mapping[str, str]:
        """Read the texts of the policies of instances, by their digests.

        Raises:
            BackendError: The store does not answer.
        """
        views = self._store_views()
        return await self._ask(views[0].policies)

    async def events(self, after: Position | None, most: int) -> Sequence[Event]:
        """Read events from the store, oldest first: those after a position, or the last ones.

        There are more than `most` if several have the position of the last one, so that the next
        read can go on from there.

        Raises:
            BackendError: The store does not answer.
        """
        views = self._store_views()

        async def read() -> Sequence[Sequence[StateEntry]]:
            async with Together() as start:
                return await asyncio.gather(*(start(view.entries(after, most)) for view in views))

        parts = await self._ask(read)
        found = [Event(number, each) for number, part in enumerate(parts) for each in part]
        found.sort(key=lambda event: event.entry.position)
        if after is None:
            return found[-most:]
        last = found[most - 1].entry.position if len(found) > most else None
        return [each for each in found if last is None or each.entry.position <= last]

    def _due(self, last: float, interval: float) -> bool:
        return time.monotonic() - last >= interval

    async def _survey(self) -> None:
        names = self._due(self._named, NAMES_INTERVAL)
        shards = zip(self._shards, shards_of(self.coordinator), strict=True)
        wanted = [(watched.newest, watched.unexplained(shard)) for watched, shard in shards]
        try:
            views = self._store_views()

            async def read() -> Sequence[_Findings]:
                reads = zip(views, wanted, strict=True)
                async with Together() as start:
                    return await asyncio.gather(
                        *(
                            start(_look(view, after, names, unexplained))
                            for view, (after, unexplained) in reads
                        )
                    )

            found = await self._ask_at_once(read)  # one for all viewers
        except BackendError:
            self.away = True
            return
        self.away = False
        if names:
            self._named = time.monotonic()
        for number, (watched, each) in enumerate(zip(self._shards, found, strict=True)):
            watched.take(each)
            self.board.log(Event(number, entry) for entry in each.survey.news)

    def _store_views(self) -> Sequence[StoreView]:
        backends: list[object] = [shard.backend for shard in shards_of(self.coordinator)]
        viewable = [each for each in backends if isinstance(each, Viewable)]
        if len(viewable) < len(backends):
            raise BackendError(f"{backends[0]!r} has no method `view`")
        return [each.view() for each in viewable]

    async def _ask(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Read the store for one request of a viewer, after those that came before."""
        if self._room is None:
            self._room = anyio.Semaphore(AT_ONCE)  # of the kind of loop that serves the page
        if self._asking >= MOST_WAITING:
            raise BackendError("too many requests to this page read the store: try again later")
        self._asking += 1
        try:
            async with self._room:
                return await self._ask_at_once(work)
        finally:
            self._asking -= 1

    async def _ask_at_once(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async def bounded() -> T:
            try:
                async with asyncio.timeout(PATIENCE):
                    return await work()
            except TimeoutError:
                raise BackendError("no answer in time") from None

        return await ask_store(self.coordinator, bounded, PATIENCE)


def _address(backend: object) -> str:
    return backend.view().server if isinstance(backend, Viewable) else repr(backend)


class _Findings(NamedTuple):
    """What a survey of a shard has found."""

    survey: Survey
    openings: Mapping[str, Since]
    policies: Mapping[str, str] | None


async def _look(
    view: StoreView, after: Position, names: bool, unexplained: Mapping[str, Transition]
) -> _Findings:
    found = await view.survey(after, names=names)
    if found.newest < after:  # the stream has begun anew
        found = await view.survey(START, names=names)
    return _Findings(
        found,
        await view.openings(unexplained) if unexplained else {},
        await view.policies() if names else None,
    )


class _WatchedShard:
    """What was last read of a shard in the store.

    Attributes:
        last: The last survey.
    """

    def __init__(self) -> None:
        self.last: Survey | None = None
        self._called: frozenset[str] = frozenset()
        self._suspects: tuple[tuple[str, Suspicion], ...] = ()
        self._openings: dict[str, Since] = {}
        self._observed: Mapping[str, ObservedNames] = {}

    @property
    def newest(self) -> Position:
        """The position up to which events are known."""
        return self.last.newest if self.last else START

    def unexplained(self, shard: Shard) -> Mapping[str, Transition]:
        """Return the circuits whose opening has not been sought yet."""
        latest = dict(shard.table.latest)
        return {
            name: each
            for name, each in latest.items()
            if not (is_closed(each) or _is_opening(each) or name in self._openings)
        }

    def take(self, found: _Findings) -> None:
        """Take over what a survey has found."""
        self.last = found.survey
        self._openings.update(found.openings)
        if found.survey.called is not None:
            self._called = found.survey.called
            self._suspects = found.survey.suspects
        if found.policies is not None:
            self._observed = read_observed(found.policies)

    def seen(self, number: int, shard: Shard, own: set[str]) -> ShardView:
        """Return the shard, with the circuits as the coordinator knows them now."""
        latest, last = dict(shard.table.latest), self.last
        in_force = dict(shard.table.overrides.in_force)
        not_closed = {name: each for name, each in latest.items() if not is_closed(each)}
        self._openings = {
            name: since for name, since in self._openings.items() if name in not_closed
        }
        return ShardView(
            number=number,
            now=shard.clock.now(),
            lease=last.lease if last else None,
            instances=last.instances if last else (),
            circuits=latest,
            since={name: self._since(each) for name, each in not_closed.items()},
            unchanged=tuple((self._called | own) - latest.keys()),
            suspects=self._suspects,
            overrides=tuple(sorted(in_force.values(), key=lambda each: -each.at)),
            unreadable=last.unreadable if last else 0,
            observed=self._observed,
        )

    def _since(self, newest: Transition) -> Since:
        if _is_opening(newest):
            self._openings[newest.circuit] = Since(newest, exact=True)
        return self._openings.get(newest.circuit) or Since(newest, exact=False)


def _shares(shard: Shard) -> Sequence[float]:
    """Return the shares of ramps, which grow without a transition."""
    now = shard.clock.now()
    latest = shard.table.latest.values()
    return [each.ramp.share_at(now - each.at) for each in latest if each.ramp is not None]


def _is_opening(transition: Transition) -> bool:
    return transition.previous is State.CLOSED and not is_closed(transition)
