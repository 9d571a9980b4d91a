"""Replies of a Redis server, as records. A reply is bytes or text, depending on the client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

from .._core.order import START, Position
from .._core.states import CircuitSnapshot
from ..exceptions import MalformedEntryError
from . import _decoding
from ._time_slices import TimeSlice
from .base import (
    Account,
    Checkpoint,
    News,
    ResultEntry,
    StateEntry,
    StreamEntry,
)

Text: TypeAlias = "bytes | str"

MOST_FIELDS = 100
"""The most fields of an entry to read. No entry has as many."""

POSITION = ""
"""The field of `tallies` that belongs to no circuit: the position of the checkpoint."""


def text(value: Text) -> str:
    """A reply as text, whatever it contains."""
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def position(value: Text) -> Position:
    """A reply as a position."""
    return Position.parse(text(value))


def notified(value: Text | None) -> Position | None:
    """The position up to which `on_published` was called; None if it is unknown or unreadable."""
    try:
        return None if value is None else _decoding.decode_position(text(value))
    except MalformedEntryError:  # the leader writes it anew
        return None


def pairs(flat: Sequence[Text]) -> Mapping[str, str]:
    """A reply as a hash."""
    return dict(zip(map(text, flat[::2]), map(text, flat[1::2]), strict=True))


def news(now: Any, last_state: Any, circuits: Any, account: Any, numbers: Any) -> News:
    """The news in the reply to a heartbeat."""
    try:
        known = _decoding.decode_account(text(account)) if account else None
    except MalformedEntryError:  # a leader writes it anew
        known = None
    override = _decoding.decode_numbers(text(numbers))[-1] if numbers else 0
    return News(int(now) / 1000, position(last_state), int(circuits), known, override)


async def checkpoint(
    accounts: Mapping[str, str],
    tallies: Mapping[str, str],
    malformed: list[MalformedEntryError],
) -> Checkpoint:
    """The checkpoint in two hashes. Errors of unreadable fields are added to a list."""
    reached = START
    known: dict[str, Account] = {}
    counted: dict[str, CircuitSnapshot] = {}
    for instance, stored in accounts.items():
        try:
            known[instance] = _decoding.decode_account(stored)
        except MalformedEntryError as error:
            malformed.append(error)
    time_slice = TimeSlice()
    complete = True
    for circuit, stored in tallies.items():
        await time_slice.yield_if_over()
        try:
            if circuit == POSITION:
                reached = _decoding.decode_position(stored)
            else:
                counted[circuit] = _decoding.decode_snapshot(stored)
        except MalformedEntryError as error:
            malformed.append(error)
            complete = False  # what is missing must be counted again from the results
    return Checkpoint(reached if complete else START, known, counted)


def began_anew(astray: Text) -> MalformedEntryError:
    """The error for a stream that had an entry far ahead of the clock."""
    return MalformedEntryError(
        f"an entry at {text(astray)} was more than a day ahead of Redis' clock, and all further "
        "ones would have stood behind it: its stream began anew, without what had not been read"
    )


def entries(reply: Any, states: str) -> Iterable[StreamEntry]:
    """The entries in a reply to `XREAD`.

    Args:
        reply: The reply.
        states: The key of the stream of states.
    """
    for stream, at, fields in _flatten(reply):
        if stream == states:
            yield StateEntry(at, _decoding.readable(_decoding.decode_state_entry, fields))
        else:
            yield ResultEntry(at, at.seconds, _decoding.readable(_decoding.decode_batch, fields))


def state_entry(at: Text, fields: Sequence[Text]) -> StateEntry:
    """An entry of the stream of states or of the audit, in the reply of a script."""
    stored = pairs(fields)
    return StateEntry(position(at), _decoding.readable(_decoding.decode_state_entry, stored))


def _flatten(reply: Any) -> Iterable[tuple[str, Position, Mapping[str, str]]]:
    """The entries of an XREAD reply, which has three shapes depending on the client's options."""
    streams: Iterable[tuple[Any, Any]] = getattr(reply, "items", lambda: reply or ())()
    for stream, entries in streams:
        for at, fields in entries[0] if _is_nested(entries) else entries:
            named: Mapping[Any, Any] = fields or {}
            few = islice(named.items(), MOST_FIELDS)
            pairs = {_bounded(name): _bounded(value) for name, value in few}
            yield text(stream), position(at), pairs


def _bounded(value: Text) -> str:
    """A reply as text: all of it if it can be an entry, else enough of it to be refused."""
    return text(value[: _decoding.MAX_ENTRY_LENGTH + 1])


def _is_nested(entries: Any) -> bool:
    """Whether the entries stand in a list of their own within the list."""
    return bool(entries) and type(entries[0]) is list and type(entries[0][0]) in {list, tuple}
