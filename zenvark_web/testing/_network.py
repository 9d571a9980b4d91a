"""A store on virtual time, and a network that delays, loses, repeats and reorders messages."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, Protocol, TypeVar

from .._core.order import Lease, Position
from .._core.states import Suspect, Transition
from ..backends.base import (
    Batch,
    Checkpoint,
    Heartbeat,
    OverrideRecord,
    OverrideRequest,
    OverrideSnapshot,
    Presence,
    Probe,
    Snapshot,
    StateEntry,
    StreamEntry,
)
from ..backends.memory import MAX_RESULTS, MAX_STATES, MemoryStore
from ..exceptions import BackendError, ZenvarkError
from ._loop import VirtualLoop

T = TypeVar("T")

COMMAND_TIMEOUT = 1.0
READ_SLACK = 3.0
"""Seconds for which an instance waits for an answer, as with Redis."""

USUAL_DELAY = 0.001
LONGEST_DELAY = 3.0


class Observer(Protocol):
    """An observer of the commands of a server."""

    def published(self, server: Server, transition: Transition) -> None:
        """A transition is in force now."""
        ...

    def appended(self, server: Server, batch: Batch) -> None:
        """A batch of results is in the stream now."""
        ...


class Server:
    """A store's server. Each command is one step.

    Args:
        loop: The source of time.
        observer: Observes the commands.

    Attributes:
        store: The content.
        up: Whether it accepts commands.
        hangs: Whether it keeps commands waiting.
        ahead: Seconds by which its clock is ahead of virtual time.
        lives: The number of times that its data were lost or replaced.
    """

    def __init__(self, loop: VirtualLoop, observer: Observer | None = None) -> None:
        self._loop = loop
        self.observer: Observer | None = observer
        self.ahead: float = 1_000_000.0
        self.lives: int = 0
        self.up: bool = True
        self.hangs: bool = False
        self.store: MemoryStore = self._empty()
        self._copy: MemoryStore | None = None
        self._queue: list[Callable[[], None]] = []
        self._readers: dict[int, Callable[[], bool]] = {}
        self._numbers = count()
        self._seen = self.store.newest

    def _empty(self) -> MemoryStore:
        def clock() -> float:  # a function, which a copy shares with its original
            return self._loop.now + self.ahead

        return MemoryStore(clock, max_results=MAX_RESULTS, max_states=MAX_STATES)

    def clock(self) -> float:
        """The store's seconds."""
        return self._loop.now + self.ahead

    def save(self) -> None:
        """Keep a copy of the current content."""
        self._copy = copy.deepcopy(self.store)

    def restart(self, *, empty: bool) -> None:
        """Restart, empty or with the kept copy."""
        if empty or self._copy is None:
            self.store = self._empty()
        else:
            self.store = copy.deepcopy(self._copy)
        self.lives += 1
        self.up, self.hangs = True, False
        self._queue.clear()
        self._readers.clear()

    def resume(self) -> None:
        """Run the commands that have waited."""
        self.hangs = False
        queue, self._queue = self._queue, []
        for command in queue:
            self.take(command)

    def take(self, command: Callable[[], None]) -> None:
        """A command has arrived."""
        if self.hangs:
            self._queue.append(command)
        elif self.up:
            command()
            if self.store.newest != self._seen:  # most commands add no entry
                self._seen = self.store.newest
                self._readers = {n: reader for n, reader in self._readers.items() if not reader()}

    def wait(self, reader: Callable[[], bool], seconds: float) -> None:
        """Ask a reader again whenever there is something new, until it says that it is done; for
        the last time after so many seconds."""
        number = next(self._numbers)
        self._readers[number] = reader

        def end() -> None:
            if self._readers.pop(number, None) is not None:
                reader()

        self._loop.deliver(seconds, lambda: self.take(end))


