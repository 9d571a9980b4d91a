"""Records <-> the string fields that are stored. Nothing unreadable gets past this module.

Each entry carries its format version first. An instance skips what it does not know, and says
so, so that two versions of the package can share a namespace during a rollout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .._core.backoff import LONGEST_WAIT
from .._core.overdue import OVERDUE_SILENCE
from .._core.policy import LONGEST_RETRY_AFTER
from .._core.states import (
    Cause,
    Grant,
    Reason,
    Report,
    Run,
    State,
    Transition,
    TrialNote,
    Word,
)
from ..exceptions import MalformedEntryError
from ._fields import (
    VERSION,
    check_version,
    dump,
    guarded,
    ms,
    parse_json,
    string,
    valid_counts,
    valid_name,
    valid_position,
    well_formed,
    well_formed_counts,
    whole,
)
from .base import Batch, Forgotten, LeaderChange, Presence, Recalled

MAX_HOLD = round(LONGEST_RETRY_AFTER * 1000)
MAX_REPORTS = 2_000
MAX_RUNS = 20_000
"""More than any instance sends in one batch."""

MAX_DELAY = round(LONGEST_WAIT * 1000)

S = TypeVar("S")
T = TypeVar("T")
Fields = Mapping[str, str]


def encode_batch(batch: Batch) -> dict[str, str]:
    """One entry of the stream of results. Ages and times are whole milliseconds."""
    reports = [_pack_report(report) for report in batch.reports]
    return {
        "v": VERSION,
        "instance": batch.instance,
        "number": str(batch.number),
        "sent": str(ms(batch.sent)),
        "reports": dump(reports),
        # A field of its own: older versions read the others, and pass over it.
        "words": dump([report.word and _pack_word(report.word) for report in batch.reports]),
    }


def decode_batch(fields: Fields) -> Batch:
    """The batch in an entry.

    Raises:
        MalformedEntryError: It is of another version, or no batch.
    """

    def decode() -> Batch:
        check_version(fields)
        late = whole(int(fields.get("late", "0"))) / 1000
        reports = parse_json(fields["reports"], list)
        _check_size(reports)
        words = parse_json(fields["words"], list) if "words" in fields else [None] * len(reports)
        return Batch(
            instance=valid_name(fields["instance"]),
            number=whole(int(fields["number"])),
            sent=whole(int(fields["sent"])) / 1000,
            reports=tuple(
                _unpack_report(packed, word, late)
                for packed, word in zip(reports, words, strict=True)
            ),
        )

    return guarded("result", fields, decode)


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
        None if report.hold is None else ms(report.hold),
        report.overdue,
    ]


def _pack_run(run: Run) -> list[Any]:
    kind = run.failed + 2 * run.slow
    return [run.generation, ms(run.age), kind, run.count, well_formed(run.label)]


def _pack_word(word: Word) -> list[Any]:
    grant = _pack_grant(word.grant)
    return [word.state.value, word.attempt, ms(word.delay), ms(word.left), grant]


def _unpack_word(packed: Any, late: float) -> Word:
    state, attempt, delay, left, grant = packed
    return Word(
        state=State(state),
        attempt=whole(attempt),
        delay=whole(delay, most=MAX_DELAY) / 1000,
        left=max(0.0, min(whole(left), whole(delay)) / 1000 - late),
        grant=_unpack_grant(grant),
    )


def _unpack_report(packed: Any, word: Any, late: float) -> Report:
    circuit, runs, blocked, note, generation, hold, overdue = packed
    return Report(
        circuit=valid_name(circuit),
        generation=whole(generation),
        runs=tuple(_unpack_run(run, late) for run in runs),
        blocked=whole(blocked),
        trial=None if note is None else TrialNote(*(whole(number) for number in note)),
        hold=None if hold is None else max(0.0, whole(hold, most=MAX_HOLD) / 1000 - late),
        overdue=whole(overdue) if late <= OVERDUE_SILENCE else 0,
        word=None if word is None else _unpack_word(word, late),
    )


def _unpack_run(packed: Any, late: float) -> Run:
    generation, age, kind, count, label = packed
    if kind not in range(4):
        raise ValueError(f"unknown kind of result {kind!r}")
    return Run(
        generation=whole(generation),
        failed=bool(kind & 1),
        slow=bool(kind & 2),
        count=whole(count, least=1),
        age=late + whole(age) / 1000,
        label=string(label)[:64],
    )


def encode_transition(transition: Transition) -> str:
    """What the hash of circuits and the stream of states hold of a transition."""
    reason = transition.reason
    return dump(
        {
            "v": VERSION,
            "circuit": transition.circuit,
            "generation": transition.generation,
            "previous": transition.previous.value,
            "state": transition.state.value,
            "at": ms(transition.at),
            "since": ms(transition.since),
            "attempt": transition.attempt,
            "delay": ms(transition.delay),
            "grant": _pack_grant(transition.grant),
            "cause": reason.cause.value,
            "detail": well_formed(reason.detail),
            "instances": well_formed_counts(reason.instances),
            "failures": well_formed_counts(reason.failures),
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
        numbers += [
            ms(transition.at),
            ms(transition.since),
            ms(transition.delay),
        ]
        numbers += [*reason.instances.values(), *reason.failures.values()]
        for number in numbers:
            whole(number)
        if grant is not None:
            _unpack_grant([grant.holder, grant.permits, grant.passed])
        if not math.isfinite(reason.slow_share):
            raise ValueError("slow_share is not finite")
        valid_name(transition.circuit).encode()
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
        stored = parse_json(text, dict)
        check_version(stored)
        return Transition(
            circuit=valid_name(stored["circuit"]),
            generation=whole(stored["generation"]),
            previous=State(stored["previous"]),
            state=State(stored["state"]),
            at=whole(stored["at"]) / 1000,
            since=whole(stored["since"]) / 1000,
            attempt=whole(stored["attempt"]),
            delay=whole(stored["delay"], most=MAX_DELAY) / 1000,
            grant=_unpack_grant(stored["grant"]),
            reason=_unpack_reason(stored),
            position=valid_position(stored["position"]),
            epoch=whole(stored["epoch"]),
            leader=string(stored["leader"])[:255],
        )

    return guarded("state", text, decode)


def _pack_grant(grant: Grant | None) -> list[Any] | None:
    return None if grant is None else [grant.holder, grant.permits, grant.passed]


def _unpack_grant(packed: Any) -> Grant | None:
    if packed is None:
        return None
    holder, permits, passed = packed
    return Grant(
        holder=valid_name(holder),
        permits=whole(permits, least=1),
        passed=whole(passed),
    )


def _unpack_reason(stored: Mapping[str, Any]) -> Reason:
    share = float(stored["slow_share"])
    if not math.isfinite(share):
        raise ValueError("slow_share is not finite")
    return Reason(
        cause=Cause(stored["cause"]),
        detail=string(stored["detail"])[:1000],
        instances=valid_counts(stored["instances"]),
        failures=valid_counts(stored["failures"]),
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
        check_version(fields)
        if "recalled" in fields:
            return Recalled(valid_name(fields["recalled"]), whole(int(fields["generation"])))
        if "forgotten" in fields:
            return Forgotten(valid_name(fields["forgotten"]), whole(int(fields["generation"])))
        leader, circuits = fields["leader"], fields.get("circuits")
        return LeaderChange(
            whole(int(fields["epoch"])),
            valid_name(leader) if leader else None,
            whole(int(circuits)) if circuits else None,
        )

    return guarded("state", fields, decode)


def readable(decode: Callable[[S], T], stored: S) -> T | MalformedEntryError:
    """What a stored thing holds, or the error that it is unreadable."""
    try:
        return decode(stored)
    except MalformedEntryError as error:
        return error


def encode_presence(me: Presence) -> str:
    """What the hash of instances holds, but for the time, which the store adds."""
    return dump({"version": me.version, "fingerprint": me.fingerprint})


def decode_presence(instance: str, text: str) -> Presence | MalformedEntryError:
    """An instance as the hash holds it, or the error that it is unreadable."""

    def decode(text: str) -> Presence:
        stored = parse_json(text, dict)
        return Presence(instance, string(stored["version"]), string(stored["fingerprint"]))

    return readable(lambda text: guarded("instance", text, lambda: decode(text)), text)
