"""Decoders for stored values of any origin: they return None for a malformed value."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from .._core.order import Lease
from .._core.states import CircuitSnapshot, Report, Suspicion, Transition
from ..exceptions import MalformedEntryError
from . import _decoding, _replies
from .base import OverrideRecord, Presence, ResultEntry
from .views import Recent, SeenInstance

MAX_SHARDS = 256
"""The maximum of a coordinator."""

WITHOUT_SUSPECTS = re.compile(r"\d]$")
"""The end of a window snapshot whose last element is a number."""

RECENT = 60.0
"""Seconds of results that count as recent."""


class Counting:
    """Sums up the reports of a circuit, newest entry first."""

    def __init__(self, circuit: str) -> None:
        self._circuit = circuit
        self._batches: set[tuple[str, int]] = set()
        self._overdue: dict[str, int] = {}
        self._failures: Counter[str] = Counter()
        self._instances: Counter[str] = Counter()
        self._calls = self._failed = self._slow = self._blocked = self._uncounted = 0

    def add(self, entry: ResultEntry) -> None:
        """Add an entry, unless it is repeated or malformed."""
        batch = entry.item
        if isinstance(batch, MalformedEntryError):
            return
        if (batch.instance, batch.number) in self._batches:
            return
        self._batches.add((batch.instance, batch.number))
        for report in batch.reports:
            if report.circuit == self._circuit:
                self._add(report, batch.instance)

    def _add(self, report: Report, instance: str) -> None:
        self._blocked += report.blocked
        self._uncounted += report.uncounted
        self._overdue.setdefault(instance, report.overdue)
        self._instances[instance] += 0
        for run in report.runs:
            self._calls += run.count
            self._slow += run.count * run.slow
            if run.failed:
                self._failed += run.count
                self._failures[run.label] += run.count
                self._instances[instance] += run.count

    def told(self, span: float = RECENT) -> Recent:
        """Return the sums of so many seconds."""
        return Recent(
            span=span,
            calls=self._calls,
            failed=self._failed,
            slow=self._slow,
            blocked=max(0, self._blocked - self._uncounted),
            uncounted=self._uncounted,
            overdue=sum(self._overdue.values()),
            failures=dict(self._failures.most_common(5)),
            instances=dict(self._instances.most_common(10)),
        )


def names(tallies: Mapping[str, str]) -> set[str]:
    """Return the circuits in `tallies`, whose field without a name is a position."""
    return {name for name in tallies if name != _replies.POSITION and name.isprintable()}


def suspects(tallies: Mapping[str, str], now: float) -> tuple[tuple[str, Suspicion], ...]:
    """Return the current suspects with their circuits, the newest first, as the last checkpoint has
    them."""
    found = [
        (name, suspicion)
        for name, text in tallies.items()
        if name != _replies.POSITION and not WITHOUT_SUSPECTS.search(text)  # nearly all
        for suspicion in _suspects(text)
        if now < suspicion.until
    ]
    return tuple(sorted(found, key=lambda each: (-each[1].until, each[0], each[1].instance)))


def _suspects(text: str) -> tuple[Suspicion, ...]:
    snapshot = _decoding.readable(_decoding.decode_snapshot, text)
    return () if isinstance(snapshot, MalformedEntryError) else snapshot.suspects


def bounded(value: bytes | str) -> str:
    """Return a value as text, cut just above the length that decoders refuse."""
    return _replies.text(value[: _decoding.MAX_ENTRY_LENGTH + 1])


def lease(stored: str) -> Lease | None:
    """Decode the value of `leader`."""
    found = re.fullmatch(r"(\d{1,16}):(.+)", stored, re.DOTALL)
    return found and Lease(int(found[1]), found[2][:255])


def seen(name: str, stored: str, now: float) -> SeenInstance | None:
    """Decode a field of `instances`."""
    parts = re.fullmatch(r"(\d{1,16}) (\S{1,20}) (.*)", stored, re.DOTALL)
    presence = parts and _decoding.decode_presence(name, parts[3])
    if not (parts and isinstance(presence, Presence)):
        return None
    return seen_presence(presence, int(parts[1]) / 1000, now, parts[2])


def seen_presence(presence: Presence, at: float, now: float, role: str) -> SeenInstance:
    """Return an instance as of its last full heartbeat."""
    policies, _, shards = presence.fingerprint.partition("/")
    return SeenInstance(
        name=presence.instance[:255],
        role=role,
        silence=max(0.0, now - at),
        version=presence.version[:40],
        policies=policies[:40],
        shards=_count_of_shards(shards),
        local=presence.local[:40],
        protects=presence.protects,
        can=presence.can,
    )


def instances(stored: Mapping[str, str], now: float) -> tuple[SeenInstance, ...]:
    """Decode the hash `instances`, sorted by name, without malformed fields."""
    announced = (seen(name, text, now) for name, text in stored.items())
    found = [each for each in announced if each is not None]
    return tuple(sorted(found, key=lambda each: each.name))


def _count_of_shards(told: str) -> int | None:
    return int(told) if re.fullmatch(r"\d{1,3}", told) and 0 < int(told) <= MAX_SHARDS else None


def transition(stored: Any) -> Transition | None:
    """Decode a field of `circuits`."""
    if stored is None:
        return None
    read = _decoding.readable(_decoding.decode_transition, bounded(stored))
    return read if isinstance(read, Transition) else None


def snapshot(stored: Any) -> CircuitSnapshot | None:
    """Decode a field of `tallies`."""
    if stored is None:
        return None
    read = _decoding.readable(_decoding.decode_snapshot, bounded(stored))
    return read if isinstance(read, CircuitSnapshot) else None


def overrides(
    stored: Mapping[str, str], now: float, malformed: list[MalformedEntryError]
) -> tuple[OverrideRecord, ...]:
    """Decode the overrides in force. Errors of malformed fields are added to a list."""
    records = _decoding.decode_overrides(stored, malformed).records
    in_force = [
        each
        for each in records
        if each.mode is not None and (each.until is None or now < each.until)
    ]
    return tuple(sorted(in_force, key=lambda each: -each.number))
