"""Stored fields as records. Nothing unreadable gets past this module.

An instance skips a record of another major format version, or of another form than instances of the
fleet write, and reports it. A record of a newer version is read as far as it is known: further
elements of arrays, keys and fields are ignored, and never change the meaning of the known part.
`_encoding` lists what a newer version may add.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import zip_longest
from typing import Any, NamedTuple, TypeVar, cast

from .._core._checks import check_name
from .._core.backoff import LONGEST_WAIT
from .._core.failure_kinds import FailureKind
from .._core.order import Position
from .._core.overdue import OVERDUE_SILENCE
from .._core.overrides import MAX_OVERRIDES, MAX_REASON, Override, OverrideSnapshot
from .._core.policy import LONGEST_RETRY_AFTER
from .._core.ramp import Ramp, check_step, checked_shares
from .._core.states import (
    Cause,
    CircuitSnapshot,
    Grant,
    KnownState,
    Protection,
    Reason,
    Report,
    Run,
    State,
    Suspect,
    Suspicion,
    Transition,
    TrialNote,
    TrialResults,
    WindowSnapshot,
)
from ..exceptions import MalformedEntryError
from ._encoding import NUMBERS, VERSION, milliseconds, well_formed
from .base import (
    Account,
    Batch,
    Forgotten,
    LeaderChange,
    OverrideRecord,
    OverridesRestored,
    Presence,
    Probe,
    Recalled,
    StateItem,
    UnknownEntry,
)
from .stored_reports import StoredReports, Successes

MAX_COUNT = 2**53
MAX_ENTRY_LENGTH = 4 * 1024 * 1024
MAX_POSITION = 2**64 - 1
MAX_HOLD = round(LONGEST_RETRY_AFTER * 1000)
MAX_DELAY = round(LONGEST_WAIT * 1000)
MAX_REPORTS = 2_000
MAX_RUNS = 20_000
"""More than any instance sends in one batch."""

REPORT_LENGTH = 7
RUN_LENGTH = 5
ZERO: Any = json.loads("0")
"""The 0 of JSON: an object of its own where numbers are compared, which `false` and 0.0 are not."""

_NUMBERS = re.compile(r"[0-9 ]*")
"""What scripts read as numbers, too."""

MAX_SEEN_NAMES = 16_384
"""Names to know as valid, for a leader that reads each of them ten times a second."""

STATES = {state.value: state for state in State}
REJECTING = {state.value: state for state in (State.OPEN, State.HALF_OPEN)}
CAUSES = {cause.value: cause for cause in Cause}
MAX_CAPABILITIES = 100
MAX_PROTECTIONS = 100
MODES = {mode.value: mode for mode in Override}
FAILURE_KINDS = {kind.value: kind for kind in FailureKind}

S = TypeVar("S")
T = TypeVar("T")
Fields = Mapping[str, str]


def decode_batch(fields: Fields) -> Batch:
    """The batch in an entry.

    Raises:
        MalformedEntryError: It is of another version, or no batch.
    """

    def decode() -> Batch:
        _check_version(fields)
        late = _whole(int(fields.get("late", "0"))) / 1000
        reports = _parse_json(fields["reports"], list)
        _check_size(reports, len(fields["reports"]))
        words = _parse_json(fields["words"], list) if "words" in fields else [None] * len(reports)
        more = _PerCircuit(
            ramps=_parse_json(fields.get("ramps", "{}"), dict),
            kinds=_parse_json(fields.get("kinds", "{}"), dict),
            uncounted=_parse_json(fields.get("uncounted", "{}"), dict),
        )
        read, unreadable = _unpack_reports(zip(reports, words, strict=True), more, late)
        return Batch(
            instance=_valid_name(fields["instance"]),
            number=_whole(int(fields["number"])),
            sent=_whole(int(fields["sent"])) / 1000,
            reports=read,
            unreadable=unreadable,
        )

    return _with_own_states(_guarded("result", fields, decode), fields)


def _with_own_states(batch: Batch, fields: Fields) -> Batch:
    """Mark the circuits whose calls the sender rejects by its own decision."""
    if "own" not in fields:
        return batch
    own: Any = readable(lambda text: _guarded("result", text, lambda: _names(text)), fields["own"])
    if isinstance(own, MalformedEntryError):  # the results count in any case
        return batch
    reports = [
        replace(report, protects_itself=True) if report.circuit in own else report
        for report in batch.reports
    ]
    return replace(batch, reports=tuple(reports))


def _names(text: str) -> frozenset[str]:
    return frozenset(map(_valid_name, _parse_json(text, list)))


def _check_size(reports: list[Any], characters: int) -> None:
    """Refuse what no instance sends, before anything is made of it."""
    is_long = characters > MAX_RUNS  # a shorter text cannot hold too many results
    if len(reports) > MAX_REPORTS or (is_long and sum(map(_number_of_runs, reports)) > MAX_RUNS):
        raise ValueError(f"{len(reports)} reports, or the results in them, are too many")


def _number_of_runs(report: Any) -> int:
    try:
        return len(report[1])
    except (TypeError, LookupError):  # no report: it costs only itself
        return 0


class _PerCircuit(NamedTuple):
    """What a batch says of some of its circuits, in fields of their own."""

    ramps: Mapping[str, Any]
    kinds: Mapping[str, Any]
    uncounted: Mapping[str, Any]


def _unpack_reports(
    stored: Iterable[tuple[Any, Any]], more: _PerCircuit, late: float
) -> tuple[StoredReports, MalformedEntryError | None]:
    """The reports that can be read, and the error of the others."""
    read: list[Report | Successes] = []
    failed: list[MalformedEntryError] = []
    for packed, word in stored:
        try:
            read.append(
                _unpack_successes(packed, word, late) or _unpack_report(packed, word, more, late)
            )
        except Exception as error:  # rubbish breaks in ways that nobody thinks of
            failed.append(_unreadable("report", packed, error))
    if len(failed) > 1:
        failed[0] = MalformedEntryError(f"{failed[0]}; and {len(failed) - 1} more of its batch")
    reports = StoredReports(read, lambda successes: _complete(successes, late))
    return reports, failed[0] if failed else None


def _unpack_successes(packed: Any, word: Any, late: float) -> Successes | None:
    """What a report says, if that is one run of successes and nothing else. Any doubt is left to
    `_unpack_report`."""
    if len(packed) != REPORT_LENGTH or len(packed[1]) != 1 or len(packed[1][0]) != RUN_LENGTH:
        return None
    circuit, (run,), blocked, note, newest, hold, overdue = packed
    generation, age, kind, count, label = run
    is_plain = kind is ZERO is blocked is overdue and label == ""
    if not is_plain or not (note is hold is None):
        return None
    if not (type(generation) is int is type(age) is type(count) is type(newest)):
        return None
    is_known = 0 <= generation == newest <= MAX_COUNT and 0 <= age <= MAX_COUNT >= count >= 1
    if not is_known or not (word is None or _is_closed(word)):
        return None
    return _seen_name(circuit), generation, count, late + age / 1000, word


def _is_closed(word: Any) -> bool:
    """Whether a stored state is that of a closed circuit, readable in all its parts."""
    state, attempt, delay, left, grant, *_ = word
    if state != State.CLOSED.value or grant is not None:
        return False
    if not (type(attempt) is int is type(delay) is type(left)):
        return False
    return 0 <= attempt <= MAX_COUNT and 0 <= delay <= MAX_DELAY and 0 <= left <= MAX_COUNT


def _complete(successes: Successes, late: float) -> Report:
    circuit, generation, count, age, word = successes
    return Report(
        circuit=circuit,
        generation=generation,
        runs=(Run(generation, False, False, count, age),),
        known_state=None if word is None else _unpack_state(word, None, late),
    )


def _unpack_report(packed: Any, word: Any, more: _PerCircuit, late: float) -> Report:
    circuit, runs, blocked, note, generation, hold, overdue, *_ = packed
    ramp, kinds = more.ramps.get(circuit), more.kinds.get(circuit, ())
    return Report(
        circuit=_valid_name(circuit),
        generation=_whole(generation),
        runs=tuple(
            _unpack_run(run, kind, late) for run, kind in zip_longest(runs, kinds[: len(runs)])
        ),
        blocked=_whole(blocked),
        trial=None if note is None else _unpack_note(note),
        retry_after=None if hold is None else max(0.0, _whole(hold, most=MAX_HOLD) / 1000 - late),
        overdue=_whole(overdue) if late <= OVERDUE_SILENCE else 0,
        uncounted=_whole(more.uncounted.get(circuit, 0)),
        known_state=None if word is None else _unpack_state(word, ramp, late),
    )


def _unpack_note(packed: Any) -> TrialNote:
    generation, unused, held, *_ = packed
    return TrialNote(_whole(generation), _whole(unused), _whole(held))


def _unpack_run(packed: Any, failure_kind: Any, late: float) -> Run:
    generation, age, kind, count, label, *_ = packed
    if kind not in range(4):
        raise ValueError(f"unknown kind of result {kind!r}")
    return Run(
        generation=_whole(generation),
        failed=bool(kind & 1),
        slow=bool(kind & 2),
        count=_whole(count, least=1),
        age=late + _whole(age) / 1000,
        label=_string(label)[:64],
        failure_kind=_valid_kind(failure_kind),
    )


def _valid_kind(value: Any) -> FailureKind | None:
    """A kind of failure, or None. One that only newer versions know is another one."""
    return FAILURE_KINDS.get(value, FailureKind.OTHER) if isinstance(value, str) else None


def _unpack_state(packed: Any, ramp: Any, late: float) -> KnownState:
    state, attempt, delay, left, grant, *_ = packed
    return KnownState(
        state=State(state),
        attempt=_whole(attempt),
        delay=_whole(delay, most=MAX_DELAY) / 1000,
        left=max(0.0, min(_whole(left), _whole(delay)) / 1000 - late),
        grant=_unpack_grant(grant),
        ramp=_unpack_ramp(ramp),
        elapsed=0.0 if ramp is None else late + _whole(ramp[2]) / 1000,
    )


def decode_transition(text: str) -> Transition:
    """The transition in a text.

    Raises:
        MalformedEntryError: It is of another version, or no transition.
    """

    def decode() -> Transition:
        stored = _parse_json(text, dict)
        _check_version(stored)
        known = _known_state(stored["state"]) or _known_state(stored.get("as", ""))
        state = known or State.OPEN
        return Transition(
            circuit=_valid_name(stored["circuit"]),
            generation=_whole(stored["generation"]),
            previous=_known_state(stored["previous"]) or state,
            state=state,
            at=_whole(stored["at"]) / 1000,
            since=_whole(stored["since"]) / 1000,
            attempt=_whole(stored["attempt"]),
            delay=_whole(stored["delay"], most=MAX_DELAY) / 1000,
            grant=_unpack_grant(stored["grant"]),
            ramp=_unpack_ramp(stored.get("ramp")),
            reason=_unpack_reason(stored),
            position=_valid_position(stored["position"]),
            epoch=_whole(stored["epoch"]),
            leader=_string(stored["leader"])[:255],
            unknown_state="" if known else stored["state"][:64],
        )

    return _guarded("state", text, decode)


def _known_state(word: Any) -> State | None:
    """The state of this name, if this version knows it."""
    return STATES.get(_string(word))


def _unpack_grant(packed: Any) -> Grant | None:
    if packed is None:
        return None
    holder, permits, passed, *_ = packed
    return Grant(
        holder=_valid_name(holder),
        permits=_whole(permits, least=1),
        passed=_whole(passed),
    )


def _unpack_ramp(packed: Any) -> Ramp | None:
    if packed is None:
        return None
    shares, step = packed[0], packed[1]
    if not shares:
        raise ValueError("a ramp without shares")
    seconds = _whole(step) / 1000
    check_step(seconds)
    return Ramp(checked_shares(shares), seconds)


def _unpack_reason(stored: Mapping[str, Any]) -> Reason:
    share = float(stored["slow_share"])
    if not math.isfinite(share):
        raise ValueError("slow_share is not finite")
    word, detail = _string(stored["cause"]), _string(stored["detail"])
    cause = CAUSES.get(word, Cause.OTHER)
    if word not in CAUSES:
        detail = f"{word[:64]}: {detail}" if detail else word[:64]
    return Reason(
        cause=cause,
        detail=detail[:1000],
        instances=_valid_counts(stored["instances"]),
        failures=_valid_counts(stored["failures"]),
        slow_share=share,
        kinds=_valid_counts(stored.get("kinds", {})),
    )


def check_storable(transition: Transition) -> None:
    """Refuse a transition that can be written perhaps, but not read.

    Raises:
        ValueError: A number in it is not finite, below zero or too large, or a name is none.
    """
    try:
        grant, reason = transition.grant, transition.reason
        numbers = [transition.generation, transition.attempt, transition.epoch]
        numbers += [
            milliseconds(transition.at),
            milliseconds(transition.since),
            milliseconds(transition.delay),
        ]
        numbers += [*reason.instances.values(), *reason.failures.values()]
        for number in numbers:
            _whole(number)
        if grant is not None:
            _unpack_grant([grant.holder, grant.permits, grant.passed])
        if not math.isfinite(reason.slow_share):
            raise ValueError("slow_share is not finite")
        _valid_name(transition.circuit).encode()
    except Exception as error:
        raise ValueError(
            f"the transition to {transition.state.value} after {transition.delay!r} s cannot be "
            f"stored, so it was not made ({type(error).__name__}: {error})"
        ) from error


def decode_state_entry(fields: Fields) -> StateItem:
    """An entry of the stream of states, or of the audit.

    Raises:
        MalformedEntryError: It is none.
    """
    if "transition" in fields:
        return decode_transition(fields["transition"])
    if "override" in fields:
        return decode_override(fields["override"])

    def decode() -> StateItem:
        _check_version(fields)
        for kind, unpack in ENTRIES.items():
            if kind in fields:
                return unpack(fields)
        return UnknownEntry(_kind(fields))

    return _guarded("state", fields, decode)


def _unpack_recalled(fields: Fields) -> Recalled:
    return Recalled(_valid_name(fields["recalled"]), _whole(int(fields["generation"])))


def _unpack_forgotten(fields: Fields) -> Forgotten:
    return Forgotten(_valid_name(fields["forgotten"]), _whole(int(fields["generation"])))


def _unpack_restored(fields: Fields) -> OverridesRestored:
    return OverridesRestored(_whole(int(fields["overrides"])))


def _unpack_probe(fields: Fields) -> Probe:
    actor, reason = _valid_name(fields["actor"]), _string(fields["reason"])[:MAX_REASON]
    return Probe(_valid_name(fields["probe"]), actor, reason)


def _unpack_leader(fields: Fields) -> LeaderChange:
    leader, circuits = fields["leader"], fields.get("circuits")
    return LeaderChange(
        _whole(int(fields["epoch"])),
        _valid_name(leader) if leader else None,
        _whole(int(circuits)) if circuits else None,
    )


def _unpack_suspect(fields: Fields) -> Suspect:
    return Suspect(
        _valid_name(fields["suspect"]),
        _valid_name(fields["instance"]),
        _whole(int(fields["failures"])),
        _whole(int(fields["calls"])),
        _whole(int(fields["since"])) / 1000,
    )


ENTRIES: Mapping[str, Callable[[Fields], StateItem]] = {
    "recalled": _unpack_recalled,
    "forgotten": _unpack_forgotten,
    "overrides": _unpack_restored,
    "probe": _unpack_probe,
    "suspect": _unpack_suspect,
    "leader": _unpack_leader,
}
"""How to read an entry that has a field of this name."""


def _kind(fields: Fields) -> str:
    """The kind of an entry of the stream of states: its first field after the version."""
    return _valid_name(next(name for name in fields if name != "v")[:64])


def decode_override(text: str) -> OverrideRecord:
    """The record in a text.

    Raises:
        MalformedEntryError: It is of another version, or no override. An unknown mode is none.
    """

    def decode() -> OverrideRecord:
        stored = _parse_json(text, dict)
        _check_version(stored)
        mode, until = stored["mode"], stored["until"]
        return OverrideRecord(
            circuit=_valid_name(stored["circuit"]),
            mode=None if mode is None else MODES[mode],
            reason=_string(stored["reason"])[:MAX_REASON],
            actor=_string(stored["actor"])[:255],
            at=_whole(stored["at"]) / 1000,
            until=None if until is None else _whole(until) / 1000,
            number=_whole(stored["number"], least=1),
            follows=_whole(stored["after"]),
        )

    return _guarded("override", text, decode)


def decode_numbers(text: str) -> tuple[int, ...]:
    """The latest numbers in a text. What is unreadable counts as nothing known."""
    if not _NUMBERS.fullmatch(text):
        return (0,)
    try:
        numbers = [_whole(int(part)) for part in text.split()]
    except ValueError:
        return (0,)
    return tuple(sorted(numbers)) or (0,)


def decode_overrides(
    stored: Mapping[str, str], malformed: list[MalformedEntryError]
) -> OverrideSnapshot:
    """The content of the hash `overrides`. Errors of unreadable fields are added to a list."""
    numbers = decode_numbers(stored.get(NUMBERS, ""))
    records: list[OverrideRecord] = []
    for name, text in stored.items():
        if name == NUMBERS:
            continue
        try:
            records.append(decode_override(text))
        except MalformedEntryError as error:
            malformed.append(error)
    return OverrideSnapshot(numbers, tuple(records[:MAX_OVERRIDES]))


def decode_presence(instance: str, text: str) -> Presence | MalformedEntryError:
    """An instance as the hash holds it, or the error that it is unreadable."""

    def decode(text: str) -> Presence:
        stored = _parse_json(text, dict)
        return Presence(
            instance,
            _string(stored["version"]),
            _string(stored["fingerprint"]),
            _string(stored.get("local", "")),
            _unpack_capabilities(stored.get("can")),
            _unpack_protections(stored.get("protects")),
        )

    return readable(lambda text: _guarded("instance", text, lambda: decode(text)), text)


def _unpack_capabilities(packed: Any) -> frozenset[str]:
    """What an instance can read. One whose list is missing or unreadable is present all the same,
    and can read the first format only."""
    if not isinstance(packed, list):
        return frozenset()
    words = cast(list[object], packed)[:MAX_CAPABILITIES]
    return frozenset(word for word in words if isinstance(word, str))


def _unpack_protections(packed: Any) -> tuple[Protection, ...]:
    """What an instance protects itself from. An unreadable part costs only itself."""
    if not isinstance(packed, list):
        return ()
    items = cast(list[object], packed)[:MAX_PROTECTIONS]
    read = [readable(_unpack_protection, item) for item in items]
    return tuple(each for each in read if isinstance(each, Protection))


def _unpack_protection(packed: Any) -> Protection:
    def decode() -> Protection:
        circuit, state, since, detail, failures, *_ = packed
        return Protection(
            _valid_name(circuit),
            REJECTING[state],
            _whole(since) / 1000,
            _string(detail)[:MAX_REASON],
            _valid_counts(failures),
        )

    return _guarded("protection", packed, decode)


def decode_account(text: str) -> Account:
    """The account in a text.

    Raises:
        MalformedEntryError: It is of another version, or none.
    """

    def decode() -> Account:
        version, first, last, evaluated, expired, *_ = _parse_json(text, list)
        _check_version({"v": version})
        return Account(_whole(first), _whole(last), _whole(evaluated), _whole(expired))

    return _guarded("account", text, decode)


def decode_snapshot(text: str) -> CircuitSnapshot:
    """The snapshot in a text.

    Raises:
        MalformedEntryError: It is of another version, or none.
    """

    def decode() -> CircuitSnapshot:
        version, generation, position, window, trial, retry_after, *more = _parse_json(text, list)
        _check_version({"v": version})
        suspects = cast(list[object], more[0]) if more and isinstance(more[0], list) else []
        return CircuitSnapshot(
            _whole(generation),
            _valid_position(position),
            None if window is None else _unpack_window(window),
            None if trial is None else _unpack_trial(trial),
            _whole(retry_after) / 1000,
            tuple(map(_unpack_suspicion, suspects)),
        )

    return _guarded("snapshot", text, decode)


def _unpack_suspicion(packed: Any) -> Suspicion:
    instance, failures, slow, calls, since, until, length, *_ = packed
    return Suspicion(
        _valid_name(instance),
        _whole(failures),
        _whole(slow),
        _whole(calls),
        _whole(since) / 1000,
        _whole(until) / 1000,
        _whole(length) / 1000,
    )


def _unpack_window(packed: Any) -> WindowSnapshot:
    strategy, saved, failures, newest, *_ = packed
    return WindowSnapshot(
        _string(strategy),
        None if saved is None else _string(saved),
        tuple(
            (_valid_name(who), _string(what)[:64], _whole(count, least=1))
            for who, what, count, *_ in failures
        ),
        _whole(newest) / 1000,
    )


def _unpack_trial(packed: Any) -> TrialResults:
    passed, failed, failures, *_ = packed
    return TrialResults(_whole(passed), _whole(failed), _valid_counts(failures))


def decode_position(text: str) -> Position:
    """A position in a stream.

    Raises:
        MalformedEntryError: It is none.
    """
    return _guarded("position", text, lambda: _valid_position(text))


def readable(decode: Callable[[S], T], stored: S) -> T | MalformedEntryError:
    """Return the content of a stored record, or the error that it is unreadable."""
    try:
        return decode(stored)
    except MalformedEntryError as error:
        return error


def _guarded(what: str, stored: object, decode: Callable[[], T]) -> T:
    """Return the result of decoding a stored record.

    Raises:
        MalformedEntryError: The decoder raised; the message shows the record.
    """
    try:
        return decode()
    except Exception as error:  # rubbish breaks in ways that nobody thinks of
        raise _unreadable(f"{what} entry", stored, error) from error


def _unreadable(what: str, stored: object, error: Exception) -> MalformedEntryError:
    shown = repr(stored)
    shown = shown if len(shown) <= 200 else shown[:200] + "…"
    return MalformedEntryError(
        f"skipped an unreadable {what} ({type(error).__name__}: {error}): {shown}"
    )


def _check_version(stored: Mapping[str, Any]) -> None:
    """Refuse a record of another format version."""
    if stored["v"] != VERSION:
        raise ValueError(f"format version {stored['v']!r}, this package reads {VERSION!r}")


def _parse_json(text: str, kind: type[object]) -> Any:
    """The JSON value of this type in a text."""
    if len(text) > MAX_ENTRY_LENGTH:
        raise ValueError(f"{len(text)} characters are too many")
    parsed: object = json.loads(text)
    if not isinstance(parsed, kind):
        raise TypeError(f"not a {kind.__name__}")
    return parsed


def _whole(value: Any, least: int = 0, most: int = MAX_COUNT) -> int:
    """A whole number in a range."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"not a whole number from {least} to {most}: {str(value)[:40]!r}")
    return value


def _string(value: Any) -> str:
    """A string."""
    if not isinstance(value, str):
        raise TypeError(f"not a string: {str(value)[:40]!r}")
    return value if value.isascii() else well_formed(value)


def _valid_name(value: Any) -> str:
    """The name of a circuit or instance."""
    check_name("a name", value)
    return _string(value)


_seen_name = lru_cache(MAX_SEEN_NAMES)(_valid_name)
"""The same for a name that comes again and again."""


def _valid_position(value: Any) -> Position:
    """A position in a stream."""
    position = Position.parse(_string(value))
    for number in position:
        _whole(number, most=MAX_POSITION)
    return position


def _valid_counts(value: Any) -> dict[str, int]:
    """Counts by name."""
    return {_string(key)[:255]: _whole(count) for key, count in value.items()}
