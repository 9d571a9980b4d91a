"""The view of a coordinator's own store, for the status page.

It uses the coordinator's connection for commands, and only permissions that an instance has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .._core.order import Position
from .._core.states import Transition
from . import _read, _replies
from ._scripts import Script
from ._time_slices import TimeSlice
from .base import StateEntry
from .inspection import PAGE, Asker, Reading
from .views import MOST_NEWS, CircuitView, Since, Survey

MOST_FIELDS = 5_000
"""Instances, and circuits, in one survey."""


class RedisView:
    """A view of a shard in Redis.

    Args:
        server: The connection.
        address: The address of the server.
        script: Runs scripts there.
        namespace: The namespace with its shard, as in the keys.
    """

    def __init__(self, server: Asker, address: str, script: Script, namespace: str) -> None:
        self.server: str = address
        self._server = server
        self._script = script
        self._reading = Reading(server, namespace)

    async def survey(self, after: Position, *, names: bool) -> Survey:
        keys = ("leader", "instances", "states", "tallies")
        reply = await self._script("survey", keys, str(after), MOST_NEWS, MOST_FIELDS, int(names))
        ms, lease, present, newest, news, called, suspected = reply
        now = int(ms) / 1000
        announced = _replies.pairs(present or ())
        instances = _read.instances(announced, now)
        return Survey(
            now=now,
            lease=_read.lease(_replies.text(lease)) if lease else None,
            instances=instances,
            newest=_replies.position(newest),
            news=tuple(await self._read(news))[::-1],
            called=None if called is None else _names(called),
            suspects=_read.suspects(_replies.pairs(suspected), now),
            unreadable=len(announced) - len(instances),
        )

    async def openings(self, circuits: Mapping[str, Transition]) -> Mapping[str, Since]:
        return await self._reading.openings(self._key("states"), circuits)

    async def circuit(self, name: str, shard: int, history: int) -> CircuitView:
        return await self._reading.circuit(name, 0, 1, history=history, number=shard)

    async def policies(self) -> Mapping[str, str]:
        return await self._reading.policies(0, 1)

    async def entries(self, after: Position | None, most: int) -> Sequence[StateEntry]:
        key = self._key("states")
        found: list[StateEntry] = []
        if after is None:
            async for page in self._reading.pages(key, min(most, PAGE)):
                found += await self._read(page)
                if len(found) >= most:
                    break
            return found[:most][::-1]
        while len(found) < most:
            count = min(most - len(found), PAGE)
            reply = await self._server.ask("XREAD", "COUNT", count, "STREAMS", key, str(after))
            page = [each for each in _replies.entries(reply, key) if isinstance(each, StateEntry)]
            found += page
            if len(page) < count:
                break
            after = page[-1].position
        return found

    def _key(self, name: str) -> str:
        return self._reading.key(name, 0, 1)

    async def _read(self, entries: Any) -> Sequence[StateEntry]:
        """Decode the entries of a range of the stream of states."""
        key = self._key("states")
        found: list[StateEntry] = []
        time_slice = TimeSlice()
        for at, fields in entries or ():
            await time_slice.yield_if_over()
            pairs = fields if hasattr(fields, "items") else _replies.pairs(fields)
            read = _replies.entries([(key, [(at, pairs)])], key)
            found += [entry for entry in read if isinstance(entry, StateEntry)]
        return found


def _names(called: Sequence[bytes | str]) -> frozenset[str]:
    return frozenset(_read.names(dict.fromkeys(map(_replies.text, called), "")))
