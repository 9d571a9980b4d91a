"""Overrides: the decisions of operators that stand above the verdict on a circuit.

Overrides are numbered by the store. A number orders all writes of a shard, so one number says how
far an instance has read: a record counts if its number is above the newest known one, and the end
of an override is a record, too. An override that has been lifted cannot return, because whatever
contains it has a lower number.

The store can lose its content, or come back with an older copy. It therefore keeps its latest
numbers. A known number that falls between two of them was never reached by this copy: everything
above the lower one of the two has been lost, and the instance keeps what it knows of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from ._checks import check_name, check_number, check_whole
from .patterns import NamePatterns, is_pattern

MAX_OVERRIDES = 1_000
"""The maximum number of overrides in a shard."""

MAX_REASON = 500
"""The maximum number of characters of a reason."""

LONGEST_OVERRIDE = 30 * 86_400.0
"""The maximum length of an override with an end, in seconds."""

KEPT_NUMBERS = 16
"""The latest numbers that the store keeps, to recognize what it has lost."""


class Override(StrEnum):
    """What calls of a circuit meet instead of the fleet's verdict."""

    FORCE_OPEN = "force_open"
    """All calls are rejected, and nothing checks the upstream."""
    FORCE_CLOSED = "force_closed"
    """All calls are permitted. The fleet's verdict goes on underneath, and alerts are silent."""
    OBSERVE = "observe"
    """All calls are permitted. The fleet's verdict goes on underneath, and is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverrideRecord:
    """An override, or the end of one.

    Args:
        circuit: The circuit's name, or a pattern of names with the wildcards `*` and `?`.
        mode: The override; None if this record ends one.
        reason: The operator's reason.
        actor: The operator.
        at: When the store took it in, in seconds of the shared clock.
        until: When it ends, in seconds of the shared clock; None if it has no end. The record of an
            expiry has the end of the expired override here.
        number: The record's number. A later record of the same shard has a higher one.
        follows: The number of the record before it in the store.
        replaced: The override that was in force for the same name, and that this one replaced or
            lifted. Only what `Coordinator.override` returns has it: it is not stored.
    """

    circuit: str
    mode: Override | None
    reason: str
    actor: str
    at: float
    until: float | None
    number: int
    follows: int = 0
    replaced: OverrideRecord | None = field(default=None, compare=False, repr=False)

    @property
    def is_pattern(self) -> bool:
        """Whether it names a pattern instead of one circuit."""
        return is_pattern(self.circuit)

    @property
    def has_expired(self) -> bool:
        """Whether this record ends an override whose time was over."""
        return self.mode is None and self.until is not None


@dataclass(frozen=True, slots=True)
class OverrideSnapshot:
    """The overrides in a store.

    Args:
        numbers: The store's latest numbers, ascending. The first one is 0 if the store has no older
            ones.
        records: The overrides, and the latest lifted ones.
    """

    numbers: tuple[int, ...] = (0,)
    records: tuple[OverrideRecord, ...] = ()

    @property
    def number(self) -> int:
        """The number of the newest record that was ever written."""
        return self.numbers[-1]

    def lost_after(self, known: int) -> int | None:
        """Return the number after which the store has lost records up to a known one, or None if it
        has lost nothing (or its kept numbers do not reach back as far)."""
        if known in self.numbers:
            return None
        return max((number for number in self.numbers if number < known), default=None)


class Overrides:
    """The overrides of one shard, as known to an instance.

    Times are the instance's monotonic seconds. An override ends here at the time that was computed
    when it was first heard of, or earlier, but never later.
    """

    def __init__(self) -> None:
        self.number: int = 0
        self._told: dict[str, _Told] = {}
        self._in_force: Mapping[str, OverrideRecord] = MappingProxyType({})
        self._patterns = NamePatterns[OverrideRecord]("overrides", {})

    @property
    def in_force(self) -> Mapping[str, OverrideRecord]:
        """The overrides that have not ended, by circuit or pattern."""
        return self._in_force

    def find(self, circuit: str) -> OverrideRecord | None:
        """Return the override of a circuit: an exact name takes precedence over a pattern, a
        pattern with more literal characters over one with fewer, and then the higher number."""
        return self._patterns.find(circuit) if self._in_force else None

    def ends_at(self, record: OverrideRecord) -> float:
        """Return the monotonic second at which an override ends."""
        told = self._told.get(record.circuit)
        same = told is not None and told.record.number == record.number
        return told.ends_at if told is not None and same else float("-inf")

    @property
    def next_end(self) -> float:
        """The monotonic second at which the next override ends."""
        return min((self.ends_at(each) for each in self._in_force.values()), default=float("inf"))

    def apply(self, record: OverrideRecord, ends_at: float) -> bool:
        """Apply a record, if it is newer than all known ones.

        Args:
            record: The record.
            ends_at: The monotonic second at which it ends.

        Returns:
            Whether all is known. If not, something is missing here or has been lost by the store,
            and the record was not applied: the content of the store must be loaded.
        """
        if record.number <= self.number:
            return True
        if record.follows != self.number:
            return False
        self.number = record.number
        if record.mode is None:
            self._told.pop(record.circuit, None)
        else:
            self._told[record.circuit] = _Told(record, ends_at)
        self._arrange()
        return True

    def load(self, snapshot: OverrideSnapshot, ends_at: Callable[[OverrideRecord], float]) -> bool:
        """Replace the set by that of the store, except for what the store has lost.

        Args:
            snapshot: The content of the store.
            ends_at: Returns the monotonic second at which an override ends.

        Returns:
            Whether the store has lost something. `restored` is what to give back.
        """
        lost_after = snapshot.lost_after(self.number)
        merged = {
            record.circuit: self._told_again(record, ends_at)
            for record in snapshot.records
            if lost_after is None or record.number > self.number or self._knows(record)
        }
        for name, told in self._told.items():
            there = merged.get(name)
            is_newest = there is None or there.record.number < told.record.number
            if lost_after is not None and told.record.number > lost_after and is_newest:
                merged[name] = told
        self._told = merged
        self.number = max(self.number, snapshot.number)
        self._arrange()
        return lost_after is not None

    def begin_anew(self) -> None:
        """Give all that is known the lowest number, as the store does when its clock was set back
        by so much that later numbers would be lower."""
        self.number = 1
        for told in self._told.values():
            told.record = replace(told.record, number=1)
        self._arrange()

    def restored(self, snapshot: OverrideSnapshot, known: int) -> OverrideSnapshot:
        """Return what to write to a store that has lost something.

        Args:
            snapshot: The content of the store, which has been loaded.
            known: The newest number before.
        """
        # All up to the known number is in it, so older numbers would only mislead.
        later = [number for number in snapshot.numbers if number > known]
        records = tuple(told.record for told in self._told.values())
        return OverrideSnapshot((known, *later)[-KEPT_NUMBERS:], records)

    def end_due(self, now: float) -> Sequence[OverrideRecord]:
        """End the overrides that are over at this monotonic second, and return them."""
        due = [record for record in self._in_force.values() if now >= self.ends_at(record)]
        return self._end(due)

    def end_by_shared_clock(self, shared: float) -> Sequence[OverrideRecord]:
        """End the overrides that are over at this second of the shared clock, and return them."""
        return self._end(
            [
                record
                for record in self._in_force.values()
                if record.until is not None and shared >= record.until
            ]
        )

    @property
    def ended(self) -> Sequence[OverrideRecord]:
        """The overrides that have ended here, and that the store still holds."""
        return [
            told.record
            for told in self._told.values()
            if told.has_ended and told.record.mode is not None
        ]

    def _end(self, due: Sequence[OverrideRecord]) -> Sequence[OverrideRecord]:
        for record in due:
            # It stays, so that a clock that is set back does not put it in force again.
            self._told[record.circuit].has_ended = True
        if due:
            self._arrange()
        return due

    def _knows(self, record: OverrideRecord) -> bool:
        told = self._told.get(record.circuit)
        return told is not None and told.record.number == record.number

    def _told_again(
        self, record: OverrideRecord, ends_at: Callable[[OverrideRecord], float]
    ) -> _Told:
        if not self._knows(record):
            return _Told(record, ends_at(record))
        told = self._told[record.circuit]
        told.ends_at = min(told.ends_at, ends_at(record))
        return told

    def _arrange(self) -> None:
        """Index the overrides in force, the newest first: it wins among equally exact patterns."""
        records = [told.record for told in self._told.values() if not told.has_ended]
        newest_first = sorted(records, key=_number, reverse=True)
        by_name = {each.circuit: each for each in newest_first if each.mode is not None}
        self._patterns = NamePatterns("overrides", by_name)
        self._in_force = MappingProxyType(by_name)


class _Told:
    __slots__ = ("ends_at", "has_ended", "record")

    def __init__(self, record: OverrideRecord, ends_at: float) -> None:
        self.record = record
        self.ends_at = ends_at
        self.has_ended = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OverrideRequest:
    """The request of an operator, validated on arrival.

    Args:
        circuit: The circuit's name, or a pattern.
        mode: The override, or None to lift the one that is in force.
        reason: The reason, up to 500 printable characters.
        actor: The operator, up to 255 printable characters.
        expires_in: Seconds until the override ends, up to 30 days; None for no end.
        expect: The number of the override that is in force now (0 for none), for the request to be
            refused if another one is; None for no such condition.

    Raises:
        TypeError, ValueError: A part is not usable; the message says what to pass.
    """

    circuit: str
    mode: Override | None
    reason: str
    actor: str
    expires_in: float | None = None
    expect: int | None = None

    def __post_init__(self) -> None:
        check_name("circuit", self.circuit)
        if self.mode is not None and not isinstance(self.mode, Override):
            raise TypeError(
                "mode must be an Override such as Override.FORCE_OPEN, or None to lift one, not "
                f"{self.mode!r}"
            )
        check_operator(self.reason, self.actor)
        if self.expires_in is not None:
            check_number(
                "expires_in", self.expires_in, above=0, most=LONGEST_OVERRIDE, unit="seconds"
            )
        if self.expect is not None:
            check_whole("expect", self.expect, least=0)


def check_operator(reason: object, actor: object) -> None:
    """Refuse an unusable reason or actor.

    Raises:
        TypeError, ValueError: The message says what to pass.
    """
    if not isinstance(reason, str):
        raise TypeError(f"reason must be a string, not {reason!r}")
    if not reason.strip():
        raise ValueError("reason must not be empty: say why, for whoever finds it later")
    if len(reason) > MAX_REASON:
        raise ValueError(
            f"reason must have at most {MAX_REASON} characters, not {len(reason)}: {reason[:40]!r}…"
        )
    if not reason.isprintable():
        raise ValueError(f"reason must hold printable characters only, in one line: {reason!r}")
    check_name("actor", actor)


def _number(record: OverrideRecord) -> int:
    return record.number


def seconds_left(record: OverrideRecord, shared: float) -> float:
    """Return the seconds until an override ends, at a second of the shared clock. It is never more
    than the operator asked for, whatever has become of the clock since."""
    if record.until is None:
        return float("inf")
    return min(record.until - shared, record.until - record.at)


def merged_by_name(sets: Iterable[Mapping[str, OverrideRecord]]) -> Mapping[str, OverrideRecord]:
    """Return the overrides of several shards, of which each may hold the same pattern."""
    merged: dict[str, OverrideRecord] = {}
    for records in sets:
        for name, record in records.items():
            if name not in merged or merged[name].number < record.number:
                merged[name] = record
    return MappingProxyType(merged)
