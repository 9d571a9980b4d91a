"""A read-only view of a namespace in Redis, without presence, lease or write.

All commands are within the permissions of an instance (docs/deployment.md). Stored values may be
of any origin: malformed ones are counted and skipped, and every read is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from .._core._checks import check_name
from .._core.order import START, Lease, Position
from .._core.states import Transition
from ..exceptions import MalformedEntryError
from . import _read, _replies
from ._time_slices import TimeSlice
from .asking import OF_CONNECTIONS, InspectionError, Server, Trouble
from .base import ResultEntry, StateEntry
from .observers import observers_of, read_observed
from .together import Together
from .views import (
    CircuitView,
    Event,
    Layout,
    Openings,
    Parts,
    Recent,
    SeenInstance,
    ShardView,
    Since,
    local_digests,
    overrides_by_name,
    protections,
)

PAGE = 250
"""Fields of a hash, or entries of a stream, for each command."""

MAX_FIELDS = 50_000
MAX_STATES = 11_000
"""The most fields of a hash, and entries of `states`, to read."""

MAX_SINCE = 2_000
"""The most entries of `states` in which openings are searched."""

MAX_RESULTS = 5_000
"""The most entries of `results` to read."""

LONGEST_COUNT = 1.0
"""Seconds after which no further entries of `results` are read: large ones take long to decode."""

STREAMS = ("results", "states", "audit")
SIGHTS = ((0, 1), (0, 2), (1, 2), (2, 2), (3, 2))
"""The shards in which instances are looked for, each with a number of shards: one, or several."""

HASHES = ("circuits", "instances", "accounts", "tallies", "overrides", "policies")
STRINGS = ("leader", "epoch", "notified")

ELSEWHERE = {*OF_CONNECTIONS, Trouble.UNREADY}
"""Failures that another node of a cluster may not have."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a hash, and the number of those above the limit."""

    fields: Mapping[str, str]
    omitted: int = 0


class Asker(Protocol):
    """Sends single commands to a server. Both methods raise `BackendError` if that fails."""

    async def ask(self, command: str, *arguments: str | int | bytes) -> Any:
        """Run a command; its reply may be bytes or text."""
        ...

    async def time(self, key: str) -> float:
        """Return the clock of the server that holds a key."""
        ...


AskerT_co = TypeVar("AskerT_co", bound=Asker, covariant=True)


