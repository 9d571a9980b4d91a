"""Large hashes of a Redis server in parts, between which the server serves other commands, the
event loop runs other tasks, and the lease is renewed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from .._core.states import Transition
from ..exceptions import MalformedEntryError
from . import _decoding, _replies
from ._time_slices import TimeSlice

SLICE = 2_000
"""The fields in one part. A part takes the server a few milliseconds at most."""

NAMES_AT_ONCE = 1_000

Script = Callable[..., Awaitable[Any]]
"""Runs a script, given its name, the names of its keys, and its arguments."""


class ClosedCircuits:
    """The closed circuits of a large store, which its snapshot leaves out.

    Args:
        script: Runs scripts.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._cursor = "0"
        self._more = True

    async def next(self) -> Sequence[Transition | MalformedEntryError] | None:
        """The next circuits, or None if there are no more."""
        if not self._more:
            return None
        self._cursor, fields = await _slice(self._script, "circuits", self._cursor, "closed")
        self._more = self._cursor != "0"
        return await transitions(fields[1::2])

    async def of(self, names: Iterable[str]) -> Sequence[Transition | MalformedEntryError]:
        """The circuits of these names, in any state."""
        wanted = list(names)
        found: list[Transition | MalformedEntryError] = []
        for start in range(0, len(wanted), NAMES_AT_ONCE):
            some = wanted[start : start + NAMES_AT_ONCE]
            stored = await self._script("look", ("circuits",), *some)
            found += await transitions([text for text in stored if text is not None])
        return found


async def other_circuits(script: Script) -> Sequence[Transition | MalformedEntryError]:
    """All circuits that are not closed."""
    found: list[Transition | MalformedEntryError] = []
    cursor = "0"
    while True:
        cursor, fields = await _slice(script, "circuits", cursor, "other")
        found += await transitions(fields[1::2])
        if cursor == "0":
            return found


async def whole(script: Script, name: str) -> Mapping[str, str]:
    """A hash, as text."""
    found: dict[str, str] = {}
    cursor = "0"
    while True:
        cursor, fields = await _slice(script, name, cursor, "all")
        found.update(_replies.pairs(fields))
        if cursor == "0":
            return found


async def _slice(script: Script, name: str, cursor: str, which: str) -> tuple[str, Sequence[Any]]:
    following, fields = await script("slice", (name,), cursor, SLICE, which)
    return _replies.text(following), fields


async def transitions(stored: Iterable[Any]) -> Sequence[Transition | MalformedEntryError]:
    """The transitions in these fields of `circuits`."""
    found: list[Transition | MalformedEntryError] = []
    time_slice = TimeSlice()
    for text in stored:
        await time_slice.yield_if_over()
        found.append(_decoding.readable(_decoding.decode_transition, _replies.text(text)))
    return found
