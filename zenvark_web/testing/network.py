"""A store on virtual time, and a network that delays, loses, repeats and reorders what is sent."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from functools import partial
from typing import Any, TypeVar

from .._core.states import Transition
from ..backends.base import Account, Batch, Entry, Heartbeat, Presence, Snapshot
from ..backends.memory import MAX_RESULTS, MAX_STATES, MemoryStore
from ..exceptions import BackendError, ZenvarkError
from .loop import VirtualLoop

T = TypeVar("T")

COMMAND_TIMEOUT = 1.0
READ_SLACK = 3.0
"""Seconds for which an instance waits for an answer, as with Redis."""

USUAL_DELAY = 0.001
LONGEST_DELAY = 3.0


class Server:
    """A store's server. Each command is carried out in one step.

    Args:
        loop: Where time comes from.
        published: Told each transition that the store has taken.

    Attributes:
        store: What it holds.
        up: Whether it accepts commands.
        hangs: Whether it keeps commands waiting.
        ahead: Seconds by which its clock is ahead of virtual time.
        lives: How often its data were lost or replaced.
    """

    def __init__(self, loop: VirtualLoop, published: Callable[[Server, Transition], None]) -> None:
        self._loop = loop
        self._published = published
        self.ahead: float = 1_000_000.0
        self.lives: int = 0
        self.up: bool = True
        self.hangs: bool = False
        self.store: MemoryStore = self._empty()
        self._copy: MemoryStore | None = None
        self._queue: list[Callable[[], None]] = []
        self._readers: list[Callable[[], bool]] = []

    def _empty(self) -> MemoryStore:
        # The clock is a function, which a copy shares with its original.
        return MemoryStore(lambda: self.clock(), max_results=MAX_RESULTS, max_states=MAX_STATES)

    def clock(self) -> float:
        """The store's seconds."""
        return self._loop.now + self.ahead

    def save(self) -> None:
        """Keep a copy of what it holds now."""
        self._copy = copy.deepcopy(self.store)

    def restart(self, *, empty: bool) -> None:
        """Come back, empty or with the copy that was kept."""
        if empty or self._copy is None:
            self.store = self._empty()
        else:
            self.store = copy.deepcopy(self._copy)
        self.lives += 1
        self.up, self.hangs = True, False
        self._queue.clear()
        self._readers.clear()

    def resume(self) -> None:
        """Carry out what has waited."""
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
            self._readers = [reader for reader in self._readers if not reader()]

    def wait(self, reader: Callable[[], bool]) -> None:
        """Ask a reader again after each command, until it says that it is done."""
        self._readers.append(reader)

    def note(self, transition: Transition) -> None:
        """A transition has been taken."""
        self._published(self, transition)


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

    def open(self) -> None:
        """Begin anew."""
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        """Nothing to let go of."""

    async def heartbeat(
        self, me: Presence, ttl: float, epoch_floor: int, *, brief: bool = False
    ) -> Heartbeat:
        return await self._command(lambda store: store.heartbeat(me, ttl, epoch_floor, brief=brief))

    async def resign(self, instance: str) -> None:
        await self._command(lambda store: store.resign(instance))

    async def load(self) -> Snapshot:
        return await self._command(lambda store: store.load())

    async def append(self, batch: Batch) -> float:
        return await self._command(lambda store: store.append(batch))

    async def publish(self, transition: Transition) -> bool:
        def publish(store: MemoryStore) -> bool:
            before = store.newest
            in_force = store.publish(transition)
            if in_force and store.newest != before:
                self._server.note(transition)
            return in_force

        return await self._command(publish)

    async def forget(self, transition: Transition) -> bool:
        return await self._command(lambda store: store.forget(transition))

    async def settle(self, epoch: int, leader: str, accounts: Mapping[str, Account]) -> None:
        await self._command(lambda store: store.settle(epoch, leader, accounts))

    async def tidy(self, results_age: float, instance_age: float) -> Sequence[Presence]:
        return await self._command(lambda store: store.tidy(results_age, instance_age))

    async def read(self, states: str, results: str | None, wait: float) -> Sequence[Entry]:
        answer: asyncio.Future[Sequence[Entry]] = self._loop.create_future()
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
                server.wait(look)
                self._later(wait, partial(server.take, lambda: None))

        await self._ask(answer, arrive, wait + READ_SLACK)
        return answer.result()

    async def _command(self, command: Callable[[MemoryStore], T]) -> T:
        answer: asyncio.Future[T] = self._loop.create_future()

        def arrive() -> None:
            try:
                self._reply(answer, command(self._server.store), None)
            except ZenvarkError as error:
                self._reply(answer, None, error)

        try:
            async with asyncio.timeout(COMMAND_TIMEOUT), self._turn:
                await self._ask(answer, arrive, COMMAND_TIMEOUT)
        except TimeoutError:
            raise BackendError("no answer in time") from None
        return answer.result()

    async def _ask(
        self, answer: asyncio.Future[Any], arrive: Callable[[], None], patience: float
    ) -> None:
        server = self._server
        for delay in self._way.arrivals(passes=self._way.requests):
            self._later(delay, partial(server.take, arrive))
        if not server.up:
            self._later(USUAL_DELAY, partial(_resolve, answer, None, BackendError("refused")))
        try:
            async with asyncio.timeout(patience):
                await asyncio.wait({answer})
        except TimeoutError:
            raise BackendError("no answer in time") from None

    def _reply(self, answer: asyncio.Future[Any], value: object, error: Exception | None) -> None:
        for delay in self._way.arrivals(passes=self._way.replies):
            self._later(delay, partial(_resolve, answer, value, error))

    def _later(self, delay: float, what: Callable[[], None]) -> None:
        """On no host: a host that sleeps or dies keeps no message from arriving."""
        when = self._loop.now + delay
        handle = asyncio.TimerHandle(when, what, (), self._loop, Context())
        self._loop.put(when, handle)


def _resolve(answer: asyncio.Future[Any], value: object, error: Exception | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(value)
    else:
        answer.set_exception(error)
        answer.exception()  # nobody may be waiting any more