class Reading(Generic[AskerT_co]):
    """Reads the keys of a namespace.

    Args:
        server: Where they are.
        namespace: The namespace.
    """

    def __init__(self, server: AskerT_co, namespace: str) -> None:
        self.namespace = namespace
        self._server = server

    @property
    def server(self) -> AskerT_co:
        """Where the keys are."""
        return self._server

    def key(self, name: str, shard: int, shards: int) -> str:
        """Return the full name of a key."""
        tag = self.namespace if shards == 1 else f"{self.namespace}/{shard}"
        return f"zenvark:{{{tag}}}:{name}"

    async def circuit(
        self, name: str, shard: int, shards: int, *, history: int, number: int | None = None
    ) -> CircuitView:
        """Return a circuit.

        Args:
            name: The name of the circuit.
            shard: The number of its shard.
            shards: The number of shards.
            history: The most transitions to return.
            number: The number of its shard to return, if the namespace itself names the shard.
        """

        def key(name: str) -> str:
            return self.key(name, shard, shards)

        async with Together() as start:
            now, lease, stored, snapshot, overrides, recent = await asyncio.gather(
                start(self.server.time(key("leader"))),
                start(self._lease(key("leader"))),
                start(self.server.ask("HGET", key("circuits"), name)),
                start(self.server.ask("HGET", key("tallies"), name)),
                start(self.hash(key("overrides"))),
                start(self._recent(name, key("results"))),
            )
            present, texts = await asyncio.gather(
                start(self.hash(key("instances"))), start(self.hash(key("policies")))
            )
        seen = _seen(present, now)
        in_force = _read.overrides(overrides.fields, now, [])
        current = _read.transition(stored)
        since = await self.openings(key("states"), {name: current} if current else {})
        return CircuitView(
            shard=shard if number is None else number,
            now=now,
            lease=lease,
            current=current,
            override=overrides_by_name(in_force).find(name),
            observers=observers_of(name, local_digests(seen), read_observed(texts.fields)),
            since=since.get(name),
            snapshot=_read.snapshot(snapshot),
            history=await self._history(name, key("states"), history),
            recent=recent,
            protections=protections(seen, name),
        )

    async def newest(self, key: str) -> Position:
        """Return the newest position of a stream."""
        async for entries in self.pages(key, 1):
            return _replies.position(entries[0][0])
        return START

    async def _history(self, circuit: str, key: str, most: int) -> tuple[Transition, ...]:
        found: list[Transition] = []
        looked = 0
        time_slice = TimeSlice()
        async for entries in self.pages(key, PAGE):
            for entry in _replies.entries([(key, entries)], key):
                await time_slice.yield_if_over()
                if isinstance(entry.item, Transition) and entry.item.circuit == circuit:
                    found.append(entry.item)
            looked += len(entries)
            if len(found) >= most or looked >= MAX_STATES:
                break
        return tuple(found[:most])

    async def openings(self, key: str, circuits: Mapping[str, Transition]) -> Mapping[str, Since]:
        """Return the openings of those circuits that are not closed.

        Args:
            key: The stream of states.
            circuits: The newest transition of each circuit.
        """
        search = Openings(circuits)
        looked = 0
        if search.is_complete():
            return search.found
        time_slice = TimeSlice()
        async for entries in self.pages(key, PAGE):
            for entry in _replies.entries([(key, entries)], key):
                await time_slice.yield_if_over()
                if isinstance(entry, StateEntry):
                    search.add(entry)
            looked += len(entries)
            if search.is_complete() or looked >= MAX_SINCE:
                break
        return search.found

    async def _recent(self, circuit: str, key: str) -> Recent:
        now = await self.server.time(key)
        counted = _read.Counting(circuit)
        looked = 0
        oldest = now
        clock = asyncio.get_running_loop().time
        ends = clock() + LONGEST_COUNT
        time_slice = TimeSlice()
        async for entries in self.pages(key, PAGE):
            if looked >= MAX_RESULTS or (looked and clock() >= ends):
                return counted.told(now - oldest)
            for entry in _replies.entries([(key, entries)], ""):
                await time_slice.yield_if_over()
                if not isinstance(entry, ResultEntry) or entry.at < now - _read.RECENT:
                    return counted.told()
                counted.add(entry)
                oldest = entry.at
            looked += len(entries)
        return counted.told()

    async def pages(self, key: str, page: int) -> AsyncIterator[Sequence[Any]]:
        """Yield the entries of a stream in pages, newest first."""
        end = "+"
        while entries := await self.server.ask("XREVRANGE", key, end, "-", "COUNT", page):
            yield [(at, fields) for at, fields in entries if at is not None]
            if len(entries) < page:
                return
            end = f"({_replies.text(entries[-1][0])}"

    async def policies(self, shard: int, shards: int) -> Mapping[str, str]:
        """Return the texts of the policies of instances, by their digests."""
        return (await self.hash(self.key("policies", shard, shards))).fields

    async def hash(self, key: str) -> Fields:
        """Return the fields of a hash, as far as they are bounded."""
        fields: dict[str, str] = {}
        cursor, looked = 0, 0
        while looked < MAX_FIELDS:
            reply = await self.server.ask("HSCAN", key, cursor, "COUNT", PAGE)
            cursor, page = int(reply[0]), reply[1]
            looked += PAGE
            for name, value in dict(page or {}).items():
                fields[_replies.text(name)] = _read.bounded(value)
            if cursor == 0:
                return Fields(fields)
        return Fields(fields, max(0, int(await self.server.ask("HLEN", key)) - len(fields)))

    async def _lease(self, key: str) -> Lease | None:
        stored = await self.server.ask("GET", key)
        return None if stored is None else _read.lease(_replies.text(stored))