class Way:
    """How one host reaches the servers.

    Args:
        chance: Decides what becomes of each message.

    Attributes:
        requests, replies: Whether each direction gets through.
        trouble: The share of messages that are late, lost or repeated.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.requests: bool = True
        self.replies: bool = True
        self.trouble: float = 0.0

    def heal(self) -> None:
        """Let everything through, in time."""
        self.requests = self.replies = True
        self.trouble = 0.0

    def arrivals(self, *, passes: bool) -> list[float]:
        """After how many seconds a message arrives: once, never, or twice."""
        if not passes:
            return []
        if self._chance.random() >= self.trouble:
            return [self._chance.expovariate(1 / USUAL_DELAY)]
        number = self._chance.choice((0, 1, 2))
        return [self._chance.uniform(0, LONGEST_DELAY) for _ in range(number)]


class SimulatedBackend:
    """A host's way to one server, behind the backend protocol.

    Args:
        loop: Where time comes from.
        server: The server.
        way: What becomes of messages.
    """

    def __init__(self, loop: VirtualLoop, server: Server, way: Way) -> None:
        self._loop = loop
        self._server = server
        self._way = way
        self._turn = asyncio.Lock()

    def __repr__(self) -> str:
        return "<SimulatedBackend>"

    def open(self) -> None:
        """Begin anew."""
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        """Nothing to let go of."""

    async def heartbeat(
        self, me: Presence, ttl: float, epoch_floor: int, *, brief: bool = False
    ) -> Heartbeat:
        return await self._command(lambda store: store.heartbeat(me, ttl, epoch_floor, brief=brief))

    async def describe(self, texts: Mapping[str, str]) -> None:
        await self._command(lambda store: store.describe(texts))

    async def resign(self, instance: str) -> None:
        await self._command(lambda store: store.resign(instance))

    async def load(self, *, leading: bool = False) -> Snapshot:
        return await self._command(lambda store: store.load(leading=leading))

    async def append(self, batch: Batch) -> float:
        def append(store: MemoryStore) -> float:
            now = store.append(batch)
            if self._server.observer is not None:
                self._server.observer.appended(self._server, batch)
            return now

        return await self._command(append)

    async def publish(self, lease: Lease, *transitions: Transition) -> bool:
        def publish_one(store: MemoryStore, transition: Transition) -> bool:
            before = store.newest
            in_force = store.publish(lease, transition)
            if in_force and store.newest != before and self._server.observer is not None:
                self._server.observer.published(self._server, transition)
            return in_force

        def publish(store: MemoryStore) -> bool:
            in_force = [publish_one(store, transition) for transition in transitions]
            return all(in_force)

        return await self._command(publish)

    async def unnotified(self, lease: Lease, notified: Position, most: int) -> Sequence[StateEntry]:
        return await self._command(lambda store: store.unnotified(lease, notified, most))

    async def forget(self, lease: Lease, *transitions: Transition) -> bool:
        return await self._command(lambda store: store.forget(lease, *transitions))

    async def recall(self, lease: Lease, *transitions: Transition) -> None:
        await self._command(lambda store: store.recall(lease, *transitions))

    async def override(self, request: OverrideRequest, above: int) -> OverrideRecord:
        return await self._command(lambda store: store.override(request, above))

    async def probe(self, probe: Probe) -> None:
        await self._command(lambda store: store.probe(probe))

    async def restore_overrides(self, lost: OverrideSnapshot, restored: OverrideSnapshot) -> bool:
        return await self._command(lambda store: store.restore_overrides(lost, restored))

    async def expire_overrides(self, lease: Lease, ended: Collection[OverrideRecord]) -> None:
        await self._command(lambda store: store.expire_overrides(lease, ended))

    async def note_suspects(self, lease: Lease, *suspects: Suspect) -> None:
        await self._command(lambda store: store.note_suspects(lease, *suspects))

    async def audit(self, after: Position, most: int) -> Sequence[StateEntry]:
        return await self._command(lambda store: store.audit(after, most))

    async def checkpoint(self, lease: Lease, checkpoint: Checkpoint) -> None:
        await self._command(lambda store: store.checkpoint(lease, checkpoint))

    async def tidy(self, results_age: float, instance_age: float) -> Sequence[Presence]:
        return await self._command(lambda store: store.tidy(results_age, instance_age))

    async def read(
        self, states: Position, results: Position | None, wait: float
    ) -> Sequence[StreamEntry]:
        answer: asyncio.Future[Sequence[StreamEntry]] = self._loop.create_future()
        until = self._loop.now + wait
        server = self._server

        def look() -> bool:
            entries = server.store.read(states, results)
            if not entries and self._loop.now < until:
                return False
            self._reply(answer, entries, None)
            return True

        def arrive() -> None:
            if not look():
                server.wait(look, wait)

        self._ask(answer, arrive)
        with _Deadline(self._loop, answer, wait + READ_SLACK):
            return await answer

    async def _command(self, command: Callable[[MemoryStore], T]) -> T:
        answer: asyncio.Future[T] = self._loop.create_future()

        def arrive() -> None:
            try:
                self._reply(answer, command(self._server.store), None)
            except ZenvarkError as error:
                self._reply(answer, None, error)

        # The command before this one has an earlier deadline, and so its turn comes before its own.
        with _Deadline(self._loop, answer, COMMAND_TIMEOUT):
            async with self._turn:
                self._ask(answer, arrive)
                return await answer

    def _ask(self, answer: asyncio.Future[Any], arrive: Callable[[], None]) -> None:
        take = partial(self._server.take, arrive)
        for delay in self._way.arrivals(passes=self._way.requests):
            self._loop.deliver(delay, take)
        if not self._server.up:
            refused = BackendError("refused")
            self._loop.deliver(USUAL_DELAY, partial(_resolve, answer, None, refused))

    def _reply(self, answer: asyncio.Future[Any], value: object, error: Exception | None) -> None:
        for delay in self._way.arrivals(passes=self._way.replies):
            self._loop.deliver(delay, partial(_resolve, answer, value, error))


class _Deadline:
    """Fails an answer after a number of seconds, unless the block was left before. A timer is all
    it takes: `asyncio.timeout`, which cancels any code, would be a fifth of a simulation."""

    def __init__(self, loop: VirtualLoop, answer: asyncio.Future[Any], seconds: float) -> None:
        self._timer = loop.call_later(seconds, self._pass)
        self._answer = answer

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _pass(self) -> None:
        _resolve(self._answer, None, BackendError("no answer in time"))


def _resolve(answer: asyncio.Future[Any], value: object, error: Exception | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(value)
    else:
        answer.set_exception(error)
        answer.exception()  # nobody may be waiting any more
