"""Records <-> the string fields that are stored. Nothing unreadable gets past this module.

Each entry carries its format version first. An instance skips what it does not know, and says
so, so that two versions of the package can share a namespace during a rollout.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .._core._checks import check_name
from .._core.backoff import LONGEST_WAIT
from .._core.order import Position
from .._core.overdue import OVERDUE_SILENCE
from .._core.policy import LONGEST_RETRY_AFTER
from .._core.states import (
    Cause,
    Counted,
    Grant,
    Reason,
    Report,
    Run,
    State,
    Tally,
    Transition,
    TrialNote,
    TrialResults,
    Word,
)
from ..exceptions import MalformedEntryError
from .base import Account, Batch, Forgotten, LeaderChange, Presence, Recalled

VERSION = "1"
MAX_COUNT = 2**53
MAX_HOLD = round(LONGEST_RETRY_AFTER * 1000)
MAX_ENTRY_LENGTH = 4 * 1024 * 1024
MAX_REPORTS = 2_000
MAX_RUNS = 20_000
"""More than any instance sends in one batch."""

MAX_DELAY = round(LONGEST_WAIT * 1000)
MAX_POSITION = 2**64 - 1

S = TypeVar("S")
T = TypeVar("T")
Fields = Mapping[str, str]

_dump = json.JSONEncoder(separators=(",", ":")).encode


def encode_batch(batch: Batch) -> dict[str, str]:
    """One entry of the stream of results. Ages and times are whole milliseconds."""
    reports = [_pack_report(report) for report in batch.reports]
    return {
        "v": VERSION,
        "instance": batch.instance,
        "number": str(batch.number),
        "sent": str(_ms(batch.sent)),
        "reports": _dump(reports),
        # A field of its own: older versions read the others, and pass over it.
        "words": _dump([report.word and _pack_word(report.word) for report in batch.reports]),
    }


def decode_batch(fields: Fields) -> Batch:
    """The batch in an entry.

    Raises:
        MalformedEntryError: It is of another version, or no batch.
    """

    def decode() -> Batch:
        _check_version(fields)
        late = _whole(int(fields.get("late", "0"))) / 1000
        reports = _parse(fields["reports"], list)
        _check_size(reports)
        words = _parse(fields["words"], list) if "words" in fields else [None] * len(reports)
        return Batch(
            instance=_name(fields["instance"]),
            number=_whole(int(fields["number"])),
            sent=_whole(int(fields["sent"])) / 1000,
            reports=tuple(
                _unpack_report(packed, word, late)
                for packed, word in zip(reports, words, strict=True)
            ),
        )

    return _guarded("result", fields, decode)


def _check_size(reports: list[Any]) -> None:
    """Refuse what no instance sends, before anything is made of it."""
    if len(reports) > MAX_REPORTS or sum(len(report[1]) for report in reports) > MAX_RUNS:
        raise ValueError(f"{len(reports)} reports, or the results in them, are too many")


def _pack_report(report: Report) -> list[Any]:
    note = report.trial
    return [
        report.circuit,
        [_pack_run(run) for run in report.runs],
        report.blocked,
        None if note is None else [note.generation, note.unused, note.held],
        report.generation,
        None if report.hold is None else _ms(report.hold),
        report.overdue,
    ]


def _pack_run(run: Run) -> list[Any]:
    kind = run.failed + 2 * run.slow
    return [run.generation, _ms(run.age), kind, run.count, _sound(run.label)]


def _pack_word(word: Word) -> list[Any]:
    grant = _pack_grant(word.grant)
    return [word.state.value, word.attempt, _ms(word.delay), _ms(word.left), grant]


def _unpack_word(packed: Any, late: float) -> Word:
    state, attempt, delay, left, grant = packed
    return Word(
        state=State(state),
        attempt=_whole(attempt),
        delay=_whole(delay, most=MAX_DELAY) / 1000,
        left=max(0.0, min(_whole(left), _whole(delay)) / 1000 - late),
        grant=_unpack_grant(grant),
    )


def _unpack_report(packed: Any, word: Any, late: float) -> Report:
    circuit, runs, blocked, note, generation, hold, overdue = packed
    return Report(
        circuit=_name(circuit),
        generation=_whole(generation),
        runs=tuple(_unpack_run(run, late) for run in runs),
        blocked=_whole(blocked),
        trial=None if note is None else TrialNote(*(_whole(number) for number in note)),
        hold=None if hold is None else max(0.0, _whole(hold, most=MAX_HOLD) / 1000 - late),
        overdue=_whole(overdue) if late <= OVERDUE_SILENCE else 0,
        word=None if word is None else _unpack_word(word, late),
    )


def _unpack_run(packed: Any, late: float) -> Run:
    generation, age, kind, count, label = packed
    if kind not in range(4):
        raise ValueError(f"unknown kind of result {kind!r}")
    return Run(
        generation=_whole(generation),
        failed=bool(kind & 1),
        slow=bool(kind & 2),
        count=_whole(count, least=1),
        age=late + _whole(age) / 1000,
        label=_text(label)[:64],
    )


def encode_transition(transition: Transition) -> str:
    """What the hash of circuits and the stream of states hold of a transition."""
    reason = transition.reason
    return _dump(
        {
            "v": VERSION,
            "circuit": transition.circuit,
            "generation": transition.generation,
            "previous": transition.previous.value,
            "state": transition.state.value,
            "at": _ms(transition.at),
            "since": _ms(transition.since),
            "attempt": transition.attempt,
            "delay": _ms(transition.delay),
            "grant": _pack_grant(transition.grant),
            "cause": reason.cause.value,
            "detail": _sound(reason.detail),
            "instances": _sound_counts(reason.instances),
            "failures": _sound_counts(reason.failures),
            "slow_share": reason.slow_share,
            "position": str(transition.position),
            "epoch": transition.epoch,
            "leader": transition.leader,
        }
    )


def check_storable(transition: Transition) -> None:
    """Refuse a transition that can be written perhaps, but not read.

    Raises:
        ValueError: A number in it is not finite, below zero or too large, or a name is none.
    """
    try:
        grant, reason = transition.grant, transition.reason
        numbers = [transition.generation, transition.attempt, transition.epoch]
        numbers += [_ms(transition.at), _ms(transition.since), _ms(transition.delay)]
        numbers += [*reason.instances.values(), *reason.failures.values()]
        for number in numbers:
            _whole(number)
        if grant is not None:
            _unpack_grant([grant.holder, grant.permits, grant.passed])
        if not math.isfinite(reason.slow_share):
            raise ValueError("slow_share is not finite")
        _name(transition.circuit).encode()
    except Exception as error:
        raise ValueError(
            f"the transition to {transition.state.value} after {transition.delay!r} s cannot be "
            f"stored, so it was not made ({type(error).__name__}: {error})"
        ) from error


def decode_transition(text: str) -> Transition:
    """The transition in a text.

    Raises:
        MalformedEntryError: It is of another version, or no transition.
    """

    def decode() -> Transition:
        stored = _parse(text, dict)
        _check_version(stored)
        return Transition(
            circuit=_name(stored["circuit"]),
            generation=_whole(stored["generation"]),
            previous=State(stored["previous"]),
            state=State(stored["state"]),
            at=_whole(stored["at"]) / 1000,
            since=_whole(stored["since"]) / 1000,
            attempt=_whole(stored["attempt"]),
            delay=_whole(stored["delay"], most=MAX_DELAY) / 1000,
            grant=_unpack_grant(stored["grant"]),
            reason=_unpack_reason(stored),
            position=_position(stored["position"]),
            epoch=_whole(stored["epoch"]),
            leader=_text(stored["leader"])[:255],
        )

    return _guarded("state", text, decode)


def _pack_grant(grant: Grant | None) -> list[Any] | None:
    return None if grant is None else [grant.holder, grant.permits, grant.passed]


def _unpack_grant(packed: Any) -> Grant | None:
    if packed is None:
        return None
    holder, permits, passed = packed
    return Grant(holder=_name(holder), permits=_whole(permits, least=1), passed=_whole(passed))


def _unpack_reason(stored: Mapping[str, Any]) -> Reason:
    share = float(stored["slow_share"])
    if not math.isfinite(share):
        raise ValueError("slow_share is not finite")
    return Reason(
        cause=Cause(stored["cause"]),
        detail=_text(stored["detail"])[:1000],
        instances=_counts(stored["instances"]),
        failures=_counts(stored["failures"]),
        slow_share=share,
    )


def decode_state_entry(fields: Fields) -> Transition | LeaderChange | Forgotten | Recalled:
    """An entry of the stream of states.

    Raises:
        MalformedEntryError: It is none.
    """
    if "transition" in fields:
        return decode_transition(fields["transition"])

    def decode() -> LeaderChange | Forgotten | Recalled:
        _check_version(fields)
        if "recalled" in fields:
            return Recalled(_name(fields["recalled"]), _whole(int(fields["generation"])))
        if "forgotten" in fields:
            return Forgotten(_name(fields["forgotten"]), _whole(int(fields["generation"])))
        leader, circuits = fields["leader"], fields.get("circuits")
        return LeaderChange(
            _whole(int(fields["epoch"])),
            _name(leader) if leader else None,
            _whole(int(circuits)) if circuits else None,
        )

    return _guarded("state", fields, decode)


def readable(decode: Callable[[S], T], stored: S) -> T | MalformedEntryError:
    """What a stored thing holds, or the error that it is unreadable."""
    try:
        return decode(stored)
    except MalformedEntryError as error:
        return error


def encode_presence(me: Presence) -> str:
    """What the hash of instances holds, but for the time, which the store adds."""
    return _dump({"version": me.version, "fingerprint": me.fingerprint})


def decode_presence(instance: str, text: str) -> Presence | MalformedEntryError:
    """An instance as the hash holds it, or the error that it is unreadable."""

    def decode(text: str) -> Presence:
        stored = _parse(text, dict)
        return Presence(instance, _text(stored["version"]), _text(stored["fingerprint"]))

    return readable(lambda text: _guarded("instance", text, lambda: decode(text)), text)


def encode_account(account: Account) -> str:
    """What the hash of accounts holds."""
    numbers = (account.first, account.last, account.evaluated, account.expired)
    return _dump([VERSION, *numbers])


def decode_account(text: str) -> Account:
    """The account in a text.

    Raises:
        MalformedEntryError: It is of another version, or none.
    """

    def decode() -> Account:
        version, *numbers = _parse(text, list)
        _check_version({"v": version})
        return Account(*(_whole(number) for number in numbers))

    return _guarded("account", text, decode)


def encode_tally(tally: Tally) -> str:
    """What the hash of tallies holds of a circuit."""
    counted, trial = tally.counted, tally.trial
    return _dump(
        [
            VERSION,
            tally.generation,
            str(tally.position),
            counted and _pack_counted(counted),
            trial and [trial.passed, trial.failed, _sound_counts(trial.failures)],
            _ms(tally.hold),
        ]
    )


def decode_tally(text: str) -> Tally:
    """The tally in a text.

    Raises:
        MalformedEntryError: It is of another version, or none.
    """

    def decode() -> Tally:
        version, generation, position, counted, trial, hold = _parse(text, list)
        _check_version({"v": version})
        return Tally(
            _whole(generation),
            _position(position),
            None if counted is None else _unpack_counted(counted),
            None if trial is None else _unpack_trial(trial),
            _whole(hold) / 1000,
        )

    return _guarded("tally", text, decode)


def decode_position(text: str) -> Position:
    """A position in a stream.

    Raises:
        MalformedEntryError: It is none.
    """
    return _guarded("position", text, lambda: _position(text))


def _pack_counted(counted: Counted) -> list[Any]:
    newest = math.ceil(counted.newest * 1000)  # what is told after it must not stand before it
    failures = [(who, _sound(what), count) for who, what, count in counted.failures]
    return [counted.strategy, counted.window, failures, newest]


def _unpack_counted(packed: Any) -> Counted:
    strategy, window, failures, newest = packed
    return Counted(
        _text(strategy),
        None if window is None else _text(window),
        tuple(
            (_name(who), _text(what)[:64], _whole(count, least=1)) for who, what, count in failures
        ),
        _whole(newest) / 1000,
    )


def _unpack_trial(packed: Any) -> TrialResults:
    passed, failed, failures = packed
    return TrialResults(_whole(passed), _whole(failed), _counts(failures))


def _guarded(what: str, stored: object, decode: Callable[[], T]) -> T:
    try:
        return decode()
    except Exception as error:  # rubbish breaks in ways that nobody thinks of
        shown = repr(stored)
        shown = shown if len(shown) <= 200 else shown[:200] + "…"
        raise MalformedEntryError(
            f"skipped an unreadable {what} entry ({type(error).__name__}: {error}): {shown}"
        ) from error


def _check_version(stored: Mapping[str, Any]) -> None:
    if stored["v"] != VERSION:
        raise ValueError(f"format version {stored['v']!r}, this package reads {VERSION!r}")


def _parse(text: str, kind: type[object]) -> Any:
    if len(text) > MAX_ENTRY_LENGTH:
        raise ValueError(f"{len(text)} characters are too many")
    parsed: object = json.loads(text)
    if not isinstance(parsed, kind):
        raise TypeError(f"not a {kind.__name__}")
    return parsed


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _whole(value: Any, least: int = 0, most: int = MAX_COUNT) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"not a whole number from {least} to {most}: {str(value)[:40]!r}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"not a string: {str(value)[:40]!r}")
    return _sound(value)


def _sound(text: str) -> str:
    """A text that any reader takes: half a surrogate pair, which is no character, is replaced."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _sound_counts(counts: Mapping[str, int]) -> dict[str, int]:
    return {_sound(key): count for key, count in counts.items()}


def _name(value: Any) -> str:
    check_name("a name", value)
    return _text(value)


def _position(value: Any) -> Position:
    position = Position.parse(_text(value))
    for number in position:
        _whole(number, most=MAX_POSITION)
    return position


def _counts(value: Any) -> dict[str, int]:
    return {_text(key)[:255]: _whole(count) for key, count in value.items()}