class Inspector(Reading[Server]):
    """Reads a namespace through a connection of its own.

        async with Inspector(url, "shop") as inspector:
            layout = await inspector.layout()
            views = await inspector.views(layout.shards)

    Args:
        url: The URL of the server.
        namespace: The namespace.

    Raises:
        ValueError: The URL or the namespace is invalid.

    Every method raises `InspectionError` if a command fails.
    """

    def __init__(self, url: str, namespace: str) -> None:
        check_namespace(namespace)
        super().__init__(Server(url), namespace)

    async def __aenter__(self) -> Self:
        self.server.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.server.close()

    async def layout(self, *, thorough: bool = False) -> Layout:
        """Return the number of shards: that of the live instances, or else that of the keys.

        Args:
            thorough: Whether to look for instances with another number of shards, too. This user
                may lack the permission for their keys, and Redis logs each refusal.
        """
        told: dict[int, Sequence[str]] = {}
        errors: list[InspectionError] = []
        looked = 0
        for shard, shards in SIGHTS:
            if looked > len(errors) and told and not thorough:
                break
            if looked >= 2 and not any(error.trouble in ELSEWHERE for error in errors):
                break
            looked += 1
            found = await self._announced_in(self.key("instances", shard, shards))
            if isinstance(found, InspectionError):
                errors.append(found)
            else:
                told |= _by_shards(found, default=1 if shards == 1 else None)
        if looked == len(errors):
            raise errors[0]
        if told:
            return Layout(max(told, key=lambda shards: (len(told[shards]), shards)), told)
        return Layout(await self._shards_by_keys())

    async def views(self, shards: int) -> Parts[ShardView]:
        """Return all shards."""
        return await self.of_each(range(shards), lambda shard: self.view(shard, shards))

    async def view(self, shard: int, shards: int) -> ShardView:
        """Return a shard."""

        def key(name: str) -> str:
            return self.key(name, shard, shards)

        now = await self.server.time(
            key("leader")
        )  # alone: a silent node keeps one command waiting
        async with Together() as start:
            lease, present, circuits, tallies, overrides, texts = await asyncio.gather(
                start(self._lease(key("leader"))),
                start(self.hash(key("instances"))),
                start(self.hash(key("circuits"))),
                start(self.hash(key("tallies"))),
                start(self.hash(key("overrides"))),
                start(self.hash(key("policies"))),
            )
        malformed: list[MalformedEntryError] = []
        in_force = _read.overrides(overrides.fields, now, malformed)
        transitions = map(_read.transition, circuits.fields.values())
        known = {each.circuit: each for each in transitions if each is not None}
        seen = _seen(present, now)
        stored = len(circuits.fields) + len(present.fields)
        return ShardView(
            number=shard,
            now=now,
            lease=lease,
            instances=tuple(sorted(seen, key=lambda each: each.name)),
            circuits=known,
            since=await self.openings(key("states"), known),
            unchanged=tuple(sorted(_read.names(tallies.fields) - known.keys())),
            overrides=in_force,
            suspects=_read.suspects(tallies.fields, now),
            unreadable=stored - len(known) - len(seen) + len(malformed),
            omitted=circuits.omitted,
            observed=read_observed(texts.fields),
        )

    async def events(self, shards: int, count: int, *, stream: str = "states") -> Parts[Event]:
        """Return the last entries of `states` or `audit` in all shards, oldest first."""

        def last(shard: int) -> Awaitable[Sequence[Event]]:
            return self._last(shard, self.key(stream, shard, shards), count)

        parts = await self.of_each(range(shards), last)
        found = sorted(chain.from_iterable(parts.found), key=lambda each: each.entry.position)
        return Parts(found[max(0, len(found) - count) :], parts.unread)

    async def news(
        self, shards: int, after: dict[int, Position], *, stream: str = "states"
    ) -> Parts[Event]:
        """Return the entries of a stream after some positions, oldest first in each shard.

        Args:
            shards: The number of shards.
            after: The position of each shard, which this method advances. A shard without one
                starts at its newest entry.
            stream: `states` or `audit`.
        """
        parts = await self.of_each(
            range(shards), lambda shard: self._news(shard, self.key(stream, shard, shards), after)
        )
        return Parts(list(chain.from_iterable(parts.found)), parts.unread)

    async def probe(self, name: str, shard: int, shards: int) -> InspectionError | None:
        """Read a key with a command for its type, and return the error, if there is one."""
        key = self.key(name, shard, shards)
        command = "GET" if name in STRINGS else "HLEN" if name in HASHES else "XREVRANGE"
        try:
            await self.server.ask(
                command, key, *(("+", "-", "COUNT", 1) if name in STREAMS else ())
            )
        except InspectionError as error:
            if error.trouble in {Trouble.WRONG_TYPE, Trouble.FORBIDDEN}:
                return error
            raise
        return None

    async def tried(self, asked: Awaitable[T]) -> T | InspectionError:
        """Return the reply, or an error that concerns a part of the keys."""
        try:
            return await asked
        except InspectionError as error:
            if error.trouble in ELSEWHERE and not self.server.is_cluster:
                raise
            return error

    async def of_each(self, numbers: Sequence[int], act: Callable[[int], Awaitable[T]]) -> Parts[T]:
        """Return the results of some shards, and the errors of those that cannot be reached.

        Args:
            numbers: The numbers of the shards.
            act: What to do with a shard.

        Raises:
            InspectionError: No shard can be reached, or the only server does not reply.
        """
        async with Together() as start:
            replies = await asyncio.gather(*(start(self.tried(act(shard))) for shard in numbers))
        pairs = zip(numbers, replies, strict=True)
        unread = {shard: each for shard, each in pairs if isinstance(each, InspectionError)}
        if len(unread) == len(numbers):
            raise unread[numbers[0]]
        return Parts([each for each in replies if not isinstance(each, InspectionError)], unread)

    async def _news(self, shard: int, key: str, after: dict[int, Position]) -> Sequence[Event]:
        newest = await self.newest(key)
        begin = after.setdefault(shard, newest)
        if newest < begin:  # the stream has begun anew
            begin = START
        if newest == begin:
            after[shard] = newest
            return ()
        reply = await self.server.ask("XREAD", "COUNT", PAGE, "STREAMS", key, str(begin))
        found = [_event(shard, entry) for entry in _replies.entries(reply, key)]
        after[shard] = found[-1].entry.position if found else newest
        return found

    async def _last(self, shard: int, key: str, count: int) -> Sequence[Event]:
        found: list[Event] = []
        async for entries in self.pages(key, min(count, PAGE)):
            found += [_event(shard, each) for each in _replies.entries([(key, entries)], key)]
            if len(found) >= count:
                break
        return found[:count]

    async def _announced_in(self, key: str) -> Sequence[SeenInstance] | InspectionError:
        """Return the instances in a hash, or the error if the hash is not readable."""

        async def read() -> Sequence[SeenInstance]:
            now = await self.server.time(key)
            present = await self.hash(key)
            return _seen(present, now)

        return await self.tried(read())

    async def _shards_by_keys(self) -> int:
        if await self._was_led(0, 1):
            return 1
        shards = 0
        while shards < _read.MAX_SHARDS and await self._was_led(shards, 2):
            shards += 1
        return shards

    async def _was_led(self, shard: int, shards: int) -> bool:
        try:
            return await self.server.ask("GET", self.key("epoch", shard, shards)) is not None
        except InspectionError as error:
            if error.trouble is Trouble.WRONG_TYPE:
                return True
            if error.trouble is Trouble.FORBIDDEN:
                return False
            raise


def check_namespace(namespace: str) -> None:
    """Check the name of a namespace.

    Raises:
        ValueError: No coordinator accepts it.
    """
    check_name("namespace", namespace)
    if set("{}/") & set(namespace):
        raise ValueError(f"namespace must contain neither braces nor a slash: {namespace!r}")


def _seen(present: Fields, now: float) -> Sequence[SeenInstance]:
    """Return the readable instances."""
    announced = (_read.seen(name, text, now) for name, text in present.fields.items())
    return [each for each in announced if each is not None]


def _event(shard: int, entry: StateEntry | ResultEntry) -> Event:
    assert isinstance(entry, StateEntry)  # noqa: S101 - it was asked of a stream of states
    return Event(shard, entry)


def _by_shards(found: Sequence[SeenInstance], *, default: int | None) -> dict[int, Sequence[str]]:
    """Return the live instances by their numbers of shards."""
    told: dict[int, list[str]] = {}
    for each in found:
        shards = each.shards or default
        if each.is_alive and shards is not None:
            told.setdefault(shards, []).append(each.name)
    return dict[int, Sequence[str]](told)
